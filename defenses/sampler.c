/* defenses/sampler.c - where an image is erased: one box, its area, shape and place drawn from a stream.
 *
 * The MIDRE paper and the authors' code describe different samplers; both are here.
 *   A (code)  area a uniform in [area_low, area_high], sides h = round(sqrt(a H W r)), w = round(sqrt(a H W / r)) with
 *             aspect r log-uniform (1 as released), drawn again up to ten times while h >= H or w >= W, then a corner
 *             uniform over those that fit.
 *   B (text)  corner and area drawn together, all again until the square fits: large squares are rejected more often.
 *             Drawn without rejection from the exact discrete law: a side s has weight
 *             P(floor(sqrt(a H W)) = s) (H-s+1)(W-s+1).
 * Equal area_low and area_high give a fixed portion.  The sampler owns its table of weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "defenses/erasing.h"

enum { TRIES = 10 };

/* Length of the part of [lo,hi) inside [a,b]. */
static double overlap(double lo, double hi, double a, double b) {
    double from = lo > a ? lo : a, to = hi < b ? hi : b;
    return to > from ? to - from : 0;
}

/* Cumulated weights of reading B, normalised. */
static enum mi_status open_sides(struct mi_erase_sampler *s) {
    int most = s->height < s->width ? s->height : s->width;
    double pixels = (double)s->height * s->width, sum = 0;
    s->sides = most + 1;
    s->weight = mi_calloc((size_t)s->sides, sizeof *s->weight);
    if (!s->weight) return MI_E_NOMEM;
    for (int side = 0; side <= most; side++) {
        double lo = (double)side * side / pixels, hi = ((double)side + 1) * (side + 1) / pixels, share;
        if (s->area_low == s->area_high)
            share = (int)sqrt(s->area_low * pixels) == side;
        else
            share = overlap(lo, hi, s->area_low, s->area_high);
        sum += share * (s->height - side + 1) * (s->width - side + 1);
        s->weight[side] = sum;
    }
    if (!(sum > 0))
        return mi_fail(MI_E_INPUT, "%s: no square of area %g fits a %dx%d image", s->who, s->area_low, s->width,
                       s->height);
    for (int side = 0; side <= most; side++) s->weight[side] /= sum;
    s->weight[most] = 1;
    return MI_OK;
}

/* Can reading A ever place a box?  The smallest area at the friendliest aspect must round to less than the image. */
static bool can_place(const struct mi_erase_sampler *s) {
    double area = s->area_low * s->height * s->width, fit = (double)s->height / s->width;
    double r = fit < s->aspect_low ? s->aspect_low : fit > s->aspect_high ? s->aspect_high : fit;
    return rint(sqrt(area * r)) < s->height && rint(sqrt(area / r)) < s->width;
}

enum mi_status mi_erase_sampler_open(struct mi_erase_sampler *s, const struct mi_values *v, int height, int width) {
    *s = (struct mi_erase_sampler){.area_low = mi_values_real(v, "area_low"),
                                   .area_high = mi_values_real(v, "area_high"),
                                   .aspect_low = mi_values_real(v, "aspect_low"),
                                   .aspect_high = mi_values_real(v, "aspect_high"),
                                   .probability = mi_values_real(v, "probability"),
                                   .reading = mi_values_choice(v, "reading"),
                                   .who = mi_values_section(v),
                                   .height = height,
                                   .width = width};
    if (s->reading == MI_READING_B) {
        enum mi_status st = open_sides(s);
        if (st != MI_OK) mi_erase_sampler_close(s);
        return st;
    }
    if (can_place(s)) return MI_OK;
    return mi_fail(MI_E_INPUT, "%s: an erased area of %g never fits a %dx%d image; lower it", s->who, s->area_low,
                   width, height);
}

enum mi_status mi_erase_sampler_square(struct mi_erase_sampler *s, const char *who, double area, int size) {
    *s = (struct mi_erase_sampler){.area_low = area,
                                   .area_high = area,
                                   .aspect_low = 1,
                                   .aspect_high = 1,
                                   .probability = 1,
                                   .reading = MI_READING_A,
                                   .who = who,
                                   .height = size,
                                   .width = size};
    if (can_place(s)) return MI_OK;
    return mi_fail(MI_E_INPUT, "%s: an erased area of %g never fits a %dx%d image; lower it", who, area, size, size);
}

void mi_erase_sampler_close(struct mi_erase_sampler *s) {
    free(s->weight);
    s->weight = NULL;
}

static struct mi_box place(const struct mi_erase_sampler *s, struct mi_rng *r, int h, int w) {
    int top = (int)mi_rng_below(r, s->height - h + 1), left = (int)mi_rng_below(r, s->width - w + 1);
    return (struct mi_box){(int16_t)top, (int16_t)left, (int16_t)h, (int16_t)w};
}

static struct mi_box sample_b(const struct mi_erase_sampler *s, struct mi_rng *r) {
    double u = mi_rng_uniform(r);
    int lo = 0, hi = s->sides - 1; /* first side whose cumulated weight exceeds u */
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (s->weight[mid] > u)
            hi = mid;
        else
            lo = mid + 1;
    }
    return place(s, r, lo, lo);
}

struct mi_box mi_erase_sample(const struct mi_erase_sampler *s, struct mi_rng *r) {
    struct mi_box none = {0, 0, 0, 0};
    if (s->probability < 1 && mi_rng_uniform(r) >= s->probability) return none;
    if (s->reading == MI_READING_B) return sample_b(s, r);
    for (int t = 0; t < TRIES; t++) {
        double area = mi_rng_range(r, s->area_low, s->area_high) * s->height * s->width, aspect = s->aspect_low;
        if (s->aspect_low < s->aspect_high) aspect = exp(mi_rng_range(r, log(s->aspect_low), log(s->aspect_high)));
        int h = (int)rint(sqrt(area * aspect)), w = (int)rint(sqrt(area / aspect)); /* halves to even, as Python does */
        if (h < s->height && w < s->width) return place(s, r, h, w);
    }
    return none;
}

/* ---- boxes and frames ----------------------------------------------------------------------------------------- */

/* Interval [from, from+len) of a line as it appears where `shown` pixels from `start` are brought to `size`: the output
 * pixels whose centre falls into it. */
static void through(int from, int len, int start, int shown, int size, int16_t *out_from, int16_t *out_len) {
    int lo = size, hi = -1;
    for (int i = 0; i < size; i++) {
        int at = start + (int)(((double)i + 0.5) * shown / size);
        if (at < from || at >= from + len) continue;
        if (i < lo) lo = i;
        hi = i;
    }
    *out_from = (int16_t)(hi < 0 ? 0 : lo);
    *out_len = (int16_t)(hi < 0 ? 0 : hi - lo + 1);
}

struct mi_box mi_frame_box(const struct mi_frame *f, int size, struct mi_box box) {
    struct mi_box out;
    through(box.top, box.height, f->top, f->height, size, &out.top, &out.height);
    through(box.left, box.width, f->left, f->width, size, &out.left, &out.width);
    if (f->flip) out.left = (int16_t)(size - out.left - out.width);
    if (out.height == 0 || out.width == 0) return (struct mi_box){0, 0, 0, 0};
    return out;
}

double mi_boxes_union(const struct mi_box *box, int n, int size, uint8_t *cover) {
    size_t count = 0, pixels = (size_t)size * (size_t)size;
    memset(cover, 0, pixels);
    for (int i = 0; i < n; i++)
        for (int y = 0; y < box[i].height; y++)
            memset(cover + (size_t)(box[i].top + y) * (size_t)size + (size_t)box[i].left, 1, (size_t)box[i].width);
    for (size_t i = 0; i < pixels; i++) count += cover[i];
    return (double)count / (double)pixels;
}
