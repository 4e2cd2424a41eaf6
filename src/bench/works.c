/* works.c - the table of benchmark works. */
#include "src/bench/works.h"

#include <string.h>

#include "midre/entry.h"

const struct bench_work *const bench_works[] = {&bench_train_vgg16, &bench_train_resnet18, &bench_gmi_gan,
                                                &bench_gmi_invert, NULL};

const struct bench_work *bench_find(const char *name) {
    const char *names[16];
    size_t n = 0;
    if (strchr(name, '/')) return bench_model_work(name);
    for (; bench_works[n]; n++) {
        if (strcmp(bench_works[n]->name, name) == 0) return bench_works[n];
        names[n] = bench_works[n]->name;
    }
    const char *near = mi_nearest(name, names, n);
    mi_fail(MI_E_USAGE, "bench: no work named '%s'%s%s%s", name, near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return NULL;
}
