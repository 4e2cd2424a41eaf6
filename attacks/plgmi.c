/* attacks/plgmi.c - PLG-MI, pseudo label-guided model inversion (Yuan, Chen, Zhang, Zhang, Yu, AAAI 2023).
 *
 * Prior: a conditional GAN for this target (plg_train.c); every defended target needs its own.
 * Inversion: the class is given to the generator, so only z moves.  Each step shows the target `views` independent
 * augmentations of G(z,y) and Adam descends on the sum of their max-margin losses, without a prior term and without a
 * clamp.  The final, un-augmented image of every restart is a reconstruction; pixels are brought into [0,1] first,
 * which tanh alone does not promise.
 *
 * An image's views depend on (seed, label, restart, step), the order of colour changes on (seed, step): chunks of
 * identities change speed, not results.  z and Adam's state are the only state. */
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
    struct mi_attack_job *job;
    struct mi_plg_g g;
    struct mi_chunks c;
    struct mi_plg_look look;
    double lr;
    mt_tensor *z, *m, *v; /* [rows,z_dim]; the last chunk uses the first rows */
};

static enum mi_status plgmi_open(struct plgmi *a, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    struct mi_ctx *c = job->ctx;
    *a = (struct plgmi){.job = job};
    a->look = (struct mi_plg_look){.oracle = job->oracle,
                                   .kind = (enum mi_plg_kind)mi_values_choice(v, "loss"),
                                   .views = (int)mi_values_int(v, "views"),
                                   .augment = mi_values_choice(v, "augment") == AUGMENT_VIEWS,
                                   .seed = c->seed};
    a->lr = mi_values_real(v, "lr");
    MI_TRY(mi_adaptive_open(&a->look.adaptive, v, job->size, c->seed));
    MI_TRY(mi_chunks_open(&a->c, job, job->restarts, mi_values_int(v, "iterations"), (int)mi_values_int(v, "stack"),
                          a->look.adaptive.masks));
    MI_TRY(mi_plg_load(&a->g, job->prior, job->size, mi_oracle_classes(job->oracle), c->device, c->precision));
    mt_spec sp = {MT_F32, c->device, MT_NCHW};
    int64_t n = mi_chunks_rows(&a->c, 0);
    mt_scope *s = mt_scope_begin("latents");
    a->z = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    a->m = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    a->v = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    return mt_scope_end(s);
}

static void plgmi_close(struct plgmi *a) {
    mi_chunks_close(&a->c);
    mt_free(a->z);
    mt_free(a->m);
    mt_free(a->v);
    mi_plg_g_close(&a->g);
}

static enum mi_status start_chunk(struct plgmi *a, int chunk) {
    mt_scope *s = mt_scope_begin("first latents");
    mt_copy_(rows(a->z, mi_chunks_rows(&a->c, chunk)),
             mi_chunks_normal(&a->c, chunk, "plg latent", a->c.per_label, 0, a->g.z_dim));
    mt_fill_(a->m, 0);
    mt_fill_(a->v, 0);
    return mt_scope_end(s);
}

static enum mi_status finish_chunk(struct plgmi *a, int chunk) {
    mt_scope *s = mt_scope_begin("finish chunk");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mi_plg_g(&a->g, rows(a->z, mi_chunks_rows(&a->c, chunk)), a->c.y, false);
    enum mi_status st = mi_chunks_deliver(&a->c, chunk, mt_clamp(x, 0, 1));
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status plgmi_step(struct plgmi *a, struct mi_loop *l) {
    int chunk = mi_chunks_of(&a->c, l->step), n;
    int64_t it = l->step % a->c.iterations;
    MI_TRY(mi_chunks_enter(&a->c, chunk));
    if (it == 0) MI_TRY(start_chunk(a, chunk));
    n = mi_chunks_rows(&a->c, chunk);
    mt_scope *s = mt_scope_begin("inversion step");
    mt_tensor *leaf = mt_detach(rows(a->z, n)), *grad = NULL, *id = NULL, *logits = NULL; /* leaf shares z's memory */
    enum mi_status st = mt_requires_grad_(leaf, true);
    mt_tensor *x = mi_plg_g(&a->g, leaf, a->c.y, false); /* [n,3,S,S] */
    if (st == MI_OK) st = x ? mi_plg_identity(&a->look, x, a->c.y, a->c.key, it, &id, &logits) : mt_status();
    if (st == MI_OK) {
        mt_tensor *loss = mt_affine(mt_sum(id, NULL, 0, false), 1.0 / DIVISOR, 0);
        st = mt_grad_of(loss, &leaf, 1, false, false, &grad);
    }
    if (st == MI_OK) {
        mi_chunks_curves(&a->c, l, id, NULL, logits);
        if (mi_loop_report_due(l)) {
            int64_t shown = (int64_t)mi_chunks_shown(&a->c, chunk) * a->c.per_label;
            st = mi_chunks_show(&a->c, chunk, l->step, mt_clamp(mt_detach(rows(x, shown)), 0, 1));
        }
        mi_chunks_adam(rows(a->z, n), rows(a->m, n), rows(a->v, n), grad, a->lr, it + 1);
    }
    enum mi_status end = mt_scope_end(s);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    return it == a->c.iterations - 1 ? finish_chunk(a, chunk) : MI_OK;
}

static enum mi_status plgmi_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct plgmi a;
    enum mi_status st = plgmi_open(&a, job);
    if (st != MI_OK) goto out;
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "invert",
                        .unit = "img",
                        .total = a.c.count * a.c.iterations,
                        .per_step = (double)mi_chunks_rows(&a.c, 0)};
    mi_loop_add_tensor(&l, "z", &a.z);
    mi_loop_add_tensor(&l, "m", &a.m);
    mi_loop_add_tensor(&l, "v", &a.v);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = plgmi_step(&a, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st == MI_OK) st = mi_chunks_collect(&a.c, out);
out:
    plgmi_close(&a);
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
    .prior_uses_target = true,
    .prior = "plg",
    .prior_settings = mi_plg_prior_settings,
    .train_prior = mi_plg_train,
    .invert = plgmi_invert};
