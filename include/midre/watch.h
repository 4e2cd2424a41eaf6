/* midre/watch.h - being told of every layer that is applied, with what goes in and what comes out: per-image gradient
 * norms are made of these. */
#ifndef MIDRE_WATCH_H
#define MIDRE_WATCH_H

#include "midre/nn.h"

struct mi_watch {
    /* Called by mi_conv, mi_linear, mi_bn and mi_prelu on their way out; both tensors belong to the caller.  y may be
     * overwritten in place afterwards (see mt_mark). */
    void (*applied)(void *ctx, enum mi_layer_kind kind, const void *layer, mt_tensor *x, mt_tensor *y);
    void *ctx;
};
/* Watches the layers that this thread applies from now on; NULL ends it.  Borrowed. */
void mi_watch_layers(const struct mi_watch *w);

#endif
