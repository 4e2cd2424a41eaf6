/* defenses/crop.c - random cropping as if it were a defense (Tran et al., TMLR 2025, Sec. 4.3): a random part of every
 * training photo is enlarged to full size.
 *
 * No parameters are published; 0.5 to 1 of the area, square, is proposed, since published recipes already crop to
 * 0.85 to 1.  It crops what the recipe's own crop left; both are one interpolation. */
#include <stdio.h>

#include "midre/defense.h"

static enum mi_status validate(const struct mi_values *v) {
    double low = mi_values_real(v, "low"), high = mi_values_real(v, "high");
    if (low <= high) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "defense.crop: low %g is greater than high %g; the share that is left of the photo is "
                   "drawn between them",
                   low, high);
}

static enum mi_status view(struct mi_defense *d, struct mi_photo *p) {
    struct mi_rng r = mi_rng_make(p->seed, "defense crop", (uint64_t)p->step, (uint64_t)p->index);
    mi_frame_crop(&p->frame, &r, mi_values_real(d->values, "low"), mi_values_real(d->values, "high"));
    return MI_OK;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    (void)size;
    snprintf(text, room, "shows %.1f %% of a photo on the average",
             50 * (mi_values_real(d->values, "low") + mi_values_real(d->values, "high")));
}

static const struct mi_setting settings[] = {
    {.name = "low",
     .label = true,
     .type = MI_REAL,
     .def = "0.5",
     .min = 0.01,
     .max = 1,
     .help = "Smallest share of the photo's area that is shown (not published)"},
    {.name = "high", .type = MI_REAL, .def = "1", .min = 0.01, .max = 1, .help = "Greatest share that is shown"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_crop = {
    .info = {.name = "crop",
             .title = "Random cropping",
             .help = "A random square part of every training photo is enlarged to full size. Like MIDRE the network "
                     "never sees all of a photo at once, but what it sees has no hole and stays a natural image. The "
                     "paper finds less protection and a much lower accuracy.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, Sec. 4.3 and Tab. 4",
             .settings = settings,
             .tags = "ablation augmentation"},
    .view = view,
    .note = note,
    .validate = validate};
