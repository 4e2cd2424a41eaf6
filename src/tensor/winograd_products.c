/* winograd_products.c - the 36 matrix products between the transforms, forward and of the weight gradient. */
#include "src/tensor/winograd_priv.h"

/* One group of MR tiles x NR channels: a [cb][MR][VL], u [cb*VL][NR], out [MR][NR]. */
static inline void block_product(const float *a, const float *u, int cb, float *out) {
    vf acc[MR][2];
    for (int i = 0; i < MR; i++) acc[i][0] = acc[i][1] = (vf){0};
    for (int b = 0; b < cb; b++, a += MR * VL)
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

void wino_products(const struct wino_geometry *g, const float *v, const float *u, long count, float *p) {
    long group = (long)g->cb * MR * VL, rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int xi = 0; xi < XI; xi++)
        for (int b = 0; b < g->pb; b++) {
            const float *a = v + xi * g->vs, *w = u + xi * g->us + b * rows * NR;
            float *out = p + xi * g->ps + b * g->block * NR;
            for (long t = 0; t < count; t += MR, a += group) block_product(a, w, g->cb, out + t * NR);
        }
}

/* KR input channels x NR output channels summed over n tiles of one group, added to the registers. */
static inline void group_grad(const float *a, const float *d, int n, vf acc[KR][2]) {
    for (int t = 0; t < n; t++, a += VL, d += NR) {
        vf d0 = *(const vf *)d, d1 = *(const vf *)(d + VL);
        for (int i = 0; i < KR; i++) {
            acc[i][0] += a[i] * d0;
            acc[i][1] += a[i] * d1;
        }
    }
}

/* du [KR][NR] = or += the sum over `count` tiles, a at the first group's rows of these channels. */
static inline void grad_product(const float *a, const float *d, long group, long count, bool add, float *du) {
    vf acc[KR][2] = {{{0}}};
    for (int i = 0; add && i < KR; i++) acc[i][0] = *(vf *)(du + i * NR), acc[i][1] = *(vf *)(du + i * NR + VL);
    long t = 0;
    for (; t + MR <= count; t += MR, a += group, d += MR * NR) group_grad(a, d, MR, acc);
    if (t < count) group_grad(a, d, (int)(count - t), acc);
    for (int i = 0; i < KR; i++) *(vf *)(du + i * NR) = acc[i][0], *(vf *)(du + i * NR + VL) = acc[i][1];
}

void wino_grad_products(const struct wino_geometry *g, const float *v, const float *p, long count, bool add,
                        float *du) {
    enum { STRIP = 8 * MR }; /* tiles at a time: their rows of P stay in the first-level cache for all input channels */
    long group = (long)g->cb * MR * VL, rows = (long)g->cb * VL;
#pragma omp parallel for collapse(2) schedule(static)
    for (int xi = 0; xi < XI; xi++)
        for (int b = 0; b < g->pb; b++)
            for (long t = 0; t < count; t += STRIP) {
                const float *a = v + xi * g->vs + t / MR * group, *d = p + xi * g->ps + (b * g->block + t) * NR;
                float *out = du + xi * g->us + b * rows * NR;
                long n = count - t < STRIP ? count - t : STRIP;
                for (long c = 0; c < rows; c += KR)
                    grad_product(a + c / VL * MR * VL + c % VL, d, group, n, add || t > 0, out + c * NR);
            }
}
