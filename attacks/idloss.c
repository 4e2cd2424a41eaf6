/* attacks/idloss.c - identity losses: GMI's and KedMI's cross entropy, LOMMA's logit loss and model augmentation
 * (Nguyen et al. 2023, "Re-thinking Model Inversion Attacks Against Deep Neural Networks"), the adaptive attack's
 * masks.
 *
 *   CE       (1/M) sum_models -log softmax_y                                     all of it per image
 *   logit    (1/M) sum_models -logit_y  +  reg (1/d) sum_j (f_j - p_j)^2         f: the target's penultimate features
 *
 * The regulariser looks at the target alone and is a mean over features.  p is the mean of f over public images; the
 * code of the publication draws p from a Gaussian and then overwrites the draw with its mean, so the mean is what its
 * numbers stand on; drawing anew in each iteration is an option.  With an adaptive attacker every model sees the same
 * erased views, and an image's loss is the mean over its views.
 *
 * Owns the statistics; borrows oracle and students. */
#include "attacks/idloss.h"

#include <stdlib.h>

#include "attacks/public.h"

enum { MEASURE_BATCH = 50 }; /* public images in a forward pass, as published; results do not depend on it */

/* ---- loss ----------------------------------------------------------------------------------------------------- */

/* What one model says against the image being y. */
static mt_tensor *against(enum mi_idloss_kind kind, mt_tensor *logits, mt_tensor *y) {
    if (kind == MI_IDLOSS_CE) return mt_cross_entropy(logits, y, 0, MT_RED_NONE); /* [N] */
    return mt_affine(mt_squeeze(mt_gather(logits, 1, mt_unsqueeze(y, 1)), 1), -1, 0);
}

/* The features the regulariser pulls to, [d] or [1,d]. */
static mt_tensor *aim(const struct mi_idloss *id, int64_t step) {
    if (!id->std) return id->mean;
    int d = (int)mt_numel(id->mean);
    float *noise = mi_calloc((size_t)d, sizeof *noise);
    if (!noise) {
        mt_raise(MI_E_NOMEM, "no memory for %d features", d);
        return NULL;
    }
    struct mi_rng r = mi_rng_make(id->seed, "feature aim", (uint64_t)step, 0);
    mi_rng_fill_normal(&r, noise, (size_t)d);
    mt_tensor *e = mt_to(mt_from(noise, MT_SHAPE(d), MT_SPEC_F32), mt_device_of(id->mean));
    free(noise);
    return mt_add(id->mean, mt_mul(id->std, e));
}

enum mi_status mi_idloss_loss(const struct mi_idloss *id, mt_tensor *x, mt_tensor *y, const uint64_t *key, int64_t step,
                              struct mi_idloss_terms *out) {
    bool pull = id->kind == MI_IDLOSS_LOGIT && id->reg > 0;
    mt_tensor *view = NULL, *logits = NULL, *features = NULL; /* [V,3,S,S] [V,K] [V,d] */
    int64_t n = mt_size(x, 0);
    MI_TRY(mi_adaptive_views(&id->adaptive, x, key, step, &view));
    mt_tensor *label = mi_adaptive_repeat(&id->adaptive, y);
    MI_TRY(mi_oracle_logits(id->oracle, view, &logits, pull ? &features : NULL));
    mt_tensor *sum = against(id->kind, logits, label);
    int models = 1 + (id->students ? id->students->n : 0);
    for (int i = 0; i < models - 1; i++) {
        struct mi_forward_out s = {0};
        MI_TRY(mi_model_forward(id->students->model[i], view, false, &s));
        sum = mt_add(sum, against(id->kind, s.logits, label));
    }
    mt_tensor *loss = models > 1 ? mt_affine(sum, 1.0 / models, 0) : sum;
    if (pull) {
        mt_tensor *away = mt_mean(mt_unary(mt_sub(features, aim(id, step)), MT_SQUARE), MT_DIMS(1), false);
        loss = mt_add(loss, mt_affine(away, id->reg, 0));
    }
    out->loss = mi_adaptive_mean(&id->adaptive, loss);
    out->logits = id->adaptive.masks > 1 ? mt_narrow(logits, 0, 0, n) : logits;
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "the identity loss could not be formed");
}

/* ---- statistics of public features ---------------------------------------------------------------------------- */

struct measure {
    struct mi_public pub;
    mt_tensor *sum, *square; /* [d] f64 */
    int64_t images;
};

static enum mi_status measure_step(struct measure *m, struct mi_oracle *o, struct mi_loop *l) {
    int64_t first = l->step * m->pub.batch, left = m->images - first;
    int n = (int)(left < m->pub.batch ? left : m->pub.batch);
    mt_scope *s = mt_scope_begin("public features");
    bool grad = mt_grad_mode(false);
    mt_tensor *logits = NULL, *f = NULL; /* [n,d] */
    enum mi_status st = mi_oracle_logits(o, mi_public_range(&m->pub, first, n, MT_NHWC), &logits, &f);
    if (st == MI_OK) {
        mt_tensor *wide = mt_cast(f, MT_F64);
        mt_add_(m->sum, mt_sum(wide, MT_DIMS(0), false), 1);
        mt_add_(m->square, mt_sum(mt_unary(wide, MT_SQUARE), MT_DIMS(0), false), 1);
    }
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status measure_finish(struct mi_idloss *id, const struct measure *m, bool spread) {
    mt_scope *s = mt_scope_begin("public features");
    double n = (double)m->images;
    mt_tensor *mean = mt_affine(m->sum, 1 / n, 0);
    id->mean = mt_keep(mt_cast(mean, MT_F32));
    if (spread) { /* in f64: the difference of two large sums */
        mt_tensor *var =
            mt_sub(mt_affine(m->square, 1 / (n - 1), 0), mt_affine(mt_unary(mean, MT_SQUARE), n / (n - 1), 0));
        id->std = mt_keep(mt_cast(mt_unary(mt_clamp(var, 0, 1e300), MT_SQRT), MT_F32));
    }
    return mt_scope_end(s);
}

static enum mi_status measure_run(struct measure *m, struct mi_idloss *id, struct mi_attack_job *job) {
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "public features",
                        .unit = "img",
                        .per_step = m->pub.batch,
                        .total = (m->images + m->pub.batch - 1) / m->pub.batch};
    mi_loop_add_tensor(&l, "sum", &m->sum);
    mi_loop_add_tensor(&l, "square", &m->square);
    MI_TRY(mi_loop_begin(&l));
    while (mi_loop_next(&l)) {
        enum mi_status st = measure_step(m, id->oracle, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    return mi_loop_end(&l);
}

enum mi_status mi_idloss_measure(struct mi_idloss *id, struct mi_attack_job *job, int64_t images, bool spread) {
    struct measure m = {.images = images < (int64_t)job->pub->n ? images : (int64_t)job->pub->n};
    if (m.images < 2) return mi_fail(MI_E_INPUT, "the mean of public features needs at least two public images");
    int batch = m.images < MEASURE_BATCH ? (int)m.images : MEASURE_BATCH, d = mi_oracle_feature_width(job->oracle);
    enum mi_status st = mi_public_open(&m.pub, job, "public features", batch, "preg_images");
    if (st == MI_OK) {
        mt_scope *s = mt_scope_begin("public features");
        mt_spec sp = {MT_F64, job->ctx->device, MT_NCHW};
        m.sum = mt_keep(mt_zeros(MT_SHAPE(d), sp));
        m.square = mt_keep(mt_zeros(MT_SHAPE(d), sp));
        st = mt_scope_end(s);
    }
    if (st == MI_OK) st = measure_run(&m, id, job);
    if (st == MI_OK) st = measure_finish(id, &m, spread);
    mt_free(m.sum);
    mt_free(m.square);
    mi_public_close(&m.pub);
    return st;
}

void mi_idloss_close(struct mi_idloss *id) {
    mt_free(id->mean);
    mt_free(id->std);
    id->mean = id->std = NULL;
}
