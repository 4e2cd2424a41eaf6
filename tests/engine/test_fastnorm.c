/* test_fastnorm.c - BatchNorm, shortcut and ReLU in one pass, and PReLU: against libtorch in float64 through first and
 * second derivatives, running statistics, far-off means, and for what a training run relies on. */
#include "src/tensor/bnorm.h"
#include "src/tensor/prelu.h"
#include "tests/engine/tensor_test.h"

#define MOMENTUM 0.1
#define EPS      1e-5

/* What one normalisation works on, all leaves; absent ones are MT_NONE. */
struct net {
    mt_tensor *x, *skip, *w, *b, *rm, *rv;
};
struct shape {
    int n, c, h, w;
};

/* Channels below, at and above a register block; few rows; enough for a team of threads. */
static const struct shape shapes[] = {{2, 3, 1, 1}, {3, 20, 5, 4}, {2, 64, 7, 3}, {4, 65, 9, 8}, {8, 128, 8, 8}};
enum { SHAPES = sizeof shapes / sizeof *shapes, WAYS = 16 };

static mt_tensor *noise(struct shape s) {
    return mt_randn(MT_SHAPE(s.n, s.c, s.h, s.w), F64, rng);
}

/* Two values a channel: whatever they are, they become -1 and 1, and their gradient is rounding. */
static bool few(struct shape s) {
    return s.n * s.h * s.w < 8;
}

/* Bits of `way`: weights, shortcut, ReLU, training. */
static struct net draw(struct shape s, int way, double mean) {
    mt_tensor *x = mt_affine(noise(s), 2, mean);
    struct net t = {x,
                    MT_NONE,
                    MT_NONE,
                    MT_NONE,
                    mt_affine(mt_randn(MT_SHAPE(s.c), F64, rng), 1, mean),
                    mt_rand(MT_SHAPE(s.c), 0.5, 1.5, F64, rng)};
    if (way & 1) t.w = mt_randn(MT_SHAPE(s.c), F64, rng), t.b = mt_randn(MT_SHAPE(s.c), F64, rng);
    if (way & 2) t.skip = noise(s);
    return t;
}

static mt_tensor *leaf(mt_tensor *t, mt_dtype dtype, mt_layout_t layout, bool grad) {
    if (t == MT_NONE) return t;
    mt_tensor *own = mt_clone(mt_contig(mt_cast(t, dtype), mt_ndim(t) == 4 ? layout : MT_NCHW));
    if (grad) assert_int_equal(mt_requires_grad_(own, true), MI_OK);
    return own;
}

static struct net as_leaves(struct net t, mt_dtype dtype, mt_layout_t layout) {
    return (struct net){leaf(t.x, dtype, layout, true),   leaf(t.skip, dtype, layout, true),
                        leaf(t.w, dtype, layout, true),   leaf(t.b, dtype, layout, true),
                        leaf(t.rm, dtype, layout, false), leaf(t.rv, dtype, layout, false)};
}

/* Float64 in NCHW goes libtorch's way, float32 in NHWC the one under test. */
static mt_tensor *run(struct net t, int way) {
    bool train = way & 8;
    if (way & 4) return mt_batch_norm_relu(t.x, t.skip, t.w, t.b, t.rm, t.rv, train, MOMENTUM, EPS);
    mt_tensor *y = mt_batch_norm(t.x, t.w, t.b, t.rm, t.rv, train, MOMENTUM, EPS);
    return t.skip == MT_NONE ? y : mt_add(y, t.skip);
}

static int given(struct net t, mt_tensor *out[4]) {
    mt_tensor *all[4] = {t.x, t.skip, t.w, t.b};
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (all[i] != MT_NONE) out[n++] = all[i];
    return n;
}

static void equals_float64(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES * WAYS; i++) {
        int way = i % WAYS, n;
        mt_scope *s = mt_scope_begin("norm");
        struct net t = draw(shapes[i / WAYS], way, 0), a = as_leaves(t, MT_F64, MT_NCHW),
                   b = as_leaves(t, MT_F32, MT_NHWC);
        mt_tensor *y = run(a, way), *z = run(b, way), *weights = noise(shapes[i / WAYS]), *in[4], *want[4], *got[4];
        assert_true(rel_diff(z, y) < 1e-6);
        assert_true(rel_diff(b.rm, a.rm) < 1e-6);
        assert_true(rel_diff(b.rv, a.rv) < 1e-6);
        n = given(a, in);
        assert_int_equal(mt_grad_of(mt_sum(mt_mul(y, weights), NULL, 0, false), in, n, false, false, want), MI_OK);
        n = given(b, in);
        mt_tensor *loss = mt_sum(mt_mul(z, mt_cast(weights, MT_F32)), NULL, 0, false);
        assert_int_equal(mt_grad_of(loss, in, n, false, false, got), MI_OK);
        for (int k = few(shapes[i / WAYS]) && way & 8 ? n : 0; k < n; k++)
            assert_true(rel_diff(got[k], want[k]) < 5e-6);
        ends_well(s);
    }
}

/* Gradients of the square of a gradient. */
static void second(struct net t, int way, mt_tensor *weights, mt_tensor *out[4]) {
    mt_tensor *in[4], *dx = NULL, *y = run(t, way);
    mt_tensor *loss = mt_sum(mt_mul(mt_unary(y, MT_SQUARE), weights), NULL, 0, false);
    assert_int_equal(mt_grad_of(loss, &t.x, 1, true, true, &dx), MI_OK);
    int n = given(t, in);
    assert_int_equal(mt_grad_of(mt_sum(mt_unary(dx, MT_SQUARE), NULL, 0, false), in, n, false, false, out), MI_OK);
}

static void double_backward_equals_float64(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES * WAYS; i++) {
        int way = i % WAYS;
        struct shape shape = shapes[i / WAYS];
        if (few(shape)) continue;
        mt_scope *s = mt_scope_begin("second");
        struct net t = draw(shape, way, 0), a = as_leaves(t, MT_F64, MT_NCHW), b = as_leaves(t, MT_F32, MT_NHWC);
        mt_tensor *weights = noise(shape), *want[4], *got[4], *in[4];
        second(a, way, weights, want);
        second(b, way, mt_cast(weights, MT_F32), got);
        for (int k = 0, n = given(b, in); k < n; k++) assert_true(rel_diff(got[k], want[k]) < 2e-5);
        ends_well(s);
    }
}

/* A mean a thousand deviations off: the variance is no difference of large squares. */
static void far_means_keep_their_variance(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("far");
    struct net t = draw((struct shape){16, 64, 8, 8}, 0, 2000);
    mt_tensor *x = mt_contig(mt_cast(t.x, MT_F32), MT_NHWC);
    t.x = mt_cast(x, MT_F64); /* what rounding left */
    struct net a = as_leaves(t, MT_F64, MT_NCHW), b = as_leaves(t, MT_F32, MT_NHWC);
    run(a, 8), run(b, 8);
    assert_true(rel_diff(b.rv, a.rv) < 1e-6);
    ends_well(s);
}

/* Evaluation equals libtorch's own kernel, which the NCHW image takes, to the bit; so no unit rounds to another side.
 */
static void evaluation_gives_libtorchs_bits(void **state) {
    (void)state;
    for (int way = 0; way < WAYS / 2; way++) {
        mt_scope *s = mt_scope_begin("bits");
        struct net t = draw(shapes[3], way, 0);
        mt_tensor *theirs = run(as_leaves(t, MT_F32, MT_NCHW), way), *ours = run(as_leaves(t, MT_F32, MT_NHWC), way);
        assert_true(mt_hash(mt_contig(ours, MT_NCHW)) == mt_hash(theirs));
        ends_well(s);
    }
}

/* The way under test is the one taken: in training, where libtorch sums otherwise, the kernel's bits. */
static void channels_last_floats_take_the_kernel(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("taken");
    enum { C = 48, ROWS = 2 * 16 * 16 };
    struct net t = as_leaves(draw((struct shape){2, C, 16, 16}, 0, 3), MT_F32, MT_NHWC);
    mt_tensor *y = run(t, 8 | 4), *own = mt_zeros(MT_SHAPE(2, C, 16, 16), F32_NHWC);
    double mean[C], var[C];
    float scale[C], shift[C];
    assert_true(bnorm_moments(mt_data(t.x), ROWS, C, mean, var));
    for (int i = 0; i < C; i++) {
        scale[i] = (float)(1 / sqrt(var[i] + EPS));
        shift[i] = fmaf(-(float)mean[i], scale[i], 0);
    }
    bnorm_apply(&(struct bnorm){ROWS, C, scale, shift, true}, mt_data(t.x), NULL, mt_data(own));
    assert_true(mt_hash(y) == mt_hash(own));
    ends_well(s);
}

static void same_bits_twice(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        mt_scope *s = mt_scope_begin("twice");
        struct net t = draw(shapes[SHAPES - 1], way, 0);
        mt_tensor *weights = mt_cast(noise(shapes[SHAPES - 1]), MT_F32), *g[2][4], *in[4], *y[2];
        int n = 0;
        for (int k = 0; k < 2; k++) {
            struct net b = as_leaves(t, MT_F32, MT_NHWC);
            y[k] = run(b, way), n = given(b, in);
            assert_int_equal(mt_grad_of(mt_sum(mt_mul(y[k], weights), NULL, 0, false), in, n, false, false, g[k]),
                             MI_OK);
        }
        assert_true(mt_hash(y[0]) == mt_hash(y[1]));
        for (int k = 0; k < n; k++) assert_true(mt_hash(g[0][k]) == mt_hash(g[1][k]));
        ends_well(s);
    }
}

/* A training that diverged must look like it. */
static void a_nan_stays_one(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("nan");
    struct net t = as_leaves(draw((struct shape){2, 64, 4, 4}, 0, 0), MT_F32, MT_NHWC);
    float *x = mt_data(t.x);
    x[5] = NAN;
    const float *y = mt_data(run(t, 4));
    assert_true(isnan(y[5]));
    assert_false(isnan(y[6]));
    ends_well(s);
}

static void shortcuts_must_fit(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("misfit");
    struct net t = draw((struct shape){2, 8, 4, 4}, 0, 0);
    t.skip = mt_zeros(MT_SHAPE(2, 8, 4, 3), F64);
    assert_null(run(t, 4));
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "shortcut");
}

/* ---- PReLU ---------------------------------------------------------------------------------------------------- */
/* Results and first gradients to `first`, gradients of the square of dx to `again`. */
static void prelu_gradients(mt_tensor *x, mt_tensor *slope, mt_tensor *weights, mt_tensor *first[3],
                            mt_tensor *again[2]) {
    mt_tensor *in[2] = {x, slope}, *dx = NULL;
    first[0] = mt_prelu(x, slope);
    mt_tensor *loss = mt_sum(mt_mul(first[0], weights), NULL, 0, false);
    assert_int_equal(mt_grad_of(loss, in, 2, false, true, first + 1), MI_OK);
    mt_tensor *square = mt_sum(mt_mul(mt_unary(first[0], MT_SQUARE), weights), NULL, 0, false);
    assert_int_equal(mt_grad_of(square, &x, 1, true, true, &dx), MI_OK);
    assert_int_equal(mt_grad_of(mt_sum(mt_unary(dx, MT_SQUARE), NULL, 0, false), in, 2, false, false, again), MI_OK);
}

static void prelu_equals_float64(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        mt_scope *s = mt_scope_begin("prelu");
        mt_tensor *x = noise(shapes[i]), *slope = mt_randn(MT_SHAPE(shapes[i].c), F64, rng),
                  *weights = noise(shapes[i]);
        mt_tensor *want[3], *got[3], *want2[2], *got2[2];
        prelu_gradients(leaf(x, MT_F64, MT_NCHW, true), leaf(slope, MT_F64, MT_NCHW, true), weights, want, want2);
        prelu_gradients(leaf(x, MT_F32, MT_NHWC, true), leaf(slope, MT_F32, MT_NCHW, true), mt_cast(weights, MT_F32),
                        got, got2);
        for (int k = 0; k < 3; k++) assert_true(rel_diff(got[k], want[k]) < 1e-6);
        for (int k = 0; k < 2; k++) assert_true(rel_diff(got2[k], want2[k]) < 2e-6);
        ends_well(s);
    }
}

static void prelu_takes_the_kernel(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("taken");
    mt_tensor *x = mt_contig(mt_cast(noise(shapes[3]), MT_F32), MT_NHWC),
              *own = mt_zeros(MT_SHAPE(4, 65, 9, 8), F32_NHWC);
    mt_tensor *slope = mt_cast(mt_randn(MT_SHAPE(65), F64, rng), MT_F32);
    ((float *)mt_data(x))[7] = NAN;
    prelu_apply(mt_data(x), mt_data(slope), 4 * 9 * 8, 65, mt_data(own));
    assert_true(mt_hash(mt_prelu(x, slope)) == mt_hash(own));
    assert_true(isnan(((float *)mt_data(own))[7]));
    ends_well(s);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_float64),
                                       cmocka_unit_test(double_backward_equals_float64),
                                       cmocka_unit_test(far_means_keep_their_variance),
                                       cmocka_unit_test(evaluation_gives_libtorchs_bits),
                                       cmocka_unit_test(channels_last_floats_take_the_kernel),
                                       cmocka_unit_test(same_bits_twice),
                                       cmocka_unit_test(a_nan_stays_one),
                                       cmocka_unit_test(shortcuts_must_fit),
                                       cmocka_unit_test(prelu_equals_float64),
                                       cmocka_unit_test(prelu_takes_the_kernel)};
    return cmocka_run_group_tests_name("fastnorm", tests, tensor_setup, tensor_teardown);
}
