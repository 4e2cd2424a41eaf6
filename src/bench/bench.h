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
};

struct bench_work {
    const char *name, *unit, *help;
    /* Builds everything; *per_step receives the units one step does. NULL with a message on failure. */
    void *(*open)(const struct bench_setup *s, double *per_step);
    enum mi_status (*step)(void *work);
    void (*close)(void *work);
};

extern const struct bench_work *const bench_works[]; /* NULL-terminated; src/bench/works.c */
const struct bench_work *bench_find(const char *name);

/* ---- models.c: "NAME/train" and "NAME/infer" of every architecture; `midre bench models` runs them all ---- */
struct mi_model_desc;
const struct bench_work *bench_model_work(const char *name); /* NULL when it is no such name */
const struct mi_model_desc *bench_model_of(const char *work, bool *train);
void bench_model_setup(const struct mi_model_desc *d, int *size, int *classes, int *batch /* 0 = its own */);

/* Runs one work in this process for `seconds` after a warm-up and prints one JSON line on `out`. */
enum mi_status bench_one(const struct bench_work *w, const struct bench_setup *s, double seconds, FILE *out);

/* The `midre-engine bench` command. */
int bench_main(int argc, char **argv);

#endif
