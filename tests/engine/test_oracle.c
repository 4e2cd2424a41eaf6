/* tests/engine/test_oracle.c - the door to the target: access, counting, gradients, freezing, normalisation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "midre/oracle.h"
#include "toy_model.h"

static const float weight[4 * 3] = {1, 0, 0, 0, 1, 0, 0, 0, 1, -1, 2, 0.5f};
static struct toy *toy;

static int setup(void **state) {
    (void)state;
    toy = toy_new(4, 8, weight);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    toy_free(toy);
    mi_error_clear();
    return 0;
}

/* [n,3,size,size], image i filled with (0.1+0.2i, 0.5, 0.3) */
static mt_tensor *images(int n, int size) {
    mt_tensor *x = mt_empty(MT_SHAPE(n, 3, size, size), MT_SPEC_F32);
    static const double colour[3] = {0.1, 0.5, 0.3};
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            mt_fill_(mt_select(mt_select(x, 0, i), 0, c), colour[c] + (c == 0 ? 0.2 * i : 0));
    return x;
}

static void label_access_sees_labels_only(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_LABEL, "nosy");
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *r = NULL, *x = images(2, 8);
    assert_int_equal(mi_oracle_labels(o, x, &r), MI_OK);
    int64_t got[2];
    assert_int_equal(mt_read(r, got, sizeof got, MT_I64, MT_NCHW), MI_OK);
    assert_int_equal(got[0], 3); /* -0.1 + 1 + 0.15 beats 0.5 */
    assert_int_equal(mi_oracle_probs(o, x, &r), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "nosy"));
    assert_non_null(strstr(mi_error_text(), "labels"));
    assert_null(r);
    mi_error_clear();
    assert_int_equal(mi_oracle_logits(o, x, &r, NULL), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_oracle_queries(o), 2); /* refused calls show nothing */
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_oracle_free(o);
}

static void black_access_sees_probabilities(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_BLACK, "b");
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *x = images(3, 8), *p = NULL, *l = NULL;
    mt_requires_grad_(x, true);
    assert_int_equal(mi_oracle_probs(o, x, &p), MI_OK);
    assert_int_equal(mi_oracle_labels(o, x, &l), MI_OK);
    assert_false(mt_requires_grad(p));
    double sum = 0;
    assert_int_equal(mt_item(mt_sum(p, NULL, 0, false), &sum), MI_OK);
    assert_float_equal(sum, 3, 1e-5);
    assert_int_equal(mi_oracle_logits(o, x, &l, NULL), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_oracle_queries(o), 6);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_oracle_free(o);
}

static void white_access_gives_gradients_to_the_image_only(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_WHITE, "w");
    assert_false(toy->model.train);
    assert_false(mt_requires_grad(toy->head.w));
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *x = images(1, 8), *logits = NULL, *features = NULL, *grad = NULL;
    mt_requires_grad_(x, true);
    assert_int_equal(mi_oracle_logits(o, x, &logits, &features), MI_OK);
    assert_int_equal(mt_size(features, 1), 3);
    mt_tensor *one = mt_sum(mt_select(logits, 1, 3), NULL, 0, false);
    assert_int_equal(mt_grad_of(one, &x, 1, false, false, &grad), MI_OK);
    float g[3 * 64];
    assert_int_equal(mt_read(grad, g, sizeof g, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(g[0], -1.0 / 64, 1e-6); /* d mean / d pixel times the class's weight */
    assert_float_equal(g[64], 2.0 / 64, 1e-6);
    assert_float_equal(g[128], 0.5 / 64, 1e-6);
    assert_int_equal(mt_scope_end(s), MI_OK);
    assert_false(toy->saw_train);
    mi_oracle_free(o);
}

static void normalises_as_the_target_was_trained(void **state) {
    (void)state;
    toy->desc.mean[0] = toy->desc.mean[1] = toy->desc.mean[2] = 0.5f;
    toy->desc.std[0] = toy->desc.std[1] = toy->desc.std[2] = 0.25f;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_WHITE, "w");
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *logits = NULL;
    assert_int_equal(mi_oracle_logits(o, images(1, 8), &logits, NULL), MI_OK);
    float v[4];
    assert_int_equal(mt_read(logits, v, sizeof v, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(v[0], (0.1 - 0.5) / 0.25, 1e-5);
    assert_float_equal(v[1], 0, 1e-5);
    assert_float_equal(v[2], (0.3 - 0.5) / 0.25, 1e-5);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_oracle_free(o);
}

/* Agreed on another side, images are resized, both ways: a plain colour stays one, the gradient of its mean does too. */
static void shows_images_of_an_agreed_size_resized(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_WHITE, "w");
    static const int sides[] = {4, 32};
    for (int k = 0; k < 2; k++) {
        int side = sides[k];
        mi_oracle_images(o, side);
        mt_scope *s = mt_scope_begin("test");
        mt_tensor *x = images(1, side), *logits = NULL, *grad = NULL;
        mt_requires_grad_(x, true);
        assert_int_equal(mi_oracle_logits(o, images(1, 8), &logits, NULL), MI_E_INPUT); /* the target's own side */
        mi_error_clear();
        assert_int_equal(mi_oracle_logits(o, x, &logits, NULL), MI_OK);
        assert_int_equal(toy->side, 8);
        float v[4], g[3 * 32 * 32];
        assert_int_equal(mt_read(logits, v, sizeof v, MT_F32, MT_NCHW), MI_OK);
        assert_float_equal(v[0], 0.1, 1e-6);
        assert_float_equal(v[3], 1.05, 1e-6);
        mt_tensor *one = mt_sum(mt_select(logits, 1, 3), NULL, 0, false);
        assert_int_equal(mt_grad_of(one, &x, 1, false, false, &grad), MI_OK);
        assert_int_equal(mt_read(grad, g, 3 * side * side * (int64_t)sizeof *g, MT_F32, MT_NCHW), MI_OK);
        double sum = 0;
        for (int i = 0; i < side * side; i++) sum += g[side * side + i];
        assert_float_equal(sum, 2, 1e-5);
        assert_int_equal(mt_scope_end(s), MI_OK);
    }
    mi_oracle_free(o);
}

static void refuses_images_of_another_size(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_WHITE, "w");
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *r = NULL;
    assert_int_equal(mi_oracle_logits(o, images(1, 16), &r, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "16x16"));
    assert_non_null(strstr(mi_error_text(), "8x8"));
    mi_error_clear();
    assert_int_equal(mi_oracle_queries(o), 0);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_oracle_free(o);
}

static void says_what_it_is(void **state) {
    (void)state;
    struct mi_oracle *o = mi_oracle_new(&toy->model, MI_ACCESS_BLACK, "b");
    assert_int_equal(mi_oracle_classes(o), 4);
    assert_int_equal(mi_oracle_size(o), 8);
    assert_int_equal(mi_oracle_access(o), MI_ACCESS_BLACK);
    mi_oracle_free(o);
    mi_oracle_free(NULL);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(label_access_sees_labels_only, setup, teardown),
        cmocka_unit_test_setup_teardown(black_access_sees_probabilities, setup, teardown),
        cmocka_unit_test_setup_teardown(white_access_gives_gradients_to_the_image_only, setup, teardown),
        cmocka_unit_test_setup_teardown(normalises_as_the_target_was_trained, setup, teardown),
        cmocka_unit_test_setup_teardown(shows_images_of_an_agreed_size_resized, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_images_of_another_size, setup, teardown),
        cmocka_unit_test_setup_teardown(says_what_it_is, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
