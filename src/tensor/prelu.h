/* prelu.h - PReLU in fp32 on channels_last memory, one pass each way. Private to src/tensor.
 *
 * libtorch 1.13's own kernel leaves channels_last, and the same written with `where` makes three large tensors; the IR
 * networks have one PReLU per block.  Tensors are [rows][c] floats.  Sums run in float64 across pieces of rows, each
 * thread's in one piece: same number of threads, same bits. */
#ifndef MIDRE_PRELU_H
#define MIDRE_PRELU_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y = x where x > 0, else slope x; slope [c].  A NaN stays one. */
void prelu_apply(const float *x, const float *slope, long rows, int c, float *y);
/* dx as the gradient of the above; dslope [c] unless NULL.  False: out of memory. */
bool prelu_grad(const float *dy, const float *x, const float *slope, long rows, int c, float *dx, float *dslope);

#ifdef __cplusplus
}
#endif
#endif
