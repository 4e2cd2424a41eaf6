/* bnorm.h - BatchNorm in fp32 on channels_last memory, with the ReLU and the shortcut that follow it. Private to
 * src/tensor.
 *
 * libtorch reads and writes the image once for the moments, again for the normalisation, again for the sum with the
 * shortcut and again for the ReLU; on a CPU the memory is what that costs.  Here one pass takes the moments and one
 * does the rest; backward likewise.  Images are [rows][c] floats, rows being all places of all images.  Sums run in
 * float32 over some rows and in float64 from there, each thread's rows in one piece: same number of threads, same bits.
 */
#ifndef MIDRE_BNORM_H
#define MIDRE_BNORM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bnorm {
    long rows;
    int c;
    const float *scale, *shift; /* [c]: y = x scale + shift */
    bool relu;                  /* y = max(0, .), after the shortcut */
};

/* Mean and biased variance of each channel, [c] each.  False: out of memory. */
bool bnorm_moments(const float *x, long rows, int c, double *mean, double *var);
/* y = x scale + shift (+ skip), through the ReLU if asked; skip may be NULL.  A NaN stays one. */
void bnorm_apply(const struct bnorm *n, const float *x, const float *skip, float *y);
/* Where the ReLU let pass, dy counts.  sums [2c] = sum of dy, then of dy (x - mean), a channel each.  `y`, the result
 * of bnorm_apply, is needed only with a shortcut, whose gradient (the dy that counts) goes to dskip; else both NULL. */
bool bnorm_grad_sums(const struct bnorm *n, const float *dy, const float *x, const float *y, const double *mean,
                     double *sums, float *dskip);
/* dx = a (the dy that counts) + b (x - mean) + k; the coefficients are [c]. */
struct bnorm_slope {
    const float *a, *b, *k, *mean;
};
void bnorm_grad_apply(const struct bnorm *n, const float *dy, const float *x, const struct bnorm_slope *s, float *dx);

#ifdef __cplusplus
}
#endif
#endif
