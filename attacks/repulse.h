/* attacks/repulse.h - the arithmetic of one BREPMI round on one latent, apart from its loop, for tests by hand.
 * Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_REPULSE_H
#define MIDRE_ATTACKS_REPULSE_H

#include <stdbool.h>
#include <stdint.h>

struct mi_brep_rule {
    int points;          /* N on the sphere */
    double radius;       /* R_0 */
    double growth;       /* factor of the radius */
    double growth_share; /* the sphere grows when the sum of +-1 votes exceeds this share of N */
    double step_divisor; /* a step is R / step_divisor ... */
    double step_cap;     /* ... and at most this */
    double clamp;        /* box of the centre, 0 = none */
    bool signed_votes;   /* points inside pull as well */
    bool reject;         /* a move that loses the label is undone */
    bool total;          /* max_iters counts all rounds, not those at one radius */
    int max_iters;       /* accepted moves at one radius */
    int max_rejected;    /* moves rejected in a row, 0 = no limit */
    double max_radius;   /* a larger sphere ends the search, 0 = no limit */
};

enum { MI_BREP_SEARCHING, MI_BREP_FINISHED, MI_BREP_NOT_STARTED };

/* State of one search beside its latents; doubles only, so that a tensor can hold it. */
struct mi_brep_row {
    double radius, count, rejected; /* count, rejected: moves at this radius, rejected in a row */
    double growths, kept, rounds;   /* kept: 1 once a growth was accepted */
    double done;                    /* one of the above; NOT_STARTED: no start was ever found */
};

/* From the labels of z + R u_i (u [N,dim] on the unit sphere, inside[i]: labelled as wanted) to the proposed centre
 * next [dim].  Moves radius and count at once; true when the sphere grew. */
bool mi_brep_propose(const struct mi_brep_rule *r, struct mi_brep_row *row, const float *z, const float *u,
                     const bool *inside, int dim, float *next);
/* After the proposed centre's label is known: takes or drops it, counts, decides whether the search is over.
 * best [dim] receives the centre of an accepted growth. */
void mi_brep_settle(const struct mi_brep_rule *r, struct mi_brep_row *row, bool grew, bool inside, const float *next,
                    float *z, float *best, int dim);

#endif
