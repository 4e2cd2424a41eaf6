/* src/cli/cmd_stop.c - `midre stop`: asks a run's engine to checkpoint and end. */
#include "commands.h"
#include "steer.h"

static enum mi_status stop(struct cli *c) {
    return cli_steer(c, "stop", "stops after this step, with a checkpoint");
}

const struct cli_command cli_cmd_stop = {
    .name = "stop",
    .args = "RUN",
    .brief = "Stop a run after its step; `midre resume` goes on from there",
    .min_args = 1,
    .max_args = 1,
    .exec = stop,
};
