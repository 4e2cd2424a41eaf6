/* src/cli/commands.h - one descriptor per command, each defined in its own file. */
#ifndef MIDRE_CLI_COMMANDS_H
#define MIDRE_CLI_COMMANDS_H

#include "cli.h"

extern const struct cli_command cli_cmd_ui, cli_cmd_run, cli_cmd_train, cli_cmd_attack, cli_cmd_eval, cli_cmd_table;
extern const struct cli_command cli_cmd_ls, cli_cmd_show, cli_cmd_attach, cli_cmd_pause, cli_cmd_resume, cli_cmd_stop;
extern const struct cli_command cli_cmd_rm, cli_cmd_data, cli_cmd_models, cli_cmd_attacks, cli_cmd_defenses;
extern const struct cli_command cli_cmd_convert;
extern const struct cli_command cli_cmd_check;
extern const struct cli_command cli_cmd_metrics, cli_cmd_preview, cli_cmd_bench, cli_cmd_doctor, cli_cmd_help;
extern const struct cli_command cli_cmd_version;

#endif
