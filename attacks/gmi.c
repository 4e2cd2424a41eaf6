/* attacks/gmi.c - GMI, generative model inversion (Zhang et al. 2020): find latents whose images the target takes
 * for the wanted person and the critic takes for a photo.
 *
 * Prior: the WGAN-GP of wgan.c, trained on public images; it never sees the target, so one prior serves all targets.
 * Inversion, per image:  L(z) = -D(G(z)) + lambda CE(target(G(z)), y),  descended with momentum in look-ahead form,
 * z kept in [-1,1].  All nets are frozen and in evaluation mode, so no image of a batch feels another one: images are
 * grouped into chunks only for speed.  The published loss is a mean over a batch of 60 identities and the step is
 * plain gradient descent, so the step on one image shrinks with the batch; `coupling` says which batch size to divide
 * by: always `batch` (per_image) or the real one, smaller for the last or only batch (batch_mean, as published).
 *
 * First latents depend on (seed, label, restart) only.  One loop runs chunk after chunk; a finished chunk is saved
 * as a part, so a killed run repeats at most the steps since the last checkpoint.  The target is reached through the
 * oracle alone. */
#include "attacks/gmi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacks/wgan.h"

enum { SHOWN_IDS = 12 }; /* identities on a sheet of running reconstructions */
enum { SELECT_NONE, SELECT_TARGET_LOGIT };
enum { COUPLING_PER_IMAGE, COUPLING_BATCH_MEAN };
enum { INIT_NORMAL, INIT_CLAMPED };

/* ---- formulas ------------------------------------------------------------------------------------------------- */

enum mi_status mi_gmi_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, struct mi_oracle *o, mt_tensor *z,
                           mt_tensor *y, mt_tensor *weight, double lambda, struct mi_gmi_terms *out) {
    out->x = mi_dcgan_g(g, z, false);
    MI_TRY(mi_oracle_logits(o, out->x, &out->logits, NULL));
    out->prior = mt_affine(mi_dcgan_d(d, out->x), -1, 0);
    out->identity = mt_cross_entropy(out->logits, y, 0, MT_RED_NONE);
    mt_tensor *each = mt_add(out->prior, mt_affine(out->identity, lambda, 0)); /* [N] */
    out->loss = mt_sum(mt_mul(weight, each), NULL, 0, false);
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "GMI's loss could not be formed");
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
    struct mi_attack_job *job;
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    int iterations, batch, coupling, init, select, tries; /* tries: candidates per delivered image */
    int per_label;                                        /* candidates per identity */
    int chunk_ids, chunks;                                /* identities per chunk */
    double lr, momentum, lambda;
    bool clamp;
    mt_tensor *z, *v; /* [chunk_ids*per_label,z_dim]; the last chunk uses the first rows */
    mt_tensor *y;     /* i64, weight: of the chunk `loaded` */
    mt_tensor *weight;
    int loaded;
};

static int ids_in(const struct gmi *a, int chunk) {
    int left = a->job->n_labels - chunk * a->chunk_ids;
    return left < a->chunk_ids ? left : a->chunk_ids;
}

static mt_tensor *rows(mt_tensor *t, int64_t n) { return mt_narrow(t, 0, 0, n); }

/* Identities inverted side by side.  Memory bounds it; results do not depend on it. */
static int chunk_size(const struct mi_attack_job *job, int stack, int per_label) {
    if (stack == 0) {
        uint64_t used = 0, total = 0, peak = 0;
        bool gpu = job->ctx->device.type == 1;
        if (gpu && mt_mem_info(job->ctx->device, &used, &total, &peak) != MI_OK) total = 0;
        if (gpu) mi_error_clear();
        stack = !gpu ? 60 : total > (40ull << 30) ? 300 : 100;
        if (job->size > 64) stack /= 4;
    }
    int ids = stack / per_label;
    if (ids > job->n_labels) ids = job->n_labels;
    return ids > 0 ? ids : 1;
}

static enum mi_status gmi_open(struct gmi *a, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    struct mi_ctx *c = job->ctx;
    *a = (struct gmi){.job = job, .loaded = -1};
    a->iterations = (int)mi_values_int(v, "iterations");
    a->batch = (int)mi_values_int(v, "batch");
    a->coupling = mi_values_choice(v, "coupling");
    a->init = mi_values_choice(v, "init");
    a->select = mi_values_choice(v, "select");
    a->tries = a->select == SELECT_NONE ? 1 : (int)mi_values_int(v, "tries");
    a->per_label = job->restarts * a->tries;
    a->lr = mi_values_real(v, "lr");
    a->momentum = mi_values_real(v, "momentum");
    a->lambda = mi_values_real(v, "lambda");
    a->clamp = mi_values_bool(v, "clamp");
    a->chunk_ids = chunk_size(job, (int)mi_values_int(v, "stack"), a->per_label);
    a->chunks = (job->n_labels + a->chunk_ids - 1) / a->chunk_ids;
    for (int i = 0; i < job->n_labels; i++)
        if (job->labels[i] < 0 || job->labels[i] >= mi_oracle_classes(job->oracle))
            return mi_fail(MI_E_INPUT, "identity %d cannot be attacked: the target knows classes 0..%d", job->labels[i],
                           mi_oracle_classes(job->oracle) - 1);
    MI_TRY(mi_dcgan_load(&a->g, &a->d, job->prior, job->size, c->device, c->precision));
    mt_spec sp = {MT_F32, c->device, MT_NCHW};
    int64_t n = (int64_t)a->chunk_ids * a->per_label;
    mt_scope *s = mt_scope_begin("latents");
    a->z = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    a->v = mt_keep(mt_zeros(MT_SHAPE(n, a->g.z_dim), sp));
    return mt_scope_end(s);
}

static void drop_chunk(struct gmi *a) {
    mt_free(a->y);
    mt_free(a->weight);
    a->y = a->weight = NULL;
    a->loaded = -1;
}

static void gmi_close(struct gmi *a) {
    drop_chunk(a);
    mt_free(a->z);
    mt_free(a->v);
    mi_dcgan_g_close(&a->g);
    mi_dcgan_d_close(&a->d);
}

/* Images of the identity batch that identity number `i` of the job falls into: the divisor of the published mean. */
static int divisor(const struct gmi *a, int i) {
    if (a->coupling == COUPLING_PER_IMAGE) return a->batch;
    int left = a->job->n_labels - i / a->batch * a->batch;
    return left < a->batch ? left : a->batch;
}

/* Labels and loss weights of a chunk, made when it is entered (also after a resume in its middle). */
static enum mi_status load_chunk(struct gmi *a, int chunk) {
    if (a->loaded == chunk) return MI_OK;
    drop_chunk(a);
    int n = ids_in(a, chunk) * a->per_label, first = chunk * a->chunk_ids;
    int64_t *y = mi_calloc((size_t)n, sizeof *y);
    float *weight = mi_calloc((size_t)n, sizeof *weight);
    enum mi_status st = y && weight ? MI_OK : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < n; i++) {
        y[i] = a->job->labels[first + i / a->per_label];
        weight[i] = 1.0f / (float)divisor(a, first + i / a->per_label);
    }
    if (st == MI_OK) {
        mt_scope *s = mt_scope_begin("chunk");
        mt_device dev = a->job->ctx->device;
        a->y = mt_keep(mt_to(mt_from(y, MT_SHAPE(n), (mt_spec){MT_I64, MT_CPU, MT_NCHW}), dev));
        a->weight = mt_keep(mt_to(mt_from(weight, MT_SHAPE(n), MT_SPEC_F32), dev));
        st = mt_scope_end(s);
    }
    if (st == MI_OK) a->loaded = chunk;
    free(y);
    free(weight);
    return st;
}

/* First latents: a pure function of (seed, label, candidate), whatever the chunks. */
static enum mi_status start_chunk(struct gmi *a, int chunk) {
    int n = ids_in(a, chunk) * a->per_label, dim = a->g.z_dim;
    float *z = mi_calloc((size_t)n * (size_t)dim, sizeof *z);
    if (!z) return MI_E_NOMEM;
    for (int i = 0; i < n; i++) {
        int label = a->job->labels[chunk * a->chunk_ids + i / a->per_label];
        struct mi_rng r = mi_rng_make(a->job->ctx->seed, "gmi latent", (uint64_t)label, (uint64_t)(i % a->per_label));
        mi_rng_fill_normal(&r, z + (size_t)i * (size_t)dim, (size_t)dim);
    }
    mt_scope *s = mt_scope_begin("first latents");
    mt_tensor *part = rows(a->z, n);
    mt_copy_(part, mt_from(z, MT_SHAPE(n, dim), MT_SPEC_F32));
    if (a->init == INIT_CLAMPED) mt_clamp_(part, -1, 1);
    mt_fill_(a->v, 0);
    enum mi_status st = mt_scope_end(s);
    free(z);
    return st;
}

/* The running reconstructions of the chunk's first identities: one row an identity, one column a restart. */
static enum mi_status show(struct gmi *a, int chunk, int64_t step, mt_tensor *x) {
    int ids = ids_in(a, chunk) < SHOWN_IDS ? ids_in(a, chunk) : SHOWN_IDS;
    mt_tensor *some = mt_detach(mt_stride_slice(x, 0, 0, (int64_t)ids * a->per_label, a->tries));
    struct mi_ctx *c = a->job->ctx;
    char name[160]; /* of the sheet the attack stage draws at the end, which then takes its place */
    snprintf(name, sizeof name, "recon-%s", c->cell ? c->cell : c->stage);
    return mi_ctx_atlas(c, name, "recon", some, a->job->restarts, a->job->labels + chunk * a->chunk_ids, step, false);
}

/* Keeps of each image's `tries` candidates the one with the greatest target logit. x [n,...], logits [n,K]. */
static mt_tensor *best_candidates(struct gmi *a, mt_tensor *x, mt_tensor *logits) {
    if (a->tries == 1) return x;
    int64_t n = mt_size(x, 0);
    mt_tensor *own = mt_gather(logits, 1, mt_unsqueeze(a->y, 1));                          /* [n,1] */
    mt_tensor *best = mt_argmax(mt_reshape(own, MT_SHAPE(n / a->tries, a->tries)), 1);     /* [n/tries] */
    mt_tensor *base = mt_arange(0, n / a->tries, (mt_spec){MT_I64, mt_device_of(x), MT_NCHW});
    return mt_index_select(x, 0, mt_add(mt_cast(mt_affine(base, a->tries, 0), MT_I64), best));
}

/* Delivers a finished chunk: final images in [0,1] on the CPU, saved as a part of the stage. */
static enum mi_status finish_chunk(struct gmi *a, int chunk) {
    int n = ids_in(a, chunk) * a->per_label;
    mt_scope *s = mt_scope_begin("finish chunk");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mi_dcgan_g(&a->g, rows(a->z, n), false), *logits = NULL;
    enum mi_status st = MI_OK;
    if (a->tries > 1) st = mi_oracle_logits(a->job->oracle, x, &logits, NULL);
    if (st == MI_OK) x = mt_to(best_candidates(a, x, logits), MT_CPU);
    mt_grad_mode(grad);
    if (st == MI_OK && x) {
        char part[32];
        snprintf(part, sizeof part, "chunk-%04d", chunk);
        st = mi_ctx_part_save(a->job->ctx, part, (mt_tensor *const[]){x}, (const char *const[]){"x"}, 1);
    }
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

/* All curves depend on the step alone, never on the clock; the accuracy is taken a few hundred times a run. */
static void curves(struct gmi *a, struct mi_loop *l, const struct mi_gmi_terms *t) {
    mi_loop_scalar_tensor(l, "loss/identity", mt_detach(mt_mean(t->identity, NULL, 0, false)));
    mi_loop_scalar_tensor(l, "loss/prior", mt_detach(mt_mean(t->prior, NULL, 0, false)));
    int64_t every = l->total / 500 + 1;
    if (l->step % every != 0) return;
    mt_tensor *right = mt_compare(mt_argmax(mt_detach(t->logits), 1), a->y, MT_EQ);
    mi_loop_scalar_tensor(l, "acc/target", mt_affine(mt_mean(mt_cast(right, MT_F32), NULL, 0, false), 100, 0));
}

static enum mi_status gmi_step(struct gmi *a, struct mi_loop *l) {
    int chunk = (int)(l->step / a->iterations), it = (int)(l->step % a->iterations);
    MI_TRY(load_chunk(a, chunk));
    if (it == 0) MI_TRY(start_chunk(a, chunk));
    int n = ids_in(a, chunk) * a->per_label;
    mt_scope *s = mt_scope_begin("inversion step");
    mt_tensor *leaf = mt_detach(rows(a->z, n)), *grad = NULL; /* shares z's memory */
    struct mi_gmi_terms t = {0};
    enum mi_status st = mt_requires_grad_(leaf, true);
    if (st == MI_OK) st = mi_gmi_loss(&a->g, &a->d, a->job->oracle, leaf, a->y, a->weight, a->lambda, &t);
    if (st == MI_OK) st = mt_grad_of(t.loss, &leaf, 1, false, false, &grad);
    if (st == MI_OK) {
        curves(a, l, &t);
        if (mi_loop_report_due(l)) st = show(a, chunk, l->step, t.x);
        mi_gmi_update(rows(a->z, n), rows(a->v, n), grad, a->lr, a->momentum, a->clamp);
    }
    enum mi_status end = mt_scope_end(s);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    return it == a->iterations - 1 ? finish_chunk(a, chunk) : MI_OK;
}

/* All parts in order of label and restart. */
static enum mi_status collect(struct gmi *a, struct mi_recon *out) {
    mt_scope *s = mt_scope_begin("collect");
    mt_tensor **part = mi_calloc((size_t)a->chunks, sizeof *part);
    enum mi_status st = part ? MI_OK : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < a->chunks; i++) {
        char name[32];
        snprintf(name, sizeof name, "chunk-%04d", i);
        st = mi_ctx_part_load(a->job->ctx, name, &part[i], (const char *const[]){"x"}, 1);
        if (st == MI_E_MISSING) mi_fail(st, "finished images %s of the attack are gone from the work folder", name);
    }
    if (st == MI_OK) out->x = mt_keep(mt_contig(mt_cat(part, a->chunks, 0), MT_NCHW)); /* [labels*restarts,3,S,S] */
    free(part);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status gmi_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct gmi a;
    enum mi_status st = gmi_open(&a, job);
    if (st != MI_OK) goto out;
    struct mi_loop l = {.ctx = job->ctx, .phase = "invert", .unit = "img",
                        .total = (int64_t)a.chunks * a.iterations, .per_step = (double)a.chunk_ids * a.per_label};
    mi_loop_add_tensor(&l, "z", &a.z);
    mi_loop_add_tensor(&l, "v", &a.v);
    st = mi_loop_begin(&l);
    if (st != MI_OK) goto out;
    while (mi_loop_next(&l)) {
        enum mi_status step = gmi_step(&a, &l);
        if (step != MI_OK) mi_loop_fail(&l, step);
    }
    st = mi_loop_end(&l);
    if (st == MI_OK) st = collect(&a, out);
out:
    gmi_close(&a);
    return st;
}

/* ---- descriptor ----------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    MI_WGAN_SETTINGS,
    {.name = "iterations", .type = MI_INT, .def = "2000", .min = 1, .max = 1000000, .unit = "steps",
     .help = "Descent steps on the latents (GMI 1500, KedMI and LOMMA 2400, TL-DMI 3000, BiDO 2000)"},
    {.name = "lr", .type = MI_REAL, .def = "0.02", .min = 0, .max = 100, .help = "Step size on the latents"},
    {.name = "momentum", .type = MI_REAL, .def = "0.9", .min = 0, .max = 0.9999, .help = "Momentum of the descent"},
    {.name = "lambda", .type = MI_REAL, .def = "100", .min = 0, .max = 1e6,
     .help = "Weight of the identity loss beside the critic's score"},
    {.name = "clamp", .type = MI_BOOL, .def = "yes", .help = "Keep latents in [-1,1] after every step"},
    {.name = "init", .type = MI_CHOICE, .def = "normal", .choices = "normal|clamped",
     .help = "First latents: standard normal as published, or the same clamped to [-1,1]"},
    {.name = "batch", .type = MI_INT, .def = "60", .min = 1, .max = 100000, .unit = "identities",
     .help = "Identities in a published batch: what the mean loss, hence the step of each image, is divided by"},
    {.name = "coupling", .type = MI_CHOICE, .def = "per_image", .choices = "per_image|batch_mean",
     .help = "Divide the loss always by batch, or by the identities really in the batch (as published: fewer "
             "identities make larger steps)"},
    {.name = "select", .type = MI_CHOICE, .def = "none", .choices = "none|target_logit",
     .help = "Deliver every restart, or of each `tries` restarts the one with the greatest target logit (original GMI)"},
    {.name = "tries", .type = MI_INT, .def = "5", .min = 1, .max = 100, .unit = "restarts",
     .help = "Candidates per delivered image when select is target_logit"},
    {.name = "stack", .type = MI_INT, .def = "0", .min = 0, .max = 100000, .unit = "images",
     .help = "Images inverted side by side, 0 = by memory; changes speed, not results", .cosmetic = true},
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
    .prior_uses_target = false,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .invert = gmi_invert};
