/* src/cli/follow_lines.c - what the follower says: one line for an event, one line for "where are we".
 *
 * Events are found by comparing the view with what was last told, so a follower that joins late tells the story from
 * the beginning and none twice.  Lines carry the time of day, no colours, no carriage returns: they are read by
 * people, screen readers and log files alike. */
#include "follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void follow_duration(char *out, size_t size, double seconds) {
    long s = seconds >= 0 && seconds < 1e9 ? lround(seconds) : -1;
    if (s < 0)
        snprintf(out, size, "?");
    else if (s < 60)
        snprintf(out, size, "%lds", s);
    else if (s < 3600)
        snprintf(out, size, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(out, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
}

void follow_clear_line(struct follow *f) {
    if (f->line_shown) fputs("\r\033[K", stdout);
    f->line_shown = false;
}

static void say(struct follow *f, double at, const char *text) {
    time_t t = at > 0 ? (time_t)at : time(NULL);
    struct tm tm;
    char clock[16];
    localtime_r(&t, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    follow_clear_line(f);
    printf("%s  %s\n", clock, text);
}

static void tell_stage(struct follow *f, const struct mi_stage_view *s) {
    char took[32], line[512];
    follow_duration(took, sizeof took, s->seconds);
    const char *title = s->title ? s->title : s->id;
    switch (s->state) {
    case MI_STAGE_RUNNING:
        snprintf(line, sizeof line, "%s: started", title);
        break;
    case MI_STAGE_CACHED:
        snprintf(line, sizeof line, "%s: finished earlier, taken from the cache", title);
        break;
    case MI_STAGE_DONE:
        snprintf(line, sizeof line, "%s: done in %s", title, took);
        break;
    case MI_STAGE_FAILED:
        snprintf(line, sizeof line, "%s: FAILED: %s", title, s->error ? s->error : "see the log");
        break;
    case MI_STAGE_WAITING:
        return;
    }
    say(f, f->v->updated, line);
}

static void tell_stages(struct follow *f) {
    if (f->v->n_stages > f->n_state) {
        enum mi_stage_state *more = realloc(f->state, f->v->n_stages * sizeof *more);
        if (!more) return;
        f->state = more;
        for (; f->n_state < f->v->n_stages; f->n_state++) f->state[f->n_state] = MI_STAGE_WAITING;
    }
    for (size_t i = 0; i < f->v->n_stages; i++) {
        if (f->state[i] == f->v->stages[i].state) continue;
        f->state[i] = f->v->stages[i].state;
        tell_stage(f, &f->v->stages[i]);
    }
}

static void tell_log(struct follow *f) {
    const struct mi_run_view *v = f->v;
    /* The view keeps the newest lines only: once it is full, go by time instead of by count. */
    size_t i = f->n_log < v->n_log ? f->n_log : 0;
    if (f->n_log >= v->n_log) {
        while (i < v->n_log && v->log[i].at <= f->log_at) i++;
    }
    for (; i < v->n_log; i++) {
        char *line = mi_format("%s%s",
                               v->log[i].level == 'e'   ? "error: "
                               : v->log[i].level == 'w' ? "warning: "
                                                        : "",
                               v->log[i].text);
        if (line) say(f, v->log[i].at, line);
        free(line);
        f->log_at = v->log[i].at;
    }
    f->n_log = v->n_log;
}

/* How titles call the defense of a row. */
static const char *defense_of(const struct mi_run_view *v, const struct mi_score_view *s) {
    for (size_t i = 0; i < v->n_cells; i++)
        if (v->cells[i].label && strcmp(v->cells[i].id, s->cell) == 0) return v->cells[i].label;
    return s->defense;
}

static void tell_scores(struct follow *f) {
    for (; f->n_scores < f->v->n_scores; f->n_scores++) {
        const struct mi_score_view *s = &f->v->scores[f->n_scores];
        char line[400];
        snprintf(line, sizeof line, "%s on %s with %s: accuracy %.2f %%, attack accuracy %.2f %%%s", s->attack,
                 s->model, defense_of(f->v, s), s->acc, s->attacc, s->synthetic ? " (synthetic data)" : "");
        say(f, f->v->updated, line);
    }
}

void follow_tell_events(struct follow *f) {
    tell_stages(f);
    tell_log(f);
    tell_scores(f);
}

/* Cuts UTF-8 text after `width` code points, at a character's end; returns how many remain. */
static int cut(char *s, int width) {
    int n = 0;
    for (; *s; s++) {
        if (((unsigned char)*s & 0xC0) != 0x80 && n++ == width) {
            *s = '\0';
            return width;
        }
    }
    return n;
}

/* "  epoch 3.0/200  812 img/s  ETA 1m20s": what must not be cut off. */
static void progress_text(const struct mi_stage_view *s, bool paused, char *out, size_t size) {
    char eta[32], rate[48] = "", part[48] = "";
    follow_duration(eta, sizeof eta, s->eta);
    if (s->epochs > 0)
        snprintf(part, sizeof part, "  epoch %.1f/%.0f", s->epoch, s->epochs);
    else if (s->total > 0)
        snprintf(part, sizeof part, "  %.0f%%", 100 * s->done / s->total);
    if (s->rate > 0)
        snprintf(rate, sizeof rate, "  %.*f %s/s", s->rate < 10 ? 1 : 0, s->rate, s->unit ? s->unit : "it");
    snprintf(out, size, "%s%s%s%s%s", part, rate, s->eta >= 0 ? "  ETA " : "", s->eta >= 0 ? eta : "",
             paused ? "  PAUSED" : "");
}

void follow_status(const struct follow *f, char *out, size_t size, int width) {
    const struct mi_run_view *v = f->v;
    char head[300], tail[200] = "";
    if (v->current < 0 || (size_t)v->current >= v->n_stages) {
        snprintf(head, sizeof head, "run %d  %s", f->run, v->state ? v->state : "starting");
    } else {
        const struct mi_stage_view *s = &v->stages[v->current];
        snprintf(head, sizeof head, "run %d %.0f%%  [%d/%zu] %s%s%s", f->run, 100 * mi_view_fraction(v), v->current + 1,
                 v->n_stages, s->title ? s->title : s->id, s->phase && *s->phase ? ": " : "", s->phase ? s->phase : "");
        progress_text(s, v->state && !strcmp(v->state, "paused"), tail, sizeof tail);
    }
    if (width > 0) {
        int room = width - cut(tail, width);
        cut(head, room);
    }
    snprintf(out, size, "%s%s", head, tail);
}
