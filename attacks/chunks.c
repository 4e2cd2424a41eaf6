/* attacks/chunks.c - identities side by side: how many at once, their labels and random numbers, what is shown of them,
 * where finished ones are kept.  Used by every attack that descends on latents at 32 to 128 px.
 *
 * The formulas stay in the attacks.  A row is one candidate image (or one distribution of images) of one identity; rows
 * are ordered by label, then candidate.  Owns the labels and keys of the chunk in work; borrows the job. */
#include "attacks/chunks.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_IDS = 12 }; /* identities on a sheet of running reconstructions */

/* Rows side by side when the person does not say. */
static int by_memory(const struct mi_attack_job *job, int weight) {
    uint64_t used = 0, total = 0, peak = 0;
    bool gpu = job->ctx->device.type == 1;
    if (gpu && mt_mem_info(job->ctx->device, &used, &total, &peak) != MI_OK) total = 0;
    if (gpu) mi_error_clear();
    int stack = !gpu ? 60 : total > (40ull << 30) ? 300 : 100;
    if (job->size > 64) stack /= 4;
    return stack / weight;
}

enum mi_status mi_chunks_open(struct mi_chunks *c, struct mi_attack_job *job, int per_label, int64_t iterations,
                              int stack, int weight) {
    *c = (struct mi_chunks){.job = job, .per_label = per_label, .iterations = iterations, .loaded = -1};
    int classes = mi_oracle_classes(job->oracle);
    for (int i = 0; i < job->n_labels; i++)
        if (job->labels[i] < 0 || job->labels[i] >= classes)
            return mi_fail(MI_E_INPUT, "identity %d cannot be attacked: the target knows classes 0..%d", job->labels[i],
                           classes - 1);
    int ids = (stack > 0 ? stack : by_memory(job, weight)) / per_label;
    if (ids > job->n_labels) ids = job->n_labels;
    c->ids = ids > 0 ? ids : 1;
    c->count = (job->n_labels + c->ids - 1) / c->ids;
    return MI_OK;
}

static void drop(struct mi_chunks *c) {
    mt_free(c->y);
    free(c->key);
    c->y = NULL;
    c->key = NULL;
    c->loaded = -1;
}

void mi_chunks_close(struct mi_chunks *c) {
    drop(c);
}

int mi_chunks_ids(const struct mi_chunks *c, int chunk) {
    int left = c->job->n_labels - chunk * c->ids;
    return left < c->ids ? left : c->ids;
}

int mi_chunks_rows(const struct mi_chunks *c, int chunk) {
    return mi_chunks_ids(c, chunk) * c->per_label;
}

int mi_chunks_of(const struct mi_chunks *c, int64_t step) {
    return (int)(step / c->iterations);
}

enum mi_status mi_chunks_enter(struct mi_chunks *c, int chunk) {
    if (c->loaded == chunk) return MI_OK;
    drop(c);
    int n = mi_chunks_rows(c, chunk);
    int64_t *y = mi_calloc((size_t)n, sizeof *y);
    c->key = mi_calloc((size_t)n, sizeof *c->key);
    enum mi_status st = y && c->key ? MI_OK : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < n; i++) {
        y[i] = c->job->labels[chunk * c->ids + i / c->per_label];
        c->key[i] = mi_mix((uint64_t)y[i], (uint64_t)(i % c->per_label));
    }
    if (st == MI_OK) {
        mt_scope *s = mt_scope_begin("chunk");
        mt_spec sp = {MT_I64, MT_CPU, MT_NCHW};
        c->y = mt_keep(mt_to(mt_from(y, MT_SHAPE(n), sp), c->job->ctx->device));
        st = mt_scope_end(s);
    }
    free(y);
    if (st == MI_OK)
        c->loaded = chunk;
    else
        drop(c);
    return st;
}

mt_tensor *mi_chunks_normal(const struct mi_chunks *c, int chunk, const char *purpose, int each, int64_t step,
                            int dim) {
    int n = mi_chunks_ids(c, chunk) * each;
    float *z = mi_calloc((size_t)n * (size_t)dim, sizeof *z);
    if (!z) {
        mt_raise(MI_E_NOMEM, "no memory for the latents of %d images", n);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        uint64_t label = (uint64_t)c->job->labels[chunk * c->ids + i / each];
        struct mi_rng r = mi_rng_make(c->job->ctx->seed, purpose, label, (uint64_t)(step * each + i % each));
        mi_rng_fill_normal(&r, z + (size_t)i * (size_t)dim, (size_t)dim);
    }
    mt_tensor *t = mt_to(mt_from(z, MT_SHAPE(n, dim), MT_SPEC_F32), c->job->ctx->device);
    free(z);
    return t;
}

int mi_chunks_shown(const struct mi_chunks *c, int chunk) {
    int ids = mi_chunks_ids(c, chunk);
    return ids < SHOWN_IDS ? ids : SHOWN_IDS;
}

enum mi_status mi_chunks_show(struct mi_chunks *c, int chunk, int64_t step, mt_tensor *x) {
    struct mi_ctx *ctx = c->job->ctx;
    char name[160]; /* of the sheet the attack stage draws at the end, which then takes its place */
    snprintf(name, sizeof name, "recon-%s", ctx->cell ? ctx->cell : ctx->stage);
    return mi_ctx_atlas(ctx, name, "recon", mt_detach(x), c->job->restarts, c->job->labels + chunk * c->ids, step,
                        false);
}

void mi_chunks_curves(struct mi_chunks *c, struct mi_loop *l, mt_tensor *identity, mt_tensor *prior,
                      mt_tensor *logits) {
    mi_loop_scalar_tensor(l, "loss/identity", mt_detach(mt_mean(identity, NULL, 0, false)));
    if (prior) mi_loop_scalar_tensor(l, "loss/prior", mt_detach(mt_mean(prior, NULL, 0, false)));
    int64_t every = l->total / 500 + 1; /* curves depend on the step alone, never on the clock */
    if (l->step % every != 0) return;
    mt_tensor *right = mt_compare(mt_argmax(mt_detach(logits), 1), c->y, MT_EQ);
    mi_loop_scalar_tensor(l, "acc/target", mt_affine(mt_mean(mt_cast(right, MT_F32), NULL, 0, false), 100, 0));
}

enum mi_status mi_chunks_deliver(struct mi_chunks *c, int chunk, mt_tensor *x) {
    char part[32];
    snprintf(part, sizeof part, "chunk-%04d", chunk);
    if (!x) return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "%s of the attack has no images", part);
    return mi_ctx_part_save(c->job->ctx, part, (mt_tensor *const[]){mt_to(x, MT_CPU)}, (const char *const[]){"x"}, 1);
}

enum mi_status mi_chunks_collect(struct mi_chunks *c, struct mi_recon *out) {
    mt_scope *s = mt_scope_begin("collect");
    mt_tensor **part = mi_calloc((size_t)c->count, sizeof *part);
    enum mi_status st = part ? MI_OK : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < c->count; i++) {
        char name[32];
        snprintf(name, sizeof name, "chunk-%04d", i);
        st = mi_ctx_part_load(c->job->ctx, name, &part[i], (const char *const[]){"x"}, 1);
        if (st == MI_E_MISSING) mi_fail(st, "finished images %s of the attack are gone from the work folder", name);
    }
    if (st == MI_OK) out->x = mt_keep(mt_contig(mt_cat(part, c->count, 0), MT_NCHW)); /* [labels*restarts,3,S,S] */
    free(part);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}
