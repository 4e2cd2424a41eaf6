/* winograd_weights.c - kernels of a 3x3 convolution into the 36-point domain and their gradients out of it. */
#include <stdint.h>

#include "src/tensor/winograd_priv.h"

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

static inline long tap_offset(const struct wino_weight *w, int y, int x) {
    return w->rotate ? (2 - y) * w->stride_y + (2 - x) * w->stride_x : y * w->stride_y + x * w->stride_x;
}

/* A block of taps, lanes are output channels.  It is filled and emptied along whichever axis lies contiguous in the
 * tensor: taken lane by lane, the strides of a deep layer (a power of two, often) would evict each other's lines. */
typedef float tap_block[9][VL][NR];

/* Copies between the block and the weight at output channel `out`, input channel `in`. */
static inline void move_taps(const struct wino_weight *w, int out, int in, tap_block t, bool store) {
    int lanes = wino_at_most(w->cout - out, NR), ins = wino_at_most(w->cin - in, VL);
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
void wino_weight_pack(const struct wino_weight *w, const struct wino_geometry *g, float *u) {
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

void wino_weight_unpack(const struct wino_weight *dw, const struct wino_geometry *g, const float *du) {
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
