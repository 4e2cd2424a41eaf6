/* src/cli/follow.h - one watched run, as the pieces of the follower see it.  Private to src/cli. */
#ifndef MIDRE_CLI_FOLLOW_H
#define MIDRE_CLI_FOLLOW_H

#include "cli.h"
#include "midre/view.h"

struct follow {
    struct cli *c;
    int run, pid; /* pid 0: the engine is not our child */
    struct mi_run_view *v;
    bool live;                  /* a status line that is rewritten in place */
    bool line_shown, asked;     /* the status line is on screen; the Ctrl-C question is open */
    enum mi_stage_state *state; /* what was last said about each stage */
    size_t n_state, n_log, n_scores;
    double log_at, line_at; /* time of the newest log line told; of the last periodic line */
};

/* "1h20m", "2m05s", "12s"; "?" for unknown. */
void follow_duration(char *out, size_t size, double seconds);
/* Everything that happened since the last call, one line each. */
void follow_tell_events(struct follow *f);
/* The status line of now, at most `width` columns (0: as long as it is). */
void follow_status(const struct follow *f, char *out, size_t size, int width);
void follow_clear_line(struct follow *f);

#endif
