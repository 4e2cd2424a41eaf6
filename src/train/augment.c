/* src/train/augment.c - what happens to one training photo before it is normalised: crop, mirror, colours, blur.
 *
 * The arithmetic is that of torchvision on float tensors, because the published recipes were trained with it: crops are
 * brought to full size bilinearly with half-pixel centres (enlarging needs no antialiasing), each colour change is a
 * blend that is clamped to [0,1], and the four changes come in a random order.  Grey is 0.2989 R + 0.587 G + 0.114 B.
 * The hue is turned in HSV: the angle of the colour wheel, with value and saturation kept.
 *
 * Everything here is a pure function of its arguments; random amounts are drawn by the callers' streams.  The loops are
 * compiled for this machine's vector unit (see the Makefile). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "midre/photo.h"

/* ---- crop -------------------------------------------------------------------------------------------------------- */

void mi_frame_crop(struct mi_frame *f, struct mi_rng *r, double low, double high) {
    double share = sqrt(mi_rng_range(r, low, high));
    int h = (int)rint(share * f->height), w = (int)rint(share * f->width);
    h = h < 1 ? 1 : h;
    w = w < 1 ? 1 : w;
    int top = (int)mi_rng_below(r, f->height - h + 1), left = (int)mi_rng_below(r, f->width - w + 1);
    f->top = (int16_t)(f->top + top);
    f->left = (int16_t)(f->left + left);
    f->height = (int16_t)h;
    f->width = (int16_t)w;
}

/* Where output pixel i of `out` reads in a line of `in` pixels: its two neighbours and the share of the second. */
static void taps(int i, int in, int out, int *a, int *b, float *share) {
    float at = ((float)i + 0.5f) * ((float)in / (float)out) - 0.5f;
    if (at < 0) at = 0;
    *a = (int)at;
    *b = *a + (*a < in - 1);
    *share = at - (float)*a;
}

static void enlarge(float *px, const uint8_t *stored, int size, const struct mi_frame *f) {
    for (int y = 0; y < size; y++) {
        int y0, y1, x0, x1;
        float wy, wx;
        taps(y, f->height, size, &y0, &y1, &wy);
        const uint8_t *up = stored + ((size_t)(f->top + y0) * (size_t)size + (size_t)f->left) * 3;
        const uint8_t *low = stored + ((size_t)(f->top + y1) * (size_t)size + (size_t)f->left) * 3;
        float *out = px + (size_t)y * (size_t)size * 3;
        for (int x = 0; x < size; x++) {
            taps(x, f->width, size, &x0, &x1, &wx);
            for (int c = 0; c < 3; c++) {
                float a = (float)up[x0 * 3 + c] / 255, b = (float)up[x1 * 3 + c] / 255;
                float d = (float)low[x0 * 3 + c] / 255, e = (float)low[x1 * 3 + c] / 255;
                out[x * 3 + c] = (1 - wy) * ((1 - wx) * a + wx * b) + wy * ((1 - wx) * d + wx * e);
            }
        }
    }
}

static void mirror(float *px, int size) {
    for (int y = 0; y < size; y++) {
        float *row = px + (size_t)y * (size_t)size * 3;
        for (int x = 0; x < size / 2; x++) {
            float *a = row + x * 3, *b = row + (size - 1 - x) * 3;
            for (int c = 0; c < 3; c++) {
                float keep = a[c];
                a[c] = b[c];
                b[c] = keep;
            }
        }
    }
}

void mi_photo_show(float *px, const uint8_t *stored, int size, const struct mi_frame *f) {
    size_t n = (size_t)size * (size_t)size * 3;
    if (f->height == size && f->width == size)
        for (size_t i = 0; i < n; i++) px[i] = (float)stored[i] / 255;
    else
        enlarge(px, stored, size, f);
    if (f->flip) mirror(px, size);
}

/* ---- colours ------------------------------------------------------------------------------------------------------
 */

struct mi_jitter_draw mi_jitter_draw(const struct mi_jitter *j, struct mi_rng *r) {
    const float strength[4] = {j->brightness, j->contrast, j->saturation, j->hue};
    struct mi_jitter_draw d = {0};
    int32_t order[4] = {MI_BRIGHTNESS, MI_CONTRAST, MI_SATURATION, MI_HUE};
    mi_rng_shuffle(r, order, 4);
    for (int k = 0; k < 4; k++) {
        double s = (double)strength[k], low = k == MI_HUE ? -s : s < 1 ? 1 - s : 0, high = k == MI_HUE ? s : 1 + s;
        d.amount[k] = (float)mi_rng_range(r, low, high);
    }
    for (int k = 0; k < 4; k++)
        if (strength[order[k]] > 0) d.order[d.n++] = (uint8_t)order[k];
    return d;
}

static float unit(float v) {
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static float grey(const float *p) {
    return 0.2989f * p[0] + 0.587f * p[1] + 0.114f * p[2];
}

static void brighten(float *px, size_t n, float amount) {
    for (size_t i = 0; i < n * 3; i++) px[i] = unit(px[i] * amount);
}

static void contrast(float *px, size_t n, float amount) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)grey(px + i * 3);
    float rest = (1 - amount) * (float)(sum / (double)n);
    for (size_t i = 0; i < n * 3; i++) px[i] = unit(px[i] * amount + rest);
}

static void saturate(float *px, size_t n, float amount) {
    for (size_t i = 0; i < n; i++) {
        float *p = px + i * 3, rest = (1 - amount) * grey(p);
        for (int c = 0; c < 3; c++) p[c] = unit(p[c] * amount + rest);
    }
}

/* One pixel's colour turned by `turns` of the wheel. */
static void turn(float *p, float turns) {
    float r = p[0], g = p[1], b = p[2];
    float most = fmaxf(r, fmaxf(g, b)), least = fminf(r, fminf(g, b)), range = most - least;
    if (range == 0) return; /* a grey has no hue */
    float s = range / most, sector;
    float rc = (most - r) / range, gc = (most - g) / range, bc = (most - b) / range;
    if (most == r)
        sector = bc - gc;
    else if (most == g)
        sector = 2 + rc - bc;
    else
        sector = 4 + gc - rc;
    float h = fmodf(sector / 6 + 1, 1) + turns;
    h -= floorf(h);
    float whole = floorf(h * 6), part = h * 6 - whole;
    float low = unit(most * (1 - s)), down = unit(most * (1 - s * part)), up = unit(most * (1 - s * (1 - part)));
    switch ((int)whole % 6) {
    case 0:
        p[0] = most, p[1] = up, p[2] = low;
        break;
    case 1:
        p[0] = down, p[1] = most, p[2] = low;
        break;
    case 2:
        p[0] = low, p[1] = most, p[2] = up;
        break;
    case 3:
        p[0] = low, p[1] = down, p[2] = most;
        break;
    case 4:
        p[0] = up, p[1] = low, p[2] = most;
        break;
    default:
        p[0] = most, p[1] = low, p[2] = down;
        break;
    }
}

void mi_photo_jitter(float *px, int size, const struct mi_jitter_draw *d) {
    size_t n = (size_t)size * (size_t)size;
    for (int k = 0; k < d->n; k++) {
        float amount = d->amount[d->order[k]];
        switch (d->order[k]) {
        case MI_BRIGHTNESS:
            brighten(px, n, amount);
            break;
        case MI_CONTRAST:
            contrast(px, n, amount);
            break;
        case MI_SATURATION:
            saturate(px, n, amount);
            break;
        default:
            for (size_t i = 0; i < n; i++) turn(px + i * 3, amount);
        }
    }
}

/* ---- blur ----------------------------------------------------------------------------------------------------------
 */

/* Index i of a line of n pixels, reflected at both ends without repeating the last pixel. */
static int reflect(int i, int n) {
    if (i < 0) i = -i;
    return i >= n ? 2 * (n - 1) - i : i;
}

/* Weights of the kernel: exp(-x^2/(2 sigma^2)), sum 1. */
static void bell(float *weight, int kernel, double sigma) {
    double sum = 0;
    for (int k = 0; k < kernel; k++) {
        double x = (k - kernel / 2) / sigma;
        sum += exp(-0.5 * x * x);
    }
    for (int k = 0; k < kernel; k++) {
        double x = (k - kernel / 2) / sigma;
        weight[k] = (float)(exp(-0.5 * x * x) / sum);
    }
}

enum mi_status mi_photo_blur(float *px, int size, int kernel, double sigma) {
    if (kernel < 1 || kernel % 2 == 0 || kernel / 2 >= size || !(sigma > 0))
        return mi_fail(MI_E_INPUT,
                       "blur: a kernel of %d px with sigma %g does not fit an image of %d px; it must be odd "
                       "and at most %d",
                       kernel, sigma, size, 2 * size - 1);
    size_t line = (size_t)size * 3, n = line * (size_t)size;
    int half = kernel / 2;
    float *weight = mi_calloc((size_t)kernel, sizeof *weight);
    float *wide = mi_calloc((size_t)(size + 2 * half) * 3, sizeof *wide); /* a row with its reflections */
    float *middle = mi_calloc(n, sizeof *middle);
    enum mi_status st = weight && wide && middle ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) {
        bell(weight, kernel, sigma);
        for (int y = 0; y < size; y++) {
            float *out = middle + (size_t)y * line;
            for (int x = -half; x < size + half; x++)
                memcpy(wide + (size_t)(x + half) * 3, px + (size_t)y * line + (size_t)reflect(x, size) * 3,
                       3 * sizeof *px);
            for (int k = 0; k < kernel; k++)
                for (size_t i = 0; i < line; i++) out[i] += weight[k] * wide[i + (size_t)k * 3];
        }
        memset(px, 0, n * sizeof *px);
        for (int y = 0; y < size; y++)
            for (int k = 0; k < kernel; k++) {
                const float *in = middle + (size_t)reflect(y + k - half, size) * line;
                float *out = px + (size_t)y * line;
                for (size_t i = 0; i < line; i++) out[i] += weight[k] * in[i];
            }
    }
    free(weight);
    free(wide);
    free(middle);
    return st;
}

void mi_photo_normalise(float *px, int size, const float mean[3], const float std[3]) {
    size_t n = (size_t)size * (size_t)size;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) px[i * 3 + (size_t)c] = (px[i * 3 + (size_t)c] - mean[c]) / std[c];
}
