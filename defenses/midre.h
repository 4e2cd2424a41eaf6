/* defenses/midre.h - MIDRE's sampler apart from its hook, for the tests of its distribution. */
#ifndef MIDRE_DEFENSES_MIDRE_H
#define MIDRE_DEFENSES_MIDRE_H

#include "midre/defense.h"

enum { MI_READING_A, MI_READING_B };

struct mi_erase_sampler {
    double area_low, area_high, aspect_low, aspect_high, probability;
    int reading, height, width;  /* of the images */
    double *weight;              /* reading B: cumulated weight of sides 0..sides-1, last = 1 */
    int sides;
};

/* Reads the settings for images of height x width; MI_E_INPUT when no erased box could ever fit. */
enum mi_status mi_erase_sampler_open(struct mi_erase_sampler *s, const struct mi_values *v, int height, int width);
void mi_erase_sampler_close(struct mi_erase_sampler *s); /* safe on a zeroed struct */
/* One box from stream `r`; height 0 when the image stays whole. */
struct mi_box mi_erase_sample(const struct mi_erase_sampler *s, struct mi_rng *r);

#endif
