/* test_control.c - steering: every word, bad words, long paths, dead sockets, clients that hang. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "midre/control.h"
#include "midre/workspace.h"
#include "run_test.h"

static char *dir;

static int setup(void **state) {
    (void)state;
    dir = scratch();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(dir);
    mi_error_clear();
    return 0;
}

static void every_word_does_its_part(void **state) {
    (void)state;
    char reply[64], want[64];
    struct mi_control *c = mi_control_serve(dir);
    if (!c) fail_msg("%s", mi_error_text());
    static const struct {
        const char *word, *state;
        bool paused, stop, snapshot;
    } steps[] = {
        {"ping", "running", false, false, false},   {"pause", "paused", true, false, false},
        {"ping", "paused", true, false, false},     {"snapshot", "paused", true, false, true},
        {"resume", "running", false, false, false}, {"pause", "paused", true, false, false},
        {"stop", "stopping", false, true, false}, /* a paused engine that is stopped must wake up */
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_ok(mi_control_send(dir, steps[i].word, reply, sizeof reply));
        snprintf(want, sizeof want, "ok %s %d", steps[i].state, (int)getpid());
        assert_string_equal(reply, want);
        assert_int_equal(mi_control_paused(c), steps[i].paused);
        assert_int_equal(mi_control_stop_wanted(c), steps[i].stop);
        assert_int_equal(mi_control_take_snapshot(c), steps[i].snapshot);
        assert_false(mi_control_take_snapshot(c)); /* once a request */
    }
    mi_control_close(c);
}

static void bad_words_are_refused(void **state) {
    (void)state;
    char reply[64], long_word[500];
    struct mi_control *c = mi_control_serve(dir);
    assert_int_equal(mi_control_send(dir, "explode", reply, sizeof reply), MI_E_INPUT);
    assert_error(MI_E_INPUT, "unknown request");
    assert_int_equal(strncmp(reply, "error ", 6), 0);
    assert_int_equal(mi_control_send(dir, "", NULL, 0), MI_E_INPUT);
    mi_error_clear();
    memset(long_word, 'x', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_true(mi_control_send(dir, long_word, NULL, 0) != MI_OK);
    mi_error_clear();
    assert_ok(mi_control_send(dir, "ping", NULL, 0)); /* it still serves */
    assert_false(mi_control_stop_wanted(c) || mi_control_paused(c));
    mi_control_close(c);
}

static void nobody_there_is_said(void **state) {
    (void)state;
    assert_int_equal(mi_control_send(dir, "ping", NULL, 0), MI_E_MISSING);
    assert_error(MI_E_MISSING, "no engine is running");
    struct mi_control *c = mi_control_serve(dir);
    mi_control_close(c);
    assert_int_equal(mi_control_send(dir, "ping", NULL, 0), MI_E_MISSING);
    assert_error(MI_E_MISSING, "no engine is running");
    assert_int_equal(mi_control_send("/nowhere", "ping", NULL, 0), MI_E_MISSING);
    assert_error(MI_E_MISSING, "/nowhere");
    assert_null(mi_control_serve("/nowhere"));
    assert_error(MI_E_MISSING, "/nowhere");
}

/* Longer than a socket address can be. */
static void long_folders_work(void **state) {
    (void)state;
    char name[121];
    memset(name, 'd', 120);
    name[120] = '\0';
    char *deep = mi_path_join(dir, name), *deeper = mi_path_join(deep, name);
    assert_ok(mi_make_dirs(deeper));
    struct mi_control *c = mi_control_serve(deeper);
    if (!c) fail_msg("%s", mi_error_text());
    assert_ok(mi_control_send(deeper, "stop", NULL, 0));
    assert_true(mi_control_stop_wanted(c));
    mi_control_close(c);
    free(deeper);
    free(deep);
}

static void a_dead_socket_is_replaced(void **state) {
    (void)state;
    char *path = mi_path_join(dir, "control.sock");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), here = open(dir, O_PATH | O_DIRECTORY);
    struct stat st;
    assert_true(fd >= 0 && here >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control.sock", here);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* as a killed engine leaves it */
    close(here);
    assert_int_equal(mi_control_send(dir, "ping", NULL, 0), MI_E_MISSING);
    mi_error_clear();
    struct mi_control *c = mi_control_serve(dir);
    if (!c) fail_msg("%s", mi_error_text());
    assert_ok(mi_control_send(dir, "ping", NULL, 0));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* only the owner steers */
    mi_control_close(c);
    assert_false(mi_exists(path));
    free(path);
}

static int connect_raw(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), here = open(dir, O_PATH | O_DIRECTORY);
    assert_true(fd >= 0 && here >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control.sock", here);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(here);
    return fd;
}

static void rude_clients_do_no_harm(void **state) {
    (void)state;
    struct mi_control *c = mi_control_serve(dir);
    close(connect_raw()); /* says nothing and goes */
    int fd = connect_raw();
    assert_int_equal(write(fd, "pause\n", 6), 6); /* does not wait for the answer */
    close(fd);
    fd = connect_raw();
    assert_int_equal(write(fd, "\n\n\0\xff", 4), 4);
    close(fd);
    assert_ok(mi_control_send(dir, "ping", NULL, 0));
    assert_true(mi_control_paused(c));
    mi_control_close(c);
}

static void *close_it(void *arg) {
    mi_control_close(arg);
    return arg;
}

/* A client that connects and hangs must not keep the engine from ending: close returns while it hangs. */
static void a_hanging_client_does_not_hold_the_engine(void **state) {
    (void)state;
    struct mi_control *c = mi_control_serve(dir);
    int fd = connect_raw();
    assert_int_equal(write(fd, "pau", 3), 3);
    pthread_t t;
    void *closed = NULL;
    assert_int_equal(pthread_create(&t, NULL, close_it, c), 0);
    pthread_join(t, &closed);
    assert_ptr_equal(closed, c);
    close(fd);
}

static volatile sig_atomic_t caught;
static pthread_t catcher;
static void catch_it(int sig) {
    (void)sig;
    caught++;
    catcher = pthread_self();
}

static void signals_stay_with_the_engine(void **state) {
    (void)state;
    struct mi_control *c = mi_control_serve(dir);
    struct sigaction sa = {.sa_handler = catch_it}, old;
    sigaction(SIGUSR1, &sa, &old);
    for (int i = 1; i <= 20; i++) {
        kill(getpid(), SIGUSR1);
        assert_int_equal(caught, i);
        assert_true(pthread_equal(catcher, pthread_self()));
    }
    sigaction(SIGUSR1, &old, NULL);
    mi_control_close(c);
}

static void requests_can_come_from_inside(void **state) {
    (void)state;
    struct mi_control *c = mi_control_serve(dir);
    mi_control_request(c, MI_REQ_NONE);
    assert_false(mi_control_stop_wanted(c));
    mi_control_request(c, MI_REQ_SNAPSHOT);
    assert_true(mi_control_take_snapshot(c));
    mi_control_request(c, MI_REQ_STOP);
    assert_true(mi_control_stop_wanted(c));
    mi_control_close(c);
    mi_control_close(NULL);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_word_does_its_part),
        T(bad_words_are_refused),
        T(nobody_there_is_said),
        T(long_folders_work),
        T(a_dead_socket_is_replaced),
        T(rude_clients_do_no_harm),
        T(a_hanging_client_does_not_hold_the_engine),
        T(signals_stay_with_the_engine),
        T(requests_can_come_from_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
