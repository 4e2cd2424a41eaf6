/* attacks/plg_augment.h - PLG-MI's random views of generated images.  Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_PLG_AUGMENT_H
#define MIDRE_ATTACKS_PLG_AUGMENT_H

#include "midre/rng.h"
#include "midre/tensor_nn.h"

/* What happens to one image; pixels are counted from the centre of the first. */
struct mi_plg_view {
    int side, left, top; /* the square that is kept, scaled back to the whole size */
    bool jitter, flip;
    double brightness, contrast; /* factors */
    double angle;                /* radians, 0 = none */
};

/* View `number` of the image with this key in this step: a pure function of its arguments.  jitter_p: share of images
 * whose colours are changed (1 in the attack, 0.5 in GAN training). */
struct mi_plg_view mi_plg_view_draw(uint64_t seed, const char *purpose, uint64_t key, int64_t step, int size,
                                    double jitter_p);
/* x [N,3,S,S] -> [N,3,S,S], differentiable in x: square, colours, mirror, rotation, in this order.  contrast_first:
 * order of the two colour changes, one for the whole batch. */
mt_tensor *mi_plg_view_apply(mt_tensor *x, const struct mi_plg_view *view, bool contrast_first);
/* Draws and applies: key [N]. */
mt_tensor *mi_plg_augment(mt_tensor *x, uint64_t seed, const char *purpose, const uint64_t *key, int64_t step,
                          double jitter_p);

#endif
