/* shim_make.cpp - tensors made, read, looked at and reshaped, random numbers (midre/tensor.h; tensor_math.h, random). */
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cstring>
#include <mutex>

#include "src/tensor/shim_convert.h"

using namespace shim;

static mt_dtype dtype_of(at::ScalarType s) {
    switch (s) {
    case at::kDouble: return MT_F64;
    case at::kBFloat16: return MT_BF16;
    case at::kHalf: return MT_F16;
    case at::kLong: return MT_I64;
    case at::kInt: return MT_I32;
    case at::kByte: return MT_U8;
    case at::kBool: return MT_BOOL;
    default: return MT_F32;
    }
}

/* Draws on the generator's device in f32 (f64 where asked for) and NCHW order, then converts: the numbers of a seed
 * do not depend on the layout, and a CPU generator gives a GPU the same latents. */
template <class F> static mt_tensor *draw(const char *op, const int64_t *shape, int nd, mt_spec sp, mt_rng *r, F &&f) {
    if (!ok(op)) return nullptr;
    if (!r) {
        null_arg(op, 5);
        return nullptr;
    }
    return run(op, [&] {
        bool wide_float = sp.dtype == MT_F64;
        at::TensorOptions o = at::TensorOptions().device(dev(r->device)).dtype(wide_float ? at::kDouble : at::kFloat);
        Tensor x = f(sizes(shape, nd), o);
        return x.to(dev(sp.device)).to(scalar_of(sp.dtype)).contiguous(format(sp.layout, nd));
    });
}

extern "C" {

/* ========================================================================================================= create */

mt_tensor *mt_empty(const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)); });
}

mt_tensor *mt_full(const int64_t *shape, int nd, double value, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)).fill_(value); });
}

mt_tensor *mt_zeros(const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)).zero_(); });
}

mt_tensor *mt_zeros_like(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::zeros_like(t->t.detach()); });
}

mt_tensor *mt_own_zeros_like(mt_tensor *p) {
    if (!ok(__func__, p)) return nullptr;
    try {
        c10::NoGradGuard off;
        Tensor z = at::empty_strided(p->t.sizes(), p->t.strides(), p->t.options());
        z.zero_();
        return new_box(__func__, std::move(z));
    } catch (...) {
        caught(__func__);
        return nullptr;
    }
}

mt_tensor *mt_arange(int64_t lo, int64_t hi, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::arange(lo, hi, opts(sp)); });
}

/* Host memory seen as a tensor, in the order `sp` says. */
static Tensor host_view(const void *data, const int64_t *shape, int nd, mt_spec sp) {
    IntArrayRef sz = sizes(shape, nd);
    int64_t n = 1;
    for (int64_t s : sz) {
        if (s < 0) refuse(MI_E_INTERNAL, "negative size %lld", (long long)s);
        n *= s;
    }
    if (!data && n > 0) refuse(MI_E_INTERNAL, "no data");
    at::TensorOptions o = at::TensorOptions().dtype(scalar_of(sp.dtype));
    if (sp.layout != MT_NHWC || nd != 4) return at::from_blob(const_cast<void *>(data), sz, o);
    int64_t c = sz[1], w = sz[3], strides[4] = {sz[2] * w * c, 1, w * c, c};
    return at::from_blob(const_cast<void *>(data), sz, IntArrayRef(strides, 4), o);
}

mt_tensor *mt_from(const void *data, const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] {
        Tensor v = host_view(data, shape, nd, sp);
        return sp.device.type == 1 ? v.to(dev(sp.device)) : v.clone();
    });
}

mt_tensor *mt_wrap(void *data, const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] {
        if (sp.device.type != 0) refuse(MI_E_INTERNAL, "only host memory can be wrapped");
        return host_view(data, shape, nd, sp);
    });
}

mt_tensor *mt_clone(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.clone(); });
}

mt_tensor *mt_to(mt_tensor *t, mt_device d) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.to(dev(d)); });
}

mt_tensor *mt_cast(mt_tensor *t, mt_dtype d) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.to(scalar_of(d)); });
}

mt_tensor *mt_cast_(mt_tensor *t, mt_dtype d) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] {
        if (!t->t.is_leaf()) refuse(MI_E_INTERNAL, "only a leaf can change its type (this one is of %s)", t->op);
        bool grad = t->t.requires_grad();
        t->t = t->t.detach().to(scalar_of(d));
        if (grad) t->t.set_requires_grad(true);
    });
}

mt_tensor *mt_contig(mt_tensor *t, mt_layout_t lay) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.contiguous(format(lay, t->t.dim())); });
}

mt_tensor *mt_copy_(mt_tensor *dst, mt_tensor *src) {
    if (!ok(__func__, dst, src)) return nullptr;
    return inplace(__func__, dst, [&] { dst->t.copy_(src->t); });
}

enum mi_status mt_read(mt_tensor *t, void *out, int64_t bytes, mt_dtype as, mt_layout_t lay) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        Tensor h = t->t.detach().to(at::kCPU).to(scalar_of(as));
        if (lay == MT_NHWC && h.dim() == 4) h = h.permute({0, 2, 3, 1});
        h = h.contiguous();
        int64_t have = h.numel() * (int64_t)h.element_size();
        if (have != bytes)
            refuse(MI_E_INTERNAL, "the buffer has %lld bytes, the tensor %lld", (long long)bytes, (long long)have);
        if (have) std::memcpy(out, h.data_ptr(), (size_t)have);
    });
}

/* ======================================================================================================== inspect */

int mt_ndim(const mt_tensor *t) { return ok(__func__, t) ? (int)t->t.dim() : -1; }
int64_t mt_numel(const mt_tensor *t) { return ok(__func__, t) ? t->t.numel() : -1; }

int64_t mt_size(const mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return -1;
    int64_t nd = t->t.dim(), d = dim < 0 ? dim + nd : dim;
    if (d >= 0 && d < nd) return t->t.size(d);
    record(MI_E_INTERNAL, __func__, "there is no dimension %d", dim);
    return -1;
}

int mt_shape(const mt_tensor *t, int64_t out[MT_MAXDIM]) {
    if (!ok(__func__, t)) return -1;
    int nd = (int)t->t.dim();
    if (nd > MT_MAXDIM) {
        record(MI_E_INTERNAL, __func__, "%d dimensions", nd);
        return -1;
    }
    for (int i = 0; i < nd; i++) out[i] = t->t.size(i);
    return nd;
}

mt_dtype mt_dtype_of(const mt_tensor *t) { return ok(__func__, t) ? dtype_of(t->t.scalar_type()) : MT_F32; }
mt_layout_t mt_layout(const mt_tensor *t) { return ok(__func__, t) && nhwc(t->t) ? MT_NHWC : MT_NCHW; }

mt_device mt_device_of(const mt_tensor *t) {
    mt_device d = {0, 0};
    if (ok(__func__, t) && t->t.is_cuda()) d = {1, t->t.get_device() < 0 ? 0 : (int)t->t.get_device()};
    else if (t && t->t.is_meta()) d = {2, 0};
    return d;
}

enum mi_status mt_item(mt_tensor *t, double *out) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        if (t->t.numel() != 1) refuse(MI_E_INTERNAL, "not a single number");
        *out = t->t.detach().to(at::kDouble).item<double>();
    });
}

void *mt_data(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    if (t->t.is_cpu()) return t->t.data_ptr();
    record(MI_E_INTERNAL, __func__, "the tensor is on a GPU");
    return nullptr;
}

int mt_strides(const mt_tensor *t, int64_t out[MT_MAXDIM]) {
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape);
    for (int i = 0; i < nd; i++) out[i] = t->t.stride(i);
    return nd;
}

void *mt_data_device(mt_tensor *t) { return ok(__func__, t) ? t->t.data_ptr() : nullptr; }

uint64_t mt_hash(mt_tensor *t) {
    uint64_t h = 0xcbf29ce484222325ull;
    if (!ok(__func__, t)) return 0;
    mi_status st = status_of(__func__, [&] {
        Tensor c = t->t.detach().to(at::kCPU).contiguous();
        const unsigned char *p = (const unsigned char *)c.data_ptr();
        for (int64_t i = 0, n = c.numel() * (int64_t)c.element_size(); i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
    });
    return st == MI_OK ? h : 0;
}

/* ================================================================================================ views and shape */

mt_tensor *mt_reshape(mt_tensor *t, const int64_t *shape, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.reshape(sizes(shape, nd)); });
}

mt_tensor *mt_flatten(mt_tensor *t, int from) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.flatten(from, -1); });
}

mt_tensor *mt_permute(mt_tensor *t, const int *dims, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.permute(wide(dims, nd)); });
}

mt_tensor *mt_transpose(mt_tensor *t, int a, int b) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.transpose((int64_t)a, (int64_t)b); });
}

mt_tensor *mt_narrow(mt_tensor *t, int dim, int64_t start, int64_t len) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.narrow(dim, start, len); });
}

mt_tensor *mt_stride_slice(mt_tensor *t, int dim, int64_t start, int64_t end, int64_t step) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        return at::slice(t->t, dim, start == MT_AUTO ? 0 : start, end == MT_AUTO ? INT64_MAX : end, step);
    });
}

mt_tensor *mt_select(mt_tensor *t, int dim, int64_t i) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.select(dim, i); });
}

mt_tensor *mt_expand(mt_tensor *t, const int64_t *shape, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.expand(sizes(shape, nd)); });
}

mt_tensor *mt_repeat(mt_tensor *t, const int64_t *times, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.repeat(sizes(times, nd)); });
}

mt_tensor *mt_squeeze(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.squeeze(dim); });
}

mt_tensor *mt_unsqueeze(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.unsqueeze(dim); });
}

mt_tensor *mt_flip(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return as_layout(t->t, t->t.flip(dim)); });
}

mt_tensor *mt_cat(mt_tensor *const *ts, int n, int dim) {
    if (!ok_list(__func__, ts, n)) return nullptr;
    return run(__func__, [&] { return as_layout(ts[0]->t, at::cat(list_of(ts, n), dim)); });
}

mt_tensor *mt_stack(mt_tensor *const *ts, int n, int dim) {
    if (!ok_list(__func__, ts, n)) return nullptr;
    return run(__func__, [&] { return at::stack(list_of(ts, n), dim); });
}

mt_tensor *mt_detach(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.detach(); });
}

/* ========================================================================================================= random */

mt_rng *mt_rng_new(mt_device d, uint64_t seed) {
    if (!ok(__func__)) return nullptr;
    mt_rng *r = nullptr;
    status_of(__func__, [&] {
        at::Generator g = d.type == 1 ? at::globalContext().defaultGenerator(dev(d)).clone()
                                      : at::make_generator<at::CPUGeneratorImpl>(seed);
        r = new mt_rng{g, d};
    });
    mt_rng_seed(r, seed);
    return r;
}

void mt_rng_seed(mt_rng *r, uint64_t seed) {
    if (!r) return null_arg(__func__, 1);
    status_of(__func__, [&] {
        std::lock_guard<std::mutex> hold(r->gen.mutex());
        r->gen.set_current_seed(seed);
    });
}

void mt_rng_free(mt_rng *r) { delete r; }

mt_tensor *mt_randn(const int64_t *shape, int nd, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::randn(s, r->gen, o);
    });
}

mt_tensor *mt_rand(const int64_t *shape, int nd, double lo, double hi, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::rand(s, r->gen, o).mul_(hi - lo).add_(lo);
    });
}

mt_tensor *mt_randint(int64_t lo, int64_t hi, const int64_t *shape, int nd, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::randint(lo, hi, s, r->gen, o.dtype(at::kLong));
    });
}

mt_tensor *mt_bernoulli(const int64_t *shape, int nd, double p, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::empty(s, o).bernoulli_(p, r->gen);
    });
}

} /* extern "C" */
