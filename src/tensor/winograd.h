/* winograd.h - 3x3 convolutions, stride 1, padding 1, fp32, channels_last, on the CPU. Private to src/tensor.
 *
 * Images are [n][h][w][c] floats.  A weight is given by its base pointer and element strides, so that any layout of
 * a [cout,cin,3,3] tensor, and its rotated transpose for the data gradient, can be packed.  All functions use the
 * OpenMP team of the caller's thread count, give the same bits for the same number of threads on the same kind of
 * processor (vector width and second-level cache decide how sums are cut), keep one scratch buffer per calling thread,
 * and return false only when memory runs out. */
#ifndef MIDRE_WINOGRAD_H
#define MIDRE_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct wino_weight {
    const float *w;
    long stride_out, stride_in, stride_y, stride_x; /* in elements */
    int cout, cin;
    bool rotate; /* read the kernel rotated by 180 degrees: data gradient, with out/in strides swapped by the caller */
};

/* Worth it (and exact enough) for this shape? */
bool wino_wanted(int h, int w, int cin, int cout);
/* y [n,h,w,cout] = conv3x3(x [n,h,w,cin]) + bias (may be NULL). */
bool wino_conv(const float *x, const struct wino_weight *w, const float *bias, float *y, int n, int h, int wd);
/* Gradient of the weight, written (not added) through the strides of `dw` (its w field is the destination). */
bool wino_weight_grad(const float *x, const float *dy, const struct wino_weight *dw, int n, int h, int wd);
/* Frees the calling thread's scratch memory. */
void wino_release(void);

#ifdef __cplusplus
}
#endif
#endif
