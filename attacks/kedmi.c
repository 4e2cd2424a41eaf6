/* attacks/kedmi.c - KedMI, knowledge-enriched distributional model inversion (Chen, Kahla, Jia, Qi, ICCV 2021).
 *
 * Prior: a GAN made for this target (kedmi_gan.c, kedmi_train.c); every defended target needs its own.
 * Recovery: for each person not one latent but a diagonal Gaussian, mean mu = 0 and log-variance s at first.  Each step
 * draws z = mu + exp(s/2) e with fresh e and Adam moves mu and s down
 *     -log p(real | G(z))  +  lambda CE(target(G(z)), y).
 * At the end `restarts` samples of each Gaussian are the reconstructions, all of them scored.  The publication's own
 * code clamps z for the progress printout only; LOMMA's clamps inside the loss (`clamp`).  D judges every image alone:
 * its minibatch discrimination is zero for distinct images, and so no image feels its neighbours.
 *
 * e depends on (seed, label, step), samples on (seed, label, sample).  The loop is descent.c's. */
#include "attacks/kedmi.h"

enum { DIVISOR = 60 }; /* the published mean is over 60 identities; under Adam it matters through eps only */

/* ---- formulas ------------------------------------------------------------------------------------------------- */

mt_tensor *mi_kedmi_draw(mt_tensor *p, mt_tensor *noise, bool clamp) {
    int64_t dim = p ? mt_size(p, 1) / 2 : 0;
    mt_tensor *mu = mt_narrow(p, 1, 0, dim), *s = mt_narrow(p, 1, dim, dim); /* [N,z_dim] each */
    mt_tensor *z = mt_add(mu, mt_mul(mt_unary(mt_affine(s, 0.5, 0), MT_EXP), noise));
    return clamp ? mt_clamp(z, -1, 1) : z;
}

enum mi_status mi_kedmi_loss(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, const struct mi_idloss *id,
                             mt_tensor *p, mt_tensor *noise, mt_tensor *y, const uint64_t *key, int64_t step,
                             double lambda, double divisor, bool clamp, struct mi_descent_terms *out) {
    struct mi_idloss_terms t = {0};
    out->x = mi_dcgan_g(g, mi_kedmi_draw(p, noise, clamp), false);
    if (!out->x) return mt_status();
    MI_TRY(mi_idloss_loss(id, out->x, y, key, step, &t));
    out->logits = t.logits;
    out->identity = t.loss;
    out->prior = mi_kedmi_real_loss(mi_kedmi_logits(d, mi_kedmi_phi(d, out->x), false));
    mt_tensor *each = mt_add(out->prior, mt_affine(out->identity, lambda, 0)); /* [N] */
    out->loss = mt_affine(mt_sum(each, NULL, 0, false), 1 / divisor, 0);
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "KedMI's loss could not be formed");
}

/* ---- one recovery --------------------------------------------------------------------------------------------- */

/* A point of the descent is the distribution of one identity: mu beside s. */
struct kedmi {
    struct mi_descent d;
    const struct mi_idloss *id;
    struct mi_dcgan_g g;
    struct mi_kedmi_d judge;
    double lambda, logvar;
    bool clamp;
};

static void start(void *attack, int chunk, mt_tensor *p) {
    const struct kedmi *a = attack;
    (void)chunk;
    mt_fill_(p, 0);
    mt_fill_(mt_narrow(p, 1, a->g.z_dim, a->g.z_dim), a->logvar);
}

static enum mi_status loss(void *attack, int chunk, int64_t it, mt_tensor *p, struct mi_descent_terms *out) {
    struct kedmi *a = attack;
    const struct mi_chunks *c = &a->d.c;
    mt_tensor *noise = mi_chunks_normal(c, chunk, "kedmi noise", 1, it, a->g.z_dim);
    return mi_kedmi_loss(&a->g, &a->judge, a->id, p, noise, c->y, c->key, it, a->lambda, DIVISOR, a->clamp, out);
}

/* `restarts` samples of the chunk's first `ids` distributions p [ids,2*z_dim]: [ids*restarts,3,S,S]; no graph. */
static mt_tensor *samples(struct kedmi *a, int chunk, int ids, mt_tensor *p) {
    int each = a->d.job->restarts, dim = 2 * a->g.z_dim;
    int64_t n = (int64_t)ids * each;
    bool grad = mt_grad_mode(false);
    mt_tensor *noise = mt_narrow(mi_chunks_normal(&a->d.c, chunk, "kedmi sample", each, 0, a->g.z_dim), 0, 0, n);
    mt_tensor *all = mt_repeat(mt_unsqueeze(p, 1), MT_SHAPE(1, each, 1));
    mt_tensor *z = mi_kedmi_draw(mt_reshape(all, MT_SHAPE(n, dim)), noise, a->clamp);
    mt_tensor *x = mi_dcgan_g(&a->g, z, false);
    mt_grad_mode(grad);
    return x;
}

static mt_tensor *sheet(void *attack, int chunk, int ids, mt_tensor *x) {
    struct kedmi *a = attack;
    (void)x; /* one draw of each distribution; a sheet shows what will be delivered */
    return samples(a, chunk, ids, mt_narrow(a->d.p, 0, 0, ids));
}

static enum mi_status finish(void *attack, int chunk, mt_tensor *p, mt_tensor **x) {
    struct kedmi *a = attack;
    *x = samples(a, chunk, mi_chunks_ids(&a->d.c, chunk), p);
    return MI_OK;
}

static const struct mi_descent_desc descent = {
    .points = "p", .rule = &mi_descent_by_adam, .start = start, .loss = loss, .sheet = sheet, .finish = finish};

static enum mi_status kedmi_open(struct kedmi *a, struct mi_attack_job *job, const struct mi_idloss *id) {
    const struct mi_values *v = job->values;
    *a = (struct kedmi){.id = id};
    a->lambda = mi_values_real(v, "lambda");
    a->logvar = mi_values_real(v, "logvar");
    a->clamp = mi_values_bool(v, "clamp");
    MI_TRY(mi_descent_open(&a->d, &descent, a, job, 1, id->adaptive.masks));
    return mi_kedmi_load(&a->g, &a->judge, job->prior, job->size, mi_oracle_classes(job->oracle), job->ctx->device,
                         job->ctx->precision);
}

enum mi_status mi_kedmi_recover(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out) {
    struct kedmi a;
    enum mi_status st = kedmi_open(&a, job, id);
    if (st == MI_OK) st = mi_descent_run(&a.d, 2 * a.g.z_dim, out);
    mi_descent_close(&a.d);
    mi_dcgan_g_close(&a.g);
    mi_kedmi_d_close(&a.judge);
    return st;
}

static enum mi_status kedmi_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct mi_idloss id = {.oracle = job->oracle, .kind = MI_IDLOSS_CE};
    MI_TRY(mi_adaptive_open(&id.adaptive, job->values, job->size, job->ctx->seed));
    return mi_kedmi_recover(job, &id, out);
}

/* ---- descriptor ----------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {MI_KEDMI_GAN_SETTINGS, MI_KEDMI_SETTINGS("5000", "0", "no"),
                                             MI_ADAPTIVE_SETTINGS, MI_SETTING_END};

const struct mi_attack_desc mi_attack_kedmi = {
    .info = {.name = "kedmi",
             .title = "KedMI",
             .help = "Trains a GAN whose discriminator learns the target's soft labels of public images, then recovers "
                     "for each person a distribution of latents.",
             .paper = "Chen, Kahla, Jia, Qi: Knowledge-Enriched Distributional Model Inversion Attacks, ICCV 2021",
             .settings = settings,
             .tags = "white-box 64px gan"},
    .access = MI_ACCESS_WHITE,
    .native_size = 64,
    .sizes = mi_dcgan_sizes,
    .prior_uses_target = true,
    .prior = "kedmi",
    .prior_settings = mi_kedmi_prior_settings,
    .train_prior = mi_kedmi_train,
    .invert = kedmi_invert};
