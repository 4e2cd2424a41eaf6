/* test_spec.c - experiment specs: reading, messages, cells, overrides, writing back, and hostile files. */
#include "midre/rng.h"
#include "midre/spec.h"
#include "midre/workspace.h"
#include "run_test.h"

static struct mi_spec *parse(const char *text) {
    return mi_spec_parse(text, "test.ini", NULL, 0);
}

static void refuse(const char *text, const char *message) {
    struct mi_spec *spec = parse(text);
    assert_null(spec);
    assert_error(MI_E_INPUT, message);
}

static void nothing_given_means_defaults(void **state) {
    (void)state;
    struct mi_spec *spec = mi_spec_load(NULL, NULL, 0);
    if (!spec) fail_msg("%s", mi_error_text());
    assert_null(spec->path);
    assert_int_equal(mi_values_int(spec->section[MI_SEC_ATTACK], "restarts"), 5);
    assert_true(mi_values_real(spec->section[MI_SEC_RUN], "checkpoint_every") == 20);
    assert_int_equal(spec->n_cells, 2);
    assert_string_equal(spec->cells[0].id, "quick/none/gmi");
    assert_string_equal(spec->cells[1].id, "quick/midre/gmi");
    mi_spec_free(spec);
}

static void every_default_is_valid(void **state) {
    (void)state;
    for (int s = 0; s < MI_SEC_COUNT; s++) {
        for (const struct mi_setting *t = mi_section_settings((enum mi_section)s); t->name; t++) {
            assert_non_null(t->def);
            assert_non_null(t->help);
            assert_true(t->help[0] >= 'A' && t->help[0] <= 'Z' && t->help[strlen(t->help) - 1] != '.');
            if (t->type == MI_INT || t->type == MI_REAL) assert_true(t->min < t->max);
            if (t->type == MI_CHOICE) assert_non_null(t->choices);
        }
    }
}

static void a_file_overrides_defaults(void **state) {
    (void)state;
    struct mi_spec *spec = parse("\xef\xbb\xbf# comment\r\n[run]\r\nseed = 7 ; why not\r\nname = \"a; b # c\"\r\n\r\n"
                                 "[defense.midre]\narea_high=0.3\n[target]\nlr = 5e-2\nnesterov = off\n");
    if (!spec) fail_msg("%s", mi_error_text());
    assert_int_equal(mi_values_int(spec->section[MI_SEC_RUN], "seed"), 7);
    assert_string_equal(mi_values_text(spec->section[MI_SEC_RUN], "name"), "a; b # c");
    assert_string_equal(mi_values_text(spec->section[MI_SEC_TARGET], "lr"), "0.05");
    assert_false(mi_values_bool(spec->section[MI_SEC_TARGET], "nesterov"));
    const struct mi_values *midre = mi_spec_entry(spec, MI_KIND_DEFENSE, "midre");
    assert_non_null(midre);
    assert_true(mi_values_real(midre, "area_high") == 0.3);
    assert_true(mi_values_real(midre, "area_low") == 0.1);
    assert_null(mi_spec_entry(spec, MI_KIND_ATTACK, "nobody"));
    mi_spec_free(spec);
}

static void cells_are_the_product_in_order(void **state) {
    (void)state;
    struct mi_spec *spec =
        parse("[target]\nmodel = quick, quickres\n[defense]\nname = none,midre\n[attack]\nname=gmi\n");
    if (!spec) fail_msg("%s", mi_error_text());
    static const char *const ids[] = {"quick/none/gmi", "quick/midre/gmi", "quickres/none/gmi", "quickres/midre/gmi"};
    assert_int_equal(spec->n_cells, 4);
    for (size_t i = 0; i < 4; i++) assert_string_equal(spec->cells[i].id, ids[i]);
    assert_string_equal(spec->cells[3].model, "quickres");
    mi_spec_free(spec);
}

static void problems_name_the_place_and_guess(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"[run]\nseed = x\n", "test.ini:2: [run] seed = \"x\": expected a whole number"},
        {"[run]\n\nsede = 1\n", "test.ini:3: [run] has no setting \"sede\"; did you mean \"seed\"?"},
        {"[rnu]\nseed = 1\n", "test.ini:2: no section [rnu]; did you mean [run]?"},
        {"[midre]\narea_high = 0.3\n", "did you mean [defense.midre]?"},
        {"[defense.mirde]\narea_high = 1\n", "did you mean [defense.midre]?"},
        {"[zzzzzzzzzzzzzzzz]\na = 1\n", "like [attack.NAME]"},
        {"[defense.midre]\narea_high = 2\n", "expected a number in 0..1"},
        {"[target]\nmodel = qick\n", "test.ini:2: [target] model: no model \"qick\"; did you mean \"quick\"?"},
        {"[target]\nmodel = quick,\n", "empty place"},
        {"[target]\nmodel =\n", "the list is empty"},
        {"[target]\nmodel = quick, quick\n", "names quick twice"},
        {"[defense]\nname = midre+none\n", "none does not compose"},
        {"[defense]\nname = midre+midre\n", "names midre twice"},
        {"[defense]\nname = a+b+c+d+e\n", "at most 4"},
        {"[data]\nname = celebs\n", "no data \"celebs\""},
        {"[data]\npublic = synthface\n", "[data] public"},
        {"[judge]\nmodel = quick, quickres\n", "[judge] model"},
        {"[attack]\nname = gmi; steps\n[attack.gmi]\nx = 1\n", "has no setting \"x\""},
        {"[run]\ndevice = gpu\n", "test.ini:2: [run] device = \"gpu\": expected auto, cpu, cuda or cuda:N"},
        {"[run]\ndevice = cuda:\n", "cuda:N"},
        {"[run]\nprecision = fp64\n", "one of auto|fp32|bf16"},
        {"[run]\nseed = 1\nseed = 2\n", "test.ini:3: [run] seed is set twice (first on line 2)"},
        {"seed = 1\n", "test.ini:1: seed stands before the first [section]"},
        {"[run\nseed = 1\n", "test.ini:1: \"[run\" has no closing ]"},
        {"[run] x\n", "not a comment"},
        {"[run]\nseed\n", "neither [section] nor key = value"},
        {"[run]\nSeed = 1\n", "lower-case"},
        {"[RUN]\nseed = 1\n", "lower-case"},
        {"[run]\nname = \"open\n", "not closed"},
        {"[run]\nname = a\\\n", "one line"},
        {"[run]\nname = \x1b[2J\n", "control character 0x1b"},
        {"[run]\n= 1\n", "key \"\""},
        {"[]\n", "[]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) refuse(bad[i].text, bad[i].message);
}

static void limits_hold(void **state) {
    (void)state;
    char *big = mi_calloc(200000, 1);
    strcpy(big, "[run]\nname = ");
    memset(big + strlen(big), 'a', 1200);
    refuse(big, "test.ini:2: line longer than 1000 bytes");
    strcpy(big, "[run]\nname = ");
    memset(big + strlen(big), 'a', 950);
    big[13 + 950] = '\0';
    refuse(big, "at most 900 bytes");
    char *at = big + sprintf(big, "[run]\n");
    for (int i = 0; i < 5000; i++) at += sprintf(at, "key%d = 1\n", i);
    refuse(big, "more than 4000 settings");
    free(big);

    char *dir = scratch(), *path = mi_path_join(dir, "big.ini"), *zeros = mi_calloc(2 << 20, 1);
    assert_ok(mi_write_file(path, zeros, 2 << 20));
    assert_null(mi_spec_load(path, NULL, 0));
    assert_error(MI_E_INPUT, "larger than 1048576 bytes");
    assert_ok(mi_write_file(path, "[run]\nname = a\0b\n", 17));
    assert_null(mi_spec_load(path, NULL, 0));
    assert_error(MI_E_INPUT, "zero bytes");
    assert_null(mi_spec_load("/dev/zero", NULL, 0));
    assert_error(MI_E_INPUT, "not a regular file");
    assert_null(mi_spec_load(dir, NULL, 0));
    assert_error(MI_E_INPUT, "not a regular file");
    assert_null(mi_spec_load("/nowhere/x.ini", NULL, 0));
    assert_error(MI_E_MISSING, "/nowhere/x.ini");
    free(zeros);
    free(path);
    free(dir);
}

static void overrides_win_over_the_file(void **state) {
    (void)state;
    static const char *const good[] = {"run.seed=9", "defense.midre.area_high = 0.25", "run.name=a=b.c",
                                       "defense.name=midre"};
    struct mi_spec *spec = mi_spec_parse("[run]\nseed = 1\n", "test.ini", good, 4);
    if (!spec) fail_msg("%s", mi_error_text());
    assert_int_equal(mi_values_int(spec->section[MI_SEC_RUN], "seed"), 9);
    assert_string_equal(mi_values_text(spec->section[MI_SEC_RUN], "name"), "a=b.c");
    assert_true(mi_values_real(mi_spec_entry(spec, MI_KIND_DEFENSE, "midre"), "area_high") == 0.25);
    assert_int_equal(spec->n_cells, 1);
    mi_spec_free(spec);

    static const struct {
        const char *text, *message;
    } bad[] = {{"seed=9", "section.key=value"},
               {"run.seed", "section.key=value"},
               {"", "section.key=value"},
               {"run.sed=9", "did you mean \"seed\""},
               {"run.=9", "has no setting"},
               {".seed=9", "no section []"},
               {"midre.area_high=0.3", "did you mean [defense.midre]"},
               {"run.seed=-1", "0..2147483647"},
               {"attack.name=gni", "did you mean \"gmi\""},
               {"=", "section.key=value"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(mi_spec_load(NULL, &bad[i].text, 1));
        assert_error(MI_E_INPUT, bad[i].message);
    }
}

static void paths_are_seen_from_the_spec(void **state) {
    (void)state;
    char *dir = scratch(), *path = mi_path_join(dir, "exp.ini"), *want = mi_path_join(dir, "w/x.pth");
    static const char text[] = "[target]\ninit = ./w/x.pth\ncheckpoint = ~/y.pth\n[judge]\ninit = /abs/z.pth\n";
    assert_ok(mi_write_file(path, text, sizeof text - 1));
    setenv("HOME", "/home/somebody", 1);
    struct mi_spec *spec = mi_spec_load(path, NULL, 0);
    if (!spec) fail_msg("%s", mi_error_text());
    assert_string_equal(mi_values_text(spec->section[MI_SEC_TARGET], "init"), want);
    assert_string_equal(mi_values_text(spec->section[MI_SEC_TARGET], "checkpoint"), "/home/somebody/y.pth");
    assert_string_equal(mi_values_text(spec->section[MI_SEC_JUDGE], "init"), "/abs/z.pth");
    assert_string_equal(mi_values_text(spec->section[MI_SEC_JUDGE], "checkpoint"), "");
    assert_string_equal(spec->path, path);
    mi_spec_free(spec);
    free(want);
    free(path);
    free(dir);
}

static void written_specs_read_back_equal(void **state) {
    (void)state;
    static const char *const overrides[] = {"run.name=a; b # c = 'd' [e]",
                                            "target.lr=0.1",
                                            "run.seed=3",
                                            "defense.name=none, midre, midre:fill=zero+nls",
                                            "judge.milestones=10,20,30",
                                            "run.device=cuda:1",
                                            "defense.midre.area_high=0.35",
                                            "attack.gmi.lr=0.017",
                                            "target.init=/x/with \"quotes\" ;#"};
    struct mi_spec *spec = mi_spec_load(NULL, overrides, 9);
    if (!spec) fail_msg("%s", mi_error_text());
    char *once = mi_spec_write(spec);
    assert_non_null(once);
    struct mi_spec *again = parse(once);
    if (!again) fail_msg("%s\n%s", mi_error_text(), once);
    char *twice = mi_spec_write(again);
    assert_string_equal(once, twice);
    assert_string_equal(mi_values_text(again->section[MI_SEC_RUN], "name"), "a; b # c = 'd' [e]");
    assert_string_equal(mi_values_text(again->section[MI_SEC_TARGET], "init"), "/x/with \"quotes\" ;#");
    assert_non_null(strstr(once, "[defense.midre]"));
    assert_non_null(strstr(once, "area_low = 0.1")); /* a used entry is written whole */
    assert_int_equal(again->n_cells, spec->n_cells);
    free(twice);
    free(once);
    mi_spec_free(again);
    mi_spec_free(spec);
}

static void unused_entries_are_kept_only_when_changed(void **state) {
    (void)state;
    static const char *const changed[] = {"defense.name=none", "defense.midre.area_high=0.35"};
    struct mi_spec *spec = mi_spec_load(NULL, changed, 2);
    char *text = mi_spec_write(spec);
    assert_non_null(strstr(text, "[defense.midre]\narea_high = 0.35\n"));
    assert_null(strstr(text, "\narea_low")); /* attacks have an adaptive_area_low */
    free(text);
    mi_spec_free(spec);
    spec = mi_spec_load(NULL, changed, 1);
    text = mi_spec_write(spec);
    assert_null(strstr(text, "[defense.midre]"));
    free(text);
    mi_spec_free(spec);
}

static void a_refused_change_changes_nothing(void **state) {
    (void)state;
    struct mi_spec *spec = mi_spec_load(NULL, NULL, 0);
    char *before = mi_spec_write(spec);
    static const char *const bad[][3] = {{"target", "model", "qick"}, {"target", "model", ""},
                                         {"target", "epochs", "0"},   {"target", "epoch", "3"},
                                         {"nowhere", "x", "1"},       {"run", "device", "tpu"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(mi_spec_set(spec, bad[i][0], bad[i][1], bad[i][2]), MI_E_INPUT);
        mi_error_clear();
        char *after = mi_spec_write(spec);
        assert_string_equal(before, after);
        assert_int_equal(spec->n_cells, 2);
        free(after);
    }
    assert_ok(mi_spec_set(spec, "defense", "name", "midre"));
    assert_int_equal(spec->n_cells, 1);
    assert_ok(mi_spec_set(spec, "defense.midre", "area_high", "0.2"));
    assert_true(mi_values_real(mi_spec_entry(spec, MI_KIND_DEFENSE, "midre"), "area_high") == 0.2);
    free(before);
    mi_spec_free(spec);
}

static void lists_split_with_their_holes(void **state) {
    (void)state;
    size_t n;
    char **list = mi_list_split("  a, b ,,c d,", ',', &n);
    static const char *const want[] = {"a", "b", "", "c d", ""};
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++) assert_string_equal(list[i], want[i]);
    mi_list_free(list, n);
    list = mi_list_split("   ", '+', &n);
    assert_non_null(list);
    assert_int_equal(n, 0);
    mi_list_free(list, n);
    assert_true(mi_list_has("midre+nls", '+', "nls") && mi_list_has(" none , midre+nls", ',', "none"));
    assert_false(mi_list_has("midre+nls", '+', "midr") || mi_list_has("none, midre+nls", ',', "midre") ||
                 mi_list_has("", ',', "x"));
}

/* "midre:area_high=0.8": settings of one item, on top of the section's. */
static void defenses_carry_settings_of_their_own(void **state) {
    (void)state;
    struct mi_spec *spec = parse("[defense]\nname = midre, midre : area_high = 0.8 :fill=zero+nls:alpha=-0.1\n"
                                 "[defense.midre]\narea_low = 0.2\n");
    if (!spec) fail_msg("%s", mi_error_text());
    assert_int_equal(spec->n_cells, 2);
    const char *text = "midre : area_high = 0.8 :fill=zero";
    assert_string_equal(spec->cells[1].defense, "midre : area_high = 0.8 :fill=zero+nls:alpha=-0.1");
    const struct mi_values *own = mi_spec_entry(spec, MI_KIND_DEFENSE, text);
    const struct mi_values *plain = mi_spec_entry(spec, MI_KIND_DEFENSE, "midre");
    assert_non_null(own);
    assert_true(mi_values_real(own, "area_high") == 0.8 && mi_values_real(own, "area_low") == 0.2);
    assert_string_equal(mi_values_text(own, "fill"), "zero");
    assert_true(mi_values_real(plain, "area_high") == 0.4);
    assert_true(mi_values_real(mi_spec_entry(spec, MI_KIND_DEFENSE, "nls:alpha=-0.1"), "alpha") == -0.1);
    assert_null(mi_spec_entry(spec, MI_KIND_DEFENSE, "midre:area_high=0.7"));
    assert_int_equal(mi_spec_set(spec, "defense.midre", "area_low", "0.3"), MI_OK); /* they follow their section */
    assert_true(mi_values_real(mi_spec_entry(spec, MI_KIND_DEFENSE, text), "area_low") == 0.3);
    char *names = mi_composition_names(" none, midre : area_high = 0.8:fill=zero + nls:alpha=1");
    assert_string_equal(names, "none,midre+nls");
    free(names);
    assert_string_equal(spec->cells[0].label, "midre");
    assert_string_equal(spec->cells[1].label, "midre+nls(0.3,0.8,fill=zero,-0.1)");
    assert_true(mi_composition_has("midre:fill=zero + nls:alpha=1", "nls") && mi_composition_has("nls", "nls"));
    assert_false(mi_composition_has("midre:fill=nls", "nls") || mi_composition_has("midre", "mid"));
    mi_spec_free(spec);
    refuse("[defense]\nname = midre:area_hihg=0.8\n", "area_high");
    refuse("[defense]\nname = midre:area_high=2\n", "area_high");
    refuse("[defense]\nname = midre:area_high\n", "NAME=VALUE");
    refuse("[defense]\nname = midre:=1\n", "NAME=VALUE");
    refuse("[defense]\nname = midre:\n", "NAME=VALUE");
    refuse("[defense]\nname = midre:fill=zero+midre\n", "names midre twice");
    refuse("[defense]\nname = mirde:fill=zero\n", "did you mean \"midre\"");
    refuse("[defense]\nname = :\n", "comes before its settings");
    refuse("[defense]\nname = none, :fill=zero\n", "comes before its settings");
    refuse("[defense]\nname = midre+:fill=zero\n", "no defense \"\"");
    refuse("[defense]\nname = midre::fill=zero\n", "NAME=VALUE");
    refuse("[defense]\nname = midre:area_low=0.100000000000000000000000000000000000000000"
           ":area_high=0.400000000000000000000000000000000\n",
           "at most 96 bytes");
}

/* Whatever bytes come, a spec is loaded or refused with a message; and what is loaded can be written and loaded. */
static void damaged_files_never_surprise(void **state) {
    (void)state;
    static const char *const overrides[] = {"run.name=x ; y", "target.model=quick,quickres",
                                            "defense.midre.area_high=.3"};
    struct mi_spec *spec = mi_spec_load(NULL, overrides, 3);
    char *whole = mi_spec_write(spec);
    size_t n = strlen(whole), loaded = 0;
    static const char spice[] = "[]=\"';#\\\n.,+ \t\r\x7f\xc2\x9b%sAz09";
    mi_spec_free(spec);
    for (uint64_t k = 0; k < 1500; k++) {
        struct mi_rng r = mi_rng_make(1, "damage", k, 0);
        char *text = mi_calloc(n + 64, 1);
        memcpy(text, whole, n + 1);
        for (int64_t hits = 1 + mi_rng_below(&r, 6); hits > 0; hits--) {
            size_t at = (size_t)mi_rng_below(&r, (int64_t)n), length = strlen(text);
            char c = spice[mi_rng_below(&r, (int64_t)sizeof spice - 1)];
            if (at >= length) continue;
            switch (mi_rng_below(&r, 4)) {
            case 0:
                text[at] = c;
                break;
            case 1:
                memmove(text + at, text + at + 1, length - at);
                break;
            case 2:
                memmove(text + at + 1, text + at, length - at + 1), text[at] = c;
                break;
            default:
                text[at] = '\0';
            }
        }
        spec = parse(text);
        if (spec) {
            loaded++;
            char *once = mi_spec_write(spec);
            struct mi_spec *again = parse(once);
            if (!again) fail_msg("case %d: %s", (int)k, mi_error_text());
            char *twice = mi_spec_write(again);
            assert_string_equal(once, twice);
            free(twice);
            free(once);
            mi_spec_free(again);
            mi_spec_free(spec);
        } else {
            assert_int_equal(mi_error_status(), MI_E_INPUT);
            assert_true(strlen(mi_error_text()) > 10);
        }
        mi_error_clear();
        free(text);
    }
    assert_true(loaded > 50 && loaded < 1450); /* both ways are really taken */
    free(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_given_means_defaults),
        cmocka_unit_test(every_default_is_valid),
        cmocka_unit_test(a_file_overrides_defaults),
        cmocka_unit_test(cells_are_the_product_in_order),
        cmocka_unit_test(problems_name_the_place_and_guess),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(overrides_win_over_the_file),
        cmocka_unit_test(paths_are_seen_from_the_spec),
        cmocka_unit_test(written_specs_read_back_equal),
        cmocka_unit_test(unused_entries_are_kept_only_when_changed),
        cmocka_unit_test(a_refused_change_changes_nothing),
        cmocka_unit_test(lists_split_with_their_holes),
        cmocka_unit_test(defenses_carry_settings_of_their_own),
        cmocka_unit_test(damaged_files_never_surprise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
