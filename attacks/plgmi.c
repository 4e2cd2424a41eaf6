/* attacks/plgmi.c - PLG-MI, pseudo label-guided model inversion (Yuan, Chen, Zhang, Zhang, Yu, AAAI 2023).
 *
 * Prior: a conditional GAN for this target (plg_train.c); every defended target needs its own.
 * Inversion: the class is given to the generator, so only z moves.  Each step shows the target `views` independent
 * augmentations of G(z,y) and Adam descends on the sum of their max-margin losses, without a prior term and without a
 * clamp.  The final, un-augmented image of every restart is a reconstruction; pixels are brought into [0,1] first,
 * which tanh alone does not promise.
 *
 * An image's views depend on (seed, label, restart, step), the order of colour changes on (seed, step): chunks of
 * identities change speed, not results.  The loop is descent.c's. */
#include "attacks/plgmi.h"

enum { DIVISOR = 60 }; /* the published mean is over 60 identities; under Adam it matters through eps only */
enum { AUGMENT_NONE, AUGMENT_VIEWS };
static const double JITTER_P = 1;

static mt_tensor *rows(mt_tensor *t, int64_t n) {
    return mt_narrow(t, 0, 0, n);
}

enum mi_status mi_plg_identity(const struct mi_plg_look *k, mt_tensor *x, mt_tensor *y, const uint64_t *key, int64_t it,
                               mt_tensor **loss, mt_tensor **logits) {
    mt_tensor *label = mi_adaptive_repeat(&k->adaptive, y), *all = NULL;
    *loss = NULL;
    for (int v = 0; v < k->views; v++) {
        mt_tensor *seen = x, *erased = NULL, *each; /* [N,3,S,S], [masks*N,3,S,S], [masks*N] */
        int64_t step = it * k->views + v;
        if (k->augment) seen = mi_plg_augment(x, k->seed, "plg view", key, step, JITTER_P);
        if (!seen) return mt_status();
        MI_TRY(mi_adaptive_views(&k->adaptive, seen, key, step, &erased));
        MI_TRY(mi_oracle_logits(k->oracle, erased, &all, NULL));
        each = k->kind == MI_PLG_MARGIN ? mi_plg_margin(all, label) : mt_cross_entropy(all, label, 0, MT_RED_NONE);
        mt_tensor *one = mi_adaptive_mean(&k->adaptive, each); /* [N] */
        *loss = *loss ? mt_add(*loss, one) : one;
    }
    *logits = rows(all, mt_size(x, 0));
    return *loss ? MI_OK : mt_status();
}

struct plgmi {
    struct mi_descent d;
    struct mi_plg_g g;
    struct mi_plg_look look;
};

static void start(void *attack, int chunk, mt_tensor *z) {
    struct plgmi *a = attack;
    mt_copy_(z, mi_chunks_normal(&a->d.c, chunk, "plg latent", a->d.c.per_label, 0, a->g.z_dim));
}

static enum mi_status loss(void *attack, int chunk, int64_t it, mt_tensor *z, struct mi_descent_terms *out) {
    struct plgmi *a = attack;
    const struct mi_chunks *c = &a->d.c;
    (void)chunk;
    out->x = mi_plg_g(&a->g, z, c->y, false); /* [n,3,S,S] */
    if (!out->x) return mt_status();
    MI_TRY(mi_plg_identity(&a->look, out->x, c->y, c->key, it, &out->identity, &out->logits));
    out->loss = mt_affine(mt_sum(out->identity, NULL, 0, false), 1.0 / DIVISOR, 0);
    return MI_OK;
}

static mt_tensor *sheet(void *attack, int chunk, int ids, mt_tensor *x) {
    const struct plgmi *a = attack;
    (void)chunk;
    return mt_clamp(mt_detach(rows(x, (int64_t)ids * a->d.c.per_label)), 0, 1);
}

static enum mi_status finish(void *attack, int chunk, mt_tensor *z, mt_tensor **x) {
    struct plgmi *a = attack;
    (void)chunk;
    *x = mt_clamp(mi_plg_g(&a->g, z, a->d.c.y, false), 0, 1);
    return MI_OK;
}

static const struct mi_descent_desc descent = {
    .points = "z", .rule = &mi_descent_by_adam, .start = start, .loss = loss, .sheet = sheet, .finish = finish};

static enum mi_status plgmi_open(struct plgmi *a, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    struct mi_ctx *c = job->ctx;
    *a = (struct plgmi){.look = {.oracle = job->oracle,
                                 .kind = (enum mi_plg_kind)mi_values_choice(v, "loss"),
                                 .views = (int)mi_values_int(v, "views"),
                                 .augment = mi_values_choice(v, "augment") == AUGMENT_VIEWS,
                                 .seed = c->seed}};
    MI_TRY(mi_adaptive_open(&a->look.adaptive, v, job->size, c->seed));
    MI_TRY(mi_descent_open(&a->d, &descent, a, job, job->restarts, a->look.adaptive.masks));
    return mi_plg_load(&a->g, job->prior, job->size, mi_oracle_classes(job->oracle), c->device, c->precision);
}

static enum mi_status plgmi_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct plgmi a;
    enum mi_status st = plgmi_open(&a, job);
    if (st == MI_OK) st = mi_descent_run(&a.d, a.g.z_dim, out);
    mi_descent_close(&a.d);
    mi_plg_g_close(&a.g);
    return st;
}

/* ---- descriptor ----------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    MI_PLG_GAN_SETTINGS,
    {.name = "iterations",
     .type = MI_INT,
     .def = "600",
     .min = 1,
     .max = 1000000,
     .unit = "steps",
     .help = "Steps on the latents"},
    {.name = "lr", .type = MI_REAL, .def = "0.1", .min = 0, .max = 100, .help = "Learning rate (Adam)"},
    {.name = "views",
     .type = MI_INT,
     .def = "2",
     .min = 1,
     .max = 16,
     .help = "Augmented views of each image the target judges in a step"},
    {.name = "augment",
     .type = MI_CHOICE,
     .def = "views",
     .choices = "none|views",
     .help = "Show the target random crops, colours, mirrorings and rotations, or the image itself"},
    {.name = "loss",
     .type = MI_CHOICE,
     .def = "margin",
     .choices = "margin|ce",
     .help = "Identity loss of the inversion: max-margin as published, or cross entropy (its ablation)"},
    MI_STACK_SETTING,
    MI_ADAPTIVE_SETTINGS,
    MI_SETTING_END};

const struct mi_attack_desc mi_attack_plgmi = {
    .info = {.name = "plgmi",
             .title = "PLG-MI",
             .help = "Labels public images with the target, trains a GAN that is told the class, then moves latents "
                     "until the target prefers the person by the widest margin.",
             .paper = "Yuan, Chen, Zhang, Zhang, Yu: Pseudo Label-Guided Model Inversion Attack via Conditional "
                      "Generative Adversarial Network, AAAI 2023",
             .settings = settings,
             .tags = "white-box 64px gan"},
    .access = MI_ACCESS_WHITE,
    .native_size = 64,
    .sizes = mi_plg_sizes,
    .prior_uses_target = true,
    .prior = "plg",
    .prior_settings = mi_plg_prior_settings,
    .train_prior = mi_plg_train,
    .invert = plgmi_invert};
