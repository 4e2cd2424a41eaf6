/* src/cli/cmd_version.c - `midre version` and `midre --version`. */
#include "commands.h"

static enum mi_status version(struct cli *c) {
    (void)c;
    puts("midre " MIDRE_VERSION);
    return MI_OK;
}

const struct cli_command cli_cmd_version = {
    .name = "version", .args = "", .brief = "Print the version", .exec = version};
