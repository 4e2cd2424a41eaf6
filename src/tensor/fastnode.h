/* fastnode.h - what the graph nodes over our own kernels share. Private to src/tensor; C++. */
#ifndef MIDRE_FASTNODE_H
#define MIDRE_FASTNODE_H

#include <ATen/ATen.h>

namespace fastnode {

inline at::Tensor nhwc(const at::Tensor &t) {
    return t.contiguous(at::MemoryFormat::ChannelsLast);
}

/* Autograd functions take no undefined tensor: an empty one stands for it. */
inline at::Tensor none(const at::Tensor &like) {
    return at::empty({0}, like.options());
}
inline at::Tensor given(const at::Tensor &t, const at::Tensor &like) {
    return t.defined() ? t : none(like);
}
inline bool has(const at::Tensor &t) {
    return t.numel() > 0;
}

} // namespace fastnode

#endif
