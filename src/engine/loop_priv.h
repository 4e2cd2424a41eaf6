/* src/engine/loop_priv.h - what loop.c and checkpoint.c share. */
#ifndef MIDRE_ENGINE_LOOP_PRIV_H
#define MIDRE_ENGINE_LOOP_PRIV_H

#include "curves.h"
#include "midre/loop.h"

#define MI_LOOP_WINDOW 32 /* samples of the sliding window the rate is taken over */

struct mi_loop_private {
    struct mi_curves *curves; /* the context's, or own when it has none */
    bool own_curves, in_step, due, resumed;
    int64_t bucket;     /* steps a point of a curve stands for */
    int64_t saved_step; /* step of the newest checkpoint, -1 none */
    int slot;           /* checkpoint file to write next: 0 = A, 1 = B */
    double t_report, t_save, t_due;
    double t_first;     /* when the first step since the engine started was done */
    int64_t first;      /* steps done then, -1 none yet */
    double tally;       /* the stage's tally then */
    double t_step;      /* trial: when the step now done began */
    bool told;          /* what the phase will cost */
    double w_time[MI_LOOP_WINDOW]; /* sliding window, ring */
    int64_t w_step[MI_LOOP_WINDOW];
    int w_n, w_at;
};

double mi_clock(void); /* monotonic seconds */

/* Writes the state after l->step steps into the slot; nothing when the context has no product. */
enum mi_status mi_checkpoint_write(struct mi_loop *l);
/* Restores the newest valid checkpoint of this phase.  *found = false when there is none.  Damaged ones are named in
 * the journal and passed over. */
enum mi_status mi_checkpoint_read(struct mi_loop *l, bool *found);

/* A word as part of a file name: letters, digits, '.', '_' and '-' stay, the rest becomes '_'. */
void mi_file_word(const char *text, char *out, size_t cap);

/* ---- cost.c: how long a phase will take and how much memory, from its first steps ---- */
/* After each step.  true: a trial has seen enough, the loop must end. */
bool mi_cost_step(struct mi_loop *l);
/* A trial that times another loop than this one. */
bool mi_cost_passing(const struct mi_loop *l);

#endif
