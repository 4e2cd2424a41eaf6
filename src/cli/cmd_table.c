/* src/cli/cmd_table.c - `midre table`: every measured score, beside the published ones if wanted. */
#include <string.h>

#include "commands.h"
#include "midre/table.h"

static const struct cli_option options[] = {
    {"format", 'f', "FORMAT", "text (default), markdown, csv or latex"},
    {"published", 'p', NULL, "Add the numbers printed in the MIDRE paper"},
    {"all", 0, NULL, "Also the rows of runs that only found a measurement in the cache, once more each"},
    {"mean", 0, NULL, "One row for runs that differ in nothing but their seeds: means, and the spread between seeds"},
    {"attack", 'a', "NAMES", "Only these attacks (comma separated; so for the next ones)"},
    {"model", 'm', "NAMES", "Only these architectures"},
    {"defense", 0, "NAMES", "Only these defenses; \"midre\" means all its settings, \"midre(0.1,0.8)\" that one"},
    {"data", 0, "NAMES", "Only these datasets"},
    {"run", 'r', "NUMBERS", "Only rows measured by these runs"},
    {"source", 0, "TABLES", "Only rows of this origin, such as \"Tab. B.9\""},
    {"sort", 's', "COLUMN", "Sort inside each dataset by a column, smallest first"},
    {"desc", 0, NULL, "Sort largest first"},
    {"width", 0, "N", "Fit the text into N columns (the terminal's width, else 80; 0 = all columns)"},
    CLI_OPTION_END,
};

static enum mi_status read_format(const struct cli *c, enum mi_table_format *f) {
    static const char *const words[] = {"text", "markdown", "csv", "latex"};
    const char *word = cli_value(c, "format");
    *f = MI_TABLE_TEXT;
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++) {
        if (!strcmp(words[i], word)) return *f = (enum mi_table_format)i, MI_OK;
    }
    if (!word) return MI_OK;
    const char *near = mi_nearest(word, words, sizeof words / sizeof *words);
    return mi_fail(MI_E_USAGE, "table: no format \"%s\"%s%s%s", word, near ? ", did you mean \"" : "", near ? near : "",
                   near ? "\"?" : " (text, markdown, csv, latex)");
}

/* Options of the same name add up: `--attack gmi --attack kedmi` is `--attack gmi,kedmi`. */
static enum mi_status filter(const struct cli *c, struct mi_table *t, const char *field) {
    char list[1024] = "";
    size_t used = 0;
    for (int i = 0; i < c->n_options; i++) {
        if (strcmp(c->option[i].name, field) != 0) continue;
        int n = snprintf(list + used, sizeof list - used, "%s%s", used ? "," : "", c->option[i].value);
        if (n < 0 || (size_t)n >= sizeof list - used)
            return mi_fail(MI_E_USAGE, "table: the list after --%s is too long", field);
        used += (size_t)n;
    }
    return used ? mi_table_filter(t, field, list) : MI_OK;
}

static enum mi_status shape(const struct cli *c, struct mi_table *t) {
    static const char *const fields[] = {"attack", "model", "defense", "data", "run", "source"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) MI_TRY(filter(c, t, fields[i]));
    if (!cli_has(c, "all")) mi_table_merge(t);
    if (cli_has(c, "mean")) MI_TRY(mi_table_mean(t));
    return cli_value(c, "sort") ? mi_table_sort(t, cli_value(c, "sort"), cli_has(c, "desc")) : MI_OK;
}

static enum mi_status table(struct cli *c) {
    enum mi_table_format format;
    long width = cli_width(stdout);
    MI_TRY(read_format(c, &format));
    MI_TRY(cli_number(c, "width", 0, 10000, &width));
    MI_TRY(cli_workspace(c));
    struct mi_table t;
    MI_TRY(mi_table_build(&t, &c->ws, cli_has(c, "published")));
    size_t all = t.n;
    enum mi_status st = shape(c, &t);
    if (st == MI_OK && t.n == 0 && all > 0 && format == MI_TABLE_TEXT)
        puts("No row fits; drop a filter, or add --published.");
    else if (st == MI_OK)
        st = mi_table_print(&t, format, stdout, (int)width);
    mi_table_free(&t);
    return st;
}

const struct cli_command cli_cmd_table = {
    .name = "table",
    .args = "[--format text|markdown|csv|latex] [--published] [filters]",
    .brief = "The privacy-utility table of all runs",
    .help =
        "Acc is natural accuracy, AttAcc the share of reconstructions the judge recognises (with its spread over "
        "restarts), KNN the distance to the nearest private photo, and delta the attack accuracy lost per point of "
        "natural accuracy given up, against the undefended row of the same experiment; OP means accuracy did not "
        "fall.  Less AttAcc and more of everything else is better for privacy.  A measurement that later runs found in "
        "the cache is one row, of the newest of them.\n\n"
        "Columns for --sort: data resolution attack model defense acc attacc top5 knn delta delta_eval delta_face fid "
        "queries seed seeds identities images precision device judge judge_acc source.",
    .options = options,
    .exec = table,
};
