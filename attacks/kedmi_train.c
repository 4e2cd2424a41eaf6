/* attacks/kedmi_train.c - training KedMI's inversion-specific GAN on public images, labelled softly by the target.
 *
 * Every step updates D on three batches: public images with the target's soft labels, other public images as real ones,
 * generated ones as unreal.  Every fifth step then updates G with new latents, a third walk over the public images and
 * D frozen.  G stays in training mode in both phases; fakes for D are made without a graph.  The published code forgets
 * to put the target into evaluation mode; `teacher` keeps both readings.
 *
 * The three walks are shuffled independently; every random number is a function of (seed, purpose, step), so the loop
 * resumes without generator state.  The sample sheet moves nothing. */
#include <stdio.h>
#include <time.h>

#include "attacks/kedmi.h"
#include "attacks/public.h"

enum { SHEET_COLS = 8, SHEET_IMAGES = 32 };
enum { TEACHER_EVAL, TEACHER_TRAIN };

const char *const mi_kedmi_prior_settings[] = {"gan_epochs",  "gan_steps", "gan_batch", "gan_width", "z_dim",
                                               "n_critic",    "gan_lr",    "gan_beta1", "gan_beta2", "entropy",
                                               "mbd_kernels", "mbd_dim",   "teacher",   NULL};

struct gan {
    struct mi_attack_job *job;
    struct mi_dcgan_g g;
    struct mi_kedmi_d d;
    mt_opt *opt_g, *opt_d;
    mt_rng *rng;
    mt_tensor *sheet_z; /* [32,z_dim] */
    struct mi_public labelled, unlabelled, matched;
    int batch, n_critic, teacher;
    double entropy, sheet_at, sheet_every;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mt_spec spec_of(const struct gan *w) {
    return (mt_spec){MT_F32, w->job->ctx->device, MT_NCHW};
}

/* Latents of one step and purpose, [batch,z_dim]. */
static mt_tensor *latents(struct gan *w, const char *purpose, int64_t step, int n) {
    mt_rng_seed(w->rng, mi_mix(mi_mix(w->job->ctx->seed, mi_hash_text(purpose)), (uint64_t)step));
    return mt_randn(MT_SHAPE(n, w->g.z_dim), spec_of(w), w->rng);
}

static enum mi_status adam(mt_opt **opt, struct mi_params *ps, const struct mi_values *v) {
    mt_tensor *list[64];
    int n = mi_params_trainable(ps, list, 64);
    *opt = mt_adam_new(mi_values_real(v, "gan_lr"), mi_values_real(v, "gan_beta1"), mi_values_real(v, "gan_beta2"),
                       1e-8, 0, false);
    if (!*opt) return mi_error_status() ? mi_error_status() : mt_status();
    return mt_opt_add(*opt, list, n, 1);
}

static enum mi_status gan_open(struct gan *w, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *w = (struct gan){.job = job, .sheet_at = -1e9};
    w->batch = (int)mi_values_int(v, "gan_batch");
    w->n_critic = (int)mi_values_int(v, "n_critic");
    w->teacher = mi_values_choice(v, "teacher");
    w->entropy = mi_values_real(v, "entropy");
    w->sheet_every = mi_values_real(v, "sample_every");
    MI_TRY(mi_public_open(&w->labelled, job, "kedmi labelled", w->batch, "gan_batch"));
    MI_TRY(mi_public_open(&w->unlabelled, job, "kedmi unlabelled", w->batch, "gan_batch"));
    MI_TRY(mi_public_open(&w->matched, job, "kedmi matched", w->batch, "gan_batch"));
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    MI_TRY(
        mi_dcgan_g_open(&w->g, job->size, width, z_dim, c->device, c->precision, mi_mix(c->seed, mi_hash_text("G"))));
    MI_TRY(mi_kedmi_d_open(&w->d, job->size, width, mi_oracle_classes(job->oracle),
                           (int)mi_values_int(v, "mbd_kernels"), (int)mi_values_int(v, "mbd_dim"), c->device,
                           c->precision, mi_mix(c->seed, mi_hash_text("D"))));
    MI_TRY(adam(&w->opt_g, w->g.ps, v));
    MI_TRY(adam(&w->opt_d, w->d.ps, v));
    w->rng = mt_rng_new(c->device, 0);
    if (!w->rng) return mt_status();
    mt_scope *s = mt_scope_begin("sheet");
    w->sheet_z = mt_keep(latents(w, "gan sheet", 0, SHEET_IMAGES));
    return mt_scope_end(s);
}

static void gan_close(struct gan *w) {
    mt_opt_free(w->opt_g);
    mt_opt_free(w->opt_d);
    mt_free(w->sheet_z);
    mt_rng_free(w->rng);
    mi_dcgan_g_close(&w->g);
    mi_kedmi_d_close(&w->d);
    mi_public_close(&w->labelled);
    mi_public_close(&w->unlabelled);
    mi_public_close(&w->matched);
}

static enum mi_status d_step(struct gan *w, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("discriminator step");
    mt_tensor *x = mi_public_batch(&w->labelled, l->step, MT_NHWC), *soft = NULL; /* [batch,3,S,S] [batch,K] */
    mt_tensor *u = mi_public_batch(&w->unlabelled, l->step, MT_NHWC);
    struct mi_oracle *o = w->job->oracle;
    enum mi_status st = w->teacher == TEACHER_TRAIN ? mi_oracle_probs_batch(o, x, &soft) : mi_oracle_probs(o, x, &soft);
    bool grad = mt_grad_mode(false);
    mt_tensor *fake = mi_dcgan_g(&w->g, latents(w, "gan discriminator z", l->step, w->batch), true);
    mt_grad_mode(grad);
    struct mi_kedmi_terms t = {0};
    mt_opt_zero_grad(w->opt_d);
    if (st == MI_OK) st = mi_kedmi_d_loss(&w->d, x, soft, u, fake, &t);
    if (st == MI_OK) st = mt_backward(t.loss, false);
    if (st == MI_OK) st = mt_opt_step(w->opt_d);
    if (st == MI_OK) {
        mt_tensor *same = mt_compare(mt_argmax(mt_detach(t.logits), 1), mt_argmax(soft, 1), MT_EQ); /* [batch] */
        mi_loop_scalar_tensor(l, "loss/supervised", mt_detach(t.supervised));
        mi_loop_scalar_tensor(l, "loss/unsupervised", mt_detach(t.unsupervised));
        mi_loop_scalar_tensor(l, "acc/agreement", mt_affine(mt_mean(mt_cast(same, MT_F32), NULL, 0, false), 100, 0));
    }
    mt_opt_zero_grad(w->opt_d);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status g_step(struct gan *w, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("generator step");
    mt_tensor *z = latents(w, "gan generator z", l->step, w->batch);
    mt_tensor *real = mi_public_batch(&w->matched, l->step, MT_NHWC);
    mi_params_freeze(w->d.ps, true);
    mt_opt_zero_grad(w->opt_g);
    mt_tensor *loss = mi_kedmi_g_loss(&w->g, &w->d, z, real, w->entropy);
    enum mi_status st = mt_backward(loss, false);
    if (st == MI_OK) st = mt_opt_step(w->opt_g);
    if (st == MI_OK) mi_loop_scalar_tensor(l, "loss/generator", mt_detach(loss));
    mt_opt_zero_grad(w->opt_g);
    mi_params_freeze(w->d.ps, false);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status draw_sheet(struct gan *w, int64_t step, bool final) {
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

static enum mi_status gan_step(struct gan *w, struct mi_loop *l) {
    MI_TRY(d_step(w, l));
    if ((l->step + 1) % w->n_critic == 0) MI_TRY(g_step(w, l));
    if (!mi_loop_report_due(l) || now() - w->sheet_at < w->sheet_every) return MI_OK;
    w->sheet_at = now();
    return draw_sheet(w, l->step + 1, false);
}

enum mi_status mi_kedmi_train(struct mi_attack_job *job, mt_archive *out) {
    struct gan w;
    enum mi_status st = gan_open(&w, job);
    if (st != MI_OK) goto out;
    int64_t steps = mi_values_int(job->values, "gan_steps");
    if (steps == 0) steps = mi_values_int(job->values, "gan_epochs") * w.labelled.per_epoch;
    struct mi_loop l = {.ctx = job->ctx,
                        .phase = "gan",
                        .unit = "img",
                        .total = steps,
                        .per_step = w.batch,
                        .steps_per_epoch = w.labelled.per_epoch};
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
    if (st == MI_OK) st = mi_kedmi_save(&w.g, &w.d, out);
out:
    gan_close(&w);
    return st;
}
