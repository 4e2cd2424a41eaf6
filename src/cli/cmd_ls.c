/* src/cli/cmd_ls.c - `midre ls`: the runs of the workspace, newest last, one line each. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "midre/view.h"

/* An engine that was killed had no time to say so. */
const char *cli_run_state(const struct mi_run_view *v, int engine_pid) {
    if (!v->state) return engine_pid ? "starting" : "empty";
    bool alive = !strcmp(v->state, "running") || !strcmp(v->state, "paused");
    return alive && !engine_pid ? "broken off" : v->state;
}

static void print_run(struct cli *c, const struct mi_run_view *v) {
    char when[32] = "-", done[16] = "";
    if (v->started > 0) {
        time_t t = (time_t)v->started;
        struct tm tm;
        localtime_r(&t, &tm);
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
    }
    const char *state = cli_run_state(v, mi_run_engine_pid(&c->ws, v->number));
    if (strcmp(state, "done") != 0) snprintf(done, sizeof done, "%.0f%%", 100 * mi_view_fraction(v));
    printf("%4d  %-16s  %-10s %4s  %3zu cell%s  %s%s\n", v->number, when, state, done, v->n_cells,
           v->n_cells == 1 ? " " : "s", v->name ? v->name : "", v->synthetic ? " (synthetic)" : "");
    if (v->error && !strcmp(state, "failed")) printf("      %s\n", v->error);
}

static enum mi_status ls(struct cli *c) {
    int *numbers = NULL;
    size_t n = 0;
    MI_TRY(cli_workspace(c));
    MI_TRY(mi_run_list(&c->ws, &numbers, &n));
    if (n == 0) printf("No runs in %s yet; `midre run --demo` makes the first.\n", c->ws.root);
    for (size_t i = 0; i < n; i++) {
        char *dir = mi_run_dir(&c->ws, numbers[i]);
        struct mi_run_view *v = dir ? mi_view_open(dir, numbers[i]) : NULL;
        if (v && mi_view_update(v, NULL) == MI_OK)
            print_run(c, v);
        else
            printf("%4d  cannot be read: %s\n", numbers[i], mi_error_text());
        mi_error_clear();
        mi_view_close(v);
        free(dir);
    }
    free(numbers);
    return MI_OK;
}

const struct cli_command cli_cmd_ls = {.name = "ls", .args = "", .brief = "List the runs of the workspace", .exec = ls};
