/* tests/engine/test_bido.c - BiDO's dependence measures: published numbers, eigenvalues known in closed form, gradients
 * against finite differences in f64, invariances, and the identity batches. */
#include "nn_test.h"

#include "defenses/bido.h"
#include "defenses/identity.h"

#define F64 ((mt_spec){MT_F64, MT_CPU, MT_NCHW})

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("got %.9g, want %.9g", got, want);
}

/* One-hot rows of `people` x `per` labels, [m,people] f64. */
static mt_tensor *one_hot(int people, int per) {
    int64_t y[256];
    for (int i = 0; i < people * per; i++) y[i] = i / per;
    mt_tensor *t = mt_from(y, MT_SHAPE(people * per), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    return mt_cast(mt_one_hot(t, people), MT_F64);
}

static mt_tensor *normal(int m, int d, uint64_t seed) {
    double *v = calloc((size_t)(m * d), sizeof *v);
    struct mi_rng r = mi_rng_make(seed, "test", 0, 0);
    for (int i = 0; i < m * d; i++) v[i] = mi_rng_normal(&r);
    mt_tensor *t = mt_from(v, MT_SHAPE(m, d), F64);
    free(v);
    return t;
}

static mt_tensor *labels_centred(int people, int per) {
    return mi_kernel_centre(mi_kernel_labels(one_hot(people, per), MI_LABEL_LINEAR, 5));
}

static double hsic(mt_tensor *ca, mt_tensor *cb) {
    return number(mt_sum(mt_mul(mi_hsic_operator(ca), mi_hsic_operator(cb)), NULL, 0, false));
}

static double at(mt_tensor *t, int i, int j) {
    return number(mt_select(mt_select(t, 0, i), 0, j));
}

/* Labels 16x4: HYY'H has eigenvalue 4 fifteen times. */
static void labels_alone_have_their_closed_form(void **state) {
    (void)state;
    mt_tensor *y = labels_centred(16, 4);
    near(hsic(y, y), 15 * pow(4 / 4.00064, 2), 1e-9);
    near(hsic(y, y), 14.995201, 1e-6);
    near(number(mi_coco(y, y, false)), sqrt(16 * sqrt(15)) / 64, 1e-9);
    near(number(mi_coco(y, y, false)), 0.122999, 1e-6);
    near(number(mi_coco(y, y, true)), 0.0625, 1e-9);
    /* All labels different: the label kernel says nothing but the size of the batch. */
    mt_tensor *alone = labels_centred(64, 1);
    near(hsic(alone, alone), 63 * pow(1 / 1.00064, 2), 1e-6);
}

static void four_points_in_a_square(void **state) {
    (void)state;
    const double points[] = {0, 0, 1, 0, 0, 1, 1, 1};
    mt_tensor *k = mi_kernel_gauss(mt_from(points, MT_SHAPE(4, 2), F64), 5);
    near(at(k, 0, 1), 0.990050, 1e-6);
    near(at(k, 0, 3), 0.980199, 1e-6);
    near(at(k, 2, 2), 1, 1e-12);
    mt_tensor *x = mi_kernel_centre(k), *y = labels_centred(2, 2);
    near(hsic(x, y), 0.997964, 1e-6);
    near(number(mi_coco(x, y, false)), 0.049751, 1e-6);
    /* labels 0,0,1,1 follow one axis of the square: the product of the kernels has one eigenvalue, so norms agree */
    near(number(mi_coco(x, y, true)), number(mi_coco(x, y, false)), 1e-9);
}

/* Both measures are bounded, symmetric, blind to the order of features and to a shift of them all. */
static void measures_keep_their_promises(void **state) {
    (void)state;
    mt_tensor *a = normal(24, 6, 1), *b = mt_add(mt_narrow(normal(24, 6, 2), 1, 0, 6), mt_affine(a, 0.5, 0));
    mt_tensor *ca = mi_kernel_centre(mi_kernel_gauss(a, 5)), *cb = mi_kernel_centre(mi_kernel_gauss(b, 5));
    double both = hsic(ca, cb);
    assert_true(both > 0 && both < 23);
    near(hsic(cb, ca), both, 1e-9);
    near(number(mi_coco(cb, ca, false)), number(mi_coco(ca, cb, false)), 1e-12);
    assert_true(number(mi_coco(ca, cb, true)) < number(mi_coco(ca, cb, false)));
    mt_tensor *moved = mi_kernel_centre(mi_kernel_gauss(mt_affine(mt_flip(b, 1), 1, 100), 5));
    near(hsic(ca, moved), both, 1e-6);
    /* A map in channels_last is the same rows as in NCHW. */
    mt_tensor *map = mt_reshape(normal(12, 2 * 3 * 3, 3), MT_SHAPE(12, 2, 3, 3));
    mt_tensor *k = mi_kernel_gauss(map, 5), *last = mi_kernel_gauss(mt_contig(map, MT_NHWC), 5);
    assert_true(distance(last, k) < 1e-12);
    /* f32 activations give the f64 kernel to single precision, far from the origin as well */
    mt_tensor *far = mt_affine(normal(12, 50, 4), 1, 30);
    mt_tensor *deviation = mt_affine(mi_kernel_gauss(far, 5), -1, 1);
    assert_true(distance(mt_affine(mi_kernel_gauss(mt_cast(far, MT_F32), 5), -1, 1), deviation) < 1e-4);
    /* the batch's own width: mean distance 1 */
    mt_tensor *own = mt_unary(mi_kernel_gauss(a, 0), MT_LOG);
    near(number(mt_sum(own, NULL, 0, false)) / (24.0 * 23), -1, 1e-9);
    mt_tensor *imq = mi_kernel_labels(one_hot(2, 2), MI_LABEL_IMQ, 5);
    near(at(imq, 0, 2), 1 / sqrt(3), 1e-12);
    near(at(imq, 0, 1), 1, 1e-12);
}

/* ---- gradients in double precision ---- */

enum measure { HSIC_XY, COCO_FROBENIUS, COCO_SPECTRAL };

static mt_tensor *measured(mt_tensor *z, mt_tensor *other, enum measure how) {
    mt_tensor *c = mi_kernel_centre(mi_kernel_gauss(z, 1.5));
    if (how == HSIC_XY) return mt_sum(mt_mul(mi_hsic_operator(c), mi_hsic_operator(other)), NULL, 0, false);
    return mi_coco(other, c, how == COCO_SPECTRAL);
}

static void gradients_equal_finite_differences(void **state) {
    (void)state;
    enum { M = 12, D = 5 };
    mt_tensor *other = labels_centred(4, 3);
    for (enum measure how = HSIC_XY; how <= COCO_SPECTRAL; how++) {
        /* With labels the largest eigenvalue can be repeated; against a feature kernel it is not. */
        if (how == COCO_SPECTRAL) other = mi_kernel_centre(mi_kernel_gauss(normal(M, 3, 8), 1.5));
        mt_tensor *z = mt_clone(normal(M, D, 7)), *g[1];
        mt_requires_grad_(z, true);
        mt_tensor *in[1] = {z};
        assert_int_equal(mt_grad_of(measured(z, other, how), in, 1, false, false, g), MI_OK);
        double worst = 0, size = l2(g[0]) / sqrt(M * D), h = 1e-5;
        mt_requires_grad_(z, false);
        double *value = mt_data(z);
        for (int i = 0; i < M * D; i++) {
            double keep = value[i];
            value[i] = keep + h;
            double up = number(measured(z, other, how));
            value[i] = keep - h;
            double down = number(measured(z, other, how));
            value[i] = keep;
            double off = fabs((up - down) / (2 * h) - at(g[0], i / D, i % D)) / size;
            worst = off > worst ? off : worst;
        }
        print_message("measure %d: greatest gradient error %.2g of its root mean square\n", how, worst);
        assert_true(worst < 1e-5);
    }
}

/* A layer that collapsed: all rows equal.  Nothing may become infinite. */
static void a_collapsed_layer_has_finite_gradients(void **state) {
    (void)state;
    mt_tensor *y = labels_centred(4, 2);
    for (enum measure how = HSIC_XY; how <= COCO_SPECTRAL; how++) {
        mt_tensor *z = mt_full(MT_SHAPE(8, 3), 0.5, F64), *g[1];
        mt_requires_grad_(z, true);
        mt_tensor *in[1] = {z}, *value = measured(z, y, how);
        assert_true(isfinite(number(value)));
        assert_int_equal(mt_grad_of(value, in, 1, false, false, g), MI_OK);
        assert_true(mt_all_finite(g[0]));
    }
}

/* ---- identity batches ---- */

#define PEOPLE 11

/* Person c has c + 1 photos, shuffled over the list. */
static int album(int32_t *labels) {
    int n = 0;
    for (int round = 0; round < PEOPLE; round++)
        for (int c = round; c < PEOPLE; c++) labels[n++] = c;
    return n;
}

static void batches_hold_people_with_several_photos(void **state) {
    (void)state;
    int32_t labels[PEOPLE * PEOPLE], index[64];
    struct mi_sampling s = {.labels = labels, .n = (size_t)album(labels), .classes = PEOPLE, .batch = 14, .seed = 3};
    struct mi_identity_batches ib = {0};
    assert_int_equal(mi_identity_plan(&ib, &s, 3, "test"), MI_OK);
    assert_int_equal(s.most, 12); /* 4 people of 3 photos fit into 14 */
    /* groups of three: persons 0..4 one, 5..7 two, 8..10 three: 20 groups make 5 batches of 4 */
    assert_int_equal(s.per_epoch, 5);
    int shown[PEOPLE * PEOPLE] = {0};
    for (int64_t step = 0; step < s.per_epoch; step++) {
        assert_int_equal(mi_identity_sample(&ib, &s, step, index), 12);
        int people[4];
        for (int p = 0; p < 4; p++) {
            people[p] = labels[index[3 * p]];
            for (int i = 0; i < 3; i++) assert_int_equal(labels[index[3 * p + i]], people[p]);
            for (int q = 0; q < p; q++) assert_int_not_equal(people[p], people[q]);
        }
        for (int i = 0; i < 12; i++) shown[index[i]]++;
    }
    for (size_t i = 0; i < s.n; i++) /* twice only for those who have fewer than three */
        assert_true(shown[i] <= (labels[i] == 0 ? 3 : labels[i] == 1 ? 2 : 1));
    /* any step alone is the same step, and epochs differ */
    int32_t again[64], other[64];
    struct mi_identity_batches fresh = {0};
    assert_int_equal(mi_identity_plan(&fresh, &s, 3, "test"), MI_OK);
    mi_identity_sample(&ib, &s, 9, index);
    mi_identity_sample(&ib, &s, 2, other);
    mi_identity_sample(&fresh, &s, 9, again);
    assert_memory_equal(index, again, 12 * sizeof *index);
    int moved = 0;
    for (int64_t step = 0; step < 5; step++) {
        mi_identity_sample(&ib, &s, step, index);
        mi_identity_sample(&fresh, &s, step + 5, again);
        moved += memcmp(index, again, 12 * sizeof *index) != 0;
    }
    assert_true(moved >= 4);
    mi_identity_close(&fresh);
    mi_identity_close(&ib);
}

/* One person owns nearly everything: as many batches as the others allow, and no person twice in one. */
static void an_uneven_album_limits_the_batches(void **state) {
    (void)state;
    int32_t labels[40], index[8];
    for (int i = 0; i < 40; i++) labels[i] = i < 30 ? 0 : 1 + (i - 30) / 4;
    struct mi_sampling s = {.labels = labels, .n = 38, .classes = 3, .batch = 4, .seed = 1};
    struct mi_identity_batches ib = {0};
    assert_int_equal(mi_identity_plan(&ib, &s, 2, "test"), MI_OK);
    assert_int_equal(s.per_epoch, 4); /* 15, 2 and 2 groups: each batch needs one of the last four */
    for (int64_t step = 0; step < 4; step++) {
        mi_identity_sample(&ib, &s, step, index);
        assert_int_not_equal(labels[index[0]], labels[index[2]]);
    }
    s.batch = 8;
    assert_int_equal(mi_identity_plan(&ib, &s, 2, "bido"), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "the private set has 3"));
    mi_error_clear();
    s.batch = 3;
    assert_int_equal(mi_identity_plan(&ib, &s, 2, "bido"), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "fewer than two"));
    mi_error_clear();
    mi_identity_close(&ib);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(labels_alone_have_their_closed_form),    TEST(four_points_in_a_square),
        TEST(measures_keep_their_promises),           TEST(gradients_equal_finite_differences),
        TEST(a_collapsed_layer_has_finite_gradients), TEST(batches_hold_people_with_several_photos),
        TEST(an_uneven_album_limits_the_batches),
    };
    int failed = cmocka_run_group_tests_name("bido", tests, start, no_leaks);
    return failed;
}
