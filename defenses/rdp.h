/* defenses/rdp.h - how much a training with clipped, noisy gradients tells about one photo: Renyi differential privacy
 * of the Gaussian mechanism on a random subset. */
#ifndef MIDRE_DEFENSES_RDP_H
#define MIDRE_DEFENSES_RDP_H

#include <stdbool.h>

/* Of one step that takes each photo with probability q and adds noise of sigma clipping bounds; order > 1.  INFINITY
 * without noise. */
double mi_rdp_step(double q, double sigma, double order);
/* Smallest epsilon of `steps` such steps over the orders 1.1, 1.2, ..., 10.9, 12, ..., 63, *order the one that gives
 * it (may be NULL).  classic: Mironov's conversion, else the tighter one of Balle et al. */
double mi_rdp_epsilon(double q, double sigma, double steps, double delta, bool classic, double *order);

#endif
