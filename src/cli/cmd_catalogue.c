/* src/cli/cmd_catalogue.c - `midre models|attacks|defenses|metrics`: what the engine has, in its own words.
 *
 * The texts, settings and ranges are those of the descriptors (the build prints the catalogue from the engine's
 * tables), so nothing here is written a second time.  Four commands, one body. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"

/* "0.1  (0..1, epochs)", "sgd  (sgd|adam)", "yes". */
static void range_text(const struct mi_setting *s, char *out, size_t size) {
    const char *unit = s->unit ? s->unit : "", *gap = s->unit ? " " : "";
    switch (s->type) {
    case MI_INT:
    case MI_REAL:
        snprintf(out, size, "%.10g..%.10g%s%s", s->min, s->max, gap, unit);
        break;
    case MI_BOOL:
        snprintf(out, size, "yes|no");
        break;
    case MI_CHOICE:
        snprintf(out, size, "%s", s->choices);
        break;
    case MI_TEXT:
        snprintf(out, size, "text%s%s", s->unit ? ", " : "", unit);
        break;
    case MI_PATH:
        snprintf(out, size, "path");
        break;
    }
}

void cli_print_settings(FILE *out, const struct mi_setting *settings, const struct mi_values *values, int width) {
    if (width > 100) width = 100;
    for (const struct mi_setting *s = settings; s && s->name; s++) {
        char range[256];
        range_text(s, range, sizeof range);
        const char *value = values ? mi_values_text(values, s->name) : s->def;
        fprintf(out, "  %s = %s   (%s)\n", s->name, value && *value ? value : "(empty)", range);
        cli_fold(out, s->help, 6, width);
    }
}

static void show_entry(enum mi_kind kind, const struct mi_entry *e) {
    int width = cli_width(stdout);
    if (width > 100) width = 100;
    printf("%s - %s%s%s%s\n\n", e->name, e->title, e->tags && *e->tags ? " (" : "", e->tags ? e->tags : "",
           e->tags && *e->tags ? ")" : "");
    cli_fold(stdout, e->help, 2, width);
    if (e->paper && *e->paper) {
        fputc('\n', stdout);
        cli_fold(stdout, e->paper, 2, width);
    }
    if (!e->settings || !e->settings->name) return;
    printf("\n[%s.%s]\n", mi_kind_word(kind), e->name);
    cli_print_settings(stdout, e->settings, NULL, width);
}

static void list_entries(enum mi_kind kind) {
    size_t n;
    const struct mi_entry *const *list = mi_catalogue(kind, &n);
    for (size_t i = 0; i < n; i++) {
        printf("%-19s %-30s %s\n", list[i]->name, list[i]->title, list[i]->tags ? list[i]->tags : "");
    }
}

enum mi_status cli_catalogue(struct cli *c, enum mi_kind kind) {
    int first = c->n_args > 0 && (!strcmp(c->args[0], "show") || !strcmp(c->args[0], "list"));
    if (c->n_args == first) {
        list_entries(kind);
        return MI_OK;
    }
    if (c->n_args > first + 1) return mi_fail(MI_E_USAGE, "%s: one name at a time", c->command->name);
    const struct mi_entry *e = mi_catalogue_find(kind, c->args[first]);
    if (!e) return mi_error_status();
    show_entry(kind, e);
    return MI_OK;
}

/* `models show X` ends with what the engine measures of the network itself. */
static enum mi_status models(struct cli *c) {
    int words = c->n_args, first = words > 0 && (!strcmp(c->args[0], "show") || !strcmp(c->args[0], "list"));
    if (words > first + 1) c->n_args = first + 1;
    enum mi_status st = cli_catalogue(c, MI_KIND_MODEL);
    if (st != MI_OK || words <= first) return st;
    char **args = mi_calloc((size_t)words + 8, sizeof *args);
    if (!args) return MI_E_NOMEM;
    int n = 0;
    args[n++] = (char *)"describe";
    for (int i = first; i < words; i++) args[n++] = c->args[i];
    static const char *const passed[][2] = {{"size", "--size"}, {"classes", "--classes"}};
    for (size_t i = 0; i < 2; i++)
        if (cli_value(c, passed[i][0])) {
            args[n++] = (char *)(uintptr_t)passed[i][1];
            args[n++] = (char *)(uintptr_t)cli_value(c, passed[i][0]);
        }
    putchar('\n');
    st = cli_engine_exec(args);
    free(args);
    return st;
}
static const struct cli_option model_options[] = {
    {"size", 0, "PX", "With show: side of the inputs (the native one)"},
    {"classes", 0, "N", "With show: people the head tells apart (1000)"},
    CLI_OPTION_END,
};
static enum mi_status attacks(struct cli *c) {
    return cli_catalogue(c, MI_KIND_ATTACK);
}
static enum mi_status defenses(struct cli *c) {
    return cli_catalogue(c, MI_KIND_DEFENSE);
}
static enum mi_status metrics(struct cli *c) {
    return cli_catalogue(c, MI_KIND_METRIC);
}

const struct cli_command cli_cmd_models = {.name = "models",
                                           .args = "[show NAME [key=value ...]]",
                                           .max_args = -1,
                                           .options = model_options,
                                           .exec = models,
                                           .brief = "List architectures, or explain one with its settings"};
const struct cli_command cli_cmd_attacks = {.name = "attacks",
                                            .args = "[show NAME]",
                                            .max_args = 2,
                                            .exec = attacks,
                                            .brief = "List attacks, or explain one with its settings"};
const struct cli_command cli_cmd_defenses = {.name = "defenses",
                                             .args = "[show NAME]",
                                             .max_args = 2,
                                             .exec = defenses,
                                             .brief = "List defenses, or explain one with its settings"};
const struct cli_command cli_cmd_metrics = {
    .name = "metrics", .args = "[show NAME]", .max_args = 2, .exec = metrics, .brief = "List metrics, or explain one"};
