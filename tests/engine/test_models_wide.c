/* test_models_wide.c - MaxViT-T and the Inception networks against the public PyTorch ones: numbers of a forward and a
 * backward pass with synthetic weights at the sizes the papers use, the choices of Inception-V3, the table of MaxViT
 * that a file must bring, stochastic depth, and the work of a pass beside the published figures. */
#include "tests/engine/golden_test.h"

#include <unistd.h>

NUMBERS(maxvit_eval, "maxvit_t,head_bias=no", "eval", 13)
NUMBERS(maxvit_train, "maxvit_t,head_bias=no", "train", 17)
NUMBERS(inception_v3_eval, "inception_v3,transform_input=no", "eval", 13)
NUMBERS(inception_v3_train, "inception_v3,transform_input=no", "train", 18)
NUMBERS(inception_v3_transforms_its_input, "inception_v3", "eval", 13)
NUMBERS(inception_fid_eval, "inception_fid", "eval", 13)
NUMBERS(inception_resnet_v1_eval, "inception_resnet_v1", "eval", 13)
NUMBERS(inception_resnet_v1_train, "inception_resnet_v1", "train", 17)

static struct mi_forward_out forward(struct mi_model *m, int n) {
    struct mi_forward_out out;
    mt_rng *r = mt_rng_new(MT_CPU, 5);
    mt_tensor *x = mt_rand(MT_SHAPE(n, 3, m->size, m->size), -1.0, 1.0, MT_SPEC_F32, r);
    mt_rng_free(r);
    if (mi_model_forward(m, x, false, &out) != MI_OK) fail_msg("%s: %s", m->desc->info.name, mi_error_text());
    return out;
}

/* Multiply-accumulates of one image in units of 10^9, as counted in PyTorch's own networks. */
static void work_of_a_pass_is_the_published(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int size, classes;
        double gmac;
    } net[] = {
        {"maxvit_t", 224, 1000, 5.558}, {"inception_resnet_v1", 160, 8631, 1.422}, {"inception_v3", 299, 1000, 5.713}};
    for (int i = 0; i < 3; i++) {
        mt_scope *s = mt_scope_begin("work");
        bool grad = mt_grad_mode(false);
        struct mi_model *m = model_new(net[i].name, net[i].classes, net[i].size, 0.0);
        mt_macs_begin();
        forward(m, 1);
        double gmac = mt_macs_end() * 1e-9;
        if (fabs(gmac - net[i].gmac) > 0.0006)
            fail_msg("%s: %.4f GMAC, published %.3f", net[i].name, gmac, net[i].gmac);
        mi_model_free(m);
        mt_grad_mode(grad);
        assert_int_equal(mt_scope_end(s), MI_OK);
    }
}

static void expect_refusal(const char *net, int classes, const char *advice) {
    struct mi_forward_out out;
    struct mi_model *m = model_new(net, classes, 75, 0.0);
    m->train = true;
    mt_tensor *x = mt_zeros(MT_SHAPE(2, 3, 75, 75), MT_SPEC_F32);
    assert_int_equal(mi_model_forward(m, x, false, &out), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), advice));
    mi_error_clear();
    mi_model_free(m);
}

static void auxiliary_head_follows_its_setting(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("aux");
    bool grad = mt_grad_mode(false);
    struct mi_model *m = model_new("inception_v3,aux_head=classes", 17, 299, 0.0);
    m->train = true;
    assert_int_equal(mt_size(forward(m, 2).aux_logits, 1), 17);
    m->train = false;
    assert_null(forward(m, 1).aux_logits);
    mi_model_free(m);
    m = model_new("inception_v3,aux_head=none", 17, 75, 0.0);
    assert_null(mi_params_find(m->params, "AuxLogits.fc.weight"));
    m->train = true;
    assert_null(forward(m, 2).aux_logits);
    mi_model_free(m);
    expect_refusal("inception_v3", 17, "aux_head = none");      /* the map is too small for the head */
    expect_refusal("inception_v3", 1001, "aux_head = classes"); /* the head has too few outputs */
    mt_grad_mode(grad);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void first_values_are_the_published_distributions(void **state) {
    (void)state;
    static const struct {
        const char *net, *key;
        int size;
        double std;
    } row[] = {{"inception_v3", "Mixed_6b.branch7x7_2.conv.weight", 75, 0.1},
               {"inception_v3", "AuxLogits.fc.weight", 75, 0.001},
               {"inception_v3", "AuxLogits.fc.bias", 75, 0.0208333}, /* uniform within 1/sqrt(768) */
               {"maxvit_t,head_bias=no", "blocks.2.layers.1.layers.grid_attention.mlp_layer.1.weight", 224, 0.02},
               {"maxvit_t,head_bias=no", "blocks.2.layers.1.layers.MBconv.layers.conv_a.0.weight", 224, 0.02},
               {"maxvit_t,head_bias=no",
                "blocks.3.layers.0.layers.window_attention.attn_layer.1.relative_position_bias_table", 224, 0.02},
               {"maxvit_t,head_bias=no", "classifier.5.weight", 224, 0.02},
               {"inception_resnet_v1", "mixed_6a.branch1.1.conv.weight", 75, 0.0138889}}; /* within 1/sqrt(192 * 9) */
    mt_scope *s = mt_scope_begin("init");
    struct mi_model *m = NULL;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (i == 0 || strcmp(row[i].net, row[i - 1].net) != 0) {
            mi_model_free(m);
            m = model_new(row[i].net, 1000, row[i].size, 0.0);
        }
        mt_tensor *t = mi_params_find(m->params, row[i].key);
        double n = (double)mt_numel(t), want = row[i].std * sqrt(n);
        if (fabs(l2(t) / want - 1.0) > 4.0 / sqrt(n)) fail_msg("%s: norm %g, expected %g", row[i].key, l2(t), want);
    }
    mi_model_free(m);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void a_file_with_another_position_table_is_refused(void **state) {
    (void)state;
    static const char key[] = "blocks.1.layers.0.layers.grid_attention.attn_layer.1.relative_position_index";
    const char *dir = getenv("TEST_TMP");
    char *path = mi_format("%s/position.%d.safetensors", dir ? dir : "/tmp", (int)getpid());
    mt_scope *s = mt_scope_begin("table");
    struct mi_model *m = model_new("maxvit_t", 5, 224, 0.0);
    int64_t value[49 * 49];
    assert_int_equal(mt_read(mi_params_find(m->params, key), value, sizeof value, MT_I64, MT_NCHW), MI_OK);
    assert_true(value[0] == 84 && value[48] == 0 && value[48 * 49] == 168);
    for (int wrong = 0; wrong < 2; wrong++) {
        value[7] += wrong;
        mt_tensor *table = mt_from(value, MT_SHAPE(49, 49), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
        mt_archive *file = mt_archive_create(path);
        for (int i = 0; i < m->params->n; i++) {
            const struct mi_named *item = &m->params->item[i];
            mt_tensor *t = strcmp(item->name, key) == 0 ? table : item->t;
            assert_int_equal(mt_archive_put(file, item->name, t), MI_OK);
        }
        assert_int_equal(mt_archive_close(file), MI_OK);
        file = mt_archive_open(path);
        assert_int_equal(mi_params_load(m->params, file, ""), wrong ? MI_E_INPUT : MI_OK);
        if (wrong) assert_non_null(strstr(mi_error_text(), key));
        mi_error_clear();
        mt_archive_close(file);
    }
    unlink(path);
    free(path);
    mi_model_free(m);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* Which branches are left out is drawn anew in every pass, and again the same from the same seed. */
static void stochastic_depth_repeats_with_its_seed(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("depth");
    bool grad = mt_grad_mode(false);
    struct mi_model *m = model_new("maxvit_t", 5, 224, 0.5);
    m->train = true;
    mt_tensor *seen[3];
    for (int i = 0; i < 3; i++) {
        mt_rng_seed(m->rng, i == 1 ? 2 : 1);
        seen[i] = forward(m, 2).logits;
    }
    assert_true(mt_hash(seen[0]) == mt_hash(seen[2]));
    assert_true(mt_hash(seen[0]) != mt_hash(seen[1]));
    mi_model_free(m);
    mt_grad_mode(grad);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* test_models_wide [PATTERN]: only the tests whose names fit, as "maxvit*". */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maxvit_eval),
        cmocka_unit_test(maxvit_train),
        cmocka_unit_test(inception_v3_eval),
        cmocka_unit_test(inception_v3_train),
        cmocka_unit_test(inception_v3_transforms_its_input),
        cmocka_unit_test(inception_fid_eval),
        cmocka_unit_test(inception_resnet_v1_eval),
        cmocka_unit_test(inception_resnet_v1_train),
        cmocka_unit_test(work_of_a_pass_is_the_published),
        cmocka_unit_test(auxiliary_head_follows_its_setting),
        cmocka_unit_test(first_values_are_the_published_distributions),
        cmocka_unit_test(a_file_with_another_position_table_is_refused),
        cmocka_unit_test(stochastic_depth_repeats_with_its_seed),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
