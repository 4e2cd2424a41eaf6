/* prelu.c - the passes over memory of PReLU; see prelu.h. */
#include "src/tensor/prelu.h"

#include <stdlib.h>

#include "src/tensor/rows.h"

enum { RUN = 32 }; /* rows whose slope gradients are summed in float32 */

void prelu_apply(const float *x, const float *slope, long rows, int c, float *y) {
    int team = rows_team(rows, c);
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (long r = 0; r < rows; r++) {
        const float *restrict from = x + r * c, *restrict s = slope;
        float *restrict to = y + r * c;
        for (int j = 0; j < c; j++) to[j] = from[j] > 0 ? from[j] : s[j] * from[j];
    }
}

static void grad_rows(const float *dy, const float *x, const float *slope, long from, long to, int c, float *dx) {
    for (long r = from; r < to; r++) {
        const float *restrict d = dy + r * c, *restrict v = x + r * c, *restrict s = slope;
        float *restrict out = dx + r * c;
        for (int j = 0; j < c; j++) out[j] = v[j] > 0 ? d[j] : s[j] * d[j];
    }
}

/* sums += dy x over the rows where x <= 0; run [c] is scratch. */
static void slope_rows(const float *dy, const float *x, long from, long to, int c, float *restrict run, double *sums) {
    for (int j = 0; j < c; j++) run[j] = 0;
    for (long r = from; r < to; r++) {
        const float *restrict d = dy + r * c, *restrict v = x + r * c;
        for (int j = 0; j < c; j++) run[j] += v[j] > 0 ? 0 : d[j] * v[j];
    }
    for (int j = 0; j < c; j++) sums[j] += (double)run[j];
}

bool prelu_grad(const float *dy, const float *x, const float *slope, long rows, int c, float *dx, float *dslope) {
    int most = rows_team(rows, c), teams = 1;
    double *sums = calloc((size_t)most * (size_t)c, sizeof *sums);
    float *runs = malloc((size_t)most * (size_t)c * sizeof *runs);
    bool done = sums && runs;
#pragma omp parallel num_threads(most) if (most > 1 && done)
    {
        struct rows_part mine = rows_mine(done ? rows : 0);
        long i = omp_get_thread_num();
        if (i == 0) teams = omp_get_num_threads();
        for (long r = mine.from; r < mine.to; r += RUN) {
            long to = r + RUN < mine.to ? r + RUN : mine.to;
            grad_rows(dy, x, slope, r, to, c, dx);
            if (dslope) slope_rows(dy, x, r, to, c, runs + i * c, sums + i * c);
        }
    }
    for (int j = 0; done && dslope && j < c; j++) {
        for (int t = 1; t < teams; t++) sums[j] += sums[(long)t * c + j];
        dslope[j] = (float)sums[j];
    }
    free(runs);
    free(sums);
    return done;
}
