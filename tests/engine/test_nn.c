/* test_nn.c - the parameter store, layers, initialisation and model instances: what they promise beyond the parity of
 * single networks (test_models.c). */
#include "tests/engine/nn_test.h"

/* ---- store and builder ------------------------------------------------------------------------------------- */

static void builder_names_and_layout(void **state) {
    (void)state;
    struct mi_params *ps = mi_params_new(MT_CPU, MT_NHWC);
    struct mi_builder b;
    struct mi_conv c;
    mi_builder_init(&b, ps, 1);
    mi_builder_push(&b, "a");
    mi_builder_push(&b, "0");
    mi_conv_new(&b, &c, "conv", 8, 16, 3, MT_CONV(1, 1), true, MI_INIT_DEFAULT);
    mi_builder_pop(&b);
    assert_string_equal(b.prefix, "a.");
    mi_builder_pop(&b);
    assert_string_equal(b.prefix, "");
    assert_int_equal(ps->n, 2);
    assert_string_equal(ps->item[0].name, "a.0.conv.weight");
    assert_string_equal(ps->item[1].name, "a.0.conv.bias");
    assert_int_equal(mt_layout(c.w), MT_NHWC);
    assert_ptr_equal(mi_params_find(ps, "a.0.conv.weight"), c.w);
    assert_null(mi_params_find(ps, "a.0.conv"));
    assert_int_equal(mi_params_count(ps, true), 16 * 8 * 9 + 16);
    mi_params_free(ps);
}

static void duplicate_names_are_refused(void **state) {
    (void)state;
    struct mi_params *ps = mi_params_new(MT_CPU, MT_NHWC);
    struct mi_builder b;
    mi_builder_init(&b, ps, 1);
    assert_non_null(mi_param_new(&b, "w", MT_SHAPE(4), MI_PARAM));
    assert_null(mi_param_new(&b, "w", MT_SHAPE(4), MI_PARAM));
    assert_true(mt_failed());
    assert_int_equal(mt_status(), MI_E_INTERNAL);
    mi_error_clear();
    assert_int_equal(ps->n, 1);
    mi_params_free(ps);
}

struct spread {
    double mean, std, least, most;
};

static struct spread spread_of(enum mi_init how, int64_t fan_in, int64_t fan_out) {
    mt_tensor *t = mt_zeros(MT_SHAPE(100, 400), MT_SPEC_F32);
    struct mi_rng r = mi_rng_make(3, "test", (uint64_t)how, 0);
    mi_init_tensor(t, how, fan_in, fan_out, &r);
    static float v[40000];
    assert_int_equal(mt_read(t, v, sizeof v, MT_F32, MT_NCHW), MI_OK);
    struct spread s = {0, 0, v[0], v[0]};
    for (int i = 0; i < 40000; i++) {
        s.mean += v[i] / 40000.0;
        s.std += (double)v[i] * v[i] / 40000.0;
        s.least = fmin(s.least, v[i]);
        s.most = fmax(s.most, v[i]);
    }
    s.std = sqrt(s.std - s.mean * s.mean);
    return s;
}

static void initial_values_follow_the_published_distributions(void **state) {
    (void)state;
    struct spread d = spread_of(MI_INIT_DEFAULT, 400, 100);
    assert_true(d.most <= 0.05 && d.most > 0.0499 && d.least >= -0.05 && d.least < -0.0499);
    assert_float_equal(d.std, 0.05 / sqrt(3.0), 3e-4);
    struct spread k = spread_of(MI_INIT_KAIMING_FAN_OUT, 400, 100);
    assert_float_equal(k.std, sqrt(2.0 / 100.0), 2e-3);
    assert_true(k.most > 3.0 * k.std); /* a normal, not a uniform */
    struct spread x = spread_of(MI_INIT_XAVIER, 400, 100);
    double bound = sqrt(6.0 / 500.0);
    assert_true(x.most <= bound && x.most > 0.998 * bound);
    struct spread n = spread_of(MI_INIT_NORMAL_001, 400, 100);
    assert_float_equal(n.std, 0.01, 2e-4);
    assert_float_equal(n.mean, 0.0, 2e-4);
    assert_true(spread_of(MI_INIT_ONES, 1, 1).least == 1.0 && spread_of(MI_INIT_ZEROS, 1, 1).most == 0.0);
}

static void same_seed_same_network(void **state) {
    (void)state;
    struct mi_model *a = quick("quick", 10, 64, 5), *b = quick("quick", 10, 64, 5), *c = quick("quick", 10, 64, 6);
    int differs = 0;
    for (int i = 0; i < a->params->n; i++) {
        assert_true(mt_hash(a->params->item[i].t) == mt_hash(b->params->item[i].t));
        differs += mt_hash(a->params->item[i].t) != mt_hash(c->params->item[i].t);
    }
    assert_true(differs >= 5);
    mi_model_free(a);
    mi_model_free(b);
    mi_model_free(c);
}

/* ---- gradients and modes ----------------------------------------------------------------------------------- */

static int with_gradient(const struct mi_model *m) {
    int n = 0;
    for (int i = 0; i < m->params->n; i++) n += mt_grad(m->params->item[i].t) != MT_NONE;
    return n;
}

static void training_reaches_every_trainable_weight(void **state) {
    (void)state;
    static const char *const name[] = {"quick", "quickres"};
    for (int k = 0; k < 2; k++) {
        struct mi_model *m = quick(name[k], 10, 64, 1);
        m->train = true;
        assert_int_equal(mt_backward(loss_of(m, images(4, 64, 2)), false), MI_OK);
        mt_tensor *trained[128];
        int n = mi_params_trainable(m->params, trained, 128);
        assert_true(n > 10 && n <= 128);
        assert_int_equal(with_gradient(m), n);
        for (int i = 0; i < n; i++) assert_true(l2(mt_grad(trained[i])) > 0.0);
        mi_model_free(m);
    }
}

static void freezing_leaves_no_weight_gradient(void **state) {
    (void)state;
    struct mi_model *m = quick("quick", 10, 64, 1);
    mi_params_freeze(m->params, true);
    mt_tensor *x = images(3, 64, 2);
    mt_requires_grad_(x, true);
    assert_int_equal(mt_backward(loss_of(m, x), false), MI_OK);
    assert_int_equal(with_gradient(m), 0);
    assert_true(l2(mt_grad(x)) > 0.0);
    mi_params_freeze(m->params, false);
    assert_int_equal(mt_backward(loss_of(m, images(3, 64, 2)), false), MI_OK);
    assert_int_equal(with_gradient(m), mi_params_trainable(m->params, NULL, 0));
    mi_params_freeze(m->params, true); /* also drops what training left behind */
    assert_int_equal(with_gradient(m), 0);
    mi_model_free(m);
}

static void part_of_a_network_can_be_fixed(void **state) {
    (void)state;
    struct mi_model *m = quick("vgg16", 5, 64, 1);
    int all = mi_params_trainable(m->params, NULL, 0),
        matched = mi_params_set_trainable(m->params, "feature.0.", false);
    assert_int_equal(matched, 2);
    assert_int_equal(mi_params_trainable(m->params, NULL, 0), all - 2);
    assert_false(mt_requires_grad(mi_params_find(m->params, "feature.0.weight")));
    assert_int_equal(mi_params_set_trainable(m->params, "bn.", true), 1); /* bn.bias is fixed for good */
    assert_false(mt_requires_grad(mi_params_find(m->params, "bn.bias")));
    mi_params_freeze(m->params, true);
    mi_params_freeze(m->params, false); /* back to what was trainable, not to everything */
    assert_false(mt_requires_grad(mi_params_find(m->params, "feature.0.weight")));
    assert_true(mt_requires_grad(mi_params_find(m->params, "feature.3.weight")));
    mi_model_free(m);
}

static void batch_norm_moves_only_in_training(void **state) {
    (void)state;
    struct mi_model *m = quick("quick", 10, 64, 1);
    mt_tensor *mean = mi_params_find(m->params, "stem.1.running_mean"),
              *var = mi_params_find(m->params, "bn.running_var");
    mt_tensor *count = mi_params_find(m->params, "bn.num_batches_tracked");
    uint64_t mean0 = mt_hash(mean), var0 = mt_hash(var);
    loss_of(m, images(4, 64, 2));
    assert_true(mt_hash(mean) == mean0 && mt_hash(var) == var0);
    assert_true(number(count) == 0.0);
    m->train = true;
    loss_of(m, images(4, 64, 2));
    loss_of(m, images(4, 64, 3));
    assert_true(mt_hash(mean) != mean0 && mt_hash(var) != var0);
    assert_true(number(count) == 2.0);
    assert_int_equal(mt_dtype_of(count), MT_I64);
    mi_model_free(m);
}

static void dropout_repeats_with_its_seed_and_rests_in_evaluation(void **state) {
    (void)state;
    struct mi_values *v = mi_values_new("quick", mi_model_find("quick")->info.settings);
    assert_int_equal(mi_values_set(v, "dropout", "0.5"), MI_OK);
    struct mi_model *m = mi_model_new("quick", v, 10, 64, MT_CPU, 1);
    mi_values_free(v);
    assert_non_null(m);
    mt_tensor *x = images(4, 64, 2);
    m->train = true;
    mt_rng_seed(m->rng, 9);
    double a = number(loss_of(m, x));
    double other = number(loss_of(m, x));
    mt_rng_seed(m->rng, 9);
    assert_true(number(loss_of(m, x)) == a);
    assert_true(other != a);
    m->train = false;
    assert_true(number(loss_of(m, x)) == number(loss_of(m, x)));
    mi_model_free(m);
}

/* ---- model instances --------------------------------------------------------------------------------------- */

static void wrong_requests_are_explained(void **state) {
    (void)state;
    assert_null(mi_model_new("vgg61", NULL, 10, 64, MT_CPU, 1));
    assert_int_equal(mi_error_status(), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "vgg16"));
    mi_error_clear();
    assert_null(mi_model_new("vgg16", NULL, 10, 60, MT_CPU, 1));
    assert_non_null(strstr(mi_error_text(), "60 px"));
    mi_error_clear();
    struct mi_model *m = quick("quick", 10, 64, 1);
    struct mi_forward_out out;
    assert_int_not_equal(mi_model_forward(m, mt_zeros(MT_SHAPE(2, 3, 32, 32), MT_SPEC_F32), false, &out), MI_OK);
    assert_non_null(strstr(mi_error_text(), "64"));
    mi_error_clear();
    mi_model_free(m);
}

static void every_model_keeps_its_word(void **state) {
    (void)state;
    for (int i = 0; mi_model_table[i]; i++) {
        const struct mi_model_desc *d = mi_model_table[i];
        assert_ptr_equal(mi_model_find(d->info.name), d);
        assert_true(d->native_size >= d->min_size && d->native_size <= d->max_size);
        int size = d->min_size;
        struct mi_model *m = quick(d->info.name, 7, size, 1);
        mi_params_freeze(m->params, true);
        struct mi_forward_out out;
        mt_tensor *x = images(2, size, 1);
        if (mi_model_forward(m, x, true, &out) != MI_OK) fail_msg("%s: %s", d->info.name, mi_error_text());
        assert_int_equal(mt_size(out.features, 1), m->feature_width);
        assert_int_equal(mt_size(out.logits, 1), 7);
        assert_true(mt_all_finite(out.logits));
        int taps = 0;
        while (d->taps && d->taps[taps]) taps++;
        assert_true(taps <= MI_MAX_TAPS);
        for (int t = 0; t < MI_MAX_TAPS; t++) {
            if (t >= taps)
                assert_null(out.tap[t]);
            else
                assert_int_equal(mt_size(out.tap[t], 0), 2);
        }
        char head[64];
        snprintf(head, sizeof head, "%s.weight", d->head);
        assert_int_equal(mt_size(mi_params_find(m->params, head), 0), 7);
        struct mi_forward_out plain; /* taps change nothing; rows do not see each other in evaluation */
        assert_int_equal(mi_model_forward(m, mt_narrow(x, 0, 1, 1), false, &plain), MI_OK);
        assert_null(plain.tap[0]);
        assert_true(distance(plain.logits, mt_narrow(out.logits, 0, 1, 1)) < 1e-4);
        mi_model_free(m);
        mt_scope_end(scope); /* the next network starts with an empty scope */
        scope = mt_scope_begin("test");
    }
}

static void layout_does_not_change_the_numbers(void **state) {
    (void)state;
    struct mi_model *m = quick("quickres", 10, 64, 1);
    mt_tensor *x = images(2, 64, 2);
    struct mi_forward_out a, b;
    assert_int_equal(mi_model_forward(m, x, false, &a), MI_OK);
    assert_int_equal(mi_model_forward(m, mt_contig(x, MT_NCHW), false, &b), MI_OK);
    assert_true(distance(a.logits, b.logits) < 1e-6);
    mi_model_free(m);
}

static void mixed_precision_gives_f32_results_close_by(void **state) {
    (void)state;
    struct mi_model *m = quick("quick", 10, 32, 1);
    mt_tensor *x = images(4, 32, 2);
    struct mi_forward_out exact, mixed;
    assert_int_equal(mi_model_forward(m, x, true, &exact), MI_OK);
    m->precision = MT_BF16;
    assert_int_equal(mi_model_forward(m, x, true, &mixed), MI_OK);
    assert_false(mt_autocast_on());
    assert_int_equal(mt_dtype_of(mixed.logits), MT_F32);
    assert_int_equal(mt_dtype_of(mixed.features), MT_F32);
    assert_int_equal(mt_dtype_of(mixed.tap[0]), MT_BF16);
    double off = distance(mixed.logits, exact.logits);
    assert_true(off < 0.05 && off > 0.0);
    m->train = true;
    assert_int_equal(mt_backward(loss_of(m, x), false), MI_OK);
    assert_int_equal(mt_dtype_of(mt_grad(mi_params_find(m->params, "stem.0.weight"))), MT_F32);
    mi_model_free(m);
}

/* Layers keep their handles, so the whole network computes in the new type and answers in it. */
static void a_network_cast_to_f64_computes_in_it(void **state) {
    (void)state;
    struct mi_model *m = quick("quickres", 5, 64, 1);
    mt_tensor *x = images(2, 64, 1), *weight = mi_params_find(m->params, "fc_layer.weight");
    struct mi_forward_out single, twice;
    assert_int_equal(mi_model_forward(m, x, false, &single), MI_OK);
    mt_tensor *rounded = mt_detach(single.logits);
    assert_int_equal(mt_backward(mt_sum(single.logits, NULL, 0, false), false), MI_OK);
    assert_int_equal(mi_params_cast(m->params, MT_F64), MI_OK);
    assert_ptr_equal(weight, mi_params_find(m->params, "fc_layer.weight"));
    assert_int_equal(mt_dtype_of(weight), MT_F64);
    assert_true(mt_requires_grad(weight));
    assert_ptr_equal(mt_grad(weight), MT_NONE);
    assert_int_equal(mt_dtype_of(mi_params_find(m->params, "bn.num_batches_tracked")), MT_I64);
    assert_int_equal(mi_model_forward(m, mt_cast(x, MT_F64), false, &twice), MI_OK);
    assert_int_equal(mt_dtype_of(twice.logits), MT_F64);
    assert_int_equal(mt_dtype_of(twice.features), MT_F64);
    double off = distance(mt_cast(rounded, MT_F64), twice.logits);
    assert_true(off > 0 && off < 1e-5);
    assert_null(mt_cast_(twice.logits, MT_F32));
    assert_int_equal(mt_status(), MI_E_INTERNAL);
    assert_non_null(strstr(mi_error_text(), "only a leaf"));
    mi_error_clear();
    mi_model_free(m);
}

static void normalisation_is_per_channel_and_differentiable(void **state) {
    (void)state;
    struct mi_model_desc d = {.mean = {0.1f, 0.2f, 0.3f}, .std = {0.5f, 0.25f, 1.0f}};
    struct mi_model m = {.desc = &d};
    mt_tensor *x = images(2, 4, 2);
    mt_requires_grad_(x, true);
    mt_tensor *y = mi_model_normalise(&m, x);
    assert_int_equal(mt_layout(y), mt_layout(x));
    assert_int_equal(mt_backward(mt_sum(y, NULL, 0, false), false), MI_OK);
    for (int c = 0; c < 3; c++) {
        mt_tensor *want = mt_affine(mt_narrow(x, 1, c, 1), 1.0 / d.std[c], -d.mean[c] / d.std[c]);
        assert_true(distance(mt_narrow(y, 1, c, 1), want) < 1e-6);
        assert_true(fabs(number(mt_mean(mt_narrow(mt_grad(x), 1, c, 1), NULL, 0, false)) - 1.0 / d.std[c]) < 1e-5);
    }
    struct mi_model_desc raw = {.std = {1, 1, 1}}, half = {.mean = {.5f, .5f, .5f}, .std = {.5f, .5f, .5f}};
    m.desc = &raw;
    assert_ptr_equal(mi_model_normalise(&m, x), x);
    m.desc = &half;
    assert_true(distance(mi_model_normalise(&m, x), mt_affine(x, 2.0, -1.0)) < 1e-6);
}

static void frozen_transposed_convolution_is_the_same_function(void **state) {
    (void)state;
    struct mi_params *ps = mi_params_new(MT_CPU, MT_NHWC);
    struct mi_builder b;
    struct mi_deconv c;
    mi_builder_init(&b, ps, 1);
    mt_convp p = MT_CONV(2, 2);
    p.outpad[0] = p.outpad[1] = 1;
    mi_deconv_new(&b, &c, "up", 12, 6, 5, p, true);
    mt_rng *r = mt_rng_new(MT_CPU, 1);
    mt_tensor *x = mt_randn(MT_SHAPE(2, 12, 7, 7), MT_SPEC_F32, r);
    mt_rng_free(r);
    mt_tensor *y = mi_deconv(&c, x);
    assert_int_equal(mt_size(y, 2), 14);
    mi_deconv_freeze(&c, true);
    assert_true(distance(mi_deconv(&c, x), y) < 1e-5);
    mi_deconv_freeze(&c, false);
    assert_null(c.subpixel);
    mi_params_free(ps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(builder_names_and_layout),
        TEST(duplicate_names_are_refused),
        TEST(initial_values_follow_the_published_distributions),
        TEST(same_seed_same_network),
        TEST(training_reaches_every_trainable_weight),
        TEST(freezing_leaves_no_weight_gradient),
        TEST(part_of_a_network_can_be_fixed),
        TEST(batch_norm_moves_only_in_training),
        TEST(dropout_repeats_with_its_seed_and_rests_in_evaluation),
        TEST(wrong_requests_are_explained),
        TEST(every_model_keeps_its_word),
        TEST(layout_does_not_change_the_numbers),
        TEST(mixed_precision_gives_f32_results_close_by),
        TEST(a_network_cast_to_f64_computes_in_it),
        TEST(normalisation_is_per_channel_and_differentiable),
        TEST(frozen_transposed_convolution_is_the_same_function),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
