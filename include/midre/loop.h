/* midre/loop.h - the one mechanism under every long phase: progress, curves, pictures, pause, stop, checkpoints,
 * exact resume.  Training a target, a judge, a GAN and inverting all run as a struct mi_loop.
 *
 *     struct mi_loop l = { .ctx = ctx, .phase = "gan", .total = steps, .unit = "img", .per_step = batch };
 *     mi_loop_add_params(&l, "G", g->params); mi_loop_add_opt(&l, "optG", optg); ...
 *     MI_TRY(mi_loop_begin(&l));                   // resumes when a checkpoint of this phase is there
 *     while (mi_loop_next(&l)) { one step for l.step; mi_loop_scalar(&l, "loss/critic", v); }
 *     return mi_loop_end(&l);                      // MI_OK, MI_STOPPED, or the error
 *
 * A step must be a pure function of (registered state, l.step): random numbers come from (seed, purpose, step).
 * Then kill -9 at any instant and resume gives bit-identical results (CPU, same threads).  Phase names are unique
 * within a stage: a phase that had finished before the kill is restored at its end and does no step again. */
#ifndef MIDRE_LOOP_H
#define MIDRE_LOOP_H

#include "midre/control.h"
#include "midre/image.h"
#include "midre/journal.h"
#include "midre/nn.h"
#include "midre/workspace.h"

/* A few steps only to see how long they take: the loop ends with MI_STOPPED after them.  Loops before it do one step
 * each and end as if they had done all: what they make is good for timing, for nothing else. */
struct mi_trial {
    const char *phase;            /* a loop whose phase begins so is timed; NULL = the first one */
    int64_t steps;                /* to time, after one that warms up */
    double units;                 /* if greater: as many steps as do so many units */
    double at_least;              /* seconds: timed in multiples of the above until they have passed */
    /* If set, after every step with its seconds (0 for the one that warms up), not timed itself; true: enough. */
    bool (*after)(void *user, double seconds);
    void *user;
    int64_t total;                /* result: steps the loop would have */
    int64_t timed;                /* result: steps timed */
    double per_step;              /* result: units of a step */
    double seconds;               /* result: of one step; 0 = nothing was timed */
    double tallied;               /* result: by how much the stage's tally grew in the timed steps */
};

/* What a stage hands to whatever it runs: where to report, where to checkpoint, what machine to use. */
struct mi_ctx {
    struct mi_journal *journal;
    struct mi_control *control;
    struct mi_product *product;   /* of the running stage: checkpoints go to its work folder */
    const char *run_dir, *stage, *cell; /* ids for events; cell may be NULL */
    mt_device device;
    mt_dtype precision;
    uint64_t seed;
    double checkpoint_every;      /* seconds; 0 = every step (tests) */
    double report_every;          /* seconds between progress lines */
    struct mi_curves *curves;     /* of the running stage (graph.c); NULL: the loop's curves are not kept */
    struct mi_trial *trial;       /* NULL: real work */
    double memory_mb;             /* a training may take; 0 = what is free */
    int parts;                    /* result of a training: parts a batch was computed in, 0 or 1 = whole */
    double *tally;                /* a count over the whole stage (oracle queries), kept in checkpoints; may be NULL */
};

#define MI_LOOP_MAX 16
struct mi_loop {
    struct mi_ctx *ctx;
    const char *phase, *unit;     /* "train", "img" */
    int64_t total, step;          /* step: index of the step to do now, 0-based */
    double per_step;              /* units a step does: batch size or 1 */
    int64_t steps_per_epoch;      /* 0: no epochs; else x of scalars = epochs */
    /* private to loop.c */
    struct { const char *name; struct mi_params *ps; } params[MI_LOOP_MAX]; int n_params;
    struct { const char *name; mt_opt *o; } opts[MI_LOOP_MAX]; int n_opts;
    struct { const char *name; mt_tensor **t; } tensors[MI_LOOP_MAX]; int n_tensors;
    struct { const char *name; double *v; } numbers[MI_LOOP_MAX]; int n_numbers;
    enum mi_status status;
    struct mi_loop_private *priv;
};

void mi_loop_add_params(struct mi_loop *l, const char *name, struct mi_params *ps);
void mi_loop_add_opt(struct mi_loop *l, const char *name, mt_opt *o);
void mi_loop_add_tensor(struct mi_loop *l, const char *name, mt_tensor **owned); /* latents, momenta: owned handles */
void mi_loop_add_number(struct mi_loop *l, const char *name, double *v);         /* best accuracy, running means */
enum mi_status mi_loop_begin(struct mi_loop *l);
/* true: do step l->step.  Handles pause, stop, checkpoint and reporting between steps. */
bool mi_loop_next(struct mi_loop *l);
/* Ends the loop early with an error from the step's body; mi_loop_next then returns false. */
void mi_loop_fail(struct mi_loop *l, enum mi_status st);
/* Curves: a host number, or a device scalar that is summed on the device (no sync before a point is due).  A point
 * is the mean over a fixed number of steps, so curves do not depend on the clock. */
void mi_loop_scalar(struct mi_loop *l, const char *series, double value);
void mi_loop_scalar_tensor(struct mi_loop *l, const char *series, mt_tensor *value);
/* true every few seconds: compute costly extras that are only shown (sample grids) then, never state. */
bool mi_loop_report_due(const struct mi_loop *l);
enum mi_status mi_loop_end(struct mi_loop *l);

/* Immediate events outside a loop. */
void mi_ctx_log(struct mi_ctx *c, const char *level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Scalars at an explicit x (end of epoch evaluation). */
void mi_ctx_scalar(struct mi_ctx *c, const char *series, int64_t step, double x, double value);
/* Tiles of x [N,3,S,S] in [0,1] -> pictures/<name>.png (cols x ceil(N/cols)) + atlas event.  labels may be NULL
 * (else one per row).  Host sync. */
enum mi_status mi_ctx_atlas(struct mi_ctx *c, const char *name, const char *kind, mt_tensor *x, int cols,
                            const int *labels, int64_t step, bool final);
bool mi_ctx_stop_wanted(const struct mi_ctx *c);
/* Scratch tensors of a finished part inside a stage (per-restart latents): saved in the work folder, found again on
 * resume.  load returns MI_E_MISSING when there is none (message cleared). */
enum mi_status mi_ctx_part_save(struct mi_ctx *c, const char *part, mt_tensor *const *ts, const char *const *names, int n);
enum mi_status mi_ctx_part_load(struct mi_ctx *c, const char *part, mt_tensor **ts, const char *const *names, int n);

#endif
