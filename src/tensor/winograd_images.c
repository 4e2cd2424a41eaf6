/* winograd_images.c - images, outputs and output gradients between channels_last memory and the 36-point domain. */
#include "src/tensor/winograd_priv.h"

/* B^T d: six samples to six points. */
static inline void input_1d(vf d[6]) {
    vf a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1], c = d[4] - d[2], e = 2.0f * (d[3] - d[1]);
    vf first = 4.0f * d[0] - 5.0f * d[2] + d[4], last = 4.0f * d[1] - 5.0f * d[3] + d[5];
    d[0] = first, d[1] = a + b, d[2] = a - b, d[3] = c + e, d[4] = c - e, d[5] = last;
}

/* A^T m: six points to four outputs. */
static inline void output_1d(const vf m[6], vf o[4]) {
    vf a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    o[0] = m[0] + a + c, o[1] = b + 2.0f * d, o[2] = a + 4.0f * c, o[3] = b + 8.0f * d + m[5];
}

/* A y: four output gradients to six points. */
static inline void output_grad_1d(const vf y[4], vf o[6]) {
    vf even = y[0] + y[2], odd = y[1] + y[3];
    vf even2 = y[0] + 4.0f * y[2], odd2 = 2.0f * y[1] + 8.0f * y[3];
    o[0] = y[0], o[1] = even + odd, o[2] = even - odd, o[3] = even2 + odd2, o[4] = even2 - odd2, o[5] = y[3];
}

static inline vf load_part(const float *p, int n) {
    vf v = {0};
    if (n >= VL) return *(const vf *)p;
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}

static inline void store_part(float *p, vf v, int n) {
    if (n >= VL)
        *(vf *)p = v;
    else
        memcpy(p, &v, (size_t)n * sizeof(float));
}

struct tile { int image, y, x; }; /* y, x: of the first output */

static inline struct tile tile_at(const struct wino_geometry *g, long t) {
    int per = g->th * g->tw, r = (int)(t % per);
    return (struct tile){(int)(t / per), r / g->tw * 4, r % g->tw * 4};
}

/* The 6x6 samples around a tile of channels b*VL.., zero outside the image. */
static inline void samples(const struct wino_geometry *g, const float *x, struct tile at, int b, vf d[6][6]) {
    int part = g->cin - b * VL;
    long line = (long)g->w * g->cin;
    const float *corner = x + ((long)at.image * g->h + at.y - 1) * line + (long)(at.x - 1) * g->cin + b * VL;
    if (part >= VL && at.y > 0 && at.x > 0 && at.y + 5 <= g->h && at.x + 5 <= g->w) {
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++) d[i][j] = *(const vf *)(corner + i * line + j * g->cin);
        return;
    }
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            int yy = at.y + i - 1, xx = at.x + j - 1;
            bool inside = yy >= 0 && yy < g->h && xx >= 0 && xx < g->w;
            d[i][j] = inside ? load_part(corner + i * line + j * g->cin, part) : (vf){0};
        }
}

void wino_input(const struct wino_geometry *g, const float *x, struct wino_span span, float *v) {
    long plane = g->vs, rows = (span.count + MR - 1) / MR * MR;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < rows; t++) {
        struct tile at = tile_at(g, span.first + t);
        float *dst = v + (t / MR * g->cb * MR + t % MR) * VL;
        for (int b = 0; b < g->cb; b++, dst += MR * VL) {
            vf d[6][6] = {{{0}}};
            if (t < span.count) samples(g, x, at, b, d);
            for (int i = 0; i < 6; i++) input_1d(d[i]);
            for (int j = 0; j < 6; j++) {
                vf c[6];
                for (int i = 0; i < 6; i++) c[i] = d[i][j];
                input_1d(c);
                for (int i = 0; i < 6; i++) *(vf *)(dst + (6 * i + j) * plane) = c[i];
            }
        }
    }
}

void wino_output(const struct wino_geometry *g, const float *p, const float *bias, struct wino_span span, float *y) {
    long plane = g->ps;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < span.count; t++) {
        struct tile at = tile_at(g, span.first + t);
        for (int b = 0; b * VL < g->cout; b++) {
            int part = g->cout - b * VL;
            const float *src = p + ((b / 2) * g->block + t) * NR + (b % 2) * VL;
            vf half[6][4], o[4];
            for (int i = 0; i < 6; i++) {
                vf m[6];
                for (int j = 0; j < 6; j++) m[j] = *(const vf *)(src + (6 * i + j) * plane);
                output_1d(m, half[i]);
            }
            vf add = bias ? load_part(bias + b * VL, part) : (vf){0};
            for (int j = 0; j < 4 && at.x + j < g->w; j++) {
                vf c[6];
                for (int i = 0; i < 6; i++) c[i] = half[i][j];
                output_1d(c, o);
                for (int i = 0; i < 4 && at.y + i < g->h; i++)
                    store_part(y + (((long)at.image * g->h + at.y + i) * g->w + at.x + j) * g->cout + b * VL,
                               o[i] + add, part);
            }
        }
    }
}

void wino_output_grad(const struct wino_geometry *g, const float *dy, struct wino_span span, float *p) {
    long plane = g->ps;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < span.count; t++) {
        struct tile at = tile_at(g, span.first + t);
        for (int b = 0; b < 2 * g->pb; b++) {
            int part = g->cout - b * VL;
            float *dst = p + ((b / 2) * g->block + t) * NR + (b % 2) * VL;
            vf rows[4][6];
            for (int i = 0; i < 4; i++) {
                vf d[4];
                for (int j = 0; j < 4; j++) {
                    bool inside = part > 0 && at.y + i < g->h && at.x + j < g->w;
                    long at_px = (((long)at.image * g->h + at.y + i) * g->w + at.x + j) * g->cout + b * VL;
                    d[j] = inside ? load_part(dy + at_px, part) : (vf){0};
                }
                output_grad_1d(d, rows[i]);
            }
            for (int j = 0; j < 6; j++) {
                vf c[4] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j]}, o[6];
                output_grad_1d(c, o);
                for (int i = 0; i < 6; i++) *(vf *)(dst + (6 * i + j) * plane) = o[i];
            }
        }
    }
}
