/* src/cli/cmd_resume.c - `midre resume`: a paused engine goes on, or a new engine finishes an unfinished run. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "midre/view.h"
#include "steer.h"

/* MI_E_INPUT when the run's journal says it is finished. */
static enum mi_status check_unfinished(struct cli *c, int run) {
    char *dir = mi_run_dir(&c->ws, run);
    struct mi_run_view *v = dir ? mi_view_open(dir, run) : NULL;
    free(dir);
    if (!v) return mi_error_status();
    enum mi_status st = mi_view_update(v, NULL);
    if (st == MI_OK && v->state && !strcmp(v->state, "done"))
        st = mi_fail(MI_E_INPUT, "run %d is finished; `midre show %d` shows it", run, run);
    mi_view_close(v);
    return st;
}

static enum mi_status resume(struct cli *c) {
    int run, pid = 0;
    MI_TRY(cli_run_number(c, c->args[0], &run));
    if (mi_run_engine_pid(&c->ws, run) > 0) return cli_steer(c, "resume", "goes on");
    MI_TRY(check_unfinished(c, run));
    MI_TRY(mi_run_spawn(&c->ws, run, &pid));
    printf("run %d: engine started again, it goes on from the last checkpoint\n", run);
    return cli_has(c, "detach") ? MI_OK : cli_follow(c, run, pid);
}

const struct cli_command cli_cmd_resume = {
    .name = "resume",
    .args = "RUN",
    .brief = "Let a paused run go on, or finish a stopped or broken one",
    .help = "An engine that was stopped, killed or lost with its machine left checkpoints; a new one continues exactly "
            "where they are.",
    .options = cli_launch_options,
    .min_args = 1,
    .max_args = 1,
    .exec = resume,
};
