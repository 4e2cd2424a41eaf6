/* one.c - times one work in this process: warm-up, then steps until the time is up, median step.
 * The line it prints has the fields of the PyTorch yardstick's, so that the two can be laid side by side. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "src/bench/bench.h"

#define WARM_UP 3
#define MAX_STEPS 100000

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static enum mi_status timed_steps(const struct bench_work *w, void *work, mt_device d, double seconds, double *times,
                                  size_t *n) {
    for (int i = 0; i < WARM_UP; i++) MI_TRY(w->step(work));
    MI_TRY(mt_sync(d));
    double start = now();
    while (*n < MAX_STEPS && (now() - start < seconds || *n < 3)) {
        double begun = now();
        MI_TRY(w->step(work));
        MI_TRY(mt_sync(d));
        times[(*n)++] = now() - begun;
    }
    return MI_OK;
}

static enum mi_status print(const struct bench_work *w, const struct bench_setup *s, double value, int64_t steps,
                            FILE *out) {
    char device[128];
    struct rusage use;
    mt_device_name(s->device, device, sizeof device);
    getrusage(RUSAGE_SELF, &use);
    json_t *line = json_pack("{s:s, s:f, s:s, s:I, s:i, s:s, s:s, s:s, s:I}", "work", w->name, "value", value, "unit",
                             w->unit, "steps", (json_int_t)steps, "threads", mt_threads(), "torch", mt_version(),
                             "device", device, "precision", s->precision == MT_BF16 ? "bf16" : "fp32", "peak_rss_mb",
                             (json_int_t)(use.ru_maxrss / 1024));
    char *text = line ? json_dumps(line, JSON_REAL_PRECISION(6)) : NULL;
    enum mi_status st = text && fprintf(out, "%s\n", text) > 0 ? MI_OK : mi_fail(MI_E_NOMEM, "bench: cannot print the result");
    free(text);
    json_decref(line);
    return st;
}

/* The median step of a work that is done step by step. */
static enum mi_status stepwise(const struct bench_work *w, const struct bench_setup *s, double seconds, double *value,
                               int64_t *steps) {
    double per_step = 1;
    size_t n = 0;
    double *times = mi_calloc(MAX_STEPS, sizeof *times);
    if (!times) return MI_E_NOMEM;
    void *work = w->open(s, &per_step);
    enum mi_status st = work ? timed_steps(w, work, s->device, seconds, times, &n) : mi_error_status();
    if (st == MI_OK) {
        qsort(times, n, sizeof *times, by_size);
        *value = per_step / times[n / 2];
        *steps = (int64_t)n;
    }
    if (work) w->close(work);
    free(times);
    return st;
}

enum mi_status bench_one(const struct bench_work *w, const struct bench_setup *s, double seconds, FILE *out) {
    double value = 0;
    int64_t steps = 0;
    MI_TRY(w->run ? w->run(s, seconds, &value, &steps) : stepwise(w, s, seconds, &value, &steps));
    return print(w, s, value, steps, out);
}
