/* src/cli/cmd_attach.c - `midre attach`: the screens on a run, or its lines with --plain. */
#include "commands.h"
#include "ui/ui.h"

static const struct cli_option options[] = {
    {"plain", 0, NULL, "Print lines instead of screens"},
    {"color", 0, "WORD", "auto, never, mono, 16 or 256"},
    {"images", 0, "WORD", "auto, sixel, half, half256, ascii or off"},
    CLI_OPTION_END,
};

static enum mi_status attach(struct cli *c) {
    struct mi_ui_start start = {.color = cli_value(c, "color"), .images = cli_value(c, "images")};
    MI_TRY(cli_run_number(c, c->n_args ? c->args[0] : "last", &start.attach_run));
    if (cli_has(c, "plain")) return cli_follow(c, start.attach_run, 0);
    return mi_ui_main(&c->ws, &start);
}

const struct cli_command cli_cmd_attach = {
    .name = "attach",
    .args = "[RUN]",
    .brief = "Watch a run on the screens (the newest one by default)",
    .help = "Any number of terminals may watch one run; leaving does not stop it.",
    .options = options,
    .max_args = 1,
    .exec = attach,
};
