/* defenses/ghost.h - the norm of every image's own gradient, without computing those gradients. */
#ifndef MIDRE_DEFENSES_GHOST_H
#define MIDRE_DEFENSES_GHOST_H

#include "midre/watch.h"

struct mi_ghost_use { enum mi_layer_kind kind; const void *layer; mt_tensor *x, *mark; };
struct mi_ghost {
    struct mi_watch watch;
    struct mi_ghost_use *use; /* every application of a layer that learns; owned, its tensors are the scope's */
    int n, cap;
    int64_t images;           /* of the forward pass */
    const char *trouble;      /* why norms cannot be told, or NULL */
};

/* The first parameter that learns and belongs to no layer whose norms are known; NULL when all do. */
const char *mi_ghost_uncovered(const struct mi_params *ps);
/* Between them a forward pass is recorded on this thread. */
void mi_ghost_begin(struct mi_ghost *g, int64_t images);
void mi_ghost_end(struct mi_ghost *g);
/* Squared norms [N] over all recorded layers; total: the sum of the images' losses.  Its graph stays. */
enum mi_status mi_ghost_squares(struct mi_ghost *g, mt_tensor *total, mt_tensor **squares);
/* A parameter that got a gradient although no recorded layer has it: MI_E_INTERNAL. */
enum mi_status mi_ghost_check(const struct mi_ghost *g, const struct mi_params *ps);
void mi_ghost_free(struct mi_ghost *g);

#endif
