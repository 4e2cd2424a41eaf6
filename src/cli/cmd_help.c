/* src/cli/cmd_help.c - `midre help`: commands, one command, or everything a spec may say. */
#include <string.h>

#include "commands.h"

static void print_all_settings(int width) {
    cli_fold(
        stdout,
        "A spec is an ini file.  Every key has a default; a key on the command line is section.key=value.  "
        "Sections [model.X] [defense.X] [attack.X] [data.X] hold the settings of one entry: see `midre models show X` "
        "and its siblings.",
        0, width);
    for (int s = 0; s < MI_SEC_COUNT; s++) {
        printf("\n[%s]\n", mi_section_word((enum mi_section)s));
        cli_print_settings(stdout, mi_section_settings((enum mi_section)s), NULL, width);
    }
}

static enum mi_status help(struct cli *c) {
    if (c->n_args == 0) {
        cli_print_help(stdout);
        return MI_OK;
    }
    if (!strcmp(c->args[0], "settings")) {
        print_all_settings(cli_width(stdout));
        return MI_OK;
    }
    const struct cli_command *command = cli_find(c->args[0]);
    if (!command) return MI_E_USAGE;
    cli_print_command(stdout, command);
    return MI_OK;
}

const struct cli_command cli_cmd_help = {
    .name = "help",
    .args = "[COMMAND|settings]",
    .brief = "Explain a command, or list every setting of a spec",
    .max_args = 1,
    .exec = help,
};
