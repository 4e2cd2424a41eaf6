/* midre/photo.h - one training photo on its way from the pack into the network: cropped, mirrored, recoloured, blurred,
 * inpainted, normalised.  Plain C, no libtorch: all of it runs on the feeder's threads ahead of the training step.
 *
 * Pixels are floats, rows top to bottom, [size,size,3].  Formulas and order are torchvision's (RandomResizedCrop,
 * ColorJitter, RandomHorizontalFlip, GaussianBlur on float tensors). */
#ifndef MIDRE_PHOTO_H
#define MIDRE_PHOTO_H

#include "midre/rng.h"
#include "midre/status.h"

#include <stdbool.h>

/* The rectangle of the stored photo that is shown at full size, and whether it is then mirrored. */
struct mi_frame {
    int16_t top, left, height, width;
    bool flip;
};

/* Strengths as in a recipe: factors are drawn from [1-s, 1+s], the hue shift from [-hue, hue] turns; 0 = leave out. */
struct mi_jitter {
    float brightness, contrast, saturation, hue;
};
enum { MI_BRIGHTNESS, MI_CONTRAST, MI_SATURATION, MI_HUE };
/* What was drawn: the four amounts, and the order they are applied in. */
struct mi_jitter_draw {
    float amount[4];
    uint8_t order[4], n;
};

struct mi_photo {
    float *px; /* [size,size,3], the network's input */
    int size;
    int position;  /* in the batch */
    int32_t index; /* in the train split */
    int64_t step, epoch;
    uint64_t seed; /* random numbers: mi_rng_make(seed, purpose, step, index) */
    struct mi_frame frame;
    const float *mean, *std; /* [3] network input = (x - mean)/std, std never 0 */
};

/* Shrinks the frame to a random square of it with low..high of its area (RandomResizedCrop with ratio 1). */
void mi_frame_crop(struct mi_frame *f, struct mi_rng *r, double low, double high);
/* Stored bytes [size,size,3] -> px in [0,1]: the frame, bilinear to full size, mirrored if it says so.  (Colours do not
 * depend on the place, so mirroring first changes nothing.) */
void mi_photo_show(float *px, const uint8_t *stored, int size, const struct mi_frame *f);

struct mi_jitter_draw mi_jitter_draw(const struct mi_jitter *j, struct mi_rng *r);
void mi_photo_jitter(float *px, int size, const struct mi_jitter_draw *d); /* px in [0,1] stays there */

/* Separable Gaussian, reflecting borders; kernel odd, at most 2*size-1. */
enum mi_status mi_photo_blur(float *px, int size, int kernel, double sigma);
/* (x - mean)/std in place. */
void mi_photo_normalise(float *px, int size, const float mean[3], const float std[3]);

/* Replaces the pixels of rgb [height,width,3] where mask [height,width] is not 0 by continuing what surrounds them
 * (Telea, J. Graphics Tools 2004: fast marching).  Within a grey level of OpenCV's.  radius 1..100 px; no pixel left
 * to continue from: MI_E_INPUT. */
enum mi_status mi_inpaint_telea(uint8_t *rgb, const uint8_t *mask, int width, int height, int radius);

#endif
