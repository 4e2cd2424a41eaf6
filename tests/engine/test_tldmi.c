/* tests/engine/test_tldmi.c - TL-DMI's freeze plans on every architecture that states one, and that frozen means
 * bit-identical: weights always, running statistics when asked. */
#include "nn_test.h"

#include "midre/spec.h"
#include "midre/train.h"

static struct mi_spec *spec;
static struct mi_defenses ds;

static enum mi_status open_with(const char *setting, const char *composition) {
    const char *overrides[] = {"defense.tldmi.random_start=yes", setting};
    spec = mi_spec_parse("", "test", overrides, setting ? 2 : 1);
    if (!spec) fail_msg("%s", mi_error_text());
    return mi_defenses_open(&ds, composition, spec);
}

static void close_all(struct mi_model *m) {
    mi_model_free(m);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
    spec = NULL;
}

static struct mi_model *prepared(const char *model, int size, const char *setting) {
    assert_int_equal(open_with(setting, "tldmi"), MI_OK);
    struct mi_model *m = quick(model, 7, size, 3);
    if (mi_defenses_prepare(&ds, m) != MI_OK) fail_msg("%s: %s", model, mi_error_text());
    return m;
}

static bool learns(const struct mi_model *m, const char *name) {
    for (int i = 0; i < m->params->n; i++)
        if (strcmp(m->params->item[i].name, name) == 0) {
            assert_true(mt_requires_grad(m->params->item[i].t) == m->params->item[i].trainable);
            return m->params->item[i].trainable;
        }
    fail_msg("no parameter %s", name);
    return false;
}

static int64_t frozen(const struct mi_model *m) {
    return mi_params_count(m->params, false) - mi_params_count(m->params, true);
}

/* vgg16_bn: modules 0..26 hold 2 918 976 parameters; the fixed bias of the last BatchNorm is not theirs. */
static void published_plans(void **state) {
    (void)state;
    struct mi_model *m = prepared("vgg16", 64, NULL);
    assert_int_equal(frozen(m) - 2048, 2918976);
    assert_false(learns(m, "feature.0.weight"));
    assert_false(learns(m, "feature.24.weight"));
    assert_false(learns(m, "feature.25.bias"));
    assert_true(learns(m, "feature.27.weight"));
    assert_true(learns(m, "bn.weight"));
    assert_true(learns(m, "fc_layer.weight"));
    int fixed = 0;
    for (int i = 0; i < m->params->n_layers; i++)
        fixed += m->params->layer[i].kind == MI_LAYER_BN && ((struct mi_bn *)m->params->layer[i].at)->fixed;
    assert_int_equal(fixed, 8);
    close_all(m);
    m = prepared("facenet64", 64, NULL);
    assert_false(learns(m, "feature.input_layer.0.weight")); /* the released slip left the stem trainable */
    assert_false(learns(m, "feature.body.5.res_layer.1.weight"));
    assert_true(learns(m, "feature.body.6.res_layer.1.weight"));
    close_all(m);
    m = prepared("resnet18", 64, NULL);
    assert_false(learns(m, "layer3.1.conv2.weight"));
    assert_true(learns(m, "layer4.0.conv1.weight"));
    close_all(m);
}

/* Names after the first are exceptions: so the trainable stem of the released code can be had too. */
static void further_names_learn(void **state) {
    (void)state;
    struct mi_model *m = prepared("quickres", 32, "defense.tldmi.until=layer2, stem");
    assert_true(learns(m, "stem.0.weight"));
    assert_false(learns(m, "layer1.0.conv1.weight"));
    close_all(m);
    m = prepared("quick", 32, "defense.tldmi.until=stage2.0");
    assert_false(learns(m, "stage1.0.weight"));
    assert_true(learns(m, "stage2.0.weight"));
    close_all(m);
    assert_int_equal(open_with("defense.tldmi.until=stage9", "tldmi"), MI_OK);
    m = quick("quick", 7, 32, 3);
    assert_int_equal(mi_defenses_prepare(&ds, m), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "stage2.0"));
    mi_error_clear();
    close_all(m);
    assert_int_equal(open_with("defense.tldmi.until=stem", "tldmi"), MI_OK);
    m = quick("quick", 7, 32, 3);
    assert_int_equal(mi_defenses_prepare(&ds, m), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "freezes nothing"));
    mi_error_clear();
    close_all(m);
}

static void a_share_freezes_whole_layers(void **state) {
    (void)state;
    struct mi_model *m = prepared("vgg16", 64, "defense.tldmi.share=0.2");
    assert_int_equal(frozen(m) - 2048, 2918976); /* the published plan is 19.8 % of the backbone */
    close_all(m);
    m = prepared("quick", 32, "defense.tldmi.share=1");
    assert_true(learns(m, "fc_layer.weight"));
    assert_false(learns(m, "embed.weight"));
    close_all(m);
}

/* One training step on random images; hashes of all tensors before and after. */
static void step(struct mi_model *m, uint64_t *before, uint64_t *after) {
    mt_tensor *ps[512];
    int n = mi_params_trainable(m->params, ps, 512);
    mt_opt *o = mt_sgd_new(0.1, 0.9, 1e-2, false);
    assert_int_equal(mt_opt_add(o, ps, n, 1.0), MI_OK);
    for (int i = 0; i < m->params->n; i++) before[i] = mt_hash(m->params->item[i].t);
    struct mi_batch b = {.x = images(8, m->size, 4), .y = labels(8, m->classes), .n = 8, .size = m->size, .epochs = 1};
    struct mi_forward_out out = {0};
    mt_tensor *loss = NULL;
    m->train = true;
    for (int k = 0; k < 3; k++) {
        assert_int_equal(mi_defenses_gradients(&ds, m, &b, &out, &loss), MI_OK);
        assert_int_equal(mt_opt_step(o), MI_OK);
        mt_opt_zero_grad(o);
    }
    for (int i = 0; i < m->params->n; i++) after[i] = mt_hash(m->params->item[i].t);
    mt_opt_free(o);
}

static void frozen_is_bit_identical(void **state) {
    (void)state;
    uint64_t before[512], after[512];
    static const char *const nets[][2] = {{"quick", "stage3"}, {"quickres", "layer3"}, {"resnet18", "layer4"}};
    for (int adapt = 0; adapt < 2; adapt++) {
        for (size_t k = 0; k < sizeof nets / sizeof *nets - (size_t)adapt; k++) { /* the big one once */
            struct mi_model *m = prepared(nets[k][0], 32, adapt ? "defense.tldmi.norm=adapt" : NULL);
            step(m, before, after);
            bool learning = false;
            for (int i = 0; i < m->params->n; i++) {
                const struct mi_named *item = &m->params->item[i];
                learning = learning || strncmp(item->name, nets[k][1], strlen(nets[k][1])) == 0;
                bool moves = learning || (adapt && item->role == MI_BUFFER);
                if ((before[i] != after[i]) != moves)
                    fail_msg("%s, %s: %s %s", nets[k][0], adapt ? "adapt" : "frozen", item->name,
                             moves ? "should change" : "changed");
            }
            close_all(m);
        }
    }
}

/* Without start weights it is refused, before anything runs; with a file that reaches too little, at the start. */
static void start_weights_are_asked_for(void **state) {
    (void)state;
    struct mi_train_recipe r = {.epochs = 1};
    spec = mi_spec_parse("", "test", NULL, 0);
    assert_int_equal(mi_defenses_open(&ds, "tldmi", spec), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "target.pretrained = yes"));
    assert_non_null(strstr(mi_error_text(), "target.init"));
    mi_error_clear();
    mi_spec_free(spec);
    const char *learnt[] = {"target.pretrained=yes"};
    spec = mi_spec_parse("", "test", learnt, 1);
    assert_int_equal(mi_defenses_open(&ds, "tldmi", spec), MI_OK);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
    const char *given[] = {"target.init=start.safetensors"};
    spec = mi_spec_parse("", "test", given, 1);
    assert_int_equal(mi_defenses_open(&ds, "midre+tldmi", spec), MI_OK);
    struct mi_model *m = quick("quick", 7, 32, 3), *other = quick("quick", 5, 32, 4);
    assert_int_equal(mi_defenses_prepare(&ds, m), MI_OK);
    assert_int_equal(mi_defenses_start(&ds, m, &r), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "0 of 3 frozen layers"));
    mi_error_clear();
    char *path = temp_file("tldmi");
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_params_save(other->params, a, ""), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    a = mt_archive_open(path);
    struct mi_started got;
    assert_int_equal(mi_model_init_from(m, a, &got), MI_OK);
    mt_archive_close(a);
    assert_int_equal(mi_defenses_start(&ds, m, &r), MI_OK);
    unlink(path);
    free(path);
    mi_model_free(other);
    close_all(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(published_plans),         TEST(further_names_learn),         TEST(a_share_freezes_whole_layers),
        TEST(frozen_is_bit_identical), TEST(start_weights_are_asked_for),
    };
    return cmocka_run_group_tests_name("tldmi", tests, start, no_leaks);
}
