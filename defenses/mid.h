/* defenses/mid.h - the variational bottleneck of MID, for its tests. */
#ifndef MIDRE_DEFENSES_MID_H
#define MIDRE_DEFENSES_MID_H

#include "midre/defense.h"

/* From h [N,2K]: *mu = the first half and *sigma = softplus(second half - 5), [N,K] each. */
void mi_mid_split(mt_tensor *h, mt_tensor **mu, mt_tensor **sigma);
/* Kullback-Leibler divergence of N(mu, sigma^2) from N(0, I), summed over K: [N]. */
mt_tensor *mi_mid_kl(mt_tensor *mu, mt_tensor *sigma);

extern const struct mi_defense_desc mi_defense_mid;

#endif
