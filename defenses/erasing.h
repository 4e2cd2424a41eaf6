/* defenses/erasing.h - what the erasing defenses share: the sampler of erased boxes, what is written into them, and
 * boxes on their way through crops and mirroring.  Apart from the hooks also for the tests of their laws. */
#ifndef MIDRE_DEFENSES_ERASING_H
#define MIDRE_DEFENSES_ERASING_H

#include "midre/defense.h"

/* ---- where (sampler.c) ---- */
enum { MI_READING_A, MI_READING_B };

struct mi_erase_sampler {
    double area_low, area_high, aspect_low, aspect_high, probability;
    int reading, height, width; /* of the images */
    double *weight;             /* reading B: cumulated weight of sides 0..sides-1, last = 1 */
    int sides;
    const char *who; /* section for messages, borrowed */
};

/* Settings area_low, area_high, aspect_low, aspect_high, probability, reading, for images of height x width;
 * MI_E_INPUT when no erased box could ever fit. */
enum mi_status mi_erase_sampler_open(struct mi_erase_sampler *s, const struct mi_values *v, int height, int width);
/* Squares of one area, reading A, nothing from settings but the name for messages. */
enum mi_status mi_erase_sampler_square(struct mi_erase_sampler *s, const char *who, double area, int size);
void mi_erase_sampler_close(struct mi_erase_sampler *s); /* safe on a zeroed struct */
/* One box from stream `r`; height 0 when the image stays whole. */
struct mi_box mi_erase_sample(const struct mi_erase_sampler *s, struct mi_rng *r);

/* A box of the stored photo as it lies in what `f` shows of it (nearest neighbour), mirrored with it; height 0 when
 * it is cut away. */
struct mi_box mi_frame_box(const struct mi_frame *f, int size, struct mi_box box);
/* Share of the image that n boxes cover together; `cover` is scratch of size*size. */
double mi_boxes_union(const struct mi_box *box, int n, int size, uint8_t *cover);

/* ---- what (fill.c) ---- */
enum mi_fill_kind {
    MI_FILL_MEAN,
    MI_FILL_RELEASED,
    MI_FILL_ZERO,
    MI_FILL_ONE,
    MI_FILL_RANDOM,
    MI_FILL_CUSTOM,
    MI_FILL_NOISE,
    MI_FILL_TELEA
};
struct mi_fill {
    enum mi_fill_kind kind;
    bool raw;     /* colours are in [0,1] of the image, normalised like it; else in the network's input domain */
    float rgb[3]; /* of the constant kinds */
    int radius;   /* telea */
};
/* Reads fill, fill_domain, fill_rgb, telea_radius: MI_FILL_SETTINGS of the section. */
enum mi_status mi_fill_read(struct mi_fill *f, const struct mi_values *v);
/* A colour as it must be written into the network's input. */
void mi_fill_to_input(const struct mi_fill *f, const float mean[3], const float std[3], const float rgb[3],
                      float out[3]);
bool mi_fill_is_constant(const struct mi_fill *f); /* the same for all images */
/* Writes into the boxes of a photo in the network's input domain (hook `input`).  Random numbers come from
 * ("erase colour" or "erase noise", step, index). */
enum mi_status mi_fill_input(const struct mi_fill *f, struct mi_photo *p, const struct mi_box *box, int n);

/* clang-format off: one setting a paragraph */
#define MI_FILL_SETTINGS                                                                                               \
    {.name = "fill",                                                                                                   \
     .type = MI_CHOICE,                                                                                                \
     .def = "mean",                                                                                                    \
     .choices = "mean|released|zero|one|random|custom|noise|telea",                                                    \
     .help = "What is written: the ImageNet mean, the same as in the released code whatever fill_domain says, black, " \
             "white, a random colour per region, fill_rgb, random numbers per pixel and channel, or what surrounds "   \
             "the region continued into it (inpainting)"},                                                             \
        {.name = "fill_domain",                                                                                        \
         .type = MI_CHOICE,                                                                                            \
         .def = "input",                                                                                               \
         .choices = "input|image",                                                                                     \
         .help =                                                                                                       \
             "Whether the fill is written into the network's input as it is (released code), or is a colour in [0,1] " \
             "that is normalised like the image"},                                                                     \
        {.name = "fill_rgb", .type = MI_TEXT, .def = "0.5,0.5,0.5", .help = "The three numbers of fill = custom"}, {   \
        .name = "telea_radius", .type = MI_INT, .def = "3", .min = 1, .max = 32, .unit = "px", .later = true,          \
        .help = "Neighbourhood of fill = telea (not published)"                                                        \
    }
/* clang-format on */

#endif
