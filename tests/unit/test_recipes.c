/* tests/unit/test_recipes.c - named training recipes: every key exists and every value is valid, recipes start a section,
 * what is written out wins wherever it stands, and the resolved spec does not depend on the name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "midre/fingerprint.h"
#include "midre/spec.h"

static const char *text_of(const struct mi_spec *s, enum mi_section section, const char *key) {
    return mi_values_text(s->section[section], key);
}

static struct mi_spec *parse(const char *text, const char *const *overrides, size_t n) {
    struct mi_spec *s = mi_spec_parse(text, "test.ini", overrides, n);
    if (!s) print_message("%s\n", mi_error_text());
    assert_non_null(s);
    return s;
}

static void every_recipe_is_a_choice_and_sets_what_it_says(void **state) {
    (void)state;
    const struct mi_setting *setting = mi_section_settings(MI_SEC_TARGET);
    while (strcmp(setting->name, "recipe") != 0) setting++;
    int listed = 1; /* custom */
    for (const char *c = setting->choices; *c; c++) listed += *c == '|';
    int n = 1;
    for (const struct mi_recipe *r = mi_recipe_table; r->name; r++, n++) {
        char override[64];
        snprintf(override, sizeof override, "target.recipe=%s", r->name);
        const char *words[] = {override};
        struct mi_spec *s = parse("", words, 1);
        for (size_t i = 0; i < MI_RECIPE_KEYS && r->set[i].key; i++)
            assert_string_equal(text_of(s, MI_SEC_TARGET, r->set[i].key), r->set[i].value);
        assert_string_equal(text_of(s, MI_SEC_JUDGE, "epochs"), "30"); /* the judge's is its own */
        mi_spec_free(s);
    }
    assert_int_equal(n, listed);
}

static void published_constants(void **state) {
    (void)state;
    struct mi_spec *s = parse("[target]\nrecipe = ppa\n[judge]\nrecipe = lowres\n", NULL, 0);
    assert_string_equal(text_of(s, MI_SEC_TARGET, "optimiser"), "adam");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "milestones"), "75,90");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "crop"), "0.85");
    assert_string_equal(text_of(s, MI_SEC_JUDGE, "lr"), "0.01");
    assert_string_equal(text_of(s, MI_SEC_JUDGE, "schedule"), "constant");
    mi_spec_free(s);
}

static void explicit_keys_win_wherever_they_stand(void **state) {
    (void)state;
    const char *words[] = {"target.hue=0.3", "target.recipe=ppa", "target.batch=32"};
    struct mi_spec *s = parse("[target]\nepochs = 7\nrecipe = lowres\nlr = 0.5\n", words, 3);
    assert_string_equal(text_of(s, MI_SEC_TARGET, "recipe"), "ppa"); /* the command line's */
    assert_string_equal(text_of(s, MI_SEC_TARGET, "epochs"), "7");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "lr"), "0.5");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "hue"), "0.3");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "batch"), "32");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "saturation"), "0.1");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "nesterov"), "yes"); /* nothing of lowres is left */
    char *text = mi_spec_write(s);
    struct mi_spec *again = parse(text, NULL, 0);
    char *twice = mi_spec_write(again);
    assert_string_equal(text, twice);
    free(text);
    free(twice);
    mi_spec_free(again);
    mi_spec_free(s);
}

static void the_form_takes_a_recipe_at_once(void **state) {
    (void)state;
    struct mi_spec *s = parse("[target]\nepochs = 7\n", NULL, 0);
    assert_int_equal(mi_spec_set(s, "target", "recipe", "ppa"), MI_OK);
    assert_string_equal(text_of(s, MI_SEC_TARGET, "epochs"), "100");
    assert_int_equal(mi_spec_set(s, "target", "epochs", "9"), MI_OK);
    assert_string_equal(text_of(s, MI_SEC_TARGET, "epochs"), "9");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "recipe"), "ppa");
    mi_spec_free(s);
}

static void unknown_recipes_are_refused(void **state) {
    (void)state;
    assert_null(mi_spec_parse("\n[target]\nrecipe = pa\n", "test.ini", NULL, 0));
    assert_non_null(strstr(mi_error_text(), "test.ini:3"));
    assert_non_null(strstr(mi_error_text(), "custom|lowres|ppa"));
    mi_error_clear();
    const char *words[] = {"target.recipe=none"};
    assert_null(mi_spec_parse("", "test.ini", words, 1));
    assert_non_null(strstr(mi_error_text(), "target.recipe=none"));
    mi_error_clear();
}

/* A setting that was added later is not part of a fingerprint until it is used, a recipe's name never is. */
static void old_products_keep_their_fingerprints(void **state) {
    (void)state;
    struct mi_fingerprint fp[4];
    const char *words[] = {NULL, "target.recipe=custom", "target.hue=0", "target.hue=0.01"};
    for (int i = 0; i < 4; i++) {
        struct mi_spec *s = parse("", words + i, i > 0);
        struct mi_hasher *h = mi_hasher_new("test");
        mi_hasher_values(h, s->section[MI_SEC_TARGET]);
        fp[i] = mi_hasher_done(h);
        mi_spec_free(s);
    }
    assert_string_equal(fp[0].hex, fp[1].hex);
    assert_string_equal(fp[0].hex, fp[2].hex);
    assert_string_not_equal(fp[0].hex, fp[3].hex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_is_a_choice_and_sets_what_it_says),
        cmocka_unit_test(published_constants),
        cmocka_unit_test(explicit_keys_win_wherever_they_stand),
        cmocka_unit_test(the_form_takes_a_recipe_at_once),
        cmocka_unit_test(unknown_recipes_are_refused),
        cmocka_unit_test(old_products_keep_their_fingerprints),
    };
    return cmocka_run_group_tests_name("recipes", tests, NULL, NULL);
}
