/* src/cli/steer.c - talks to a running engine over its control socket, for stop, pause and resume.
 *
 * An engine needs a moment from its start to its socket (libtorch is loaded first).  Its log carries the time of that
 * start: while the journal is older than a young log, or the engine holds its run without a socket yet, it is waited
 * for instead of being called missing. */
#include "steer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "midre/control.h"

#define STARTING_S 15 /* a log this young may belong to an engine that is still loading */
#define STEP_MS    50

static struct timespec file_time(const struct mi_workspace *ws, int run, const char *name) {
    struct stat st = {0};
    char *path = mi_run_file(ws, run, name);
    if (path && stat(path, &st) != 0) st.st_mtim = (struct timespec){0};
    free(path);
    return st.st_mtim;
}

static bool starting(const struct mi_workspace *ws, int run, int pid) {
    struct timespec log = file_time(ws, run, "engine.log"), journal = file_time(ws, run, "journal.jsonl");
    bool spoken = journal.tv_sec > log.tv_sec || (journal.tv_sec == log.tv_sec && journal.tv_nsec > log.tv_nsec);
    return (pid > 0 || !spoken) && time(NULL) - log.tv_sec < STARTING_S;
}

static enum mi_status send_word(struct cli *c, int run, const char *word, char *reply, int size) {
    char *dir = mi_run_dir(&c->ws, run);
    enum mi_status st = dir ? MI_E_MISSING : MI_E_NOMEM;
    while (st == MI_E_MISSING) {
        int pid = mi_run_engine_pid(&c->ws, run);
        bool wait = starting(&c->ws, run, pid);
        if (pid > 0)
            st = mi_control_send(dir, word, reply, size);
        else
            mi_fail(MI_E_MISSING, "run %d has no engine running, there is nothing to %s", run, word);
        if (st != MI_E_MISSING || !wait) break;
        mi_error_clear();
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
    free(dir);
    return st;
}

enum mi_status cli_steer(struct cli *c, const char *word, const char *what) {
    int run;
    char reply[200] = "";
    MI_TRY(cli_run_number(c, c->args[0], &run));
    MI_TRY(send_word(c, run, word, reply, sizeof reply));
    if (strncmp(reply, "ok", 2) != 0) return mi_fail(MI_E_INTERNAL, "the engine of run %d answered: %s", run, reply);
    printf("run %d %s\n", run, what);
    return MI_OK;
}
