/* src/engine/cost.c - how long a phase will take and how much memory it holds, told from its own first steps.
 *
 * The steps that are timed are the first ones of the phase itself, so nothing is done twice and no number changes.  The
 * first step of a session is left out: it loads kernels and fills caches.  A trial (a quick run that has to choose how
 * many steps it can afford) ends the loop at this point instead; its state is thrown away by whoever started it. */
#include <stdio.h>

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

bool mi_cost_step(struct mi_loop *l) {
    struct mi_loop_private *p = l->priv;
    struct mi_trial *t = l->ctx->trial;
    if (p->told) return false;
    if (p->first < 0) { /* on a GPU the queue runs ahead of us: without waiting nothing would be timed */
        mt_sync(l->ctx->device);
        p->first = l->step;
        p->t_first = mi_clock();
        return t && l->step >= l->total;
    }
    int64_t done = l->step - p->first;
    if (done < (t ? t->steps : TIMED) && l->step < l->total) return false;
    mt_sync(l->ctx->device);
    double each = (mi_clock() - p->t_first) / (double)done;
    p->told = true;
    if (!t) {
        tell(l, each * (double)(l->total - l->step));
        return false;
    }
    t->seconds = each;
    t->total = l->total;
    return true;
}
