/* attacks/public.c - the attacker's only data: unlabelled public images, in batches.
 *
 * Pixels are bytes in a mapped file; a batch is gathered into a staging buffer and handed over as floats in [0,1].  The
 * order of an epoch is a pure function of (seed, purpose, epoch), so walks with different purposes are independent and
 * a killed loop continues in the middle of an epoch without any state.  Owns order and staging, borrows the job. */
#include "attacks/public.h"

#include <stdlib.h>

enum mi_status mi_public_open(struct mi_public *p, const struct mi_attack_job *job, const char *purpose, int batch,
                              const char *what) {
    *p = (struct mi_public){.job = job, .purpose = purpose, .batch = batch, .epoch = -1};
    p->per_epoch = (int64_t)(job->pub->n / (size_t)batch);
    if (p->per_epoch == 0)
        return mi_fail(MI_E_INPUT,
                       "training needs at least one batch of %d public images but there are %zu; add public "
                       "images or lower %s",
                       batch, job->pub->n, what);
    p->order = mi_calloc(job->pub->n, sizeof *p->order);
    p->pixels = mi_calloc((size_t)batch * (size_t)job->size, (size_t)job->size * 3 * sizeof *p->pixels);
    if (p->order && p->pixels) return MI_OK;
    mi_public_close(p);
    return MI_E_NOMEM;
}

void mi_public_close(struct mi_public *p) {
    free(p->order);
    free(p->pixels);
    p->order = NULL;
    p->pixels = NULL;
}

static mt_tensor *gather(struct mi_public *p, int64_t epoch, int64_t first, int n, mt_layout_t layout) {
    static const float mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};
    const struct mi_attack_job *job = p->job;
    int size = job->size;
    if (epoch != p->epoch) {
        mi_epoch_order(p->order, job->pub->n, mi_mix(job->ctx->seed, mi_hash_text(p->purpose)), epoch);
        p->epoch = epoch;
    }
    mi_batch_fill(p->pixels, job->pub, p->order + first, NULL, (size_t)n, size, mean, std);
    mt_tensor *x = mt_from(p->pixels, MT_SHAPE(n, 3, size, size), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
    return mt_contig(mt_to(x, job->ctx->device), layout);
}

mt_tensor *mi_public_batch(struct mi_public *p, int64_t step, mt_layout_t layout) {
    return gather(p, step / p->per_epoch, step % p->per_epoch * p->batch, p->batch, layout);
}

mt_tensor *mi_public_range(struct mi_public *p, int64_t first, int n, mt_layout_t layout) {
    return gather(p, 0, first, n, layout);
}
