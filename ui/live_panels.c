/* ui/live_panels.c - the text panels of the Live screen: latest values, machine load, stages, events.
 *
 * All of it is read from the run's view; the load's short history is kept by the screen (scr_live.c). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ui/live.h"

const char *mi_live_stage_word(const struct mi_stage_view *s) {
    static const char *const words[] = {"waiting", "RUNNING", "cached", "done", "FAILED"};
    return words[s->state];
}

void mi_live_latest(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *s) {
    struct mi_rect in = mi_box(&ui->theme, r, "latest");
    int wide = 26, x = 0, y = 0; /* three columns in 80 */
    for (size_t k = 0; s && k < s->n_series && y < in.h; k++) {
        const struct mi_series *q = &s->series[k];
        if (!q->n) continue;
        if (x + wide > in.w) x = 0, y++;
        if (y >= in.h) break;
        const char *slash = strchr(q->name, '/'); /* the group is dropped where the name is too long with it */
        mi_putf(&ui->theme, in.y + y, in.x + 1 + x, wide - 1, MI_INK_TEXT, "%-14.14s %9.4g",
                slash && strlen(q->name) > 14 ? slash + 1 : q->name, q->points[q->n - 1].y);
        x += wide;
    }
    if (ui->last_words[0]) {
        char text[320];
        snprintf(text, sizeof text, "The engine is gone (r on screen 5 resumes). Its last words: %s", ui->last_words);
        mi_wrap(&ui->theme, (struct mi_rect){in.y, in.x + 1, in.h, in.w - 1}, MI_INK_BAD, text);
    } else if (s && s->error)
        mi_wrap(&ui->theme, (struct mi_rect){in.y, in.x + 1, in.h, in.w - 1}, MI_INK_BAD, s->error);
    else if (ui->view && ui->view->error)
        mi_wrap(&ui->theme, (struct mi_rect){in.y, in.x + 1, in.h, in.w - 1}, MI_INK_BAD, ui->view->error);
}

static void load_row(struct mi_ui *ui, struct mi_rect in, int y, const char *name, double percent, const double *ring,
                     const char *memory) {
    const struct mi_live *l = ui->state[MI_SCR_LIVE];
    char bar[128], spark[MI_LIVE_HISTORY * 4];
    int n = l->n_load, room = in.w - 58;
    if (y >= in.h || isnan(percent)) return;
    mi_bar_text(bar, sizeof bar, 20, percent / 100, !ui->theme.utf8);
    mi_putf(&ui->theme, in.y + y, in.x + 1, 5, MI_INK_TEXT, "%s", name);
    mi_put_code(&ui->theme, in.y + y, in.x + 5, MI_INK_DIM, 0x2595);
    mi_put(&ui->theme, in.y + y, in.x + 6, 20, MI_INK_S1, bar);
    mi_put_code(&ui->theme, in.y + y, in.x + 26, MI_INK_DIM, 0x258f);
    mi_putf(&ui->theme, in.y + y, in.x + 28, 28, MI_INK_TEXT, "%3.0f%%  %s", percent, memory);
    if (room < 8 || n < 2) return;
    int show = n < room ? n : room;
    mi_spark_text(spark, sizeof spark, ring + n - show, show, !ui->theme.utf8);
    mi_put(&ui->theme, in.y + y, in.x + 57, room, MI_INK_DIM, spark);
}

void mi_live_load(struct mi_ui *ui, struct mi_rect r) {
    const struct mi_live *l = ui->state[MI_SCR_LIVE];
    const struct mi_run_view *v = ui->view;
    char mem[64] = "", title[96];
    snprintf(title, sizeof title, "machine  %s %s", v->device ? v->device : "", v->precision ? v->precision : "");
    struct mi_rect in = mi_box(&ui->theme, r, title);
    int y = 0;
    if (!isnan(v->gpu)) {
        snprintf(mem, sizeof mem, "%.1f of %.1f GiB", v->gpu_mem_mb / 1024, v->gpu_mem_total_mb / 1024);
        load_row(ui, in, y++, "GPU", v->gpu, l->gpu, mem);
    }
    if (isnan(v->cpu)) return;
    snprintf(mem, sizeof mem, "mem %.0f MB, %d threads", v->rss_mb, v->threads);
    load_row(ui, in, y, "CPU", v->cpu, l->cpu, mem);
}

void mi_live_stages(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *shown) {
    const struct mi_run_view *v = ui->view;
    struct mi_rect in = mi_box(&ui->theme, r, "stages");
    int first = shown && shown - v->stages >= in.h ? (int)(shown - v->stages) - in.h + 1 : 0;
    for (int k = first; k < (int)v->n_stages && k - first < in.h; k++) {
        const struct mi_stage_view *s = &v->stages[k];
        char line[256], took[32] = "";
        if (s->state == MI_STAGE_RUNNING && s->total > 0)
            snprintf(took, sizeof took, "%.0f%%", 100 * s->done / s->total);
        else if (s->state == MI_STAGE_DONE)
            mi_duration(took, sizeof took, s->seconds);
        snprintf(line, sizeof line, "%s %-7s %7s  %s", s == shown ? ">" : " ", mi_live_stage_word(s), took,
                 s->title ? s->title : s->id);
        mi_put_attr(&ui->theme, in.y + k - first, in.x, in.w, s->state == MI_STAGE_FAILED ? MI_INK_BAD : MI_INK_TEXT,
                    s == shown ? A_REVERSE : 0, line);
        if (s == shown) ui->cursor_y = in.y + k - first, ui->cursor_x = in.x;
    }
}

void mi_live_events(struct mi_ui *ui, struct mi_rect r) {
    const struct mi_run_view *v = ui->view;
    struct mi_rect in = mi_box(&ui->theme, r, "events");
    for (int k = 0; k < in.h && (size_t)k < v->n_log; k++) {
        const struct mi_log_view *g = &v->log[v->n_log - 1 - (size_t)k];
        time_t at = (time_t)g->at;
        struct tm tm;
        char clock[16] = "", entry[1024], clipped[1024], mark = g->level == 'e' ? 'E' : g->level == 'w' ? 'W' : ' ';
        if (localtime_r(&at, &tm)) strftime(clock, sizeof clock, "%H:%M:%S", &tm);
        snprintf(entry, sizeof entry, "%s %c %s", clock, mark, g->text);
        mi_text_clip(clipped, sizeof clipped, entry, in.w - 1);
        mi_put(&ui->theme, in.y + k, in.x + 1, in.w - 1,
               mark == 'E'   ? MI_INK_BAD
               : mark == 'W' ? MI_INK_WARN
                             : MI_INK_TEXT,
               clipped);
    }
}
