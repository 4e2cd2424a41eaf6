/* test_weights.c - weight files: exact round trip, strict loading with a readable verdict, start weights by name. */
#include "tests/engine/nn_test.h"

static void save(const struct mi_model *m, const char *path, const char *prefix) {
    mt_archive *a = mt_archive_create(path);
    assert_non_null(a);
    assert_int_equal(mi_params_save(m->params, a, prefix), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
}

static void saved_weights_load_back_bit_for_bit(void **state) {
    (void)state;
    char *path = temp_file("roundtrip");
    struct mi_model *a = quick("quickres", 10, 64, 1), *b = quick("quickres", 10, 64, 2);
    a->train = true;
    loss_of(a, images(4, 64, 1)); /* moves the statistics and the counters */
    save(a, path, "net.");
    mt_archive *file = mt_archive_open(path);
    assert_int_equal(mi_params_load(b->params, file, "net."), MI_OK);
    assert_int_equal(mt_archive_close(file), MI_OK);
    for (int i = 0; i < a->params->n; i++) assert_true(mt_hash(a->params->item[i].t) == mt_hash(b->params->item[i].t));
    assert_true(mt_requires_grad(mi_params_find(b->params, "fc_layer.weight")));
    unlink(path);
    free(path);
    mi_model_free(a);
    mi_model_free(b);
}

static void strict_loading_names_what_does_not_fit_and_changes_nothing(void **state) {
    (void)state;
    char *path = temp_file("strict");
    struct mi_model *small = quick("quickres", 5, 64, 1), *other = quick("quickres", 10, 64, 2);
    mt_archive *file = mt_archive_create(path);
    for (int i = 0; i < small->params->n; i++) {
        const struct mi_named *item = &small->params->item[i];
        bool left_out = strstr(item->name, "num_batches_tracked") || strcmp(item->name, "bn.bias") == 0;
        if (!left_out) assert_int_equal(mt_archive_put(file, item->name, item->t), MI_OK);
    }
    assert_int_equal(mt_archive_put(file, "stranger", mt_zeros(MT_SHAPE(2), MT_SPEC_F32)), MI_OK);
    assert_int_equal(mt_archive_close(file), MI_OK);
    uint64_t before = mt_hash(mi_params_find(other->params, "stem.0.weight"));
    file = mt_archive_open(path);
    assert_int_equal(mi_params_load(other->params, file, ""), MI_E_INPUT);
    const char *text = mi_error_text();
    assert_non_null(strstr(text, "1 missing (bn.bias)"));
    assert_non_null(strstr(text, "1 unexpected (stranger)"));
    assert_non_null(strstr(text, "2 of another shape (fc_layer.weight: file [5,128], network [10,128]"));
    mi_error_clear();
    assert_true(mt_hash(mi_params_find(other->params, "stem.0.weight")) == before);
    mt_archive_close(file);
    unlink(path);
    free(path);
    mi_model_free(small);
    mi_model_free(other);
}

static void missing_counters_are_zero_and_damaged_values_refused(void **state) {
    (void)state;
    char *path = temp_file("values");
    struct mi_model *m = quick("quick", 5, 64, 1);
    for (int round = 0; round < 3; round++) {
        mt_archive *file = mt_archive_create(path);
        for (int i = 0; i < m->params->n; i++) {
            const struct mi_named *item = &m->params->item[i];
            if (strstr(item->name, "num_batches_tracked")) continue;
            mt_tensor *t = item->t;
            if (round == 1 && strcmp(item->name, "fc_layer.bias") == 0) t = mt_full(MT_SHAPE(5), INFINITY, MT_SPEC_F32);
            if (round == 2 && strcmp(item->name, "bn.running_var") == 0) t = mt_affine(t, -1.0, 0.0);
            assert_int_equal(mt_archive_put(file, item->name, t), MI_OK);
        }
        assert_int_equal(mt_archive_close(file), MI_OK);
        mt_tensor *count = mi_params_find(m->params, "bn.num_batches_tracked");
        mt_fill_(count, 7.0);
        file = mt_archive_open(path);
        enum mi_status st = mi_params_load(m->params, file, "");
        mt_archive_close(file);
        assert_int_equal(st, round == 0 ? MI_OK : MI_E_INPUT);
        assert_true(number(count) == (round == 0 ? 0.0 : 7.0));
        if (round == 1) assert_non_null(strstr(mi_error_text(), "fc_layer.bias"));
        if (round == 2) assert_non_null(strstr(mi_error_text(), "negative variance"));
        mi_error_clear();
    }
    unlink(path);
    free(path);
    mi_model_free(m);
}

static void start_weights_map_published_names_and_spare_the_head(void **state) {
    (void)state;
    char *path = temp_file("start");
    struct mi_model *from = quick("vgg16", 6, 64, 1), *to = quick("vgg16", 6, 64, 2);
    mt_archive *file = mt_archive_create(path);
    int put = 0;
    for (int i = 0; i < from->params->n; i++) { /* an ImageNet-like file: features.*, no counters, another head */
        const struct mi_named *item = &from->params->item[i];
        if (strncmp(item->name, "feature.", 8) != 0 || strstr(item->name, "num_batches")) continue;
        char name[128];
        snprintf(name, sizeof name, "module.features.%s", item->name + 8);
        assert_int_equal(mt_archive_put(file, name, item->t), MI_OK);
        put++;
    }
    assert_int_equal(mt_archive_put(file, "module.classifier.0.weight", mt_zeros(MT_SHAPE(4, 4), MT_SPEC_F32)), MI_OK);
    assert_int_equal(mt_archive_close(file), MI_OK);
    uint64_t head = mt_hash(mi_params_find(to->params, "fc_layer.weight"));
    struct mi_started got;
    file = mt_archive_open(path);
    assert_int_equal(mi_model_init_from(to, file, &got), MI_OK);
    assert_int_equal(got.used, put);
    assert_int_equal(put, 13 * 6);
    assert_true(mt_hash(mi_params_find(to->params, "feature.40.weight")) ==
                mt_hash(mi_params_find(from->params, "feature.40.weight")));
    struct mi_model *alien = quick("quick", 6, 64, 1);
    assert_int_equal(mi_model_init_from(alien, file, &got), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "stem.0.weight"));
    mi_error_clear();
    mt_archive_close(file);
    save(from, path, "");
    file = mt_archive_open(path);
    assert_int_equal(mi_model_init_from(to, file, &got), MI_OK);
    assert_int_equal(got.used, from->params->n - 2 - 14); /* all but the head's weight and bias and 14 counters */
    assert_int_equal(got.used, got.all);
    assert_null(got.missed);
    assert_true(mt_hash(mi_params_find(to->params, "fc_layer.weight")) == head);
    mt_archive_close(file);
    unlink(path);
    free(path);
    mi_model_free(from);
    mi_model_free(to);
    mi_model_free(alien);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(saved_weights_load_back_bit_for_bit),
        TEST(strict_loading_names_what_does_not_fit_and_changes_nothing),
        TEST(missing_counters_are_zero_and_damaged_values_refused),
        TEST(start_weights_map_published_names_and_spare_the_head),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
