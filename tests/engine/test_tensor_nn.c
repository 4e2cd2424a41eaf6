/* test_tensor_nn.c - network functions: transposed convolution against plain loops, memory order, bf16 gradients,
 * the stale weights autocast would leave, and double backward against finite differences. */
#include "tests/engine/tensor_test.h"

struct dconf { int n, in, out, h, w, k, s, p, op; };

/* y[n,o,i*s-p+u, j*s-p+v] += x[n,c,i,j] w[c,o,u,v] */
static void naive_deconv(const double *x, const double *w, const double *b, double *y, struct dconf c, int ho, int wo) {
    for (int n = 0; n < c.n; n++)
        for (int o = 0; o < c.out; o++)
            for (int i = 0; i < ho * wo; i++) y[(n * c.out + o) * ho * wo + i] = b[o];
    for (int n = 0; n < c.n; n++)
        for (int ci = 0; ci < c.in; ci++)
            for (int o = 0; o < c.out; o++)
                for (int i = 0; i < c.h * c.w; i++)
                    for (int u = 0; u < c.k; u++)
                        for (int v = 0; v < c.k; v++) {
                            int r = i / c.w * c.s - c.p + u, q = i % c.w * c.s - c.p + v;
                            if (r < 0 || q < 0 || r >= ho || q >= wo) continue;
                            y[((n * c.out + o) * ho + r) * wo + q] += x[(n * c.in + ci) * c.h * c.w + i] *
                                                                     w[((ci * c.out + o) * c.k + u) * c.k + v];
                        }
}

static void deconv_equals_plain_loops(void **state) {
    (void)state;
    const struct dconf conf[] = {{2, 3, 4, 5, 6, 5, 2, 2, 1}, {2, 4, 3, 5, 4, 4, 2, 1, 0}, {2, 3, 5, 4, 4, 3, 1, 1, 0},
                                 {3, 6, 2, 1, 1, 4, 1, 0, 0}, {3, 6, 2, 1, 1, 4, 2, 0, 0}, {1, 2, 3, 4, 5, 3, 2, 1, 1}};
    for (size_t i = 0; i < sizeof conf / sizeof *conf; i++) {
        struct dconf c = conf[i];
        int ho = (c.h - 1) * c.s - 2 * c.p + c.k + c.op, wo = (c.w - 1) * c.s - 2 * c.p + c.k + c.op;
        mt_scope *s = mt_scope_begin("deconv");
        mt_tensor *x = mt_randn(MT_SHAPE(c.n, c.in, c.h, c.w), F64, rng);
        mt_tensor *w = mt_randn(MT_SHAPE(c.in, c.out, c.k, c.k), F64, rng), *b = mt_randn(MT_SHAPE(c.out), F64, rng);
        double *want = calloc((size_t)(c.n * c.out * ho * wo), sizeof *want);
        naive_deconv(mt_data(x), mt_data(w), mt_data(b), want, c, ho, wo);
        mt_tensor *ref = mt_from(want, MT_SHAPE(c.n, c.out, ho, wo), F64);
        mt_convp p = MT_CONV(c.s, c.p);
        p.outpad[0] = p.outpad[1] = c.op;
        assert_true(rel_diff(mt_deconv2d(x, w, b, &p), ref) < 1e-12);
        mt_tensor *xf = mt_contig(mt_cast(x, MT_F32), MT_NHWC), *wf = mt_contig(mt_cast(w, MT_F32), MT_NHWC);
        mt_tensor *y = mt_deconv2d(xf, wf, mt_cast(b, MT_F32), &p);
        assert_true(rel_diff(y, ref) < 1e-5);
        assert_int_equal(mt_layout(y), MT_NHWC);
        if (c.s == 2 && c.h > 1 && (c.k == 5 || c.k == 4)) /* the prepared form, on every version */
            assert_true(rel_diff(mt_subpixel_conv(x, mt_subpixel_weight(w), b), ref) < 1e-12);
        free(want);
        ends_well(s);
    }
}

static void instance_norm_is_per_image_and_channel(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("norm");
    mt_tensor *x = mt_randn(MT_SHAPE(3, 5, 6, 7), F64, rng), *var, *mean;
    mt_tensor *flat = mt_reshape(x, MT_SHAPE(15, 42));
    assert_int_equal(mt_var_mean(flat, MT_DIMS(1), false, &var, &mean), MI_OK);
    mt_tensor *sd = mt_unsqueeze(mt_unary(mt_affine(var, 1, 1e-5), MT_SQRT), 1);
    mt_tensor *want = mt_div(mt_sub(flat, mt_unsqueeze(mean, 1)), sd);
    mt_tensor *y = mt_instance_norm(x, MT_NONE, MT_NONE, 1e-5);
    assert_true(rel_diff(mt_reshape(y, MT_SHAPE(15, 42)), want) < 1e-10);
    ends_well(s);
}

/* ---- memory order ---- */

enum { OP_CONV, OP_DECONV, OP_DECONV4, OP_DECONV3, OP_BN, OP_IN, OP_ACT, OP_PRELU, OP_MAXPOOL, OP_AVGPOOL, OP_ADAPT,
       OP_NEAREST, OP_BILINEAR, OP_AA, OP_REFLECT, OP_EDGE, OP_ZERO, OP_SHUFFLE, OP_FLIP, OP_CAT, OP_GRID, OP_COUNT };

/* Weights of all operations: [8,12,k,k] for convolution and its transpose (12 -> 8), norms over 8. */
struct weights { mt_tensor *conv, *d5, *d4, *d3, *g, *b, *slope; };

static struct weights make_weights(mt_dtype dt) {
    mt_spec sp = {dt, {0, 0}, MT_NHWC};
    struct weights w = {mt_randn(MT_SHAPE(12, 8, 3, 3), sp, rng), mt_randn(MT_SHAPE(8, 12, 5, 5), sp, rng),
                        mt_randn(MT_SHAPE(8, 12, 4, 4), sp, rng), mt_randn(MT_SHAPE(8, 12, 3, 3), sp, rng),
                        mt_rand(MT_SHAPE(8), 0.5, 1.5, sp, rng), mt_randn(MT_SHAPE(8), sp, rng),
                        mt_rand(MT_SHAPE(8), 0.1, 0.4, sp, rng)};
    return w;
}

/* One operation on x [4,8,8,8]. */
static mt_tensor *apply(int op, mt_tensor *x, const struct weights *w) {
    mt_convp p = MT_CONV(1, 1), p5 = {{2, 2}, {2, 2}, {1, 1}, {1, 1}, 1}, p4 = MT_CONV(2, 1);
    switch (op) {
    case OP_CONV: return mt_conv2d(x, w->conv, MT_NONE, &p);
    case OP_DECONV: return mt_deconv2d(x, w->d5, MT_NONE, &p5);
    case OP_DECONV4: return mt_deconv2d(x, w->d4, MT_NONE, &p4);
    case OP_DECONV3: return mt_deconv2d(x, w->d3, MT_NONE, &p);
    case OP_BN: return mt_batch_norm(x, w->g, w->b, MT_NONE, MT_NONE, true, 0.1, 1e-5);
    case OP_IN: return mt_instance_norm(x, w->g, w->b, 1e-5);
    case OP_ACT: return mt_act(x, MT_LRELU, 0.2);
    case OP_PRELU: return mt_prelu(x, w->slope);
    case OP_MAXPOOL: return mt_max_pool2d(x, 2, 2, 0, false);
    case OP_AVGPOOL: return mt_avg_pool2d(x, 2, 2, 0, false, true);
    case OP_ADAPT: return mt_adaptive_avg_pool2d(x, 2, 2);
    case OP_NEAREST: return mt_resize2d(x, 16, 16, MT_NEAREST, false, false);
    case OP_BILINEAR: return mt_resize2d(x, 11, 13, MT_BILINEAR, false, false);
    case OP_AA: return mt_resize2d(x, 5, 6, MT_BILINEAR, false, true);
    case OP_REFLECT: return mt_pad2d(x, (int[]){1, 2, 1, 2}, MT_PAD_REFLECT, 0);
    case OP_EDGE: return mt_pad2d(x, (int[]){1, 2, 1, 2}, MT_PAD_EDGE, 0);
    case OP_ZERO: return mt_pad2d(x, (int[]){1, 2, 1, 2}, MT_PAD_ZERO, 0.5);
    case OP_SHUFFLE: return mt_pixel_shuffle(x, 2);
    case OP_FLIP: return mt_flip(x, -1);
    case OP_CAT: return mt_cat(MT_LIST(x, x), 1);
    default: {
        const float turn[24] = {0.9f, 0.1f, 0.05f, -0.1f, 0.9f, 0, 1,    0, 0, 0, 1,    0,
                                1,    0,    0.2f,  0,     1,    0, 0.8f, 0, 0, 0, 0.8f, 0};
        mt_tensor *grid = mt_affine_grid(mt_from(turn, MT_SHAPE(4, 2, 3), MT_SPEC_F32), (int64_t[]){4, 8, 8, 8});
        return mt_grid_sample(x, grid, MT_BILINEAR, MT_PAD_EDGE);
    }
    }
}

static void channels_last_is_kept_and_right(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        mt_scope *s = mt_scope_begin("layout");
        struct weights w = make_weights(MT_F32);
        mt_tensor *x = mt_randn(MT_SHAPE(4, 8, 8, 8), F32_NHWC, rng);
        mt_tensor *y = apply(op, x, &w), *z = apply(op, mt_contig(x, MT_NCHW), &w);
        if (mt_layout(y) != MT_NHWC) fail_msg("operation %d lost channels_last", op);
        if (rel_diff(y, z) > 1e-5) fail_msg("operation %d differs between memory orders", op);
        ends_well(s);
    }
}

/* Gradient of sum(op(x) * c) for x, or for one weight. */
static mt_tensor *gradient(int op, mt_tensor *x, const struct weights *w, mt_tensor *wrt, bool bf16) {
    mt_rng *same = mt_rng_new(MT_CPU, 99);
    mt_tensor *g = NULL;
    if (bf16) mt_autocast_begin(MT_CPU, MT_BF16);
    mt_tensor *y = apply(op, bf16 ? mt_cast(x, MT_BF16) : x, w);
    if (bf16) mt_autocast_end();
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(y, shape);
    mt_tensor *c = mt_randn(shape, nd < 0 ? 0 : nd, MT_SPEC_F32, same);
    mt_grad_of(mt_sum(mt_mul(mt_cast(y, MT_F32), c), NULL, 0, false), &wrt, 1, false, false, &g);
    mt_rng_free(same);
    return g;
}

static void bf16_gradients_are_close(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        mt_scope *s = mt_scope_begin("bf16");
        struct weights w = make_weights(MT_F32);
        /* Rounded to bf16 first: what is compared is the arithmetic, not which of two near values a pool picks. */
        mt_tensor *x = mt_cast(mt_cast(mt_randn(MT_SHAPE(4, 8, 8, 8), F32_NHWC, rng), MT_BF16), MT_F32);
        mt_tensor *weight_of[OP_COUNT] = {[OP_CONV] = w.conv, [OP_DECONV] = w.d5, [OP_DECONV4] = w.d4,
                                          [OP_DECONV3] = w.d3, [OP_BN] = w.g, [OP_IN] = w.g, [OP_PRELU] = w.slope};
        mt_tensor *used = weight_of[op];
        mt_requires_grad_(x, true);
        double bad = rel_diff(gradient(op, x, &w, x, true), gradient(op, x, &w, x, false));
        if (!(bad < 0.03)) fail_msg("operation %d: bf16 input gradient is off by %g", op, bad);
        if (used) {
            mt_requires_grad_(used, true);
            bad = rel_diff(gradient(op, x, &w, used, true), gradient(op, x, &w, used, false));
            if (!(bad < 0.03)) fail_msg("operation %d: bf16 weight gradient is off by %g", op, bad);
        }
        ends_well(s);
    }
}

/* ---- autocast ---- */

static double cast_output(mt_tensor *x, mt_tensor *w) {
    mt_autocast_begin(MT_CPU, MT_BF16);
    mt_tensor *y = mt_linear(x, w, MT_NONE);
    assert_int_equal(mt_dtype_of(y), MT_BF16);
    mt_autocast_end();
    return item(mt_sum(mt_cast(y, MT_F32), NULL, 0, false));
}

static void autocast_sees_changed_weights(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("autocast");
    mt_tensor *x = mt_full(MT_SHAPE(1, 16), 1, MT_SPEC_F32), *w = mt_full(MT_SHAPE(1, 16), 1, MT_SPEC_F32);
    mt_requires_grad_(w, true);
    for (int step = 1; step <= 3; step++) {
        assert_true(cast_output(x, w) == 16.0 * step);
        mt_affine_(w, 1, 1); /* a step of an optimiser */
    }
    ends_well(s);
}

static void autocast_nests_and_is_checked(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("nest");
    mt_tensor *x = mt_full(MT_SHAPE(2, 16), 1, MT_SPEC_F32);
    assert_false(mt_autocast_on());
    mt_autocast_begin(MT_CPU, MT_BF16);
    mt_autocast_begin(MT_CPU, MT_F32);
    assert_false(mt_autocast_on());
    assert_int_equal(mt_dtype_of(mt_linear(x, x, MT_NONE)), MT_F32);
    mt_autocast_end();
    assert_true(mt_autocast_on());
    assert_int_equal(mt_dtype_of(mt_linear(x, x, MT_NONE)), MT_BF16);
    mt_autocast_end();
    assert_false(mt_autocast_on());
    mt_autocast_end();
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "mt_autocast_begin");
}

/* ---- double backward ---- */

struct critic { mt_tensor *w1, *g, *b, *w2; };

/* mean over images of (||grad_x D(x)|| - 1)^2, as WGAN-GP has it */
static mt_tensor *penalty(const struct critic *c, mt_tensor *x) {
    mt_convp p = MT_CONV(2, 1);
    mt_tensor *h = mt_act(mt_instance_norm(mt_conv2d(x, c->w1, MT_NONE, &p), c->g, c->b, 1e-5), MT_LRELU, 0.2);
    mt_tensor *score = mt_matmul(mt_flatten(h, 1), c->w2), *gx;
    mt_grad_of(mt_sum(score, NULL, 0, false), &x, 1, true, true, &gx);
    mt_tensor *norm = mt_norm(mt_flatten(gx, 1), 2, MT_DIMS(1), false);
    return mt_mean(mt_unary(mt_affine(norm, 1, -1), MT_SQUARE), NULL, 0, false);
}

static void double_backward_matches_differences(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("penalty");
    mt_tensor *x = mt_randn(MT_SHAPE(3, 3, 8, 8), F64, rng);
    struct critic c = {mt_randn(MT_SHAPE(4, 3, 3, 3), F64, rng), mt_rand(MT_SHAPE(4), 0.5, 1.5, F64, rng),
                       mt_randn(MT_SHAPE(4), F64, rng), mt_randn(MT_SHAPE(64, 1), F64, rng)};
    mt_tensor *ps[3] = {c.w1, c.g, c.w2}, *grads[3];
    mt_requires_grad_(x, true);
    for (int i = 0; i < 3; i++) mt_requires_grad_(ps[i], true);
    assert_int_equal(mt_grad_of(penalty(&c, x), ps, 3, false, false, grads), MI_OK);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++) {
            double *w = mt_data(ps[i]), keep = w[k], e = 1e-6, got = ((double *)mt_data(grads[i]))[k];
            w[k] = keep + e;
            double up = item(penalty(&c, x));
            w[k] = keep - e;
            double down = item(penalty(&c, x));
            w[k] = keep;
            if (fabs((up - down) / (2 * e) - got) > 1e-5 * (1 + fabs(got)))
                fail_msg("tensor %d element %d: %g, differences say %g", i, k, got, (up - down) / (2 * e));
        }
    ends_well(s);
}

static uint64_t trained_hash(void) {
    mt_scope *s = mt_scope_begin("train");
    mt_rng *r = mt_rng_new(MT_CPU, 5);
    mt_tensor *w = mt_randn(MT_SHAPE(8, 3, 3, 3), F32_NHWC, r), *x = mt_randn(MT_SHAPE(8, 3, 16, 16), F32_NHWC, r);
    mt_requires_grad_(w, true);
    mt_opt *o = mt_sgd_new(0.1, 0.9, 1e-4, true);
    mt_opt_add(o, &w, 1, 1);
    mt_convp p = MT_CONV(1, 1);
    for (int i = 0; i < 4; i++) {
        mt_backward(mt_mean(mt_unary(mt_conv2d(x, w, MT_NONE, &p), MT_SQUARE), NULL, 0, false), false);
        mt_opt_step(o);
        mt_opt_zero_grad(o);
    }
    uint64_t h = mt_hash(w);
    mt_opt_free(o);
    mt_rng_free(r);
    ends_well(s);
    return h;
}

static void training_repeats_to_the_bit(void **state) {
    (void)state;
    mt_set_deterministic(true);
    uint64_t first = trained_hash();
    assert_true(first != 0 && first == trained_hash());
    mt_set_deterministic(false);
}

static void gradients_tell_when_there_are_none(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("grad");
    mt_tensor *a = mt_full(MT_SHAPE(3), 2, MT_SPEC_F32), *b = mt_full(MT_SHAPE(3), 3, MT_SPEC_F32), *g[2];
    mt_requires_grad_(a, true);
    mt_requires_grad_(b, true);
    assert_int_equal(mt_grad_of(mt_sum(mt_mul(a, a), NULL, 0, false), MT_LIST(a, b), false, false, g), MI_OK);
    assert_true(item(mt_sum(g[0], NULL, 0, false)) == 12);
    assert_ptr_equal(g[1], MT_NONE);
    assert_ptr_equal(mt_grad(a), MT_NONE);
    expect_error(mt_backward(mt_mul(a, a), false), MI_E_INTERNAL, "not a single number");
    mt_status();
    bool was = mt_grad_mode(false);
    mi_error_clear();
    expect_error(mt_backward(mt_sum(a, NULL, 0, false), false), MI_E_INTERNAL, "requires a gradient");
    mt_grad_mode(was);
    mt_status();
    mi_error_clear();
    ends_well(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deconv_equals_plain_loops),
        cmocka_unit_test(instance_norm_is_per_image_and_channel),
        cmocka_unit_test(channels_last_is_kept_and_right),
        cmocka_unit_test(bf16_gradients_are_close),
        cmocka_unit_test(autocast_sees_changed_weights),
        cmocka_unit_test(autocast_nests_and_is_checked),
        cmocka_unit_test(double_backward_matches_differences),
        cmocka_unit_test(training_repeats_to_the_bit),
        cmocka_unit_test(gradients_tell_when_there_are_none),
    };
    return cmocka_run_group_tests(tests, tensor_setup, tensor_teardown);
}
