/* src/cli/cmd_train.c - `midre train`: the targets (and defenses) of a spec, and nothing after them. */
#include "commands.h"

static enum mi_status train(struct cli *c) {
    struct mi_spec *spec = cli_spec(c, c->args[0], 1);
    enum mi_status st = spec ? cli_launch(c, spec, "target") : mi_error_status();
    mi_spec_free(spec);
    return st;
}

const struct cli_command cli_cmd_train = {
    .name = "train",
    .args = "SPEC.ini [section.key=value ...]",
    .brief = "Train the targets of a spec only (run --until target)",
    .help = "A later `midre run` or `midre attack` of the same spec finds them in the cache.",
    .options = cli_launch_options,
    .min_args = 1,
    .max_args = -1,
    .exec = train,
};
