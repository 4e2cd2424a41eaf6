/* src/engine/loop.c - the one mechanism under every long phase.
 *
 * The body of a phase is "do step l->step"; everything else happens in mi_loop_next, between two steps: closing a
 * bucket of the curves, answering pause, stop and snapshot, writing checkpoints, telling progress.  A body never sees
 * any of it, so every phase can be stopped and continued exactly, and there is one place where that can be wrong.
 *
 * Time enters only in what is shown (progress lines, when a checkpoint is written), never in what is computed.
 * Owns: its private part and, without a context's curves, its own.  Borrows everything registered. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loop_priv.h"

#define POINTS_PER_PHASE 600 /* at most so many points a curve and phase */

double mi_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void too_many(struct mi_loop *l, const char *what, const char *name) {
    mi_loop_fail(
        l, mi_fail(MI_E_INTERNAL, "loop %s: more than %d %s registered (at %s)", l->phase, MI_LOOP_MAX, what, name));
}

void mi_loop_add_params(struct mi_loop *l, const char *name, struct mi_params *ps) {
    if (l->n_params == MI_LOOP_MAX) {
        too_many(l, "networks", name);
        return;
    }
    l->params[l->n_params].name = name;
    l->params[l->n_params++].ps = ps;
}

void mi_loop_add_opt(struct mi_loop *l, const char *name, mt_opt *o) {
    if (l->n_opts == MI_LOOP_MAX) {
        too_many(l, "optimisers", name);
        return;
    }
    l->opts[l->n_opts].name = name;
    l->opts[l->n_opts++].o = o;
}

void mi_loop_add_tensor(struct mi_loop *l, const char *name, mt_tensor **owned) {
    if (l->n_tensors == MI_LOOP_MAX) {
        too_many(l, "tensors", name);
        return;
    }
    l->tensors[l->n_tensors].name = name;
    l->tensors[l->n_tensors++].t = owned;
}

void mi_loop_add_number(struct mi_loop *l, const char *name, double *v) {
    if (l->n_numbers == MI_LOOP_MAX) {
        too_many(l, "numbers", name);
        return;
    }
    l->numbers[l->n_numbers].name = name;
    l->numbers[l->n_numbers++].v = v;
}

static void window_reset(struct mi_loop *l) {
    l->priv->w_n = l->priv->w_at = 0;
    l->priv->t_report = 0;
}

static double abscissa(const struct mi_loop *l, int64_t step) {
    double x = l->steps_per_epoch > 0 ? (double)step / (double)l->steps_per_epoch : (double)step;
    return l->priv->curves->base_x + x;
}

static void write_event(struct mi_loop *l, json_t *event) {
    if (!l->ctx->journal) {
        json_decref(event);
        return;
    }
    if (!event || mi_journal_write(l->ctx->journal, event) != MI_OK) mi_error_clear(); /* the work goes on */
}

static void write_state(struct mi_loop *l, const char *state) {
    write_event(l, json_pack("{s:s, s:s}", "t", "state", "state", state));
}

/* One progress line; the rate is taken over the sliding window of the last reports. */
static void report(struct mi_loop *l, double now) {
    struct mi_loop_private *p = l->priv;
    double rate = 0, eta = -1;
    if (p->w_n > 0) {
        int oldest = p->w_n < MI_LOOP_WINDOW ? 0 : p->w_at;
        double seconds = now - p->w_time[oldest];
        if (seconds > 0) rate = (double)(l->step - p->w_step[oldest]) / seconds;
        if (rate > 0) eta = (double)(l->total - l->step) / rate;
    }
    p->w_time[p->w_at] = now;
    p->w_step[p->w_at] = l->step;
    p->w_at = (p->w_at + 1) % MI_LOOP_WINDOW;
    if (p->w_n < MI_LOOP_WINDOW) p->w_n++;
    p->t_report = now;
    json_t *e = json_pack("{s:s, s:s, s:s, s:f, s:f, s:s, s:f, s:f}", "t", "progress", "stage", l->ctx->stage, "phase",
                          l->phase, "done", (double)l->step * l->per_step, "total", (double)l->total * l->per_step,
                          "unit", l->unit ? l->unit : "steps", "rate", rate * l->per_step, "eta", eta);
    if (e && l->steps_per_epoch > 0) {
        json_object_set_new(e, "epoch", json_real((double)l->step / (double)l->steps_per_epoch));
        json_object_set_new(e, "epochs", json_real((double)l->total / (double)l->steps_per_epoch));
    }
    write_event(l, e);
}

/* After a restore the curves of earlier sessions are void: what the checkpoint holds is written again. */
static void rewind_curves(struct mi_loop *l) {
    write_event(l, json_pack("{s:s, s:s, s:I}", "t", "rewind", "stage", l->ctx->stage, "step", (json_int_t)-1));
    mi_curves_replay(l->priv->curves, l->ctx->journal, l->ctx->stage);
}

static void release(struct mi_loop *l) {
    if (l->priv && l->priv->own_curves) mi_curves_free(l->priv->curves);
    free(l->priv);
    l->priv = NULL;
}

static enum mi_status prepare(struct mi_loop *l) {
    l->priv = mi_calloc(1, sizeof(*l->priv));
    if (!l->priv) return MI_E_NOMEM;
    struct mi_loop_private *p = l->priv;
    p->curves = l->ctx->curves;
    if (!p->curves) {
        p->own_curves = true;
        p->curves = mi_curves_new();
        if (!p->curves) return MI_E_NOMEM;
    }
    if (l->per_step <= 0) l->per_step = 1;
    p->bucket = (l->total + POINTS_PER_PHASE - 1) / POINTS_PER_PHASE;
    if (p->bucket < 1) p->bucket = 1;
    p->saved_step = p->first = -1;
    return MI_OK;
}

enum mi_status mi_loop_begin(struct mi_loop *l) {
    if (l->status != MI_OK) return l->status;
    bool found = false;
    l->status = prepare(l);
    if (l->status == MI_OK) l->status = mi_checkpoint_read(l, &found);
    if (l->status != MI_OK) {
        release(l);
        return l->status;
    }
    struct mi_loop_private *p = l->priv;
    if (found) {
        p->resumed = true;
        if (l->step < l->total)
            mi_ctx_log(l->ctx, "info", "%s: %s continues at step %lld of %lld", l->ctx->stage, l->phase,
                       (long long)l->step, (long long)l->total);
        rewind_curves(l);
    }
    p->t_save = p->t_due = mi_clock();
    report(l, mi_clock());
    return MI_OK;
}

static bool save(struct mi_loop *l) {
    enum mi_status st = mi_checkpoint_write(l);
    l->priv->t_save = mi_clock();
    if (st != MI_OK) l->status = st;
    return st == MI_OK;
}

/* Waits while the person wants a pause.  The checkpoint before it makes a paused engine safe to kill. */
static void hold(struct mi_loop *l) {
    if (!save(l)) return;
    report(l, mi_clock());
    write_state(l, "paused");
    struct timespec nap = {.tv_nsec = 50 * 1000 * 1000};
    while (mi_control_paused(l->ctx->control) && !mi_control_stop_wanted(l->ctx->control)) nanosleep(&nap, NULL);
    if (!mi_control_stop_wanted(l->ctx->control)) write_state(l, "running");
    window_reset(l);
}

/* Pause, snapshot, stop; false when the loop must end. */
static bool obey(struct mi_loop *l) {
    struct mi_control *c = l->ctx->control;
    if (!c) return true;
    if (mi_control_paused(c) && !mi_control_stop_wanted(c)) hold(l);
    if (l->status != MI_OK) return false;
    if (mi_control_take_snapshot(c)) {
        if (!save(l)) return false;
        mi_ctx_log(l->ctx, "info", "%s: snapshot at step %lld", l->ctx->stage, (long long)l->step);
    }
    if (!mi_control_stop_wanted(c)) return true;
    if (save(l)) l->status = MI_STOPPED;
    report(l, mi_clock());
    return false;
}

/* What follows a step: its error if any, its part in the curves. */
static void finish_step(struct mi_loop *l) {
    struct mi_loop_private *p = l->priv;
    p->in_step = p->due = false;
    if (mt_failed()) {
        l->status = mt_status();
        return;
    }
    l->step++;
    if (mi_cost_step(l)) {
        l->status = MI_STOPPED;
        return;
    }
    if (l->step % p->bucket != 0 && l->step != l->total) return;
    int64_t step = p->curves->base_step + l->step;
    enum mi_status st = mi_curves_close(p->curves, step, abscissa(l, l->step), l->ctx->journal, l->ctx->stage);
    if (st != MI_OK) l->status = st;
}

bool mi_loop_next(struct mi_loop *l) {
    struct mi_loop_private *p = l->priv;
    if (l->status != MI_OK || !p) return false;
    bool stepped = p->in_step;
    if (stepped) finish_step(l);
    if (l->status != MI_OK) return false;
    double now = mi_clock();
    if (l->step >= l->total || (stepped && mi_cost_passing(l))) {
        report(l, now);
        return false; /* a stop that arrives now is seen before the next phase */
    }
    if (!obey(l)) return false;
    if (stepped && (l->ctx->checkpoint_every <= 0 || now - p->t_save >= l->ctx->checkpoint_every) && !save(l))
        return false;
    if (now - p->t_report >= l->ctx->report_every) report(l, now);
    if (now - p->t_due >= 4 * l->ctx->report_every || l->step == l->total - 1) {
        p->due = true;
        p->t_due = now;
    }
    return p->in_step = true;
}

void mi_loop_fail(struct mi_loop *l, enum mi_status st) {
    if (l->status == MI_OK) l->status = st;
}

void mi_loop_scalar(struct mi_loop *l, const char *series, double value) {
    if (l->priv) mi_curves_add(l->priv->curves, series, value);
}

void mi_loop_scalar_tensor(struct mi_loop *l, const char *series, mt_tensor *value) {
    if (l->priv) mi_curves_add_tensor(l->priv->curves, series, value);
}

bool mi_loop_report_due(const struct mi_loop *l) {
    return l->priv && l->priv->due;
}

enum mi_status mi_loop_end(struct mi_loop *l) {
    struct mi_loop_private *p = l->priv;
    if (!p) return l->status;
    if (l->status == MI_OK && p->in_step) finish_step(l); /* the body left early: the step it was in counts */
    /* The end of a phase is worth a checkpoint: the next phase may be killed before it has its own.  It is written
     * before the base moves on, so that restoring it and ending again moves the base once. */
    if (l->status == MI_OK && p->saved_step != l->step) l->status = mi_checkpoint_write(l);
    if (l->status == MI_OK) {
        p->curves->base_x = abscissa(l, l->step);
        p->curves->base_step += l->step;
    }
    release(l);
    return l->status;
}
