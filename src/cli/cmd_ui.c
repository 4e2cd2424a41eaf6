/* src/cli/cmd_ui.c - `midre` and `midre ui`: the workbench, with a spec file or the demo in its form. */
#include <stdlib.h>

#include "commands.h"
#include "midre/assets.h"
#include "ui/ui.h"

static const struct cli_option options[] = {
    {"color", 0, "WORD", "auto, never, mono, 16 or 256"},
    {"images", 0, "WORD", "auto, sixel, half, half256, ascii or off"},
    {"plain", 0, NULL, "Lines instead of screens: follows the newest run"},
    CLI_OPTION_END,
};

static enum mi_status ui(struct cli *c) {
    struct mi_ui_start start = {
        .color = cli_value(c, "color"), .images = cli_value(c, "images"), .plain = cli_has(c, "plain")};
    char *demo = NULL;
    if (c->n_args) {
        if (!mi_exists(c->args[0])) return mi_fail(MI_E_MISSING, "there is no file %s", c->args[0]);
        start.spec_path = c->args[0];
    } else {
        char *path = mi_assets_path("demo.ini");
        demo = path ? mi_read_file(path, 1u << 20, NULL) : NULL;
        free(path);
        if (!demo) return mi_error_status();
        start.spec_text = demo;
    }
    enum mi_status st = cli_workspace(c);
    if (st == MI_OK) st = mi_ui_main(&c->ws, &start);
    free(demo);
    return st;
}

const struct cli_command cli_cmd_ui = {
    .name = "ui",
    .args = "[SPEC.ini]",
    .brief = "The workbench; same as `midre` or `midre SPEC.ini`",
    .help = "Setup, live curves, gallery of reconstructions, table, runs, log.  ? shows the keys.",
    .options = options,
    .max_args = 1,
    .exec = ui,
};
