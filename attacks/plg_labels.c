/* attacks/plg_labels.c - PLG-MI's pseudo labels (Yuan et al., AAAI 2023): which public images stand for which person.
 *
 * The target looks once at every public image; each class takes the `per_class` images it gives the greatest
 * probability.  An image may serve several classes, and a class gets its images even if none is likely.
 *
 * The loop keeps the best so far of each class and merges every batch into them, so memory does not grow with the
 * public set.  Its state are those two tables; the order of the images is a function of the seed. */
#include <stdlib.h>

#include "attacks/plgmi.h"
#include "attacks/public.h"

enum { LOOK_BATCH = 64 };

struct labels {
    struct mi_attack_job *job;
    struct mi_public pub;
    mt_tensor *best, *which; /* [K,per_class] probability (-1 none) and number of the public image, owned */
    int classes, per_class;
};

/* Numbers of the images at first..first+n-1 of the walk, [K,n] i64. */
static mt_tensor *numbers(const struct labels *a, int64_t first, int n) {
    mt_tensor *row = mt_from(a->pub.order + first, MT_SHAPE(1, n), (mt_spec){MT_I32, MT_CPU, MT_NCHW});
    return mt_repeat(mt_to(mt_cast(row, MT_I64), a->job->ctx->device), MT_SHAPE(a->classes, 1));
}

static enum mi_status look(struct labels *a, struct mi_loop *l) {
    int64_t first = l->step * LOOK_BATCH, left = (int64_t)a->job->pub->n - first;
    int n = (int)(left < a->pub.batch ? left : a->pub.batch);
    mt_scope *s = mt_scope_begin("look");
    bool grad = mt_grad_mode(false);
    mt_tensor *probs = NULL, *val = NULL, *at = NULL;
    enum mi_status st =
        mi_oracle_probs(a->job->oracle, mi_public_range(&a->pub, first, n, MT_NHWC), &probs); /* [n,K] */
    if (st == MI_OK) {
        mt_tensor *all = mt_cat(MT_LIST(a->best, mt_transpose(probs, 0, 1)), 1); /* [K,per_class+n] */
        st = mt_topk(all, a->per_class, 1, &val, &at);
    }
    if (st == MI_OK) {
        mt_copy_(a->which, mt_gather(mt_cat(MT_LIST(a->which, numbers(a, first, n)), 1), 1, at));
        mt_copy_(a->best, val);
    }
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status labels_open(struct labels *a) {
    struct mi_attack_job *job = a->job;
    if (job->pub->n < (size_t)a->per_class)
        return mi_fail(MI_E_INPUT,
                       "each class is to get %d public images but there are only %zu; lower per_class or add "
                       "public images",
                       a->per_class, job->pub->n);
    MI_TRY(mi_public_open(&a->pub, job, "plg labels", job->pub->n < LOOK_BATCH ? (int)job->pub->n : LOOK_BATCH,
                          "per_class"));
    /* numbers() reads the walk's order, which is laid out here and not by the first batch. */
    mi_epoch_order(a->pub.order, job->pub->n, mi_mix(job->ctx->seed, mi_hash_text(a->pub.purpose)), 0);
    mt_scope *s = mt_scope_begin("labels");
    mt_device dev = job->ctx->device;
    a->best = mt_keep(mt_full(MT_SHAPE(a->classes, a->per_class), -1, (mt_spec){MT_F32, dev, MT_NCHW}));
    a->which = mt_keep(mt_zeros(MT_SHAPE(a->classes, a->per_class), (mt_spec){MT_I64, dev, MT_NCHW}));
    return mt_scope_end(s);
}

static enum mi_status look_at_all(struct labels *a) {
    size_t n = a->job->pub->n;
    struct mi_loop l = {.ctx = a->job->ctx,
                        .phase = "labels",
                        .unit = "img",
                        .per_step = a->pub.batch,
                        .total = ((int64_t)n + LOOK_BATCH - 1) / LOOK_BATCH};
    mi_loop_add_tensor(&l, "best", &a->best);
    mi_loop_add_tensor(&l, "which", &a->which);
    MI_TRY(mi_loop_begin(&l));
    while (mi_loop_next(&l)) {
        enum mi_status st = look(a, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    return mi_loop_end(&l);
}

enum mi_status mi_plg_labels(struct mi_attack_job *job, int per_class, int32_t **image) {
    struct labels a = {.job = job, .classes = mi_oracle_classes(job->oracle), .per_class = per_class};
    size_t n = (size_t)a.classes * (size_t)per_class;
    *image = NULL;
    enum mi_status st = labels_open(&a);
    if (st == MI_OK) st = look_at_all(&a);
    if (st == MI_OK && !(*image = mi_calloc(n, sizeof **image))) st = MI_E_NOMEM;
    if (st == MI_OK) st = mt_read(a.which, *image, (int64_t)(n * sizeof **image), MT_I32, MT_NCHW);
    if (st != MI_OK) {
        free(*image);
        *image = NULL;
    }
    mi_public_close(&a.pub);
    mt_free(a.best);
    mt_free(a.which);
    return st;
}
