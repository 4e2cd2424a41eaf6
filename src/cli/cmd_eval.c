/* src/cli/cmd_eval.c - `midre eval`: how good is a checkpoint somebody handed over?
 *
 * An ordinary run whose target is not trained but loaded, ended after the target stage, so its accuracy is measured by
 * the very code that measures every target.  The checkpoint is data: nothing in it is executed. */
#include <stdlib.h>

#include "commands.h"
#include "midre/defaults.h"

static const struct cli_option options[] = {
    {"detach", 'd', NULL, "Start the engine and come back at once; `midre attach` shows it"},
    {"plain", 0, NULL, "Print lines instead of a live status line (default when not on a terminal)"},
    {"model", 'm', "NAME", "Architecture of the checkpoint (`midre models` lists them)"},
    {"data", 0, "NAME", "Dataset it was trained on (`midre data list`)"},
    {"size", 0, "PX", "Side of its input images (64)"},
    CLI_OPTION_END,
};

/* Every override of the run: what the options mean, then the person's own words. */
static enum mi_status collect(struct cli *c, const char *file, char **list, size_t *n) {
    const char *size = cli_value(c, "size");
    list[(*n)++] = mi_format("target.checkpoint=%s", file);
    list[(*n)++] = mi_format("target.model=%s", cli_value(c, "model"));
    list[(*n)++] = mi_format("data.name=%s", cli_value(c, "data"));
    list[(*n)++] = mi_strdup("defense.name=none");
    if (size) list[(*n)++] = mi_format("data.size=%s", size);
    for (int i = 1; i < c->n_args; i++) list[(*n)++] = mi_strdup(c->args[i]);
    for (size_t i = 0; i < *n; i++) {
        if (!list[i]) return MI_E_NOMEM;
    }
    return MI_OK;
}

static enum mi_status eval(struct cli *c) {
    if (!cli_value(c, "model") || !cli_value(c, "data"))
        return mi_fail(MI_E_USAGE, "eval: say what the file is: midre eval FILE --model NAME --data NAME");
    MI_TRY(mi_catalogue_find(MI_KIND_MODEL, cli_value(c, "model")) ? MI_OK : MI_E_INPUT);
    MI_TRY(mi_catalogue_find(MI_KIND_DATA, cli_value(c, "data")) ? MI_OK : MI_E_INPUT);
    char *file = mi_path_resolve(NULL, c->args[0]);
    char **list = mi_calloc((size_t)c->n_args + 8, sizeof *list);
    size_t n = 0;
    enum mi_status st = file && list ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK && !mi_exists(file)) st = mi_fail(MI_E_MISSING, "there is no checkpoint %s", file);
    if (st == MI_OK) st = collect(c, file, list, &n);
    struct mi_spec *spec = st == MI_OK ? mi_spec_load(NULL, (const char *const *)list, n) : NULL;
    if (spec) st = mi_defaults_apply(spec);
    if (st == MI_OK) st = spec ? cli_launch(c, spec, "target") : mi_error_status();
    mi_spec_free(spec);
    for (size_t i = 0; i < n; i++) free(list[i]);
    free(list);
    free(file);
    return st;
}

const struct cli_command cli_cmd_eval = {
    .name = "eval",
    .args = "FILE --model NAME --data NAME [section.key=value ...]",
    .brief = "Measure the accuracy of a checkpoint",
    .help =
        "Loads the file (safetensors or torch.save, told apart by content; nothing in it is executed) strictly: every "
        "tensor must fit the architecture; and tests it on the private test photos.  "
        "To attack it, put the same file into a spec as target.checkpoint and `midre run` that.",
    .options = options,
    .min_args = 1,
    .max_args = -1,
    .exec = eval,
};
