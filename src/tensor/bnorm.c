/* bnorm.c - the passes over memory of BatchNorm, ReLU and shortcut; see bnorm.h. */
#include "src/tensor/bnorm.h"

#include <stdlib.h>

#include "src/tensor/rows.h"

enum {
    LANES = 64, /* channels whose sums are in registers at a time */
    RUN = 64,   /* rows summed in float32 */
};

static int lanes_at(int c, int first) {
    return c - first < LANES ? c - first : LANES;
}

/* The threads' sums, [teams][2c], into the first of them. */
static void total_of(double *sums, int teams, int c) {
    for (int t = 1; t < teams; t++)
        for (int j = 0; j < 2 * c; j++) sums[j] += sums[(long)t * 2 * c + j];
}

/* ---- moments -------------------------------------------------------------------------------------------------- */
/* sums[0..c) += x - origin, sums[c..2c) += (x - origin)^2 over some rows.  With an origin near the mean the variance is
 * no difference of large numbers. */
static void add_run(const float *restrict x, struct rows_part at, int c, const float *restrict origin,
                    double *restrict sums) {
    for (int first = 0; first < c; first += LANES) {
        int n = lanes_at(c, first);
        float s[LANES] = {0}, q[LANES] = {0}, o[LANES] = {0};
        for (int j = 0; j < n; j++) o[j] = origin[first + j];
        if (n == LANES) {
            for (long r = at.from; r < at.to; r++)
                for (int j = 0; j < LANES; j++) {
                    float d = x[r * c + first + j] - o[j];
                    s[j] += d, q[j] += d * d;
                }
        } else {
            for (long r = at.from; r < at.to; r++)
                for (int j = 0; j < n; j++) {
                    float d = x[r * c + first + j] - o[j];
                    s[j] += d, q[j] += d * d;
                }
        }
        for (int j = 0; j < n; j++) sums[first + j] += s[j], sums[c + first + j] += q[j];
    }
}

bool bnorm_moments(const float *x, long rows, int c, double *mean, double *var) {
    int most = rows_team(rows, c), teams = 1;
    double *sums = calloc((size_t)most * 2 * (size_t)c, sizeof *sums);
    if (!sums) return false;
#pragma omp parallel num_threads(most) if (most > 1)
    {
        struct rows_part mine = rows_mine(rows);
        if (omp_get_thread_num() == 0) teams = omp_get_num_threads();
        for (long r = mine.from; r < mine.to; r += RUN)
            add_run(x, (struct rows_part){r, r + RUN < mine.to ? r + RUN : mine.to}, c, x,
                    sums + (long)omp_get_thread_num() * 2 * c);
    }
    total_of(sums, teams, c);
    for (int j = 0; j < c; j++) {
        double off = sums[j] / (double)rows, square = sums[c + j] / (double)rows - off * off;
        mean[j] = x[j] + off;
        var[j] = square < 0 ? 0 : square;
    }
    free(sums);
    return true;
}

/* ---- forward -------------------------------------------------------------------------------------------------- */
void bnorm_apply(const struct bnorm *n, const float *x, const float *skip, float *y) {
    const float *restrict scale = n->scale, *restrict shift = n->shift;
    const int c = n->c, team = rows_team(n->rows, n->c);
    const bool relu = n->relu;
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (long r = 0; r < n->rows; r++) {
        const float *restrict from = x + r * c, *restrict add = skip ? skip + r * c : NULL;
        float *restrict to = y + r * c;
        if (add && relu)
            for (int j = 0; j < c; j++) {
                float v = from[j] * scale[j] + shift[j] + add[j];
                to[j] = v < 0 ? 0 : v;
            }
        else if (add)
            for (int j = 0; j < c; j++) to[j] = from[j] * scale[j] + shift[j] + add[j];
        else if (relu)
            for (int j = 0; j < c; j++) {
                float v = from[j] * scale[j] + shift[j];
                to[j] = v < 0 ? 0 : v;
            }
        else
            for (int j = 0; j < c; j++) to[j] = from[j] * scale[j] + shift[j];
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------- */
/* What of dy counts in one row: all, what x scale + shift > 0 lets pass, or what y > 0 does. */
static inline void gate_row(const struct bnorm *n, const float *restrict dy, const float *restrict x,
                            const float *restrict y, int first, int lanes, float *restrict out) {
    const float *restrict scale = n->scale + first, *restrict shift = n->shift + first;
    if (!n->relu)
        for (int j = 0; j < lanes; j++) out[j] = dy[j];
    else if (y)
        for (int j = 0; j < lanes; j++) out[j] = y[j] > 0 ? dy[j] : 0;
    else
        for (int j = 0; j < lanes; j++) out[j] = x[j] * scale[j] + shift[j] > 0 ? dy[j] : 0;
}

struct grad_run {
    const struct bnorm *n;
    const float *dy, *x, *y, *origin; /* origin [c]: the mean, rounded */
    float *dskip;
};

static inline void grad_lanes(const struct grad_run *g, struct rows_part at, int first, int lanes,
                              double *restrict sums) {
    float s[LANES] = {0}, q[LANES] = {0}, o[LANES] = {0}, d[LANES];
    for (int j = 0; j < lanes; j++) o[j] = g->origin[first + j];
    for (long r = at.from; r < at.to; r++) {
        long at_row = r * g->n->c + first;
        const float *restrict x = g->x + at_row;
        gate_row(g->n, g->dy + at_row, x, g->y ? g->y + at_row : NULL, first, lanes, d);
        for (int j = 0; j < lanes; j++) s[j] += d[j], q[j] += d[j] * (x[j] - o[j]);
        if (g->dskip)
            for (int j = 0; j < lanes; j++) g->dskip[at_row + j] = d[j];
    }
    for (int j = 0; j < lanes; j++) sums[first + j] += s[j], sums[g->n->c + first + j] += q[j];
}

static void grad_add_run(const struct grad_run *g, struct rows_part at, double *sums) {
    int first = 0, c = g->n->c;
    for (; first + LANES <= c; first += LANES) grad_lanes(g, at, first, LANES, sums);
    if (first < c) grad_lanes(g, at, first, c - first, sums);
}

/* origin is the float32 nearest to the mean; what that leaves out of the second sum is put back. */
static void back_to_mean(double *sums, int c, const float *origin, const double *mean) {
    for (int j = 0; j < c; j++) sums[c + j] += sums[j] * ((double)origin[j] - mean[j]);
}

bool bnorm_grad_sums(const struct bnorm *n, const float *dy, const float *x, const float *y, const double *mean,
                     double *sums, float *dskip) {
    int most = rows_team(n->rows, n->c), teams = 1, c = n->c;
    double *all = calloc((size_t)most * 2 * (size_t)c, sizeof *all);
    float *origin = malloc((size_t)c * sizeof *origin);
    bool done = all && origin;
    for (int j = 0; done && j < c; j++) origin[j] = (float)mean[j];
    if (done) {
        struct grad_run g = {n, dy, x, y, origin, dskip};
#pragma omp parallel num_threads(most) if (most > 1)
        {
            struct rows_part mine = rows_mine(n->rows);
            if (omp_get_thread_num() == 0) teams = omp_get_num_threads();
            for (long r = mine.from; r < mine.to; r += RUN)
                grad_add_run(&g, (struct rows_part){r, r + RUN < mine.to ? r + RUN : mine.to},
                             all + (long)omp_get_thread_num() * 2 * c);
        }
        total_of(all, teams, c);
        for (int j = 0; j < 2 * c; j++) sums[j] = all[j];
        back_to_mean(sums, c, origin, mean);
    }
    free(origin);
    free(all);
    return done;
}

void bnorm_grad_apply(const struct bnorm *n, const float *dy, const float *x, const struct bnorm_slope *s, float *dx) {
    const float *restrict scale = n->scale, *restrict shift = n->shift, *restrict a = s->a, *restrict b = s->b;
    const float *restrict k = s->k, *restrict mean = s->mean;
    const int c = n->c, team = rows_team(n->rows, n->c);
    const bool relu = n->relu;
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
    for (long r = 0; r < n->rows; r++) {
        const float *restrict d = dy + r * c, *restrict v = x + r * c;
        float *restrict to = dx + r * c;
        if (relu)
            for (int j = 0; j < c; j++) {
                float pass = v[j] * scale[j] + shift[j] > 0 ? d[j] : 0;
                to[j] = a[j] * pass + b[j] * (v[j] - mean[j]) + k[j];
            }
        else
            for (int j = 0; j < c; j++) to[j] = a[j] * d[j] + b[j] * (v[j] - mean[j]) + k[j];
    }
}
