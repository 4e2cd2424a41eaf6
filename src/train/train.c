/* src/train/train.c - training a classifier, with or without defenses, as one resumable loop.
 *
 * One step: defenses' step hook -> batch, from the usual sampler or a defense's -> batch hook (MIDRE erases here) ->
 * forward, composed loss, backward, or a defense's way to gradients -> before_step -> optimiser.  Everything random in
 * it comes from (seed, purpose, step), so a step done again after a kill is the same step.  At the end of an epoch the
 * whole test split is evaluated; with keep = best the weights of the best epoch are held aside, registered with the
 * loop like everything else that lives on.
 *
 * Curves: loss/train, acc/train and lr per step (means over buckets), loss/test and acc/test per epoch; accuracies in
 * percent.  Owns: optimiser, feeder, best weights.  Borrows: model, dataset, recipe, defenses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "midre/judge.h"
#include "train_priv.h"

struct job {
    struct mi_ctx *ctx;
    struct mi_model *m;
    const struct mi_dataset *d;
    const struct mi_train_recipe *r; /* as the defenses left it */
    struct mi_sampling sampling;
    struct mi_defense *sampler;   /* draws the batches; NULL = the usual sampler */
    struct mi_defenses *defenses; /* never NULL here: an empty list for a judge */
    struct mi_feeder *feeder;
    mt_opt *opt;
    struct mi_params *best; /* keep = best: copies of all weights and buffers, else NULL */
    double best_acc, last_acc;
    double parts; /* of a batch; kept in checkpoints: a resumed run computes as it began */
    int64_t per_epoch;
    int batch;
};

/* The input normalisation as the batch filler wants it: std 0 in a descriptor means none. */
static void input_range(const struct mi_model *m, float mean[3], float std[3]) {
    for (int c = 0; c < 3; c++) {
        bool plain = m->desc->std[c] <= 0;
        mean[c] = plain ? 0 : m->desc->mean[c];
        std[c] = plain ? 1 : m->desc->std[c];
    }
}

/* A store of the same tensors; names and roles are copied, so it saves and loads like the original. */
static struct mi_params *copy_params(const struct mi_params *from) {
    struct mi_params *ps = mi_params_new(from->device, from->layout);
    if (!ps) return NULL;
    ps->item = mi_calloc((size_t)from->n, sizeof(*ps->item));
    if (!ps->item) {
        mi_params_free(ps);
        return NULL;
    }
    ps->cap = from->n;
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("best");
    for (int i = 0; i < from->n; i++) {
        ps->item[i] = from->item[i];
        ps->item[i].name = mi_strdup(from->item[i].name);
        ps->item[i].t = mt_keep(mt_clone(from->item[i].t));
        ps->n = i + 1;
    }
    enum mi_status st = mt_scope_end(scope);
    mt_grad_mode(was);
    if (st == MI_OK) return ps;
    mi_params_free(ps);
    return NULL;
}

static void assign_params(struct mi_params *to, const struct mi_params *from) {
    bool was = mt_grad_mode(false);
    for (int i = 0; i < to->n; i++) mt_copy_(to->item[i].t, from->item[i].t);
    mt_grad_mode(was);
}

static mt_opt *make_optimiser(const struct job *j) {
    const struct mi_train_recipe *r = j->r;
    mt_opt *o = r->optimiser == MI_OPT_SGD
                    ? mt_sgd_new(r->lr, r->momentum, r->weight_decay, r->nesterov && r->momentum > 0)
                    : mt_adam_new(r->lr, 0.9, 0.999, 1e-8, r->weight_decay, false);
    if (o && mi_params_optimise(j->m->params, o) == MI_OK) return o;
    mt_opt_free(o);
    return NULL;
}

/* The batch of a step on the device; tensors belong to the current scope. */
static enum mi_status take_batch(struct job *j, int64_t step, struct mi_batch *b) {
    float *pixels;
    int64_t *labels;
    int32_t *index;
    int64_t n = mi_feeder_get(j->feeder, step, &pixels, &labels, &index), s = j->d->size;
    if (n < 0) return mi_error_status();
    mt_spec image = {MT_F32, MT_CPU, MT_NHWC}, label = {MT_I64, MT_CPU, MT_NCHW};
    mt_tensor *x = mt_wrap(pixels, MT_SHAPE(n, 3, s, s), image); /* [N,3,S,S], the feeder's memory */
    mt_tensor *y = mt_wrap(labels, MT_SHAPE(n), label);          /* [N] */
    bool cpu = j->ctx->device.type == 0;
    *b = (struct mi_batch){.x = cpu ? x : mt_to(x, j->ctx->device),
                           .y = cpu ? y : mt_to(y, j->ctx->device),
                           .index = index,
                           .n = (int)n,
                           .size = j->d->size,
                           .step = step,
                           .epoch = step / j->per_epoch,
                           .epochs = j->r->epochs,
                           .seed = j->ctx->seed,
                           .model = j->m};
    return MI_OK;
}

/* A non-finite loss cannot heal: say so at once, in the words of the settings. */
static enum mi_status check_loss(const struct job *j, double loss, int64_t step) {
    if (isfinite(loss)) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "training diverged at step %lld (the loss is %s): lower lr (now %g), add warmup, or use "
                   "precision = fp32",
                   (long long)step, isnan(loss) ? "not a number" : "infinite", mt_opt_lr(j->opt));
}

static enum mi_status learn(struct job *j, struct mi_loop *l, struct mi_batch *b) {
    struct mi_forward_out out = {0};
    mt_tensor *loss = NULL; /* [] */
    if (b->n > 0) MI_TRY(mi_defenses_batch(j->defenses, b));
    MI_TRY(mi_parts_gradients(j->defenses, j->m, b, (int)j->parts, &out, &loss));
    MI_TRY(mi_defenses_before_step(j->defenses, j->m, j->opt));
    MI_TRY(mt_opt_step(j->opt));
    mt_opt_zero_grad(j->opt);
    if (b->n < 1) return MI_OK;
    bool was = mt_grad_mode(false);
    mi_loop_scalar_tensor(l, "loss/train", loss);
    mt_tensor *right = mt_compare(mt_argmax(mt_detach(out.logits), 1), b->y, MT_EQ); /* [N] */
    mi_loop_scalar_tensor(l, "acc/train", mt_affine(mt_mean(mt_cast(right, MT_F32), NULL, 0, false), 100.0, 0.0));
    mt_grad_mode(was);
    /* On a GPU reading the loss stalls the queue: there it is looked at now and then. */
    double value = 0;
    if (j->ctx->device.type == 0 || l->step % 50 == 0) {
        MI_TRY(mt_item(loss, &value));
        MI_TRY(check_loss(j, value, l->step));
    }
    return MI_OK;
}

static enum mi_status train_step(struct job *j, struct mi_loop *l) {
    double lr = mi_schedule_lr(j->r, l->step, j->per_epoch, l->total);
    mt_opt_set_lr(j->opt, lr);
    mi_loop_scalar(l, "lr", lr);
    if (j->r->second_step > 0 && l->step == j->r->second_step * j->per_epoch) mt_opt_reset(j->opt);
    MI_TRY(mi_defenses_step(j->defenses, j->m, j->opt, l->step, l->step / j->per_epoch));
    if (j->m->rng) mt_rng_seed(j->m->rng, mi_mix(mi_mix(j->ctx->seed, mi_hash_text("dropout")), (uint64_t)l->step));
    mt_scope *scope = mt_scope_begin("train step");
    struct mi_batch b;
    enum mi_status st = take_batch(j, l->step, &b);
    if (st == MI_OK) st = learn(j, l, &b);
    enum mi_status end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}

/* After the last step of an epoch. */
static enum mi_status end_epoch(struct job *j, int64_t step, int64_t total) {
    int64_t epoch = (step + 1) / j->per_epoch; /* epochs done */
    bool last = step + 1 == total;
    MI_TRY(mi_defenses_epoch(j->defenses, j->m, epoch));
    if (!last && epoch % j->r->eval_every != 0) return MI_OK;
    double acc = 0, loss = 0;
    j->m->train = false;
    enum mi_status st = mi_eval_accuracy(j->m, &j->d->split[MI_TEST], j->batch < 64 ? 64 : j->batch, &acc, &loss);
    j->m->train = true;
    MI_TRY(st);
    mi_ctx_scalar(j->ctx, "acc/test", step + 1, (double)epoch, acc);
    mi_ctx_scalar(j->ctx, "loss/test", step + 1, (double)epoch, loss);
    j->last_acc = acc;
    if (j->best && acc > j->best_acc && epoch > j->r->second_step) { /* else it is of another network */
        j->best_acc = acc;
        assign_params(j->best, j->m->params);
    }
    return MI_OK;
}

static int pick(void *user, int64_t step, int32_t *index) {
    const struct job *j = user;
    return j->sampler->desc->sample(j->sampler, &j->sampling, step, index);
}

static struct mi_feeder *open_feeder(struct job *j, const float mean[3], const float std[3], int64_t total,
                                     bool ahead) {
    struct mi_picker own = {.pick = pick, .user = j, .per_epoch = j->per_epoch, .most = j->batch};
    struct mi_feeder *f =
        mi_feeder_open_picked(j->d, j->r, mean, std, j->ctx->seed, total, ahead, j->sampler ? &own : NULL);
    if (f) mi_feeder_defend(f, j->defenses);
    return f;
}

/* Before the first step: whether the batch fits, or in how many parts. */
static enum mi_status fit(struct job *j) {
    struct mi_batch b;
    int parts = 1;
    mt_scope *scope = mt_scope_begin("fit");
    enum mi_status st = take_batch(j, 0, &b);
    if (st == MI_OK && b.n > 0) st = mi_parts_fit(j->ctx, j->defenses, j->m, &b, &parts);
    enum mi_status end = mt_scope_end(scope);
    j->parts = parts;
    return st != MI_OK ? st : end;
}

static enum mi_status run_loop(struct job *j) {
    struct mi_loop l = {.ctx = j->ctx,
                        .phase = "train",
                        .unit = "img",
                        .total = j->per_epoch * j->r->epochs,
                        .per_step = j->batch,
                        .steps_per_epoch = j->per_epoch};
    float mean[3], std[3];
    input_range(j->m, mean, std);
    j->feeder = open_feeder(j, mean, std, l.total, j->ctx->device.type != 0);
    if (!j->feeder) return mi_error_status();
    mi_loop_add_params(&l, "model", j->m->params);
    mi_loop_add_opt(&l, "optimiser", j->opt);
    if (j->best) mi_loop_add_params(&l, "best", j->best);
    mi_loop_add_number(&l, "best_acc", &j->best_acc);
    mi_loop_add_number(&l, "last_acc", &j->last_acc);
    mi_loop_add_number(&l, "parts", &j->parts);
    MI_TRY(mi_loop_begin(&l));
    j->m->train = true;
    enum mi_status fits = l.step == 0 ? fit(j) : MI_OK;
    if (fits != MI_OK) mi_loop_fail(&l, fits);
    j->ctx->parts = (int)j->parts;
    while (mi_loop_next(&l)) {
        enum mi_status st = train_step(j, &l);
        if (st == MI_OK && (l.step + 1) % j->per_epoch == 0) st = end_epoch(j, l.step, l.total);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    j->m->train = false;
    return mi_loop_end(&l);
}

/* What the network really sees: the first photos of the first batch after the defenses, in [0,1]. */
static void show_batch(struct job *j) {
    const int cols = 8;
    struct mi_batch b;
    float mean[3], std[3];
    input_range(j->m, mean, std);
    struct mi_feeder *f = open_feeder(j, mean, std, 1, false);
    if (!f) return;
    struct mi_feeder *keep = j->feeder;
    j->feeder = f;
    mt_scope *scope = mt_scope_begin("show");
    bool was = mt_grad_mode(false);
    if (take_batch(j, 0, &b) == MI_OK && b.n > 0 && mi_defenses_batch(j->defenses, &b) == MI_OK && b.x) {
        int64_t n = mt_size(b.x, 0) < 3 * cols ? mt_size(b.x, 0) : 3 * cols;
        mt_spec sp = {MT_F32, MT_CPU, MT_NCHW};
        mt_tensor *x = mt_to(mt_narrow(b.x, 0, 0, n), MT_CPU); /* [n,3,S,S] */
        x = mt_add(mt_mul(x, mt_from(std, MT_SHAPE(1, 3, 1, 1), sp)), mt_from(mean, MT_SHAPE(1, 3, 1, 1), sp));
        char name[160];
        snprintf(name, sizeof(name), "train-%s", j->ctx->cell ? j->ctx->cell : j->ctx->stage);
        mi_ctx_atlas(j->ctx, name, "train", x, cols, NULL, 0, false);
    }
    mt_grad_mode(was);
    if (mt_scope_end(scope) != MI_OK || mi_error_status() != MI_OK) {
        mi_ctx_log(j->ctx, "warn", "%s: no picture of the training photos: %s", j->ctx->stage, mi_error_text());
        mi_error_clear();
    }
    j->feeder = keep;
    mi_feeder_close(f);
}

/* What the defenses' settings come to, in words. */
static void tell_defenses(struct job *j) {
    char text[600];
    mi_defenses_note(j->defenses, j->d->size, text, sizeof(text));
    if (*text) mi_ctx_log(j->ctx, "info", "%s: %s", j->ctx->stage, text);
}

/* Steps of an epoch and images of a step, from the recipe or from the defense that draws the batches. */
static enum mi_status plan_batches(struct job *j) {
    const struct mi_pack_split *train = &j->d->split[MI_TRAIN];
    j->per_epoch = mi_steps_per_epoch(j->d, j->r, &j->batch);
    j->sampling = (struct mi_sampling){
        .labels = train->labels, .n = train->n, .classes = j->d->classes, .batch = j->r->batch, .seed = j->ctx->seed};
    MI_TRY(mi_defenses_plan(j->defenses, &j->sampling, &j->sampler));
    if (!j->sampler) return MI_OK;
    j->per_epoch = j->sampling.per_epoch;
    j->batch = j->sampling.most;
    return MI_OK;
}

enum mi_status mi_train(struct mi_ctx *ctx, struct mi_model *m, const struct mi_dataset *d,
                        const struct mi_train_recipe *r, struct mi_defenses *defenses, double *acc) {
    struct mi_defenses none = {.n = 0};
    struct mi_train_recipe own = *r;
    struct job j = {.ctx = ctx, .m = m, .d = d, .r = &own, .defenses = defenses ? defenses : &none, .best_acc = -1};
    MI_TRY(mi_defenses_start(j.defenses, m, &own));
    r = &own;
    MI_TRY(plan_batches(&j));
    if (j.per_epoch < 1 || d->split[MI_TEST].n < 1)
        return mi_fail(MI_E_MISSING, "%s has %zu training and %zu test photos: too few to train on",
                       d->desc->info.name, d->split[MI_TRAIN].n, d->split[MI_TEST].n);
    if (j.batch < 2) return mi_fail(MI_E_INPUT, "training needs batches of at least 2 photos");
    enum mi_status st = MI_OK;
    if (defenses) tell_defenses(&j);
    if (defenses) show_batch(&j);
    j.opt = make_optimiser(&j);
    if (!j.opt) st = mi_error_status();
    if (st == MI_OK && r->keep == MI_KEEP_BEST) {
        j.best = copy_params(m->params);
        if (!j.best) st = mi_error_status();
    }
    if (st == MI_OK) st = run_loop(&j);
    if (st == MI_OK && j.best) assign_params(m->params, j.best);
    if (st == MI_OK) *acc = j.best ? j.best_acc : j.last_acc;
    mi_feeder_close(j.feeder);
    mi_params_free(j.best);
    mt_opt_free(j.opt);
    return st;
}
