/* tests/unit/test_form.c - the Setup form: every setting can be reached, and stepping stays inside what is valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ui/form.h"

static struct mi_spec *spec_of(const char *text) {
    struct mi_spec *s = mi_spec_parse(text, "test", NULL, 0);
    assert_non_null(s);
    return s;
}

static const struct mi_field *find(const struct mi_form *f, const char *section, const char *key) {
    for (int k = 0; k < f->n; k++)
        if (f->f[k].set && !strcmp(f->f[k].section, section) && !strcmp(f->f[k].set->name, key)) return &f->f[k];
    return NULL;
}

static void every_setting_can_be_reached(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("[defense]\nname = none, midre\n[attack]\nname = gmi\n");
    struct mi_form f;
    assert_int_equal(mi_form_all(&f, s), MI_OK);
    for (int k = 0; k < MI_SEC_COUNT; k++)
        for (const struct mi_setting *set = mi_section_settings((enum mi_section)k); set && set->name; set++)
            assert_non_null(find(&f, mi_section_word((enum mi_section)k), set->name));
    static const struct {
        enum mi_kind kind;
        const char *name;
    } chosen[] = {{MI_KIND_DEFENSE, "midre"}, {MI_KIND_ATTACK, "gmi"}, {MI_KIND_DATA, "synthfaces"}};
    for (size_t c = 0; c < sizeof chosen / sizeof *chosen; c++) {
        char section[64];
        const struct mi_entry *e = mi_catalogue_find(chosen[c].kind, chosen[c].name);
        assert_non_null(e);
        strcpy(section, mi_kind_word(chosen[c].kind));
        strcat(strcat(section, "."), chosen[c].name);
        for (const struct mi_setting *set = e->settings; set && set->name; set++)
            assert_non_null(find(&f, section, set->name));
    }
    mi_form_free(&f);
    mi_spec_free(s);
}

static void a_chosen_defense_brings_its_ratio(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("[defense]\nname = none\n");
    struct mi_form f;
    assert_int_equal(mi_form_short(&f, s), MI_OK);
    assert_null(find(&f, "defense.midre", "area_low"));
    assert_int_equal(f.f[f.n - 2].kind, MI_FIELD_BUTTON);
    assert_string_equal(f.f[f.n - 2].label, "Start");
    mi_form_free(&f);
    assert_int_equal(mi_spec_set(s, "defense", "name", "none, midre"), MI_OK);
    assert_int_equal(mi_form_short(&f, s), MI_OK);
    assert_non_null(find(&f, "defense.midre", "area_low"));
    assert_non_null(find(&f, "defense.midre", "area_high"));
    mi_form_free(&f);
    mi_spec_free(s);
}

/* Stepping any field far in both directions never leaves an invalid spec, and numbers end at their limits. */
/* Items with settings of their own: the section's are shown once, and no step throws them away. */
static void variants_bring_their_section_once(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("[defense]\nname = midre:area_high=0.8, midre:area_high=0.5+nls:alpha=-0.1, midre\n");
    struct mi_form f;
    int low = 0, alpha = 0;
    assert_int_equal(mi_form_all(&f, s), MI_OK);
    for (int k = 0; k < f.n; k++) {
        low += f.f[k].set && !strcmp(f.f[k].section, "defense.midre") && !strcmp(f.f[k].set->name, "area_low");
        alpha += f.f[k].set && !strcmp(f.f[k].section, "defense.nls") && !strcmp(f.f[k].set->name, "alpha");
    }
    assert_true(low == 1 && alpha == 1);
    assert_int_equal(mi_spec_set(s, "defense", "name", "midre:area_high=0.8"), MI_OK);
    assert_int_not_equal(mi_field_step(s, find(&f, "defense", "name"), 1), MI_OK);
    mi_error_clear();
    assert_string_equal(mi_values_text(s->section[MI_SEC_DEFENSE], "name"), "midre:area_high=0.8");
    mi_form_free(&f);
    mi_spec_free(s);
}

static void steps_stay_valid(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("[defense]\nname = none, midre\n");
    struct mi_form f;
    assert_int_equal(mi_form_all(&f, s), MI_OK);
    for (int k = 0; k < f.n; k++) {
        struct mi_field field = f.f[k];
        if (!field.set || field.kind != MI_FIELD_SETTING) continue;
        for (int by = -1; by <= 1; by += 2)
            for (int j = 0; j < 60; j++)
                if (mi_field_step(s, &field, by) != MI_OK) mi_error_clear(); /* refused whole: the old value stays */
        char *text = mi_spec_write(s);
        assert_non_null(text);
        struct mi_spec *again = mi_spec_parse(text, "written", NULL, 0);
        if (!again)
            fail_msg("%s.%s = %s: %s", field.section, field.set->name, mi_field_value(s, &field), mi_error_text());
        mi_spec_free(again);
        free(text);
    }
    mi_form_free(&f);
    mi_spec_free(s);
}

static void choices_go_round_and_switches_switch(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("");
    struct mi_form f;
    assert_int_equal(mi_form_all(&f, s), MI_OK);
    const struct mi_field *p = find(&f, "run", "precision"), *flip = find(&f, "target", "flip");
    assert_string_equal(mi_field_value(s, p), "auto");
    assert_int_equal(mi_field_step(s, p, -1), MI_OK);
    assert_string_equal(mi_field_value(s, p), "bf16");
    assert_int_equal(mi_field_step(s, p, 1), MI_OK);
    assert_string_equal(mi_field_value(s, p), "auto");
    assert_int_equal(mi_field_step(s, flip, 1), MI_OK);
    assert_false(mi_values_bool(s->section[MI_SEC_TARGET], "flip"));
    assert_int_equal(mi_field_step(s, flip, 1), MI_OK);
    assert_true(mi_values_bool(s->section[MI_SEC_TARGET], "flip"));
    mi_form_free(&f);
    mi_spec_free(s);
}

static void ratios_have_a_bar_and_even_steps(void **state) {
    (void)state;
    struct mi_spec *s = spec_of("[defense]\nname = midre\n[defense.midre]\narea_low = 0.1\narea_high = 0.4\n");
    struct mi_form f;
    assert_int_equal(mi_form_short(&f, s), MI_OK);
    const struct mi_field *high = find(&f, "defense.midre", "area_high"), *size = find(&f, "data", "size");
    assert_true(mi_field_fraction(s, high) > 0.399 && mi_field_fraction(s, high) < 0.401);
    assert_true(mi_field_fraction(s, size) < 0);
    assert_int_equal(mi_field_step(s, high, 1), MI_OK);
    assert_true(mi_field_fraction(s, high) > 0.449 && mi_field_fraction(s, high) < 0.451);
    mi_form_free(&f);
    mi_spec_free(s);
}

static void a_field_says_which_defense_is_meant(void **state) {
    (void)state;
    struct mi_spec *s =
        spec_of("[defense]\nname = none, midre+nls, midre, fe+blur, fe+crop\n[target]\nmodel = quick, vgg16\n");
    struct mi_form f;
    assert_int_equal(mi_form_all(&f, s), MI_OK);
    assert_string_equal(mi_form_defense(s, NULL), "fe+crop"); /* the last */
    assert_string_equal(mi_form_defense(s, find(&f, "defense", "name")), "fe+crop");
    assert_string_equal(mi_form_defense(s, find(&f, "target", "epochs")), "fe+crop");
    assert_string_equal(mi_form_defense(s, find(&f, "attack.gmi", "steps")), "fe+crop");
    assert_string_equal(mi_form_defense(s, find(&f, "defense.midre", "area_low")), "midre"); /* alone before composed */
    assert_string_equal(mi_form_defense(s, find(&f, "defense.nls", "alpha")), "midre+nls");
    assert_string_equal(mi_form_defense(s, find(&f, "defense.fe", "frame")), "fe+blur"); /* the first of several */
    struct mi_field gone = {.section = "defense.bido"};
    assert_string_equal(mi_form_defense(s, &gone), "fe+crop");
    mi_form_free(&f);
    mi_spec_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_can_be_reached),
        cmocka_unit_test(a_chosen_defense_brings_its_ratio),
        cmocka_unit_test(variants_bring_their_section_once),
        cmocka_unit_test(steps_stay_valid),
        cmocka_unit_test(choices_go_round_and_switches_switch),
        cmocka_unit_test(ratios_have_a_bar_and_even_steps),
        cmocka_unit_test(a_field_says_which_defense_is_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
