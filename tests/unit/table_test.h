/* tests/unit/table_test.h - a scratch workspace with runs whose journals are written here, byte by byte, as an engine
 * would leave them; the published numbers are the shipped files.  Tests run from the top of the source tree. */
#ifndef MIDRE_TESTS_TABLE_TEST_H
#define MIDRE_TESTS_TABLE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "midre/table.h"

static struct mi_workspace ws;

static inline int setup(void **state) {
    (void)state;
    char cwd[2048], root[2048];
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *assets = mi_format("%s/assets", cwd);
    setenv("MIDRE_ASSETS", assets, 1);
    free(assets);
    const char *tmp = getenv("TEST_TMP");
    snprintf(root, sizeof root, "%s/table-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(root));
    return mi_workspace_open(&ws, root) != MI_OK;
}

static inline int teardown(void **state) {
    (void)state;
    enum mi_status st = mi_remove_tree(ws.root);
    mi_workspace_close(&ws);
    return st != MI_OK;
}

/* One score line; `more` is JSON text such as "\"top5\":50". */
static inline char *score(const char *model, const char *defense, double acc, double attacc, int seed,
                          const char *more) {
    return mi_format("{\"v\":1,\"at\":2,\"t\":\"score\",\"cell\":\"%s/%s/gmi\",\"model\":\"%s\",\"defense\":\"%s\","
                     "\"attack\":\"gmi\",\"data\":\"synthfaces\",\"judge\":\"quickres@64\",\"precision\":\"fp32\","
                     "\"device\":\"cpu\",\"acc\":%.17g,\"attacc\":%.17g,\"seed\":%d,\"identities\":20,\"images\":100,"
                     "\"resolution\":64,\"synthetic\":true%s%s}\n",
                     model, defense, model, defense, acc, attacc, seed, *more ? "," : "", more);
}

static inline int make_run(const char *spec, char *const *lines, int n) {
    int run = 0;
    assert_int_equal(mi_run_create(&ws, spec, &run), MI_OK);
    char *path = mi_run_file(&ws, run, "journal.jsonl");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"v\":1,\"at\":1,\"t\":\"run\",\"id\":\"x\",\"name\":\"t\",\"pid\":1,\"seed\":0,\"cells\":[],\"stages\":[]}"
          "\n",
          f);
    for (int i = 0; i < n; i++) fputs(lines[i], f);
    assert_int_equal(fclose(f), 0);
    free(path);
    return run;
}

static inline void remove_runs(void) {
    int *numbers;
    size_t n;
    assert_int_equal(mi_run_list(&ws, &numbers, &n), MI_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(mi_run_delete(&ws, numbers[i]), MI_OK);
    free(numbers);
}

#endif
