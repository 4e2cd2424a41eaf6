/* src/cli/cmd_rm.c - `midre rm`: removes runs; cached products stay for other runs. */
#include "commands.h"

static enum mi_status rm(struct cli *c) {
    for (int i = 0; i < c->n_args; i++) {
        int run;
        MI_TRY(cli_run_number(c, c->args[i], &run));
        MI_TRY(mi_run_delete(&c->ws, run));
        printf("run %d removed\n", run);
    }
    return MI_OK;
}

const struct cli_command cli_cmd_rm = {
    .name = "rm",
    .args = "RUN ...",
    .brief = "Remove runs (trained networks stay in the cache)",
    .help = "Spec, journal and pictures go.  Refused while a run's engine is alive: stop it first.",
    .min_args = 1,
    .max_args = -1,
    .exec = rm,
};
