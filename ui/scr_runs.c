/* ui/scr_runs.c - all runs of the workspace: open, resume, stop, edit, delete.
 *
 * A run's line comes from its journal, read once and again only when the journal has grown, and only for rows on
 * screen: a thousand runs cost nothing until one scrolls there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "midre/check.h"
#include "ui/screen.h"

struct line { /* what is known of one run */
    int number;
    long long size; /* of the journal when it was read; -1 never */
    char state[16], what[160], started[24];
    double acc, attacc, fraction;
    size_t stages, done;
};

struct runs {
    struct line *line;
    int n, at, top;
};

static struct runs *state(struct mi_ui *ui) {
    return ui->state[MI_SCR_RUNS];
}

static enum mi_status runs_open(struct mi_ui *ui) {
    ui->state[MI_SCR_RUNS] = mi_calloc(1, sizeof(struct runs));
    return ui->state[MI_SCR_RUNS] ? MI_OK : MI_E_NOMEM;
}

static void runs_close(struct mi_ui *ui) {
    free(state(ui)->line);
    free(state(ui));
}

/* Newest first; what was known of a run is kept. */
static void runs_enter(struct mi_ui *ui) {
    struct runs *s = state(ui);
    int *numbers = NULL, focus = s->n ? s->line[s->at].number : 0;
    size_t n = 0;
    if (mi_run_list(ui->ws, &numbers, &n) != MI_OK) {
        mi_ui_say_error(ui);
        return;
    }
    struct line *line = mi_calloc(n + 1, sizeof *line);
    for (size_t k = 0; line && k < n; k++) {
        line[k].number = numbers[n - 1 - k];
        line[k].size = -1;
        for (int j = 0; j < s->n; j++)
            if (s->line[j].number == line[k].number) line[k] = s->line[j];
    }
    free(numbers);
    if (!line) {
        mi_ui_say_error(ui);
        return;
    }
    free(s->line);
    s->line = line, s->n = (int)n;
    for (int k = 0; k < s->n; k++)
        if (line[k].number == focus) s->at = k;
    if (s->at >= s->n) s->at = s->n ? s->n - 1 : 0;
}

static void describe(struct line *l, const struct mi_run_view *v) {
    time_t at = (time_t)v->started;
    struct tm tm;
    l->acc = l->attacc = NAN;
    snprintf(l->state, sizeof l->state, "%s", v->state ? v->state : "new");
    if (v->started > 0 && localtime_r(&at, &tm)) strftime(l->started, sizeof l->started, "%b %d %H:%M", &tm);
    size_t n = 0;
    l->what[0] = 0;
    if (v->name && *v->name) n = (size_t)snprintf(l->what, sizeof l->what, "%s: ", v->name);
    for (size_t k = 0; k < v->n_cells && n < sizeof l->what; k++)
        n += (size_t)snprintf(l->what + n, sizeof l->what - n, "%s%s", k ? ", " : "", v->cells[k].id);
    for (size_t k = 0; k < v->n_scores; k++) l->acc = v->scores[k].acc, l->attacc = v->scores[k].attacc;
    l->fraction = mi_view_fraction(v);
    l->stages = v->n_stages, l->done = 0;
    for (size_t k = 0; k < v->n_stages; k++)
        l->done += v->stages[k].state == MI_STAGE_DONE || v->stages[k].state == MI_STAGE_CACHED;
}

static void read_line(struct mi_ui *ui, struct line *l) {
    char *path = mi_run_file(ui->ws, l->number, "journal.jsonl"), *dir = mi_run_dir(ui->ws, l->number);
    struct stat st = {0};
    long long size = path && stat(path, &st) == 0 ? (long long)st.st_size : 0;
    if (size != l->size && dir) {
        struct mi_run_view *v = mi_view_open(dir, l->number);
        if (v && mi_view_update(v, NULL) == MI_OK)
            describe(l, v);
        else
            snprintf(l->what, sizeof l->what, "%s", mi_error_text()), snprintf(l->state, sizeof l->state, "?");
        mi_error_clear();
        if (v) mi_view_close(v);
        l->size = size;
    }
    free(path);
    free(dir);
}

static bool going(const struct line *l) {
    return !strcmp(l->state, "running") || !strcmp(l->state, "paused");
}

static void draw_line(struct mi_ui *ui, int y, int w, struct line *l, bool here) {
    const struct mi_theme *t = &ui->theme;
    char left[512], numbers[64], clipped[512], state_word[24];
    bool alive = mi_run_engine_pid(ui->ws, l->number) > 0;
    if (going(l) && !alive)
        snprintf(state_word, sizeof state_word, "DIED");
    else if (alive)
        snprintf(state_word, sizeof state_word, "%s %.0f%%", l->state, 100 * l->fraction);
    else
        snprintf(state_word, sizeof state_word, "%s", l->state);
    if (isnan(l->acc))
        snprintf(numbers, sizeof numbers, "%7s %7s", "-", "-");
    else
        snprintf(numbers, sizeof numbers, "%7.2f %7.2f", l->acc, l->attacc);
    snprintf(left, sizeof left, "%s %04d  %-12s %-12s %s  %s",
             here                   ? ">"
             : l->number == ui->run ? "*"
                                    : " ",
             l->number, l->started, state_word, numbers, l->what);
    mi_text_clip(clipped, sizeof clipped, left, w - 2);
    mi_put_attr(t, y, 1, w - 2, !strcmp(state_word, "DIED") || !strcmp(l->state, "failed") ? MI_INK_BAD : MI_INK_TEXT,
                here ? A_REVERSE : 0, clipped);
    if (here) ui->cursor_y = y, ui->cursor_x = 1;
}

static void draw_detail(struct mi_ui *ui, struct mi_rect r, struct line *l) {
    char title[64];
    snprintf(title, sizeof title, "run %04d", l->number);
    struct mi_rect in = mi_box(&ui->theme, r, title);
    in.x++, in.w--;
    int used = mi_wrap(&ui->theme, in, MI_INK_TEXT, l->what), pid = mi_run_engine_pid(ui->ws, l->number);
    char *dir = mi_run_dir(ui->ws, l->number), text[160];
    if (pid)
        snprintf(text, sizeof text, "engine process %d alive", pid);
    else
        snprintf(text, sizeof text, "no engine running");
    if (used < in.h)
        mi_putf(&ui->theme, in.y + used, in.x, in.w, MI_INK_TEXT, "%zu of %zu stages done, %s", l->done, l->stages,
                text);
    if (used + 1 < in.h && dir) mi_put(&ui->theme, in.y + used + 1, in.x, in.w, MI_INK_DIM, dir);
    if (!dir) mi_error_clear();
    free(dir);
}

static void runs_draw(struct mi_ui *ui) {
    struct runs *s = state(ui);
    struct mi_rect r = ui->layout.box[MI_BOX_A], head = ui->layout.box[MI_BOX_HEAD];
    if (s->at < s->top) s->top = s->at;
    if (s->at >= s->top + r.h) s->top = s->at - r.h + 1;
    mi_put(&ui->theme, head.y, 1, head.w - 2, MI_INK_TITLE, "  #     started      state            Acc  AttAcc  cells");
    for (int k = 0; k < r.h && s->top + k < s->n; k++) {
        read_line(ui, &s->line[s->top + k]);
        draw_line(ui, r.y + k, r.w, &s->line[s->top + k], s->top + k == s->at);
    }
    if (!s->n)
        mi_put(&ui->theme, r.y, 3, r.w - 4, MI_INK_DIM, "No runs yet. Screen 1 (Setup) starts one.");
    else if (ui->layout.box[MI_BOX_B].h)
        draw_detail(ui, ui->layout.box[MI_BOX_B], &s->line[s->at]);
}

static void delete_done(struct mi_ui *ui, int key, const char *text) {
    int run = ui->popup.number;
    if (key != '\n') return;
    if (atoi(text) != run) {
        mi_ui_say(ui, "nothing deleted: the number typed is not %d", run);
        return;
    }
    if (run == ui->run) mi_ui_watch(ui, 0);
    if (mi_run_delete(ui->ws, run) != MI_OK)
        mi_ui_say_error(ui);
    else
        mi_ui_say(ui, "run %04d deleted; finished stages stay in the cache", run);
    mi_ui_table_stale(ui);
    runs_enter(ui);
}

static void ask_delete(struct mi_ui *ui, int run) {
    char title[64];
    snprintf(title, sizeof title, "Delete run %04d?", run);
    mi_popup_line(ui, title, "Its journal and pictures go; type the run's number to confirm:", "", delete_done);
    ui->popup.number = run;
}

/* A file somebody handed over: recognised, then run like any experiment, on the photos that Setup names. */
static void check_done(struct mi_ui *ui, int key, const char *text) {
    if (key != '\n' || !*text) return;
    struct mi_check_facts f;
    struct mi_check c = {
        .file = text, .base = ui->spec, .data = mi_values_text(ui->spec->section[MI_SEC_DATA], "name")};
    struct mi_spec *spec = mi_check_recognise(&c, &f) == MI_OK ? mi_check_spec(&c, &f) : NULL;
    mi_check_facts_free(&f);
    if (!spec) {
        mi_ui_say_error(ui);
        return;
    }
    mi_ui_set_spec(ui, spec);
    mi_ui_launch(ui);
}

static void ask_check(struct mi_ui *ui) {
    char text[160];
    snprintf(text, sizeof text, "File of weights, trained on %.40s (Setup's data); recognised, measured, attacked for 5 min:",
             mi_values_text(ui->spec->section[MI_SEC_DATA], "name"));
    mi_popup_line(ui, "Check a checkpoint", text, "", check_done);
}

static void open_in_setup(struct mi_ui *ui, int run) {
    char *path = mi_run_file(ui->ws, run, "spec.ini");
    struct mi_spec *spec = path ? mi_spec_load(path, NULL, 0) : NULL;
    free(path);
    if (!spec) {
        mi_ui_say_error(ui);
        return;
    }
    mi_ui_set_spec(ui, spec);
    mi_ui_go(ui, MI_SCR_SETUP);
}

static unsigned runs_act(struct mi_ui *ui, enum mi_act act) {
    struct runs *s = state(ui);
    int run = s->n ? s->line[s->at].number : 0;
    if (mi_act_scroll(act, ui->layout.box[MI_BOX_A].h, s->n, &s->at)) return MI_UI_HANDLED | MI_UI_REDRAW;
    switch (act) {
    case MI_ACT_ENTER:
        if (run && mi_ui_watch(ui, run)) mi_ui_go(ui, MI_SCR_LIVE);
        break;
    case MI_ACT_RESUME:
        if (run) mi_ui_resume(ui, run);
        break;
    case MI_ACT_STOP:
        mi_ui_ask_stop(ui, run);
        break;
    case MI_ACT_OPEN:
        if (run) open_in_setup(ui, run);
        break;
    case MI_ACT_CHECK:
        ask_check(ui);
        break;
    case MI_ACT_DELETE:
        if (run) ask_delete(ui, run);
        break;
    default:
        return MI_UI_IGNORED;
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

const struct mi_screen_desc mi_screen_runs = {
    .title = "Runs", .open = runs_open, .close = runs_close, .enter = runs_enter, .draw = runs_draw, .act = runs_act};
