/* attacks/descent.c - the loop of descent.h.
 *
 * All nets of an attack are frozen, so rows of a chunk share a forward pass and nothing else.  A step is a function of
 * (points, optimiser state, step number); a finished chunk is saved as a part of the stage, so a killed run repeats at
 * most the steps since the last checkpoint.  Owns points and state, borrows attack and job. */
#include "attacks/descent.h"

#include <math.h>

/* ---- moving points -------------------------------------------------------------------------------------------- */

void mi_descent_adam(mt_tensor *p, mt_tensor *m, mt_tensor *v, mt_tensor *grad, double lr, int64_t t) {
    const double b1 = 0.9, b2 = 0.999, eps = 1e-8;
    mt_lerp_(m, grad, 1 - b1);
    mt_affine_(v, b2, 0);
    mt_add_(v, mt_unary(grad, MT_SQUARE), 1 - b2);
    mt_tensor *root = mt_unary(mt_affine(v, 1 / (1 - pow(b2, (double)t)), 0), MT_SQRT);
    mt_add_(p, mt_div(m, mt_affine(root, 1, eps)), -lr / (1 - pow(b1, (double)t)));
}

static void by_adam(const void *attack, mt_tensor *p, mt_tensor *const *state, mt_tensor *grad, double lr, int64_t t) {
    (void)attack;
    mi_descent_adam(p, state[0], state[1], grad, lr, t);
}

const struct mi_descent_rule mi_descent_by_adam = {.state = {"m", "v"}, .move = by_adam};

/* ---- points and state ----------------------------------------------------------------------------------------- */

enum mi_status mi_descent_open(struct mi_descent *d, const struct mi_descent_desc *desc, void *attack,
                               struct mi_attack_job *job, int per_label, int weight) {
    const struct mi_values *v = job->values;
    *d = (struct mi_descent){.desc = desc, .attack = attack, .job = job, .lr = mi_values_real(v, "lr")};
    return mi_chunks_open(&d->c, job, per_label, mi_values_int(v, "iterations"), (int)mi_values_int(v, "stack"),
                          weight);
}

void mi_descent_close(struct mi_descent *d) {
    mi_chunks_close(&d->c);
    mt_free(d->p);
    for (int i = 0; i < 2; i++) mt_free(d->state[i]);
}

static enum mi_status allocate(struct mi_descent *d, int dim) {
    mt_spec sp = {MT_F32, d->job->ctx->device, MT_NCHW};
    int64_t n = mi_chunks_rows(&d->c, 0);
    mt_scope *s = mt_scope_begin("points");
    d->p = mt_keep(mt_zeros(MT_SHAPE(n, dim), sp));
    for (int i = 0; i < 2; i++)
        if (d->desc->rule->state[i]) d->state[i] = mt_keep(mt_zeros(MT_SHAPE(n, dim), sp));
    return mt_scope_end(s);
}

static mt_tensor *rows(mt_tensor *t, int64_t n) {
    return mt_narrow(t, 0, 0, n);
}

/* ---- one chunk ------------------------------------------------------------------------------------------------ */

static enum mi_status start_chunk(struct mi_descent *d, int chunk) {
    mt_scope *s = mt_scope_begin("first points");
    d->desc->start(d->attack, chunk, rows(d->p, mi_chunks_rows(&d->c, chunk)));
    for (int i = 0; i < 2; i++)
        if (d->state[i]) mt_fill_(d->state[i], 0);
    return mt_scope_end(s);
}

static enum mi_status finish_chunk(struct mi_descent *d, int chunk) {
    mt_scope *s = mt_scope_begin("finish chunk");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = NULL;
    enum mi_status st = d->desc->finish(d->attack, chunk, rows(d->p, mi_chunks_rows(&d->c, chunk)), &x);
    if (st == MI_OK) st = mi_chunks_deliver(&d->c, chunk, x);
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static void move(struct mi_descent *d, int64_t n, mt_tensor *grad, int64_t it) {
    mt_tensor *state[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        if (d->state[i]) state[i] = rows(d->state[i], n);
    d->desc->rule->move(d->attack, rows(d->p, n), state, grad, d->lr, it + 1);
}

static enum mi_status descend(struct mi_descent *d, struct mi_loop *l, int chunk, int64_t it) {
    int n = mi_chunks_rows(&d->c, chunk);
    mt_tensor *leaf = mt_detach(rows(d->p, n)), *grad = NULL; /* shares p's memory */
    struct mi_descent_terms t = {0};
    MI_TRY(mt_requires_grad_(leaf, true));
    MI_TRY(d->desc->loss(d->attack, chunk, it, leaf, &t));
    MI_TRY(mt_grad_of(t.loss, &leaf, 1, false, false, &grad));
    mi_chunks_curves(&d->c, l, t.identity, t.prior, t.logits);
    enum mi_status st = MI_OK;
    if (mi_loop_report_due(l)) {
        int ids = mi_chunks_shown(&d->c, chunk);
        st = mi_chunks_show(&d->c, chunk, l->step, d->desc->sheet(d->attack, chunk, ids, t.x));
    }
    move(d, n, grad, it);
    return st;
}

static enum mi_status step(struct mi_descent *d, struct mi_loop *l) {
    int chunk = mi_chunks_of(&d->c, l->step);
    int64_t it = l->step % d->c.iterations;
    MI_TRY(mi_chunks_enter(&d->c, chunk));
    if (it == 0) MI_TRY(start_chunk(d, chunk));
    mt_scope *s = mt_scope_begin("descent step");
    enum mi_status st = descend(d, l, chunk, it);
    enum mi_status end = mt_scope_end(s);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    return it == d->c.iterations - 1 ? finish_chunk(d, chunk) : MI_OK;
}

enum mi_status mi_descent_run(struct mi_descent *d, int dim, struct mi_recon *out) {
    MI_TRY(allocate(d, dim));
    struct mi_loop l = {.ctx = d->job->ctx,
                        .phase = "invert",
                        .unit = "img",
                        .total = d->c.count * d->c.iterations,
                        .per_step = (double)mi_chunks_rows(&d->c, 0)};
    mi_loop_add_tensor(&l, d->desc->points, &d->p);
    for (int i = 0; i < 2; i++)
        if (d->state[i]) mi_loop_add_tensor(&l, d->desc->rule->state[i], &d->state[i]);
    MI_TRY(mi_loop_begin(&l));
    while (mi_loop_next(&l)) {
        enum mi_status st = step(d, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    MI_TRY(mi_loop_end(&l));
    return mi_chunks_collect(&d->c, out);
}
