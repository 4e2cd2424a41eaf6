/* defenses/cutmix.h - CutMix's draw apart from its hook, for the test of its law. */
#ifndef MIDRE_DEFENSES_CUTMIX_H
#define MIDRE_DEFENSES_CUTMIX_H

#include "midre/defense.h"

/* The pasted box (height or width may be 0) and the share of the image that is left beside it. */
struct mi_box mi_cutmix_draw(struct mi_rng *r, double alpha, int size, double *share);

#endif
