/* test_recognise.c - files are told apart by names and shapes; layouts without memory equal the networks built. */
#include "tests/engine/nn_test.h"

/* Writes a model's tensors with `before` in front of each name, without the one called `left_out`. */
static void write_file(const struct mi_model *m, const char *path, const char *before, const char *left_out) {
    mt_archive *a = mt_archive_create(path);
    assert_non_null(a);
    for (int i = 0; i < m->params->n; i++) {
        const struct mi_named *item = &m->params->item[i];
        if (left_out && strcmp(item->name, left_out) == 0) continue;
        char *name = mi_format("%s%s", before, item->name);
        assert_int_equal(mt_archive_put(a, name, item->t), MI_OK);
        free(name);
    }
    assert_int_equal(mt_archive_close(a), MI_OK);
}

static void layouts_equal_networks(void **state) {
    (void)state;
    for (int i = 0; mi_model_table[i]; i++) {
        const struct mi_model_desc *d = mi_model_table[i];
        struct mi_params *ps = mi_model_shapes(d, NULL, 7, d->native_size);
        if (!ps) fail_msg("%s: %s", d->info.name, mi_error_text());
        assert_true(ps->n > 10);
        if (mi_params_count(ps, false) < 12000000) { /* the big ones take long to fill with numbers */
            struct mi_model *m = mi_model_new(d->info.name, NULL, 7, d->native_size, MT_CPU, 1);
            assert_non_null(m);
            assert_int_equal(m->params->n, ps->n);
            for (int k = 0; k < ps->n; k++) {
                int64_t x[MT_MAXDIM], y[MT_MAXDIM];
                int n = mt_shape(ps->item[k].t, x);
                assert_string_equal(ps->item[k].name, m->params->item[k].name);
                assert_int_equal(n, mt_shape(m->params->item[k].t, y));
                assert_memory_equal(x, y, (size_t)n * sizeof *x);
            }
            mi_model_free(m);
        }
        mi_params_free(ps);
    }
}

static void every_architecture_recognises_its_own_layout(void **state) {
    (void)state;
    char *path = temp_file("own");
    for (int i = 0; mi_model_table[i]; i++) {
        const struct mi_model_desc *d = mi_model_table[i];
        struct mi_params *ps = mi_model_shapes(d, NULL, 13, d->native_size);
        assert_non_null(ps);
        if (mi_params_count(ps, false) > 16000000) { /* their files would take long to write */
            mi_params_free(ps);
            continue;
        }
        mt_archive *a = mt_archive_create(path);
        for (int k = 0; k < ps->n; k++) { /* one zero, spread over the shape, is enough to write names and shapes */
            int64_t shape[MT_MAXDIM];
            int nd = mt_shape(ps->item[k].t, shape);
            mt_scope *s = mt_scope_begin("fill");
            bool whole = mt_dtype_of(ps->item[k].t) == MT_I64;
            mt_tensor *t = mt_zeros(shape, nd, (mt_spec){whole ? MT_I64 : MT_BF16, MT_CPU, MT_NCHW});
            assert_int_equal(mt_archive_put(a, ps->item[k].name, t), MI_OK);
            assert_int_equal(mt_scope_end(s), MI_OK);
        }
        assert_int_equal(mt_archive_close(a), MI_OK);
        struct mi_recognition r = recognise(path, &(struct mi_wish){0});
        if (!r.best[0].fits || r.best[0].desc != d)
            fail_msg("%s was taken for %s (likeness %.2f)", d->info.name, r.best[0].desc->info.name,
                     r.best[0].likeness);
        assert_int_equal(r.best[0].classes, 13);
        assert_true(r.best[0].classes_known);
        assert_int_equal(r.best[0].size, d->native_size);
        assert_int_equal(r.dtype, MT_BF16);
        mi_recognition_free(&r);
        mi_params_free(ps);
    }
    unlink(path);
    free(path);
}

static void wrappers_are_seen_through(void **state) {
    (void)state;
    char *path = temp_file("wrapped");
    struct mi_model *m = quick("quick", 9, 64, 1), *other = quick("quick", 9, 64, 2);
    static const char *const before[] = {"", "module.", "model._orig_mod.", "state_dict.module.", "a.b.c."};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        write_file(m, path, before[i], "bn.num_batches_tracked");
        struct mi_recognition r = recognise(path, &(struct mi_wish){0});
        assert_true(r.best[0].fits);
        assert_string_equal(r.best[0].desc->info.name, "quick");
        assert_int_equal(r.best[0].classes, 9);
        assert_true(r.best[0].size_known);
        mi_recognition_free(&r);
        mt_archive *a = mt_archive_open(path);
        assert_int_equal(mi_params_load_found(other->params, a, NULL, NULL), MI_OK);
        mt_archive_close(a);
        mt_tensor *own = mi_params_find(m->params, "stage2.0.weight");
        assert_true(mt_hash(own) == mt_hash(mi_params_find(other->params, "stage2.0.weight")));
    }
    unlink(path);
    free(path);
    mi_model_free(m);
    mi_model_free(other);
}

static void settings_and_size_follow_from_shapes(void **state) {
    (void)state;
    char *path = temp_file("settings");
    struct mi_values *v = mi_values_new("quickres", mi_model_find("quickres")->info.settings);
    assert_int_equal(mi_values_set(v, "width", "20"), MI_OK);
    assert_int_equal(mi_values_set(v, "blocks", "2"), MI_OK);
    assert_int_equal(mi_values_set(v, "feature", "96"), MI_OK);
    struct mi_model *m = mi_model_new("quickres", v, 33, 96, MT_CPU, 1);
    assert_non_null(m);
    write_file(m, path, "net.", NULL);
    struct mi_recognition r = recognise(path, &(struct mi_wish){0});
    assert_true(r.best[0].fits);
    assert_string_equal(r.best[0].desc->info.name, "quickres");
    assert_int_equal(mi_values_int(r.best[0].values, "width"), 20);
    assert_int_equal(mi_values_int(r.best[0].values, "blocks"), 2);
    assert_int_equal(mi_values_int(r.best[0].values, "feature"), 96);
    assert_int_equal(r.best[0].size, 96);
    assert_true(r.best[0].size_known);
    assert_string_equal(r.prefix, "net.");
    mi_recognition_free(&r);
    mi_model_free(m);
    mi_values_free(v);
    unlink(path);
    free(path);
}

/* A target of this program names its model and size; some models have no settings at all. */
static void own_files_say_what_they_are(void **state) {
    (void)state;
    static const char *const names[] = {"resnet18", "quick"};
    char *path = temp_file("product");
    for (int i = 0; i < 2; i++) {
        struct mi_model *m = mi_model_new(names[i], NULL, 5, 64, MT_CPU, 1);
        assert_non_null(m);
        mt_archive *a = mt_archive_create(path);
        assert_non_null(a);
        assert_int_equal(mt_archive_meta_put(a, "model", names[i]), MI_OK);
        assert_int_equal(mt_archive_meta_put(a, "size", "64"), MI_OK);
        assert_int_equal(mi_params_save(m->params, a, ""), MI_OK);
        assert_int_equal(mt_archive_close(a), MI_OK);
        struct mi_recognition r = recognise(path, &(struct mi_wish){.size = 0});
        assert_string_equal(r.best[0].desc->info.name, names[i]);
        assert_true(r.best[0].fits && r.best[0].size_known);
        assert_int_equal(r.best[0].size, 64);
        assert_int_equal(r.best[0].classes, 5);
        mi_recognition_free(&r);
        mi_model_free(m);
    }
    unlink(path);
    free(path);
}

static void a_size_no_layer_tells_is_assumed(void **state) {
    (void)state;
    char *path = temp_file("assumed");
    struct mi_model *m = quick("resnet18", 5, 64, 1);
    write_file(m, path, "", NULL);
    struct mi_recognition r = recognise(path, &(struct mi_wish){0});
    assert_true(r.best[0].fits);
    assert_int_equal(r.best[0].size, 224);
    assert_false(r.best[0].size_known);
    mi_recognition_free(&r);
    r = recognise(path, &(struct mi_wish){.size = 64});
    assert_true(r.best[0].fits);
    assert_int_equal(r.best[0].size, 64);
    mi_recognition_free(&r);
    mi_model_free(m);
    unlink(path);
    free(path);
}

static void a_near_miss_is_ranked_first_and_explained(void **state) {
    (void)state;
    char *path = temp_file("near");
    struct mi_model *m = quick("resnet18", 5, 64, 1);
    write_file(m, path, "", "layer3.1.bn2.bias");
    struct mi_recognition r = recognise(path, &(struct mi_wish){0});
    assert_false(r.best[0].fits);
    assert_string_equal(r.best[0].desc->info.name, "resnet18");
    assert_true(r.best[0].likeness > 0.9);
    assert_int_equal(r.best[0].missing, 1);
    mt_archive *a = mt_archive_open(path);
    char *diff = mi_recognition_diff(a, &r.best[0], false);
    assert_non_null(diff);
    assert_non_null(strstr(diff, "missing     layer3.1.bn2.bias [256]"));
    free(diff);
    mt_archive_close(a);
    mi_recognition_free(&r);
    r = recognise(path, &(struct mi_wish){.arch = "quick"}); /* told wrong: says so, guesses nothing else */
    assert_int_equal(r.n, 1);
    assert_false(r.best[0].fits);
    assert_true(r.best[0].likeness < 0.2);
    mi_recognition_free(&r);
    mi_model_free(m);
    unlink(path);
    free(path);
}

static void the_head_alone_may_differ_when_asked(void **state) {
    (void)state;
    char *path = temp_file("head");
    struct mi_model *m = quick("quick", 6, 64, 1), *other = quick("quick", 11, 64, 2);
    write_file(m, path, "module.", "fc_layer.bias");
    struct mi_recognition r = recognise(path, &(struct mi_wish){0});
    assert_false(r.best[0].fits);
    mi_recognition_free(&r);
    r = recognise(path, &(struct mi_wish){.head_may_differ = true});
    assert_true(r.best[0].fits);
    assert_false(r.best[0].head_fits);
    mi_recognition_free(&r);
    mt_archive *a = mt_archive_open(path);
    uint64_t head = mt_hash(mi_params_find(other->params, "fc_layer.weight"));
    assert_int_equal(mi_params_load_found(other->params, a, NULL, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "fc_layer.weight: file [6,256], network [11,256]"));
    mi_error_clear();
    bool kept = false;
    assert_int_equal(mi_params_load_found(other->params, a, "fc_layer", &kept), MI_OK);
    assert_true(kept);
    assert_true(mt_hash(mi_params_find(other->params, "fc_layer.weight")) == head);
    assert_true(mt_hash(mi_params_find(other->params, "embed.weight")) ==
                mt_hash(mi_params_find(m->params, "embed.weight")));
    mt_archive_close(a);
    mi_model_free(m);
    mi_model_free(other);
    unlink(path);
    free(path);
}

/* Known without the code: a 3x3 convolution 3->8 at 16x16 and a matrix product. */
static void products_are_counted_from_shapes(void **state) {
    (void)state;
    mt_convp p = MT_CONV(2, 1);
    mt_tensor *x = images(2, 16, 1), *w = mt_zeros(MT_SHAPE(8, 3, 3, 3), MT_SPEC_F32);
    mt_macs_begin();
    mt_conv2d(x, w, MT_NONE, &p);
    assert_true(mt_macs_end() == 2.0 * 8 * 8 * 8 * 27);
    p.groups = 3;
    mt_macs_begin();
    mt_conv2d(x, mt_zeros(MT_SHAPE(3, 1, 3, 3), MT_SPEC_F32), MT_NONE, &p);
    mt_matmul(mt_zeros(MT_SHAPE(4, 5), MT_SPEC_F32), mt_zeros(MT_SHAPE(5, 6), MT_SPEC_F32));
    assert_true(mt_macs_end() == 2.0 * 3 * 8 * 8 * 9 + 4 * 6 * 5);
    assert_true(mt_macs_end() == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(layouts_equal_networks),
                                       TEST(every_architecture_recognises_its_own_layout),
                                       TEST(wrappers_are_seen_through),
                                       TEST(settings_and_size_follow_from_shapes),
                                       TEST(own_files_say_what_they_are),
                                       TEST(a_size_no_layer_tells_is_assumed),
                                       TEST(a_near_miss_is_ranked_first_and_explained),
                                       TEST(the_head_alone_may_differ_when_asked),
                                       TEST(products_are_counted_from_shapes)};
    return cmocka_run_group_tests_name("recognise", tests, start, no_leaks);
}
