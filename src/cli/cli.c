/* src/cli/cli.c - the command line sorted into a command's options and words, and the helpers every command uses.
 *
 * One small parser instead of getopt: options may stand anywhere, "--name=value", "--name value", "-nVALUE" and
 * "-n VALUE" are equal, "--" ends them, and an unknown one is answered with the nearest known.  A value that looks
 * like an option must be joined with "=": `--sort --desc` is far more often a slip than a wish. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct cli_option cli_global_options[] = {
    {"workspace", 'w', "DIR",
     "Folder of runs and cached products (else $MIDRE_WORKSPACE, midre.ini, ~/.local/share/midre)"},
    {"help", 'h', NULL, "Explain the command"},
    CLI_OPTION_END,
};

static const struct cli_option *match(const struct cli_option *list, const char *name, size_t len, char letter) {
    for (; list && list->name; list++) {
        if (letter ? list->letter == letter : strlen(list->name) == len && !strncmp(list->name, name, len)) return list;
    }
    return NULL;
}

static const struct cli_option *lookup(const struct cli_command *cmd, const char *name, size_t len, char letter) {
    const struct cli_option *o = match(cmd->options, name, len, letter);
    return o ? o : match(cli_global_options, name, len, letter);
}

static enum mi_status unknown_option(const struct cli_command *cmd, const char *word) {
    const char *names[CLI_MAX_OPTIONS], *bare = word + strspn(word, "-");
    size_t n = 0;
    for (const struct cli_option *o = cmd->options; o && o->name && n < CLI_MAX_OPTIONS; o++) names[n++] = o->name;
    for (const struct cli_option *o = cli_global_options; o->name && n < CLI_MAX_OPTIONS; o++) names[n++] = o->name;
    char *name = mi_format("%.*s", (int)strcspn(bare, "="), bare);
    const char *near = name ? mi_nearest(name, names, n) : NULL;
    enum mi_status st =
        near ? mi_fail(MI_E_USAGE, "%s: unknown option %s, did you mean --%s?", cmd->name, word, near)
             : mi_fail(MI_E_USAGE, "%s: unknown option %s; see `midre help %s`", cmd->name, word, cmd->name);
    free(name);
    return st;
}

/* Takes the option in argv[*i] (and its value from argv[*i + 1]). */
static enum mi_status take_option(struct cli *c, int argc, char **argv, int *i) {
    const char *word = argv[*i], *value = NULL;
    const struct cli_option *o;
    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        o = lookup(c->command, word + 2, len, 0);
        if (word[2 + len] == '=') value = word + 3 + len;
    } else {
        o = lookup(c->command, NULL, 0, word[1]);
        if (word[2]) value = word + 2;
        if (o && !o->arg && value) return unknown_option(c->command, word);
    }
    if (!o) return unknown_option(c->command, word);
    if (!o->arg && value) return mi_fail(MI_E_USAGE, "%s: --%s takes no value", c->command->name, o->name);
    if (o->arg && !value) {
        if (*i + 1 >= argc || (argv[*i + 1][0] == '-' && argv[*i + 1][1]))
            return mi_fail(MI_E_USAGE, "%s: --%s needs a value: --%s %s", c->command->name, o->name, o->name, o->arg);
        value = argv[++*i];
    }
    if (c->n_options == CLI_MAX_OPTIONS) return mi_fail(MI_E_USAGE, "%s: too many options", c->command->name);
    c->option[c->n_options].name = o->name;
    c->option[c->n_options++].value = value;
    return MI_OK;
}

enum mi_status cli_parse(struct cli *c, const struct cli_command *command, int argc, char **argv) {
    c->command = command;
    c->args = mi_calloc((size_t)argc + 1, sizeof *c->args);
    if (!c->args) return MI_E_NOMEM;
    bool words_only = command->raw;
    for (int i = 0; i < argc; i++) {
        if (!words_only && !strcmp(argv[i], "--"))
            words_only = true;
        else if (!words_only && argv[i][0] == '-' && argv[i][1])
            MI_TRY(take_option(c, argc, argv, &i));
        else
            c->args[c->n_args++] = argv[i];
    }
    if (cli_has(c, "help")) return MI_OK;
    if (c->n_args < command->min_args || (command->max_args >= 0 && c->n_args > command->max_args))
        return mi_fail(MI_E_USAGE, "%s: %s; usage: midre %s %s", command->name,
                       c->n_args < command->min_args ? "something is missing" : "too many words", command->name,
                       command->args);
    return MI_OK;
}

bool cli_has(const struct cli *c, const char *option) {
    for (int i = 0; i < c->n_options; i++) {
        if (!strcmp(c->option[i].name, option)) return true;
    }
    return false;
}

const char *cli_value(const struct cli *c, const char *option) {
    const char *last = NULL;
    for (int i = 0; i < c->n_options; i++) {
        if (!strcmp(c->option[i].name, option)) last = c->option[i].value;
    }
    return last;
}

enum mi_status cli_number(const struct cli *c, const char *option, long lo, long hi, long *out) {
    const char *text = cli_value(c, option);
    if (!text) return MI_OK;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < lo || v > hi)
        return mi_fail(MI_E_USAGE, "%s: --%s wants a whole number from %ld to %ld, not \"%s\"", c->command->name,
                       option, lo, hi, text);
    *out = v;
    return MI_OK;
}

enum mi_status cli_workspace(struct cli *c) {
    return c->ws.root ? MI_OK : mi_workspace_open(&c->ws, cli_value(c, "workspace"));
}

/* The newest run, 0 if there is none. */
static int newest(const int *numbers, size_t n) {
    return n ? numbers[n - 1] : 0;
}

enum mi_status cli_run_number(struct cli *c, const char *word, int *number) {
    MI_TRY(cli_workspace(c));
    int *numbers = NULL;
    size_t n = 0;
    MI_TRY(mi_run_list(&c->ws, &numbers, &n));
    char *end;
    long v = strtol(word, &end, 10);
    enum mi_status st = MI_OK;
    bool found = false;
    if (!strcmp(word, "last")) {
        v = newest(numbers, n);
        found = n > 0;
    } else if (end == word || *end) {
        st =
            mi_fail(MI_E_USAGE, "\"%s\" is not the number of a run; give a number as in `midre ls`, or \"last\"", word);
    }
    for (size_t i = 0; i < n && !found; i++) found = numbers[i] == v;
    if (st == MI_OK && !found) {
        st = n ? mi_fail(MI_E_MISSING, "there is no run %s in %s; the newest is %d (see `midre ls`)", word, c->ws.root,
                         newest(numbers, n))
               : mi_fail(MI_E_MISSING, "there is no run in %s yet; `midre run SPEC.ini` makes one", c->ws.root);
    }
    free(numbers);
    *number = (int)v;
    return st;
}

void cli_close(struct cli *c) {
    free(c->args);
    c->args = NULL;
    if (c->ws.root) mi_workspace_close(&c->ws);
}
