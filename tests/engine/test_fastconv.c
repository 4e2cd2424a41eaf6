/* test_fastconv.c - the Winograd kernels: against a plain double loop, against libtorch in float64 through first and
 * second derivatives, and for what a training run relies on: same bits twice, any memory order, odd sizes. */
#include "src/tensor/winograd.h"
#include "tests/engine/tensor_test.h"

struct shape { int n, h, w, cin, cout; };

/* Sides that are no multiple of a tile, channels that are no multiple of a vector or a register block. */
static const struct shape shapes[] = {{1, 7, 7, 12, 20},  {2, 4, 4, 33, 12},  {3, 5, 9, 20, 33}, {1, 8, 8, 16, 16},
                                      {2, 13, 6, 12, 12}, {1, 16, 3, 40, 17}, {3, 9, 5, 64, 35}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* y[n,o,i,j] = b[o] + sum x[n,c,i+u-1,j+v-1] w[o,c,u,v]; all row-major NCHW */
static void naive_conv(const double *x, const double *w, const double *b, double *y, struct shape s) {
    for (int n = 0; n < s.n; n++)
        for (int o = 0; o < s.cout; o++)
            for (int p = 0; p < s.h * s.w; p++) {
                double sum = b ? b[o] : 0;
                for (int k = 0; k < s.cin * 9; k++) {
                    int c = k / 9, r = p / s.w + k % 9 / 3 - 1, q = p % s.w + k % 3 - 1;
                    if (r < 0 || q < 0 || r >= s.h || q >= s.w) continue;
                    sum += x[((n * s.cin + c) * s.h + r) * s.w + q] * w[o * s.cin * 9 + k];
                }
                y[(n * s.cout + o) * s.h * s.w + p] = sum;
            }
}

static mt_tensor *naive(mt_tensor *x, mt_tensor *w, mt_tensor *b, struct shape s) {
    double *y = malloc((size_t)(s.n * s.cout * s.h * s.w) * sizeof *y);
    assert_non_null(y);
    naive_conv(mt_data(x), mt_data(w), b == MT_NONE ? NULL : mt_data(b), y, s);
    mt_tensor *t = mt_from(y, MT_SHAPE(s.n, s.cout, s.h, s.w), F64);
    free(y);
    return t;
}

static void forward_equals_plain_loops(void **state) {
    (void)state;
    mt_convp p = MT_CONV(1, 1);
    for (int i = 0; i < SHAPES; i++) {
        struct shape c = shapes[i];
        mt_scope *s = mt_scope_begin("forward");
        mt_tensor *x = mt_randn(MT_SHAPE(c.n, c.cin, c.h, c.w), F64, rng);
        mt_tensor *w = mt_randn(MT_SHAPE(c.cout, c.cin, 3, 3), F64, rng), *b = mt_randn(MT_SHAPE(c.cout), F64, rng);
        mt_tensor *with = naive(x, w, b, c), *without = naive(x, w, MT_NONE, c);
        mt_tensor *xf = mt_cast(x, MT_F32), *wf = mt_cast(w, MT_F32), *bf = mt_cast(b, MT_F32);
        for (int lay = 0; lay < 4; lay++) { /* image and weight in either memory order */
            mt_tensor *xl = mt_contig(xf, lay & 1 ? MT_NHWC : MT_NCHW), *wl = mt_contig(wf, lay & 2 ? MT_NHWC : MT_NCHW);
            assert_true(rel_diff(mt_conv2d(xl, wl, bf, &p), with) < 2e-6);
            assert_true(rel_diff(mt_conv2d(xl, wl, MT_NONE, &p), without) < 2e-6);
        }
        ends_well(s);
    }
}

/* What mt_conv2d gives are the very bits of the kernel: the fast way is the one taken. */
static void wanted_shapes_take_the_kernel(void **state) {
    (void)state;
    mt_convp p = MT_CONV(1, 1);
    for (int i = 0; i < SHAPES; i++) {
        struct shape c = shapes[i];
        mt_scope *s = mt_scope_begin("taken");
        mt_tensor *x = mt_randn(MT_SHAPE(c.n, c.cin, c.h, c.w), F32_NHWC, rng);
        mt_tensor *w = mt_randn(MT_SHAPE(c.cout, c.cin, 3, 3), F32_NHWC, rng);
        mt_tensor *own = mt_zeros(MT_SHAPE(c.n, c.cout, c.h, c.w), F32_NHWC);
        struct wino_weight ww = {mt_data(w), 9 * c.cin, 1, 3 * c.cin, c.cin, c.cout, c.cin, false};
        assert_true(wino_conv(mt_data(x), &ww, NULL, mt_data(own), c.n, c.h, c.w));
        mt_tensor *y = mt_conv2d(x, w, MT_NONE, &p), *again = mt_conv2d(x, w, MT_NONE, &p);
        assert_true(mt_hash(y) == mt_hash(again));
        assert_int_equal(wino_wanted(c.h, c.w, c.cin, c.cout), mt_hash(y) == mt_hash(own));
        ends_well(s);
    }
}

static void limits_of_what_is_wanted(void **state) {
    (void)state;
    assert_true(wino_wanted(4, 4, 12, 12));
    assert_true(wino_wanted(7, 7, 64, 64));
    assert_false(wino_wanted(8, 8, 11, 64)); /* an RGB stem: transforms would cost more than they save */
    assert_false(wino_wanted(8, 8, 64, 3));
    assert_false(wino_wanted(2, 2, 512, 512)); /* a quarter of each tile would be real */
    assert_false(wino_wanted(1, 1, 512, 512));
    assert_true(wino_wanted(5, 16, 64, 64)); /* 80 of 128 outputs */
    assert_false(wino_wanted(5, 5, 64, 64)); /* 25 of 64 */
}

/* ---- derivatives against float64, which libtorch computes its own way ---- */

struct conv_case { struct shape s; int k, stride, pad; };

/* 5x5 of stride 2 is folded to 3x3 on four times the channels. */
static const struct conv_case cases[] = {{{2, 7, 7, 12, 20}, 3, 1, 1},   {{1, 4, 4, 33, 16}, 3, 1, 1},
                                         {{3, 5, 9, 16, 33}, 3, 1, 1},   {{2, 12, 16, 3, 14}, 5, 2, 2},
                                         {{1, 14, 10, 13, 20}, 5, 2, 2}, {{3, 8, 8, 16, 12}, 5, 2, 2}};
enum { CASES = sizeof cases / sizeof *cases };

struct inputs { mt_tensor *x, *w, *b; };

static struct inputs draw(const struct conv_case *c) {
    const struct shape *s = &c->s;
    return (struct inputs){mt_randn(MT_SHAPE(s->n, s->cin, s->h, s->w), F64, rng),
                           mt_affine(mt_randn(MT_SHAPE(s->cout, s->cin, c->k, c->k), F64, rng), 0.2, 0),
                           mt_randn(MT_SHAPE(s->cout), F64, rng)};
}

static struct inputs as_leaves(struct inputs in, mt_dtype dtype, mt_layout_t layout) {
    mt_tensor *t[3] = {in.x, in.w, in.b};
    for (int i = 0; i < 3; i++) {
        t[i] = mt_clone(mt_cast(t[i], dtype));
        if (i < 2) t[i] = mt_clone(mt_contig(t[i], layout));
        assert_int_equal(mt_requires_grad_(t[i], true), MI_OK);
    }
    return (struct inputs){t[0], t[1], t[2]};
}

/* Gradients of sum(weights * tanh(conv)); out [3] */
static void first_gradients(struct inputs in, mt_tensor *weights, const struct conv_case *c, mt_tensor *out[3]) {
    mt_convp p = MT_CONV(c->stride, c->pad);
    mt_tensor *y = mt_act(mt_conv2d(in.x, in.w, in.b, &p), MT_TANH, 0);
    mt_tensor *loss = mt_sum(mt_mul(y, weights), NULL, 0, false);
    assert_int_equal(mt_grad_of(loss, (mt_tensor *[]){in.x, in.w, in.b}, 3, false, false, out), MI_OK);
}

static void gradients_equal_float64(void **state) {
    (void)state;
    for (int i = 0; i < 2 * CASES; i++) {
        const struct conv_case *c = &cases[i / 2];
        mt_scope *s = mt_scope_begin("gradients");
        struct inputs in = draw(c);
        int64_t h = (c->s.h - 1) / c->stride + 1, w = (c->s.w - 1) / c->stride + 1;
        mt_tensor *weights = mt_randn(MT_SHAPE(c->s.n, c->s.cout, h, w), F64, rng), *want[3], *got[3];
        first_gradients(as_leaves(in, MT_F64, MT_NCHW), weights, c, want);
        first_gradients(as_leaves(in, MT_F32, i % 2 ? MT_NHWC : MT_NCHW), mt_cast(weights, MT_F32), c, got);
        for (int k = 0; k < 3; k++) assert_true(rel_diff(got[k], want[k]) < 1e-5);
        ends_well(s);
    }
}

/* The penalty of WGAN-GP: (|d score / d x| - 1)^2, differentiated again for the weights and, here, the image. */
static void penalty_gradients(struct inputs in, const struct conv_case *c, mt_tensor *out[2]) {
    mt_convp p = MT_CONV(c->stride, c->pad);
    mt_tensor *score = mt_sum(mt_act(mt_conv2d(in.x, in.w, in.b, &p), MT_TANH, 0), NULL, 0, false), *dx = NULL;
    assert_int_equal(mt_grad_of(score, &in.x, 1, true, true, &dx), MI_OK);
    mt_tensor *norm = mt_unary(mt_sum(mt_unary(dx, MT_SQUARE), MT_DIMS(1, 2, 3), false), MT_SQRT);
    mt_tensor *penalty = mt_mean(mt_unary(mt_affine(norm, 1, -1), MT_SQUARE), NULL, 0, false);
    assert_int_equal(mt_grad_of(penalty, (mt_tensor *[]){in.x, in.w}, 2, false, false, out), MI_OK);
}

static void double_backward_equals_float64(void **state) {
    (void)state;
    for (int i = 0; i < 2 * CASES; i++) {
        const struct conv_case *c = &cases[i / 2];
        mt_scope *s = mt_scope_begin("penalty");
        struct inputs in = draw(c);
        mt_tensor *want[2], *got[2];
        penalty_gradients(as_leaves(in, MT_F64, MT_NCHW), c, want);
        penalty_gradients(as_leaves(in, MT_F32, i % 2 ? MT_NHWC : MT_NCHW), c, got);
        for (int k = 0; k < 2; k++) assert_true(rel_diff(got[k], want[k]) < 3e-5);
        ends_well(s);
    }
}

static void same_bits_twice(void **state) {
    (void)state;
    const struct conv_case *c = &cases[0];
    for (int i = 0; i < CASES; i++, c++) {
        mt_scope *s = mt_scope_begin("twice");
        struct inputs in = draw(c);
        mt_tensor *a[2], *b[2];
        penalty_gradients(as_leaves(in, MT_F32, MT_NHWC), c, a);
        penalty_gradients(as_leaves(in, MT_F32, MT_NHWC), c, b);
        for (int k = 0; k < 2; k++) assert_true(mt_hash(a[k]) == mt_hash(b[k]));
        ends_well(s);
    }
}

/* A weight that changed in place between two calls is seen, frozen or not. */
static void changed_weights_are_seen(void **state) {
    (void)state;
    mt_convp p = MT_CONV(1, 1);
    mt_scope *s = mt_scope_begin("changed");
    mt_tensor *x = mt_randn(MT_SHAPE(2, 16, 8, 8), F32_NHWC, rng), *w = mt_randn(MT_SHAPE(24, 16, 3, 3), F32_NHWC, rng);
    mt_tensor *before = mt_conv2d(x, w, MT_NONE, &p);
    mt_affine_(w, 2, 0);
    assert_true(rel_diff(mt_conv2d(x, w, MT_NONE, &p), mt_affine(before, 2, 0)) < 1e-6);
    float *raw = mt_data(w); /* behind libtorch's back, as the optimisers write */
    for (int64_t i = 0; i < mt_numel(w); i++) raw[i] *= 0.5f;
    assert_true(rel_diff(mt_conv2d(x, w, MT_NONE, &p), before) < 1e-6);
    ends_well(s);
}

static void an_empty_batch_gives_an_empty_answer(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("empty");
    mt_tensor *x = mt_zeros(MT_SHAPE(0, 16, 8, 8), F32_NHWC), *w = mt_randn(MT_SHAPE(24, 16, 3, 3), F32_NHWC, rng);
    assert_int_equal(mt_requires_grad_(w, true), MI_OK);
    mt_convp p = MT_CONV(1, 1);
    mt_tensor *y = mt_conv2d(x, w, MT_NONE, &p), *dw = NULL;
    assert_int_equal(mt_size(y, 0), 0);
    assert_int_equal(mt_size(y, 1), 24);
    assert_int_equal(mt_grad_of(mt_sum(y, NULL, 0, false), &w, 1, false, false, &dw), MI_OK);
    assert_true(item(mt_norm(dw, 2, NULL, 0, false)) == 0);
    ends_well(s);
}

static void wrong_channels_are_an_error(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("wrong");
    mt_convp p = MT_CONV(1, 1);
    mt_tensor *x = mt_zeros(MT_SHAPE(1, 17, 8, 8), F32_NHWC), *w = mt_zeros(MT_SHAPE(24, 16, 3, 3), F32_NHWC);
    assert_null(mt_conv2d(x, w, MT_NONE, &p));
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "conv2d");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_plain_loops),
        cmocka_unit_test(wanted_shapes_take_the_kernel),
        cmocka_unit_test(limits_of_what_is_wanted),
        cmocka_unit_test(gradients_equal_float64),
        cmocka_unit_test(double_backward_equals_float64),
        cmocka_unit_test(same_bits_twice),
        cmocka_unit_test(changed_weights_are_seen),
        cmocka_unit_test(an_empty_batch_gives_an_empty_answer),
        cmocka_unit_test(wrong_channels_are_an_error),
    };
    return cmocka_run_group_tests(tests, tensor_setup, tensor_teardown);
}
