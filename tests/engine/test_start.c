/* tests/engine/test_start.c - start weights in networks that a defense has changed: what is still there begins with
 * them to the bit, what is new at random, and it is said how much that is. */
#include "nn_test.h"

#include "midre/spec.h"
#include "midre/train.h"

static struct mi_spec *spec;
static struct mi_defenses ds;

/* A prepared target of 3 people and the start weights of 5. */
static struct mi_model *started(const char *defense, const char *setting, const char *model, int size,
                                struct mi_model **from, struct mi_started *got) {
    const char *settings[] = {"target.pretrained=yes", setting};
    spec = mi_spec_parse("", "test", settings, setting ? 2 : 1);
    if (!spec) fail_msg("%s", mi_error_text());
    assert_int_equal(mi_defenses_open(&ds, defense, spec), MI_OK);
    struct mi_model *m = quick(model, 3, size, 3);
    if (mi_defenses_prepare(&ds, m) != MI_OK) fail_msg("%s on %s: %s", defense, model, mi_error_text());
    *from = quick(model, 5, size, 8);
    char *path = temp_file("changed");
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_params_save((*from)->params, a, ""), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    assert_non_null(a = mt_archive_open(path));
    if (mi_model_init_from(m, a, got) != MI_OK) fail_msg("%s on %s: %s", defense, model, mi_error_text());
    mt_archive_close(a);
    unlink(path);
    free(path);
    return m;
}

static void close_all(struct mi_model *m, struct mi_model *from) {
    mi_model_free(m);
    mi_model_free(from);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
}

static bool same_bits(mt_tensor *a, mt_tensor *b) {
    return mt_numel(a) == mt_numel(b) && mt_hash(a) == mt_hash(b);
}

/* Every tensor of m against the start weights' of that name. */
static void check(const struct mi_model *m, const struct mi_model *from, const struct mi_started *got,
                  const char *what) {
    int equal = 0, head = 0;
    for (int i = 0; i < m->params->n; i++) {
        const struct mi_named *item = &m->params->item[i];
        mt_tensor *source = mi_params_find(from->params, item->name);
        size_t n = strlen(m->desc->head);
        if (strncmp(item->name, m->desc->head, n) == 0 && item->name[n] == '.') {
            if (source && mt_ndim(item->t) > 1 && same_bits(item->t, source)) fail_msg("%s: the head was copied", what);
            head++;
        } else if (strstr(item->name, "num_batches_tracked")) {
            continue;
        } else if (source && mt_numel(source) == mt_numel(item->t)) {
            if (!same_bits(item->t, source)) fail_msg("%s: %s is not the start weights'", what, item->name);
            equal++;
        }
    }
    assert_true(head > 0);
    if (equal != got->used) fail_msg("%s: %d tensors are equal, %d are said to be", what, equal, got->used);
}

static void what_a_defense_leaves_begins_with_them(void **state) {
    (void)state;
    static const struct {
        const char *defense, *model;
        int size;
        const char *missed; /* the first that cannot; NULL: all can */
    } c[] = {
        {"none", "quickres", 32, NULL},
        {"midre", "quickres", 32, NULL},
        {"dp", "quickres", 32, NULL},
        {"rolss", "quickres", 32, NULL},
        {"ssf", "resnet18", 32, NULL},
        {"tts", "resnet18", 32, NULL},
        {"tldmi+midre", "resnet18", 32, NULL},
        {"mid", "quickres", 32, "st_layer.weight"},
        {"mid", "vgg16", 64, "st_layer.weight"},
        {"ssf", "densenet121", 32, "features.denseblock4.denselayer2.norm1.weight"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct mi_model *from;
        struct mi_started got;
        char what[64], text[512];
        snprintf(what, sizeof what, "%s on %s", c[i].defense, c[i].model);
        struct mi_model *m = started(c[i].defense, NULL, c[i].model, c[i].size, &from, &got);
        check(m, from, &got, what);
        mi_started_text(&got, "FILE", text, sizeof text);
        if ((got.used == got.all) != !c[i].missed || (got.missed == NULL) != !c[i].missed)
            fail_msg("%s: %s", what, text);
        if (c[i].missed && strcmp(got.missed, c[i].missed) != 0) fail_msg("%s: %s", what, text);
        close_all(m, from);
    }
}

static void less_than_half_is_a_warning(void **state) {
    (void)state;
    char text[128];
    struct mi_started some = {.used = 3, .all = 7, .missed = "a.weight"}, half = {4, 7, "b.weight"},
                      whole = {7, 7, NULL};
    assert_string_equal(mi_started_text(&some, "FILE", text, sizeof text), "warn");
    assert_non_null(strstr(text, "3 of 7 tensors start from FILE; the others (a.weight first)"));
    assert_string_equal(mi_started_text(&half, "FILE", text, sizeof text), "info");
    assert_string_equal(mi_started_text(&whole, "FILE", text, sizeof text), "info");
    assert_string_equal(text, "all 7 tensors but the head's start from FILE");
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(what_a_defense_leaves_begins_with_them), TEST(less_than_half_is_a_warning)};
    return cmocka_run_group_tests_name("start", tests, start, no_leaks);
}
