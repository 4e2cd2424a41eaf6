/* src/cli/cmd_help.c - `midre help`: commands, one command, everything a spec may say, or the recipes. */
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

static void print_recipes(int width) {
    cli_fold(stdout,
             "[target] recipe = NAME (or [judge], [pretrain]) starts the section from these values; keys that are given "
             "win.",
             0, width);
    for (const struct mi_recipe *r = mi_recipe_table; r->name; r++) {
        printf("\n%s\n", r->name);
        cli_fold(stdout, r->help, 2, width);
        cli_fold(stdout, r->paper, 2, width);
        for (size_t i = 0; i < MI_RECIPE_KEYS && r->set[i].key; i++)
            printf("    %s = %s\n", r->set[i].key, r->set[i].value);
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
    if (!strcmp(c->args[0], "recipes")) {
        int width = cli_width(stdout);
        print_recipes(width > 100 ? 100 : width);
        return MI_OK;
    }
    const struct cli_command *command = cli_find(c->args[0]);
    if (!command) return MI_E_USAGE;
    cli_print_command(stdout, command);
    return MI_OK;
}

const struct cli_command cli_cmd_help = {
    .name = "help",
    .args = "[COMMAND|settings|recipes]",
    .brief = "Explain a command, every setting of a spec, or the training recipes",
    .max_args = 1,
    .exec = help,
};
