/* tests/engine/loop_test.h - a toy phase with one of everything a loop can carry: a network, an optimiser, an owned
 * tensor, a number, and random numbers from (seed, step). */
#ifndef MIDRE_LOOP_TEST_H
#define MIDRE_LOOP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "midre/rng.h"
#include "src/engine/loop_priv.h"

#define STEPS 23

struct phase { /* the state of the toy phase */
    struct mi_ctx ctx;
    struct mi_product product;
    struct mi_params *ps; /* one weight [4,3] */
    mt_opt *opt;
    mt_tensor *z; /* [5] */
    double sum;
    int64_t first; /* step the session began at */
    int steps;     /* steps done since the loop began */
};

static struct mi_workspace ws;
static char root[256];

static inline int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TEST_TMP");
    snprintf(root, sizeof(root), "%s/loop-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(root) && mt_init(1) == MI_OK && mi_workspace_open(&ws, root) == MI_OK ? 0 : -1;
}

static inline int teardown(void **state) {
    (void)state;
    mi_workspace_close(&ws);
    mi_remove_tree(root);
    return 0;
}

/* A fresh phase on the product named by `key`; what earlier sessions left in its folder is found again. */
static inline void phase_open(struct phase *p, const char *key) {
    memset(p, 0, sizeof(*p));
    struct mi_hasher *h = mi_hasher_new("loop");
    mi_hasher_text(h, "key", key);
    struct mi_fingerprint fp = mi_hasher_done(h);
    assert_int_equal(mi_product_open(&ws, "loop", &fp, &p->product), MI_OK);
    assert_int_equal(mi_product_begin(&p->product), MI_OK);
    p->ctx = (struct mi_ctx){.product = &p->product,
                             .stage = "toy",
                             .device = MT_CPU,
                             .seed = 7,
                             .checkpoint_every = 0,
                             .report_every = 1e9,
                             .curves = mi_curves_new()};
    struct mi_builder b;
    p->ps = mi_params_new(MT_CPU, MT_NCHW);
    mi_builder_init(&b, p->ps, 3);
    mt_scope *s = mt_scope_begin("open");
    mt_tensor *w = mi_param_new(&b, "w", MT_SHAPE(4, 3), MI_PARAM);
    bool was = mt_grad_mode(false);
    mt_fill_(w, 0.5);
    mt_grad_mode(was);
    mt_requires_grad_(w, true);
    p->z = mt_keep(mt_zeros(MT_SHAPE(5), MT_SPEC_F32));
    assert_int_equal(mt_scope_end(s), MI_OK);
    p->opt = mt_adam_new(0.01, 0.9, 0.999, 1e-8, 0, false);
    assert_int_equal(mt_opt_add(p->opt, &w, 1, 1.0), MI_OK);
}

static inline void phase_close(struct phase *p) {
    mt_opt_free(p->opt);
    mi_params_free(p->ps);
    mt_free(p->z);
    mi_curves_free(p->ctx.curves);
    mi_product_close(&p->product);
}

static inline struct mi_loop loop_of(struct phase *p, const char *name, int64_t total) {
    struct mi_loop l = {.ctx = &p->ctx, .phase = name, .unit = "steps", .total = total};
    mi_loop_add_params(&l, "net", p->ps);
    mi_loop_add_opt(&l, "opt", p->opt);
    mi_loop_add_tensor(&l, "z", &p->z);
    mi_loop_add_number(&l, "sum", &p->sum);
    return l;
}

static inline void step(struct phase *p, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("step");
    struct mi_rng r = mi_rng_make(p->ctx.seed, "toy", (uint64_t)l->step, 0);
    float x[3] = {(float)mi_rng_normal(&r), (float)mi_rng_normal(&r), (float)mi_rng_normal(&r)};
    mt_tensor *y = mt_linear(mt_from(x, MT_SHAPE(1, 3), MT_SPEC_F32), p->ps->item[0].t, MT_NONE); /* [1,4] */
    mt_tensor *loss = mt_mean(mt_unary(y, MT_SQUARE), NULL, 0, false);
    assert_int_equal(mt_backward(loss, false), MI_OK);
    assert_int_equal(mt_opt_step(p->opt), MI_OK);
    mt_opt_zero_grad(p->opt);
    mt_affine_(p->z, 0.9, mi_rng_uniform(&r));
    double v = 0;
    mt_item(loss, &v);
    p->sum += v;
    mi_loop_scalar(l, "loss", v);
    mi_loop_scalar_tensor(l, "loss/device", loss);
    assert_int_equal(mt_scope_end(s), MI_OK);
    p->steps++;
}

/* Runs until `stop_before` steps are done (-1: to the end).  An abandoned loop writes nothing more. */
static inline enum mi_status run(struct phase *p, const char *name, int64_t total, int64_t stop_before) {
    struct mi_loop l = loop_of(p, name, total);
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    p->first = l.step;
    while (mi_loop_next(&l)) {
        if (l.step == stop_before) {
            mi_loop_fail(&l, MI_STOPPED);
            continue;
        }
        step(p, &l);
    }
    return mi_loop_end(&l);
}

#endif
