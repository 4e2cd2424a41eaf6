/* test_check.c - the experiment of `midre check` in the workbench: what it takes over from the Setup screen. */
#include "tests/unit/run_test.h"

#include "midre/check.h"

static const char *text_of(const struct mi_spec *s, enum mi_section k, const char *key) {
    return mi_values_text(s->section[k], key);
}

static void the_judge_and_its_start_weights_are_those_of_setup(void **state) {
    (void)state;
    static const char setup[] = "[run]\nseed = 7\nname = mine\n[data]\nname = synthfaces\npublic = flat\n"
                                "[data.synthfaces]\nidentities = 9\n"
                                "[target]\npretrained = yes\n"
                                "[pretrain]\nmin_images = 10\nbatch = 32\nepochs = 3\n"
                                "[judge]\nmodel = quick\npretrained = yes\nepochs = 11\n";
    setenv("MIDRE_ASSETS", "assets", 1);
    struct mi_spec *base = mi_spec_parse(setup, "setup", NULL, 0);
    assert_non_null(base);
    struct mi_check c = {.file = "some/x.pth", .base = base};
    static char data[] = "synthfaces", model[] = "quickres";
    struct mi_check_facts f = {.data = data, .model = model, .classes = 9, .size = 32};
    struct mi_spec *s = mi_check_spec(&c, &f);
    if (!s) fail_msg("%s", mi_error_text());
    assert_string_equal(text_of(s, MI_SEC_JUDGE, "model"), "quick");
    assert_string_equal(text_of(s, MI_SEC_JUDGE, "pretrained"), "yes");
    assert_string_equal(text_of(s, MI_SEC_JUDGE, "epochs"), "11");
    assert_string_equal(text_of(s, MI_SEC_PRETRAIN, "min_images"), "10");
    assert_string_equal(text_of(s, MI_SEC_PRETRAIN, "batch"), "32");
    assert_string_equal(text_of(s, MI_SEC_RUN, "seed"), "7");
    assert_string_equal(text_of(s, MI_SEC_RUN, "name"), "check x.pth");
    assert_string_equal(text_of(s, MI_SEC_DATA, "public"), "flat");
    assert_string_equal(mi_values_text(mi_spec_entry(s, MI_KIND_DATA, "synthfaces"), "identities"), "9");
    /* The target is the file: whatever Setup trains one from is not asked. */
    assert_string_equal(text_of(s, MI_SEC_TARGET, "pretrained"), "no");
    assert_string_equal(text_of(s, MI_SEC_TARGET, "model"), "quickres");
    assert_non_null(strstr(text_of(s, MI_SEC_TARGET, "checkpoint"), "some/x.pth"));
    mi_spec_free(s);
    mi_spec_free(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_judge_and_its_start_weights_are_those_of_setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
