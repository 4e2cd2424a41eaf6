/* test_alias.c - files that call a known network's tensors by its other public names. */
#include "tests/engine/nn_test.h"

static char *bido_name(const char *own) {
    static const int first[] = {0, 7, 14, 24, 34, 44};
    int module, block = 0;
    if (sscanf(own, "feature.%d.", &module) != 1) return mi_strdup(own);
    while (module >= first[block + 1]) block++;
    return mi_format("layer%d.%d%s", block + 1, module - first[block], strrchr(own, '.'));
}

static char *old_densenet_name(const char *own) {
    const char *at = strstr(own, ".denselayer"), *part = at ? strpbrk(at + 11, "12") : NULL;
    while (part && strncmp(part - 4, "norm", 4) != 0 && strncmp(part - 4, "conv", 4) != 0)
        part = strpbrk(part + 1, "12");
    return part ? mi_format("%.*s.%s", (int)(part - own), own, part) : mi_strdup(own);
}

static char *torchvision_name(const char *own) {
    if (strncmp(own, "feature.0.", 10) == 0) return mi_format("features.%s", own + 10);
    return mi_format("classifier.1.%s", strchr(own, '.') + 1);
}

static bool renames(const char *model, const char *theirs, const char *own) {
    char out[128];
    return mi_model_find(model)->alias(theirs, out, sizeof out) && strcmp(out, own) == 0;
}

static const struct public_form {
    const char *model, *sample, *own;
    int size;
    char *(*theirs)(const char *own);
} forms[] = {
    {"vgg16", "layer5.7.running_mean", "feature.41.running_mean", 32, bido_name},
    {"densenet121", "features.denseblock2.denselayer12.conv.2.weight", "features.denseblock2.denselayer12.conv2.weight",
     224, old_densenet_name},
    {"efficientnet_b0", "features.2.0.block.0.0.weight", "feature.0.2.0.block.0.0.weight", 64, torchvision_name},
};

/* The model's tensors under the form's names behind `before`, without counters, as old files are. */
static void write_form(const struct mi_model *m, const struct public_form *f, const char *before, const char *path) {
    mt_archive *a = mt_archive_create(path);
    for (int i = 0; i < m->params->n; i++) {
        const struct mi_named *item = &m->params->item[i];
        if (strstr(item->name, "num_batches_tracked")) continue;
        char *theirs = f->theirs(item->name), *name = mi_format("%s%s", before, theirs);
        assert_int_equal(mt_archive_put(a, name, item->t), MI_OK);
        free(theirs);
        free(name);
    }
    assert_int_equal(mt_archive_close(a), MI_OK);
}

static void same_weights(const struct mi_model *a, const struct mi_model *b) {
    for (int i = 0; i < a->params->n; i++)
        if (mt_hash(a->params->item[i].t) != mt_hash(b->params->item[i].t))
            fail_msg("%s differs", a->params->item[i].name);
}

static void other_public_names_are_understood(void **state) {
    (void)state;
    char *path = temp_file("names");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const struct public_form *f = &forms[i];
        struct mi_model *m = quick(f->model, 9, f->size, 1), *other = quick(f->model, 9, f->size, 2);
        write_form(m, f, i % 2 ? "" : "x.module.", path);
        mt_archive *a = mt_archive_open(path);
        char *sample = mi_format("%s%s", i % 2 ? "" : "x.module.", f->sample);
        assert_true(mt_archive_has(a, sample)); /* the form is the published one */
        free(sample);
        struct mi_keys *k = mi_keys_new(a);
        assert_int_equal(mi_keys_settle(k, m->params), mt_archive_count(a));
        assert_string_equal(mi_keys_own(k, mi_keys_index(k, f->own)), f->own);
        mi_keys_free(k);
        assert_int_equal(mi_params_load_found(other->params, a, NULL, NULL), MI_OK);
        mt_archive_close(a);
        same_weights(m, other);
        struct mi_recognition r = recognise(path, &(struct mi_wish){0});
        if (!r.best[0].fits) fail_msg("%s is not recognised (likeness %.2f)", f->model, r.best[0].likeness);
        assert_string_equal(r.best[0].desc->info.name, f->model);
        assert_int_equal(r.best[0].classes, 9);
        mi_recognition_free(&r);
        mi_model_free(m);
        mi_model_free(other);
    }
    assert_true(renames("facenet64", "fc_layer.0.bias", "fc_layer.bias"));
    assert_true(renames("inception_resnet_v1", "model.repeat_1.0.conv2d.bias", "repeat_1.0.conv2d.bias"));
    assert_true(renames("inception_resnet_v1", "adative_layer.2.weight", "last_bn.weight"));
    assert_true(renames("inception_resnet_v1", "classifier.weight", "logits.weight"));
    assert_false(renames("vgg16", "layer1.0.conv1.weight", ""));      /* a ResNet's */
    assert_false(renames("vgg16", "layer3.10.weight", ""));           /* the next block's */
    assert_false(renames("densenet121", "denselayer1.relu.1.x", "")); /* no weights of that name */
    unlink(path);
    free(path);
}

/* A file with a tensor under both of its names is not clear about it: refused, and the second name is told. */
static void a_tensor_under_two_names_is_refused(void **state) {
    (void)state;
    char *path = temp_file("twice");
    struct mi_model *m = quick("efficientnet_b0", 4, 64, 1);
    mt_archive *a = mt_archive_create(path);
    for (int i = 0; i < m->params->n; i++) {
        char *name = torchvision_name(m->params->item[i].name);
        assert_int_equal(mt_archive_put(a, name, m->params->item[i].t), MI_OK);
        free(name);
    }
    mt_tensor *second = mt_zeros(MT_SHAPE(32, 3, 3, 3), MT_SPEC_F32);
    assert_int_equal(mt_archive_put(a, "feature.0.0.0.weight", second), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    struct mi_recognition r = recognise(path, &(struct mi_wish){.arch = "efficientnet_b0"});
    assert_false(r.best[0].fits);
    assert_int_equal(r.best[0].unexpected, 1);
    mi_recognition_free(&r);
    a = mt_archive_open(path);
    assert_int_equal(mi_params_load_found(m->params, a, NULL, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "1 unexpected (features.0.0.weight)"));
    mi_error_clear();
    mt_archive_close(a);
    mi_model_free(m);
    unlink(path);
    free(path);
}

static void start_weights_may_have_the_other_names(void **state) {
    (void)state;
    char *path = temp_file("begin");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct mi_model *m = quick(forms[i].model, 9, forms[i].size, 1),
                        *to = quick(forms[i].model, 5, forms[i].size, 2);
        write_form(m, &forms[i], "", path);
        mt_archive *a = mt_archive_open(path);
        struct mi_started got;
        assert_int_equal(mi_model_init_from(to, a, &got), MI_OK);
        assert_int_equal(got.used, mt_archive_count(a) - 2); /* all but the head */
        assert_true(mt_hash(mi_params_find(m->params, forms[i].own)) ==
                    mt_hash(mi_params_find(to->params, forms[i].own)));
        mt_archive_close(a);
        mi_model_free(m);
        mi_model_free(to);
    }
    unlink(path);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(other_public_names_are_understood),
                                       TEST(a_tensor_under_two_names_is_refused),
                                       TEST(start_weights_may_have_the_other_names)};
    return cmocka_run_group_tests_name("alias", tests, start, no_leaks);
}
