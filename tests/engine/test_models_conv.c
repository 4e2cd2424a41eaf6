/* test_models_conv.c - DenseNet, ResNeSt, EfficientNet and MIRROR's ResNet-50 against the public PyTorch networks: a
 * forward and a backward pass with synthetic weights (golden_test.h), and what golden numbers cannot show: stochastic
 * depth leaves out whole branches, image by image, at the promised rate, and keeps the mean. */
#include "tests/engine/golden_test.h"

NUMBERS(densenet121_eval, "densenet121", "eval", 13)
NUMBERS(densenet121_train, "densenet121", "train", 17)
NUMBERS(densenet169_eval, "densenet169", "eval", 13)
NUMBERS(resnest101_eval, "resnest101", "eval", 13)
NUMBERS(mirror_eval, "resnet50_mirror", "eval", 13)
NUMBERS(mirror_train, "resnet50_mirror", "train", 17)
NUMBERS(efficientnet_b0_eval, "efficientnet_b0", "eval", 13)
NUMBERS(efficientnet_b0_train, "efficientnet_b0", "train", 17)
NUMBERS(efficientnet_b1_eval, "efficientnet_b1", "eval", 13)
NUMBERS(efficientnet_b2_eval, "efficientnet_b2", "eval", 13)

/* A branch of ones: every image becomes all 0 or all 1/(1-p). */
static void stochastic_depth_drops_whole_images(void **state) {
    (void)state;
    enum { N = 4000, C = 3 };
    const float p = 0.25f;
    static float got[N * C];
    mt_scope *s = mt_scope_begin("drop path");
    mt_rng *rng = mt_rng_new(MT_CPU, 5);
    mt_tensor *x = mt_full(MT_SHAPE(N, C, 1, 1), 1.0, MT_SPEC_F32);
    assert_ptr_equal(mi_drop_path(x, 0.0, rng), x);
    assert_int_equal(mt_read(mi_drop_path(x, (double)p, rng), got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    int kept = 0;
    for (int i = 0; i < N; i++) {
        assert_true(got[i * C] == 0.0f || fabsf(got[i * C] - 1.0f / (1.0f - p)) < 1e-6f);
        for (int c = 1; c < C; c++) assert_true(got[i * C + c] == got[i * C]);
        kept += got[i * C] != 0.0f;
    }
    assert_in_range(kept, 2863, 3137); /* 3000 +- 5 standard deviations */
    mt_rng_free(rng);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static double logits_apart(struct mi_model *m, mt_tensor *x, bool train) {
    double off = NAN;
    struct mi_forward_out a, b;
    m->train = train;
    assert_int_equal(mi_model_forward(m, x, false, &a), MI_OK);
    assert_int_equal(mi_model_forward(m, x, false, &b), MI_OK);
    assert_int_equal(mt_item(mt_norm(mt_sub(a.logits, b.logits), 2.0, NULL, 0, false), &off), MI_OK);
    return off;
}

static void efficientnet_is_random_in_training_only(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("random");
    bool grad = mt_grad_mode(false);
    struct mi_model *m = model_new("efficientnet_b0", 5, 32, 0.5), *off = model_new("efficientnet_b0", 5, 32, 0.0);
    mt_tensor *x = golden_input(4, 32);
    assert_true(logits_apart(m, x, true) > 0.0);
    assert_true(logits_apart(m, x, false) == 0.0);
    assert_true(logits_apart(off, x, true) == 0.0);
    mt_grad_mode(grad);
    mi_model_free(m);
    mi_model_free(off);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* Taps by their promised shapes, at the smallest size; the answer does not depend on asking for them. */
static void taps_have_the_shapes_of_their_stages(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int taps, width[MI_MAX_TAPS], side[MI_MAX_TAPS];
    } want[] = {{"densenet121", 4, {256, 512, 1024, 1024}, {8, 4, 2, 1}},
                {"resnest101", 4, {256, 512, 1024, 2048}, {8, 4, 2, 1}},
                {"resnet50_mirror", 4, {256, 512, 1024, 2048}, {8, 4, 2, 1}},
                {"efficientnet_b2", 7, {16, 24, 48, 88, 120, 208, 352}, {16, 8, 4, 2, 2, 1, 1}}};
    bool grad = mt_grad_mode(false);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        mt_scope *s = mt_scope_begin("taps");
        struct mi_model *m = model_new(want[k].name, 5, 32, 0.0);
        mt_tensor *x = golden_input(2, 32);
        struct mi_forward_out with, without;
        assert_int_equal(mi_model_forward(m, x, true, &with), MI_OK);
        assert_int_equal(mi_model_forward(m, x, false, &without), MI_OK);
        assert_true(mt_hash(with.logits) == mt_hash(without.logits));
        for (int i = 0; i < want[k].taps; i++) {
            assert_non_null(m->desc->taps[i]);
            assert_int_equal(mt_size(with.tap[i], 1), want[k].width[i]);
            assert_int_equal(mt_size(with.tap[i], 2), want[k].side[i]);
            assert_true(mt_all_finite(with.tap[i]));
        }
        assert_null(m->desc->taps[want[k].taps]);
        mi_model_free(m);
        assert_int_equal(mt_scope_end(s), MI_OK);
    }
    mt_grad_mode(grad);
}

/* test_models_conv [PATTERN]: only the tests whose names fit, as "densenet*". */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stochastic_depth_drops_whole_images),
        cmocka_unit_test(efficientnet_is_random_in_training_only),
        cmocka_unit_test(taps_have_the_shapes_of_their_stages),
        cmocka_unit_test(densenet121_eval),
        cmocka_unit_test(densenet121_train),
        cmocka_unit_test(densenet169_eval),
        cmocka_unit_test(resnest101_eval),
        cmocka_unit_test(mirror_eval),
        cmocka_unit_test(mirror_train),
        cmocka_unit_test(efficientnet_b0_eval),
        cmocka_unit_test(efficientnet_b0_train),
        cmocka_unit_test(efficientnet_b1_eval),
        cmocka_unit_test(efficientnet_b2_eval),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
