/* src/cli/cmd_bench.c - `midre bench`: handed over to the engine, which measures this machine. */
#include <stdlib.h>

#include "commands.h"

static enum mi_status bench(struct cli *c) {
    char **args = mi_calloc((size_t)c->n_args + 2, sizeof *args);
    if (!args) return MI_E_NOMEM;
    args[0] = (char *)"bench";
    for (int i = 0; i < c->n_args; i++) args[i + 1] = c->args[i];
    enum mi_status st = cli_engine_exec(args);
    free(args);
    return st;
}

const struct cli_command cli_cmd_bench = {
    .name = "bench",
    .args = "[WORK ...] [--options]",
    .brief = "Measure training and attack speed on this machine",
    .help = "Everything after `bench` goes to `midre-engine bench`; `midre bench --help` lists its works and options.",
    .max_args = -1,
    .raw = true,
    .exec = bench,
};
