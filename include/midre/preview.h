/* midre/preview.h - training photos under a defense as one picture, made by the engine.
 *
 * `midre-engine preview` gets the whole experiment in a file of a temporary folder and leaves a PNG there.  Packing the
 * photos of a real dataset may take minutes, so starting and ending are apart: a command waits for the engine, a screen
 * goes on meanwhile.  Whoever starts one reaps the child and closes it, in any case.  Shared by command line and
 * screens. */
#ifndef MIDRE_PREVIEW_H
#define MIDRE_PREVIEW_H

#include "midre/spec.h"

struct mi_preview_want {
    const struct mi_spec *spec;
    const char *workspace;
    const char *defense; /* one of the spec's; NULL: its last */
    const char *out;     /* the PNG; NULL: in the temporary folder */
    int rows, cols;      /* photos, and the stored one plus epochs; 0: as many as the engine likes */
    bool quiet; /* a session of its own, its words kept for mi_preview_outcome; else they go to this terminal */
};

struct mi_preview {
    char *dir, *picture; /* the temporary folder, the PNG; owned */
    int pid;             /* the engine, a child of the caller, who sets it to 0 once it is reaped */
    bool quiet, stopped;
};

/* On failure nothing is left and nothing has to be closed. */
enum mi_status mi_preview_start(struct mi_preview *p, const struct mi_preview_want *want);
/* Asks the engine to end (it takes back a half made pack), or the second time ends it. */
void mi_preview_stop(struct mi_preview *p);
/* What a reaped engine's wait status means.  quiet: a failure has its message, and *said (caller frees) receives the
 * lines about the picture.  Else the engine has spoken for itself: MI_STOPPED when it failed. */
enum mi_status mi_preview_outcome(const struct mi_preview *p, int wait_status, char **said);
/* Removes the folder; an engine that still works is ended first and reaped here.  A zeroed struct is fine. */
void mi_preview_close(struct mi_preview *p);

#endif
