/* src/cli/cmd_check.c - `midre check`: what is this checkpoint, and how does it stand?
 *
 * The engine says what the file is; with the name of its private photos the check becomes an ordinary run whose target
 * is the file: accuracy, a short attack, a verdict, and a row marked quick (midre/check.h). */
#include <stdlib.h>

#include "commands.h"
#include "midre/check.h"

static const struct cli_option options[] = {
    {"arch", 'a', "NAME", "Architecture, when it should not be guessed (`midre models` lists them)"},
    {"data", 0, "NAME", "Dataset the checkpoint was trained on (`midre data list`)"},
    {"size", 0, "PX", "Side of its inputs, for architectures that work at any"},
    {"classes", 0, "N", "People it knows, when its head does not say"},
    {"minutes", 'm', "N", "Time for everything (5)"},
    {"head-may-differ", 0, NULL, "Accept a file whose classifier head alone does not fit"},
    {"detach", 'd', NULL, "Start the engine and come back at once; `midre attach` shows it"},
    {"plain", 0, NULL, "Print lines instead of a live status line (default when not on a terminal)"},
    CLI_OPTION_END,
};

static enum mi_status read_options(struct cli *c, struct mi_check *k) {
    long size = 0, classes = 0;
    const char *text = cli_value(c, "minutes");
    char *end = NULL;
    double minutes = text ? strtod(text, &end) : 5;
    if (text && (end == text || *end || !(minutes >= 0.05 && minutes <= 100000)))
        return mi_fail(MI_E_USAGE, "check: --minutes wants a number from 0.05 to 100000, not \"%s\"", text);
    MI_TRY(cli_number(c, "size", 16, 512, &size));
    MI_TRY(cli_number(c, "classes", 1, 10000000, &classes));
    *k = (struct mi_check){.file = c->args[0],
                           .arch = cli_value(c, "arch"),
                           .data = cli_value(c, "data"),
                           .size = (int)size,
                           .classes = (int)classes,
                           .minutes = minutes,
                           .head_may_differ = cli_has(c, "head-may-differ"),
                           .words = (const char *const *)c->args + 1,
                           .n_words = (size_t)(c->n_args - 1)};
    if (k->arch) MI_TRY(mi_catalogue_find(MI_KIND_MODEL, k->arch) ? MI_OK : MI_E_INPUT);
    if (k->data) MI_TRY(mi_catalogue_find(MI_KIND_DATA, k->data) ? MI_OK : MI_E_INPUT);
    return mi_exists(k->file) ? MI_OK : mi_fail(MI_E_MISSING, "there is no checkpoint %s", k->file);
}

static enum mi_status check(struct cli *c) {
    struct mi_check k;
    struct mi_check_facts f;
    MI_TRY(read_options(c, &k));
    enum mi_status st = mi_check_recognise(&k, &f);
    if (f.text) fputs(f.text, stdout);
    fflush(stdout);
    if (st == MI_OK && !f.data) {
        puts("\nTo measure and attack it, name the private photos it was trained on: --data NAME");
    } else if (st == MI_OK) {
        printf("data          %s%s\n\n", f.data, k.data ? "" : ", as the file says");
        struct mi_spec *spec = mi_check_spec(&k, &f);
        st = spec ? cli_launch(c, spec, NULL) : mi_error_status();
        mi_spec_free(spec);
    }
    mi_check_facts_free(&f);
    return st;
}

const struct cli_command cli_cmd_check = {
    .name = "check",
    .args = "FILE [--data NAME] [--arch NAME] [section.key=value ...]",
    .brief = "Quick check of a checkpoint: what it is, its accuracy, a short attack",
    .help =
        "Architecture, classes and resolution are recognised from the names and shapes in the file; nothing in it is "
        "executed.  Then its accuracy on the private test photos, and an attack cut to --minutes: a judge and a prior "
        "that this workspace has for the same settings are used, else short ones are trained within the same time.  "
        "The row it adds to the table is marked quick: a leak it finds is real, finding none proves little.  Without "
        "--data, and with a file that does not name its own, only the facts are printed.",
    .options = options,
    .min_args = 1,
    .max_args = -1,
    .exec = check,
};
