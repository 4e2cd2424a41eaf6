/* src/judge/eval.c - a classifier over packed images: natural accuracy, mean loss, penultimate features.
 *
 * Always in evaluation mode, without a graph, over the whole split including the last partial batch (some published
 * loaders drop it, see the protocol notes in docs).  Pixels are normalised the way the model was trained.  A network
 * with noise of its own (a defense's) is seeded anew each time, and its accuracy is the mean of several passes.  The
 * model is borrowed; its mode is put back on the way out. */
#include <stdlib.h>

#include "src/judge/judge_priv.h"

/* Pixels of `n` images from `index` (NULL = from number `first` on) as [n,3,S,S] in the network's input domain. */
static mt_tensor *gather(const struct mi_model *m, const struct mi_pack_split *s, const int32_t *index, size_t first,
                         size_t n, float *pixels, int32_t *order) {
    for (size_t i = 0; i < n; i++) order[i] = index ? index[first + i] : (int32_t)(first + i);
    float std[3];
    for (int c = 0; c < 3; c++) std[c] = m->desc->std[c] != 0 ? m->desc->std[c] : 1;
    mi_batch_fill(pixels, s, order, NULL, n, m->size, m->desc->mean, std);
    mt_tensor *x = mt_from(pixels, MT_SHAPE((int64_t)n, 3, m->size, m->size), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
    return mt_to(x, m->params->device);
}

/* Correct answers and summed cross entropy of one batch; 0-dim results, no host sync. */
static enum mi_status judge_batch(struct mi_model *m, const struct mi_pack_split *s, size_t first, size_t n,
                                  float *pixels, int32_t *order, mt_tensor *correct, mt_tensor *loss) {
    mt_scope *scope = mt_scope_begin("accuracy");
    struct mi_forward_out out = {0};
    enum mi_status st = mi_model_forward(m, gather(m, s, NULL, first, n, pixels, order), false, &out);
    if (st == MI_OK) {
        mt_tensor *y32 = mt_from(s->labels + first, MT_SHAPE((int64_t)n), (mt_spec){MT_I32, MT_CPU, MT_NCHW});
        mt_tensor *y = mt_to(mt_cast(y32, MT_I64), m->params->device);
        mt_tensor *right = mt_cast(mt_compare(mt_argmax(out.logits, 1), y, MT_EQ), MT_F64);
        mt_add_(correct, mt_sum(right, NULL, 0, false), 1);
        mt_add_(loss, mt_cast(mt_cross_entropy(out.logits, y, 0, MT_RED_SUM), MT_F64), 1);
    }
    enum mi_status end = mt_scope_end(scope);
    return end != MI_OK ? end : st;
}

static enum mi_status accuracy(struct mi_model *m, const struct mi_pack_split *s, size_t batch, float *pixels,
                               int32_t *order, double *acc, double *loss) {
    mt_scope *scope = mt_scope_begin("accuracy of a split");
    mt_spec sp = {MT_F64, m->params->device, MT_NCHW};
    mt_tensor *correct = mt_zeros(NULL, 0, sp), *sum = mt_zeros(NULL, 0, sp);
    enum mi_status st = MI_OK;
    int passes = m->passes > 1 ? m->passes : 1;
    for (int p = 0; p < passes; p++) {
        mi_model_reseed(m, "accuracy", (uint64_t)p);
        for (size_t at = 0; st == MI_OK && at < s->n; at += batch)
            st = judge_batch(m, s, at, s->n - at < batch ? s->n - at : batch, pixels, order, correct, sum);
    }
    double hits = 0, total = 0;
    if (st == MI_OK) st = mt_item(correct, &hits);
    if (st == MI_OK) st = mt_item(sum, &total);
    enum mi_status end = mt_scope_end(scope);
    if (end != MI_OK || st != MI_OK) return end != MI_OK ? end : st;
    *acc = 100 * hits / ((double)s->n * passes);
    if (loss) *loss = total / ((double)s->n * passes);
    return MI_OK;
}

enum mi_status mi_eval_accuracy(struct mi_model *m, const struct mi_pack_split *s, int batch, double *acc,
                                double *loss) {
    if (s->n == 0) return mi_fail(MI_E_MISSING, "there are no images to measure an accuracy on");
    if (batch < 1) batch = 1;
    float *pixels = mi_calloc((size_t)batch * (size_t)m->size, (size_t)m->size * 3 * sizeof *pixels);
    int32_t *order = mi_calloc((size_t)batch, sizeof *order);
    enum mi_status st = pixels && order ? MI_OK : MI_E_NOMEM;
    struct mi_eval_mode mode = mi_eval_enter(m);
    if (st == MI_OK) st = accuracy(m, s, (size_t)batch, pixels, order, acc, loss);
    mi_eval_leave(m, mode);
    free(pixels);
    free(order);
    return st;
}

enum mi_status mi_eval_features(struct mi_model *m, const struct mi_pack_split *s, const int32_t *index, size_t n,
                                int batch, mt_tensor **features) {
    *features = NULL;
    if (!index) n = s->n;
    if (n == 0) return mi_fail(MI_E_MISSING, "there are no images to take features of");
    if (batch < 1) batch = 1;
    float *pixels = mi_calloc((size_t)batch * (size_t)m->size, (size_t)m->size * 3 * sizeof *pixels);
    int32_t *order = mi_calloc((size_t)batch, sizeof *order);
    enum mi_status st = pixels && order ? MI_OK : MI_E_NOMEM;
    struct mi_eval_mode mode = mi_eval_enter(m);
    mt_tensor *all = mt_empty(MT_SHAPE((int64_t)n, m->feature_width), MT_SPEC_F32); /* [n,width] */
    for (size_t at = 0; st == MI_OK && at < n; at += (size_t)batch) {
        size_t now = n - at < (size_t)batch ? n - at : (size_t)batch;
        mt_scope *scope = mt_scope_begin("features");
        struct mi_forward_out out = {0};
        st = mi_model_forward(m, gather(m, s, index, at, now, pixels, order), false, &out);
        if (st == MI_OK) mt_copy_(mt_narrow(all, 0, (int64_t)at, (int64_t)now), out.features);
        enum mi_status end = mt_scope_end(scope);
        if (st == MI_OK) st = end;
    }
    mi_eval_leave(m, mode);
    if (st == MI_OK) *features = all;
    free(pixels);
    free(order);
    return st == MI_OK && !all ? mt_status() : st;
}

struct mi_eval_mode mi_eval_enter(struct mi_model *m) {
    struct mi_eval_mode mode = {.train = m->train, .grad = mt_grad_mode(false)};
    m->train = false;
    mi_model_reseed(m, "evaluation", 0);
    return mode;
}

void mi_eval_leave(struct mi_model *m, struct mi_eval_mode mode) {
    m->train = mode.train;
    mt_grad_mode(mode.grad);
}
