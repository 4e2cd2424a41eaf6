/* test_tensor.c - handles, scopes, errors, random numbers, memory order, and the arithmetic against plain C. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/engine/tensor_test.h"

/* One training step of a small network whose results all die with the scope. */
static void small_step(mt_tensor *w, mt_tensor *v, mt_opt *o) {
    mt_scope *s = mt_scope_begin("step");
    mt_tensor *x = mt_randn(MT_SHAPE(4, 3, 8, 8), MT_SPEC_F32, rng);
    mt_convp p = MT_CONV(2, 1);
    mt_tensor *h = mt_act(mt_conv2d(x, w, MT_NONE, &p), MT_RELU, 0);
    mt_tensor *y = mt_matmul(mt_flatten(h, 1), v);
    mt_backward(mt_mean(mt_unary(y, MT_SQUARE), NULL, 0, false), false);
    mt_opt_step(o);
    mt_opt_zero_grad(o);
    ends_well(s);
}

static void live_handles_stay_constant(void **state) {
    (void)state;
    int64_t before = mt_live();
    mt_scope *s = mt_scope_begin("build");
    mt_tensor *w = mt_keep(mt_randn(MT_SHAPE(6, 3, 3, 3), F32_NHWC, rng));
    mt_tensor *v = mt_keep(mt_randn(MT_SHAPE(6 * 16, 2), MT_SPEC_F32, rng));
    ends_well(s);
    mt_requires_grad_(w, true);
    mt_requires_grad_(v, true);
    mt_opt *o = mt_adam_new(1e-3, 0.9, 0.999, 1e-8, 0, false);
    assert_int_equal(mt_opt_add(o, MT_LIST(w, v), 1), MI_OK);
    small_step(w, v, o);
    int64_t after_first = mt_live();
    uint64_t used, total, peak, used_later;
    for (int i = 0; i < 100; i++) small_step(w, v, o);
    assert_int_equal(mt_mem_info(MT_CPU, &used, &total, &peak), MI_OK);
    for (int i = 0; i < 300; i++) small_step(w, v, o);
    assert_int_equal(mt_live(), after_first);
    assert_int_equal(mt_mem_info(MT_CPU, &used_later, &total, &peak), MI_OK);
    assert_true(used > 0 && total > used && peak >= used_later);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory on purpose */
    assert_true(used_later < used + (300 << 10)); /* under 1 KB a step */
#endif
    mt_opt_free(o);
    mt_free(w);
    mt_free(v);
    assert_int_equal(mt_live(), before);
}

static void first_error_of_a_chain_is_kept(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("chain");
    mt_tensor *a = mt_zeros(MT_SHAPE(2, 3), MT_SPEC_F32), *b = mt_zeros(MT_SHAPE(4, 5), MT_SPEC_F32);
    mt_tensor *bad = mt_matmul(a, b);
    assert_null(bad);
    assert_true(mt_failed());
    for (int i = 0; i < 10; i++) bad = mt_add(mt_act(bad, MT_RELU, 0), a);
    assert_null(bad);
    double v;
    assert_int_equal(mt_item(bad, &v), MI_E_INTERNAL);
    assert_int_equal(mt_backward(bad, false), MI_E_INTERNAL);
    enum mi_status st = mt_scope_end(s);
    assert_non_null(strstr(mi_error_text(), "f32[2,3], f32[4,5]"));
    assert_non_null(strstr(mi_error_text(), "'chain'"));
    expect_error(st, MI_E_INTERNAL, "mt_matmul");
    assert_false(mt_failed());
    assert_int_equal(mt_status(), MI_OK);
}

static void outer_scope_repeats_the_status_of_an_inner_one(void **state) {
    (void)state;
    mt_scope *out = mt_scope_begin("outer"), *in = mt_scope_begin("inner");
    mt_raise(MI_E_DEVICE, "the GPU is gone (%d)", 7);
    assert_int_equal(mt_scope_end(in), MI_E_DEVICE);
    assert_null(mt_act(NULL, MT_RELU, 0));
    expect_error(mt_scope_end(out), MI_E_DEVICE, "the GPU is gone (7)");
}

static void a_null_without_a_cause_is_reported(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("null");
    mt_tensor *a = mt_zeros(MT_SHAPE(2, 3), MT_SPEC_F32);
    assert_null(mt_linear(a, a, NULL));
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "argument 3 is NULL");
    s = mt_scope_begin("none");
    assert_null(mt_act(MT_NONE, MT_RELU, 0));
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "MT_NONE");
}

static void *uses_foreign_tensor(void *t) {
    mt_scope *s = mt_scope_begin("other thread");
    assert_null(mt_act(t, MT_RELU, 0));
    enum mi_status st = mt_scope_end(s);
    return (void *)(intptr_t)(st == MI_E_INTERNAL && strstr(mi_error_text(), "another thread"));
}

static void misuse_of_handles_is_named(void **state) {
    (void)state;
    assert_null(mt_zeros(MT_SHAPE(2), MT_SPEC_F32));
    expect_error(mt_status(), MI_E_INTERNAL, "no scope is open");
    mt_scope *s = mt_scope_begin("first");
    mt_tensor *a = mt_zeros(MT_SHAPE(2), MT_SPEC_F32), *owned = mt_keep(mt_full(MT_SHAPE(2), 3, MT_SPEC_F32));
    mt_free(a);
    expect_error(mt_status(), MI_E_INTERNAL, "belongs to scope 'first'");
    mt_drop(owned);
    expect_error(mt_status(), MI_E_INTERNAL, "is owned");
    pthread_t th;
    void *good = NULL;
    assert_int_equal(pthread_create(&th, NULL, uses_foreign_tensor, a), 0);
    pthread_join(th, &good);
    assert_non_null(good);
    ends_well(s);
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "not open");
    s = mt_scope_begin("second");
    assert_null(mt_act(a, MT_RELU, 0));
    expect_error(mt_status(), MI_E_INTERNAL, "(made by mt_zeros) was freed before");
    mt_drop(a);
    expect_error(mt_status(), MI_E_INTERNAL, "freed before");
    mt_scope *inner = mt_scope_begin("inner");
    assert_non_null(inner);
    expect_error(mt_scope_end(s), MI_E_INTERNAL, "'second' ends while 'inner'");
    assert_null(mt_zeros(MT_SHAPE(2), MT_SPEC_F32)); /* both are closed now */
    expect_error(mt_status(), MI_E_INTERNAL, "no scope");
    mt_free(owned);
    mt_free(owned);
    expect_error(mt_status(), MI_E_INTERNAL, "freed before");
}

static void keep_pass_drop_set(void **state) {
    (void)state;
    int64_t before = mt_live();
    mt_scope *out = mt_scope_begin("outer"), *in = mt_scope_begin("inner");
    mt_tensor *kept = mt_keep(mt_full(MT_SHAPE(1), 1, MT_SPEC_F32));
    mt_tensor *passed = mt_pass(mt_full(MT_SHAPE(1), 2, MT_SPEC_F32));
    mt_tensor *x = mt_full(MT_SHAPE(1), 3, MT_SPEC_F32);
    for (int i = 0; i < 5; i++) mt_set(&x, mt_affine(x, 2, 1));
    assert_int_equal(mt_live(), before + 3);
    assert_true(item(x) == 127);
    mt_drop(x);
    mt_drop(NULL);
    assert_int_equal(mt_live(), before + 2);
    ends_well(in);
    assert_true(item(passed) == 2);
    ends_well(out);
    assert_true(item(kept) == 1);
    mt_free(kept);
    assert_int_equal(mt_live(), before);
}

static void a_forked_child_is_refused(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        mt_scope *s = mt_scope_begin("child");
        mt_zeros(MT_SHAPE(2), MT_SPEC_F32);
        _exit(mt_scope_end(s) == MI_E_INTERNAL && strstr(mi_error_text(), "forked") ? 0 : 1);
    }
    int how = -1;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

static void random_streams_repeat(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("random");
    mt_rng *a = mt_rng_new(MT_CPU, 11), *b = mt_rng_new(MT_CPU, 11);
    mt_spec bf = {MT_BF16, {0, 0}, MT_NCHW};
    mt_tensor *x = mt_randn(MT_SHAPE(4, 3, 8, 8), MT_SPEC_F32, a), *y = mt_randn(MT_SHAPE(4, 3, 8, 8), F32_NHWC, b);
    assert_int_equal(mt_layout(y), MT_NHWC);
    assert_true(mt_hash(x) == mt_hash(y)); /* the numbers do not depend on the memory order */
    mt_tensor *next = mt_randn(MT_SHAPE(4, 3, 8, 8), MT_SPEC_F32, a);
    assert_true(mt_hash(next) != mt_hash(x));
    mt_rng_seed(a, 11);
    assert_true(mt_hash(mt_randn(MT_SHAPE(4, 3, 8, 8), MT_SPEC_F32, a)) == mt_hash(x));
    mt_rng_seed(a, 12);
    assert_true(mt_hash(mt_randn(MT_SHAPE(4, 3, 8, 8), MT_SPEC_F32, a)) != mt_hash(x));
    mt_rng_seed(a, 11);
    assert_true(rel_diff(mt_randn(MT_SHAPE(4, 3, 8, 8), bf, a), x) < 0.01);
    mt_tensor *u = mt_rand(MT_SHAPE(10000), -2, 6, MT_SPEC_F32, a), *n = mt_randint(3, 6, MT_SHAPE(1000), I64, a);
    assert_true(item(mt_amin(u, 0, false)) >= -2 && item(mt_amax(u, 0, false)) <= 6);
    assert_true(fabs(item(mt_mean(u, NULL, 0, false)) - 2) < 0.1);
    assert_true(item(mt_amin(n, 0, false)) == 3 && item(mt_amax(n, 0, false)) == 5);
    double share = item(mt_mean(mt_bernoulli(MT_SHAPE(10000), 0.3, MT_SPEC_F32, a), NULL, 0, false));
    assert_true(share > 0.27 && share < 0.33);
    mt_rng_free(a);
    mt_rng_free(b);
    ends_well(s);
}

static void host_memory_in_and_out(void **state) {
    (void)state;
    float hwc[2 * 2 * 3 * 3], back[36], chw[36];
    for (int i = 0; i < 36; i++) hwc[i] = (float)i;
    mt_scope *s = mt_scope_begin("host");
    mt_tensor *t = mt_from(hwc, MT_SHAPE(2, 3, 2, 3), F32_NHWC), *w = mt_wrap(hwc, MT_SHAPE(2, 3, 2, 3), F32_NHWC);
    assert_int_equal(mt_layout(t), MT_NHWC);
    assert_int_equal(mt_read(t, back, sizeof back, MT_F32, MT_NHWC), MI_OK);
    assert_memory_equal(back, hwc, sizeof back);
    assert_int_equal(mt_read(t, chw, sizeof chw, MT_F32, MT_NCHW), MI_OK);
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < 6; p++) assert_true(chw[(n * 3 + c) * 6 + p] == hwc[(n * 6 + p) * 3 + c]);
    assert_true(mt_hash(t) == mt_hash(mt_contig(t, MT_NCHW)));
    assert_ptr_equal(mt_data(w), hwc);
    hwc[0] = 100; /* the wrap sees it, the copy does not */
    assert_true(item(mt_amax(mt_flatten(w, 0), 0, false)) == 100);
    assert_true(item(mt_amax(mt_flatten(t, 0), 0, false)) == 35);
    expect_error(mt_read(t, back, 8, MT_F32, MT_NCHW), MI_E_INTERNAL, "8 bytes");
    mt_status();
    mi_error_clear();
    ends_well(s);
}

static void index_select_keeps_channels_last(void **state) {
    (void)state;
    const int64_t pick[3] = {2, 0, 2};
    mt_scope *s = mt_scope_begin("select");
    mt_tensor *x = mt_randn(MT_SHAPE(3, 4, 5, 6), F32_NHWC, rng), *plain = mt_contig(x, MT_NCHW);
    mt_tensor *idx = mt_from(pick, MT_SHAPE(3), I64);
    for (int dim = -4; dim < 4; dim++) {
        mt_tensor *a = mt_index_select(x, dim, idx), *b = mt_index_select(plain, dim, idx);
        assert_int_equal(mt_layout(a), MT_NHWC);
        assert_int_equal(mt_layout(b), MT_NCHW);
        assert_true(mt_hash(a) == mt_hash(b));
    }
    ends_well(s);
}

static void arithmetic_matches_plain_c(void **state) {
    (void)state;
    const double v[6] = {3, -1, 2, 0.5, 4, -2};
    mt_scope *s = mt_scope_begin("arithmetic");
    mt_tensor *t = mt_from(v, MT_SHAPE(2, 3), F64), *var, *mean, *val, *idx;
    assert_true(item(mt_sum(mt_affine(t, 2, 1), NULL, 0, false)) == 19);
    assert_true(item(mt_sum(mt_clamp(t, 0, INFINITY), NULL, 0, false)) == 9.5);
    assert_true(item(mt_sum(mt_clamp(t, -1, 1), NULL, 0, false)) == 1.5);
    assert_true(item(mt_select(mt_select(mt_sum(t, MT_DIMS(-1), true), 0, 1), 0, 0)) == 2.5);
    assert_true(fabs(item(mt_norm(t, 2, NULL, 0, false)) - sqrt(34.25)) < 1e-12);
    assert_int_equal(mt_var_mean(t, NULL, 0, true, &var, &mean), MI_OK);
    assert_true(fabs(item(mean) - 6.5 / 6) < 1e-12 && fabs(item(var) - (34.25 - 6.5 * 6.5 / 6) / 5) < 1e-12);
    assert_int_equal(mt_topk(t, 2, 1, &val, &idx), MI_OK);
    assert_true(item(mt_select(mt_select(val, 0, 1), 0, 1)) == 0.5 && item(mt_select(mt_select(idx, 0, 0), 0, 1)) == 2);
    assert_true(item(mt_select(mt_argmax(t, 1), 0, 1)) == 1);
    assert_true(fabs(item(mt_mean(mt_compare_scalar(t, 0, MT_GT), NULL, 0, false)) - 4.0 / 6) < 1e-6);
    mt_tensor *d = mt_cdist2(t, mt_narrow(t, 0, 1, 1)); /* [2,1] */
    assert_true(fabs(item(mt_select(mt_select(d, 0, 0), 0, 0)) - (6.25 + 25 + 16)) < 1e-5);
    assert_true(item(mt_select(mt_select(d, 0, 1), 0, 0)) == 0);
    assert_true(mt_all_finite(t));
    assert_false(mt_all_finite(mt_unary(mt_affine(t, -1, 0), MT_LOG)));
    mt_tensor *c = mt_clone(t);
    mt_lerp_(c, mt_zeros_like(t), 0.25);
    assert_true(fabs(item(mt_sum(c, NULL, 0, false)) - 6.5 * 0.75) < 1e-12);
    assert_int_equal(mt_size(mt_stride_slice(t, 1, MT_AUTO, MT_AUTO, 2), -1), 2);
    ends_well(s);
}

static void cross_entropy_with_any_smoothing(void **state) {
    (void)state;
    const double z[4] = {1, -0.5, 2, 0.25};
    const int64_t y[1] = {2};
    double top = 0, mean = 0;
    for (int i = 0; i < 4; i++) top += exp(z[i]);
    for (int i = 0; i < 4; i++) mean -= (z[i] - log(top)) / 4;
    mt_scope *s = mt_scope_begin("ce");
    mt_tensor *logits = mt_from(z, MT_SHAPE(1, 4), F64), *target = mt_from(y, MT_SHAPE(1), I64);
    for (double r = -0.6; r < 0.5; r += 0.3) {
        double want = (1 - r) * (log(top) - z[2]) + r * mean;
        assert_true(fabs(item(mt_cross_entropy(logits, target, r, MT_RED_MEAN)) - want) < 1e-12);
    }
    ends_well(s);
}

static void devices_are_named_or_refused(void **state) {
    (void)state;
    mt_device d;
    char name[128];
    assert_int_equal(mt_device_parse("cpu", &d), MI_OK);
    assert_int_equal(d.type, 0);
    assert_int_equal(mt_device_parse("auto", &d), MI_OK);
    assert_int_equal(d.type, mt_device_count() > 0 ? 1 : 0);
    expect_error(mt_device_parse("gpu", &d), MI_E_INPUT, "'gpu'");
    expect_error(mt_device_parse("cuda:", &d), MI_E_INPUT, "cuda:");
    expect_error(mt_device_parse("cuda:1x", &d), MI_E_INPUT, "cuda:1x");
    expect_error(mt_device_parse("cuda:77", &d), MI_E_DEVICE, "cuda:77");
    mt_device_name(MT_CPU, name, sizeof name);
    assert_non_null(strstr(name, "(2 threads)"));
    assert_null(mt_cuda_stream(MT_CPU));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forked_child_is_refused),
        cmocka_unit_test(live_handles_stay_constant),
        cmocka_unit_test(first_error_of_a_chain_is_kept),
        cmocka_unit_test(outer_scope_repeats_the_status_of_an_inner_one),
        cmocka_unit_test(a_null_without_a_cause_is_reported),
        cmocka_unit_test(misuse_of_handles_is_named),
        cmocka_unit_test(keep_pass_drop_set),
        cmocka_unit_test(random_streams_repeat),
        cmocka_unit_test(host_memory_in_and_out),
        cmocka_unit_test(index_select_keeps_channels_last),
        cmocka_unit_test(arithmetic_matches_plain_c),
        cmocka_unit_test(cross_entropy_with_any_smoothing),
        cmocka_unit_test(devices_are_named_or_refused),
    };
    return cmocka_run_group_tests(tests, tensor_setup, tensor_teardown);
}
