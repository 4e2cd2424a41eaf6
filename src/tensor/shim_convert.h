/* shim_convert.h - between the C view of a tensor (midre/tensor.h) and libtorch's. Private to shim_*.cpp; C++. */
#ifndef MIDRE_SHIM_CONVERT_H
#define MIDRE_SHIM_CONVERT_H

#include "src/tensor/shim.h"

struct mt_rng {
    at::Generator gen;
    mt_device device;
};

namespace shim {

inline at::ScalarType scalar_of(mt_dtype d) {
    switch (d) {
    case MT_F32: return at::kFloat;
    case MT_F64: return at::kDouble;
    case MT_BF16: return at::kBFloat16;
    case MT_F16: return at::kHalf;
    case MT_I64: return at::kLong;
    case MT_I32: return at::kInt;
    case MT_U8: return at::kByte;
    case MT_BOOL: return at::kBool;
    }
    refuse(MI_E_INTERNAL, "unknown dtype %d", (int)d);
}

inline c10::Device dev(mt_device d) {
    if (d.type == 2) return c10::Device(c10::DeviceType::Meta); /* shapes without memory: MT_META */
    return d.type == 1 ? c10::Device(c10::DeviceType::CUDA, (c10::DeviceIndex)d.index)
                       : c10::Device(c10::DeviceType::CPU);
}

inline at::TensorOptions opts(mt_spec sp) {
    return at::TensorOptions().dtype(scalar_of(sp.dtype)).device(dev(sp.device));
}

inline at::MemoryFormat format(mt_layout_t l, int64_t nd) {
    return l == MT_NHWC && nd == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

inline IntArrayRef sizes(const int64_t *shape, int nd) {
    if (nd < 0 || nd > MT_MAXDIM) refuse(MI_E_INTERNAL, "%d dimensions (0 to %d are allowed)", nd, MT_MAXDIM);
    return IntArrayRef(shape, (size_t)nd);
}

inline std::vector<int64_t> wide(const int *v, int n) { return std::vector<int64_t>(v, v + n); }

inline std::vector<int64_t> dims_of(const Tensor &t, const int *dims, int nd) {
    std::vector<int64_t> d = wide(dims, nd);
    if (nd == 0)
        for (int64_t i = 0; i < t.dim(); i++) d.push_back(i);
    return d;
}

inline std::vector<Tensor> list_of(mt_tensor *const *ts, int n) {
    std::vector<Tensor> v;
    v.reserve((size_t)n);
    for (int i = 0; i < n; i++) v.push_back(ts[i]->t);
    return v;
}

inline bool nhwc(const Tensor &t) {
    return t.dim() == 4 && !t.is_contiguous() && t.is_contiguous(at::MemoryFormat::ChannelsLast);
}

/* y in the memory order of x, where x has one that can be told. */
inline Tensor as_layout(const Tensor &x, Tensor y) {
    return nhwc(x) && y.dim() == 4 ? y.contiguous(at::MemoryFormat::ChannelsLast) : y;
}

inline bool reduced(const Tensor &t) { return t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf; }
inline Tensor full(const Tensor &t) { return t.defined() && reduced(t) ? t.to(at::kFloat) : t; }

/* Multiply-accumulates for mt_macs_begin: each of `results` numbers is a sum of `terms` products. */
void macs_add(int64_t results, int64_t terms);

} // namespace shim
#endif
