/* attacks/wgan.c - the public-image prior of GMI: a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017), as
 * the GMI and BiDO authors train it.
 *
 * Each step trains the critic on   mean D(G(z)) - mean D(x) + 10 mean (|grad_h D(h)| - 1)^2,  where h lies at a random
 * place between x and G(z); every fifth step then trains the generator on  -mean D(G(z))  with new z and the critic
 * frozen.  G stays in training mode in both phases.  Fakes for the critic are made without a graph.  Real and fake
 * images go through the critic in one batch: its instance norm looks at single images, so that is exact.
 *
 * Every random number is drawn from (seed, purpose, step), so the loop resumes without generator state.  The sample
 * sheet uses the running statistics only and moves nothing: when it is drawn does not change the result. */
#include "attacks/wgan.h"

#include <stdio.h>
#include <time.h>

#include "attacks/public.h"

enum { SHEET_COLS = 8, SHEET_IMAGES = 32 };

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
    struct mi_attack_job *job;
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    mt_opt *opt_g, *opt_d;
    mt_rng *rng;
    mt_tensor *sheet_z; /* [32,z_dim] */
    struct mi_public pub;
    int batch, n_critic;
    double gp_weight, sheet_at, sheet_every;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mt_spec spec_of(const struct wgan *w) { return (mt_spec){MT_F32, w->job->ctx->device, MT_NCHW}; }

/* Numbers of one step and purpose. */
static mt_rng *stream(struct wgan *w, const char *purpose, int64_t step) {
    mt_rng_seed(w->rng, mi_mix(mi_mix(w->job->ctx->seed, mi_hash_text(purpose)), (uint64_t)step));
    return w->rng;
}

static enum mi_status adam(mt_opt **opt, struct mi_params *ps, const struct mi_values *v) {
    mt_tensor *list[64];
    int n = mi_params_trainable(ps, list, 64);
    *opt = mt_adam_new(mi_values_real(v, "gan_lr"), mi_values_real(v, "gan_beta1"), mi_values_real(v, "gan_beta2"), 1e-8,
                       0, false);
    if (!*opt) return mi_error_status() ? mi_error_status() : mt_status();
    return mt_opt_add(*opt, list, n, 1);
}

static enum mi_status wgan_open(struct wgan *w, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *w = (struct wgan){.job = job, .sheet_at = -1e9};
    w->batch = (int)mi_values_int(v, "gan_batch");
    w->n_critic = (int)mi_values_int(v, "n_critic");
    w->gp_weight = mi_values_real(v, "gp_weight");
    w->sheet_every = mi_values_real(v, "sample_every");
    MI_TRY(mi_public_open(&w->pub, job, "gan order", w->batch, "gan_batch"));
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    MI_TRY(mi_dcgan_g_open(&w->g, job->size, width, z_dim, c->device, c->precision, mi_mix(c->seed, mi_hash_text("G"))));
    MI_TRY(mi_dcgan_d_open(&w->d, job->size, width, c->device, c->precision, mi_mix(c->seed, mi_hash_text("D"))));
    MI_TRY(adam(&w->opt_g, w->g.ps, v));
    MI_TRY(adam(&w->opt_d, w->d.ps, v));
    w->rng = mt_rng_new(c->device, 0);
    if (!w->rng) return mt_status();
    mt_scope *s = mt_scope_begin("sheet");
    w->sheet_z = mt_keep(mt_randn(MT_SHAPE(SHEET_IMAGES, z_dim), spec_of(w), stream(w, "gan sheet", 0)));
    return mt_scope_end(s);
}

static void wgan_close(struct wgan *w) {
    mt_opt_free(w->opt_g);
    mt_opt_free(w->opt_d);
    mt_free(w->sheet_z);
    mt_rng_free(w->rng);
    mi_dcgan_g_close(&w->g);
    mi_dcgan_d_close(&w->d);
    mi_public_close(&w->pub);
}

static enum mi_status critic_step(struct wgan *w, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("critic step");
    mt_tensor *real = mi_public_batch(&w->pub, l->step, MT_NCHW); /* [batch,3,S,S], not mirrored as published */
    mt_tensor *z = mt_randn(MT_SHAPE(w->batch, w->g.z_dim), spec_of(w), stream(w, "gan critic z", l->step));
    bool grad = mt_grad_mode(false);
    mt_tensor *fake = mt_contig(mi_dcgan_g(&w->g, z, true), MT_NCHW);
    mt_grad_mode(grad);
    mt_tensor *mix = mt_rand(MT_SHAPE(w->batch, 1, 1, 1), 0, 1, spec_of(w), stream(w, "gan mix", l->step));
    struct mi_wgan_terms t;
    mt_opt_zero_grad(w->opt_d);
    enum mi_status st = mi_wgan_critic_loss(&w->d, real, fake, mix, w->gp_weight, &t);
    if (st == MI_OK) st = mt_backward(t.loss, false);
    if (st == MI_OK) st = mt_opt_step(w->opt_d);
    if (st == MI_OK) {
        mi_loop_scalar_tensor(l, "loss/critic", mt_detach(t.loss));
        mi_loop_scalar_tensor(l, "gan/wasserstein", mt_detach(t.gap));
        mi_loop_scalar_tensor(l, "gan/penalty", mt_detach(t.penalty));
    }
    mt_opt_zero_grad(w->opt_d);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status generator_step(struct wgan *w, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("generator step");
    mt_tensor *z = mt_randn(MT_SHAPE(w->batch, w->g.z_dim), spec_of(w), stream(w, "gan generator z", l->step));
    mi_params_freeze(w->d.ps, true);
    mt_opt_zero_grad(w->opt_g);
    mt_tensor *loss = mi_wgan_generator_loss(&w->g, &w->d, z);
    enum mi_status st = mt_backward(loss, false);
    if (st == MI_OK) st = mt_opt_step(w->opt_g);
    if (st == MI_OK) mi_loop_scalar_tensor(l, "loss/generator", mt_detach(loss));
    mt_opt_zero_grad(w->opt_g);
    mi_params_freeze(w->d.ps, false);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status draw_sheet(struct wgan *w, int64_t step, bool final) {
    mt_scope *s = mt_scope_begin("sample sheet");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mi_dcgan_g(&w->g, w->sheet_z, false); /* [32,3,S,S] */
    mt_grad_mode(grad);
    char name[160];
    snprintf(name, sizeof name, "samples-%s", w->job->ctx->stage);
    enum mi_status st = x ? mi_ctx_atlas(w->job->ctx, name, "samples", x, SHEET_COLS, NULL, step, final) : MI_OK;
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status gan_step(struct wgan *w, struct mi_loop *l) {
    MI_TRY(critic_step(w, l));
    if ((l->step + 1) % w->n_critic == 0) MI_TRY(generator_step(w, l));
    if (!mi_loop_report_due(l) || now() - w->sheet_at < w->sheet_every) return MI_OK;
    w->sheet_at = now();
    return draw_sheet(w, l->step + 1, false);
}

enum mi_status mi_wgan_train(struct mi_attack_job *job, mt_archive *out) {
    struct wgan w;
    enum mi_status st = wgan_open(&w, job);
    if (st != MI_OK) goto out;
    int64_t steps = mi_values_int(job->values, "gan_steps");
    if (steps == 0) steps = mi_values_int(job->values, "gan_epochs") * w.pub.per_epoch;
    struct mi_loop l = {.ctx = job->ctx, .phase = "gan", .unit = "img", .total = steps, .per_step = w.batch,
                        .steps_per_epoch = w.pub.per_epoch};
    mi_loop_add_params(&l, "G", w.g.ps);
    mi_loop_add_params(&l, "D", w.d.ps);
    mi_loop_add_opt(&l, "adam_g", w.opt_g);
    mi_loop_add_opt(&l, "adam_d", w.opt_d);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = gan_step(&w, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st != MI_OK) goto out;
    st = draw_sheet(&w, steps, true);
    if (st == MI_OK) st = mi_dcgan_save(&w.g, &w.d, out);
out:
    wgan_close(&w);
    return st;
}
