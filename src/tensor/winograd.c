/* winograd.c - 3x3 convolution by minimal filtering, F(4x4,3x3) (Lavin and Gray, 2016), for CPUs without fast bf16.
 *
 * Each 4x4 block of outputs costs 36 multiplications per channel pair instead of 144.  A layer runs in super-blocks of
 * tiles small enough that everything between the three phases stays in the last-level cache:
 *     1. input transform   x -> V [36][cin/VL][tiles][VL]
 *     2. 36 matrix products P[xi] = V[xi] U[xi], P [36][cout/NR][tiles][NR], U [36][cout/NR][cin][NR]
 *     3. output transform  P -> y (plus bias)
 * The weight gradient uses the same V: dU[xi] = V[xi]^T (A dy A^T)[xi], then G^T dU G.
 * The layouts put what the inner loops walk side by side, so no operand is ever packed twice.
 * Scratch memory belongs to the calling thread (wino_release frees it). */
#include "src/tensor/winograd.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define VL 16 /* floats in a vector */
#define MR 12 /* tile rows of a register block */
#else
#define VL 8
#define MR 6
#endif
#define NR (2 * VL) /* output channels of a register block */
#define XI 36
#define CACHE_BYTES ((size_t)12 << 20) /* what V and P of a super-block may take of the last-level cache */

typedef float vf __attribute__((vector_size(VL * sizeof(float)), aligned(4), may_alias));

struct geometry {
    int n, h, w, cin, cout, th, tw; /* th x tw tiles an image */
    int cb, pb;                     /* channel blocks of V (cin/VL) and panels of P (cout/NR), rounded up */
    long tiles, block;              /* all tiles; tiles of a super-block, a multiple of MR */
    long vs, ps, us;                /* floats from one of the 36 planes of V, P, U to the next */
};

/* A transform touches all 36 planes at once: an odd number of cache lines between them keeps them in different sets. */
static long plane_of(long floats) { return ((floats + 15) / 16 | 1) * 16; }

static struct geometry geometry_of(int n, int h, int w, int cin, int cout) {
    struct geometry g = {.n = n, .h = h, .w = w, .cin = cin, .cout = cout, .th = (h + 3) / 4, .tw = (w + 3) / 4};
    g.cb = (cin + VL - 1) / VL, g.pb = (cout + NR - 1) / NR;
    g.tiles = (long)n * g.th * g.tw;
    long fit = (long)(CACHE_BYTES / (XI * sizeof(float) * ((size_t)g.cb * VL + (size_t)g.pb * NR)));
    g.block = fit < g.tiles ? fit : g.tiles;
    if (g.block < 16 * MR && g.tiles > 16 * MR) g.block = 16 * MR;
    g.block = (g.block + MR - 1) / MR * MR;
    g.vs = plane_of(g.cb * g.block * VL), g.ps = plane_of(g.pb * g.block * NR);
    g.us = plane_of((long)g.pb * g.cb * VL * NR);
    return g;
}

bool wino_wanted(int h, int w, int cin, int cout) {
    int th = (h + 3) / 4, tw = (w + 3) / 4;
    return cin >= 12 && cout >= 12 && 5L * h * w >= 2L * 16 * th * tw; /* at least 40 % of the tiles' outputs real */
}

/* ---- scratch -------------------------------------------------------------------------------------------------- */
static _Thread_local float *scratch;
static _Thread_local size_t scratch_floats;

static float *scratch_get(size_t floats) {
    if (floats <= scratch_floats) return scratch;
    wino_release();
    void *p = NULL;
    if (posix_memalign(&p, 64, floats * sizeof(float)) != 0) return NULL;
    scratch = p, scratch_floats = floats;
    return scratch;
}

void wino_release(void) {
    free(scratch);
    scratch = NULL, scratch_floats = 0;
}

/* ---- one-dimensional transforms ------------------------------------------------------------------------------- */
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

/* G g: three taps to six points. */
static inline void weight_1d(const vf g[3], vf o[6]) {
    vf s = (g[0] + g[2]) * (1.0f / 6.0f), m = g[1] * (1.0f / 6.0f), r = g[1] * (1.0f / 12.0f);
    vf q = g[0] * (1.0f / 24.0f) + g[2] * (1.0f / 6.0f);
    o[0] = g[0] * 0.25f, o[1] = -s - m, o[2] = m - s, o[3] = q + r, o[4] = q - r, o[5] = g[2];
}

/* G^T u: six points to three taps. */
static inline void weight_grad_1d(const vf u[6], vf g[3]) {
    vf s = u[1] + u[2], q = u[3] + u[4];
    g[0] = u[0] * 0.25f - s * (1.0f / 6.0f) + q * (1.0f / 24.0f);
    g[1] = (u[2] - u[1]) * (1.0f / 6.0f) + (u[3] - u[4]) * (1.0f / 12.0f);
    g[2] = (q - s) * (1.0f / 6.0f) + u[5];
}

/* ---- weights -------------------------------------------------------------------------------------------------- */
static inline long tap_offset(const struct wino_weight *w, int y, int x) {
    return w->rotate ? (2 - y) * w->stride_y + (2 - x) * w->stride_x : y * w->stride_y + x * w->stride_x;
}

/* A block of taps, lanes are output channels.  It is filled and emptied along whichever axis lies contiguous in the
 * tensor: taken lane by lane, the strides of a deep layer (a power of two, often) would evict each other's lines. */
typedef float tap_block[9][VL][NR];

static inline int at_most(int n, int limit) { return n < limit ? n : limit; }

/* Copies between the block and the weight at output channel `out`, input channel `in`. */
static inline void move_taps(const struct wino_weight *w, int out, int in, tap_block t, bool store) {
    int lanes = at_most(w->cout - out, NR), ins = at_most(w->cin - in, VL);
    float *base = (float *)(uintptr_t)w->w + out * w->stride_out + in * w->stride_in;
    for (int i = 0; i < 9; i++) {
        float *p = base + tap_offset(w, i / 3, i % 3);
        if (w->stride_out == 1)
            for (int c = 0; c < ins; c++)
                for (int k = 0; k < lanes; k++)
                    if (store) p[c * w->stride_in + k] = t[i][c][k];
                    else t[i][c][k] = p[c * w->stride_in + k];
        else
            for (int k = 0; k < lanes; k++)
                for (int c = 0; c < ins; c++)
                    if (store) p[c * w->stride_in + k * w->stride_out] = t[i][c][k];
                    else t[i][c][k] = p[c * w->stride_in + k * w->stride_out];
    }
}

/* U [36][pb][cb*VL][NR]; channels beyond cin and cout are zero. */
static void weight_pack(const struct wino_weight *w, const struct geometry *g, float *u) {
    long rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < g->pb; b++)
        for (int c = 0; c < g->cb; c++) {
            tap_block taps = {{{0}}};
            move_taps(w, b * NR, c * VL, taps, false);
            for (int lane = 0; lane < VL * NR; lane += VL) {
                const float *src = &taps[0][0][0] + lane;
                float *dst = u + (b * rows + c * VL) * NR + lane;
                vf cols[3][6], o[6];
                for (int x = 0; x < 3; x++)
                    weight_1d((vf[3]){*(const vf *)(src + x * VL * NR), *(const vf *)(src + (3 + x) * VL * NR),
                                      *(const vf *)(src + (6 + x) * VL * NR)}, cols[x]);
                for (int i = 0; i < 6; i++) {
                    weight_1d((vf[3]){cols[0][i], cols[1][i], cols[2][i]}, o);
                    for (int j = 0; j < 6; j++) *(vf *)(dst + (6 * i + j) * g->us) = o[j];
                }
            }
        }
}

static void weight_unpack(const struct wino_weight *dw, const struct geometry *g, const float *du) {
    long rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < g->pb; b++)
        for (int c = 0; c < g->cb; c++) {
            tap_block taps;
            for (int lane = 0; lane < VL * NR; lane += VL) {
                const float *src = du + (b * rows + c * VL) * NR + lane;
                float *dst = &taps[0][0][0] + lane;
                vf part[6][3], o[3], u[6];
                for (int i = 0; i < 6; i++) {
                    for (int j = 0; j < 6; j++) u[j] = *(const vf *)(src + (6 * i + j) * g->us);
                    weight_grad_1d(u, part[i]);
                }
                for (int x = 0; x < 3; x++) {
                    for (int i = 0; i < 6; i++) u[i] = part[i][x];
                    weight_grad_1d(u, o);
                    for (int y = 0; y < 3; y++) *(vf *)(dst + (3 * y + x) * VL * NR) = o[y];
                }
            }
            move_taps(dw, b * NR, c * VL, taps, true);
        }
}

/* ---- images --------------------------------------------------------------------------------------------------- */
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

static inline struct tile tile_at(const struct geometry *g, long t) {
    int per = g->th * g->tw, r = (int)(t % per);
    return (struct tile){(int)(t / per), r / g->tw * 4, r % g->tw * 4};
}

/* V of tiles [first, first+count); rows count..block are zeroed so that the products stay finite. */
static void input_transform(const struct geometry *g, const float *x, long first, long count, float *v) {
    long plane = g->vs;
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < g->cb; b++)
        for (long t = 0; t < g->block; t++) {
            float *dst = v + (b * g->block + t) * VL;
            if (t >= count) {
                for (int xi = 0; xi < XI; xi++) *(vf *)(dst + xi * plane) = (vf){0};
                continue;
            }
            struct tile at = tile_at(g, first + t);
            int part = g->cin - b * VL;
            vf d[6][6];
            for (int i = 0; i < 6; i++) {
                int yy = at.y + i - 1;
                const float *row = x + ((long)at.image * g->h + yy) * g->w * g->cin + b * VL;
                for (int j = 0; j < 6; j++) {
                    int xx = at.x + j - 1;
                    bool inside = yy >= 0 && yy < g->h && xx >= 0 && xx < g->w;
                    d[i][j] = inside ? load_part(row + (long)xx * g->cin, part) : (vf){0};
                }
                input_1d(d[i]);
            }
            for (int j = 0; j < 6; j++) {
                vf c[6];
                for (int i = 0; i < 6; i++) c[i] = d[i][j];
                input_1d(c);
                for (int i = 0; i < 6; i++) *(vf *)(dst + (6 * i + j) * plane) = c[i];
            }
        }
}

static void output_transform(const struct geometry *g, const float *p, const float *bias, long first, long count,
                             float *y) {
    long plane = g->ps;
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < 2 * g->pb; b++)
        for (long t = 0; t < count; t++) {
            int part = g->cout - b * VL;
            if (part <= 0) continue;
            const float *src = p + ((b / 2) * g->block + t) * NR + (b % 2) * VL;
            struct tile at = tile_at(g, first + t);
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

/* P = A dy A^T of the output gradient. */
static void output_grad_transform(const struct geometry *g, const float *dy, long first, long count, float *p) {
    long plane = g->ps;
#pragma omp parallel for collapse(2) schedule(static)
    for (int b = 0; b < 2 * g->pb; b++)
        for (long t = 0; t < count; t++) {
            int part = g->cout - b * VL;
            float *dst = p + ((b / 2) * g->block + t) * NR + (b % 2) * VL;
            struct tile at = tile_at(g, first + t);
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

/* ---- the products --------------------------------------------------------------------------------------------- */
/* MR tiles x NR channels: a [cb][block][VL] at the first tile, u [cb*VL][NR], out [MR][NR]. */
static inline void block_product(const float *a, const float *u, long chunk, int cb, float *out) {
    vf acc[MR][2];
    for (int i = 0; i < MR; i++) acc[i][0] = acc[i][1] = (vf){0};
    for (int b = 0; b < cb; b++, a += chunk)
        for (int k = 0; k < VL; k++, u += NR) {
            vf u0 = *(const vf *)u, u1 = *(const vf *)(u + VL);
            for (int i = 0; i < MR; i++) {
                acc[i][0] += a[i * VL + k] * u0;
                acc[i][1] += a[i * VL + k] * u1;
            }
        }
    for (int i = 0; i < MR; i++) {
        *(vf *)(out + i * NR) = acc[i][0];
        *(vf *)(out + i * NR + VL) = acc[i][1];
    }
}

static void products(const struct geometry *g, const float *v, const float *u, float *p) {
    long chunk = g->block * VL, rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int xi = 0; xi < XI; xi++)
        for (int b = 0; b < g->pb; b++) {
            const float *a = v + xi * g->vs, *w = u + xi * g->us + b * rows * NR;
            float *out = p + xi * g->ps + b * g->block * NR;
            for (long t = 0; t < g->block; t += MR) block_product(a + t * VL, w, chunk, g->cb, out + t * NR);
        }
}

/* Four input channels x NR output channels, summed over the tiles of the super-block, added to du [..][NR]. */
static inline void grad_product(const float *a, const float *d, long tiles, float *du) {
    vf acc[4][2];
    for (int i = 0; i < 4; i++) acc[i][0] = *(vf *)(du + i * NR), acc[i][1] = *(vf *)(du + i * NR + VL);
    for (long t = 0; t < tiles; t++, a += VL, d += NR) {
        vf d0 = *(const vf *)d, d1 = *(const vf *)(d + VL);
        for (int i = 0; i < 4; i++) {
            acc[i][0] += a[i] * d0;
            acc[i][1] += a[i] * d1;
        }
    }
    for (int i = 0; i < 4; i++) *(vf *)(du + i * NR) = acc[i][0], *(vf *)(du + i * NR + VL) = acc[i][1];
}

static void grad_products(const struct geometry *g, const float *v, const float *p, long count, float *du) {
    long chunk = g->block * VL, rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int xi = 0; xi < XI; xi++)
        for (int b = 0; b < g->pb; b++) {
            const float *d = p + xi * g->ps + b * g->block * NR;
            float *out = du + xi * g->us + b * rows * NR;
            for (int c = 0; c < g->cb; c++)
                for (int k = 0; k < VL; k += 4)
                    grad_product(v + xi * g->vs + c * chunk + k, d, count, out + (c * VL + k) * NR);
        }
}

/* ---- layers --------------------------------------------------------------------------------------------------- */
static bool buffers(const struct geometry *g, float **v, float **p, float **u, size_t *u_floats) {
    size_t vs = XI * (size_t)g->vs, ps = XI * (size_t)g->ps;
    *u_floats = XI * (size_t)g->us;
    *v = scratch_get(vs + ps + *u_floats);
    if (!*v) return false;
    *p = *v + vs, *u = *p + ps;
    return true;
}

bool wino_conv(const float *x, const struct wino_weight *w, const float *bias, float *y, int n, int h, int wd) {
    struct geometry g = geometry_of(n, h, wd, w->cin, w->cout);
    float *v, *p, *u;
    size_t u_floats;
    if (!buffers(&g, &v, &p, &u, &u_floats)) return false;
    weight_pack(w, &g, u);
    for (long first = 0; first < g.tiles; first += g.block) {
        long count = g.tiles - first < g.block ? g.tiles - first : g.block;
        input_transform(&g, x, first, count, v);
        products(&g, v, u, p);
        output_transform(&g, p, bias, first, count, y);
    }
    return true;
}

bool wino_weight_grad(const float *x, const float *dy, const struct wino_weight *dw, int n, int h, int wd) {
    struct geometry g = geometry_of(n, h, wd, dw->cin, dw->cout);
    float *v, *p, *du;
    size_t u_floats;
    if (!buffers(&g, &v, &p, &du, &u_floats)) return false;
    memset(du, 0, u_floats * sizeof(float));
    for (long first = 0; first < g.tiles; first += g.block) {
        long count = g.tiles - first < g.block ? g.tiles - first : g.block;
        input_transform(&g, x, first, count, v);
        output_grad_transform(&g, dy, first, count, p);
        grad_products(&g, v, p, count, du);
    }
    weight_unpack(dw, &g, du);
    return true;
}
