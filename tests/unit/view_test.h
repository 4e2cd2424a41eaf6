/* view_test.h - what the two tests of the view share: a scratch run, lines for its journal, one update. */
#ifndef MIDRE_TESTS_VIEW_TEST_H
#define MIDRE_TESTS_VIEW_TEST_H

#include <fcntl.h>
#include <math.h>

#include "midre/view.h"
#include "midre/workspace.h"
#include "run_test.h"

static char *dir, *path;
static struct mi_run_view *view;

static int setup(void **state) {
    (void)state;
    dir = scratch();
    path = mi_path_join(dir, "journal.jsonl");
    view = mi_view_open(dir, 7);
    return view ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    mi_view_close(view);
    free(path);
    free(dir);
    mi_error_clear();
    return 0;
}

static void append(const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* Lines without "v" and "at": both are added here. */
static void say(const char *body) {
    char *line = mi_format("{\"v\":1,\"at\":100.5,%s}\n", body);
    append(line);
    free(line);
}

static bool update(void) {
    bool changed;
    assert_ok(mi_view_update(view, &changed));
    return changed;
}

#define RUN_LINE                                                                                                       \
    "\"t\":\"run\",\"id\":\"0007\",\"name\":\"demo\",\"pid\":4242,\"version\":\"0.1.0\",\"torch\":\"1.13.1\","         \
    "\"device\":\"cpu\",\"threads\":2,\"precision\":\"fp32\",\"seed\":3,\"synthetic\":true,"                           \
    "\"cells\":[{\"id\":\"q/none/gmi\",\"model\":\"q\",\"defense\":\"none\",\"attack\":\"gmi\"},"                      \
    "{\"id\":\"q/midre/gmi\",\"model\":\"q\",\"defense\":\"midre\",\"attack\":\"gmi\"}],"                              \
    "\"stages\":[{\"id\":\"data\",\"kind\":\"data\",\"title\":\"Images\",\"cells\":[]},"                               \
    "{\"id\":\"target.q.none\",\"kind\":\"target\",\"title\":\"Target\",\"cells\":[\"q/none/gmi\"]}]"

#endif
