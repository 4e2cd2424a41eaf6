/* src/cli/steer.c - talks to a running engine over its control socket, for stop, pause and resume. */
#include "steer.h"

#include <stdlib.h>
#include <string.h>

#include "midre/control.h"

enum mi_status cli_steer(struct cli *c, const char *word, const char *what) {
    int run;
    MI_TRY(cli_run_number(c, c->args[0], &run));
    if (mi_run_engine_pid(&c->ws, run) == 0)
        return mi_fail(MI_E_MISSING, "run %d has no engine running, there is nothing to %s", run, word);
    char *dir = mi_run_dir(&c->ws, run), reply[200] = "";
    enum mi_status st = dir ? mi_control_send(dir, word, reply, sizeof reply) : MI_E_NOMEM;
    free(dir);
    if (st != MI_OK) return st;
    if (strncmp(reply, "ok", 2) != 0) return mi_fail(MI_E_INTERNAL, "the engine of run %d answered: %s", run, reply);
    printf("run %d %s\n", run, what);
    return MI_OK;
}
