/* src/cli/commands.c - the list of commands, in the order the help shows them.  A new command is one file and one line
 * here. */
#include "commands.h"

#include <string.h>

const struct cli_command *const cli_commands[] = {
    &cli_cmd_ui,
    &cli_cmd_run,
    &cli_cmd_train,
    &cli_cmd_attack,
    &cli_cmd_eval,
    &cli_cmd_check,
    &cli_cmd_table,
    &cli_cmd_ls,
    &cli_cmd_show,
    &cli_cmd_attach,
    &cli_cmd_pause,
    &cli_cmd_resume,
    &cli_cmd_stop,
    &cli_cmd_rm,
    &cli_cmd_data,
    &cli_cmd_models,
    &cli_cmd_attacks,
    &cli_cmd_defenses,
    &cli_cmd_metrics,
    &cli_cmd_preview,
    &cli_cmd_convert,
    &cli_cmd_bench,
    &cli_cmd_doctor,
    &cli_cmd_help,
    &cli_cmd_version,
    NULL,
};

const struct cli_command *cli_find(const char *name) {
    const char *names[sizeof cli_commands / sizeof *cli_commands];
    size_t n = 0;
    for (; cli_commands[n]; n++) {
        if (!strcmp(cli_commands[n]->name, name)) return cli_commands[n];
        names[n] = cli_commands[n]->name;
    }
    const char *near = mi_nearest(name, names, n);
    if (near)
        mi_fail(MI_E_USAGE, "there is no command \"%s\", did you mean \"%s\"?", name, near);
    else
        mi_fail(MI_E_USAGE, "there is no command (and no spec file) \"%s\"; `midre help` lists the commands", name);
    return NULL;
}
