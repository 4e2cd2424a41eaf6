/* attacks/repulse.c - one round of boundary repulsion on one latent (Kahla et al., CVPR 2022), in plain C.
 *
 * Of N points on a sphere of radius R around z some are labelled as wanted (inside).  The step is min(R/3,3) of the
 * radius before it grows; the direction is the sum of the unit vectors to the points outside, negated, over N, not over
 * their number: with one point of 32 outside z moves by a 32nd of a step.  "More than 0.75" is a share of the sum of
 * +-1 votes, so the sphere of 32 grows with 29 inside.  A growth counts at once, also when the move is then rejected;
 * the move itself is divided by the growth, since the published mean is taken with the enlarged radius.
 *
 * Sums are formed in double and rounded once.  Owns nothing. */
#include "attacks/repulse.h"

#include <math.h>
#include <string.h>

bool mi_brep_propose(const struct mi_brep_rule *r, struct mi_brep_row *row, const float *z, const float *u,
                     const bool *inside, int dim, float *next) {
    int n = r->points, in = 0;
    double step = fmin(row->radius / r->step_divisor, r->step_cap); /* of the radius before it grows */
    for (int i = 0; i < n; i++) in += inside[i];
    bool grow = 2 * in - n > r->growth_share * n;
    if (grow) {
        row->radius *= r->growth;
        row->growths++;
        if (!r->total) row->count = 0;
        step /= r->growth; /* the published mean is taken with the enlarged radius */
    }
    for (int j = 0; j < dim; j++) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            if (!inside[i])
                sum -= (double)u[(size_t)i * (size_t)dim + (size_t)j];
            else if (r->signed_votes)
                sum += (double)u[(size_t)i * (size_t)dim + (size_t)j];
        }
        double moved = (double)z[j] + step * sum / n;
        if (r->clamp > 0) moved = fmax(-r->clamp, fmin(r->clamp, moved));
        next[j] = (float)moved;
    }
    return grow;
}

void mi_brep_settle(const struct mi_brep_rule *r, struct mi_brep_row *row, bool grew, bool inside, const float *next,
                    float *z, float *best, int dim) {
    size_t bytes = (size_t)dim * sizeof *z;
    row->rounds++;
    if (r->reject && !inside) {
        row->rejected++;
        if (r->total) row->count++;
        if (r->max_rejected > 0 && row->rejected >= r->max_rejected) row->done = MI_BREP_FINISHED;
    } else {
        row->rejected = 0;
        memcpy(z, next, bytes);
        if (grew) memcpy(best, z, bytes);
        if (grew) row->kept = 1;
        if (!grew || r->total) row->count++;
    }
    bool wide = r->max_radius > 0 && row->radius > r->max_radius;
    if (row->count >= r->max_iters || wide) row->done = MI_BREP_FINISHED;
}
