/* attacks/gmi.c - GMI, generative model inversion (Zhang et al. 2020): find latents whose images the target takes
 * for the wanted person and the critic takes for a photo.
 *
 * Prior: the WGAN-GP of wgan.c, trained on public images; it never sees the target, so one prior serves all targets.
 * Inversion, per image:  L(z) = -D(G(z)) + lambda CE(target(G(z)), y),  descended with momentum in look-ahead form,
 * z kept in [-1,1].  LOMMA puts another identity loss into the same descent.  All nets are frozen and in evaluation
 * mode, so no image of a batch feels another one: images are grouped into chunks only for speed.  The published loss is
 * a mean over a batch of 60 identities and the step is plain gradient descent, so the step on one image shrinks with
 * the batch; `coupling` says which batch size to divide by: always `batch` (per_image) or the real one, smaller for the
 * last or only batch (batch_mean, as published).
 *
 * First latents depend on (seed, label, restart) only.  One loop runs chunk after chunk; a finished chunk is saved
 * as a part, so a killed run repeats at most the steps since the last checkpoint.  The target is reached through the
 * oracle alone. */
#include "attacks/gmi.h"

#include <stdlib.h>

#include "attacks/wgan.h"

enum { SELECT_NONE, SELECT_TARGET_LOGIT };
enum { COUPLING_PER_IMAGE, COUPLING_BATCH_MEAN };
enum { INIT_NORMAL, INIT_CLAMPED };

/* ---- formulas ------------------------------------------------------------------------------------------------- */

enum mi_status mi_gmi_loss_of(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, const struct mi_idloss *id,
                              mt_tensor *z, mt_tensor *y, const uint64_t *key, int64_t step, mt_tensor *weight,
                              double lambda, struct mi_gmi_terms *out) {
    struct mi_idloss_terms t = {0};
    out->x = mi_dcgan_g(g, z, false);
    MI_TRY(mi_idloss_loss(id, out->x, y, key, step, &t));
    out->logits = t.logits;
    out->identity = t.loss;
    out->prior = mt_affine(mi_dcgan_d(d, out->x), -1, 0);
    mt_tensor *each = mt_add(out->prior, mt_affine(out->identity, lambda, 0)); /* [N] */
    out->loss = mt_sum(mt_mul(weight, each), NULL, 0, false);
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "GMI's loss could not be formed");
}

enum mi_status mi_gmi_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, struct mi_oracle *o, mt_tensor *z,
                           mt_tensor *y, mt_tensor *weight, double lambda, struct mi_gmi_terms *out) {
    struct mi_idloss id = {.oracle = o, .adaptive.masks = 1};
    return mi_gmi_loss_of(g, d, &id, z, y, NULL, 0, weight, lambda, out);
}

void mi_gmi_update(mt_tensor *z, mt_tensor *v, mt_tensor *grad, double lr, double momentum, bool clamp) {
    mt_add_(z, v, -momentum);
    mt_affine_(v, momentum, 0);
    mt_add_(v, grad, -lr);
    mt_add_(z, v, 1 + momentum);
    if (clamp) mt_clamp_(z, -1, 1);
}

/* ---- one inversion -------------------------------------------------------------------------------------------- */

struct gmi {
    struct mi_attack_job *job;
    const struct mi_idloss *id;
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    struct mi_chunks c;
    int batch, coupling, init, tries; /* tries: candidates per delivered image */
    double lr, momentum, lambda;
    bool clamp;
    mt_tensor *z, *v;  /* [rows,z_dim]; the last chunk uses the first rows */
    mt_tensor *weight; /* [rows] of the chunk `weighed` */
    int weighed;
};

static mt_tensor *rows(mt_tensor *t, int64_t n) {
    return mt_narrow(t, 0, 0, n);
}

static enum mi_status gmi_open(struct gmi *a, struct mi_attack_job *job, const struct mi_idloss *id) {
    const struct mi_values *v = job->values;
    struct mi_ctx *c = job->ctx;
    *a = (struct gmi){.job = job, .id = id, .weighed = -1};
    a->batch = (int)mi_values_int(v, "batch");
    a->coupling = mi_values_choice(v, "coupling");
    a->init = mi_values_choice(v, "init");
    a->tries = mi_values_choice(v, "select") == SELECT_NONE ? 1 : (int)mi_values_int(v, "tries");
    a->lr = mi_values_real(v, "lr");
    a->momentum = mi_values_real(v, "momentum");
    a->lambda = mi_values_real(v, "lambda");
    a->clamp = mi_values_bool(v, "clamp");
    MI_TRY(mi_chunks_open(&a->c, job, job->restarts * a->tries, mi_values_int(v, "iterations"),
                          (int)mi_values_int(v, "stack"), id->adaptive.masks));
    MI_TRY(mi_dcgan_load(&a->g, &a->d, job->prior, job->size, c->device, c->precision));
    mt_spec sp = {MT_F32, c->device, MT_NCHW};
    int64_t n = mi_chunks_rows(&a->c, 0);
    mt_scope *s = mt_scope_begin("latents");
    a->z = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    a->v = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    return mt_scope_end(s);
}

static void gmi_close(struct gmi *a) {
    mi_chunks_close(&a->c);
    mt_free(a->weight);
    mt_free(a->z);
    mt_free(a->v);
    mi_dcgan_g_close(&a->g);
    mi_dcgan_d_close(&a->d);
}

/* Images of the identity batch that identity number `i` of the job falls into: the divisor of the published mean. */
static int divisor(const struct gmi *a, int i) {
    if (a->coupling == COUPLING_PER_IMAGE) return a->batch;
    int left = a->job->n_labels - i / a->batch * a->batch;
    return left < a->batch ? left : a->batch;
}

/* Loss weights of a chunk, made when it is entered (also after a resume in its middle). */
static enum mi_status weigh(struct gmi *a, int chunk) {
    if (a->weighed == chunk) return MI_OK;
    mt_free(a->weight);
    a->weight = NULL;
    int n = mi_chunks_rows(&a->c, chunk);
    float *weight = mi_calloc((size_t)n, sizeof *weight);
    if (!weight) return MI_E_NOMEM;
    for (int i = 0; i < n; i++) weight[i] = 1.0f / (float)divisor(a, chunk * a->c.ids + i / a->c.per_label);
    mt_scope *s = mt_scope_begin("weights");
    a->weight = mt_keep(mt_to(mt_from(weight, MT_SHAPE(n), MT_SPEC_F32), a->job->ctx->device));
    free(weight);
    a->weighed = chunk;
    return mt_scope_end(s);
}

/* First latents: a pure function of (seed, label, candidate), whatever the chunks. */
static enum mi_status start_chunk(struct gmi *a, int chunk) {
    mt_scope *s = mt_scope_begin("first latents");
    mt_tensor *part = rows(a->z, mi_chunks_rows(&a->c, chunk));
    mt_copy_(part, mi_chunks_normal(&a->c, chunk, "gmi latent", a->c.per_label, 0, a->g.z_dim));
    if (a->init == INIT_CLAMPED) mt_clamp_(part, -1, 1);
    mt_fill_(a->v, 0);
    return mt_scope_end(s);
}

/* Keeps of each image's `tries` candidates the one with the greatest target logit. x [n,...], logits [n,K]. */
static mt_tensor *best_candidates(struct gmi *a, mt_tensor *x, mt_tensor *logits) {
    int64_t n = mt_size(x, 0);
    mt_tensor *own = mt_gather(logits, 1, mt_unsqueeze(a->c.y, 1));                    /* [n,1] */
    mt_tensor *best = mt_argmax(mt_reshape(own, MT_SHAPE(n / a->tries, a->tries)), 1); /* [n/tries] */
    mt_tensor *base = mt_arange(0, n / a->tries, (mt_spec){MT_I64, mt_device_of(x), MT_NCHW});
    return mt_index_select(x, 0, mt_add(mt_cast(mt_affine(base, a->tries, 0), MT_I64), best));
}

/* Delivers a finished chunk: whole images, also from an adaptive attack. */
static enum mi_status finish_chunk(struct gmi *a, int chunk) {
    mt_scope *s = mt_scope_begin("finish chunk");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mi_dcgan_g(&a->g, rows(a->z, mi_chunks_rows(&a->c, chunk)), false), *logits = NULL;
    enum mi_status st = MI_OK;
    if (a->tries > 1) st = mi_oracle_logits(a->job->oracle, x, &logits, NULL);
    if (st == MI_OK && a->tries > 1) x = best_candidates(a, x, logits);
    if (st == MI_OK) st = mi_chunks_deliver(&a->c, chunk, x);
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status gmi_step(struct gmi *a, struct mi_loop *l) {
    int chunk = mi_chunks_of(&a->c, l->step);
    int64_t it = l->step % a->c.iterations;
    MI_TRY(mi_chunks_enter(&a->c, chunk));
    MI_TRY(weigh(a, chunk));
    if (it == 0) MI_TRY(start_chunk(a, chunk));
    int n = mi_chunks_rows(&a->c, chunk);
    mt_scope *s = mt_scope_begin("inversion step");
    mt_tensor *leaf = mt_detach(rows(a->z, n)), *grad = NULL; /* shares z's memory */
    struct mi_gmi_terms t = {0};
    enum mi_status st = mt_requires_grad_(leaf, true);
    if (st == MI_OK) st = mi_gmi_loss_of(&a->g, &a->d, a->id, leaf, a->c.y, a->c.key, it, a->weight, a->lambda, &t);
    if (st == MI_OK) st = mt_grad_of(t.loss, &leaf, 1, false, false, &grad);
    if (st == MI_OK) {
        mi_chunks_curves(&a->c, l, t.identity, t.prior, t.logits);
        if (mi_loop_report_due(l)) {
            int64_t some = (int64_t)mi_chunks_shown(&a->c, chunk) * a->c.per_label;
            st = mi_chunks_show(&a->c, chunk, l->step, mt_stride_slice(t.x, 0, 0, some, a->tries));
        }
        mi_gmi_update(rows(a->z, n), rows(a->v, n), grad, a->lr, a->momentum, a->clamp);
    }
    enum mi_status end = mt_scope_end(s);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    return it == a->c.iterations - 1 ? finish_chunk(a, chunk) : MI_OK;
}

enum mi_status mi_gmi_descend(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out) {
    struct gmi a;
    enum mi_status st = gmi_open(&a, job, id);
    if (st != MI_OK) goto out;
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "invert",
                        .unit = "img",
                        .total = a.c.count * a.c.iterations,
                        .per_step = (double)mi_chunks_rows(&a.c, 0)};
    mi_loop_add_tensor(&l, "z", &a.z);
    mi_loop_add_tensor(&l, "v", &a.v);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = gmi_step(&a, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st == MI_OK) st = mi_chunks_collect(&a.c, out);
out:
    gmi_close(&a);
    return st;
}

static enum mi_status gmi_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct mi_idloss id = {.oracle = job->oracle, .kind = MI_IDLOSS_CE};
    MI_TRY(mi_adaptive_open(&id.adaptive, job->values, job->size, job->ctx->seed));
    return mi_gmi_descend(job, &id, out);
}

/* ---- descriptor ----------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {MI_WGAN_SETTINGS, MI_GMI_SETTINGS("2000"), MI_ADAPTIVE_SETTINGS,
                                             MI_SETTING_END};

const struct mi_attack_desc mi_attack_gmi = {
    .info = {.name = "gmi",
             .title = "GMI",
             .help = "Trains a GAN on public images, then descends on its latents until the target recognises the "
                     "person and the critic a photo.",
             .paper = "Zhang, Jia, Pei, Wang, Li, Song: The Secret Revealer, CVPR 2020",
             .settings = settings,
             .tags = "white-box 64px gan"},
    .access = MI_ACCESS_WHITE,
    .native_size = 64,
    .prior_uses_target = false,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .invert = gmi_invert};
