/* train.c - bench works: one training step (forward, cross entropy, backward, optimiser) as the targets are trained.
 *   train-vgg16     VGG16-BN at 64x64, 1000 classes, batch 64, SGD with Nesterov momentum
 *   train-resnet18  ResNet-18 at 224x224, 530 classes, batch 32, Adam */
#include <stdlib.h>

#include "midre/model.h"
#include "src/bench/works.h"

struct train {
    struct mi_model *model;
    struct mi_values *values;
    mt_opt *opt;
    mt_tensor *x, *y; /* [N,3,S,S], [N]; owned */
};

static void train_close(void *work) {
    struct train *t = work;
    if (!t) return;
    mt_free(t->x);
    mt_free(t->y);
    mt_opt_free(t->opt);
    mi_model_free(t->model);
    mi_values_free(t->values);
    free(t);
}

static enum mi_status train_inputs(struct train *t, const struct bench_setup *s, int batch, int size, int classes) {
    mt_scope *scope = mt_scope_begin("bench inputs");
    mt_rng *rng = mt_rng_new(MT_CPU, 0);
    mt_tensor *x = mt_rand(MT_SHAPE(batch, 3, size, size), 0, 1, MT_SPEC_F32, rng);
    t->x = mt_keep(mt_to(mt_contig(x, MT_NHWC), s->device));
    t->y = mt_keep(mt_to(mt_randint(0, classes, MT_SHAPE(batch), (mt_spec){MT_I64, MT_CPU, MT_NCHW}, rng), s->device));
    mt_rng_free(rng);
    return mt_scope_end(scope);
}

static void *train_open(const struct bench_setup *s, const char *name, int size, int classes, int batch, mt_opt *opt) {
    const struct mi_model_desc *desc = mi_model_find(name);
    struct train *t = mi_calloc(1, sizeof *t);
    if (!desc || !t) {
        mt_opt_free(opt);
        free(t);
        return NULL;
    }
    t->opt = opt;
    t->values = mi_values_new(name, desc->info.settings);
    t->model = t->values ? mi_model_new(name, t->values, classes, size, s->device, 0) : NULL;
    if (!t->model || train_inputs(t, s, batch, size, classes) != MI_OK) goto fail;
    t->model->train = true;
    t->model->precision = s->precision;
    mt_tensor *ps[1024];
    int n = mi_params_trainable(t->model->params, ps, 1024);
    if (mt_opt_add(t->opt, ps, n, 1.0) != MI_OK) goto fail;
    return t;
fail:
    train_close(t);
    return NULL;
}

static enum mi_status train_step(void *work) {
    struct train *t = work;
    mt_scope *scope = mt_scope_begin("bench step");
    struct mi_forward_out out = {0};
    mt_opt_zero_grad(t->opt);
    if (mi_model_forward(t->model, t->x, false, &out) == MI_OK &&
        mt_backward(mt_cross_entropy(out.logits, t->y, 0, MT_RED_MEAN), false) == MI_OK)
        mt_opt_step(t->opt);
    return mt_scope_end(scope);
}

static void *vgg16_open(const struct bench_setup *s, double *per_step) {
    int batch = s->batch ? s->batch : 64;
    *per_step = batch;
    return train_open(s, "vgg16", 64, 1000, batch, mt_sgd_new(1e-2, 0.9, 1e-4, true));
}

static void *resnet18_open(const struct bench_setup *s, double *per_step) {
    int batch = s->batch ? s->batch : 32;
    *per_step = batch;
    return train_open(s, "resnet18", 224, 530, batch, mt_adam_new(1e-3, 0.9, 0.999, 1e-8, 0, false));
}

const struct bench_work bench_train_vgg16 = {.name = "train-vgg16",
                                             .unit = "images/s",
                                             .help = "VGG16-BN at 64x64, batch 64, SGD",
                                             .open = vgg16_open,
                                             .step = train_step,
                                             .close = train_close};
const struct bench_work bench_train_resnet18 = {.name = "train-resnet18",
                                                .unit = "images/s",
                                                .help = "ResNet-18 at 224x224, batch 32, Adam",
                                                .open = resnet18_open,
                                                .step = train_step,
                                                .close = train_close};
