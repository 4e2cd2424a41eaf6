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
 * First latents depend on (seed, label, restart) only.  The loop is descent.c's; here are the formulas.  The target is
 * reached through the oracle alone. */
#include "attacks/gmi.h"

#include <stdlib.h>

#include "attacks/wgan.h"

enum { SELECT_NONE, SELECT_TARGET_LOGIT };
enum { COUPLING_PER_IMAGE, COUPLING_BATCH_MEAN };
enum { INIT_NORMAL, INIT_CLAMPED };

/* ---- formulas ------------------------------------------------------------------------------------------------- */

enum mi_status mi_gmi_loss_of(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, const struct mi_idloss *id,
                              mt_tensor *z, mt_tensor *y, const uint64_t *key, int64_t step, mt_tensor *weight,
                              double lambda, struct mi_descent_terms *out) {
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
                           mt_tensor *y, mt_tensor *weight, double lambda, struct mi_descent_terms *out) {
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
    struct mi_descent d;
    const struct mi_idloss *id;
    struct mi_dcgan_g g;
    struct mi_dcgan_d critic;
    int batch, coupling, init, tries; /* tries: candidates per delivered image */
    double momentum, lambda;
    bool clamp;
    mt_tensor *weight; /* [rows] of the chunk `weighed` */
    int weighed;
};

/* Images of the identity batch that identity number `i` of the job falls into: the divisor of the published mean. */
static int divisor(const struct gmi *a, int i) {
    if (a->coupling == COUPLING_PER_IMAGE) return a->batch;
    int left = a->d.job->n_labels - i / a->batch * a->batch;
    return left < a->batch ? left : a->batch;
}

/* Loss weights of a chunk, made at its first step (also after a resume in its middle). */
static enum mi_status weigh(struct gmi *a, int chunk) {
    if (a->weighed == chunk) return MI_OK;
    mt_free(a->weight);
    a->weight = NULL;
    const struct mi_chunks *c = &a->d.c;
    int n = mi_chunks_rows(c, chunk);
    float *weight = mi_calloc((size_t)n, sizeof *weight);
    if (!weight) return MI_E_NOMEM;
    for (int i = 0; i < n; i++) weight[i] = 1.0f / (float)divisor(a, chunk * c->ids + i / c->per_label);
    mt_scope *s = mt_scope_begin("weights");
    a->weight = mt_keep(mt_to(mt_from(weight, MT_SHAPE(n), MT_SPEC_F32), a->d.job->ctx->device));
    free(weight);
    a->weighed = chunk;
    return mt_scope_end(s);
}

static void start(void *attack, int chunk, mt_tensor *z) {
    struct gmi *a = attack;
    mt_copy_(z, mi_chunks_normal(&a->d.c, chunk, "gmi latent", a->d.c.per_label, 0, a->g.z_dim));
    if (a->init == INIT_CLAMPED) mt_clamp_(z, -1, 1);
}

static enum mi_status loss(void *attack, int chunk, int64_t it, mt_tensor *z, struct mi_descent_terms *out) {
    struct gmi *a = attack;
    MI_TRY(weigh(a, chunk));
    return mi_gmi_loss_of(&a->g, &a->critic, a->id, z, a->d.c.y, a->d.c.key, it, a->weight, a->lambda, out);
}

static void move(const void *attack, mt_tensor *z, mt_tensor *const *state, mt_tensor *grad, double lr, int64_t t) {
    const struct gmi *a = attack;
    (void)t;
    mi_gmi_update(z, state[0], grad, lr, a->momentum, a->clamp);
}

/* The first candidate of each image to come. */
static mt_tensor *sheet(void *attack, int chunk, int ids, mt_tensor *x) {
    const struct gmi *a = attack;
    (void)chunk;
    return mt_stride_slice(x, 0, 0, (int64_t)ids * a->d.c.per_label, a->tries);
}

/* Keeps of each image's `tries` candidates the one with the greatest target logit. x [n,...], logits [n,K]. */
static mt_tensor *best_candidates(struct gmi *a, mt_tensor *x, mt_tensor *logits) {
    int64_t n = mt_size(x, 0);
    mt_tensor *own = mt_gather(logits, 1, mt_unsqueeze(a->d.c.y, 1));                  /* [n,1] */
    mt_tensor *best = mt_argmax(mt_reshape(own, MT_SHAPE(n / a->tries, a->tries)), 1); /* [n/tries] */
    mt_tensor *base = mt_arange(0, n / a->tries, (mt_spec){MT_I64, mt_device_of(x), MT_NCHW});
    return mt_index_select(x, 0, mt_add(mt_cast(mt_affine(base, a->tries, 0), MT_I64), best));
}

/* Whole images, also from an adaptive attack. */
static enum mi_status finish(void *attack, int chunk, mt_tensor *z, mt_tensor **x) {
    struct gmi *a = attack;
    mt_tensor *logits = NULL;
    (void)chunk;
    *x = mi_dcgan_g(&a->g, z, false);
    if (a->tries == 1) return MI_OK;
    MI_TRY(mi_oracle_logits(a->d.job->oracle, *x, &logits, NULL));
    *x = best_candidates(a, *x, logits);
    return MI_OK;
}

static const struct mi_descent_rule by_momentum = {.state = {"v"}, .move = move};
static const struct mi_descent_desc descent = {
    .points = "z", .rule = &by_momentum, .start = start, .loss = loss, .sheet = sheet, .finish = finish};

static enum mi_status gmi_open(struct gmi *a, struct mi_attack_job *job, const struct mi_idloss *id) {
    const struct mi_values *v = job->values;
    *a = (struct gmi){.id = id, .weighed = -1};
    a->batch = (int)mi_values_int(v, "batch");
    a->coupling = mi_values_choice(v, "coupling");
    a->init = mi_values_choice(v, "init");
    a->tries = mi_values_choice(v, "select") == SELECT_NONE ? 1 : (int)mi_values_int(v, "tries");
    a->momentum = mi_values_real(v, "momentum");
    a->lambda = mi_values_real(v, "lambda");
    a->clamp = mi_values_bool(v, "clamp");
    MI_TRY(mi_descent_open(&a->d, &descent, a, job, job->restarts * a->tries, id->adaptive.masks));
    return mi_dcgan_load(&a->g, &a->critic, job->prior, job->size, job->ctx->device, job->ctx->precision);
}

enum mi_status mi_gmi_descend(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out) {
    struct gmi a;
    enum mi_status st = gmi_open(&a, job, id);
    if (st == MI_OK) st = mi_descent_run(&a.d, a.g.z_dim, out);
    mi_descent_close(&a.d);
    mt_free(a.weight);
    mi_dcgan_g_close(&a.g);
    mi_dcgan_d_close(&a.critic);
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
    .sizes = mi_dcgan_sizes,
    .prior_uses_target = false,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .invert = gmi_invert};
