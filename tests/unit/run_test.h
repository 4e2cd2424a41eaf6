/* run_test.h - what the tests of src/run share: cmocka, a scratch folder, messages. */
#ifndef MIDRE_TESTS_RUN_TEST_H
#define MIDRE_TESTS_RUN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "midre/status.h"

/* A fresh folder below $TEST_TMP (or /tmp); caller frees the name, the runner removes the folder. */
static inline char *scratch(void) {
    const char *base = getenv("TEST_TMP");
    char *dir = mi_format("%s/run.XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

/* The waiting error has this status and its message holds this text; forgets it. */
#define assert_error(status_, text_)                                                                                   \
    do {                                                                                                               \
        if (mi_error_status() != (status_) || !strstr(mi_error_text(), (text_)))                                       \
            fail_msg("error is %d \"%s\", expected %d with \"%s\"", (int)mi_error_status(), mi_error_text(),           \
                     (int)(status_), (text_));                                                                         \
        mi_error_clear();                                                                                              \
    } while (0)

/* The call is MI_OK; shows the message when not. */
#define assert_ok(call_)                                                                                               \
    do {                                                                                                               \
        enum mi_status assert_ok_status_ = (call_);                                                                    \
        if (assert_ok_status_ != MI_OK)                                                                                \
            fail_msg("%s: status %d: %s", #call_, (int)assert_ok_status_, mi_error_text());                            \
    } while (0)

#endif
