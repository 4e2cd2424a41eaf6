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
 * The walk over labelled images wraps around its end.  The loop is gan_train.c's. */
#include <stdlib.h>

#include "attacks/plgmi.h"

static const double JITTER_P = 0.5;

const char *const mi_plg_prior_settings[] = {"per_class", "gan_steps", "n_critic",  "gan_batch", "gan_width", "z_dim",
                                             "alpha",     "gan_lr",    "gan_beta1", "gan_beta2", NULL};

struct plg {
    struct mi_gan t;
    struct mi_plg_g g;
    struct mi_plg_d d;
    int32_t *image, *order[2]; /* [K*per_class]: image of each labelled sample; its order in two epochs */
    int64_t epoch;             /* of order[0], -2 none */
    float *pixels;             /* [batch,S,S,3] staging */
    int64_t *y;                /* [batch] staging */
    int32_t *pick;             /* [batch] staging */
    uint64_t *key;             /* [batch] 0, 1, ... */
    int per_class, classes;
    double alpha;
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
    uint64_t seed = mi_mix(p->t.job->ctx->seed, mi_hash_text("plg walk"));
    if (epoch != p->epoch && epoch != p->epoch + 1) {
        p->epoch = epoch;
        mi_epoch_order(p->order[0], (size_t)n, seed, epoch);
        mi_epoch_order(p->order[1], (size_t)n, seed, epoch + 1);
    } else if (epoch == p->epoch + 1 && position % n >= p->t.batch) { /* the old epoch is left behind */
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
    int size = p->t.job->size;
    for (int i = 0; i < p->t.batch; i++) {
        int32_t at = walk(p, d_step * p->t.batch + i);
        p->pick[i] = p->image[at];
        p->y[i] = at / p->per_class;
    }
    mi_batch_fill(p->pixels, p->t.job->pub, p->pick, NULL, (size_t)p->t.batch, size, mean, std);
    mt_device dev = p->t.job->ctx->device;
    mt_tensor *t = mt_from(p->pixels, MT_SHAPE(p->t.batch, 3, size, size), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
    mt_tensor *noise = mt_rand(MT_SHAPE(p->t.batch, 3, size, size), 0, 1.0 / 256, (mt_spec){MT_F32, dev, MT_NHWC},
                               mi_gan_stream(&p->t, "plg noise", d_step));
    *x = mt_add(mt_to(t, dev), noise);
    *y = mt_to(mt_from(p->y, MT_SHAPE(p->t.batch), (mt_spec){MT_I64, MT_CPU, MT_NCHW}), dev);
}

/* Latents [n,z_dim] and uniformly drawn classes [n]. */
static void draw(struct plg *p, const char *purpose, int64_t step, int n, mt_tensor **z, mt_tensor **y) {
    *z = mi_gan_latents(&p->t, purpose, step, n, p->g.z_dim);
    *y = mt_randint(0, p->classes, MT_SHAPE(n), (mt_spec){MT_I64, p->t.job->ctx->device, MT_NCHW}, p->t.rng);
}

/* ---- losses --------------------------------------------------------------------------------------------------- */

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

static enum mi_status g_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct plg *p = gan;
    const struct mi_attack_job *job = p->t.job;
    mt_tensor *z, *y, *adversarial = NULL, *identity = NULL;
    draw(p, "plg generator", n, p->t.batch, &z, &y);
    MI_TRY(mi_plg_g_loss(&p->g, &p->d, job->oracle, z, y, p->key, job->ctx->seed, n, &adversarial, &identity));
    mi_loop_scalar_tensor(l, "loss/generator", mt_detach(adversarial));
    mi_loop_scalar_tensor(l, "loss/identity", mt_detach(identity));
    *loss = mt_add(adversarial, mt_affine(identity, p->alpha, 0));
    return MI_OK;
}

static enum mi_status d_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct plg *p = gan;
    int batch = p->t.batch;
    mt_tensor *x, *y, *z, *fake_y;
    real_batch(p, n, &x, &y);
    draw(p, "plg discriminator", n, batch, &z, &fake_y);
    bool grad = mt_grad_mode(false);
    mt_tensor *fake = mi_plg_g(&p->g, z, fake_y, true);
    mt_grad_mode(grad);
    mt_tensor *score = mi_plg_d(&p->d, mt_cat(MT_LIST(x, fake), 0), mt_cat(MT_LIST(y, fake_y), 0), 2); /* [2N] */
    *loss = mi_plg_hinge(mt_narrow(score, 0, 0, batch), mt_narrow(score, 0, batch, batch));
    if (!*loss) return mt_status();
    mi_loop_scalar_tensor(l, "loss/discriminator", mt_detach(*loss));
    return MI_OK;
}

static mt_tensor *sheet(void *gan) {
    struct plg *p = gan;
    mt_tensor *z, *y;
    draw(p, "plg sheet", 0, MI_GAN_SHEET, &z, &y);
    return mt_clamp(mi_plg_g(&p->g, z, y, false), 0, 1);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static const struct mi_gan_desc plg = {
    .cadence = MI_GAN_STEP_IS_G, .d_loss = d_loss, .g_loss = g_loss, .sheet = sheet};

static enum mi_status staging(struct plg *p) {
    size_t n = (size_t)p->t.batch, size = (size_t)p->t.job->size;
    p->pixels = mi_calloc(n * size, size * 3 * sizeof *p->pixels);
    p->y = mi_calloc(n, sizeof *p->y);
    p->pick = mi_calloc(n, sizeof *p->pick);
    p->key = mi_calloc(n, sizeof *p->key);
    if (!p->pixels || !p->y || !p->pick || !p->key) return MI_E_NOMEM;
    for (size_t i = 0; i < n; i++) p->key[i] = i;
    return MI_OK;
}

static enum mi_status plg_open(struct plg *p, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *p = (struct plg){.epoch = -2};
    mi_gan_open(&p->t, &plg, p, job);
    p->per_class = (int)mi_values_int(v, "per_class");
    p->alpha = mi_values_real(v, "alpha");
    p->classes = mi_oracle_classes(job->oracle);
    MI_TRY(staging(p));
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    MI_TRY(mi_plg_g_open(&p->g, job->size, width, z_dim, p->classes, c->device, c->precision,
                         mi_mix(c->seed, mi_hash_text("G"))));
    MI_TRY(mi_plg_d_open(&p->d, job->size, width, p->classes, c->device, c->precision,
                         mi_mix(c->seed, mi_hash_text("D"))));
    return mi_gan_nets(&p->t, p->g.ps, p->d.ps);
}

static void plg_close(struct plg *p) {
    mi_gan_close(&p->t);
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
    if (st == MI_OK) st = mi_gan_train(&p.t, mi_values_int(job->values, "gan_steps"), p.t.batch * p.t.n_critic, 0);
    if (st == MI_OK) st = mi_plg_save(&p.g, &p.d, out);
    plg_close(&p);
    return st;
}
