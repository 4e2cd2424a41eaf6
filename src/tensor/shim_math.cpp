/* shim_math.cpp - element-wise functions, linear algebra, reductions and indexing (midre/tensor_math.h). */
#include <ATen/ATen.h>

#include <cmath>

#include "src/tensor/shim_convert.h"

using namespace shim;

template <class B> static Tensor compare(const Tensor &a, const B &b, mt_cmp op) {
    switch (op) {
    case MT_LT: return a.lt(b);
    case MT_LE: return a.le(b);
    case MT_GT: return a.gt(b);
    case MT_GE: return a.ge(b);
    case MT_EQ: return a.eq(b);
    case MT_NE: return a.ne(b);
    }
    refuse(MI_E_INTERNAL, "unknown comparison %d", (int)op);
}

/* Multiply-accumulates of the products made since mt_macs_begin; -1: nobody counts. */
static thread_local double macs_seen = -1;

void shim::macs_add(int64_t results, int64_t terms) {
    if (macs_seen >= 0) macs_seen += (double)results * (double)terms;
}

extern "C" {

/* =================================================================================================== element-wise */

mt_tensor *mt_add(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::add(a->t, b->t); });
}

mt_tensor *mt_sub(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::sub(a->t, b->t); });
}

mt_tensor *mt_mul(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::mul(a->t, b->t); });
}

mt_tensor *mt_div(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::div(a->t, b->t); });
}

mt_tensor *mt_affine(mt_tensor *t, double mul, double add) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        if (add == 0) return at::mul(t->t, mul);
        if (mul == 1) return at::add(t->t, add);
        Tensor y = at::mul(t->t, mul);
        return y.add_(add);
    });
}

mt_tensor *mt_add_(mt_tensor *a, mt_tensor *b, double alpha) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] {
        if (alpha == 1) a->t.add_(b->t);
        else a->t.add_(b->t, alpha);
    });
}

mt_tensor *mt_mul_(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] { a->t.mul_(b->t); });
}

mt_tensor *mt_affine_(mt_tensor *t, double mul, double add) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] {
        if (mul != 1) t->t.mul_(mul);
        if (add != 0) t->t.add_(add);
    });
}

mt_tensor *mt_lerp_(mt_tensor *a, mt_tensor *b, double w) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] { a->t.lerp_(b->t.to(a->t.scalar_type()), w); });
}

mt_tensor *mt_fill_(mt_tensor *t, double v) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] { t->t.fill_(v); });
}

mt_tensor *mt_unary(mt_tensor *t, mt_unop op) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        const Tensor &x = t->t;
        switch (op) {
        case MT_EXP: return x.exp();
        case MT_LOG: return x.log();
        case MT_SQRT: return x.sqrt();
        case MT_RSQRT: return x.rsqrt();
        case MT_ABS: return x.abs();
        case MT_NEG: return x.neg();
        case MT_SIGN: return x.sign();
        case MT_SIN: return x.sin();
        case MT_COS: return x.cos();
        case MT_FLOOR: return x.floor();
        case MT_ROUND: return x.round();
        case MT_RECIP: return x.reciprocal();
        case MT_SQUARE: return x * x;
        case MT_ISFINITE: return at::isfinite(x);
        }
        refuse(MI_E_INTERNAL, "unknown operation %d", (int)op);
    });
}

mt_tensor *mt_pow(mt_tensor *t, double e) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::pow(t->t, e); });
}

mt_tensor *mt_clamp(mt_tensor *t, double lo, double hi) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        if (std::isinf(hi)) return at::clamp_min(t->t, lo);
        if (std::isinf(lo)) return at::clamp_max(t->t, hi);
        return at::clamp(t->t, at::Scalar(lo), at::Scalar(hi));
    });
}

mt_tensor *mt_clamp_(mt_tensor *t, double lo, double hi) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] {
        if (!std::isinf(lo)) t->t.clamp_min_(lo);
        if (!std::isinf(hi)) t->t.clamp_max_(hi);
    });
}

mt_tensor *mt_max2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::maximum(a->t, b->t); });
}

mt_tensor *mt_min2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::minimum(a->t, b->t); });
}

mt_tensor *mt_compare(mt_tensor *a, mt_tensor *b, mt_cmp op) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return compare(a->t, b->t, op); });
}

mt_tensor *mt_compare_scalar(mt_tensor *a, double b, mt_cmp op) {
    if (!ok(__func__, a)) return nullptr;
    return run(__func__, [&] { return compare(a->t, at::Scalar(b), op); });
}

mt_tensor *mt_logical_and(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::logical_and(a->t, b->t); });
}

mt_tensor *mt_where(mt_tensor *c, mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, c, a, b)) return nullptr;
    return run(__func__, [&] { return at::where(c->t.to(at::kBool), a->t, b->t); });
}

void mt_macs_begin(void) { macs_seen = 0; }

double mt_macs_end(void) {
    double n = macs_seen;
    macs_seen = -1;
    return n < 0 ? 0 : n;
}

mt_tensor *mt_inverse(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return std::get<0>(at::linalg_inv_ex(t->t, false)); });
}

mt_tensor *mt_svdvals(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::linalg_svdvals(t->t); });
}

mt_tensor *mt_qr_r(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return std::get<1>(at::linalg_qr(t->t, "r")); });
}

mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        Tensor y = at::matmul(a->t, b->t);
        macs_add(y.numel(), a->t.size(-1));
        return y;
    });
}

/* ======================================================================================= reductions and indexing */

mt_tensor *mt_sum(mt_tensor *t, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        return nd == 0 && !keep ? at::sum(t->t) : at::sum(t->t, IntArrayRef(dims_of(t->t, dims, nd)), keep);
    });
}

mt_tensor *mt_mean(mt_tensor *t, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        Tensor x = t->t.is_floating_point() ? t->t : t->t.to(at::kFloat);
        return nd == 0 && !keep ? at::mean(x) : at::mean(x, IntArrayRef(dims_of(x, dims, nd)), keep);
    });
}

/* Boxes two results, or none. */
static mi_status pair(const char *op, std::tuple<Tensor, Tensor> &&r, mt_tensor **a, mt_tensor **b) {
    *a = run(op, [&] { return std::move(std::get<0>(r)); });
    *b = *a ? run(op, [&] { return std::move(std::get<1>(r)); }) : nullptr;
    if (*b) return MI_OK;
    mt_drop(*a);
    *a = nullptr;
    return surface();
}

enum mi_status mt_var_mean(mt_tensor *t, const int *dims, int nd, bool unbiased, mt_tensor **var, mt_tensor **mean) {
    *var = *mean = nullptr;
    if (!ok(__func__, t)) return surface();
    std::tuple<Tensor, Tensor> r;
    mi_status st = status_of(__func__, [&] {
        r = at::var_mean(t->t, IntArrayRef(dims_of(t->t, dims, nd)), unbiased, false);
    });
    return st != MI_OK ? st : pair(__func__, std::move(r), var, mean);
}

mt_tensor *mt_norm(mt_tensor *t, double p, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        Tensor x = t->t.scalar_type() == at::kDouble ? t->t : t->t.to(at::kFloat);
        return at::norm(x, at::Scalar(p), IntArrayRef(dims_of(x, dims, nd)), keep);
    });
}

mt_tensor *mt_amax(mt_tensor *t, int dim, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::amax(t->t, IntArrayRef((int64_t)dim), keep); });
}

mt_tensor *mt_amin(mt_tensor *t, int dim, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::amin(t->t, IntArrayRef((int64_t)dim), keep); });
}

mt_tensor *mt_argmax(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::argmax(t->t, (int64_t)dim, false); });
}

enum mi_status mt_topk(mt_tensor *t, int64_t k, int dim, mt_tensor **val, mt_tensor **idx) {
    *val = *idx = nullptr;
    if (!ok(__func__, t)) return surface();
    std::tuple<Tensor, Tensor> r;
    mi_status st = status_of(__func__, [&] { r = at::topk(t->t, k, dim, true, true); });
    return st != MI_OK ? st : pair(__func__, std::move(r), val, idx);
}

mt_tensor *mt_cumsum(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::cumsum(full(t->t), dim); });
}

mt_tensor *mt_gather(mt_tensor *t, int dim, mt_tensor *idx) {
    if (!ok(__func__, t, idx)) return nullptr;
    return run(__func__, [&] { return at::gather(t->t, dim, idx->t); });
}

mt_tensor *mt_index_select(mt_tensor *t, int dim, mt_tensor *idx) {
    if (!ok(__func__, t, idx)) return nullptr;
    return run(__func__, [&] {
        if (!nhwc(t->t)) return at::index_select(t->t, dim, idx->t);
        /* The same memory read as a contiguous n,h,w,c tensor: selecting there keeps the order without a copy. */
        static const int64_t to[4] = {0, 3, 1, 2};
        if (dim < -4 || dim > 3) refuse(MI_E_INTERNAL, "there is no dimension %d", dim);
        Tensor flat = t->t.permute({0, 2, 3, 1});
        return at::index_select(flat, to[dim < 0 ? dim + 4 : dim], idx->t).permute({0, 3, 1, 2});
    });
}

mt_tensor *mt_scatter_(mt_tensor *t, int dim, mt_tensor *idx, mt_tensor *src) {
    if (!ok(__func__, t, idx, src)) return nullptr;
    return inplace(__func__, t, [&] { t->t.scatter_(dim, idx->t, src->t); });
}

mt_tensor *mt_one_hot(mt_tensor *idx, int64_t classes) {
    if (!ok(__func__, idx)) return nullptr;
    return run(__func__, [&] { return at::one_hot(idx->t, classes); });
}

mt_tensor *mt_cdist2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        /* |a|^2 + |b|^2 - 2ab cancels: in f64 the result is good to f32, and TF32 and autocast stay out of it. */
        Tensor x = a->t.to(at::kDouble), y = b->t.to(at::kDouble); /* [N,D] [M,D] */
        Tensor d = at::matmul(x, y.t()).mul(-2) + (x * x).sum(1, true) + (y * y).sum(1).unsqueeze(0); /* [N,M] */
        return d.clamp_min(0).to(at::kFloat);
    });
}

bool mt_all_finite(mt_tensor *t) {
    bool yes = false;
    if (ok(__func__, t)) status_of(__func__, [&] { yes = at::isfinite(t->t.detach()).all().item<bool>(); });
    return yes;
}

} /* extern "C" */
