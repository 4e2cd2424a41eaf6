/* spawn_priv.h - starting an engine, for the files of src/run that do. */
#ifndef MIDRE_RUN_SPAWN_PRIV_H
#define MIDRE_RUN_SPAWN_PRIV_H

#include "midre/status.h"

/* Starts `engine` apart from this terminal: own session, input from /dev/null, no other descriptor passed on.  Its
 * output is added to the file `out`, its errors to `err` (NULL: to `out` too).  *pid is a child of the caller, to be
 * waited for. */
enum mi_status mi_engine_spawn(const char *engine, const char *out, const char *err, char *const argv[], int *pid);
/* Starts it on this terminal, as an ordinary child. */
enum mi_status mi_engine_spawn_here(const char *engine, char *const argv[], int *pid);

#endif
