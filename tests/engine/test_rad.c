/* tests/engine/test_rad.c - weakened skip connections: closed forms, DenseNet's published widths, targets from their
 * files, two-step training that really stops using the skips, and what is refused. */
#include "nn_test.h"

#include "midre/skips.h"
#include "midre/spec.h"
#include "midre/train.h"

static struct mi_spec *spec;
static struct mi_defenses ds;

static enum mi_status open_list(const char *composition, const char *setting) {
    const char *settings[] = {setting};
    spec = mi_spec_parse("", "test", settings, setting ? 1 : 0);
    if (!spec) fail_msg("%s", mi_error_text());
    return mi_defenses_open(&ds, composition, spec);
}

static struct mi_model *prepared(const char *composition, const char *setting, const char *name, int size) {
    assert_int_equal(open_list(composition, setting), MI_OK);
    struct mi_model *m = quick(name, 5, size, 3);
    if (mi_defenses_prepare(&ds, m) != MI_OK) fail_msg("%s on %s: %s", composition, name, mi_error_text());
    return m;
}

static void close_all(struct mi_model *m) {
    mi_model_free(m);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
    spec = NULL;
}

static mt_tensor *logits_of(struct mi_model *m, mt_tensor *x) {
    struct mi_forward_out out;
    assert_int_equal(mi_model_forward(m, x, false, &out), MI_OK);
    return out.logits;
}

static void scale(const struct mi_model *m, const char *name, double by) {
    mt_tensor *t = mi_params_find(m->params, name);
    assert_non_null(t);
    bool grad = mt_grad_mode(false);
    mt_affine_(t, by, 0);
    mt_grad_mode(grad);
}

/* Where a skip has a BatchNorm of its own, k times the skip is the undefended network with that norm's numbers times
 * k: one block per stage, so every skip has one.  k = 1 is the undefended network to the bit. */
static void a_factor_is_a_scaled_shortcut(void **state) {
    (void)state;
    static const double k[] = {1, 0.2, 0};
    mt_tensor *x = images(4, 32, 7);
    for (size_t i = 0; i < 3; i++) {
        char setting[64];
        snprintf(setting, sizeof setting, "defense.ssf.k=%g", k[i]);
        struct mi_model *m = prepared("ssf", setting, "quickres", 32), *plain = quick("quickres", 5, 32, 3);
        scale(plain, "layer3.0.downsample.1.weight", k[i]);
        scale(plain, "layer3.0.downsample.1.bias", k[i]);
        m->train = plain->train = true;
        mt_tensor *got = logits_of(m, x), *want = logits_of(plain, x);
        if (k[i] == 1)
            assert_true(mt_hash(got) == mt_hash(want));
        else
            assert_true(distance(got, want) < 1e-5);
        mi_model_free(plain);
        close_all(m);
    }
}

/* Without its skip a block is its branch: what the removed shortcut holds has no say and does not learn. */
static void a_removed_skip_has_no_say(void **state) {
    (void)state;
    static const struct {
        const char *model, *serves, *learns;
        int size, skips, all;
    } c[] = {
        {"quickres", "layer3.0.downsample.0.weight", "layer2.0.downsample.0.weight", 32, 1, 3},
        {"resnet18", "layer4.0.downsample.0.weight", "layer3.0.downsample.0.weight", 32, 2, 8},
        {"facenet64", "feature.body.21.shortcut_layer.0.weight", "feature.body.7.shortcut_layer.0.weight", 32, 3, 24}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct mi_model *m = prepared("rolss", NULL, c[i].model, c[i].size);
        mt_tensor *x = images(3, c[i].size, 2);
        int off = 0;
        assert_int_equal(m->params->skips->n, c[i].all);
        for (int k = 0; k < m->params->skips->n; k++) off += *m->params->skips->item[k].k == 0;
        assert_int_equal(off, c[i].skips);
        m->train = false;
        mt_tensor *before = logits_of(m, x);
        scale(m, c[i].serves, 100);
        assert_true(mt_hash(logits_of(m, x)) == mt_hash(before));
        assert_false(mt_requires_grad(mi_params_find(m->params, c[i].serves)));
        scale(m, c[i].learns, 100);
        assert_true(mt_hash(logits_of(m, x)) != mt_hash(before));
        assert_true(mt_requires_grad(mi_params_find(m->params, c[i].learns)));
        assert_int_equal(mt_backward(loss_of(m, x), false), MI_OK);
        close_all(m);
    }
}

/* Factors 1, 0.5, 0.2, 0.01 and 0, as computed from the rule for the published nets. */
static void densenet_keeps_the_published_channels(void **state) {
    (void)state;
    static const double k[] = {1, 0.5, 0.2, 0.01, 0};
    static const int want[2][5] = {{1024, 528, 224, 37, 32}, {1664, 848, 346, 38, 32}};
    for (int net = 0; net < 2; net++) {
        for (size_t i = 0; i < 5; i++) {
            char setting[64];
            snprintf(setting, sizeof setting, "defense.ssf.k_concat=%g", k[i]);
            struct mi_model *m = prepared("ssf", setting, net ? "densenet169" : "densenet121", 32);
            assert_int_equal(m->feature_width, want[net][i]);
            assert_int_equal(mt_size(mi_params_find(m->params, "classifier.weight"), 1), want[net][i]);
            assert_int_equal(mt_numel(mi_params_find(m->params, "features.norm5.running_var")), want[net][i]);
            if (net == 0 && i > 0) {
                struct mi_forward_out out;
                assert_int_equal(mi_model_forward(m, images(2, 32, 1), false, &out), MI_OK);
                assert_int_equal(mt_size(out.features, 1), want[net][i]);
            }
            close_all(m);
        }
    }
}

/* The file holds weights; the factors come from the defense, whenever it is opened. */
static void targets_come_back_from_their_files(void **state) {
    (void)state;
    static const char *const nets[][2] = {{"ssf", "densenet121"}, {"rolss", "resnet18"}};
    for (size_t i = 0; i < 2; i++) {
        struct mi_model *m = prepared(nets[i][0], NULL, nets[i][1], 32);
        char *path = temp_file("rad");
        mt_archive *a = mt_archive_create(path);
        scale(m, i == 0 ? "features.conv0.weight" : "conv1.weight", 1.5);
        assert_int_equal(mi_params_save(m->params, a, ""), MI_OK);
        assert_int_equal(mt_archive_close(a), MI_OK);
        struct mi_model *again = quick(nets[i][1], 5, 32, 9), *plain = quick(nets[i][1], 5, 32, 9);
        assert_int_equal(mi_defenses_prepare(&ds, again), MI_OK);
        a = mt_archive_open(path);
        if (mi_params_load(again->params, a, "") != MI_OK) fail_msg("%s", mi_error_text());
        mt_tensor *x = images(2, 32, 5), *want = logits_of(m, x);
        assert_true(mt_hash(logits_of(again, x)) == mt_hash(want));
        if (i == 0) { /* without its defense the widths differ */
            assert_int_equal(mi_params_load(plain->params, a, ""), MI_E_INPUT);
            mi_error_clear();
        } else {
            assert_int_equal(mi_params_load(plain->params, a, ""), MI_OK);
            assert_true(distance(logits_of(plain, x), want) > 1e-3);
        }
        mt_archive_close(a);
        unlink(path);
        free(path);
        mi_model_free(again);
        mi_model_free(plain);
        close_all(m);
    }
}

static bool changed(struct mi_model *m, mt_opt *o, int64_t k, int64_t epoch) {
    mt_tensor *shortcut = mi_params_find(m->params, "layer3.0.downsample.0.weight"), *loss = NULL;
    uint64_t before = mt_hash(shortcut);
    struct mi_forward_out out = {0};
    struct mi_batch b = {
        .x = images(4, 32, (uint64_t)k), .y = labels(4, 5), .n = 4, .size = 32, .epochs = 3, .model = m};
    assert_int_equal(mi_defenses_step(&ds, m, o, k, epoch), MI_OK);
    assert_int_equal(mi_defenses_gradients(&ds, m, &b, &out, &loss), MI_OK);
    assert_int_equal(mt_opt_step(o), MI_OK);
    mt_opt_zero_grad(o);
    return mt_hash(shortcut) != before;
}

/* First step: everything learns.  Second: the removed shortcut stays as it is to the bit, weight decay or not. */
static void the_second_step_leaves_the_shortcut_alone(void **state) {
    (void)state;
    struct mi_model *m = prepared("tts", "defense.tts.first=0.4", "quickres", 32);
    struct mi_train_recipe r = {.epochs = 3};
    assert_int_equal(mi_defenses_start(&ds, m, &r), MI_OK);
    assert_int_equal(r.second_step, 2);
    double *k = m->params->skips->item[2].k;
    assert_true(*k == 0); /* as an attack finds it */
    mt_tensor *list[128];
    int n = mi_params_trainable(m->params, list, 128);
    mt_opt *o = mt_adam_new(1e-3, 0.9, 0.999, 1e-8, 0.1, true);
    assert_int_equal(mt_opt_add(o, list, n, 1), MI_OK);
    m->train = true;
    assert_true(changed(m, o, 0, 0));
    assert_true(changed(m, o, 1, 1) && *k == 1);
    mt_opt_reset(o);
    assert_false(changed(m, o, 2, 2));
    assert_true(*k == 0);
    assert_false(changed(m, o, 3, 2));
    mt_opt_free(o);
    char text[200];
    mi_defenses_note(&ds, 32, text, sizeof text);
    assert_non_null(strstr(text, "1 of 3 skip connections times 0 after 2 epochs"));
    r.epochs = 1;
    assert_int_equal(mi_defenses_start(&ds, m, &r), MI_E_INPUT);
    mi_error_clear();
    close_all(m);
}

/* A reset optimiser takes the step a new one takes. */
static void a_reset_optimiser_is_new(void **state) {
    (void)state;
    uint64_t got[2];
    for (int fresh = 0; fresh < 2; fresh++) {
        mt_tensor *w = mt_full(MT_SHAPE(3), 1, MT_SPEC_F32);
        mt_opt *o = mt_adam_new(0.1, 0.9, 0.999, 1e-8, 0, false);
        mt_requires_grad_(w, true);
        assert_int_equal(mt_opt_add(o, &w, 1, 1), MI_OK);
        if (!fresh) {
            assert_int_equal(mt_backward(mt_sum(mt_unary(w, MT_SQUARE), NULL, 0, false), false), MI_OK);
            assert_int_equal(mt_opt_step(o), MI_OK);
            mt_opt_reset(o);
        }
        mt_opt_zero_grad(o);
        bool grad = mt_grad_mode(false);
        mt_fill_(w, 1);
        mt_grad_mode(grad);
        assert_int_equal(mt_backward(mt_sum(mt_pow(w, 3), NULL, 0, false), false), MI_OK);
        assert_int_equal(mt_opt_step(o), MI_OK);
        got[fresh] = mt_hash(w);
        mt_opt_free(o);
    }
    assert_true(got[0] == got[1]);
}

static void refused(const char *composition, const char *setting, const char *model, const char *why) {
    enum mi_status st = open_list(composition, setting);
    struct mi_model *m = st == MI_OK ? quick(model, 5, 32, 3) : NULL;
    if (st == MI_OK) st = mi_defenses_prepare(&ds, m);
    assert_int_equal(st, MI_E_INPUT);
    if (!strstr(mi_error_text(), why)) fail_msg("%s: %s", composition, mi_error_text());
    mi_error_clear();
    close_all(m);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    refused("rolss", NULL, "quick", "model quick names none");
    refused("rolss+ssf", NULL, "quickres", "do not compose");
    refused("tts+rolss", NULL, "quickres", "do not compose");
    refused("tts", NULL, "densenet121", "concatenated skip connections");
    refused("rolss", "defense.rolss.stages=9", "quickres", "stage 3 block");
    refused("ssf", "defense.ssf.parts=grid_mlp", "quickres", "stage 1 block");
    refused("mid+rolss", NULL, "densenet121", "name the one that weakens skip connections first");
    struct mi_model *m = prepared("rolss+mid", NULL, "densenet121", 32); /* in this order it goes */
    assert_int_equal(mt_size(mi_params_find(m->params, "classifier.weight"), 1), 16);
    close_all(m);
    m = prepared("rolss", "defense.rolss.stages=1, last", "quickres", 32);
    assert_true(*m->params->skips->item[0].k == 0 && *m->params->skips->item[1].k == 1);
    close_all(m);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {TEST(a_factor_is_a_scaled_shortcut),
                                       TEST(a_removed_skip_has_no_say),
                                       TEST(densenet_keeps_the_published_channels),
                                       TEST(targets_come_back_from_their_files),
                                       TEST(the_second_step_leaves_the_shortcut_alone),
                                       TEST(a_reset_optimiser_is_new),
                                       TEST(what_cannot_be_is_refused)};
    return cmocka_run_group_tests_name("rad", tests, start, no_leaks);
}
