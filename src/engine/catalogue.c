/* src/engine/catalogue.c - the engine's tables as one catalogue, and that catalogue printed as C.
 *
 * Descriptors hold function pointers into libtorch code, so the terminal program cannot link them.  It links a source
 * file the build prints with `midre-engine catalogue` instead: the same entries and settings as plain constants behind
 * the same mi_catalogue().  Nothing is written twice, and a new attack shows up in menus, help and validation by being
 * in its table.  Needs no device and touches no tensor. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define MOST 256 /* entries of a kind */

/* What is measured; the code is src/judge, the protocol is in judge.h. */
static const struct mi_entry metrics[] = {
    {.name = "acc",
     .title = "Natural accuracy",
     .paper = "",
     .tags = "% higher is better",
     .help = "Top-1 accuracy of the target on the private test photos: what the defense costs."},
    {.name = "attacc",
     .title = "Attack accuracy",
     .paper = "Zhang et al., CVPR 2020; Chen et al., ICCV 2021",
     .tags = "% lower is better",
     .help = "Share of reconstructions that the judge takes for the attacked person; the spread is the sample standard "
             "deviation over restarts, averaged over groups of identities."},
    {.name = "top5",
     .title = "Top-5 attack accuracy",
     .paper = "Zhang et al., CVPR 2020",
     .tags = "% lower is better",
     .help = "Share of reconstructions with the attacked person among the judge's five best answers."},
    {.name = "knn",
     .title = "KNN distance",
     .paper = "Zhang et al., CVPR 2020",
     .tags = "squared L2 higher is better",
     .help =
         "Squared distance in the judge's features from a reconstruction to the nearest private training photo of the "
         "person; only comparable under the same judge."},
    {.name = "fid",
     .title = "Frechet distance (FID)",
     .paper = "Heusel et al., NeurIPS 2017",
     .tags = "higher is better",
     .help = "Distance between Gaussians fitted to the features of all reconstructions and of the attacked people's "
             "private training photos; the row says whose features, and whether there are fewer images than features."},
    {.name = "tradeoff",
     .title = "Trade-off",
     .paper = "MIDRE, TMLR 2025",
     .tags = "higher is better",
     .help =
         "Attack accuracy taken from the attacker per point of natural accuracy paid; OP when accuracy did not fall."},
    {.name = "target_judged",
     .title = "Target's own verdict",
     .paper = "",
     .tags = "%",
     .help = "Share of reconstructions that the target itself takes for the attacked person: high beside a low attack "
             "accuracy means images that fool the target only."},
    {.name = "queries",
     .title = "Queries",
     .paper = "",
     .tags = "images",
     .help = "Images the target was shown by the attack."},
};

static const struct mi_entry *lists[MI_KIND_COUNT][MOST];
static size_t counts[MI_KIND_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The entry is the first member of every descriptor. */
#define COLLECT(kind, table)                                                                                           \
    for (size_t i = 0; (table)[i] && counts[kind] < MOST; i++) lists[kind][counts[kind]++] = &(table)[i]->info

static void collect(void) {
    COLLECT(MI_KIND_MODEL, mi_model_table);
    COLLECT(MI_KIND_DEFENSE, mi_defense_table);
    COLLECT(MI_KIND_ATTACK, mi_attack_table);
    COLLECT(MI_KIND_DATA, mi_data_table);
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        lists[MI_KIND_METRIC][counts[MI_KIND_METRIC]++] = &metrics[i];
}

const struct mi_entry *const *mi_catalogue(enum mi_kind kind, size_t *n) {
    pthread_once(&once, collect);
    *n = counts[kind];
    return lists[kind];
}

/* ---- printing -------------------------------------------------------------------------------------------------------
 */

/* A C string literal; NULL stays NULL.  Bytes above 127 are UTF-8 and go through as they are. */
static void print_text(const char *text) {
    if (!text) {
        printf("NULL");
        return;
    }
    putchar('"');
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if (*s == '\n')
            printf("\\n");
        else if (*s == '?')
            printf("\\?"); /* no trigraphs */
        else if (*s < 32)
            printf("\\%03o", *s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void print_field(const char *name, const char *text) {
    printf(".%s = ", name);
    print_text(text);
    printf(", ");
}

static const char *type_word(enum mi_type t) {
    static const char *const words[] = {"MI_INT", "MI_REAL", "MI_BOOL", "MI_CHOICE", "MI_TEXT", "MI_PATH"};
    return words[t];
}

static void print_settings(const struct mi_entry *e, enum mi_kind kind, size_t index) {
    if (!e->settings) return;
    printf("static const struct mi_setting settings_%d_%zu[] = {\n", (int)kind, index);
    for (const struct mi_setting *s = e->settings; s->name; s++) {
        printf("    {.type = %s, .min = %.17g, .max = %.17g, .cosmetic = %s, .label = %s, .told = %s, ",
               type_word(s->type), s->min, s->max, s->cosmetic ? "true" : "false", s->label ? "true" : "false",
               s->told ? "true" : "false");
        print_field("name", s->name);
        print_field("def", s->def);
        print_field("choices", s->choices);
        print_field("unit", s->unit);
        print_field("help", s->help);
        printf("},\n");
    }
    printf("    MI_SETTING_END,\n};\n");
}

static void print_entry(const struct mi_entry *e, enum mi_kind kind, size_t index) {
    printf("static const struct mi_entry entry_%d_%zu = {", (int)kind, index);
    print_field("name", e->name);
    print_field("title", e->title);
    print_field("help", e->help);
    print_field("paper", e->paper);
    print_field("tags", e->tags);
    if (e->settings) printf(".settings = settings_%d_%zu", (int)kind, index);
    printf("};\n");
}

static void print_lookup(void) {
    for (int k = 0; k < MI_KIND_COUNT; k++) {
        size_t n;
        mi_catalogue((enum mi_kind)k, &n);
        printf("static const struct mi_entry *const list_%d[] = {", k);
        for (size_t i = 0; i < n; i++) printf("&entry_%d_%zu, ", k, i);
        printf("NULL};\n");
    }
    printf("\nconst struct mi_entry *const *mi_catalogue(enum mi_kind kind, size_t *n) {\n    switch (kind) {\n");
    for (int k = 0; k < MI_KIND_COUNT; k++)
        printf("    case %d: *n = sizeof(list_%d) / sizeof(list_%d[0]) - 1; return list_%d;\n", k, k, k, k);
    printf("    default: *n = 0; return list_0;\n    }\n}\n");
}

int catalogue_command(int argc, char **argv) {
    (void)argv;
    if (argc != 0) {
        fprintf(stderr, "usage: midre-engine catalogue\n");
        return mi_exit_code(MI_E_USAGE);
    }
    printf("/* The catalogue of models, defenses, attacks, datasets and metrics, printed by `midre-engine catalogue` "
           "from\n"
           " * the engine's tables while building.  Do not edit: change the descriptor and build again. */\n"
           "#include \"midre/entry.h\"\n\n");
    for (int k = 0; k < MI_KIND_COUNT; k++) {
        size_t n;
        const struct mi_entry *const *list = mi_catalogue((enum mi_kind)k, &n);
        for (size_t i = 0; i < n; i++) {
            print_settings(list[i], (enum mi_kind)k, i);
            print_entry(list[i], (enum mi_kind)k, i);
        }
    }
    print_lookup();
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : mi_exit_code(MI_E_DISK);
}
