/* tests/engine/test_judge.c - metrics against numbers computed by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "midre/judge.h"
#include "midre/rng.h"
#include "toy_model.h"

/* Classes 0..2 answer to red, green, blue; 3..6 are fixed mixtures. */
static const float weight[7 * 3] = {10, 0, 0, 0, 10, 0, 0, 0, 10, 4, 4, 0, 0, 4, 4, 4, 0, 4, -1, -1, -1};
static struct toy *toy;

static int setup(void **state) {
    (void)state;
    toy = toy_new(7, 4, weight);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    toy_free(toy);
    mi_error_clear();
    return 0;
}

/* One image [1,3,side,side] of a colour. */
static mt_tensor *flat(int side, double r, double g, double b) {
    mt_tensor *x = mt_empty(MT_SHAPE(1, 3, side, side), MT_SPEC_F32);
    double colour[3] = {r, g, b};
    for (int c = 0; c < 3; c++) mt_fill_(mt_select(x, 1, c), colour[c]);
    return x;
}

static void truncates_to_eight_bits(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("test");
    struct mi_verdict v;
    mt_tensor *f = NULL;
    int label = 0;
    assert_int_equal(mi_judge_images(&toy->model, flat(4, 0.999, 0.5, 1.2), &label, 8, &v, &f), MI_OK);
    float got[3];
    assert_int_equal(mt_read(f, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(got[0], 254.0 / 255, 1e-6); /* 254.745 is cut, not rounded */
    assert_float_equal(got[1], 127.0 / 255, 1e-6);
    assert_float_equal(got[2], 1, 1e-6); /* out of range is clamped, never wrapped */
    assert_int_equal(mt_scope_end(s), MI_OK);
    assert_true(toy->model.train); /* the mode it was found in */
    assert_false(toy->saw_train);
}

static void enlarges_like_pil(void **state) {
    (void)state;
    toy->pixel = true; /* feature: second pixel of the first row */
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *x = flat(2, 0, 0, 0), *f = NULL;
    mt_fill_(mt_select(x, 3, 1), 1); /* left column black, right column white */
    struct mi_verdict v;
    int label = 0;
    assert_int_equal(mi_judge_images(&toy->model, x, &label, 8, &v, &f), MI_OK);
    float got[3];
    assert_int_equal(mt_read(f, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(got[0] * 255, 64, 1e-3); /* 2 -> 4 px: 0, 63.75 rounded, 191.25, 255 */
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void answers_top_five_and_restarts(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("test");
    /* Red 0.8, green 0.4: logits 8 4 0 4.8 1.6 3.2 -1.2: order 0 3 1 5 4 2 6. */
    mt_tensor *one = flat(4, 0.8, 0.4, 0), *x = mt_cat(MT_LIST(one, one, one, one), 0);
    int labels[4] = {0, 4, 4, 2};
    struct mi_verdict v[4];
    assert_int_equal(mi_judge_images(&toy->model, x, labels, 3, v, NULL), MI_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(v[i].label, labels[i]);
        assert_int_equal(v[i].judge, 0);
        assert_true(isnan(v[i].distance));
        assert_int_equal(v[i].nearest, -1);
    }
    double logit[7] = {8, 4, 0, 4.8, 1.6, 3.2, -1.2}, sum = 0;
    for (int i = 0; i < 7; i++) sum += exp(logit[i] - 8);
    assert_float_equal(v[0].confidence, 1 / sum, 1e-5);
    assert_true(v[0].hit && v[0].hit5);
    assert_true(!v[1].hit && v[1].hit5);
    assert_true(!v[3].hit && !v[3].hit5); /* sixth best */
    assert_int_equal(v[0].restart, 0);
    assert_int_equal(v[1].restart, 0);
    assert_int_equal(v[2].restart, 1);
    assert_int_equal(v[3].restart, 0);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void few_classes_have_few_best(void **state) {
    (void)state;
    static const float two[2 * 3] = {1, 0, 0, 0, 1, 0};
    struct toy *small = toy_new(2, 4, two);
    mt_scope *s = mt_scope_begin("test");
    struct mi_verdict v;
    int label = 0;
    assert_int_equal(mi_judge_images(&small->model, flat(4, 0, 1, 0), &label, 8, &v, NULL), MI_OK);
    assert_true(!v.hit && v.hit5 && v.judge == 1);
    assert_int_equal(mt_scope_end(s), MI_OK);
    toy_free(small);
}

static struct mi_verdict hit(bool top1, bool top5, double d) {
    return (struct mi_verdict){.hit = top1, .hit5 = top5, .distance = d};
}

static void scores_rounds_and_groups(void **state) {
    (void)state;
    /* 3 identities x 2 restarts, groups of 2.  First group: rounds 1/2 and 2/2 -> 75 +- 35.355; second: 0 and 1. */
    struct mi_verdict v[6] = {hit(1, 1, 1), hit(1, 1, 2), hit(0, 1, 3), hit(1, 1, 4), hit(0, 0, 5), hit(1, 1, 9)};
    struct mi_attack_score a;
    assert_int_equal(mi_score_attack(v, 3, 2, 2, &a), MI_OK);
    assert_float_equal(a.top1, 2.0 / 3 * 75 + 1.0 / 3 * 50, 1e-9); /* = 4 of 6 */
    assert_float_equal(a.top1_std, 2.0 / 3 * sqrt(1250) + 1.0 / 3 * sqrt(5000), 1e-9);
    assert_float_equal(a.top5, 100 * 5.0 / 6, 1e-9);
    assert_float_equal(a.top5_std, 1.0 / 3 * sqrt(5000), 1e-9);
    assert_float_equal(a.knn, 4, 1e-9);
    assert_int_equal(a.identities, 3);
    assert_int_equal(a.images, 6);
    /* One group of all three: rounds 1/3 and 3/3, mean 66.667, deviation 100/3*sqrt(2). */
    assert_int_equal(mi_score_attack(v, 3, 2, 60, &a), MI_OK);
    assert_float_equal(a.top1, 100 * 2.0 / 3, 1e-9);
    assert_float_equal(a.top1_std, 100 / 3.0 * sqrt(2), 1e-9);
}

static void one_restart_has_no_spread(void **state) {
    (void)state;
    struct mi_verdict v[2] = {hit(1, 1, NAN), hit(0, 1, NAN)};
    struct mi_attack_score a;
    assert_int_equal(mi_score_attack(v, 2, 1, 60, &a), MI_OK);
    assert_float_equal(a.top1, 50, 1e-9);
    assert_true(isnan(a.top1_std));
    assert_true(isnan(a.knn));
    assert_int_equal(mi_score_attack(v, 0, 1, 60, &a), MI_E_INPUT);
}

/* n flat 4x4 images of the given colours. */
static struct mi_pack_split pack(uint8_t *rgb, const uint8_t (*colour)[3], const int32_t *labels, size_t n) {
    for (size_t i = 0; i < n * 16; i++) memcpy(rgb + i * 3, colour[i / 16], 3);
    return (struct mi_pack_split){rgb, labels, n};
}

static void knn_is_squared_and_of_the_same_person(void **state) {
    (void)state;
    static const uint8_t colour[4][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {51, 0, 0}};
    static const int32_t labels[4] = {5, 5, 1, 2};
    uint8_t rgb[4 * 48];
    struct mi_pack_split train = pack(rgb, colour, labels, 4);
    struct mi_verdict v[3] = {{.label = 5}, {.label = 5}, {.label = 1}};
    const float recon[9] = {0.5f, 0, 0, 0.1f, 0.8f, 0, 0.2f, 0, 0}; /* the last is nearest to person 2, attacked is 1 */
    mt_scope *s = mt_scope_begin("test");
    double knn = 0;
    mt_tensor *f = mt_from(recon, MT_SHAPE(3, 3), MT_SPEC_F32);
    assert_int_equal(mi_score_knn(&toy->model, f, v, 3, &train, 2, &knn), MI_OK);
    assert_float_equal(v[0].distance, 0.25, 1e-6);
    assert_int_equal(v[0].nearest, 0);
    assert_float_equal(v[1].distance, 0.01 + 0.04, 1e-6);
    assert_int_equal(v[1].nearest, 1);
    assert_float_equal(v[2].distance, 0.04 + 1, 1e-6);
    assert_int_equal(v[2].nearest, 2);
    assert_float_equal(knn, (0.25 + 0.05 + 1.04) / 3, 1e-6);
    v[0].label = 4;
    assert_int_equal(mi_score_knn(&toy->model, f, v, 3, &train, 2, &knn), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "identity 4"));
    mi_error_clear();
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void accuracy_covers_the_last_partial_batch(void **state) {
    (void)state;
    static const uint8_t colour[5][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 0, 0}, {0, 255, 0}};
    static const int32_t labels[5] = {0, 1, 0, 0, 1}; /* the third is wrong */
    uint8_t rgb[5 * 48];
    struct mi_pack_split test = pack(rgb, colour, labels, 5);
    double acc = 0, loss = 0, wrong = 10, sum = 0;
    assert_int_equal(mi_eval_accuracy(&toy->model, &test, 2, &acc, &loss), MI_OK);
    assert_float_equal(acc, 80, 1e-9);
    const double logit[7] = {10, 0, 0, 4, 0, 4, -1}; /* of red; the other colours are permutations */
    for (int i = 0; i < 7; i++) sum += exp(logit[i]);
    double right = log(sum) - 10;
    assert_float_equal(loss, (4 * right + right + wrong) / 5, 1e-4);
    assert_int_equal(mi_eval_accuracy(&toy->model, &(struct mi_pack_split){0}, 2, &acc, &loss), MI_E_MISSING);
}

static void features_follow_the_index(void **state) {
    (void)state;
    static const uint8_t colour[3][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
    static const int32_t labels[3] = {0, 1, 2}, index[4] = {2, 0, 2, 1};
    uint8_t rgb[3 * 48];
    struct mi_pack_split p = pack(rgb, colour, labels, 3);
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *f = NULL;
    assert_int_equal(mi_eval_features(&toy->model, &p, index, 4, 3, &f), MI_OK);
    float got[12], want[12] = {0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0};
    assert_int_equal(mt_read(f, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < 12; i++) assert_float_equal(got[i], want[i], 1e-6);
    assert_int_equal(mi_eval_features(&toy->model, &p, NULL, 0, 3, &f), MI_OK);
    assert_int_equal(mt_size(f, 0), 3);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* ---- Frechet distance ---------------------------------------------------------------------------------------------- */

enum { ROWS_A = 40, ROWS_B = 25 };

/* Mean and covariance of n rows of two numbers, by hand. */
static void moments(const float *x, int n, double mean[2], double cov[4]) {
    mean[0] = mean[1] = cov[0] = cov[1] = cov[2] = cov[3] = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) mean[k] += (double)x[2 * i + k] / n;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            cov[k] += ((double)x[2 * i + k / 2] - mean[k / 2]) * ((double)x[2 * i + k % 2] - mean[k % 2]) / (n - 1);
}

/* The root's trace of a 2x2 matrix M is sqrt(tr M + 2 sqrt(det M)); the covariances do not commute. */
static void frechet_of_two_clouds(void **state) {
    (void)state;
    float a[ROWS_A * 2], b[ROWS_B * 2];
    struct mi_rng r = mi_rng_make(4, "cloud", 0, 0);
    mi_rng_fill_normal(&r, a, ROWS_A * 2);
    mi_rng_fill_normal(&r, b, ROWS_B * 2);
    for (int i = 0; i < ROWS_A; i++) a[2 * i + 1] = 0.8f * a[2 * i] + 0.1f * a[2 * i + 1];
    for (int i = 0; i < ROWS_B; i++) b[2 * i] = 3 - 2 * b[2 * i + 1] + 0.3f * b[2 * i];
    double ma[2], mb[2], ca[4], cb[4], got = 0, same = 1;
    moments(a, ROWS_A, ma, ca);
    moments(b, ROWS_B, mb, cb);
    double product = ca[0] * cb[0] + ca[1] * cb[2] + ca[2] * cb[1] + ca[3] * cb[3];
    double det = (ca[0] * ca[3] - ca[1] * ca[2]) * (cb[0] * cb[3] - cb[1] * cb[2]);
    double want = (ma[0] - mb[0]) * (ma[0] - mb[0]) + (ma[1] - mb[1]) * (ma[1] - mb[1]) + ca[0] + ca[3] + cb[0] +
                  cb[3] - 2 * sqrt(product + 2 * sqrt(det));
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *ta = mt_from(a, MT_SHAPE(ROWS_A, 2), MT_SPEC_F32), *tb = mt_from(b, MT_SHAPE(ROWS_B, 2), MT_SPEC_F32);
    assert_int_equal(mi_frechet(ta, tb, &got), MI_OK);
    assert_float_equal(got, want, 1e-9 * want);
    assert_int_equal(mi_frechet(tb, ta, &got), MI_OK);
    assert_float_equal(got, want, 1e-9 * want);
    assert_int_equal(mi_frechet(ta, ta, &same), MI_OK);
    assert_float_equal(same, 0, 1e-10);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* Two rows each in ten dimensions: S = cc' with c half the difference times the root of 2, so tr (S_a S_b)^(1/2) = |c_a c_b|. */
static void frechet_of_few_rows(void **state) {
    (void)state;
    enum { D = 10 };
    float a[2 * D], b[2 * D], unlike[3 * (D + 1)] = {0};
    struct mi_rng r = mi_rng_make(5, "rows", 0, 0);
    mi_rng_fill_normal(&r, a, 2 * D);
    mi_rng_fill_normal(&r, b, 2 * D);
    double apart = 0, ta = 0, tb = 0, cross = 0, got = 0;
    for (int k = 0; k < D; k++) {
        double ca = ((double)a[k] - (double)a[D + k]) / sqrt(2), cb = ((double)b[k] - (double)b[D + k]) / sqrt(2);
        double m = ((double)a[k] + (double)a[D + k] - (double)b[k] - (double)b[D + k]) / 2;
        apart += m * m, ta += ca * ca, tb += cb * cb, cross += ca * cb;
    }
    double want = apart + ta + tb - 2 * fabs(cross);
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *x = mt_from(a, MT_SHAPE(2, D), MT_SPEC_F32), *y = mt_from(b, MT_SHAPE(2, D), MT_SPEC_F32);
    assert_int_equal(mi_frechet(x, y, &got), MI_OK);
    assert_float_equal(got, want, 1e-9 * want);
    assert_int_equal(mi_frechet(x, mt_narrow(y, 0, 0, 1), &got), MI_E_INPUT);
    assert_int_equal(mi_frechet(x, mt_from(unlike, MT_SHAPE(3, D + 1), MT_SPEC_F32), &got), MI_E_INTERNAL);
    mi_error_clear();
    assert_int_equal(mt_scope_end(s), MI_OK);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(truncates_to_eight_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(enlarges_like_pil, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_top_five_and_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(few_classes_have_few_best, setup, teardown),
        cmocka_unit_test_setup_teardown(scores_rounds_and_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(one_restart_has_no_spread, setup, teardown),
        cmocka_unit_test_setup_teardown(knn_is_squared_and_of_the_same_person, setup, teardown),
        cmocka_unit_test_setup_teardown(accuracy_covers_the_last_partial_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(features_follow_the_index, setup, teardown),
        cmocka_unit_test(frechet_of_two_clouds),
        cmocka_unit_test(frechet_of_few_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
