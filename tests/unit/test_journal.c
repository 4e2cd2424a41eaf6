/* test_journal.c - the journal: whole lines, torn ends, other writers, damage, limits. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "midre/journal.h"
#include "midre/rng.h"
#include "midre/workspace.h"
#include "run_test.h"

static char *dir, *path;

static int setup(void **state) {
    (void)state;
    dir = scratch();
    path = mi_path_join(dir, "journal.jsonl");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(path);
    free(dir);
    mi_error_clear();
    return 0;
}

static void append(const char *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}
static void append_text(const char *text) {
    append(text, strlen(text));
}

struct seen {
    size_t n, stop_at;
    json_int_t numbers[4096];
};

static bool note(const json_t *event, void *user) {
    struct seen *s = user;
    if (s->n < 4096) s->numbers[s->n] = json_integer_value(json_object_get(event, "n"));
    s->n++;
    return s->n != s->stop_at;
}

static json_t *numbered(int n) {
    return json_pack("{s:s, s:i}", "t", "log", "n", n);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    struct mi_journal *j = mi_journal_open(path);
    assert_non_null(j);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    for (int i = 0; i < 10; i++) {
        assert_ok(mi_journal_write(j, numbered(i)));
        assert_ok(mi_journal_read(r, note, &s));
        assert_int_equal(s.n, i + 1);
        assert_int_equal(s.numbers[i], i);
    }
    assert_ok(mi_journal_log(j, "warn", "%s is %d", "x", 3));
    assert_ok(mi_journal_log(j, "info", "not UTF-8: \xff\xfe"));
    assert_ok(mi_journal_sync(j));
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 12);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_reader_close(r);
    mi_journal_close(j);

    char *text = mi_read_file(path, 1 << 20, NULL);
    assert_non_null(strstr(text, "\"v\":1"));
    assert_non_null(strstr(text, "\"at\":"));
    assert_non_null(strstr(text, "\"text\":\"x is 3\""));
    assert_non_null(strstr(text, "not UTF-8: ??"));
    free(text);
}

static void events_without_a_type_are_refused(void **state) {
    (void)state;
    struct mi_journal *j = mi_journal_open(path);
    assert_int_equal(mi_journal_write(j, json_pack("{s:i}", "n", 1)), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "\"t\"");
    assert_int_equal(mi_journal_write(j, NULL), MI_E_NOMEM);
    mi_error_clear();
    char *huge = mi_calloc((2 << 20) + 1, 1);
    memset(huge, 'a', 2 << 20);
    assert_int_equal(mi_journal_write(j, json_pack("{s:s, s:s}", "t", "log", "text", huge)), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "1 MiB");
    free(huge);
    mi_journal_close(j);
    char *text = mi_read_file(path, 1 << 20, NULL);
    assert_string_equal(text, "");
    free(text);
}

static void a_journal_that_is_not_there_yet_is_empty(void **state) {
    (void)state;
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 0);
    append_text("{\"t\":\"log\",\"n\":5}\n");
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 1);
    mi_journal_reader_close(r);
}

static void an_unfinished_line_waits(void **state) {
    (void)state;
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    append_text("{\"t\":\"log\",\"n\":1}\n{\"t\":\"log\",");
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 1);
    append_text("\"n\":2}");
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 1);
    append_text("\n");
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.numbers[1], 2);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_reader_close(r);
}

/* A crash tears a line, a reader sees the torn end, the next engine cuts it off and writes something longer. */
static void a_torn_end_is_cut_and_replaced(void **state) {
    (void)state;
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    append_text("{\"t\":\"log\",\"n\":1}\n{\"t\":\"scalars\",\"values\":{\"loss");
    assert_ok(mi_journal_read(r, note, &s));
    struct mi_journal *j = mi_journal_open(path);
    assert_non_null(j);
    for (int i = 2; i < 40; i++) assert_ok(mi_journal_write(j, numbered(i)));
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 39);
    for (int i = 0; i < 39; i++) assert_int_equal(s.numbers[i], i + 1);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_close(j);
    mi_journal_reader_close(r);
}

static void a_file_that_is_one_torn_line_becomes_empty(void **state) {
    (void)state;
    char *torn = mi_calloc(10001, 1);
    memset(torn, 'x', 10000);
    append(torn, 10000); /* longer than the block the end is searched in */
    free(torn);
    struct mi_journal *j = mi_journal_open(path);
    assert_non_null(j);
    assert_ok(mi_journal_write(j, numbered(1)));
    mi_journal_close(j);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 1);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_reader_close(r);
}

static void bad_lines_are_counted_and_passed(void **state) {
    (void)state;
    append_text(
        "{\"t\":\"log\",\"n\":1}\n"
        "not json\n[1,2]\n42\n{\"n\":1}\n{\"t\":7}\n{\"t\":\"log\"} tail\n{\"t\":\"log\",\"t\":\"log\"}\n\n  \r\n"
        "{\"t\":\"a\\u0000b\"}\n\xff\xfe{}\n{\"t\":\"log\",\"n\":2}\r\n");
    append("{\"t\":\"l\0g\"}\n", 12);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.numbers[1], 2);
    assert_int_equal(mi_journal_skipped(r), 10);
    mi_journal_reader_close(r);
}

static void overlong_lines_are_passed_in_any_pieces(void **state) {
    (void)state;
    enum { HUGE_LINE = 3 << 20 };
    char *huge = mi_calloc(HUGE_LINE, 1);
    memset(huge, 'a', HUGE_LINE);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    append_text("{\"t\":\"log\",\"n\":1}\n");
    for (int piece = 0; piece < 3; piece++) {
        append(huge, HUGE_LINE / 3);
        assert_ok(mi_journal_read(r, note, &s));
    }
    append_text("\n{\"t\":\"log\",\"n\":2}\n");
    assert_ok(mi_journal_read(r, note, &s));
    append(huge, HUGE_LINE);
    append_text("\n{\"t\":\"log\",\"n\":3}\n");
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 3);
    assert_int_equal(s.numbers[2], 3);
    assert_int_equal(mi_journal_skipped(r), 2);
    mi_journal_reader_close(r);
    free(huge);
}

static void a_reader_can_stop_and_go_on(void **state) {
    (void)state;
    struct mi_journal *j = mi_journal_open(path);
    for (int i = 0; i < 100; i++) assert_ok(mi_journal_write(j, numbered(i)));
    mi_journal_close(j);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {.stop_at = 30};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 30);
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, 100);
    for (int i = 0; i < 100; i++) assert_int_equal(s.numbers[i], i);
    mi_journal_reader_close(r);
}

enum { THREADS = 4, EACH = 200 };

static void *write_many(void *arg) {
    for (int i = 0; i < EACH; i++)
        if (mi_journal_write(arg, numbered(i)) != MI_OK) return arg;
    return NULL;
}

static void threads_do_not_mix_lines(void **state) {
    (void)state;
    struct mi_journal *j = mi_journal_open(path);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&t[i], NULL, write_many, j), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(t[i], &failed);
        assert_null(failed);
    }
    mi_journal_close(j);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, THREADS * EACH);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_reader_close(r);
}

/* A file size limit stands in for a full disk: the write that passes it is cut short, then refused. */
static void a_full_disk_leaves_whole_lines(void **state) {
    (void)state;
    struct rlimit before, small;
    struct mi_journal *j = mi_journal_open(path);
    assert_ok(mi_journal_write(j, numbered(1)));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4000;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum mi_status status = MI_OK;
    int written = 1;
    while (status == MI_OK && written < 1000) {
        status = mi_journal_write(j, json_pack("{s:s, s:i, s:s}", "t", "log", "n", written + 1, "text", "some words"));
        if (status == MI_OK) written++;
    }
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, old);
    assert_int_equal(status, MI_E_DISK);
    assert_error(MI_E_DISK, path);
    assert_true(written > 10 && written < 1000);
    assert_ok(mi_journal_write(j, numbered(0))); /* space is back: the next line is whole again */
    mi_journal_close(j);
    struct mi_journal_reader *r = mi_journal_reader_open(path);
    struct seen s = {0};
    assert_ok(mi_journal_read(r, note, &s));
    assert_int_equal(s.n, written + 1);
    assert_int_equal(mi_journal_skipped(r), 0);
    mi_journal_reader_close(r);
}

static void unwritable_places_are_named(void **state) {
    (void)state;
    assert_null(mi_journal_open("/nowhere/journal.jsonl"));
    assert_error(MI_E_MISSING, "/nowhere/journal.jsonl");
}

static void damaged_journals_never_surprise(void **state) {
    (void)state;
    enum { LINES = 60 };
    char whole[LINES * 64];
    size_t n = 0;
    for (int i = 0; i < LINES; i++)
        n += (size_t)sprintf(whole + n, "{\"t\":\"log\",\"n\":%d,\"v\":1,\"x\":{\"y\":[1,2]}}\n", i);
    for (uint64_t k = 0; k < 300; k++) {
        struct mi_rng rng = mi_rng_make(2, "journal", k, 0);
        char bytes[sizeof whole];
        memcpy(bytes, whole, n);
        int64_t hits = 1 + mi_rng_below(&rng, 20);
        for (int64_t i = 0; i < hits; i++) bytes[mi_rng_below(&rng, (int64_t)n)] = (char)mi_rng_below(&rng, 256);
        unlink(path);
        struct mi_journal_reader *r = mi_journal_reader_open(path);
        struct seen s = {0};
        for (size_t at = 0; at < n;) { /* arrives in random pieces */
            size_t piece = (size_t)mi_rng_below(&rng, 700) + 1;
            if (piece > n - at) piece = n - at;
            append(bytes + at, piece);
            assert_ok(mi_journal_read(r, note, &s));
            at += piece;
        }
        /* A hit spoils its own line, or joins two; every other line must have come through. */
        assert_true(s.n + 2 * (size_t)hits >= LINES && s.n <= LINES + (size_t)hits);
        mi_journal_reader_close(r);
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_read),
        T(events_without_a_type_are_refused),
        T(a_journal_that_is_not_there_yet_is_empty),
        T(an_unfinished_line_waits),
        T(a_torn_end_is_cut_and_replaced),
        T(a_file_that_is_one_torn_line_becomes_empty),
        T(bad_lines_are_counted_and_passed),
        T(overlong_lines_are_passed_in_any_pieces),
        T(a_reader_can_stop_and_go_on),
        T(threads_do_not_mix_lines),
        T(a_full_disk_leaves_whole_lines),
        T(unwritable_places_are_named),
        T(damaged_journals_never_surprise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
