/* src/cli/cmd_attack.c - `midre attack`: reconstructions without the judge's verdict. */
#include "commands.h"

static enum mi_status attack(struct cli *c) {
    struct mi_spec *spec = cli_spec(c, c->args[0], 1);
    enum mi_status st = spec ? cli_launch(c, spec, "attack") : mi_error_status();
    mi_spec_free(spec);
    return st;
}

const struct cli_command cli_cmd_attack = {
    .name = "attack",
    .args = "SPEC.ini [section.key=value ...]",
    .brief = "Attack the targets of a spec, without scoring (run --until attack)",
    .help = "Whatever the attack needs and the cache lacks (targets, priors) is made first.  `midre run` with the same "
            "spec judges the reconstructions later, at no cost for the attack.",
    .options = cli_launch_options,
    .min_args = 1,
    .max_args = -1,
    .exec = attack,
};
