/* gmi.c - bench works: the two inner loops of GMI, through the very functions the attack runs.
 *   gmi-gan     one critic step with gradient penalty, a generator step every fifth; 64x64, batch 64
 *   gmi-invert  one inversion step of 60 identities against VGG16-BN at 64x64, 1000 classes */
#include <stdlib.h>

#include "attacks/gmi.h"
#include "attacks/wgan.h"
#include "src/bench/works.h"

enum { SIZE = 64, WIDTH = 64, Z = 100, CLASSES = 1000, N_CRITIC = 5 };

struct gmi_work {
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    struct mi_model *target;
    struct mi_values *values;
    struct mi_oracle *oracle;
    mt_opt *opt_g, *opt_d;
    mt_rng *rng;
    mt_tensor *real;                /* gan: [N,3,S,S]; owned */
    mt_tensor *z, *v, *y, *weight;  /* invert: [N,Z] [N,Z] [N] [N]; owned */
    mt_spec spec;
    int batch;
    long steps;
};

static void gmi_close(void *work) {
    struct gmi_work *w = work;
    if (!w) return;
    mt_tensor *owned[] = {w->real, w->z, w->v, w->y, w->weight};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mt_free(owned[i]);
    mt_opt_free(w->opt_g);
    mt_opt_free(w->opt_d);
    mt_rng_free(w->rng);
    mi_oracle_free(w->oracle);
    mi_model_free(w->target);
    mi_values_free(w->values);
    mi_dcgan_g_close(&w->g);
    mi_dcgan_d_close(&w->d);
    free(w);
}

static struct gmi_work *nets_open(const struct bench_setup *s, int batch) {
    struct gmi_work *w = mi_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->batch = s->batch ? s->batch : batch;
    w->spec = (mt_spec){MT_F32, s->device, MT_NCHW};
    w->rng = mt_rng_new(s->device, 0);
    if (w->rng && mi_dcgan_g_open(&w->g, SIZE, WIDTH, Z, s->device, s->precision, 1) == MI_OK &&
        mi_dcgan_d_open(&w->d, SIZE, WIDTH, s->device, s->precision, 2) == MI_OK)
        return w;
    gmi_close(w);
    return NULL;
}

/* ---- gmi-gan -------------------------------------------------------------------------------------------------- */

static enum mi_status adam(mt_opt **opt, struct mi_params *ps) {
    mt_tensor *list[64];
    int n = mi_params_trainable(ps, list, 64);
    *opt = mt_adam_new(2e-4, 0.5, 0.999, 1e-8, 0, false);
    return *opt ? mt_opt_add(*opt, list, n, 1) : mi_error_status();
}

static void *gan_open(const struct bench_setup *s, double *per_step) {
    struct gmi_work *w = nets_open(s, 64);
    if (!w) return NULL;
    *per_step = w->batch;
    mt_scope *scope = mt_scope_begin("bench inputs");
    w->real = mt_keep(mt_rand(MT_SHAPE(w->batch, 3, SIZE, SIZE), 0, 1, w->spec, w->rng));
    enum mi_status st = mt_scope_end(scope);
    if (st == MI_OK && adam(&w->opt_g, w->g.ps) == MI_OK && adam(&w->opt_d, w->d.ps) == MI_OK) return w;
    gmi_close(w);
    return NULL;
}

static enum mi_status gan_step(void *work) {
    struct gmi_work *w = work;
    mt_scope *s = mt_scope_begin("bench step");
    bool grad = mt_grad_mode(false);
    mt_tensor *z = mt_randn(MT_SHAPE(w->batch, Z), w->spec, w->rng);
    mt_tensor *fake = mt_contig(mi_dcgan_g(&w->g, z, true), MT_NCHW);
    mt_grad_mode(grad);
    mt_tensor *mix = mt_rand(MT_SHAPE(w->batch, 1, 1, 1), 0, 1, w->spec, w->rng);
    struct mi_wgan_terms t;
    mt_opt_zero_grad(w->opt_d);
    enum mi_status st = mi_wgan_critic_loss(&w->d, w->real, fake, mix, 10, &t);
    if (st == MI_OK) st = mt_backward(t.loss, false);
    if (st == MI_OK) st = mt_opt_step(w->opt_d);
    if (st == MI_OK && ++w->steps % N_CRITIC == 0) {
        mi_params_freeze(w->d.ps, true);
        mt_opt_zero_grad(w->opt_g);
        st = mt_backward(mi_wgan_generator_loss(&w->g, &w->d, mt_randn(MT_SHAPE(w->batch, Z), w->spec, w->rng)), false);
        if (st == MI_OK) st = mt_opt_step(w->opt_g);
        mi_params_freeze(w->d.ps, false);
    }
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

/* ---- gmi-invert ----------------------------------------------------------------------------------------------- */

static void *invert_open(const struct bench_setup *s, double *per_step) {
    struct gmi_work *w = nets_open(s, 60);
    const struct mi_model_desc *desc = mi_model_find("vgg16");
    if (!w || !desc) goto fail;
    *per_step = 1;
    w->values = mi_values_new("vgg16", desc->info.settings);
    w->target = w->values ? mi_model_new("vgg16", w->values, CLASSES, SIZE, s->device, 3) : NULL;
    if (!w->target) goto fail;
    w->target->precision = s->precision;
    w->oracle = mi_oracle_new(w->target, MI_ACCESS_WHITE, "bench");
    if (!w->oracle || mi_dcgan_g_freeze(&w->g) != MI_OK) goto fail;
    mi_params_freeze(w->d.ps, true);
    mt_scope *scope = mt_scope_begin("bench inputs");
    w->z = mt_keep(mt_randn(MT_SHAPE(w->batch, Z), w->spec, w->rng));
    w->v = mt_keep(mt_zeros(MT_SHAPE(w->batch, Z), w->spec));
    w->y = mt_keep(mt_arange(0, w->batch, (mt_spec){MT_I64, s->device, MT_NCHW}));
    w->weight = mt_keep(mt_full(MT_SHAPE(w->batch), 1.0 / 60, w->spec));
    if (mt_scope_end(scope) == MI_OK) return w;
fail:
    gmi_close(w);
    return NULL;
}

static enum mi_status invert_step(void *work) {
    struct gmi_work *w = work;
    mt_scope *s = mt_scope_begin("bench step");
    mt_tensor *leaf = mt_detach(w->z), *grad = NULL;
    struct mi_descent_terms t = {0};
    enum mi_status st = mt_requires_grad_(leaf, true);
    if (st == MI_OK) st = mi_gmi_loss(&w->g, &w->d, w->oracle, leaf, w->y, w->weight, 100, &t);
    if (st == MI_OK) st = mt_grad_of(t.loss, &leaf, 1, false, false, &grad);
    if (st == MI_OK) mi_gmi_update(w->z, w->v, grad, 0.02, 0.9, true);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

const struct bench_work bench_gmi_gan = {.name = "gmi-gan",
                                         .unit = "images/s",
                                         .help = "WGAN-GP step at 64x64, batch 64",
                                         .open = gan_open,
                                         .step = gan_step,
                                         .close = gmi_close};
const struct bench_work bench_gmi_invert = {.name = "gmi-invert",
                                            .unit = "iterations/s",
                                            .help = "GMI inversion of 60 identities, VGG16-BN",
                                            .open = invert_open,
                                            .step = invert_step,
                                            .close = gmi_close};
