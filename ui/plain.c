/* ui/plain.c - the run as lines, for screen readers, pipes and terminals that cannot move a cursor.
 *
 * One line per event - a stage that begins or ends, a log line, a score - and a progress line every thirty seconds;
 * nothing is overwritten.  Ends when the run does, or when its engine is gone. */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen.h"

struct told {
    size_t n_log, n_scores;
    enum mi_stage_state *stage;
    size_t n_stages;
    double log_at, line_at;
};

static enum mi_status tell_stages(struct told *t, const struct mi_run_view *v) {
    static const char *const words[] = {"waiting", "started", "taken from the cache", "done", "FAILED"};
    if (t->n_stages < v->n_stages) {
        enum mi_stage_state *s = realloc(t->stage, v->n_stages * sizeof *s);
        if (!s) return mi_fail(MI_E_NOMEM, "no memory to follow the run");
        for (size_t k = t->n_stages; k < v->n_stages; k++) s[k] = MI_STAGE_WAITING;
        t->stage = s, t->n_stages = v->n_stages;
    }
    for (size_t k = 0; k < v->n_stages; k++) {
        const struct mi_stage_view *s = &v->stages[k];
        if (t->stage[k] == s->state) continue;
        t->stage[k] = s->state;
        printf("%s: %s%s%s\n", s->title ? s->title : s->id, words[s->state], s->error ? ": " : "",
               s->error ? s->error : "");
    }
    return MI_OK;
}

static void tell_rest(struct told *t, const struct mi_run_view *v) {
    for (size_t k = 0; k < v->n_log; k++)
        if (v->log[k].at > t->log_at) {
            t->log_at = v->log[k].at;
            printf("%s%s\n",
                   v->log[k].level == 'e'   ? "error: "
                   : v->log[k].level == 'w' ? "warning: "
                                            : "",
                   v->log[k].text);
        }
    for (; t->n_scores < v->n_scores; t->n_scores++) {
        const struct mi_score_view *s = &v->scores[t->n_scores];
        printf("score: %s accuracy %.2f %%, attack accuracy %.2f %%%s\n", s->cell, s->acc, s->attacc,
               s->synthetic ? " (synthetic data)" : "");
    }
    double now = mi_ui_clock();
    if (now - t->line_at < 30 || v->current < 0) return;
    const struct mi_stage_view *s = &v->stages[v->current];
    char eta[32];
    mi_duration(eta, sizeof eta, s->eta);
    printf("%s: %.0f of %.0f, %.0f %% of the run, ETA of this stage %s\n", s->title ? s->title : s->id, s->done,
           s->total, 100 * mi_view_fraction(v), eta);
    t->line_at = now;
}

enum mi_status mi_ui_follow(struct mi_workspace *ws, int run) {
    struct told told = {.line_at = mi_ui_clock()};
    char *dir = mi_run_dir(ws, run);
    struct mi_run_view *v = dir ? mi_view_open(dir, run) : NULL;
    enum mi_status s = v ? MI_OK : mi_error_status();
    for (bool alive = true; s == MI_OK;) {
        s = mi_view_update(v, NULL);
        if (s == MI_OK) s = tell_stages(&told, v);
        if (s == MI_OK) tell_rest(&told, v);
        fflush(stdout);
        if (!alive) break; /* one more look after the engine was gone */
        alive = mi_run_engine_pid(ws, run) > 0;
        struct pollfd f = {mi_view_fd(v), POLLIN, 0};
        if (alive) poll(&f, 1, 1000);
    }
    if (s == MI_OK) printf("run %04d: %s\n", run, v->state ? v->state : "no journal");
    if (v) mi_view_close(v);
    free(told.stage);
    free(dir);
    return s;
}
