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
 * e depends on (seed, label, step), samples on (seed, label, sample).  One loop runs chunk after chunk of identities;
 * mu, s and Adam's state are its only state. */
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
                             double lambda, double divisor, bool clamp, struct mi_kedmi_descent *out) {
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

struct kedmi {
    struct mi_attack_job *job;
    const struct mi_idloss *id;
    struct mi_dcgan_g g;
    struct mi_kedmi_d d;
    struct mi_chunks c; /* one row an identity: its distribution */
    double lr, lambda, logvar;
    bool clamp;
    mt_tensor *p, *m, *v; /* [ids,2*z_dim]; the last chunk uses the first rows */
};

static mt_tensor *rows(mt_tensor *t, int64_t n) {
    return mt_narrow(t, 0, 0, n);
}

static enum mi_status kedmi_open(struct kedmi *a, struct mi_attack_job *job, const struct mi_idloss *id) {
    const struct mi_values *v = job->values;
    struct mi_ctx *c = job->ctx;
    *a = (struct kedmi){.job = job, .id = id};
    a->lr = mi_values_real(v, "lr");
    a->lambda = mi_values_real(v, "lambda");
    a->logvar = mi_values_real(v, "logvar");
    a->clamp = mi_values_bool(v, "clamp");
    MI_TRY(mi_chunks_open(&a->c, job, 1, mi_values_int(v, "iterations"), (int)mi_values_int(v, "stack"),
                          id->adaptive.masks));
    MI_TRY(mi_kedmi_load(&a->g, &a->d, job->prior, job->size, mi_oracle_classes(job->oracle), c->device, c->precision));
    mt_spec sp = {MT_F32, c->device, MT_NCHW};
    mt_scope *s = mt_scope_begin("distributions");
    a->p = mt_keep(mt_zeros(MT_SHAPE(a->c.ids, 2 * a->g.z_dim), sp));
    a->m = mt_keep(mt_zeros(MT_SHAPE(a->c.ids, 2 * a->g.z_dim), sp));
    a->v = mt_keep(mt_zeros(MT_SHAPE(a->c.ids, 2 * a->g.z_dim), sp));
    return mt_scope_end(s);
}

static void kedmi_close(struct kedmi *a) {
    mi_chunks_close(&a->c);
    mt_free(a->p);
    mt_free(a->m);
    mt_free(a->v);
    mi_dcgan_g_close(&a->g);
    mi_kedmi_d_close(&a->d);
}

static enum mi_status start_chunk(struct kedmi *a) {
    mt_scope *s = mt_scope_begin("first distributions");
    mt_fill_(a->p, 0);
    mt_fill_(mt_narrow(a->p, 1, a->g.z_dim, a->g.z_dim), a->logvar);
    mt_fill_(a->m, 0);
    mt_fill_(a->v, 0);
    return mt_scope_end(s);
}

/* `restarts` samples of the chunk's first `ids` distributions, [ids*restarts,3,S,S]; without a graph. */
static mt_tensor *samples(struct kedmi *a, int chunk, int ids) {
    int each = a->job->restarts, dim = 2 * a->g.z_dim;
    bool grad = mt_grad_mode(false);
    mt_tensor *noise = rows(mi_chunks_normal(&a->c, chunk, "kedmi sample", each, 0, a->g.z_dim), (int64_t)ids * each);
    mt_tensor *p = mt_repeat(mt_unsqueeze(rows(a->p, ids), 1), MT_SHAPE(1, each, 1));
    mt_tensor *z = mi_kedmi_draw(mt_reshape(p, MT_SHAPE((int64_t)ids * each, dim)), noise, a->clamp);
    mt_tensor *x = mi_dcgan_g(&a->g, z, false);
    mt_grad_mode(grad);
    return x;
}

static enum mi_status finish_chunk(struct kedmi *a, int chunk) {
    mt_scope *s = mt_scope_begin("finish chunk");
    enum mi_status st = mi_chunks_deliver(&a->c, chunk, samples(a, chunk, mi_chunks_ids(&a->c, chunk)));
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status kedmi_step(struct kedmi *a, struct mi_loop *l) {
    int chunk = mi_chunks_of(&a->c, l->step), n = mi_chunks_ids(&a->c, chunk);
    int64_t it = l->step % a->c.iterations;
    MI_TRY(mi_chunks_enter(&a->c, chunk));
    if (it == 0) MI_TRY(start_chunk(a));
    mt_scope *s = mt_scope_begin("recovery step");
    mt_tensor *leaf = mt_detach(rows(a->p, n)), *grad = NULL; /* shares p's memory */
    mt_tensor *noise = mi_chunks_normal(&a->c, chunk, "kedmi noise", 1, it, a->g.z_dim);
    struct mi_kedmi_descent t = {0};
    enum mi_status st = mt_requires_grad_(leaf, true);
    if (st == MI_OK)
        st = mi_kedmi_loss(&a->g, &a->d, a->id, leaf, noise, a->c.y, a->c.key, it, a->lambda, DIVISOR, a->clamp, &t);
    if (st == MI_OK) st = mt_grad_of(t.loss, &leaf, 1, false, false, &grad);
    if (st == MI_OK) {
        mi_chunks_curves(&a->c, l, t.identity, t.prior, t.logits);
        if (mi_loop_report_due(l))
            st = mi_chunks_show(&a->c, chunk, l->step, samples(a, chunk, mi_chunks_shown(&a->c, chunk)));
        mi_chunks_adam(rows(a->p, n), rows(a->m, n), rows(a->v, n), grad, a->lr, it + 1);
    }
    enum mi_status end = mt_scope_end(s);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    return it == a->c.iterations - 1 ? finish_chunk(a, chunk) : MI_OK;
}

enum mi_status mi_kedmi_recover(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out) {
    struct kedmi a;
    enum mi_status st = kedmi_open(&a, job, id);
    if (st != MI_OK) goto out;
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "invert",
                        .unit = "img",
                        .total = a.c.count * a.c.iterations,
                        .per_step = (double)a.c.ids};
    mi_loop_add_tensor(&l, "p", &a.p);
    mi_loop_add_tensor(&l, "m", &a.m);
    mi_loop_add_tensor(&l, "v", &a.v);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = kedmi_step(&a, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st == MI_OK) st = mi_chunks_collect(&a.c, out);
out:
    kedmi_close(&a);
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
    .prior_uses_target = true,
    .prior = "kedmi",
    .prior_settings = mi_kedmi_prior_settings,
    .train_prior = mi_kedmi_train,
    .invert = kedmi_invert};
