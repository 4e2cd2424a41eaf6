/* rows.h - how the kernels over [rows][c] floats share rows among threads. Private to src/tensor. */
#ifndef MIDRE_ROWS_H
#define MIDRE_ROWS_H

#include <omp.h>

/* Threads worth waking: for less than 16384 floats a team costs more than it brings. */
static inline int rows_team(long rows, int c) {
    return rows * c < 16 * 1024 ? 1 : omp_get_max_threads();
}

struct rows_part {
    long from, to;
};

/* The rows of the calling thread: one piece each, so that the order of every sum depends on nothing else. */
static inline struct rows_part rows_mine(long rows) {
    long n = omp_get_num_threads(), i = omp_get_thread_num();
    return (struct rows_part){rows * i / n, rows * (i + 1) / n};
}

#endif
