/* midre/skips.h - the skip connections a network names while it is built, as defenses may weaken them.
 *
 * A skip carries a map past the layers of a block, times k.  A network keeps one k per skip (1 after the build), tells
 * the store about it and multiplies by it in its forward pass; nobody else needs to know the architecture. */
#ifndef MIDRE_SKIPS_H
#define MIDRE_SKIPS_H

#include "midre/nn.h"

enum mi_skip_kind {
    MI_SKIP_ADD, /* added to the block's result: multiplied by k, left out where k is 0 */
    MI_SKIP_CAT  /* put before it as channels: the first round(k * channels) of every map stay.  Widths change with k:
                  * set it once, after the build, then call the descriptor's `rewire` */
};
struct mi_skip {
    enum mi_skip_kind kind;
    double *k;           /* in the network's own struct */
    int stage;           /* counted from 1 */
    const char *part;    /* which of a block's skips, "block" where there is one; static */
    char *serves;        /* prefix of the parameters that only this skip uses; NULL = none */
};
struct mi_skips { struct mi_skip *item; int n, cap; };

/* Registers *k, set to 1.  serves: relative to the builder's prefix, NULL = none. */
void mi_skip_new(struct mi_builder *b, double *k, enum mi_skip_kind kind, int stage, const char *part,
                 const char *serves);
int mi_skips_last_stage(const struct mi_params *ps); /* 0 when the network names none */
void mi_skips_free(struct mi_skips *s);

#endif
