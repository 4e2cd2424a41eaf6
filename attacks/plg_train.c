/* attacks/plg_train.c - PLG-MI's prior: public images labelled by the target, then a conditional GAN on them (Yuan et
 * al., AAAI 2023, section "Pseudo Label-Guided cGAN").
 *
 * Phase "labels" is in plg_labels.c.  Phase "gan": each step is one generator step, then n_critic discriminator steps
 * on real images (plus noise U(0,1/256), a grey level) and fakes of uniformly drawn classes:
 *   L_D = mean relu(1 - D(x,y)) + mean relu(1 + D(G(z,y),y))
 *   L_G = -mean D(G(z,y),y) + alpha mean margin(T(A(G(z,y))))
 * D sees plain fakes, only the target sees augmented ones.  Fakes for D are made without a graph.  Real and fake go
 * through D together after two power iterations: the original makes one for each of its two passes, so singular
 * vectors move as there; only the real half's norm is an iteration ahead.
 *
 * Random numbers are functions of (seed, purpose, step); the walk over labelled images wraps around its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "attacks/plgmi.h"

enum { SHEET_COLS = 8, SHEET_IMAGES = 32 };
static const double JITTER_P = 0.5;

const char *const mi_plg_prior_settings[] = {"per_class", "gan_steps", "n_critic",  "gan_batch", "gan_width", "z_dim",
                                             "alpha",     "gan_lr",    "gan_beta1", "gan_beta2", NULL};

struct plg {
    struct mi_attack_job *job;
    struct mi_plg_g g;
    struct mi_plg_d d;
    mt_opt *opt_g, *opt_d;
    mt_rng *rng;
    int32_t *image, *order[2]; /* [K*per_class]: image of each labelled sample; its order in two epochs */
    int64_t epoch;             /* of order[0], -1 none */
    float *pixels;             /* [batch,S,S,3] staging */
    int64_t *y;                /* [batch] staging */
    int32_t *pick;             /* [batch] staging */
    uint64_t *key;             /* [batch] 0, 1, ... */
    int batch, n_critic, per_class, classes;
    double alpha, sheet_at, sheet_every;
};

/* ---- batches -------------------------------------------------------------------------------------------------- */

static enum mi_status walk_open(struct plg *p) {
    size_t n = (size_t)p->classes * (size_t)p->per_class;
    p->order[0] = mi_calloc(n, sizeof(int32_t));
    p->order[1] = mi_calloc(n, sizeof(int32_t));
    return p->order[0] && p->order[1] ? MI_OK : MI_E_NOMEM;
}

/* Number of the labelled sample at a position of the endless walk. */
static int32_t walk(struct plg *p, int64_t position) {
    int64_t n = (int64_t)p->classes * p->per_class, epoch = position / n;
    uint64_t seed = mi_mix(p->job->ctx->seed, mi_hash_text("plg walk"));
    if (epoch != p->epoch && epoch != p->epoch + 1) {
        p->epoch = epoch;
        mi_epoch_order(p->order[0], (size_t)n, seed, epoch);
        mi_epoch_order(p->order[1], (size_t)n, seed, epoch + 1);
    } else if (epoch == p->epoch + 1 && position % n >= p->batch) { /* the old epoch is left behind */
        int32_t *old = p->order[0];
        p->order[0] = p->order[1];
        p->order[1] = old;
        p->epoch = epoch;
        mi_epoch_order(p->order[1], (size_t)n, seed, epoch + 1);
    }
    return p->order[epoch - p->epoch][position % n];
}

/* Real images with their pseudo labels: x [batch,3,S,S], y [batch]. */
static void real_batch(struct plg *p, int64_t d_step, mt_tensor **x, mt_tensor **y) {
    static const float mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};
    int size = p->job->size;
    for (int i = 0; i < p->batch; i++) {
        int32_t at = walk(p, d_step * p->batch + i);
        p->pick[i] = p->image[at];
        p->y[i] = at / p->per_class;
    }
    mi_batch_fill(p->pixels, p->job->pub, p->pick, NULL, (size_t)p->batch, size, mean, std);
    mt_device dev = p->job->ctx->device;
    mt_tensor *t = mt_from(p->pixels, MT_SHAPE(p->batch, 3, size, size), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
    mt_rng_seed(p->rng, mi_mix(mi_mix(p->job->ctx->seed, mi_hash_text("plg noise")), (uint64_t)d_step));
    mt_tensor *noise =
        mt_rand(MT_SHAPE(p->batch, 3, size, size), 0, 1.0 / 256, (mt_spec){MT_F32, dev, MT_NHWC}, p->rng);
    *x = mt_add(mt_to(t, dev), noise);
    *y = mt_to(mt_from(p->y, MT_SHAPE(p->batch), (mt_spec){MT_I64, MT_CPU, MT_NCHW}), dev);
}

/* Latents [batch,z_dim] and uniformly drawn classes [batch]. */
static void draw(struct plg *p, const char *purpose, int64_t step, int n, mt_tensor **z, mt_tensor **y) {
    mt_device dev = p->job->ctx->device;
    mt_rng_seed(p->rng, mi_mix(mi_mix(p->job->ctx->seed, mi_hash_text(purpose)), (uint64_t)step));
    *z = mt_randn(MT_SHAPE(n, p->g.z_dim), (mt_spec){MT_F32, dev, MT_NCHW}, p->rng);
    *y = mt_randint(0, p->classes, MT_SHAPE(n), (mt_spec){MT_I64, dev, MT_NCHW}, p->rng);
}

/* ---- one step ------------------------------------------------------------------------------------------------- */

enum mi_status mi_plg_g_loss(const struct mi_plg_g *g, const struct mi_plg_d *d, struct mi_oracle *o, mt_tensor *z,
                             mt_tensor *y, const uint64_t *key, uint64_t seed, int64_t step, mt_tensor **adversarial,
                             mt_tensor **identity) {
    mt_tensor *x = mi_plg_g(g, z, y, true), *logits = NULL; /* [N,3,S,S] [N,K] */
    *adversarial = mt_affine(mt_mean(mi_plg_d(d, x, y, 1), NULL, 0, false), -1, 0);
    mt_tensor *seen = mi_plg_augment(x, seed, "plg gan view", key, step, JITTER_P);
    if (!seen) return mt_status();
    MI_TRY(mi_oracle_logits(o, seen, &logits, NULL));
    *identity = mt_mean(mi_plg_margin(logits, y), NULL, 0, false);
    return *identity && *adversarial ? MI_OK : mt_status();
}

static enum mi_status g_step(struct plg *p, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("generator step");
    mt_tensor *z, *y, *adversarial = NULL, *identity = NULL;
    draw(p, "plg generator", l->step, p->batch, &z, &y);
    mi_params_freeze(p->d.ps, true);
    mt_opt_zero_grad(p->opt_g);
    enum mi_status st =
        mi_plg_g_loss(&p->g, &p->d, p->job->oracle, z, y, p->key, p->job->ctx->seed, l->step, &adversarial, &identity);
    if (st == MI_OK) st = mt_backward(mt_add(adversarial, mt_affine(identity, p->alpha, 0)), false);
    if (st == MI_OK) st = mt_opt_step(p->opt_g);
    if (st == MI_OK) {
        mi_loop_scalar_tensor(l, "loss/generator", mt_detach(adversarial));
        mi_loop_scalar_tensor(l, "loss/identity", mt_detach(identity));
    }
    mt_opt_zero_grad(p->opt_g);
    mi_params_freeze(p->d.ps, false);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status d_step(struct plg *p, struct mi_loop *l, int64_t d_step_no) {
    mt_scope *s = mt_scope_begin("discriminator step");
    mt_tensor *x, *y, *z, *fake_y;
    real_batch(p, d_step_no, &x, &y);
    draw(p, "plg discriminator", d_step_no, p->batch, &z, &fake_y);
    bool grad = mt_grad_mode(false);
    mt_tensor *fake = mi_plg_g(&p->g, z, fake_y, true);
    mt_grad_mode(grad);
    mt_opt_zero_grad(p->opt_d);
    mt_tensor *score = mi_plg_d(&p->d, mt_cat(MT_LIST(x, fake), 0), mt_cat(MT_LIST(y, fake_y), 0), 2); /* [2N] */
    mt_tensor *loss = mi_plg_hinge(mt_narrow(score, 0, 0, p->batch), mt_narrow(score, 0, p->batch, p->batch));
    enum mi_status st = mt_backward(loss, false);
    if (st == MI_OK) st = mt_opt_step(p->opt_d);
    if (st == MI_OK) mi_loop_scalar_tensor(l, "loss/discriminator", mt_detach(loss));
    mt_opt_zero_grad(p->opt_d);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One row of samples for each of the first classes, from latents that stay. */
static enum mi_status draw_sheet(struct plg *p, int64_t step, bool final) {
    mt_scope *s = mt_scope_begin("sample sheet");
    mt_tensor *z, *y;
    draw(p, "plg sheet", 0, SHEET_IMAGES, &z, &y);
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mt_clamp(mi_plg_g(&p->g, z, y, false), 0, 1); /* [32,3,S,S] */
    mt_grad_mode(grad);
    char name[160];
    snprintf(name, sizeof name, "samples-%s", p->job->ctx->stage);
    enum mi_status st = x ? mi_ctx_atlas(p->job->ctx, name, "samples", x, SHEET_COLS, NULL, step, final) : MI_OK;
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status gan_step(struct plg *p, struct mi_loop *l) {
    MI_TRY(g_step(p, l));
    for (int i = 0; i < p->n_critic; i++) MI_TRY(d_step(p, l, l->step * p->n_critic + i));
    if (!mi_loop_report_due(l) || now() - p->sheet_at < p->sheet_every) return MI_OK;
    p->sheet_at = now();
    return draw_sheet(p, l->step + 1, false);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static enum mi_status adam(mt_opt **opt, struct mi_params *ps, const struct mi_values *v) {
    mt_tensor *list[96];
    int n = mi_params_trainable(ps, list, 96);
    *opt = mt_adam_new(mi_values_real(v, "gan_lr"), mi_values_real(v, "gan_beta1"), mi_values_real(v, "gan_beta2"),
                       1e-8, 0, false);
    if (!*opt) return mi_error_status() ? mi_error_status() : mt_status();
    return mt_opt_add(*opt, list, n, 1);
}

static enum mi_status plg_open(struct plg *p, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *p = (struct plg){.job = job, .epoch = -2, .sheet_at = -1e9};
    p->batch = (int)mi_values_int(v, "gan_batch");
    p->n_critic = (int)mi_values_int(v, "n_critic");
    p->per_class = (int)mi_values_int(v, "per_class");
    p->alpha = mi_values_real(v, "alpha");
    p->sheet_every = mi_values_real(v, "sample_every");
    p->classes = mi_oracle_classes(job->oracle);
    size_t n = (size_t)p->batch;
    p->pixels = mi_calloc(n * (size_t)job->size, (size_t)job->size * 3 * sizeof *p->pixels);
    p->y = mi_calloc(n, sizeof *p->y);
    p->pick = mi_calloc(n, sizeof *p->pick);
    p->key = mi_calloc(n, sizeof *p->key);
    if (!p->pixels || !p->y || !p->pick || !p->key) return MI_E_NOMEM;
    for (size_t i = 0; i < n; i++) p->key[i] = i;
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    MI_TRY(mi_plg_g_open(&p->g, job->size, width, z_dim, p->classes, c->device, c->precision,
                         mi_mix(c->seed, mi_hash_text("G"))));
    MI_TRY(mi_plg_d_open(&p->d, job->size, width, p->classes, c->device, c->precision,
                         mi_mix(c->seed, mi_hash_text("D"))));
    MI_TRY(adam(&p->opt_g, p->g.ps, v));
    MI_TRY(adam(&p->opt_d, p->d.ps, v));
    p->rng = mt_rng_new(c->device, 0);
    return p->rng ? MI_OK : mt_status();
}

static void plg_close(struct plg *p) {
    mt_opt_free(p->opt_g);
    mt_opt_free(p->opt_d);
    mt_rng_free(p->rng);
    free(p->image);
    free(p->order[0]);
    free(p->order[1]);
    free(p->pixels);
    free(p->y);
    free(p->pick);
    free(p->key);
    mi_plg_g_close(&p->g);
    mi_plg_d_close(&p->d);
}

enum mi_status mi_plg_train(struct mi_attack_job *job, mt_archive *out) {
    struct plg p;
    enum mi_status st = plg_open(&p, job);
    if (st == MI_OK) st = mi_plg_labels(job, p.per_class, &p.image);
    if (st == MI_OK) st = walk_open(&p);
    if (st != MI_OK) goto out;
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "gan",
                        .unit = "img",
                        .total = mi_values_int(job->values, "gan_steps"),
                        .per_step = p.batch * p.n_critic};
    mi_loop_add_params(&l, "G", p.g.ps);
    mi_loop_add_params(&l, "D", p.d.ps);
    mi_loop_add_opt(&l, "adam_g", p.opt_g);
    mi_loop_add_opt(&l, "adam_d", p.opt_d);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = gan_step(&p, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st == MI_OK) st = draw_sheet(&p, l.total, true);
    if (st == MI_OK) st = mi_plg_save(&p.g, &p.d, out);
out:
    plg_close(&p);
    return st;
}
