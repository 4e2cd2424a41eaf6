/* src/cli/cmd_run.c - `midre run`: an experiment from its spec to its rows in the table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static const char *const stages[] = {"data", "pretrain", "target", "judge", "prior", "students", "attack", "score"};
#define N_STAGES (sizeof stages / sizeof *stages)

static const struct cli_option options[] = {
    {"detach", 'd', NULL, "Start the engine and come back at once; `midre attach` shows it"},
    {"plain", 0, NULL, "Print lines instead of a live status line (default when not on a terminal)"},
    {"demo", 0, NULL, "Use the built-in demo instead of a spec file"},
    {"until", 'u', "STAGE", "Last stage to do: data, pretrain, target, judge, prior, students, attack or score (all)"},
    {"dry-run", 'n', NULL, "Check the settings, print the resolved spec, start nothing"},
    CLI_OPTION_END,
};

static enum mi_status check_stage(const char *word) {
    for (size_t i = 0; i < N_STAGES; i++) {
        if (!strcmp(stages[i], word)) return MI_OK;
    }
    const char *near = mi_nearest(word, stages, N_STAGES);
    return mi_fail(MI_E_USAGE, "run: there is no stage \"%s\"%s%s%s", word, near ? ", did you mean \"" : "",
                   near ? near : "", near ? "\"?" : " (data, pretrain, target, judge, prior, students, attack, score)");
}

static enum mi_status run(struct cli *c) {
    const char *until = cli_value(c, "until");
    bool demo = cli_has(c, "demo");
    if (until) MI_TRY(check_stage(until));
    if (!demo && c->n_args == 0)
        return mi_fail(MI_E_USAGE, "run: which experiment? `midre run SPEC.ini`, or `midre run --demo`");
    struct mi_spec *spec = cli_spec(c, demo ? NULL : c->args[0], demo ? 0 : 1);
    if (!spec) return mi_error_status();
    enum mi_status st;
    if (cli_has(c, "dry-run")) {
        char *text = mi_spec_write(spec);
        st = text ? MI_OK : mi_error_status();
        if (text) fputs(text, stdout);
        free(text);
    } else {
        st = cli_launch(c, spec, until);
    }
    mi_spec_free(spec);
    return st;
}

const struct cli_command cli_cmd_run = {
    .name = "run",
    .args = "SPEC.ini|--demo [section.key=value ...]",
    .brief = "Run an experiment: train, attack, judge, add rows to the table",
    .help = "The engine works in its own process: closing this terminal does not stop it.  Stages that an earlier run "
            "finished with the same settings are taken from the cache.  Settings after the file win over the file:\n\n"
            "  midre run demo.ini run.seed=2 defense.midre.area_high=0.8 target.model=vgg16,resnet18\n\n"
            "On a terminal a status line shows phase, part done, speed and time left; elsewhere a line is printed for "
            "every event and every 30 seconds.  The exit code is the engine's.",
    .options = options,
    .max_args = -1,
    .exec = run,
};
