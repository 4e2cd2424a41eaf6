/* tensor_test.h - what the tests of the tensor room share: cmocka, a generator, a few one-line makers and readers. */
#ifndef TENSOR_TEST_H
#define TENSOR_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "midre/tensor_grad.h"
#include "midre/tensor_nn.h"

#define F64 ((mt_spec){MT_F64, {0, 0}, MT_NCHW})
#define F32_NHWC ((mt_spec){MT_F32, {0, 0}, MT_NHWC})
#define I64 ((mt_spec){MT_I64, {0, 0}, MT_NCHW})

static mt_rng *rng;

static inline int tensor_setup(void **state) {
    (void)state;
    if (mt_init(2) != MI_OK) return -1;
    rng = mt_rng_new(MT_CPU, 7);
    return rng ? 0 : -1;
}

static inline int tensor_teardown(void **state) {
    (void)state;
    mt_rng_free(rng);
    return mt_live() == 0 ? 0 : -1; /* whatever the tests did, nothing may be left */
}

static inline double item(mt_tensor *t) {
    double v = NAN;
    assert_int_equal(mt_item(t, &v), MI_OK);
    return v;
}

static inline void ends_well(mt_scope *s) {
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) fail_msg("%s", mi_error_text());
}

/* ||a - b|| / ||b|| */
static inline double rel_diff(mt_tensor *a, mt_tensor *b) {
    mt_tensor *x = mt_cast(a, MT_F64), *y = mt_cast(b, MT_F64);
    return item(mt_norm(mt_sub(x, y), 2, NULL, 0, false)) / (item(mt_norm(y, 2, NULL, 0, false)) + 1e-300);
}

/* The waiting error has this status and names this. */
static inline void expect_error(enum mi_status st, enum mi_status want, const char *word) {
    assert_int_equal(st, want);
    if (!strstr(mi_error_text(), word)) fail_msg("'%s' does not name '%s'", mi_error_text(), word);
    mi_error_clear();
}

#endif
