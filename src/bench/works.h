/* works.h - every work of the benchmark; the table is in works.c. */
#ifndef MIDRE_BENCH_WORKS_H
#define MIDRE_BENCH_WORKS_H

#include "src/bench/bench.h"

extern const struct bench_work bench_train_vgg16, bench_train_resnet18, bench_gmi_gan, bench_gmi_invert;
extern const struct bench_work bench_rlbmi_queries, bench_rlbmi_alone;

#endif
