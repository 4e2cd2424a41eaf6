/* tests/engine/toy_model.h - a classifier small enough to compute by hand, for tests of the oracle, judge and attacks.
 *
 * Features [N,3] are either each channel's mean over the image or its second pixel in the first row; logits are a
 * linear map of them.  Not in any table: tests build it directly. */
#ifndef MIDRE_TESTS_TOY_MODEL_H
#define MIDRE_TESTS_TOY_MODEL_H

#include <stdlib.h>

#include "midre/model.h"

struct toy {
    struct mi_model model;
    struct mi_model_desc desc;
    struct mi_linear head;
    bool pixel;       /* features are one pixel instead of the mean */
    int fail_at;      /* the forward pass of this number (1-based) fails; 0 = never */
    int forwards;
    int side;         /* of the images of the last forward pass, in px */
    bool saw_train;   /* some forward ran in training mode */
};

static enum mi_status toy_forward(struct mi_model *m, mt_tensor *x, bool want_taps, struct mi_forward_out *out) {
    struct toy *t = m->net;
    (void)want_taps;
    t->saw_train |= m->train;
    t->side = (int)mt_size(x, 2);
    if (++t->forwards == t->fail_at) return mi_fail(MI_E_DEVICE, "the toy model fails as asked");
    out->features = t->pixel ? mt_select(mt_select(x, 3, 1), 2, 0) : mt_mean(x, MT_DIMS(2, 3), false); /* [N,3] */
    out->logits = mi_linear(&t->head, out->features);
    return MI_OK;
}

/* weight [classes,3] */
static struct toy *toy_new(int classes, int size, const float *weight) {
    struct toy *t = calloc(1, sizeof *t);
    t->desc = (struct mi_model_desc){.info = {.name = "toy"}, .native_size = size, .min_size = 1, .max_size = 512,
                                     .size_step = 1, .feature_width = 3, .head = "fc", .std = {1, 1, 1},
                                     .forward = toy_forward};
    t->model = (struct mi_model){.desc = &t->desc, .net = t, .classes = classes, .size = size, .feature_width = 3,
                                 .precision = MT_F32, .train = true, .params = mi_params_new(MT_CPU, MT_NHWC)};
    mt_scope *s = mt_scope_begin("toy");
    struct mi_builder b;
    mi_builder_init(&b, t->model.params, 1);
    mi_linear_new(&b, &t->head, "fc", 3, classes, false, MI_INIT_DEFAULT);
    bool grad = mt_grad_mode(false);
    mt_copy_(t->head.w, mt_from(weight, MT_SHAPE(classes, 3), MT_SPEC_F32));
    mt_grad_mode(grad);
    if (mt_scope_end(s) != MI_OK) abort();
    return t;
}

static void toy_free(struct toy *t) {
    mi_params_free(t->model.params);
    free(t);
}

#endif
