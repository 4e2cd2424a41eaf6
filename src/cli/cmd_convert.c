/* src/cli/cmd_convert.c - `midre convert`: handed over to the engine, which knows the formats. */
#include <stdint.h>

#include "commands.h"

static const struct cli_option options[] = {
    {"half", 0, NULL, "Store real numbers in 16 bits (half precision)"},
    {"strip", 0, "PREFIX", "Take PREFIX off the names that begin with it"},
    CLI_OPTION_END,
};

static enum mi_status convert(struct cli *c) {
    const char *strip = cli_value(c, "strip");
    char *args[8] = {(char *)(uintptr_t) "convert"};
    int n = 1;
    if (cli_has(c, "half")) args[n++] = (char *)(uintptr_t) "--half";
    if (strip) {
        args[n++] = (char *)(uintptr_t) "--strip";
        args[n++] = (char *)(uintptr_t)strip;
    }
    args[n++] = c->args[0];
    args[n++] = c->args[1];
    return cli_engine_exec(args);
}

const struct cli_command cli_cmd_convert = {
    .name = "convert",
    .args = "IN OUT",
    .brief = "Turn a checkpoint into .safetensors, .pth or .pt",
    .help = "IN may be a safetensors file or anything torch.save wrote, of any age; it is read without executing what "
            "is in it.  Of a file that holds more than a state dict the largest dictionary of tensors is taken; "
            "optimiser states are left behind, prefixes of wrappers (module., model., _orig_mod.) come off, plain "
            "values such as the epoch stay as metadata.  OUT's ending decides what is written; .pth and .pt open with "
            "torch.load(weights_only=True).",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .exec = convert,
};
