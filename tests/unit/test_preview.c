/* test_preview.c - the engine's preview as a child of ours, played by a script: what it is told, what is made of its
 * end, and that neither a process nor a folder stays behind. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "midre/preview.h"
#include "midre/workspace.h"
#include "run_test.h"

static char *dir, *tmp;
static struct mi_spec *spec;

/* An engine is looked for beside this program, where none is, and on $PATH. */
static void engine_is(const char *script) {
    char *path = mi_path_join(dir, "midre-engine"), *text = mi_format("#!/bin/sh\n%s\n", script);
    assert_ok(mi_write_file(path, text, strlen(text)));
    assert_int_equal(chmod(path, 0755), 0);
    free(text);
    free(path);
}

static int setup(void **state) {
    (void)state;
    dir = scratch();
    tmp = mi_path_join(dir, "tmp");
    char *search = mi_format("%s:/usr/bin:/bin", dir);
    assert_ok(mi_make_dirs(tmp));
    setenv("TMPDIR", tmp, 1);
    setenv("PATH", search, 1);
    free(search);
    spec = mi_spec_parse("[defense]\nname = none, midre\n[run]\nseed = 7\n", "test", NULL, 0);
    return spec ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    mi_spec_free(spec);
    free(tmp);
    free(dir);
    mi_error_clear();
    return 0;
}

static int reap(struct mi_preview *p) {
    int how = 0;
    assert_int_equal(waitpid(p->pid, &how, 0), p->pid);
    p->pid = 0;
    return how;
}

/* rmdir succeeds when nothing was left in the folder of temporary folders. */
static void nothing_is_left(void) {
    assert_int_equal(rmdir(tmp), 0);
    assert_ok(mi_make_dirs(tmp));
}

static const struct mi_preview_want *wanted(bool quiet) {
    static struct mi_preview_want w;
    w = (struct mi_preview_want){
        .spec = spec, .workspace = "/some/where", .defense = "midre", .rows = 3, .cols = 5, .quiet = quiet};
    return &w;
}

static void the_engine_is_told_everything(void **state) {
    (void)state;
    struct mi_preview p;
    char *said = NULL;
    engine_is(
        "grep '^seed = 7' \"$2\"; echo \"$@\" | sed \"s,$TMPDIR/[^/ ]*,T,g\"; echo noise >&2; echo picture >\"$4\"");
    assert_ok(mi_preview_start(&p, wanted(true)));
    assert_ok(mi_preview_outcome(&p, reap(&p), &said));
    assert_string_equal(said,
                        "seed = 7\npreview T/spec.ini --out T/preview.png --workspace /some/where --defense midre "
                        "--rows 3 --cols 5\n");
    assert_true(mi_exists(p.picture));
    free(said);
    mi_preview_close(&p);
    nothing_is_left();
    struct mi_preview_want plain = {.spec = spec, .workspace = "/w", .out = "/else/where.png", .quiet = true};
    assert_ok(mi_preview_start(&p, &plain));
    assert_string_equal(p.picture, "/else/where.png");
    reap(&p);
    mi_preview_close(&p);
    nothing_is_left();
}

static void its_last_words_are_the_message(void **state) {
    (void)state;
    struct mi_preview p;
    char *said = NULL;
    engine_is(
        "echo half; echo 'a warning' >&2; printf 'midre-engine: defense.crop: low is above high\\n\\n' >&2; exit 3");
    assert_ok(mi_preview_start(&p, wanted(true)));
    assert_int_equal(mi_preview_outcome(&p, reap(&p), &said), MI_E_INPUT);
    assert_int_equal(strncmp(mi_error_text(), "defense.crop", 12), 0);
    assert_error(MI_E_INPUT, "low is above high");
    mi_preview_close(&p);
    engine_is("exit 70");
    assert_ok(mi_preview_start(&p, wanted(true)));
    assert_int_equal(mi_preview_outcome(&p, reap(&p), &said), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "code 70");
    mi_preview_close(&p);
    engine_is("kill -ABRT $$");
    assert_ok(mi_preview_start(&p, wanted(true)));
    assert_int_equal(mi_preview_outcome(&p, reap(&p), &said), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "signal 6");
    mi_preview_close(&p);
    engine_is("exit 4"); /* on this terminal it has spoken for itself */
    assert_ok(mi_preview_start(&p, wanted(false)));
    assert_int_equal(mi_preview_outcome(&p, reap(&p), NULL), MI_STOPPED);
    mi_preview_close(&p);
    assert_null(said);
    nothing_is_left();
}

static void wait_for(const char *path) {
    for (int k = 0; k < 3000 && !mi_exists(path); k++) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_true(mi_exists(path));
}

static void it_ends_with_its_owner(void **state) {
    (void)state;
    struct mi_preview p;
    char *up = mi_path_join(dir, "up"), *deaf = mi_format("trap '' TERM; : >%s/up; while :; do sleep 0.05; done", dir);
    engine_is("exec sleep 60");
    assert_ok(mi_preview_start(&p, wanted(true)));
    mi_preview_stop(&p);
    int how = reap(&p);
    assert_true(p.stopped && WIFSIGNALED(how) && WTERMSIG(how) == SIGTERM);
    mi_preview_close(&p);
    engine_is(deaf);
    assert_ok(mi_preview_start(&p, wanted(true)));
    wait_for(up);
    mi_preview_stop(&p);
    mi_preview_stop(&p); /* the second time is final */
    how = reap(&p);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    mi_preview_close(&p);
    unlink(up);
    assert_ok(mi_preview_start(&p, wanted(true)));
    wait_for(up);
    int pid = p.pid;
    mi_preview_close(&p); /* does not hear it: ended after a second */
    assert_true(waitpid(pid, NULL, WNOHANG) < 0 && errno == ECHILD);
    assert_int_equal(p.pid, 0);
    mi_preview_close(&p); /* again, on a zeroed one */
    nothing_is_left();
    free(deaf);
    free(up);
}

static void what_hinders_the_start_is_said(void **state) {
    (void)state;
    struct mi_preview p;
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(mi_preview_start(&p, wanted(true)), MI_E_MISSING);
    assert_error(MI_E_MISSING, "midre-engine");
    setenv("PATH", dir, 1);
    engine_is("exit 0");
    setenv("TMPDIR", "/nowhere", 1);
    assert_int_equal(mi_preview_start(&p, wanted(true)), MI_E_DISK);
    assert_error(MI_E_DISK, "/nowhere/midre-preview");
    assert_null(p.dir);
    nothing_is_left();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {T(the_engine_is_told_everything), T(its_last_words_are_the_message),
                                       T(it_ends_with_its_owner), T(what_hinders_the_start_is_said)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
