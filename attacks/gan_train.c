/* attacks/gan_train.c - the loop of gan_train.h.
 *
 * A step is a function of (weights, optimiser state, step number): what a network learns from is drawn from (seed,
 * purpose, step).  The sample sheet moves nothing, so when it is drawn does not change the result.  Owns the optimisers
 * and the generator of random numbers; borrows networks and job. */
#include "attacks/gan_train.h"

#include <stdio.h>
#include <time.h>

enum { SHEET_COLS = 8 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mi_gan_open(struct mi_gan *t, const struct mi_gan_desc *desc, void *gan, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    *t = (struct mi_gan){.desc = desc, .gan = gan, .job = job, .sheet_at = -1e9};
    t->batch = (int)mi_values_int(v, "gan_batch");
    t->n_critic = (int)mi_values_int(v, "n_critic");
    t->sheet_every = mi_values_real(v, "sample_every");
}

void mi_gan_close(struct mi_gan *t) {
    mt_opt_free(t->opt_g);
    mt_opt_free(t->opt_d);
    mt_rng_free(t->rng);
}

static enum mi_status adam(mt_opt **opt, struct mi_params *ps, const struct mi_values *v) {
    *opt = mt_adam_new(mi_values_real(v, "gan_lr"), mi_values_real(v, "gan_beta1"), mi_values_real(v, "gan_beta2"),
                       1e-8, 0, false);
    return *opt ? mi_params_optimise(ps, *opt) : mi_error_status();
}

enum mi_status mi_gan_nets(struct mi_gan *t, struct mi_params *g, struct mi_params *d) {
    t->g = g;
    t->d = d;
    MI_TRY(adam(&t->opt_g, g, t->job->values));
    MI_TRY(adam(&t->opt_d, d, t->job->values));
    t->rng = mt_rng_new(t->job->ctx->device, 0);
    return t->rng ? MI_OK : mt_status();
}

mt_rng *mi_gan_stream(struct mi_gan *t, const char *purpose, int64_t step) {
    mt_rng_seed(t->rng, mi_mix(mi_mix(t->job->ctx->seed, mi_hash_text(purpose)), (uint64_t)step));
    return t->rng;
}

mt_tensor *mi_gan_latents(struct mi_gan *t, const char *purpose, int64_t step, int n, int z_dim) {
    mt_spec sp = {MT_F32, t->job->ctx->device, MT_NCHW};
    return mt_randn(MT_SHAPE(n, z_dim), sp, mi_gan_stream(t, purpose, step));
}

/* ---- one step ------------------------------------------------------------------------------------------------- */

/* One update of one network by its loss. */
static enum mi_status learn(struct mi_gan *t, struct mi_loop *l, int64_t n, mt_opt *opt,
                            enum mi_status (*loss)(void *, struct mi_loop *, int64_t, mt_tensor **)) {
    mt_scope *s = mt_scope_begin(opt == t->opt_d ? "discriminator step" : "generator step");
    mt_tensor *value = NULL;
    mt_opt_zero_grad(opt);
    enum mi_status st = loss(t->gan, l, n, &value);
    if (st == MI_OK) st = mt_backward(value, false);
    if (st == MI_OK) st = mt_opt_step(opt);
    mt_opt_zero_grad(opt);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status learn_d(struct mi_gan *t, struct mi_loop *l, int64_t n) {
    return learn(t, l, n, t->opt_d, t->desc->d_loss);
}

static enum mi_status learn_g(struct mi_gan *t, struct mi_loop *l, int64_t n) {
    mi_params_freeze(t->d, true);
    enum mi_status st = learn(t, l, n, t->opt_g, t->desc->g_loss);
    mi_params_freeze(t->d, false);
    return st;
}

static enum mi_status draw_sheet(struct mi_gan *t, int64_t step, bool final) {
    mt_scope *s = mt_scope_begin("sample sheet");
    bool grad = mt_grad_mode(false);
    mt_tensor *x = t->desc->sheet(t->gan);
    mt_grad_mode(grad);
    char name[160];
    snprintf(name, sizeof name, "samples-%s", t->job->ctx->stage);
    enum mi_status st = x ? mi_ctx_atlas(t->job->ctx, name, "samples", x, SHEET_COLS, NULL, step, final) : MI_OK;
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status step(struct mi_gan *t, struct mi_loop *l) {
    if (t->desc->cadence == MI_GAN_STEP_IS_D) {
        MI_TRY(learn_d(t, l, l->step));
        if ((l->step + 1) % t->n_critic == 0) MI_TRY(learn_g(t, l, l->step));
    } else {
        MI_TRY(learn_g(t, l, l->step));
        for (int i = 0; i < t->n_critic; i++) MI_TRY(learn_d(t, l, l->step * t->n_critic + i));
    }
    if (!mi_loop_report_due(l) || now() - t->sheet_at < t->sheet_every) return MI_OK;
    t->sheet_at = now();
    return draw_sheet(t, l->step + 1, false);
}

int64_t mi_gan_steps(const struct mi_attack_job *job, int64_t steps_per_epoch) {
    int64_t steps = mi_values_int(job->values, "gan_steps");
    return steps ? steps : mi_values_int(job->values, "gan_epochs") * steps_per_epoch;
}

enum mi_status mi_gan_train(struct mi_gan *t, int64_t steps, int images_per_step, int64_t steps_per_epoch) {
    struct mi_loop l = {.ctx = t->job->ctx,
                        .phase = "gan",
                        .unit = "img",
                        .total = steps,
                        .per_step = images_per_step,
                        .steps_per_epoch = steps_per_epoch};
    mi_loop_add_params(&l, "G", t->g);
    mi_loop_add_params(&l, "D", t->d);
    mi_loop_add_opt(&l, "adam_g", t->opt_g);
    mi_loop_add_opt(&l, "adam_d", t->opt_d);
    MI_TRY(mi_loop_begin(&l));
    while (mi_loop_next(&l)) {
        enum mi_status st = step(t, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    MI_TRY(mi_loop_end(&l));
    return draw_sheet(t, steps, true);
}
