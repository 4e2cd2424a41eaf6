/* midre/defaults.h - the person's own defaults from midre.ini (./midre.ini, else ~/.config/midre/midre.ini).
 *
 * Sections [data.NAME] there may hold paths of datasets.  They fill paths an experiment leaves empty, so a spec or a
 * command line always wins and results never depend on anything but the files found. */
#ifndef MIDRE_DEFAULTS_H
#define MIDRE_DEFAULTS_H

#include "midre/spec.h"

/* Fills the empty paths of all datasets of a spec.  MI_E_INPUT for an unreadable midre.ini or an unknown key in it. */
enum mi_status mi_defaults_apply(struct mi_spec *spec);
/* The same for the settings of one dataset. */
enum mi_status mi_defaults_values(const char *name, struct mi_values *v);

#endif
