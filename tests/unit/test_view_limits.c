/* test_view_limits.c - views of long, growing, newer and hostile journals. */
#include <poll.h>

#include "midre/rng.h"
#include "view_test.h"

static void the_log_keeps_the_newest_lines(void **state) {
    (void)state;
    for (int i = 0; i < 4500; i++) {
        char *body = mi_format("\"t\":\"log\",\"level\":\"%s\",\"text\":\"line %d\"", i % 2 ? "warn" : "error", i);
        say(body);
        free(body);
        if (i % 700 == 0) update();
    }
    update();
    assert_int_equal(view->n_log, 2000);
    assert_string_equal(view->log[0].text, "line 2500");
    assert_string_equal(view->log[1999].text, "line 4499");
    assert_int_equal(view->log[1999].level, 'w');
    assert_int_equal(view->log[1998].level, 'e');
    say("\"t\":\"log\",\"level\":\"info\",\"text\":\"\\u001b[31mred\\u009b\\n\"");
    update();
    assert_string_equal(view->log[1999].text, " [31mred   "); /* nothing that could steer a terminal */
    assert_int_equal(view->log[1999].level, 'i');
}

static void load_and_what_is_unknown(void **state) {
    (void)state;
    say("\"t\":\"load\",\"cpu\":55.5,\"rss_mb\":900,\"gpu\":12,\"gpu_mem_mb\":2000,\"gpu_mem_total_mb\":80000");
    update();
    assert_true(view->cpu == 55.5 && view->rss_mb == 900 && view->gpu == 12 && view->gpu_mem_total_mb == 80000);
    say("\"t\":\"load\",\"cpu\":3");
    say("\"t\":\"of a later version\",\"x\":1");
    update();
    assert_true(view->cpu == 3 && isnan(view->gpu));
    assert_int_equal(view->skipped_lines, 0);
    append("{\"v\":2,\"at\":1,\"t\":\"log\",\"level\":\"info\",\"text\":\"x\"}\n{\"v\":2,\"at\":1,\"t\":\"log\"}\n");
    assert_true(update());
    assert_int_equal(view->skipped_lines, 2);
    assert_int_equal(view->n_log, 1);
    assert_non_null(strstr(view->log[0].text, "another version"));
}

static void growth_wakes_a_poll(void **state) {
    (void)state;
    struct pollfd p = {.fd = mi_view_fd(view), .events = POLLIN};
    assert_true(p.fd >= 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    say(RUN_LINE); /* also when the journal is only made now */
    assert_int_equal(poll(&p, 1, 5000), 1);
    update();
    assert_int_equal(poll(&p, 1, 0), 0);
    say("\"t\":\"load\",\"cpu\":3");
    assert_int_equal(poll(&p, 1, 5000), 1);
}

/* 100 000 events in one go; and a second reader that comes late sees the same. */
static void long_journals_are_read_whole(void **state) {
    (void)state;
    enum { EVENTS = 100000 };
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    for (int i = 0; i < EVENTS; i++) {
        fprintf(f, "{\"v\":1,\"at\":%d,", i);
        if (i % 4 == 0)
            fprintf(f, "\"t\":\"recon\",\"cell\":\"c\",\"row\":%d,\"col\":%d}\n", (EVENTS - i) / 40, i / 4 % 10);
        else if (i % 4 == 1)
            fprintf(f, "\"t\":\"scalars\",\"stage\":\"s\",\"step\":%d,\"x\":1,\"values\":{\"a\":1,\"b\":2}}\n", i);
        else if (i % 4 == 2)
            fprintf(f, "\"t\":\"log\",\"level\":\"info\",\"text\":\"x\"}\n");
        else
            fprintf(f, "\"t\":\"progress\",\"stage\":\"s\",\"done\":%d,\"total\":%d}\n", i, EVENTS);
    }
    fclose(f);
    append(text);
    free(text);
    update();
    assert_true(view->updated == EVENTS - 1);
    assert_int_equal(view->cells[0].n_recon, 25000);
    assert_int_equal(view->n_log, 2000);
    assert_int_equal(view->skipped_lines, 0);
    struct mi_run_view *late = mi_view_open(dir, 7);
    assert_ok(mi_view_update(late, NULL));
    assert_int_equal(late->stages[0].series[0].n, view->stages[0].series[0].n);
    assert_memory_equal(late->cells[0].recon, view->cells[0].recon, 25000 * sizeof *late->cells[0].recon);
    mi_view_close(late);
}

/* Damaged, shuffled and cut journals: never a crash, never a bad pointer (run under the sanitizers), sane invariants.
 */
static void check_invariants(const struct mi_run_view *v) {
    double f = mi_view_fraction(v);
    assert_true(f >= 0 && f <= 1);
    assert_true(v->current >= -1 && v->current < (int)v->n_stages);
    for (size_t i = 0; i < v->n_stages; i++) {
        assert_non_null(v->stages[i].id);
        for (size_t k = 0; k < v->stages[i].n_series; k++) assert_true(v->stages[i].series[k].n <= 16384);
    }
    for (size_t i = 0; i < v->n_atlases; i++) {
        const struct mi_atlas_view *a = &v->atlases[i];
        assert_true(a->tile > 0 && a->cols > 0 && a->rows > 0 && a->file && a->file[0] != '/');
        for (int r = 0; a->labels && r < a->rows; r++) assert_true(a->labels[r] >= -1);
    }
    for (size_t i = 0; i < v->n_log; i++) assert_non_null(v->log[i].text);
}

static void damaged_journals_never_surprise(void **state) {
    (void)state;
    static const char *const lines[] = {
        RUN_LINE,
        "\"t\":\"stage\",\"stage\":\"data\",\"kind\":\"data\",\"state\":\"start\",\"title\":\"x\"",
        "\"t\":\"progress\",\"stage\":\"data\",\"phase\":\"pack\",\"done\":5,\"total\":10,\"rate\":1,\"eta\":2",
        "\"t\":\"scalars\",\"stage\":\"data\",\"step\":5,\"x\":1.5,\"values\":{\"loss/train\":1.25,\"lr\":0.1}",
        "\"t\":\"rewind\",\"stage\":\"data\",\"step\":3",
        "\"t\":\"atlas\",\"name\":\"r\",\"kind\":\"recon\",\"file\":\"pictures/"
        "r.png\",\"tile\":64,\"cols\":2,\"rows\":2,\"labels\":[1,2]",
        "\"t\":\"recon\",\"cell\":\"q/none/"
        "gmi\",\"row\":1,\"col\":2,\"label\":3,\"judge\":4,\"confidence\":0.5,\"hit\":true",
        "\"t\":\"score\",\"cell\":\"q/none/gmi\",\"model\":\"q\",\"acc\":90.5,\"attacc\":40,\"identities\":20",
        "\"t\":\"log\",\"level\":\"info\",\"text\":\"hello\"",
        "\"t\":\"load\",\"cpu\":50,\"rss_mb\":100",
        "\"t\":\"state\",\"state\":\"done\"",
    };
    static const char spice[] = "{}[]\":,0919-.eE+\\ntfu\n\x00\x1b\xff"
                                "aZ";
    enum { N = sizeof lines / sizeof lines[0], CASES = 400 };
    size_t skipped = 0;
    for (uint64_t k = 0; k < CASES; k++) {
        struct mi_rng r = mi_rng_make(3, "view", k, 0);
        mi_view_close(view);
        unlink(path);
        view = mi_view_open(dir, 1);
        for (int i = 0; i < 30; i++) {
            const char *body = lines[i < (int)N ? i : (int)mi_rng_below(&r, N)];
            char *line = mi_format("{\"v\":1,\"at\":%d,%s}\n", i, body);
            size_t n = strlen(line);
            for (int64_t hits = mi_rng_below(&r, 4); hits > 0; hits--)
                line[mi_rng_below(&r, (int64_t)n)] = spice[mi_rng_below(&r, (int64_t)sizeof spice - 1)];
            int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
            assert_int_equal(write(fd, line, n), (ssize_t)n);
            close(fd);
            free(line);
            if (mi_rng_below(&r, 5) == 0) {
                update();
                check_invariants(view);
            }
        }
        update();
        check_invariants(view);
        skipped += view->skipped_lines;
    }
    assert_true(skipped > CASES); /* the damage is real */
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_log_keeps_the_newest_lines), T(load_and_what_is_unknown),        T(growth_wakes_a_poll),
        T(long_journals_are_read_whole),   T(damaged_journals_never_surprise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
