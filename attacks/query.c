/* attacks/query.c - what the attacks without gradients share: latents in, labels or probabilities out.
 *
 * Their published programs ask about one image, or the few of one identity, at a time, which leaves any machine idle.
 * Here all identities and restarts ask together.  Every network is in evaluation mode, so an image's answer does not
 * depend on its company beyond rounding; random numbers belong to a row (label, restart), not to its place in a batch.
 *
 * Owns the generator.  Borrows the job; reaches the target through the oracle alone, which counts. */
#include "attacks/query.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_IDS = 12 }; /* identities on a sheet of running reconstructions */

static int by_memory(const struct mi_attack_job *job) {
    uint64_t used = 0, total = 0, peak = 0;
    bool gpu = job->ctx->device.type == 1;
    if (gpu && mt_mem_info(job->ctx->device, &used, &total, &peak) != MI_OK) {
        total = 0; /* unknown: the careful size */
        mi_error_clear();
    }
    int n = !gpu ? 128 : total > (40ull << 30) ? 4096 : 1024;
    return job->size > 64 ? n / 4 : n;
}

enum mi_status mi_query_open(struct mi_query *q, struct mi_attack_job *job) {
    *q = (struct mi_query){.job = job, .rows = job->n_labels * job->restarts};
    int classes = mi_oracle_classes(job->oracle);
    for (int i = 0; i < job->n_labels; i++)
        if (job->labels[i] < 0 || job->labels[i] >= classes)
            return mi_fail(MI_E_INPUT, "identity %d cannot be attacked: the target knows classes 0..%d", job->labels[i],
                           classes - 1);
    q->batch = (int)mi_values_int(job->values, "stack");
    if (q->batch == 0) q->batch = by_memory(job);
    return mi_dcgan_load(&q->g, NULL, job->prior, job->size, job->ctx->device, job->ctx->precision);
}

void mi_query_close(struct mi_query *q) {
    mi_dcgan_g_close(&q->g);
}

int mi_query_label(const struct mi_query *q, int row) {
    return q->job->labels[row / q->job->restarts];
}

struct mi_rng mi_query_rng(const struct mi_query *q, const char *purpose, int row, int64_t step) {
    uint64_t label = (uint64_t)mi_query_label(q, row), restart = (uint64_t)(row % q->job->restarts);
    return mi_rng_make(q->job->ctx->seed, purpose, mi_mix(label, restart), (uint64_t)step);
}

enum asked { LABELS, PROBS, IMAGES };

/* One batch; the answer goes to the caller's scope. */
static enum mi_status ask(struct mi_query *q, mt_tensor *z, enum asked what, mt_tensor **answer) {
    mt_scope *s = mt_scope_begin("query");
    mt_tensor *x = mi_dcgan_g(&q->g, mt_to(z, q->job->ctx->device), false), *r = NULL; /* [n,3,S,S] */
    enum mi_status st = MI_OK;
    if (what == LABELS)
        st = mi_oracle_labels(q->job->oracle, x, &r);
    else if (what == PROBS)
        st = mi_oracle_probs(q->job->oracle, x, &r);
    else
        r = mt_contig(mt_to(x, MT_CPU), MT_NCHW);
    if (r) *answer = mt_pass(r);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

/* All of z, batch after batch; *all is the answers one below the other, in the current scope. */
static enum mi_status ask_all(struct mi_query *q, mt_tensor *z, enum asked what, mt_tensor **all) {
    *all = NULL;
    if (!z) return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "a query without latents");
    int64_t n = mt_size(z, 0), parts = (n + q->batch - 1) / q->batch;
    mt_tensor **answer = mi_calloc((size_t)(parts > 0 ? parts : 1), sizeof(mt_tensor *));
    if (!answer) return MI_E_NOMEM;
    bool grad = mt_grad_mode(false);
    enum mi_status st = MI_OK;
    for (int64_t i = 0; st == MI_OK && i < parts; i++) {
        int64_t from = i * q->batch, len = n - from < q->batch ? n - from : q->batch;
        st = ask(q, mt_narrow(z, 0, from, len), what, &answer[i]);
    }
    if (st == MI_OK) *all = parts == 1 ? answer[0] : mt_cat(answer, (int)parts, 0);
    mt_grad_mode(grad);
    free(answer);
    if (st != MI_OK || *all) return st;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "a query without an answer");
}

enum mi_status mi_query_labels(struct mi_query *q, mt_tensor *z, int64_t *labels) {
    mt_scope *s = mt_scope_begin("labels");
    mt_tensor *all = NULL;
    enum mi_status st = ask_all(q, z, LABELS, &all);
    if (st == MI_OK) st = mt_read(all, labels, mt_size(z, 0) * (int64_t)sizeof *labels, MT_I64, MT_NCHW);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

enum mi_status mi_query_probs(struct mi_query *q, mt_tensor *z, mt_tensor **probs) {
    return ask_all(q, z, PROBS, probs);
}

mt_tensor *mi_query_images(struct mi_query *q, mt_tensor *z) {
    mt_tensor *x = NULL;
    return ask_all(q, z, IMAGES, &x) == MI_OK ? x : NULL;
}

enum mi_status mi_query_show(struct mi_query *q, int first, mt_tensor *z, int64_t step) {
    struct mi_attack_job *job = q->job;
    int from = (first + job->restarts - 1) / job->restarts; /* the first identity that is whole */
    int ids = (first + (int)mt_size(z, 0)) / job->restarts - from;
    if (ids > SHOWN_IDS) ids = SHOWN_IDS;
    if (ids < 1) return MI_OK;
    mt_scope *s = mt_scope_begin("sheet");
    mt_tensor *x = mi_query_images(q, mt_narrow(z, 0, from * job->restarts - first, ids * job->restarts));
    struct mi_ctx *c = job->ctx;
    char name[160]; /* of the sheet the attack stage draws at the end, which then takes its place */
    snprintf(name, sizeof name, "recon-%s", c->cell ? c->cell : c->stage);
    enum mi_status st =
        x ? mi_ctx_atlas(c, name, "recon", x, job->restarts, job->labels + from, step, false) : mi_error_status();
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}
