/* fastconv.h - convolutions over the Winograd kernels, for the shim. Private to src/tensor; C++. */
#ifndef MIDRE_FASTCONV_H
#define MIDRE_FASTCONV_H

#include <ATen/ATen.h>

/* Can and should this 3x3 convolution (stride 1, padding 1) run on the Winograd kernels?  f32, CPU, no autocast, a
 * machine without fast bf16 decides by shape alone.  `b` may be undefined. */
bool fast_conv3x3_wanted(const at::Tensor &x, const at::Tensor &w);
/* x [N,C,H,W], w [K,C,3,3], b [K] or undefined -> [N,K,H,W] channels_last; differentiable any number of times. */
at::Tensor fast_conv3x3(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b);

/* 5x5, stride 2, padding 2 as a 3x3 convolution of the image folded 2x2 into channels: exact, same conditions. */
bool fast_conv5x5s2_wanted(const at::Tensor &x, const at::Tensor &w);
at::Tensor fast_conv5x5s2(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b);

#endif
