/* test_tensor_optim.c - the optimisers against PyTorch's formulas written down again in double precision, their
 * checkpoint, clipping, and what they refuse. */
#include <unistd.h>

#include "src/tensor/tensor_priv.h"
#include "tests/engine/tensor_test.h"

/* The gradient of sum(p * c) is c: gives p any gradient we like. */
static void set_grad(mt_tensor *p, mt_tensor *c) {
    mt_tensor *one = p;
    mt_zero_grad(&one, 1, true);
    assert_int_equal(mt_backward(mt_sum(mt_mul(p, c), NULL, 0, false), false), MI_OK);
}

struct ref { bool adam, decoupled, nesterov; double lr, b1, b2, eps, wd, mom; };

static void ref_step(const struct ref *r, double *w, const float *g, double *m, double *v, int64_t n, int t) {
    for (int64_t i = 0; i < n; i++) {
        double gi = g[i];
        if (r->adam && r->decoupled) w[i] *= 1 - r->lr * r->wd;
        else gi += r->wd * w[i];
        if (r->adam) {
            m[i] = r->b1 * m[i] + (1 - r->b1) * gi;
            v[i] = r->b2 * v[i] + (1 - r->b2) * gi * gi;
            w[i] -= r->lr * (m[i] / (1 - pow(r->b1, t))) / (sqrt(v[i] / (1 - pow(r->b2, t))) + r->eps);
        } else {
            m[i] = t == 1 ? gi : r->mom * m[i] + gi;
            w[i] -= r->lr * (r->mom == 0 ? gi : r->nesterov ? gi + r->mom * m[i] : m[i]);
        }
    }
}

static mt_opt *make(const struct ref *r) {
    return r->adam ? mt_adam_new(r->lr, r->b1, r->b2, r->eps, r->wd, r->decoupled)
                   : mt_sgd_new(r->lr, r->mom, r->wd, r->nesterov);
}

/* An [a,b,3,3] parameter in channels_last, gradients in NCHW; returns the largest difference to doubles. */
static double parity(const struct ref *r, int64_t a, int64_t b, int steps) {
    int64_t n = a * b * 9;
    double *w = calloc((size_t)n * 3, sizeof *w), worst = 0;
    float *got = calloc((size_t)n, sizeof *got);
    mt_scope *s = mt_scope_begin("parity");
    mt_tensor *p = mt_rand(MT_SHAPE(a, b, 3, 3), -1, 1, F32_NHWC, rng);
    assert_int_equal(mt_read(p, w, n * 8, MT_F64, MT_NCHW), MI_OK);
    mt_requires_grad_(p, true);
    mt_opt *o = make(r);
    assert_int_equal(mt_opt_add(o, &p, 1, 1), MI_OK);
    for (int t = 1; t <= steps; t++) {
        mt_scope *in = mt_scope_begin("step");
        mt_tensor *g = mt_randn(MT_SHAPE(a, b, 3, 3), MT_SPEC_F32, rng);
        set_grad(p, g);
        assert_int_equal(mt_opt_step(o), MI_OK);
        ref_step(r, w, mt_data(g), w + n, w + 2 * n, n, t);
        ends_well(in);
    }
    assert_int_equal(mt_layout(p), MT_NHWC);
    assert_int_equal(mt_read(p, got, n * 4, MT_F32, MT_NCHW), MI_OK);
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)got[i] - w[i]));
    mt_opt_free(o);
    ends_well(s);
    free(w);
    free(got);
    return worst;
}

static void formulas_are_pytorchs(void **state) {
    (void)state;
    const struct ref all[] = {{true, false, false, 1e-3, 0.9, 0.999, 1e-8, 0, 0},
                              {true, false, false, 2e-3, 0.5, 0.9, 1e-8, 1e-2, 0},
                              {true, true, false, 1e-3, 0.9, 0.999, 1e-6, 5e-2, 0},
                              {false, false, false, 1e-3, 0, 0, 0, 1e-3, 0},
                              {false, false, false, 1e-3, 0, 0, 0, 5e-4, 0.9},
                              {false, false, true, 1e-3, 0, 0, 0, 5e-4, 0.9}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double small = parity(&all[i], 5, 7, 100);
        if (!(small < 1e-6)) fail_msg("optimiser %zu is off by %g after 100 steps", i, small);
    }
    double large = parity(&all[1], 96, 80, 30); /* large enough for threads to share the work */
    if (!(large < 1e-6)) fail_msg("the shared step is off by %g", large);
}

static void drive(mt_opt *o, mt_tensor *p, mt_tensor *q, uint64_t from, int steps) {
    for (int i = 0; i < steps; i++) {
        mt_scope *s = mt_scope_begin("drive");
        mt_rng *r = mt_rng_new(MT_CPU, from + (uint64_t)i);
        set_grad(p, mt_randn(MT_SHAPE(6, 4, 3, 3), MT_SPEC_F32, r));
        set_grad(q, mt_randn(MT_SHAPE(9), MT_SPEC_F32, r));
        assert_int_equal(mt_opt_step(o), MI_OK);
        mt_rng_free(r);
        ends_well(s);
    }
}

static void resume_is_exact_for(const struct ref *r, const char *path) {
    mt_scope *s = mt_scope_begin("resume");
    mt_tensor *p = mt_randn(MT_SHAPE(6, 4, 3, 3), F32_NHWC, rng), *q = mt_randn(MT_SHAPE(9), MT_SPEC_F32, rng);
    mt_tensor *idle = mt_randn(MT_SHAPE(3), MT_SPEC_F32, rng);
    mt_tensor *all[3] = {p, idle, q};
    for (int i = 0; i < 3; i++) mt_requires_grad_(all[i], true);
    mt_opt *o = make(r);
    assert_int_equal(mt_opt_add(o, all, 3, 0.5), MI_OK);
    drive(o, p, q, 1000, 5);
    mt_opt_set_lr(o, 0.004);
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mt_archive_put(a, "p", p), MI_OK);
    assert_int_equal(mt_archive_put(a, "q", q), MI_OK);
    assert_int_equal(mt_opt_save(o, a, "opt"), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    drive(o, p, q, 2000, 5);
    uint64_t want = mt_hash(p) ^ mt_hash(q);
    mt_opt_free(o);

    a = mt_archive_open(path);
    assert_non_null(a);
    mt_copy_(p, mt_archive_get(a, "p", MT_CPU));
    mt_copy_(q, mt_archive_get(a, "q", MT_CPU));
    o = make(r);
    mt_opt_add(o, all, 3, 0.5);
    assert_int_equal(mt_opt_load(o, a, "opt"), MI_OK);
    assert_true(mt_opt_lr(o) == 0.004);
    drive(o, p, q, 2000, 5);
    assert_true((mt_hash(p) ^ mt_hash(q)) == want);
    mt_opt_free(o);
    o = make(r);
    mt_opt_add(o, all, 2, 0.5);
    expect_error(mt_opt_load(o, a, "opt"), MI_E_INPUT, "3 parameters");
    expect_error(mt_opt_load(o, a, "elsewhere"), MI_E_INPUT, "elsewhere.lr");
    mt_opt_free(o);
    mt_archive_close(a);
    ends_well(s);
}

static void resume_is_exact(void **state) {
    (void)state;
    const struct ref adam = {true, false, false, 2e-3, 0.9, 0.999, 1e-8, 1e-4, 0};
    const struct ref sgd = {false, false, false, 1e-2, 0, 0, 0, 1e-4, 0.9};
    char path[] = "/tmp/midre-opt-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    resume_is_exact_for(&adam, path);
    resume_is_exact_for(&sgd, path);
    unlink(path);
}

static void clipping_scales_to_the_norm(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("clip");
    mt_tensor *p = mt_zeros(MT_SHAPE(300, 300), MT_SPEC_F32), *q = mt_zeros(MT_SHAPE(7), MT_SPEC_F32);
    mt_tensor *g = mt_randn(MT_SHAPE(300, 300), MT_SPEC_F32, rng), *h = mt_full(MT_SHAPE(7), 2, MT_SPEC_F32);
    mt_tensor *idle = mt_zeros(MT_SHAPE(3), MT_SPEC_F32), *all[3] = {p, idle, q};
    for (int i = 0; i < 3; i++) mt_requires_grad_(all[i], true);
    set_grad(p, g);
    set_grad(q, h);
    double a = item(mt_norm(mt_cast(g, MT_F64), 2, NULL, 0, false)), want = sqrt(a * a + 28);
    double got = mt_clip_grad_norm(all, 3, 5);
    assert_true(fabs(got - want) < 1e-9 * want);
    assert_true(rel_diff(mt_grad(p), mt_affine(g, 5 / want, 0)) < 1e-6);
    assert_true(fabs(mt_clip_grad_norm(all, 3, 1e9) - 5) < 1e-4); /* below the limit: left alone */
    assert_true(fabs(mt_clip_grad_norm(all, 3, 1e9) - 5) < 1e-4);
    ends_well(s);
}

/* The list kernels a GPU gets are libtorch's for any device: here they run on the CPU against the C loops. */
static void list_kernels_agree_with_the_loops(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("lists");
    mt_tensor *p = mt_randn(MT_SHAPE(4, 3, 3, 3), F32_NHWC, rng), *q = mt_clone(p), *buf = mt_zeros_like(p);
    mt_tensor *m = mt_zeros_like(p), *v = mt_zeros_like(p), *g;
    mt_requires_grad_(p, true);
    mt_requires_grad_(q, true);
    bool fused = mt_version()[0] >= '2'; /* 1.13 has fused Adam for CUDA only */
    mt_opt *sgd = mt_sgd_new(0.01, 0.9, 1e-3, true), *adam = mt_adam_new(0.01, 0.9, 0.99, 1e-8, 1e-2, true);
    mt_opt_add(sgd, &p, 1, 1);
    mt_opt_add(adam, &p, 1, 1);
    for (int t = 1; t <= 10; t++) {
        set_grad(p, g = mt_randn(MT_SHAPE(4, 3, 3, 3), MT_SPEC_F32, rng));
        set_grad(q, g);
        double a = mt_clip_grad_norm(&p, 1, 3), b;
        assert_int_equal(mt_device_clip(&q, 1, 3, &b), MI_OK);
        assert_true(fabs(a - b) < 1e-5 * a && rel_diff(mt_grad(q), mt_grad(p)) < 1e-6);
        assert_int_equal(mt_opt_step(sgd), MI_OK);
        struct mt_sgd_batch sb = {.p = &q, .buf = &buf, .n = 1, .lr = 0.01, .momentum = 0.9, .wd = 1e-3,
                                  .nesterov = true};
        assert_int_equal(mt_device_sgd(&sb), MI_OK);
        if (fused) {
            assert_int_equal(mt_opt_step(adam), MI_OK);
            struct mt_adam_batch ab = {.p = &q, .m = &m, .v = &v, .n = 1, .step = t, .lr = 0.01, .b1 = 0.9, .b2 = 0.99,
                                       .eps = 1e-8, .wd = 1e-2, .decoupled = true};
            assert_int_equal(mt_device_adam(&ab), MI_OK);
        }
    }
    assert_true(rel_diff(q, p) < 1e-5);
    mt_opt_free(sgd);
    mt_opt_free(adam);
    ends_well(s);
}

static void what_is_left_alone_and_refused(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("refuse");
    mt_tensor *p = mt_full(MT_SHAPE(3), 1, MT_SPEC_F32), *wide = mt_full(MT_SHAPE(3), 1, F64);
    mt_requires_grad_(p, true);
    mt_opt *o = mt_adam_new(0.1, 0.9, 0.999, 1e-8, 0.1, true);
    expect_error(mt_opt_add(o, &wide, 1, 1), MI_E_INTERNAL, "parameter 0");
    assert_int_equal(mt_opt_add(o, &p, 1, 1), MI_OK);
    assert_int_equal(mt_opt_step(o), MI_OK); /* no gradient: not even weight decay */
    assert_true(item(mt_sum(p, NULL, 0, false)) == 3);
    set_grad(p, mt_full(MT_SHAPE(3), 1, MT_SPEC_F32));
    assert_null(mt_matmul(p, mt_zeros(MT_SHAPE(9, 9), MT_SPEC_F32)));
    expect_error(mt_opt_step(o), MI_E_INTERNAL, "mt_matmul"); /* nothing moves on half a backward */
    assert_true(item(mt_sum(p, NULL, 0, false)) == 3);
    mt_status();
    mi_error_clear();
    assert_int_equal(mt_opt_step(o), MI_OK);
    assert_true(item(mt_sum(p, NULL, 0, false)) < 3);
    mt_opt_free(o);
    ends_well(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_are_pytorchs),
        cmocka_unit_test(resume_is_exact),
        cmocka_unit_test(clipping_scales_to_the_norm),
        cmocka_unit_test(list_kernels_agree_with_the_loops),
        cmocka_unit_test(what_is_left_alone_and_refused),
    };
    return cmocka_run_group_tests(tests, tensor_setup, tensor_teardown);
}
