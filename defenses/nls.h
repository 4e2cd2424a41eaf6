/* defenses/nls.h - the schedule of negative label smoothing, for its tests. */
#ifndef MIDRE_DEFENSES_NLS_H
#define MIDRE_DEFENSES_NLS_H

#include "midre/defense.h"

/* Smoothing factor in epoch `epoch` (from 0) of `epochs`; v are the settings of [defense.nls]. */
double mi_nls_alpha(const struct mi_values *v, int64_t epoch, int64_t epochs);

extern const struct mi_defense_desc mi_defense_nls;

#endif
