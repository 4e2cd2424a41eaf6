/* test_product.c - products appear whole, are checked, and are made by one engine at a time. */
#include <signal.h>
#include <sys/prctl.h>
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

static bool holds(const char *path, const char *text) {
    char *bytes = mi_read_file(path, 1 << 20, NULL);
    bool same = bytes && strcmp(bytes, text) == 0;
    free(bytes);
    mi_error_clear();
    return same;
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

static struct mi_fingerprint print_of(const char *text) {
    struct mi_hasher *h = mi_hasher_new("target");
    mi_hasher_text(h, "test", text);
    return mi_hasher_done(h);
}

static struct mi_product open_product(const char *text) {
    struct mi_product p;
    struct mi_fingerprint fp = print_of(text);
    assert_ok(mi_product_open(&ws, "target", &fp, &p));
    return p;
}

static void put(const struct mi_product *p, const char *name, const char *text) {
    char *path = mi_product_work_file(p, name);
    assert_ok(mi_write_file(path, text, strlen(text)));
    free(path);
}

static void make_product(const char *text) {
    struct mi_product p = open_product(text);
    assert_ok(mi_product_begin(&p));
    put(&p, "weights.safetensors", "0123456789");
    put(&p, "curves.json", "{}");
    assert_ok(mi_product_commit(&p, "{\"acc\": 93.5}"));
    mi_product_close(&p);
}

static void a_product_appears_whole(void **state) {
    (void)state;
    struct mi_product p = open_product("a");
    char *note;
    assert_false(mi_product_ready(&p, true, &note));
    assert_null(note);
    assert_ok(mi_product_begin(&p));
    put(&p, "weights.safetensors", "0123456789");
    put(&p, "ckpt-train-A.safetensors", "scratch");
    put(&p, "part-z.safetensors", "scratch");
    put(&p, "weights.safetensors.77.tmp", "torn");
    assert_false(mi_product_ready(&p, true, &note));
    assert_ok(mi_product_commit(&p, "{\"acc\": 93.5, \"files\": \"mine win\"}"));
    assert_true(mi_product_ready(&p, true, &note));
    assert_false(mi_exists(p.work));
    char *facts = mi_product_facts(&p), *weights = mi_product_file(&p, "weights.safetensors");
    assert_non_null(strstr(facts, "93.5"));
    assert_non_null(strstr(facts, p.fp.hex));
    assert_null(strstr(facts, "ckpt"));
    assert_true(holds(weights, "0123456789"));
    static const char *const gone[] = {"ckpt-train-A.safetensors", "part-z.safetensors", "weights.safetensors.77.tmp",
                                       "lock"};
    for (size_t i = 0; i < 4; i++) {
        char *path = mi_product_file(&p, gone[i]);
        assert_false(mi_exists(path));
        free(path);
    }
    free(weights);
    free(facts);
    mi_product_close(&p);
}

static void expect_damage(const char *name, const char *why, bool verify) {
    char *note;
    struct mi_product p = open_product(name);
    assert_false(mi_product_ready(&p, verify, &note));
    assert_non_null(note);
    if (!strstr(note, why) || !strstr(note, ".damaged")) fail_msg("note is \"%s\"", note);
    assert_false(mi_exists(p.dir));
    assert_int_equal(mi_error_status(), MI_OK);
    free(note);
    mi_product_close(&p);
}

static void spoil(const char *name, const char *file, const char *text) {
    struct mi_product p = open_product(name);
    char *path = mi_product_file(&p, file);
    assert_ok(text ? mi_write_file(path, text, strlen(text)) : mi_remove_tree(path));
    free(path);
    mi_product_close(&p);
}

static void damage_is_found_and_moved_aside(void **state) {
    (void)state;
    make_product("b");
    spoil("b", "weights.safetensors", "0123456X89");
    struct mi_product p = open_product("b");
    assert_true(mi_product_ready(&p, false, NULL)); /* same size: only the checksum tells */
    mi_product_close(&p);
    expect_damage("b", "weights.safetensors has the wrong checksum", true);
    make_product("b"); /* made again; the second damage gets another name */
    spoil("b", "weights.safetensors", "0123");
    expect_damage("b", "wrong size", false);
    make_product("b");
    spoil("b", "curves.json", NULL);
    expect_damage("b", "curves.json is missing", false);
    static const char *const facts[] = {NULL, "{", "[]", "{\"fingerprint\":\"x\"}"};
    for (size_t i = 0; i < 4; i++) {
        make_product("b");
        spoil("b", "product.json", facts[i]);
        expect_damage("b", "product.json", false);
    }
    make_product("b");
    struct mi_fingerprint fp = print_of("b");
    char *evil = mi_format("{\"fingerprint\":\"%s\",\"files\":{\"../../x\":{\"sha256\":\"\",\"bytes\":0}}}", fp.hex);
    spoil("b", "product.json", evil);
    expect_damage("b", "no proper entry", false);
    free(evil);
}

static void begin_product_c(void) {
    struct mi_product p;
    struct mi_fingerprint fp = print_of("c");
    if (mi_product_open(&ws, "target", &fp, &p) != MI_OK || mi_product_begin(&p) != MI_OK) _exit(2);
}

static void two_engines_do_not_share_a_work_folder(void **state) {
    (void)state;
    pid_t child = in_child(begin_product_c);
    struct mi_product p = open_product("c");
    char text[40];
    snprintf(text, sizeof text, "process %d", (int)child);
    assert_true(mi_product_busy(&p));
    assert_int_equal(mi_product_begin(&p), MI_E_INPUT);
    assert_error(MI_E_INPUT, text);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_false(mi_product_busy(&p));
    assert_ok(mi_product_begin(&p)); /* work of a dead engine is taken over */
    put(&p, "w", "mine");
    assert_ok(mi_product_commit(&p, NULL));
    assert_false(mi_product_busy(&p));
    assert_true(mi_product_ready(&p, true, NULL));
    mi_product_close(&p);
}

static void a_product_that_is_already_there_stays(void **state) {
    (void)state;
    struct mi_product p = open_product("d");
    assert_ok(mi_product_begin(&p));
    put(&p, "w", "first");
    assert_ok(mi_product_commit(&p, NULL));
    assert_ok(mi_product_begin(&p));
    put(&p, "w", "second");
    assert_ok(mi_product_commit(&p, NULL));
    char *w = mi_product_file(&p, "w");
    assert_true(holds(w, "first"));
    assert_false(mi_exists(p.work));
    free(w);
    mi_product_close(&p);
}

static void wrong_use_is_refused(void **state) {
    (void)state;
    struct mi_product p;
    struct mi_fingerprint none = {""}, good = print_of("e");
    assert_int_equal(mi_product_open(&ws, "target", &none, &p), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "no fingerprint");
    assert_int_equal(mi_product_open(&ws, "../x", &good, &p), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "cannot name a stage");
    p = open_product("e");
    assert_int_equal(mi_product_commit(&p, NULL), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "without begin");
    assert_ok(mi_product_begin(&p));
    assert_int_equal(mi_product_commit(&p, "not json"), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "not a JSON object");
    char *folder = mi_product_work_file(&p, "folder");
    assert_ok(mi_make_dirs(folder));
    assert_int_equal(mi_product_commit(&p, NULL), MI_E_INTERNAL);
    assert_error(MI_E_INTERNAL, "only files");
    free(folder);
    mi_product_close(&p);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_product_appears_whole),
        T(damage_is_found_and_moved_aside),
        T(two_engines_do_not_share_a_work_folder),
        T(a_product_that_is_already_there_stays),
        T(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
