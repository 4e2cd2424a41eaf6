/* ui/scr_live.c - curves, progress, latest values, machine load and events of the run being watched.
 *
 * Reads the run's view only.  Series are grouped by the part of their name before '/': the two groups that matter most
 * (loss first, then accuracy, then whatever there is) get a plot each, all last values go into "latest".  The stage
 * shown is the running one until the person picks another. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/live.h"

static const double ema[] = {0, 0.6, 0.9};

static enum mi_status live_open(struct mi_ui *ui) {
    struct mi_live *l = mi_calloc(1, sizeof *l);
    if (!l) return MI_E_NOMEM;
    l->stage = -1;
    ui->state[MI_SCR_LIVE] = l;
    return MI_OK;
}

static void live_close(struct mi_ui *ui) {
    free(ui->state[MI_SCR_LIVE]);
}

static void push(double *ring, int n, double v) {
    if (n == MI_LIVE_HISTORY) memmove(ring, ring + 1, (MI_LIVE_HISTORY - 1) * sizeof *ring);
    ring[n < MI_LIVE_HISTORY ? n : MI_LIVE_HISTORY - 1] = v;
}

static void live_tick(struct mi_ui *ui) {
    struct mi_live *l = ui->state[MI_SCR_LIVE];
    if (!ui->view || l->run != ui->run) {
        l->stage = -1, l->n_load = 0, l->updated = 0;
        l->run = ui->run;
        if (!ui->view) return;
    }
    if (ui->view->updated < l->updated + 1) return; /* one entry a second is enough */
    l->updated = ui->view->updated;
    push(l->cpu, l->n_load, ui->view->cpu / 100);
    push(l->gpu, l->n_load, ui->view->gpu / 100);
    if (l->n_load < MI_LIVE_HISTORY) l->n_load++;
}

static void live_want(struct mi_ui *ui, struct mi_layout_want *w) {
    w->pane = ((struct mi_live *)ui->state[MI_SCR_LIVE])->pane;
}

static const struct mi_stage_view *stage_shown(const struct mi_ui *ui) {
    const struct mi_live *l = ui->state[MI_SCR_LIVE];
    const struct mi_run_view *v = ui->view;
    if (!v || !v->n_stages) return NULL;
    int k = l->stage >= 0 ? l->stage : v->current;
    if (k < 0) /* nothing runs: the last one that has curves */
        for (k = (int)v->n_stages - 1; k > 0 && !v->stages[k].n_series; k--) continue;
    return &v->stages[(size_t)k < v->n_stages ? (size_t)k : v->n_stages - 1];
}

/* ---- head --------------------------------------------------------------------------------------------- */

static void draw_progress(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *s) {
    const struct mi_theme *t = &ui->theme;
    char eta[32], left[96], right[128], bar[400];
    double f = s->total > 0 ? s->done / s->total : s->state >= MI_STAGE_CACHED ? 1 : 0;
    mi_duration(eta, sizeof eta, s->state == MI_STAGE_RUNNING ? s->eta : -1);
    if (s->epochs > 0)
        snprintf(left, sizeof left, "%s %.0f/%.0f", s->phase ? s->phase : "epoch", s->epoch, s->epochs);
    else if (s->total > 0)
        snprintf(left, sizeof left, "%s %.0f/%.0f", s->phase ? s->phase : s->kind, s->done, s->total);
    else
        snprintf(left, sizeof left, "%s", s->phase ? s->phase : s->kind);
    if (s->state == MI_STAGE_RUNNING)
        snprintf(right, sizeof right, "%5.1f%%  ETA %s  %.4g %s/s", 100 * f, eta, s->rate, s->unit ? s->unit : "steps");
    else {
        mi_duration(eta, sizeof eta, s->seconds);
        bool timed = s->state == MI_STAGE_DONE && s->seconds > 0;
        snprintf(right, sizeof right, "%s%s%s", mi_live_stage_word(s), timed ? "  took " : "", timed ? eta : "");
    }
    int lw = mi_text_width(left), rw = mi_text_width(right), bw = r.w - lw - rw - 6;
    int x = r.x + 1;
    x += mi_put(t, r.y, x, r.w - 1, MI_INK_TEXT, left) + 1;
    if (bw >= 6) {
        if (bw > 100) bw = 100;
        mi_bar_text(bar, sizeof bar, bw, f, !t->utf8);
        mi_put_code(t, r.y, x, MI_INK_DIM, 0x2595);
        mi_put(t, r.y, x + 1, bw, MI_INK_ACCENT, bar);
        mi_put_code(t, r.y, x + 1 + bw, MI_INK_DIM, 0x258f);
        x += bw + 3;
    }
    mi_put(t, r.y, x, r.x + r.w - x, MI_INK_TEXT, right);
}

static void draw_head(struct mi_ui *ui, const struct mi_stage_view *s) {
    const struct mi_run_view *v = ui->view;
    const struct mi_theme *t = &ui->theme;
    struct mi_rect r = ui->layout.box[MI_BOX_HEAD];
    char line[512], clipped[512];
    enum mi_ink ink;
    const char *word = mi_ui_state_word(ui, &ink);
    int w = (int)strlen(word), k = s ? (int)(s - v->stages) + 1 : 0;
    snprintf(line, sizeof line, "run %04d  %s%s%s  %s%s", ui->run, v->name ? v->name : "",
             v->name && *v->name ? "  " : "", s && s->title ? s->title : "", v->synthetic ? "synthetic data  " : "",
             v->device ? v->device : "");
    mi_text_clip(clipped, sizeof clipped, line, r.w - w - 16);
    mi_put(t, r.y, r.x + 1, r.w, MI_INK_TEXT, clipped);
    mi_putf(t, r.y, r.x + r.w - w - 14, 13, MI_INK_DIM, "stage %d/%zu", k, v->n_stages);
    mi_put(t, r.y, r.x + r.w - w - 1, w, ink, word);
    if (s && r.h > 1) draw_progress(ui, (struct mi_rect){r.y + 1, r.x, 1, r.w}, s);
}

/* ---- plots -------------------------------------------------------------------------------------------- */

static bool in_group(const char *name, const char *group, size_t len) {
    return !strncmp(name, group, len) && (name[len] == '/' || !name[len]);
}

static int group_rank(const char *name) {
    return in_group(name, "loss", 4) ? 0 : in_group(name, "acc", 3) ? 1 : in_group(name, "lr", 2) ? 9 : 5;
}

/* The which-th group (0, 1) of a stage's series by rank; its name's length in *len. */
static const char *group_at(const struct mi_stage_view *s, int which, size_t *len) {
    const char *best = NULL, *taken = NULL;
    size_t taken_len = 0;
    for (int round = 0; round <= which; round++) {
        best = NULL;
        for (size_t k = 0; k < s->n_series; k++) {
            const char *n = s->series[k].name;
            if (taken && (group_rank(n) < group_rank(taken) || in_group(n, taken, taken_len))) continue;
            if (!best || group_rank(n) < group_rank(best)) best = n;
        }
        if (!best) return NULL;
        taken = best;
        taken_len = strcspn(best, "/");
    }
    *len = taken_len;
    return best;
}

static int collect(const struct mi_stage_view *s, const char *group, size_t len, const struct mi_series **out,
                   int max) {
    int n = 0;
    for (size_t k = 0; k < s->n_series && n < max; k++)
        if (in_group(s->series[k].name, group, len)) out[n++] = &s->series[k];
    return n;
}

static void axis_number(char *buf, size_t size, double v) {
    if (v != 0 && (fabs(v) >= 1e5 || fabs(v) < 1e-3))
        snprintf(buf, size, "%.0e", v);
    else
        snprintf(buf, size, "%.4g", v);
}

static void draw_axes(struct mi_ui *ui, struct mi_rect in, const struct mi_plot *p) {
    const struct mi_theme *t = &ui->theme;
    char num[32];
    axis_number(num, sizeof num, p->y1);
    mi_putf(t, in.y, in.x, 6, MI_INK_DIM, "%6s", num);
    axis_number(num, sizeof num, p->logy ? sqrt(p->y0 * p->y1) : (p->y0 + p->y1) / 2);
    if (p->rows > 4) mi_putf(t, in.y + p->rows / 2, in.x, 6, MI_INK_DIM, "%6s", num);
    axis_number(num, sizeof num, p->y0);
    mi_putf(t, in.y + p->rows - 1, in.x, 6, MI_INK_DIM, "%6s", num);
    if (in.h > p->rows) {
        axis_number(num, sizeof num, p->x0);
        mi_put(t, in.y + p->rows, in.x + 6, 10, MI_INK_DIM, num);
        axis_number(num, sizeof num, p->x1);
        int w = (int)strlen(num);
        mi_put(t, in.y + p->rows, in.x + in.w - w, w, MI_INK_DIM, num);
    }
}

static void plot_title(char *out, size_t size, const struct mi_ui *ui, const struct mi_series **s, int n,
                       const char *group, size_t len, bool logy) {
    static const char *const mark[2][4] = {{"-", "+", "-", "+"}, {"▪", "▫", "●", "○"}};
    const struct mi_live *l = ui->state[MI_SCR_LIVE];
    size_t at = (size_t)snprintf(out, size, "%.*s ", (int)len, group);
    for (int k = 0; k < n && at < size; k++) {
        const char *tail = s[k]->name[len] == '/' ? s[k]->name + len + 1 : s[k]->name;
        at += (size_t)snprintf(out + at, size - at, " %s %s", mark[ui->theme.utf8][k % 4], tail);
    }
    if (at < size)
        snprintf(out + at, size - at, "  %s%s", logy ? "log" : "lin",
                 l->smooth == 1 ? " ema .6"
                 : l->smooth    ? " ema .9"
                                : "");
}

static void draw_plot(struct mi_ui *ui, struct mi_rect r, const struct mi_stage_view *s, int which) {
    const struct mi_live *l = ui->state[MI_SCR_LIVE];
    const struct mi_series *series[4];
    struct mi_plot_line line[8];
    struct mi_plot p;
    char title[256];
    size_t len = 0;
    const char *group = s ? group_at(s, which, &len) : NULL;
    if (!group) {
        struct mi_rect in = mi_box(&ui->theme, r, which ? "more curves" : "curves");
        mi_put(&ui->theme, in.y, in.x + 1, in.w - 1, MI_INK_DIM, which ? "" : "no points yet");
        return;
    }
    int n = collect(s, group, len, series, 4), lines = 0;
    bool logy = l->logy && group_rank(group) == 0;
    plot_title(title, sizeof title, ui, series, n, group, len, logy);
    struct mi_rect in = mi_box(&ui->theme, r, title);
    if (in.h < 2 || in.w < 12 || mi_plot_new(&p, in.w - 7, in.h > 4 ? in.h - 1 : in.h, ui->theme.glyphs) != MI_OK) {
        mi_error_clear();
        return;
    }
    for (int k = 0; k < n; k++) /* the raw line stays visible under a smoothed one */
        line[lines++] =
            (struct mi_plot_line){series[k]->points, series[k]->n, (uint8_t)(k + 1), l->smooth > 0 || k % 2 == 1, 0};
    mi_plot_range(&p, line, lines, s->epochs, logy);
    for (int k = 0; k < n && l->smooth; k++)
        line[lines++] = (struct mi_plot_line){series[k]->points, series[k]->n, (uint8_t)(k + 1), false, ema[l->smooth]};
    for (int k = 0; k < lines; k++) mi_plot_line(&p, &line[k]);
    mi_plot_finish(&p);
    draw_axes(ui, in, &p);
    mi_put_plot(&ui->theme, in.y, in.x + 7, &p);
    mi_plot_free(&p);
}

/* ---- the screen --------------------------------------------------------------------------------------- */

static void live_draw(struct mi_ui *ui) {
    const struct mi_layout *l = &ui->layout;
    if (!ui->view) {
        mi_wrap(&ui->theme, (struct mi_rect){3, 4, 6, l->cols - 8}, MI_INK_TEXT,
                "No run is being watched. Start an experiment on screen 1 (Setup), or open a run on screen 5 (Runs).");
        return;
    }
    const struct mi_stage_view *s = stage_shown(ui);
    draw_head(ui, s);
    for (int k = 0; k < 2; k++)
        if (l->box[MI_LIVE_PLOT1 + k].h) draw_plot(ui, l->box[MI_LIVE_PLOT1 + k], s, k);
    if (l->box[MI_LIVE_LATEST].h) mi_live_latest(ui, l->box[MI_LIVE_LATEST], s);
    if (l->box[MI_LIVE_LOAD].h) mi_live_load(ui, l->box[MI_LIVE_LOAD]);
    if (l->box[MI_LIVE_STAGES].h) mi_live_stages(ui, l->box[MI_LIVE_STAGES], s);
    if (l->box[MI_LIVE_EVENTS].h) mi_live_events(ui, l->box[MI_LIVE_EVENTS]);
}

static unsigned move_stage(struct mi_ui *ui, int by) {
    struct mi_live *l = ui->state[MI_SCR_LIVE];
    const struct mi_stage_view *s = stage_shown(ui);
    if (!s) return MI_UI_HANDLED;
    int k = (int)(s - ui->view->stages) + by, n = (int)ui->view->n_stages;
    k = k < 0 ? 0 : k >= n ? n - 1 : k;
    l->stage = k == ui->view->current ? -1 : k; /* back on the running one: follow again */
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

static unsigned live_act(struct mi_ui *ui, enum mi_act act) {
    struct mi_live *l = ui->state[MI_SCR_LIVE];
    switch (act) {
    case MI_ACT_STAGE_NEXT:
        return move_stage(ui, 1);
    case MI_ACT_STAGE_PREV:
        return move_stage(ui, -1);
    case MI_ACT_HOME:
        return move_stage(ui, -10000);
    case MI_ACT_END:
        return move_stage(ui, 10000);
    case MI_ACT_LEFT:
        l->pane += 4;
        break;
    case MI_ACT_RIGHT:
        l->pane++;
        break;
    case MI_ACT_SMOOTH:
        l->smooth = (l->smooth + 1) % 3;
        break;
    case MI_ACT_LOG_AXIS:
        l->logy = !l->logy;
        break;
    case MI_ACT_FREEZE:
        ui->frozen = !ui->frozen;
        break;
    case MI_ACT_CHECKPOINT:
        mi_ui_control(ui, ui->run, "snapshot");
        break;
    case MI_ACT_PAUSE:
        mi_ui_control(ui, ui->run,
                      ui->view && ui->view->state && !strcmp(ui->view->state, "paused") ? "resume" : "pause");
        break;
    case MI_ACT_STOP:
        mi_ui_ask_stop(ui, ui->run);
        break;
    case MI_ACT_LEAVE:
        ui->leave = true;
        break;
    default:
        return MI_UI_IGNORED;
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

const struct mi_screen_desc mi_screen_live = {.title = "Live",
                                              .open = live_open,
                                              .close = live_close,
                                              .tick = live_tick,
                                              .want = live_want,
                                              .draw = live_draw,
                                              .act = live_act};
