/* resize.c - antialiased bilinear resizing of 8-bit RGB, with the arithmetic PIL uses.
 *
 * The published attacks resize 8-bit PIL pictures.  Their BILINEAR is a triangle filter whose radius grows with the
 * shrink factor (antialiasing), half-pixel centres, run as two separate passes: first along rows, then along columns,
 * with the picture rounded to 8 bit in between.  Weights are normalised, then held as whole numbers with 22 fraction
 * bits.  All of it is repeated here, so that pixels equal those the published numbers were computed from.
 * A tap is one weight; out pixel i sees taps first[i] .. first[i]+count[i]-1 of the input line. */
#include <stdlib.h>
#include <string.h>

#include "midre/image.h"

#define FRACTION_BITS 22

struct taps {
    int *first, *count;
    int32_t *weight; /* [out][stride] */
    int stride;
};

static void taps_free(struct taps *t) {
    free(t->first);
    free(t->count);
    free(t->weight);
}

/* Triangle of radius 1 around 0. */
static double triangle(double x) {
    x = x < 0 ? -x : x;
    return x < 1 ? 1 - x : 0;
}

/* Weights of one output pixel; `w` is scratch of t->stride doubles. */
static void taps_fill(struct taps *t, int i, int in, double scale, double radius, double *w) {
    double squeeze = scale < 1 ? 1 : scale, centre = (i + 0.5) * scale, sum = 0;
    int lo = (int)(centre - radius + 0.5), hi = (int)(centre + radius + 0.5);
    if (lo < 0) lo = 0;
    if (hi > in) hi = in;
    int n = hi - lo;
    for (int k = 0; k < n; k++) {
        w[k] = triangle((k + lo - centre + 0.5) / squeeze);
        sum += w[k];
    }
    t->first[i] = lo;
    t->count[i] = n;
    for (int k = 0; k < n; k++) {
        double v = sum != 0 ? w[k] / sum : w[k];
        t->weight[(size_t)i * (size_t)t->stride + (size_t)k] = (int32_t)(v * (1 << FRACTION_BITS) + 0.5);
    }
}

static enum mi_status taps_make(struct taps *t, int in, int out) {
    double scale = (double)in / out, radius = scale < 1 ? 1 : scale;
    memset(t, 0, sizeof *t);
    t->stride = (int)radius * 2 + 4;
    t->first = mi_calloc((unsigned long)out, sizeof *t->first);
    t->count = mi_calloc((unsigned long)out, sizeof *t->count);
    t->weight = mi_calloc((unsigned long)out * (unsigned long)t->stride, sizeof *t->weight);
    double *scratch = mi_calloc((unsigned long)t->stride, sizeof *scratch);
    if (!t->first || !t->count || !t->weight || !scratch) {
        taps_free(t);
        free(scratch);
        return MI_E_NOMEM;
    }
    for (int i = 0; i < out; i++) taps_fill(t, i, in, scale, radius, scratch);
    free(scratch);
    return MI_OK;
}

static uint8_t round_byte(int32_t v) {
    v >>= FRACTION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One line along x: in [w][3] -> out [ow][3]. */
static void along_row(const struct taps *t, const uint8_t *in, uint8_t *out, int ow) {
    for (int x = 0; x < ow; x++) {
        const int32_t *w = t->weight + (size_t)x * (size_t)t->stride;
        const uint8_t *p = in + (size_t)t->first[x] * 3;
        int32_t r = 1 << (FRACTION_BITS - 1), g = r, b = r;
        for (int k = 0; k < t->count[x]; k++, p += 3) {
            r += w[k] * p[0];
            g += w[k] * p[1];
            b += w[k] * p[2];
        }
        out[x * 3] = round_byte(r);
        out[x * 3 + 1] = round_byte(g);
        out[x * 3 + 2] = round_byte(b);
    }
}

/* One output row of the pass along y; `sum` is scratch of ow*3. */
static void along_column(const struct taps *t, int y, const uint8_t *in, uint8_t *out, size_t line, int32_t *sum) {
    for (size_t i = 0; i < line; i++) sum[i] = 1 << (FRACTION_BITS - 1);
    for (int k = 0; k < t->count[y]; k++) {
        int32_t w = t->weight[(size_t)y * (size_t)t->stride + (size_t)k];
        const uint8_t *p = in + (size_t)(t->first[y] + k) * line;
        for (size_t i = 0; i < line; i++) sum[i] += w * p[i];
    }
    for (size_t i = 0; i < line; i++) out[i] = round_byte(sum[i]);
}

enum mi_status mi_resize_rgb(const uint8_t *in, int w, int h, uint8_t *out, int ow, int oh) {
    if (w < 1 || h < 1 || ow < 1 || oh < 1)
        return mi_fail(MI_E_INPUT, "cannot resize %d x %d px to %d x %d px", w, h, ow, oh);
    struct taps tx, ty;
    memset(&ty, 0, sizeof ty);
    size_t line = (size_t)ow * 3;
    enum mi_status st = taps_make(&tx, w, ow);
    if (st != MI_OK) return st;
    uint8_t *middle = mi_calloc((unsigned long)h, line); /* [h][ow][3] */
    int32_t *sum = mi_calloc(line, sizeof *sum);
    st = middle && sum ? taps_make(&ty, h, oh) : MI_E_NOMEM;
    if (st == MI_OK) {
        /* A pass that changes nothing has single taps of weight one and copies exactly. */
        for (int y = 0; y < h; y++) along_row(&tx, in + (size_t)y * (size_t)w * 3, middle + (size_t)y * line, ow);
        for (int y = 0; y < oh; y++) along_column(&ty, y, middle, out + (size_t)y * line, line, sum);
        taps_free(&ty);
    }
    taps_free(&tx);
    free(middle);
    free(sum);
    return st;
}

enum mi_status mi_image_resize(const struct mi_image *in, int width, int height, struct mi_image *out) {
    MI_TRY(mi_image_new(out, width, height));
    enum mi_status st = mi_resize_rgb(in->rgb, in->width, in->height, out->rgb, width, height);
    if (st != MI_OK) mi_image_free(out);
    return st;
}
