/* src/engine/cost.c - how long a phase will take and how much memory it holds, told from its own first steps.
 *
 * The steps that are timed are the first ones of the phase itself, so nothing is done twice and no number changes.  The
 * first step of a session is left out: it loads kernels and fills caches.  A trial (a quick run that has to choose how
 * many steps it can afford) ends the loop at this point instead; its state is thrown away by whoever started it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loop_priv.h"

#define TIMED 4    /* steps after the warm-up */
#define LONG  30.0 /* seconds from which a phase is worth a line */

static void words(double seconds, char *out, size_t size) {
    if (seconds < 90)
        snprintf(out, size, "%.0f s", seconds);
    else if (seconds < 5400)
        snprintf(out, size, "%.0f min", seconds / 60);
    else
        snprintf(out, size, "%.1f h", seconds / 3600);
}

static void tell(struct mi_loop *l, double seconds) {
    uint64_t used = 0, total = 0, peak = 0;
    char about[32];
    if (seconds < LONG || !l->ctx->journal) return;
    if (mt_mem_info(l->ctx->device, &used, &total, &peak) != MI_OK) mi_error_clear();
    words(seconds, about, sizeof about);
    json_t *e = json_pack("{s:s, s:s, s:s, s:f, s:f, s:i}", "t", "cost", "stage", l->ctx->stage, "phase", l->phase,
                          "seconds", seconds, "memory_mb", (double)peak / 1048576.0, "timed", TIMED);
    if (!e || mi_journal_write(l->ctx->journal, e) != MI_OK) mi_error_clear();
    mi_ctx_log(l->ctx, "info", "%s: %s takes about %s, %.1f GB", l->ctx->stage, l->phase, about, (double)peak / 1e9);
}

bool mi_cost_passing(const struct mi_loop *l) {
    const struct mi_trial *t = l->ctx->trial;
    return t && t->phase && strncmp(l->phase, t->phase, strlen(t->phase)) != 0;
}

/* Enough steps for what the loop wants to know. */
static bool enough(const struct mi_loop *l, int64_t done) {
    const struct mi_trial *t = l->ctx->trial;
    if (l->step >= l->total) return true;
    if (!t) return done >= TIMED;
    int64_t group = t->steps;
    if (t->units > 0 && l->per_step > 0 && t->units / l->per_step > (double)group)
        group = (int64_t)ceil(t->units / l->per_step);
    if (group > 1 && done % group != 0) return false;
    if (t->at_least <= 0) return true;
    mt_sync(l->ctx->device);
    return mi_clock() - l->priv->t_first >= t->at_least;
}

/* Tells the trial about the step; what it does meanwhile belongs to no step. */
static bool told_enough(struct mi_loop *l, bool first) {
    struct mi_trial *t = l->ctx->trial;
    if (!t || !t->after) return false;
    if (!first) mt_sync(l->ctx->device);
    bool end = t->after(t->user, first ? 0 : mi_clock() - l->priv->t_step);
    l->priv->t_step = mi_clock();
    return end;
}

bool mi_cost_step(struct mi_loop *l) {
    struct mi_loop_private *p = l->priv;
    struct mi_trial *t = l->ctx->trial;
    if (p->told || mi_cost_passing(l)) return false;
    if (p->first < 0) { /* on a GPU the queue runs ahead of us: without waiting nothing would be timed */
        mt_sync(l->ctx->device);
        p->first = l->step;
        p->tally = l->ctx->tally ? *l->ctx->tally : 0;
        bool end = told_enough(l, true);
        p->t_first = mi_clock();
        return end || (t && l->step >= l->total);
    }
    int64_t done = l->step - p->first;
    bool end = told_enough(l, false);
    if (!end && !enough(l, done)) return false;
    mt_sync(l->ctx->device);
    double each = (mi_clock() - p->t_first) / (double)done;
    p->told = true;
    if (!t) {
        tell(l, each * (double)(l->total - l->step));
        return false;
    }
    t->seconds = each;
    t->timed = done;
    t->tallied = l->ctx->tally ? *l->ctx->tally - p->tally : 0;
    t->per_step = l->per_step;
    t->total = l->total;
    return true;
}
