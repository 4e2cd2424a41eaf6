/* fastprelu.h - PReLU over the kernels of prelu.h, for the shim. Private to src/tensor; C++. */
#ifndef MIDRE_FASTPRELU_H
#define MIDRE_FASTPRELU_H

#include <ATen/ATen.h>

/* f32, CPU, channels_last, a slope for every channel? */
bool fast_prelu_wanted(const at::Tensor &x, const at::Tensor &slope);
/* x [N,C,H,W], slope [C] -> like x; differentiable any number of times. */
at::Tensor fast_prelu(const at::Tensor &x, const at::Tensor &slope);

#endif
