/* ui/session.c - what screens do to runs: watch one, start one, resume, steer, stop; and leaving the program.
 *
 * Everything goes through files and the control socket of a run folder; the engine is never waited for.  A run whose
 * journal says "running" while nobody holds its lock has died: the screens say so and offer to resume. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "midre/control.h"
#include "midre/data.h"
#include "ui/screen.h"

double mi_ui_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool mi_contains(const char *text, const char *part) {
    return !*part || (text && strcasestr(text, part));
}

void mi_ui_say(struct mi_ui *ui, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ui->message, sizeof ui->message, fmt, ap);
    va_end(ap);
    ui->message_bad = false;
    ui->message_until = mi_ui_clock() + 4;
    ui->dirty = true;
}

void mi_ui_say_error(struct mi_ui *ui) {
    mi_ui_say(ui, "%s", mi_error_text());
    ui->message_bad = true;
    ui->message_until = mi_ui_clock() + 3600; /* errors stay until a key */
    mi_error_clear();
}

void mi_ui_go(struct mi_ui *ui, enum mi_screen s) {
    if (s >= MI_SCR_COUNT) return;
    if (s != ui->screen) ui->before = ui->screen;
    ui->screen = s;
    if (mi_screen_at(s)->enter) mi_screen_at(s)->enter(ui);
    ui->dirty = true;
}

void mi_ui_set_spec(struct mi_ui *ui, struct mi_spec *spec) {
    mi_spec_free(ui->spec);
    ui->spec = spec;
    ui->dirty = true;
}

bool mi_ui_alive(const struct mi_ui *ui, int run) {
    return run > 0 && ((ui->child > 0 && ui->child_run == run) || mi_run_engine_pid(ui->ws, run) > 0);
}

/* The last line an engine that died wrote outside the journal: a crash report, the kernel's word. */
static void read_last_words(struct mi_ui *ui) {
    char *path = mi_run_file(ui->ws, ui->run, "engine.log"), *line = path ? mi_read_last_line(path, 1u << 24) : NULL;
    snprintf(ui->last_words, sizeof ui->last_words, "%s", line ? line : "");
    mi_error_clear(); /* no log is no news */
    free(line);
    free(path);
}

bool mi_ui_check_engine(struct mi_ui *ui) {
    bool before = ui->engine_alive, first = !ui->last_words[0];
    enum mi_ink ink;
    ui->engine_alive = mi_ui_alive(ui, ui->run);
    if (strcmp(mi_ui_state_word(ui, &ink), "DIED"))
        ui->last_words[0] = 0;
    else if (first)
        read_last_words(ui);
    return before != ui->engine_alive;
}

bool mi_ui_watch(struct mi_ui *ui, int run) {
    struct mi_run_view *v = NULL;
    if (run > 0) {
        char *dir = mi_run_dir(ui->ws, run);
        v = dir ? mi_view_open(dir, run) : NULL;
        free(dir);
        if (!v || mi_view_update(v, NULL) != MI_OK) {
            if (v) mi_view_close(v);
            mi_ui_say_error(ui);
            return false;
        }
    }
    if (ui->view) mi_view_close(ui->view);
    ui->view = v;
    ui->run = run > 0 ? run : 0;
    ui->frozen = false;
    ui->last_words[0] = 0;
    mi_ui_check_engine(ui);
    for (int s = 0; s < MI_SCR_COUNT; s++)
        if (mi_screen_at((enum mi_screen)s)->tick) mi_screen_at((enum mi_screen)s)->tick(ui);
    ui->dirty = true;
    return true;
}

void mi_ui_resume(struct mi_ui *ui, int run) {
    int pid = 0;
    if (mi_ui_alive(ui, run)) {
        mi_ui_say(ui, "run %04d is already running", run);
    } else if (mi_run_spawn(ui->ws, run, &pid) != MI_OK) {
        mi_ui_say_error(ui);
        return;
    } else {
        ui->child = pid, ui->child_run = run;
        mi_ui_say(ui, "run %04d started, engine process %d", run, pid);
    }
    if (mi_ui_watch(ui, run)) mi_ui_go(ui, MI_SCR_LIVE);
}

void mi_ui_launch(struct mi_ui *ui) {
    int run = 0;
    /* The message says the worst; `midre data check` tells all. */
    char *text = mi_data_check_spec(ui->spec, NULL) == MI_OK ? mi_spec_write(ui->spec) : NULL;
    if (!text || mi_run_create(ui->ws, text, &run) != MI_OK)
        mi_ui_say_error(ui);
    else
        mi_ui_resume(ui, run);
    free(text);
}

void mi_ui_control(struct mi_ui *ui, int run, const char *word) {
    char reply[160] = "", *dir;
    if (run <= 0) {
        mi_ui_say(ui, "no run is being watched");
        return;
    }
    dir = mi_run_dir(ui->ws, run);
    enum mi_status st = dir ? mi_control_send(dir, word, reply, sizeof reply) : mi_error_status();
    if (st == MI_E_MISSING && mi_ui_alive(ui, run)) {
        mi_error_clear(); /* spawned, its socket is not there yet */
        mi_ui_say(ui, "run %04d is still starting: try %s again in a moment", run, word);
    } else if (st != MI_OK)
        mi_ui_say_error(ui);
    else
        mi_ui_say(ui, "run %04d: %s %s", run, word, reply);
    free(dir);
}

static void stop_answer(struct mi_ui *ui, int key, const char *text) {
    (void)text;
    if (key == 's') mi_ui_control(ui, ui->popup.number, "stop");
}

void mi_ui_ask_stop(struct mi_ui *ui, int run) {
    static const struct mi_choice choices[] = {{'s', "s", "stop after this step; a checkpoint is written"},
                                               {27, "Esc", "go on"}};
    char title[64];
    if (!mi_ui_alive(ui, run)) {
        mi_ui_say(ui, "no engine is running for this run");
        return;
    }
    snprintf(title, sizeof title, "Stop run %04d?", run);
    mi_popup_ask(ui, title, "It can be resumed later exactly where it stopped.", choices, 2, stop_answer);
    ui->popup.number = run;
}

static void quit_answer(struct mi_ui *ui, int key, const char *text) {
    (void)text;
    if (key == 's') mi_ui_control(ui, ui->run, "stop");
    if (key == 's' || key == '\n') ui->leave = true;
}

void mi_ui_quit(struct mi_ui *ui) {
    static const struct mi_choice choices[] = {{'\n', "Enter", "leave it running; midre finds it again"},
                                               {'s', "s", "stop it after this step with a checkpoint, leave"},
                                               {27, "Esc", "stay"}};
    char title[64];
    if (!mi_ui_alive(ui, ui->run)) {
        ui->leave = true;
        return;
    }
    snprintf(title, sizeof title, "Quit while run %04d is going?", ui->run);
    mi_popup_ask(ui, title, "The run does not need this screen.", choices, 3, quit_answer);
}

const char *mi_ui_state_word(const struct mi_ui *ui, enum mi_ink *ink) {
    static const struct {
        const char *state, *word;
        enum mi_ink ink;
    } words[] = {{"running", "RUNNING", MI_INK_ACCENT},
                 {"paused", "PAUSED", MI_INK_WARN},
                 {"stopped", "STOPPED", MI_INK_WARN},
                 {"done", "DONE", MI_INK_GOOD},
                 {"failed", "FAILED", MI_INK_BAD}};
    const char *s = ui->view && ui->view->state ? ui->view->state : NULL;
    *ink = MI_INK_DIM;
    if (!ui->view) return "no run";
    bool going = !s || !strcmp(s, "running") || !strcmp(s, "paused");
    if (going && !ui->engine_alive) {
        *ink = MI_INK_BAD;
        return "DIED";
    }
    for (size_t k = 0; s && k < sizeof words / sizeof *words; k++)
        if (!strcmp(s, words[k].state)) {
            *ink = words[k].ink;
            return words[k].word;
        }
    *ink = MI_INK_ACCENT;
    return "STARTING";
}

void mi_ui_table_stale(struct mi_ui *ui) {
    ui->table_ready = false;
}

const struct mi_table *mi_ui_table(struct mi_ui *ui) {
    size_t scores = ui->view ? ui->view->n_scores : 0;
    if (ui->frames < 2) {
        ui->dirty = true; /* again right after the first frame */
        return NULL;
    }
    if (ui->table_ready && scores == ui->table_scores) return &ui->table;
    mi_table_free(&ui->table);
    memset(&ui->table, 0, sizeof ui->table);
    if (mi_table_build(&ui->table, ui->ws, true) != MI_OK) mi_ui_say_error(ui);
    mi_table_merge(&ui->table); /* before the screen's filter, which finds a run that only repeated by its newest */
    if (ui->table_mean && mi_table_mean(&ui->table) != MI_OK) mi_ui_say_error(ui);
    ui->table_ready = true;
    ui->table_scores = scores;
    return &ui->table;
}
