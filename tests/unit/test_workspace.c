/* test_workspace.c - files that are never half, runs that never share a number, engines that start apart. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "midre/workspace.h"
#include "run_test.h"

static char *dir;
static struct mi_workspace ws;

static int setup(void **state) {
    (void)state;
    dir = scratch();
    return mi_workspace_open(&ws, dir) == MI_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    mi_workspace_close(&ws);
    free(dir);
    mi_error_clear();
    return 0;
}

static char *path_of(const char *name) {
    return mi_path_join(dir, name);
}

static bool holds(const char *path, const char *text) {
    char *bytes = mi_read_file(path, 1 << 20, NULL);
    bool same = bytes && strcmp(bytes, text) == 0;
    free(bytes);
    mi_error_clear();
    return same;
}

/* ---- files ---------------------------------------------------------------------------------------------- */

static void files_are_written_whole(void **state) {
    (void)state;
    char *path = path_of("f");
    assert_ok(mi_write_file(path, "one", 3));
    assert_ok(mi_write_file(path, "three", 5));
    assert_true(holds(path, "three"));
    assert_null(mi_read_file(path, 4, NULL));
    assert_error(MI_E_INPUT, "larger than 4 bytes");
    assert_int_equal(mi_write_file("/nowhere/f", "x", 1), MI_E_MISSING);
    assert_error(MI_E_MISSING, "/nowhere/f");
    free(path);
}

/* A file size limit stands in for a full disk: the old file stays, no temporary one is left. */
static void a_failed_write_leaves_the_old_file(void **state) {
    (void)state;
    struct rlimit before, small;
    char *path = path_of("keep/f"), *folder = path_of("keep"), *big = mi_calloc(100000, 1);
    assert_ok(mi_make_dirs(folder));
    assert_ok(mi_write_file(path, "old", 3));
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 5000;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    enum mi_status status = mi_write_file(path, big, 100000);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, old);
    assert_int_equal(status, MI_E_DISK);
    assert_error(MI_E_DISK, path);
    assert_true(holds(path, "old"));
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* empty: nothing else lies there */
    free(big);
    free(folder);
    free(path);
}

static void a_full_disk_is_called_that(void **state) {
    (void)state;
    int fd;
    char *link_to_full = path_of("runs/0001/lock");
    char *run = path_of("runs/0001");
    assert_ok(mi_make_dirs(run));
    assert_int_equal(symlink("/dev/full", link_to_full), 0);
    assert_int_equal(mi_run_lock(&ws, 1, &fd), MI_E_DISK);
    assert_error(MI_E_DISK, link_to_full);
    assert_int_equal(fd, -1);
    free(run);
    free(link_to_full);
}

static void trees_go_and_links_are_not_followed(void **state) {
    (void)state;
    char *tree = path_of("tree/a/b"), *top = path_of("tree"), *other = path_of("other"),
         *link_in = path_of("tree/a/link");
    char *precious = path_of("other/precious");
    assert_ok(mi_make_dirs(tree));
    assert_ok(mi_make_dirs(tree)); /* again is fine */
    assert_ok(mi_make_dirs(other));
    assert_ok(mi_write_file(precious, "x", 1));
    assert_int_equal(symlink(other, link_in), 0);
    assert_ok(mi_remove_tree(top));
    assert_false(mi_exists(top));
    assert_true(mi_exists(precious));
    assert_ok(mi_remove_tree(top)); /* gone is gone */
    assert_int_equal(mi_make_dirs(precious), MI_E_DISK);
    assert_error(MI_E_DISK, "precious");
    free(precious);
    free(link_in);
    free(other);
    free(top);
    free(tree);
}

static void paths_resolve(void **state) {
    (void)state;
    setenv("HOME", "/home/x", 1);
    static const struct {
        const char *base, *path, *want;
    } cases[] = {{"/b", "c", "/b/c"},        {"/b/", "./c", "/b/c"}, {"/b", "/c", "/c"}, {"/b", "~", "/home/x"},
                 {"/b", "~/c", "/home/x/c"}, {"/b", "~c", "/b/~c"},  {"/", "c", "/c"},   {"/b", "../c", "/b/../c"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = mi_path_resolve(cases[i].base, cases[i].path);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
    char *here = getcwd(NULL, 0), *got = mi_path_resolve(NULL, "c"), *want = mi_path_join(here, "c");
    assert_string_equal(got, want);
    free(want);
    free(got);
    free(here);
}

/* ---- workspace and runs --------------------------------------------------------------------------------- */

static void the_root_is_found_in_order(void **state) {
    (void)state;
    struct mi_workspace w;
    char *env = path_of("env"), *data = path_of("data"), *midre = path_of("data/midre"), *conf = path_of("conf/midre");
    char *ini = path_of("conf/midre/midre.ini"), *config = path_of("conf"), *ini_root = path_of("conf/midre/sub");
    char *here = getcwd(NULL, 0), *keep = getenv("MIDRE_WORKSPACE") ? mi_strdup(getenv("MIDRE_WORKSPACE")) : NULL;
    assert_int_equal(chdir(dir), 0); /* no midre.ini here */
    setenv("XDG_DATA_HOME", data, 1);
    setenv("XDG_CONFIG_HOME", config, 1);
    unsetenv("MIDRE_WORKSPACE");
    assert_ok(mi_workspace_open(&w, NULL));
    assert_string_equal(w.root, midre);
    mi_workspace_close(&w);
    assert_ok(mi_make_dirs(conf));
    assert_ok(mi_write_file(ini, "[workspace]\nroot = sub\n", 23));
    assert_ok(mi_workspace_open(&w, NULL));
    assert_string_equal(w.root, ini_root);
    mi_workspace_close(&w);
    setenv("MIDRE_WORKSPACE", env, 1);
    assert_ok(mi_workspace_open(&w, NULL));
    assert_string_equal(w.root, env);
    mi_workspace_close(&w);
    unsetenv("MIDRE_WORKSPACE");
    assert_ok(mi_write_file(ini, "[workspace]\nrot = sub\n", 22));
    assert_int_equal(mi_workspace_open(&w, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "midre.ini:2: [workspace] has no \"rot\"");
    if (keep) setenv("MIDRE_WORKSPACE", keep, 1);
    assert_int_equal(chdir(here), 0);
    char *all[] = {env, data, midre, conf, ini, config, ini_root, here, keep};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void an_unusable_root_is_named(void **state) {
    (void)state;
    struct mi_workspace w;
    char *file = path_of("file");
    assert_ok(mi_write_file(file, "x", 1));
    assert_int_equal(mi_workspace_open(&w, file), MI_E_DISK);
    assert_error(MI_E_DISK, file);
    assert_null(w.root);
    free(file);
}

static void runs_are_numbered_and_listed(void **state) {
    (void)state;
    int number, *numbers;
    size_t n;
    assert_ok(mi_run_list(&ws, &numbers, &n));
    assert_int_equal(n, 0);
    free(numbers);
    for (int i = 1; i <= 3; i++) {
        assert_ok(mi_run_create(&ws, "[run]\n", &number));
        assert_int_equal(number, i);
    }
    static const char *const noise[] = {"runs/12", "runs/00012", "runs/abcd", "runs/0000", "runs/.tmp", "runs/12345"};
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        char *path = path_of(noise[i]);
        assert_ok(mi_make_dirs(path));
        free(path);
    }
    assert_ok(mi_run_delete(&ws, 2));
    assert_ok(mi_run_create(&ws, "[run]\n", &number));
    assert_int_equal(number, 12346); /* after the highest: numbers are not given twice while later runs exist */
    assert_ok(mi_run_list(&ws, &numbers, &n));
    static const int want[] = {1, 3, 12345, 12346};
    assert_int_equal(n, 4);
    for (size_t i = 0; i < 4; i++) assert_int_equal(numbers[i], want[i]);
    free(numbers);
    char *spec = mi_run_file(&ws, 3, "spec.ini");
    assert_true(holds(spec, "[run]\n"));
    free(spec);
    assert_int_equal(mi_run_delete(&ws, 99), MI_E_MISSING);
    assert_error(MI_E_MISSING, "no run 0099");
}

enum { MAKERS = 8, MAKES = 20 };
static int made[MAKERS][MAKES];

static void *make_runs(void *arg) {
    int *mine = arg;
    for (int i = 0; i < MAKES; i++)
        if (mi_run_create(&ws, "x", &mine[i]) != MI_OK) mine[i] = -1;
    return NULL;
}

static void runs_made_at_once_get_different_numbers(void **state) {
    (void)state;
    pthread_t t[MAKERS];
    bool seen[MAKERS * MAKES + 1] = {false};
    for (int i = 0; i < MAKERS; i++) assert_int_equal(pthread_create(&t[i], NULL, make_runs, made[i]), 0);
    for (int i = 0; i < MAKERS; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < MAKERS; i++) {
        for (int k = 0; k < MAKES; k++) {
            assert_in_range(made[i][k], 1, MAKERS * MAKES);
            assert_false(seen[made[i][k]]);
            seen[made[i][k]] = true;
        }
    }
}

/* Runs `body` in a child that says when it is ready and then waits to be killed. */
static pid_t in_child(void (*body)(void)) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failing test must not leave it behind */
        body();
        if (write(ready[1], "r", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void lock_run_1(void) {
    int fd;
    if (mi_run_lock(&ws, 1, &fd) != MI_OK) _exit(2);
}

static void a_lock_lives_as_long_as_its_engine(void **state) {
    (void)state;
    int number, fd, pid;
    assert_ok(mi_run_create(&ws, "", &number));
    assert_int_equal(mi_run_engine_pid(&ws, 1), 0);
    pid_t child = in_child(lock_run_1);
    for (int i = 0; i < 3; i++) assert_int_equal(mi_run_engine_pid(&ws, 1), child); /* asking does not break it */
    assert_int_equal(mi_run_lock(&ws, 1, &fd), MI_E_INPUT);
    char text[32];
    snprintf(text, sizeof text, "process %d", (int)child);
    assert_error(MI_E_INPUT, text);
    assert_int_equal(mi_run_delete(&ws, 1), MI_E_INPUT);
    assert_error(MI_E_INPUT, text);
    assert_int_equal(mi_run_spawn(&ws, 1, &pid), MI_E_INPUT);
    assert_error(MI_E_INPUT, text);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(mi_run_engine_pid(&ws, 1), 0); /* although the file still holds the pid */
    assert_ok(mi_run_lock(&ws, 1, &fd));
    assert_int_equal(mi_run_engine_pid(&ws, 1), getpid());
    close(fd);
    assert_int_equal(mi_run_engine_pid(&ws, 1), 0);
    assert_ok(mi_run_delete(&ws, 1));
}

/* ---- starting engines ----------------------------------------------------------------------------------- */

static void put_fake_engine(const char *script) {
    char *bin = path_of("bin"), *engine = path_of("bin/midre-engine");
    assert_ok(mi_make_dirs(bin));
    assert_ok(mi_write_file(engine, script, strlen(script)));
    assert_int_equal(chmod(engine, 0755), 0);
    free(engine);
    free(bin);
}

static void an_engine_starts_in_its_own_session(void **state) {
    (void)state;
    int number, pid, status;
    char *old = mi_strdup(getenv("PATH")), *search = mi_format("/nowhere:%s/bin:%s", dir, old);
    assert_ok(mi_run_create(&ws, "", &number));
    setenv("PATH", search, 1);
    put_fake_engine("#!/bin/sh\nread x\necho \"in=$? args=$*\"\necho err >&2\n"
                    "ps -o sid= -p $$ | tr -d ' '\nls /proc/self/fd | wc -l\nexit 7\n");
    assert_ok(mi_run_spawn(&ws, number, &pid));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    char *log = mi_run_file(&ws, number, "engine.log"), *run = mi_run_dir(&ws, number);
    char *want = mi_format("in=1 args=run %s\nerr\n%d\n4\n", run, pid); /* ls has 0, 1, 2 and the folder it lists */
    if (!holds(log, want)) fail_msg("engine.log is \"%s\", expected \"%s\"", mi_read_file(log, 1 << 16, NULL), want);
    free(want);

    char *until = mi_run_file(&ws, number, "until");
    assert_ok(mi_write_file(until, "target\n", 7));
    assert_ok(mi_remove_tree(log));
    put_fake_engine("#!/bin/sh\necho \"$4\" \"$3\"\n");
    assert_ok(mi_run_spawn(&ws, number, &pid));
    waitpid(pid, &status, 0);
    assert_true(holds(log, "target --until\n"));
    assert_ok(mi_write_file(until, "--evil x", 8));
    assert_int_equal(mi_run_spawn(&ws, number, &pid), MI_E_INPUT);
    assert_error(MI_E_INPUT, "word of a stage");
    assert_int_equal(mi_run_spawn(&ws, 77, &pid), MI_E_MISSING);
    assert_error(MI_E_MISSING, "no run 0077");
    assert_ok(mi_remove_tree(until));
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(mi_run_spawn(&ws, number, &pid), MI_E_MISSING);
    assert_error(MI_E_MISSING, "cannot find midre-engine");
    setenv("PATH", old, 1);
    char *all[] = {until, run, log, search, old};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(files_are_written_whole),
        T(a_failed_write_leaves_the_old_file),
        T(a_full_disk_is_called_that),
        T(trees_go_and_links_are_not_followed),
        T(paths_resolve),
        T(the_root_is_found_in_order),
        T(an_unusable_root_is_named),
        T(runs_are_numbered_and_listed),
        T(runs_made_at_once_get_different_numbers),
        T(a_lock_lives_as_long_as_its_engine),
        T(an_engine_starts_in_its_own_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
