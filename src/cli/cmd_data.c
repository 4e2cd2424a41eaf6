/* src/cli/cmd_data.c - `midre data`: what datasets are known, how they must lie on disk, and whether they do. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "midre/data.h"
#include "midre/defaults.h"

static const struct cli_option options[] = {
    {"deep", 0, NULL, "check: decode every picture, not only look for it"},
    CLI_OPTION_END,
};

/* "key=value" words into the settings of a dataset; paths are meant from here. */
static enum mi_status set_words(struct mi_values *v, const struct mi_entry *e, char *const *words, int n) {
    for (int i = 0; i < n; i++) {
        const char *eq = strchr(words[i], '=');
        if (!eq) return mi_fail(MI_E_USAGE, "data: \"%s\" is not key=value", words[i]);
        char *key = mi_format("%.*s", (int)(eq - words[i]), words[i]), *path = NULL;
        enum mi_status st = key ? MI_OK : MI_E_NOMEM;
        for (const struct mi_setting *s = e->settings; key && s && s->name; s++) {
            if (s->type == MI_PATH && !strcmp(s->name, key)) path = mi_path_resolve(NULL, eq + 1);
        }
        if (st == MI_OK) st = mi_values_set(v, key, path ? path : eq + 1);
        free(path);
        free(key);
        if (st != MI_OK) return st;
    }
    return MI_OK;
}

static enum mi_status check(struct cli *c) {
    if (c->n_args < 2) return mi_fail(MI_E_USAGE, "data check: which dataset? `midre data list` names them");
    const struct mi_entry *e = mi_catalogue_find(MI_KIND_DATA, c->args[1]);
    const struct mi_data_desc *d = e ? mi_data_find(c->args[1]) : NULL;
    if (!d) return mi_error_status();
    char *section = mi_format("data.%s", e->name);
    struct mi_values *v = section ? mi_values_new(section, e->settings) : NULL;
    enum mi_status st = v ? set_words(v, e, c->args + 2, c->n_args - 2) : MI_E_NOMEM;
    if (st == MI_OK) st = mi_defaults_values(e->name, v);
    if (st == MI_OK) st = mi_data_check(d, v, cli_has(c, "deep"), stdout);
    if (st == MI_OK) printf("%s is ready to use\n", e->name);
    mi_values_free(v);
    free(section);
    return st;
}

static enum mi_status data(struct cli *c) {
    static const char *const words[] = {"list", "show", "check"};
    if (c->n_args == 0 || !strcmp(c->args[0], "list") || !strcmp(c->args[0], "show"))
        return cli_catalogue(c, MI_KIND_DATA);
    if (!strcmp(c->args[0], "check")) return check(c);
    const char *near = mi_nearest(c->args[0], words, sizeof words / sizeof *words);
    return mi_fail(MI_E_USAGE, "data: \"%s\" is none of list, show, check%s%s%s", c->args[0],
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

const struct cli_command cli_cmd_data = {
    .name = "data",
    .args = "list | show NAME | check NAME [key=value ...] [--deep]",
    .brief = "List datasets, explain one, or check its files on disk",
    .help = "check says precisely what is found, missing or broken:\n\n"
            "  midre data check celeba root=/data/celeba --deep",
    .options = options,
    .max_args = -1,
    .exec = data,
};
