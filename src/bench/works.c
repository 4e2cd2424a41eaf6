/* works.c - the table of benchmark works. */
#include "src/bench/works.h"

#include <string.h>

#include "midre/entry.h"

const struct bench_work *const bench_works[] = {&bench_train_vgg16, &bench_train_resnet18, &bench_gmi_gan,
                                                &bench_gmi_invert, NULL};

/* In place of what a table would make of the name. */
static const struct bench_work *const own[] = {&bench_rlbmi_queries, &bench_rlbmi_alone, NULL};

/* "WHAT/HOW" */
static const struct bench_work *of_tables(const char *name) {
    const struct bench_work *(*const makers[])(const char *) = {bench_defense_work, bench_attack_work, bench_model_work};
    for (size_t i = 0; own[i]; i++)
        if (strcmp(own[i]->name, name) == 0) return own[i];
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        mi_error_clear();
        const struct bench_work *w = makers[i](name);
        if (w) return w;
    }
    if (mi_error_status() == MI_OK)
        mi_fail(MI_E_USAGE, "bench: %s is neither MODEL/train, MODEL/infer, defense/COMPOSITION nor ATTACK/prior, invert, "
                            "queries or alone", name);
    return NULL;
}

const struct bench_work *bench_find(const char *name) {
    const char *names[16];
    size_t n = 0;
    if (strchr(name, '/')) return of_tables(name);
    for (; bench_works[n]; n++) {
        if (strcmp(bench_works[n]->name, name) == 0) return bench_works[n];
        names[n] = bench_works[n]->name;
    }
    const char *near = mi_nearest(name, names, n);
    mi_fail(MI_E_USAGE, "bench: no work named '%s'%s%s%s", name, near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return NULL;
}

const struct bench_family bench_families[] = {
    {"models", "training and inference of every architecture; or NAME/train, NAME/infer (images/s)", bench_model_next,
     NULL},
    {"attacks", "prior, inversion or queries of every attack; or NAME/prior, NAME/invert, NAME/queries, NAME/alone",
     bench_attack_next, NULL},
    {"defenses", "cost of a training step under every defense (none = 1); or under the compositions named after it",
     bench_defense_next, "defense/"},
    {.name = NULL}};

const struct bench_family *bench_family_of(const char *name) {
    for (const struct bench_family *f = bench_families; f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}
