/* defenses/blur.c - Gaussian blur as if it were a defense (Tran et al., TMLR 2025, Sec. 4.3): every training image is
 * blurred by a random width.
 *
 * No parameters are published; a kernel of 23 px with sigma uniform in [0.1, 2] is proposed.  A blur commutes with the
 * normalisation (its weights sum to 1, channels stay apart), so it is done in the network's input domain, where it can
 * stand before or after an erasing defense in the list. */
#include <stdio.h>

#include "midre/defense.h"

static enum mi_status validate(const struct mi_values *v) {
    double low = mi_values_real(v, "sigma_low"), high = mi_values_real(v, "sigma_high");
    if (low > high) return mi_fail(MI_E_INPUT, "defense.blur: sigma_low %g is greater than sigma_high %g", low, high);
    if (mi_values_int(v, "kernel") % 2 == 0)
        return mi_fail(MI_E_INPUT, "defense.blur: kernel must be odd, so that it has a middle pixel");
    return MI_OK;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    int kernel = (int)mi_values_int(d->values, "kernel");
    if (kernel / 2 < m->size) return MI_OK;
    return mi_fail(MI_E_INPUT, "defense.blur: a kernel of %d px does not fit an image of %d px; at most %d", kernel,
                   m->size, 2 * m->size - 1);
}

static enum mi_status input(struct mi_defense *d, struct mi_photo *p) {
    struct mi_rng r = mi_rng_make(p->seed, "blur", (uint64_t)p->step, (uint64_t)p->index);
    double sigma = mi_rng_range(&r, mi_values_real(d->values, "sigma_low"), mi_values_real(d->values, "sigma_high"));
    return mi_photo_blur(p->px, p->size, (int)mi_values_int(d->values, "kernel"), sigma);
}

static const struct mi_setting settings[] = {{.name = "sigma_low",
                                              .type = MI_REAL,
                                              .def = "0.1",
                                              .min = 0.01,
                                              .max = 100,
                                              .unit = "px",
                                              .help = "Smallest width of the bell (not published)"},
                                             {.name = "sigma_high",
                                              .label = true,
                                              .type = MI_REAL,
                                              .def = "2",
                                              .min = 0.01,
                                              .max = 100,
                                              .unit = "px",
                                              .help = "Greatest width"},
                                             {.name = "kernel",
                                              .type = MI_INT,
                                              .def = "23",
                                              .min = 1,
                                              .max = 255,
                                              .unit = "px",
                                              .help = "Side of the kernel, odd"},
                                             MI_SETTING_END};

const struct mi_defense_desc mi_defense_blur = {
    .info = {.name = "blur",
             .title = "Gaussian blur",
             .help = "Every training image is blurred by a random width. The outline of the face stays and the details "
                     "go, in every image and everywhere alike, so what an attack needs is still learnt: the paper "
                     "finds about no protection.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, Sec. 4.3 and Tab. 4",
             .settings = settings,
             .tags = "ablation augmentation"},
    .prepare = prepare,
    .input = input,
    .validate = validate};
