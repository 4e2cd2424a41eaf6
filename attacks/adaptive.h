/* attacks/adaptive.h - the attacker who knows that the target was trained on erased images (MIDRE, appendix D.5): he
 * erases his own images in the same manner before he shows them to the target.  Private to attacks/ and their tests.
 *
 *     static const struct mi_setting settings[] = {..., MI_ADAPTIVE_SETTINGS, MI_SETTING_END};
 *     MI_TRY(mi_adaptive_open(&a, job->values, job->size, ctx->seed));     // once; no need to close
 *     MI_TRY(mi_adaptive_views(&a, x, key, step, &views));                 // [K*N,3,S,S], x itself when switched off
 *     ... loss of each view, [K*N] ...
 *     loss = mi_adaptive_mean(&a, loss);                                   // [N] */
#ifndef MIDRE_ATTACKS_ADAPTIVE_H
#define MIDRE_ATTACKS_ADAPTIVE_H

#include "midre/entry.h"
#include "midre/tensor_math.h"

struct mi_adaptive {
    bool on;
    int masks;                /* views of each image in each step; 1 when switched off */
    double area_low, area_high;
    float fill[3];            /* in [0,1] */
    int size;
    uint64_t seed;
};

#define MI_ADAPTIVE_SETTINGS                                                                                           \
    {.name = "adaptive", .type = MI_CHOICE, .def = "none", .choices = "none|erase", .told = true,                      \
     .help = "Attacker who knows the defense: erase a random square of each image before the target sees it"},         \
    {.name = "adaptive_masks", .type = MI_INT, .def = "1", .min = 1, .max = 64, .unit = "masks",                       \
     .help = "Masks averaged in each step of an adaptive attack: 1 as published, more are a stronger attack"},         \
    {.name = "adaptive_area_low", .type = MI_REAL, .def = "0.1", .min = 0, .max = 1,                                   \
     .help = "Smallest share of the image an adaptive attack erases; the defense's own value"},                        \
    {.name = "adaptive_area_high", .type = MI_REAL, .def = "0.4", .min = 0, .max = 1,                                  \
     .help = "Greatest share of the image an adaptive attack erases; the defense's own value"},                        \
    {.name = "adaptive_fill", .type = MI_CHOICE, .def = "mean", .choices = "mean|zero|one|grey",                       \
     .help = "Colour an adaptive attack erases with: the ImageNet mean, black, white or grey"}

/* Reads the settings above.  MI_E_INPUT when the areas contradict each other or never fit. */
enum mi_status mi_adaptive_open(struct mi_adaptive *a, const struct mi_values *v, int size, uint64_t seed);
/* x [N,3,S,S] -> *views [masks*N,3,S,S], view k of image i at k*N+i, differentiable in x except where erased.  Masks
 * depend on (seed, key[i], step, k) only, never on the batch.  Lives in the current scope. */
enum mi_status mi_adaptive_views(const struct mi_adaptive *a, mt_tensor *x, const uint64_t *key, int64_t step,
                                 mt_tensor **views);
/* Labels (or anything with one entry an image along dimension 0) repeated to match the views. */
mt_tensor *mi_adaptive_repeat(const struct mi_adaptive *a, mt_tensor *y);
/* Mean over the views of each image: [masks*N] -> [N]. */
mt_tensor *mi_adaptive_mean(const struct mi_adaptive *a, mt_tensor *loss);

#endif
