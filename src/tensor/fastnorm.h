/* fastnorm.h - BatchNorm over the kernels of bnorm.h, for the shim. Private to src/tensor; C++. */
#ifndef MIDRE_FASTNORM_H
#define MIDRE_FASTNORM_H

#include <ATen/ATen.h>

struct norm_how {
    bool train, relu;
    double momentum, eps;
};

/* Can this image go through the kernels?  f32, CPU, channels_last, more than one value a channel. */
bool fast_batch_norm_wanted(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, const at::Tensor &rm,
                            const at::Tensor &rv, bool train);
/* y = BatchNorm(x) (+ skip), through a ReLU if how.relu; channels_last; differentiable any number of times.  w, b [C]
 * and skip [like x] may be undefined; rm, rv [C] move when how.train and may be undefined then. */
at::Tensor fast_batch_norm(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, const at::Tensor &rm,
                           const at::Tensor &rv, const at::Tensor &skip, norm_how how);

#endif
