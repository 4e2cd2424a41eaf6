/* ui/scr_log.c - what the watched run said: its log events, newest last, by level and text.
 *
 * Long lines are wrapped only for the focused one (below the list), so columns stay aligned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ui/screen.h"

struct log {
    int level, at, top;
    bool follow;
    char filter[128];
    int *rows;
    int n;
};

static struct log *state(struct mi_ui *ui) {
    return ui->state[MI_SCR_LOG];
}

static enum mi_status log_open(struct mi_ui *ui) {
    struct log *s = mi_calloc(1, sizeof *s);
    if (!s) return MI_E_NOMEM;
    s->follow = true;
    ui->state[MI_SCR_LOG] = s;
    return MI_OK;
}

static void log_close(struct mi_ui *ui) {
    free(state(ui)->rows);
    free(state(ui));
}

static int severity(char level) {
    return level == 'e' ? 2 : level == 'w' ? 1 : 0;
}

static void choose(struct mi_ui *ui) {
    struct log *s = state(ui);
    size_t n = ui->view ? ui->view->n_log : 0;
    int *rows = realloc(s->rows, (n + 1) * sizeof *rows);
    s->n = 0;
    if (!rows) return;
    s->rows = rows;
    for (size_t k = 0; k < n; k++)
        if (severity(ui->view->log[k].level) >= s->level && mi_contains(ui->view->log[k].text, s->filter))
            rows[s->n++] = (int)k;
    if (s->follow || s->at >= s->n) s->at = s->n ? s->n - 1 : 0;
}

static void draw_entry(struct mi_ui *ui, int y, int w, const struct mi_log_view *g, bool here) {
    static const enum mi_ink inks[] = {MI_INK_TEXT, MI_INK_WARN, MI_INK_BAD};
    time_t at = (time_t)g->at;
    struct tm tm;
    char clock[16] = "--:--:--", line[1024], clipped[1024];
    if (localtime_r(&at, &tm)) strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    snprintf(line, sizeof line, "%s%s %c %s", here ? ">" : " ", clock, "IWE"[severity(g->level)], g -> text);
    mi_text_clip(clipped, sizeof clipped, line, w - 1);
    mi_put_attr(&ui->theme, y, 0, w, inks[severity(g->level)], here ? A_REVERSE : 0, clipped);
    if (here) ui->cursor_y = y, ui->cursor_x = 0;
}

static void log_draw(struct mi_ui *ui) {
    static const char *const levels[] = {"all", "warnings", "errors"};
    struct log *s = state(ui);
    struct mi_rect r = ui->layout.box[MI_BOX_A], head = ui->layout.box[MI_BOX_HEAD];
    choose(ui);
    int foot = r.h > 8 ? 3 : 0, list = r.h - foot;
    if (s->at < s->top) s->top = s->at;
    if (s->at >= s->top + list) s->top = s->at - list + 1;
    mi_putf(&ui->theme, head.y, 1, head.w - 2, MI_INK_TITLE,
            "run %04d   level: %s   follow: %s   %d of %zu lines   filter: %s", ui->run, levels[s->level],
            s->follow ? "on" : "off", s->n, ui->view ? ui->view->n_log : 0, s->filter[0] ? s->filter : "(none)");
    for (int k = 0; k < list && s->top + k < s->n; k++)
        draw_entry(ui, r.y + k, r.w, &ui->view->log[s->rows[s->top + k]], s->top + k == s->at);
    if (!s->n) mi_put(&ui->theme, r.y, 2, r.w - 4, MI_INK_DIM, ui->view ? "No lines." : "No run is being watched.");
    if (foot && s->n)
        mi_wrap(&ui->theme, (struct mi_rect){r.y + list, 1, foot, r.w - 2}, MI_INK_DIM,
                ui->view->log[s->rows[s->at]].text);
}

static void filter_done(struct mi_ui *ui, int key, const char *text) {
    if (key == '\n') snprintf(state(ui)->filter, sizeof state(ui)->filter, "%s", text);
}

static void find_problem(struct mi_ui *ui, int by) {
    struct log *s = state(ui);
    choose(ui);
    for (int k = s->at + by; k >= 0 && k < s->n; k += by)
        if (severity(ui->view->log[s->rows[k]].level) > 0) {
            s->at = k;
            s->follow = false;
            return;
        }
    mi_ui_say(ui, "no further warning or error");
}

static unsigned log_act(struct mi_ui *ui, enum mi_act act) {
    struct log *s = state(ui);
    if (mi_act_scroll(act, ui->layout.box[MI_BOX_A].h, s->n, &s->at)) {
        s->follow = s->at == s->n - 1; /* moving away holds the place, the last line follows again */
        return MI_UI_HANDLED | MI_UI_REDRAW;
    }
    switch (act) {
    case MI_ACT_FOLLOW:
        s->follow = !s->follow;
        break;
    case MI_ACT_LEVEL:
        s->level = (s->level + 1) % 3;
        break;
    case MI_ACT_FIND_NEXT:
        find_problem(ui, 1);
        break;
    case MI_ACT_FIND_PREV:
        find_problem(ui, -1);
        break;
    case MI_ACT_FILTER:
        mi_popup_line(ui, "Filter", "Lines that contain (empty shows all):", s->filter, filter_done);
        break;
    default:
        return MI_UI_IGNORED;
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

const struct mi_screen_desc mi_screen_log = {
    .title = "Log", .open = log_open, .close = log_close, .draw = log_draw, .act = log_act};
