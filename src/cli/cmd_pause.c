/* src/cli/cmd_pause.c - `midre pause`: a run's engine waits, keeping its memory. */
#include "commands.h"
#include "steer.h"

static enum mi_status pause_run(struct cli *c) {
    return cli_steer(c, "pause", "pauses; `midre resume` lets it go on");
}

const struct cli_command cli_cmd_pause = {
    .name = "pause",
    .args = "RUN",
    .brief = "Let a running engine wait (it keeps its memory)",
    .min_args = 1,
    .max_args = 1,
    .exec = pause_run,
};
