/* ui/ui.h - the terminal program's door: what src/cli may know of the screens.
 *
 * mi_ui_main owns the terminal from entry to return: it probes it, runs the loop, and restores it on every way out
 * (quit, SIGHUP, SIGTERM, the terminal vanishing).  Engines it started go on running; the screens only read run
 * folders. When standard output is not a terminal, TERM is dumb, or `plain` is set, nothing is drawn: the run named by
 * `attach_run` (or the newest) is followed as plain lines instead, one per event. */
#ifndef MIDRE_UI_H
#define MIDRE_UI_H

#include <stdbool.h>

#include "midre/workspace.h"

struct mi_ui_start {
    const char *spec_path; /* experiment to edit; NULL = spec_text */
    const char *spec_text; /* built-in experiment (the demo) when spec_path is NULL; NULL = all defaults */
    int attach_run;        /* show this run at once; 0 = none (a running one is offered) */
    const char *color;     /* --color: auto never mono 16 256; NULL = auto */
    const char *images;    /* --images: auto sixel half half256 ascii off; NULL = auto */
    bool plain;            /* lines instead of screens */
};

/* Returns when the person leaves.  MI_E_USAGE for a bad colour or image word, MI_E_INPUT for an unreadable spec. */
enum mi_status mi_ui_main(struct mi_workspace *ws, const struct mi_ui_start *start);

/* The plain form on its own: prints a run's events as lines until it ends (or at once if it has ended). */
enum mi_status mi_ui_follow(struct mi_workspace *ws, int run);

#endif
