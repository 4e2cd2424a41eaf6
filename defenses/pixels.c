/* defenses/pixels.c - random pixels: the same share of the image as MIDRE's, but scattered (an ablation, Tran et al.,
 * TMLR 2025, App. D.1).
 *
 * Every pixel is replaced with probability `area`, independently; a replaced one gets uniform numbers of [0,1), one per
 * channel, as a colour of the image.  Whether the count was exact and the values per pixel or per channel is not
 * published.  Numbers come from (seed, "pixels", step, image). */
#include <stdio.h>
#include <string.h>

#include "defenses/erasing.h"

enum { VALUE_RANDOM, VALUE_MEAN, VALUE_ZERO, VALUE_ONE };

struct pixels {
    double area;
    int value;
    struct mi_fill fill; /* domain of the values */
};

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct pixels *s = d->state;
    (void)m;
    s->area = mi_values_real(d->values, "area");
    s->value = mi_values_choice(d->values, "value");
    s->fill = (struct mi_fill){.kind = MI_FILL_NOISE, .raw = mi_values_choice(d->values, "domain") == 0};
    return MI_OK;
}

static enum mi_status input(struct mi_defense *d, struct mi_photo *p) {
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, zero[3] = {0}, one[3] = {1, 1, 1};
    const struct pixels *s = d->state;
    const float *constant = s->value == VALUE_MEAN ? mean : s->value == VALUE_ONE ? one : zero;
    struct mi_rng r = mi_rng_make(p->seed, "pixels", (uint64_t)p->step, (uint64_t)p->index);
    size_t n = (size_t)p->size * (size_t)p->size;
    for (size_t i = 0; i < n; i++) {
        if (mi_rng_uniform(&r) >= s->area) continue;
        float rgb[3];
        memcpy(rgb, constant, sizeof rgb);
        for (int c = 0; s->value == VALUE_RANDOM && c < 3; c++) rgb[c] = (float)mi_rng_uniform(&r);
        mi_fill_to_input(&s->fill, p->mean, p->std, rgb, p->px + i * 3);
    }
    return MI_OK;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    const struct pixels *s = d->state;
    (void)size;
    snprintf(text, room, "replaces %.1f %% of the pixels of an image on the average", 100 * s->area);
}

static const struct mi_setting settings[] = {
    {.name = "area",
     .label = true,
     .type = MI_REAL,
     .def = "0.4",
     .min = 0,
     .max = 1,
     .help = "Probability of a pixel to be replaced (published: 0.1 to 0.6)"},
    {.name = "value",
     .type = MI_CHOICE,
     .def = "random",
     .choices = "random|mean|zero|one",
     .help = "What replaces it: uniform numbers per channel, the ImageNet mean, black or white"},
    {.name = "domain",
     .type = MI_CHOICE,
     .def = "image",
     .choices = "image|input",
     .help = "Whether values are colours in [0,1], normalised like the image, or the network's input as it is"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_pixels = {
    .info = {.name = "pixels",
             .title = "Random pixels",
             .help = "Single pixels are replaced by random colours, as many as MIDRE erases, but scattered over the "
                     "whole image. A network reads a face through such noise, so the features of the person are "
                     "learnt all the same: the paper finds that it protects less than one square.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, App. D.1",
             .settings = settings,
             .tags = "ablation input"},
    .state_size = sizeof(struct pixels),
    .prepare = prepare,
    .input = input,
    .note = note};
