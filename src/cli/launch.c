/* src/cli/launch.c - from an experiment to a running engine.
 *
 * Everything that can be known before the engine starts is checked here, in milliseconds: the spec, the names in it,
 * the private and public photos on disk.  Then the run's folder is made, the resolved spec written into it and the
 * engine started in its own session, so that it outlives this terminal.  The engine reads the run's folder only. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "midre/assets.h"
#include "midre/data.h"
#include "midre/defaults.h"
#include "midre/view.h"

#define START_WAIT_MS 8000 /* --detach: how long an engine may take to say hello before we stop looking */

const struct cli_option cli_launch_options[] = {
    {"detach", 'd', NULL, "Start the engine and come back at once; `midre attach` shows it"},
    {"plain", 0, NULL, "Print lines instead of a live status line (default when not on a terminal)"},
    CLI_OPTION_END,
};

struct mi_spec *cli_spec(struct cli *c, const char *path, int first) {
    char *demo = path ? NULL : mi_assets_path("demo.ini");
    if (!path && !demo) return NULL;
    struct mi_spec *spec =
        mi_spec_load(path ? path : demo, (const char *const *)c->args + first, (size_t)(c->n_args - first));
    free(demo);
    if (spec && mi_defaults_apply(spec) != MI_OK) {
        mi_spec_free(spec);
        spec = NULL;
    }
    return spec;
}

/* Waits until a detached engine has opened its journal or ended; an engine that fails at once is reported. */
static enum mi_status wait_hello(struct cli *c, int run, int pid) {
    char *journal = mi_run_file(&c->ws, run, "journal.jsonl");
    if (!journal) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (int ms = 0; ms < START_WAIT_MS; ms += 50) {
        int wait_status;
        if (waitpid(pid, &wait_status, WNOHANG) == pid) {
            if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0) st = cli_follow(c, run, 0);
            if (WIFEXITED(wait_status)) c->exit_code = WEXITSTATUS(wait_status);
            break;
        }
        if (mi_exists(journal)) break;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000L}, NULL);
    }
    free(journal);
    return st;
}

/* The last stage stays with the run, so that resuming it ends there too (see mi_run_spawn). */
static enum mi_status remember_until(struct cli *c, int run, const char *until) {
    char *path = mi_run_file(&c->ws, run, "until");
    enum mi_status st = path ? mi_write_file(path, until, strlen(until)) : MI_E_NOMEM;
    free(path);
    return st;
}

enum mi_status cli_launch(struct cli *c, const struct mi_spec *spec, const char *until) {
    MI_TRY(cli_workspace(c));
    MI_TRY(mi_data_check_spec(spec, stderr));
    char *engine = mi_engine_path(); /* before a run folder exists that nothing would ever work on */
    if (!engine) return mi_error_status();
    free(engine);
    char *text = mi_spec_write(spec);
    if (!text) return mi_error_status();
    int run = 0, pid = 0;
    enum mi_status st = mi_run_create(&c->ws, text, &run);
    free(text);
    if (st != MI_OK) return st;
    if (until) MI_TRY(remember_until(c, run, until));
    MI_TRY(mi_run_spawn(&c->ws, run, &pid));
    printf("run %d: %zu cell%s, started in %s\n", run, spec->n_cells, spec->n_cells == 1 ? "" : "s", c->ws.root);
    fflush(stdout);
    if (!cli_has(c, "detach")) return cli_follow(c, run, pid);
    st = wait_hello(c, run, pid);
    if (st == MI_OK && c->exit_code == 0)
        printf("watch: midre attach %d   stop: midre stop %d   result: midre show %d\n", run, run, run);
    return st;
}

enum mi_status cli_engine_exec(char *const *args) {
    char *path = mi_engine_path();
    if (!path) return mi_error_status();
    size_t n = 0;
    while (args[n]) n++;
    char **argv = mi_calloc(n + 2, sizeof *argv);
    if (argv) {
        argv[0] = path;
        memcpy(argv + 1, args, n * sizeof *argv);
        fflush(NULL);
        execv(path, argv);
        mi_fail(MI_E_MISSING, "cannot start %s: not an executable for this machine?", path);
    }
    free(argv);
    free(path);
    return mi_error_status();
}
