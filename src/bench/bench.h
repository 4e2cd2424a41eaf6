/* bench.h - works of `midre bench`: each is one unit of real arithmetic on random data. Private to src/bench. */
#ifndef MIDRE_BENCH_H
#define MIDRE_BENCH_H

#include <stdio.h>

#include "midre/tensor_grad.h"

struct bench_setup {
    mt_device device;
    mt_dtype precision;
    int batch; /* 0 = the work's own */
    const char *work; /* its name */
    const char *spec; /* experiment whose target, size and settings attacks and defenses take; NULL = reference sizes */
};

struct bench_work {
    const char *name, *unit, *help;
    /* Builds everything; *per_step receives the units one step does. NULL with a message on failure. */
    void *(*open)(const struct bench_setup *s, double *per_step);
    enum mi_status (*step)(void *work);
    void (*close)(void *work);
    /* In place of the three: works for about `seconds` after a warm-up and says how many units a second it did. */
    enum mi_status (*run)(const struct bench_setup *s, double seconds, double *value, int64_t *steps);
    /* What can be told wrong before anything is built; NULL = nothing. */
    enum mi_status (*check)(const struct bench_setup *s);
};

extern const struct bench_work *const bench_works[]; /* NULL-terminated; src/bench/works.c: what a plain bench does */
/* Any work by its name, made from a table if need be; NULL with a message. */
const struct bench_work *bench_find(const char *name);

/* ---- attacks.c: "NAME/prior", "NAME/invert", "NAME/queries" and "NAME/alone" of the table of attacks ---- */
const struct bench_work *bench_attack_work(const char *name); /* NULL when it is no such name */
bool bench_attack_next(size_t *at, char *name, size_t room);

/* ---- defenses.c: "defense/COMPOSITION", its cost beside a training without defense ---- */
const struct bench_work *bench_defense_work(const char *name); /* NULL when it is no such name */
bool bench_defense_next(size_t *at, char *name, size_t room);

/* ---- families: works made from a table; `midre bench models` runs all of one ---- */
struct bench_family {
    const char *name, *help;
    bool (*next)(size_t *at, char *name, size_t room); /* their names one after another: *at begins at 0; false: end */
    const char *prefix; /* words after the family's name are works of it without this; NULL: they stand for themselves */
};
extern const struct bench_family bench_families[]; /* ends with a NULL name; works.c */
const struct bench_family *bench_family_of(const char *name);

/* ---- models.c: "NAME/train" and "NAME/infer" of the table of architectures ---- */
struct mi_model_desc;
const struct bench_work *bench_model_work(const char *name); /* NULL when it is no such name */
bool bench_model_next(size_t *at, char *name, size_t room);
const struct mi_model_desc *bench_model_of(const char *work, bool *train);
void bench_model_setup(const struct mi_model_desc *d, int *size, int *classes, int *batch /* 0 = its own */);

/* Runs one work in this process for `seconds` after a warm-up and prints one JSON line on `out`. */
enum mi_status bench_one(const struct bench_work *w, const struct bench_setup *s, double seconds, FILE *out);

/* The `midre-engine bench` command. */
int bench_main(int argc, char **argv);

#endif
