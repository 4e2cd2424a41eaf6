/* nn_test.h - what the tests of the network room share: a scope around every test, small inputs, distances. */
#ifndef MIDRE_NN_TEST_H
#define MIDRE_NN_TEST_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "midre/model.h"
#include "midre/recognise.h"

static mt_scope *scope;

static inline int begin(void **state) {
    (void)state;
    mi_error_clear();
    scope = mt_scope_begin("test");
    return scope ? 0 : -1;
}

static inline int end(void **state) {
    (void)state;
    if (mt_scope_end(scope) != MI_OK) {
        print_error("%s\n", mi_error_text());
        return -1;
    }
    return 0;
}

static inline struct mi_model *quick(const char *name, int classes, int size, uint64_t seed) {
    struct mi_model *m = mi_model_new(name, NULL, classes, size, MT_CPU, seed);
    if (!m) fail_msg("%s: %s", name, mi_error_text());
    return m;
}

static inline mt_tensor *images(int n, int size, uint64_t seed) {
    mt_rng *r = mt_rng_new(MT_CPU, seed);
    mt_tensor *x = mt_rand(MT_SHAPE(n, 3, size, size), 0.0, 1.0, MT_SPEC_F32, r);
    mt_rng_free(r);
    return mt_contig(x, MT_NHWC);
}

static inline mt_tensor *labels(int n, int classes) {
    int64_t y[64];
    for (int i = 0; i < n; i++) y[i] = i % classes;
    return mt_from(y, MT_SHAPE(n), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
}

static inline double number(mt_tensor *t) {
    double v = NAN;
    assert_non_null(t);
    assert_int_equal(mt_item(t, &v), MI_OK);
    return v;
}

static inline double l2(mt_tensor *t) {
    return number(mt_norm(t, 2.0, NULL, 0, false));
}
static inline double distance(mt_tensor *a, mt_tensor *b) {
    return l2(mt_sub(a, b)) / (l2(b) + 1e-30);
}

static inline char *temp_file(const char *name) {
    const char *dir = getenv("TEST_TMP");
    return mi_format("%s/%s.%d.safetensors", dir ? dir : "/tmp", name, (int)getpid());
}

static inline mt_tensor *loss_of(struct mi_model *m, mt_tensor *x) {
    struct mi_forward_out out;
    assert_int_equal(mi_model_forward(m, x, false, &out), MI_OK);
    return mt_cross_entropy(out.logits, labels((int)mt_size(x, 0), m->classes), 0.0, MT_RED_MEAN);
}

/* What a file is taken for; free with mi_recognition_free. */
static inline struct mi_recognition recognise(const char *path, const struct mi_wish *wish) {
    struct mi_recognition r;
    mt_archive *a = mt_archive_open(path);
    assert_non_null(a);
    if (mi_recognise(a, wish, &r) != MI_OK) fail_msg("%s", mi_error_text());
    mt_archive_close(a);
    return r;
}

static inline int start(void **state) {
    (void)state;
    return mt_init(0);
}

static inline int no_leaks(void **state) {
    (void)state;
    return mt_live() == 0 ? 0 : -1;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

#endif
