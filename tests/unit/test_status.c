/* test_status.c - errors, random numbers, names and values: the ground everything stands on. */
#include <locale.h>
#include <math.h>
#include <pthread.h>

#include "midre/entry.h"
#include "midre/fingerprint.h"
#include "midre/rng.h"
#include "midre/workspace.h"
#include "run_test.h"

/* ---- errors --------------------------------------------------------------------------------------------- */

static void first_error_wins(void **state) {
    (void)state;
    assert_int_equal(mi_fail(MI_E_INPUT, "first %d", 1), MI_E_INPUT);
    assert_int_equal(mi_fail(MI_E_DISK, "second"), MI_E_DISK);
    assert_int_equal(mi_error_status(), MI_E_INPUT);
    assert_string_equal(mi_error_text(), "first 1");
    assert_int_equal(mi_fail_context("file %s", "x.ini"), MI_E_INPUT);
    assert_string_equal(mi_error_text(), "file x.ini: first 1");
    mi_error_clear();
    assert_int_equal(mi_error_status(), MI_OK);
    assert_string_equal(mi_error_text(), "");
    assert_int_equal(mi_fail_context("nothing waits"), MI_E_INTERNAL);
    mi_error_clear();
}

static void messages_cannot_steer_a_terminal(void **state) {
    (void)state;
    char long_text[3000];
    mi_fail(MI_E_INPUT, "a\x1b[2Jb\nc\x07\xc2\x9b"
                        "d \xc3\xa9");
    assert_string_equal(mi_error_text(), "a?[2Jb c???d \xc3\xa9");
    mi_error_clear();
    memset(long_text, 0, sizeof long_text);
    for (size_t i = 0; i + 3 < sizeof long_text; i += 2) memcpy(long_text + i, "\xc3\xa9", 2);
    mi_fail(MI_E_INPUT, "%s", long_text);
    size_t n = strlen(mi_error_text());
    assert_true(n > 1000 && n < 1024 && n % 2 == 0); /* not cut in the middle of a letter */
    mi_error_clear();
}

static void *fail_elsewhere(void *arg) {
    (void)arg;
    mi_fail(MI_E_DISK, "other thread");
    return mi_error_status() == MI_E_DISK ? (void *)fail_elsewhere : NULL;
}

static void errors_belong_to_their_thread(void **state) {
    (void)state;
    pthread_t t;
    void *result;
    assert_int_equal(pthread_create(&t, NULL, fail_elsewhere, NULL), 0);
    pthread_join(t, &result);
    assert_non_null(result);
    assert_int_equal(mi_error_status(), MI_OK);
}

static void exit_codes_are_the_documented_ones(void **state) {
    (void)state;
    static const int codes[] = {0, 0, 2, 3, 4, 5, 6, 70, 70};
    for (int s = MI_OK; s <= MI_E_INTERNAL; s++) assert_int_equal(mi_exit_code((enum mi_status)s), codes[s]);
    for (int s = MI_E_USAGE; s <= MI_E_DISK; s++) assert_int_equal(mi_status_of_exit(codes[s]), s);
    assert_int_equal(mi_status_of_exit(70), MI_E_INTERNAL);
    assert_int_equal(mi_status_of_exit(-1), MI_E_INTERNAL);
}

/* The address sanitizer ends a program that asks for too much unless told that NULL is fine. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static void absurd_allocations_fail_cleanly(void **state) {
    (void)state;
    volatile unsigned long huge = ~0ul / 2; /* volatile: the compiler would warn, and it is right */
    assert_null(mi_calloc(huge, 16));
    assert_error(MI_E_NOMEM, "out of memory");
    void *none = mi_calloc(0, 8);
    assert_non_null(none);
    free(none);
}

/* ---- random numbers ------------------------------------------------------------------------------------- */

static void splitmix_gives_the_published_numbers(void **state) {
    (void)state;
    /* splitmix64 seeded with 1234567: the values every published implementation gives. */
    struct mi_rng r = {.key = 1234567, .counter = 0};
    static const uint64_t want[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                    UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                    UINT64_C(16408922859458223821)};
    for (size_t i = 0; i < 5; i++) assert_true(mi_rng_u64(&r) == want[i]);
    assert_true(mi_hash_text("") == UINT64_C(0xcbf29ce484222325));
    assert_true(mi_hash_text("foobar") == UINT64_C(0x85944171f73967e8)); /* FNV-1a's own test vector */
}

static void draws_can_be_repeated(void **state) {
    (void)state;
    struct mi_rng a = mi_rng_make(7, "flip", 3, 4), b = mi_rng_make(7, "flip", 3, 4);
    struct mi_rng other[] = {mi_rng_make(8, "flip", 3, 4), mi_rng_make(7, "flop", 3, 4), mi_rng_make(7, "flip", 4, 3)};
    uint64_t first = mi_rng_u64(&a);
    assert_true(first == mi_rng_u64(&b));
    for (size_t i = 0; i < 3; i++) assert_true(mi_rng_u64(&other[i]) != first);
}

static void distributions_are_what_they_say(void **state) {
    (void)state;
    enum { N = 100000 };
    struct mi_rng r = mi_rng_make(1, "test", 0, 0);
    double sum = 0, squares = 0;
    int counts[7] = {0};
    for (int i = 0; i < N; i++) {
        double u = mi_rng_uniform(&r), x = mi_rng_range(&r, -2, 3), z = mi_rng_normal(&r);
        assert_true(u >= 0 && u < 1 && x >= -2 && x < 3);
        sum += z;
        squares += z * z;
        counts[mi_rng_below(&r, 7)]++;
    }
    /* Five standard errors; the draws are fixed, so this passes or fails for good. */
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
    for (int i = 0; i < 7; i++) assert_true(fabs(counts[i] - N / 7.0) < 5 * sqrt(N / 7.0));
    assert_int_equal(mi_rng_below(&r, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(mi_rng_below(&r, INT64_MAX) >= 0);
}

static void shuffle_is_a_fair_permutation(void **state) {
    (void)state;
    int first[5] = {0};
    for (uint64_t k = 0; k < 10000; k++) {
        int32_t items[5] = {0, 1, 2, 3, 4};
        bool seen[5] = {false};
        struct mi_rng r = mi_rng_make(k, "shuffle", 0, 0);
        mi_rng_shuffle(&r, items, 5);
        for (int i = 0; i < 5; i++) seen[items[i]] = true;
        for (int i = 0; i < 5; i++) assert_true(seen[i]);
        first[items[0]]++;
    }
    for (int i = 0; i < 5; i++) assert_true(abs(first[i] - 2000) < 5 * 45);
}

/* ---- names and values ----------------------------------------------------------------------------------- */

static void nearest_finds_typing_errors_only(void **state) {
    (void)state;
    static const char *const names[] = {"gmi", "kedmi", "lomma", "vgg16", "resnet18", "area_high", "area_low"};
    size_t n = sizeof names / sizeof names[0];
    assert_string_equal(mi_nearest("gim", names, n), "gmi"); /* a swap counts once */
    assert_string_equal(mi_nearest("vgg", names, n), "vgg16");
    assert_string_equal(mi_nearest("ResNet-18", names, n), "resnet18");
    assert_string_equal(mi_nearest("aera_high", names, n), "area_high");
    assert_null(mi_nearest("zebra", names, n));
    assert_null(mi_nearest("", names, n));
    assert_null(mi_nearest("x", names, n));
    char long_word[500];
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_null(mi_nearest(long_word, names, n));
}

static void catalogue_names_are_found_or_guessed(void **state) {
    (void)state;
    assert_non_null(mi_catalogue_find(MI_KIND_DEFENSE, "midre"));
    assert_null(mi_catalogue_find(MI_KIND_DEFENSE, "mirde"));
    assert_error(MI_E_INPUT, "did you mean \"midre\"");
    assert_null(mi_catalogue_find(MI_KIND_ATTACK, "quantum-entangler"));
    assert_error(MI_E_INPUT, "gmi");
    assert_string_equal(mi_kind_word(MI_KIND_DATA), "data");
}

static const struct mi_setting settings[] = {
    {.name = "count", .type = MI_INT, .def = "5", .min = 1, .max = 100, .unit = "images", .help = "x"},
    {.name = "rate", .type = MI_REAL, .def = "1e-4", .min = 0, .max = 1, .help = "x"},
    {.name = "fast", .type = MI_BOOL, .def = "on", .help = "x"},
    {.name = "fill", .type = MI_CHOICE, .def = "mean", .choices = "mean|zero|one", .help = "x"},
    {.name = "label", .type = MI_TEXT, .def = "", .help = "x", .cosmetic = true},
    MI_SETTING_END,
};

static void values_are_checked_and_canonical(void **state) {
    (void)state;
    struct mi_values *v = mi_values_new("attack.test", settings);
    assert_non_null(v);
    assert_string_equal(mi_values_text(v, "rate"), "0.0001");
    assert_string_equal(mi_values_text(v, "fast"), "yes");
    assert_ok(mi_values_set(v, "rate", "0.1"));
    assert_true(mi_values_real(v, "rate") == 0.1);
    assert_string_equal(mi_values_text(v, "rate"), "0.1");
    assert_ok(mi_values_set(v, "rate", "-0"));
    assert_string_equal(mi_values_text(v, "rate"), "0");
    assert_ok(mi_values_set(v, "count", "100"));
    assert_int_equal(mi_values_int(v, "count"), 100);
    assert_ok(mi_values_set(v, "fast", "FALSE"));
    assert_false(mi_values_bool(v, "fast"));
    assert_ok(mi_values_set(v, "fill", "one"));
    assert_int_equal(mi_values_choice(v, "fill"), 2);

    static const struct {
        const char *name, *text, *message;
    } bad[] = {{"count", "101", "[attack.test] count = \"101\": expected a whole number in 1..100 images"},
               {"count", "1.5", "whole number"},
               {"count", "", "whole number"},
               {"count", "9999999999999999999", "1..100"},
               {"rate", "nan", "number in 0..1"},
               {"rate", "inf", "0..1"},
               {"rate", "0,5", "0..1"},
               {"rate", "1x", "0..1"},
               {"fast", "maybe", "yes or no"},
               {"fill", "me", "one of mean|zero|one"},
               {"fill", "mean|zero", "one of"},
               {"label", "a\nb", "control"},
               {"label", "\"'", "quotes"},
               {"cuont", "1", "did you mean \"count\""},
               {"x", "1", "it has count, rate, fast, fill, label"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(mi_values_set(v, bad[i].name, bad[i].text), MI_E_INPUT);
        assert_error(MI_E_INPUT, bad[i].message);
    }
    assert_int_equal(mi_values_int(v, "count"), 100); /* a refused value changes nothing */
    mi_values_free(v);
}

/* A locale with a decimal comma: an installed one, else one compiled here.  False where neither can be had; the test
 * below then still covers the C locale. */
static bool use_comma_locale(void) {
    if (setlocale(LC_ALL, "de_DE.UTF-8")) return true;
    char *dir = scratch();
    char *command = mi_format("localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", dir);
    bool made = system(command) == 0 && setenv("LOCPATH", dir, 1) == 0 && setlocale(LC_ALL, "de_DE.UTF-8");
    free(command);
    free(dir);
    return made;
}

static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    char text[16];
    bool comma = use_comma_locale();
    snprintf(text, sizeof text, "%.2f", 0.25);
    assert_string_equal(text, comma ? "0,25" : "0.25"); /* the locale is really in force */
    struct mi_values *v = mi_values_new("s", settings);
    assert_ok(mi_values_set(v, "rate", "0.25"));
    assert_string_equal(mi_values_text(v, "rate"), "0.25");
    assert_true(mi_values_real(v, "rate") == 0.25);
    assert_int_equal(mi_values_set(v, "rate", "0,25"), MI_E_INPUT);
    assert_error(MI_E_INPUT, "0..1");
    mi_values_free(v);
    setlocale(LC_ALL, "C");
}

/* ---- fingerprints ---------------------------------------------------------------------------------------- */

static struct mi_fingerprint print_of(const char *key, const char *value, const char *rate, const char *label) {
    struct mi_values *v = mi_values_new("s", settings);
    assert_ok(mi_values_set(v, "rate", rate));
    assert_ok(mi_values_set(v, "label", label));
    struct mi_hasher *h = mi_hasher_new("target");
    mi_hasher_text(h, key, value);
    mi_hasher_values(h, v);
    mi_values_free(v);
    return mi_hasher_done(h);
}

static void fingerprints_follow_what_matters(void **state) {
    (void)state;
    struct mi_fingerprint a = print_of("k", "v", "0.001", "");
    assert_int_equal(strlen(a.hex), 64);
    assert_string_equal(a.hex, print_of("k", "v", "1e-3", "other name").hex); /* spelling and cosmetics do not */
    assert_string_not_equal(a.hex, print_of("k", "v", "0.002", "").hex);
    assert_string_not_equal(a.hex, print_of("kv", "", "0.001", "").hex); /* moved borders do */
    assert_string_not_equal(a.hex, print_of("k", "v\n1:a=1:b", "0.001", "").hex);
}

static void file_hash_is_sha256(void **state) {
    (void)state;
    char sha[65], *dir = scratch(), *path = mi_path_join(dir, "abc");
    assert_ok(mi_write_file(path, "abc", 3));
    assert_ok(mi_file_sha256(path, sha)); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(mi_file_sha256("/nowhere/at/all", sha), MI_E_MISSING);
    assert_error(MI_E_MISSING, "/nowhere/at/all");
    free(path);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(messages_cannot_steer_a_terminal),
        cmocka_unit_test(errors_belong_to_their_thread),
        cmocka_unit_test(exit_codes_are_the_documented_ones),
        cmocka_unit_test(absurd_allocations_fail_cleanly),
        cmocka_unit_test(splitmix_gives_the_published_numbers),
        cmocka_unit_test(draws_can_be_repeated),
        cmocka_unit_test(distributions_are_what_they_say),
        cmocka_unit_test(shuffle_is_a_fair_permutation),
        cmocka_unit_test(nearest_finds_typing_errors_only),
        cmocka_unit_test(catalogue_names_are_found_or_guessed),
        cmocka_unit_test(values_are_checked_and_canonical),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(fingerprints_follow_what_matters),
        cmocka_unit_test(file_hash_is_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
