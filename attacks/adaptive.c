/* attacks/adaptive.c - the adaptive attack of MIDRE's appendix D.5.
 *
 * The attacker knows the range of erased areas and the fill.  In every step every image he is working on loses a square
 * of its own, drawn as the defense draws it (area uniform, side = round(sqrt(area) S), corner uniform over those that
 * fit), directly before the target; the rest of his attack sees whole images.  Erased pixels get no gradient.  One mask
 * a step, as published, is a noisy estimate of the loss he means; `adaptive_masks` averages several, which the
 * publication does not try.  Models distilled from the target see the very same views.
 *
 * A view is x * keep + colour, with keep and colour written by the defense's own box writer. */
#include "attacks/adaptive.h"

#include <math.h>
#include <stdlib.h>

#include "midre/defense.h"
#include "midre/rng.h"

enum { TRIES = 10 };

enum mi_status mi_adaptive_open(struct mi_adaptive *a, const struct mi_values *v, int size, uint64_t seed) {
    static const float fills[][3] = {{0.485f, 0.456f, 0.406f}, {0, 0, 0}, {1, 1, 1}, {0.5f, 0.5f, 0.5f}};
    *a = (struct mi_adaptive){.masks = 1, .size = size, .seed = seed};
    if (mi_values_choice(v, "adaptive") == 0) return MI_OK;
    a->on = true;
    a->masks = (int)mi_values_int(v, "adaptive_masks");
    a->area_low = mi_values_real(v, "adaptive_area_low");
    a->area_high = mi_values_real(v, "adaptive_area_high");
    for (int c = 0; c < 3; c++) a->fill[c] = fills[mi_values_choice(v, "adaptive_fill")][c];
    if (a->area_low > a->area_high)
        return mi_fail(MI_E_INPUT, "%s: adaptive_area_low %g is greater than adaptive_area_high %g",
                       mi_values_section(v), a->area_low, a->area_high);
    if (rint(sqrt(a->area_low) * size) >= size)
        return mi_fail(MI_E_INPUT, "%s: an erased area of %g never fits a %dx%d image; lower adaptive_area_low",
                       mi_values_section(v), a->area_low, size, size);
    return MI_OK;
}

/* The defense's sampler for squares: drawn again up to ten times while the side is not smaller than the image. */
static struct mi_box draw(const struct mi_adaptive *a, struct mi_rng *r) {
    for (int t = 0; t < TRIES; t++) {
        int side = (int)rint(sqrt(mi_rng_range(r, a->area_low, a->area_high)) * a->size);
        if (side >= a->size) continue;
        int top = (int)mi_rng_below(r, a->size - side + 1), left = (int)mi_rng_below(r, a->size - side + 1);
        return (struct mi_box){(int16_t)top, (int16_t)left, (int16_t)side, (int16_t)side};
    }
    return (struct mi_box){0, 0, 0, 0};
}

enum mi_status mi_adaptive_views(const struct mi_adaptive *a, mt_tensor *x, const uint64_t *key, int64_t step,
                                 mt_tensor **views) {
    *views = x;
    if (!a->on || !x) return MI_OK;
    int n = (int)mt_size(x, 0), all = n * a->masks;
    struct mi_box *box = mi_calloc((size_t)all, sizeof *box);
    if (!box) return MI_E_NOMEM;
    for (int i = 0; i < all; i++) {
        uint64_t view = mi_mix(key[i % n], (uint64_t)(i / n));
        struct mi_rng r = mi_rng_make(a->seed, "adaptive erase", (uint64_t)step, view);
        box[i] = draw(a, &r);
    }
    mt_spec sp = {MT_F32, mt_device_of(x), mt_layout(x)};
    static const float nothing[3] = {0, 0, 0};
    mt_tensor *keep = mt_full(MT_SHAPE(all, 3, a->size, a->size), 1, sp);
    mt_tensor *colour = mt_zeros(MT_SHAPE(all, 3, a->size, a->size), sp);
    enum mi_status st = mi_erase_boxes(keep, box, all, nothing);
    if (st == MI_OK) st = mi_erase_boxes(colour, box, all, a->fill);
    free(box);
    if (st == MI_OK) *views = mt_add(mt_mul(mi_adaptive_repeat(a, x), keep), colour);
    return st;
}

mt_tensor *mi_adaptive_repeat(const struct mi_adaptive *a, mt_tensor *y) {
    if (a->masks == 1 || !y) return y;
    mt_tensor *copy[64];
    for (int k = 0; k < a->masks; k++) copy[k] = y;
    return mt_cat(copy, a->masks, 0);
}

mt_tensor *mi_adaptive_mean(const struct mi_adaptive *a, mt_tensor *loss) {
    if (a->masks == 1 || !loss) return loss;
    return mt_mean(mt_reshape(loss, MT_SHAPE(a->masks, -1)), MT_DIMS(0), false);
}
