/* attacks/wgan.c - the public-image prior of GMI: a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017), as
 * the GMI and BiDO authors train it.
 *
 * Each step trains the critic on   mean D(G(z)) - mean D(x) + 10 mean (|grad_h D(h)| - 1)^2,  where h lies at a random
 * place between x and G(z); every fifth step then trains the generator on  -mean D(G(z))  with new z and the critic
 * frozen.  G stays in training mode in both phases.  Fakes for the critic are made without a graph.  Real and fake
 * images go through the critic in one batch: its instance norm looks at single images, so that is exact.
 *
 * The loop is gan_train.c's.  The sample sheet uses the running statistics only and moves nothing. */
#include "attacks/wgan.h"

#include "attacks/public.h"

const char *const mi_wgan_prior_settings[] = {"gan_epochs", "gan_steps", "gan_batch", "gan_width", "z_dim", "n_critic",
                                              "gp_weight",  "gan_lr",    "gan_beta1", "gan_beta2", NULL};

/* ---- losses --------------------------------------------------------------------------------------------------- */

/* mean over images of (|grad_h D(h)| - 1)^2; the norm is over all pixels of an image, in float32. */
static mt_tensor *gradient_penalty(const struct mi_dcgan_d *d, mt_tensor *real, mt_tensor *fake, mt_tensor *mix) {
    mt_tensor *h = mt_add(real, mt_mul(mix, mt_sub(fake, real))); /* [N,3,S,S] */
    h = mt_detach(h);
    if (mt_requires_grad_(h, true) != MI_OK) return NULL;
    mt_tensor *score = mt_sum(mi_dcgan_d(d, h), NULL, 0, false), *grad = NULL;
    if (mt_grad_of(score, &h, 1, true, true, &grad) != MI_OK || grad == MT_NONE) return NULL;
    mt_tensor *square = mt_sum(mt_unary(mt_cast(grad, MT_F32), MT_SQUARE), MT_DIMS(1, 2, 3), false); /* [N] */
    /* The square root has no derivative at zero: a tiny number inside keeps a dead critic from giving NaN. */
    mt_tensor *norm = mt_unary(mt_affine(square, 1, 1e-12), MT_SQRT);
    return mt_mean(mt_unary(mt_affine(norm, 1, -1), MT_SQUARE), NULL, 0, false);
}

enum mi_status mi_wgan_critic_loss(const struct mi_dcgan_d *d, mt_tensor *real, mt_tensor *fake, mt_tensor *mix,
                                   double gp_weight, struct mi_wgan_terms *out) {
    int64_t n = mt_size(real, 0);
    mt_tensor *score = mi_dcgan_d(d, mt_cat(MT_LIST(real, fake), 0)); /* [2N] */
    mt_tensor *on_real = mt_mean(mt_narrow(score, 0, 0, n), NULL, 0, false);
    mt_tensor *on_fake = mt_mean(mt_narrow(score, 0, n, n), NULL, 0, false);
    out->gap = mt_sub(on_real, on_fake);
    out->penalty = gradient_penalty(d, real, fake, mix);
    out->loss = mt_sub(mt_affine(out->penalty, gp_weight, 0), out->gap);
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "the critic gave no gradient for its input");
}

mt_tensor *mi_wgan_generator_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, mt_tensor *z) {
    return mt_affine(mt_mean(mi_dcgan_d(d, mi_dcgan_g(g, z, true)), NULL, 0, false), -1, 0);
}

/* ---- training ------------------------------------------------------------------------------------------------- */

struct wgan {
    struct mi_gan t;
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    struct mi_public pub;
    double gp_weight;
};

static enum mi_status critic_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct wgan *w = gan;
    int batch = w->t.batch;
    mt_tensor *real = mi_public_batch(&w->pub, n, MT_NCHW); /* [batch,3,S,S], not mirrored as published */
    mt_tensor *z = mi_gan_latents(&w->t, "gan critic z", n, batch, w->g.z_dim);
    bool grad = mt_grad_mode(false);
    mt_tensor *fake = mt_contig(mi_dcgan_g(&w->g, z, true), MT_NCHW);
    mt_grad_mode(grad);
    mt_spec sp = {MT_F32, w->t.job->ctx->device, MT_NCHW};
    mt_tensor *mix = mt_rand(MT_SHAPE(batch, 1, 1, 1), 0, 1, sp, mi_gan_stream(&w->t, "gan mix", n));
    struct mi_wgan_terms t;
    MI_TRY(mi_wgan_critic_loss(&w->d, real, fake, mix, w->gp_weight, &t));
    mi_loop_scalar_tensor(l, "loss/critic", mt_detach(t.loss));
    mi_loop_scalar_tensor(l, "gan/wasserstein", mt_detach(t.gap));
    mi_loop_scalar_tensor(l, "gan/penalty", mt_detach(t.penalty));
    *loss = t.loss;
    return MI_OK;
}

static enum mi_status generator_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct wgan *w = gan;
    mt_tensor *z = mi_gan_latents(&w->t, "gan generator z", n, w->t.batch, w->g.z_dim);
    *loss = mi_wgan_generator_loss(&w->g, &w->d, z);
    if (!*loss) return mt_status();
    mi_loop_scalar_tensor(l, "loss/generator", mt_detach(*loss));
    return MI_OK;
}

static mt_tensor *sheet(void *gan) {
    struct wgan *w = gan;
    return mi_dcgan_g(&w->g, mi_gan_latents(&w->t, "gan sheet", 0, MI_GAN_SHEET, w->g.z_dim), false);
}

static const struct mi_gan_desc wgan = {
    .cadence = MI_GAN_STEP_IS_D, .d_loss = critic_loss, .g_loss = generator_loss, .sheet = sheet};

static enum mi_status wgan_open(struct wgan *w, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *w = (struct wgan){.gp_weight = mi_values_real(v, "gp_weight")};
    mi_gan_open(&w->t, &wgan, w, job);
    MI_TRY(mi_public_open(&w->pub, job, "gan order", w->t.batch, "gan_batch"));
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    MI_TRY(mi_dcgan_g_open(&w->g, job->size, width, z_dim, c->device, c->precision, mi_mix(c->seed, mi_hash_text("G"))));
    MI_TRY(mi_dcgan_d_open(&w->d, job->size, width, c->device, c->precision, mi_mix(c->seed, mi_hash_text("D"))));
    return mi_gan_nets(&w->t, w->g.ps, w->d.ps);
}

enum mi_status mi_wgan_train(struct mi_attack_job *job, mt_archive *out) {
    struct wgan w;
    enum mi_status st = wgan_open(&w, job);
    if (st == MI_OK) st = mi_gan_train(&w.t, mi_gan_steps(job, w.pub.per_epoch), w.t.batch, w.pub.per_epoch);
    if (st == MI_OK) st = mi_dcgan_save(&w.g, &w.d, out);
    mi_gan_close(&w.t);
    mi_dcgan_g_close(&w.g);
    mi_dcgan_d_close(&w.d);
    mi_public_close(&w.pub);
    return st;
}
