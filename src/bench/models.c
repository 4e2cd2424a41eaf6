/* models.c - bench works made from the table of architectures: NAME/train and NAME/infer for every one.
 *
 * At the native size: 1000 people up to 128 px, 530 above, batches of 64, 32 and 16 as sizes grow.  Training is
 * forward, cross entropy, backward and Adam; inference a forward pass in evaluation mode without gradients.  A peer
 * script is told size, classes and batch, so both sides do the same. */
#include <stdlib.h>
#include <string.h>

#include "midre/model.h"
#include "src/bench/works.h"

struct work {
    struct mi_model *model;
    mt_opt *opt; /* training only */
    mt_tensor *x, *y;
};

static void work_close(void *p) {
    struct work *w = p;
    if (!w) return;
    mt_free(w->x);
    mt_free(w->y);
    mt_opt_free(w->opt);
    mi_model_free(w->model);
    free(w);
}

const struct mi_model_desc *bench_model_of(const char *work, bool *train) {
    const char *slash = strchr(work, '/');
    if (!slash || (strcmp(slash, "/train") != 0 && strcmp(slash, "/infer") != 0)) return NULL;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(slash - work), work);
    *train = strcmp(slash, "/train") == 0;
    return mi_model_find(name);
}

void bench_model_setup(const struct mi_model_desc *d, int *size, int *classes, int *batch) {
    *size = d->native_size;
    *classes = *size <= 128 ? 1000 : 530;
    if (*batch < 1) *batch = *size <= 64 ? 64 : *size <= 160 ? 32 : 16;
}

static enum mi_status prepare(struct work *w, const struct bench_setup *s, int size, int classes, int batch,
                              bool train) {
    mt_scope *scope = mt_scope_begin("bench inputs");
    mt_rng *rng = mt_rng_new(MT_CPU, 0);
    mt_tensor *x = mt_rand(MT_SHAPE(batch, 3, size, size), 0, 1, MT_SPEC_F32, rng); /* [N,3,S,S] */
    w->x = mt_keep(mt_to(mt_contig(x, MT_NHWC), s->device));
    w->y = mt_keep(mt_to(mt_randint(0, classes, MT_SHAPE(batch), (mt_spec){MT_I64, MT_CPU, MT_NCHW}, rng), s->device));
    mt_rng_free(rng);
    MI_TRY(mt_scope_end(scope));
    w->model->train = train;
    w->model->precision = s->precision;
    mi_params_freeze(w->model->params, !train);
    if (!train) return MI_OK;
    int n = mi_params_trainable(w->model->params, NULL, 0);
    mt_tensor **ps = mi_calloc((size_t)n + 1, sizeof(mt_tensor *));
    w->opt = mt_adam_new(1e-3, 0.9, 0.999, 1e-8, 0, false);
    enum mi_status st = ps && w->opt ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) mi_params_trainable(w->model->params, ps, n);
    if (st == MI_OK) st = mt_opt_add(w->opt, ps, n, 1.0);
    free(ps);
    return st;
}

static void *work_open(const struct bench_setup *s, double *per_step) {
    bool train = false;
    const struct mi_model_desc *d = bench_model_of(s->work, &train);
    int size, classes, batch = s->batch;
    if (!d) return NULL;
    bench_model_setup(d, &size, &classes, &batch);
    struct work *w = mi_calloc(1, sizeof *w);
    if (!w) return NULL;
    *per_step = batch;
    w->model = mi_model_new(d->info.name, NULL, classes, size, s->device, 0);
    if (w->model && prepare(w, s, size, classes, batch, train) == MI_OK) return w;
    work_close(w);
    return NULL;
}

static enum mi_status work_step(void *p) {
    struct work *w = p;
    bool train = w->opt != NULL, was = mt_grad_mode(train);
    mt_scope *scope = mt_scope_begin("bench step");
    struct mi_forward_out out = {0};
    if (train) mt_opt_zero_grad(w->opt);
    enum mi_status st = mi_model_forward(w->model, w->x, false, &out);
    if (st == MI_OK && train) st = mt_backward(mt_cross_entropy(out.logits, w->y, 0, MT_RED_MEAN), false);
    if (st == MI_OK && train) st = mt_opt_step(w->opt);
    enum mi_status end = mt_scope_end(scope);
    mt_grad_mode(was);
    return st != MI_OK ? st : end;
}

const struct bench_work *bench_model_work(const char *name) {
    static char kept[80]; /* one work a process, or one after another */
    static struct bench_work work = {.name = kept,
                                     .unit = "images/s",
                                     .help = "of the table of architectures",
                                     .open = work_open,
                                     .step = work_step,
                                     .close = work_close};
    bool train;
    if (!bench_model_of(name, &train)) return NULL;
    snprintf(kept, sizeof kept, "%s", name);
    return &work;
}

bool bench_model_next(size_t *at, char *name, size_t room) {
    const struct mi_model_desc *d = mi_model_table[*at / 2];
    if (d) snprintf(name, room, "%s/%s", d->info.name, *at % 2 ? "infer" : "train");
    ++*at;
    return d != NULL;
}
