/* shim_nn.cpp - network functions (midre/tensor_nn.h). */
#include <ATen/ATen.h>

#include <cstdlib>
#include <cstring>

#include "src/tensor/fastconv.h"
#include "src/tensor/fastnorm.h"
#include "src/tensor/fastprelu.h"
#include "src/tensor/shim_convert.h"

using namespace shim;

extern "C" {

/* ============================================================================================== network functions */

mt_tensor *mt_linear(mt_tensor *x, mt_tensor *w, mt_tensor *b) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        Tensor y = at::linear(x->t, w->t, b->t);
        macs_add(y.numel(), w->t.size(-1));
        return y;
    });
}

static std::vector<int64_t> two(const int v[2]) { return {v[0], v[1]}; }

static bool env_says(const char *name, const char *value) {
    const char *has = getenv(name);
    return has && strcmp(has, value) == 0;
}

/* The Winograd kernels compute in f32 only; MIDRE_CONV=direct keeps to libtorch's convolutions, to compare. */
static bool fast_conv_allowed() {
    static const bool direct = env_says("MIDRE_CONV", "direct");
    return !direct && !mt_autocast_on();
}

/* MIDRE_NORM=libtorch keeps to libtorch's BatchNorm and PReLU, to compare. */
static bool fast_norm_allowed() {
    static const bool libtorch = env_says("MIDRE_NORM", "libtorch");
    return !libtorch;
}

static Tensor conv2d(const Tensor &x, const Tensor &w, const Tensor &b, const mt_convp *p) {
    if (fast_conv_allowed() && p->groups == 1 && p->dil[0] == 1 && p->dil[1] == 1) {
        auto is = [&](int stride, int pad) {
            return p->stride[0] == stride && p->stride[1] == stride && p->pad[0] == pad && p->pad[1] == pad;
        };
        if (is(1, 1) && fast_conv3x3_wanted(x, w)) return fast_conv3x3(x, w, b);
        if (is(2, 2) && fast_conv5x5s2_wanted(x, w)) return fast_conv5x5s2(x, w, b);
    }
    return at::conv2d(x, w, b, IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)), IntArrayRef(two(p->dil)),
                      p->groups);
}

mt_tensor *mt_conv2d(mt_tensor *x, mt_tensor *w, mt_tensor *b, const mt_convp *p) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        Tensor y = conv2d(x->t, w->t, b->t, p);
        if (w->t.size(0) > 0) macs_add(y.numel(), w->t.numel() / w->t.size(0));
        return y;
    });
}

mt_tensor *mt_unfold2d(mt_tensor *x, int kh, int kw, const mt_convp *p) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        return at::im2col(x->t, {kh, kw}, IntArrayRef(two(p->dil)), IntArrayRef(two(p->pad)),
                          IntArrayRef(two(p->stride)));
    });
}

/* Transposed convolution with stride 2, cut by output parity.  Output 2q+r along an axis takes kernel index u from
 * input q+tap where 2*tap = r + pad - u.  Kernel 5, padding 2: r=0 has u = 4,2,0 and r=1 has u = -,3,1 at the taps
 * -1,0,+1.  Kernel 4, padding 1: r=0 has 3,1,- and r=1 has -,2,0.  "-" is a zero row appended to the kernel. */
static Tensor subpixel_weight(const Tensor &w) {
    if (w.dim() != 4 || w.size(2) != w.size(3) || (w.size(2) != 5 && w.size(2) != 4))
        refuse(MI_E_INTERNAL, "a 5x5 or 4x4 kernel is needed");
    static const int64_t take5[6] = {4, 2, 0, 5, 3, 1}, take4[6] = {3, 1, 4, 4, 2, 0};
    Tensor idx = at::from_blob(const_cast<int64_t *>(w.size(2) == 5 ? take5 : take4), {6}, at::kLong).to(w.device());
    Tensor k = at::constant_pad_nd(w, {0, 1, 0, 1}).index_select(2, idx).index_select(3, idx);
    int64_t in = w.size(0), out = w.size(1);
    Tensor r = k.reshape({in, out, 2, 3, 2, 3}).permute({1, 2, 4, 0, 3, 5}).reshape({4 * out, in, 3, 3});
    return as_layout(w, r);
}

static Tensor bias4(const Tensor &b) {
    return b.defined() ? b.unsqueeze(1).expand({b.size(0), 4}).reshape({-1}) : b;
}

static Tensor subpixel_conv(const Tensor &x, const Tensor &sw, const Tensor &b) {
    bool fast = fast_conv_allowed() && fast_conv3x3_wanted(x, sw);
    return at::pixel_shuffle(fast ? fast_conv3x3(x, sw, bias4(b)) : at::conv2d(x, sw, bias4(b), {1, 1}, {1, 1}), 2);
}

/* Input of one pixel: every output pixel is one row of a matrix product. */
static Tensor deconv_pixel(const Tensor &x, const Tensor &w, const Tensor &b) {
    Tensor flat = x.reshape({x.size(0), x.size(1)}), y; /* [N,in] */
    if (nhwc(w)) {
        Tensor k = w.permute({0, 2, 3, 1}).reshape({w.size(0), -1});
        y = at::matmul(flat, k).reshape({x.size(0), w.size(2), w.size(3), w.size(1)}).permute({0, 3, 1, 2});
    } else {
        y = at::matmul(flat, w.reshape({w.size(0), -1})).reshape({x.size(0), w.size(1), w.size(2), w.size(3)});
    }
    return b.defined() ? y + b.to(y.scalar_type()).view({1, -1, 1, 1}) : y;
}

#if MT_TV < 200
/* 1.13 on the CPU: its bf16 transposed convolution is broken and autocast leaves it alone; computed in f32. */
static Tensor deconv_113(const Tensor &x, const Tensor &w, const Tensor &b, const mt_convp *p, bool simple) {
    bool stride2 = simple && p->stride[0] == 2 && p->stride[1] == 2 && w.size(2) == w.size(3);
    bool five = w.size(2) == 5 && p->pad[0] == 2 && p->pad[1] == 2 && p->outpad[0] == 1 && p->outpad[1] == 1;
    bool four = w.size(2) == 4 && p->pad[0] == 1 && p->pad[1] == 1 && p->outpad[0] == 0 && p->outpad[1] == 0;
    if (stride2 && (five || four)) return subpixel_conv(x, subpixel_weight(w), b);
    Tensor y = at::conv_transpose2d(full(x), full(w), full(b), IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)),
                                    IntArrayRef(two(p->outpad)), p->groups, IntArrayRef(two(p->dil)));
    return as_layout(x, y.to(x.scalar_type()));
}
#endif

mt_tensor *mt_deconv2d(mt_tensor *x, mt_tensor *w, mt_tensor *b, const mt_convp *p) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (x->t.dim() != 4 || w->t.dim() != 4) refuse(MI_E_INTERNAL, "[N,C,H,W] and [in,out,kh,kw] are needed");
        bool simple = p->groups == 1 && p->dil[0] == 1 && p->dil[1] == 1;
        bool unpadded = !p->pad[0] && !p->pad[1] && !p->outpad[0] && !p->outpad[1];
        bool pixel = x->t.size(2) == 1 && x->t.size(3) == 1 && unpadded;
        if (simple && pixel) return deconv_pixel(x->t, w->t, b->t);
#if MT_TV < 200
        if (x->t.is_cpu()) return deconv_113(x->t, w->t, b->t, p, simple);
#endif
        return at::conv_transpose2d(x->t, w->t, b->t, IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)),
                                    IntArrayRef(two(p->outpad)), p->groups, IntArrayRef(two(p->dil)));
    });
}

mt_tensor *mt_subpixel_weight(mt_tensor *w) {
    if (!ok(__func__, w)) return nullptr;
    return run(__func__, [&] { return subpixel_weight(w->t); });
}

mt_tensor *mt_subpixel_conv(mt_tensor *x, mt_tensor *subpixel_w, mt_tensor *b) {
    if (!ok(__func__, x, subpixel_w, Opt{b})) return nullptr;
    return run(__func__, [&] { return subpixel_conv(x->t, subpixel_w->t, b->t); });
}

static Tensor batch_norm(const Tensor &x, const Tensor &g, const Tensor &b, const Tensor &rm, const Tensor &rv,
                         const Tensor &skip, norm_how how) {
    if (skip.defined() && skip.sizes() != x.sizes()) refuse(MI_E_INTERNAL, "image and shortcut differ in shape");
    bool floats = !skip.defined() || skip.scalar_type() == at::kFloat;
    if (fast_norm_allowed() && floats && fast_batch_norm_wanted(x, g, b, rm, rv, how.train))
        return fast_batch_norm(x, g, b, rm, rv, skip, how);
    Tensor y = as_layout(x, at::batch_norm(x, g, b, rm, rv, how.train, how.momentum, how.eps, true));
    /* In place is safe: BatchNorm's backward needs its input, not its output. */
    if (skip.defined()) y.add_(skip);
    return how.relu ? y.relu_() : y;
}

mt_tensor *mt_batch_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, mt_tensor *rm, mt_tensor *rv, bool train,
                         double momentum, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b}, Opt{rm}, Opt{rv})) return nullptr;
    norm_how how = {train, false, momentum, eps};
    return run(__func__, [&] { return batch_norm(x->t, g->t, b->t, rm->t, rv->t, Tensor(), how); });
}

mt_tensor *mt_batch_norm_relu(mt_tensor *x, mt_tensor *skip, mt_tensor *g, mt_tensor *b, mt_tensor *rm, mt_tensor *rv,
                              bool train, double momentum, double eps) {
    if (!ok(__func__, x, Opt{skip}, Opt{g}, Opt{b}, Opt{rm}, Opt{rv})) return nullptr;
    norm_how how = {train, true, momentum, eps};
    return run(__func__, [&] { return batch_norm(x->t, g->t, b->t, rm->t, rv->t, skip->t, how); });
}

/* 1.13 and the CUDA kernels want one dtype for input and weights; 2.x on the CPU takes bf16 beside f32 itself. */
static bool norm_in_f32(const Tensor &x) { return reduced(x) && (MT_TV < 200 || x.is_cuda()); }

/* On the CPU in NCHW: libtorch's channels_last kernel rounds more (twice as much in the gradients of a critic, nine times
 * in those of KedMI's minibatch discrimination), and its double backward is slower. */
static Tensor group_norm(const Tensor &x, int64_t groups, const Tensor &g, const Tensor &b, double eps) {
    Tensor in = x.is_cpu() ? x.contiguous() : x;
    if (!norm_in_f32(x)) return as_layout(x, at::group_norm(in, groups, g, b, eps));
    return as_layout(x, at::group_norm(in.to(at::kFloat), groups, full(g), full(b), eps).to(x.scalar_type()));
}

mt_tensor *mt_group_norm(mt_tensor *x, int64_t groups, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] { return group_norm(x->t, groups, g->t, b->t, eps); });
}

mt_tensor *mt_instance_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (x->t.dim() < 2) refuse(MI_E_INTERNAL, "[N,C,...] is needed");
        return group_norm(x->t, x->t.size(1), g->t, b->t, eps);
    });
}

mt_tensor *mt_layer_norm(mt_tensor *x, int tail_dims, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (tail_dims < 1 || tail_dims > x->t.dim()) refuse(MI_E_INTERNAL, "%d dimensions to normalise", tail_dims);
        IntArrayRef tail = x->t.sizes().slice((size_t)(x->t.dim() - tail_dims));
        if (!norm_in_f32(x->t)) return at::layer_norm(x->t, tail, g->t, b->t, eps);
        return at::layer_norm(x->t.to(at::kFloat), tail, full(g->t), full(b->t), eps).to(x->t.scalar_type());
    });
}

mt_tensor *mt_act(mt_tensor *x, mt_actop op, double alpha) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        switch (op) {
        case MT_RELU: return at::relu(x->t);
        case MT_LRELU: return at::leaky_relu(x->t, alpha);
        case MT_SIGMOID: return at::sigmoid(x->t);
        case MT_TANH: return at::tanh(x->t);
        case MT_SILU: return at::silu(x->t);
        case MT_GELU: return at::gelu(x->t);
        case MT_SOFTPLUS: return at::softplus(x->t);
        }
        refuse(MI_E_INTERNAL, "unknown activation %d", (int)op);
    });
}

mt_tensor *mt_act_(mt_tensor *x, mt_actop op, double alpha) {
    if (!ok(__func__, x)) return nullptr;
    return inplace(__func__, x, [&] {
        switch (op) {
        case MT_RELU: at::relu_(x->t); return;
        case MT_LRELU: at::leaky_relu_(x->t, alpha); return;
        case MT_SIGMOID: at::sigmoid_(x->t); return;
        case MT_TANH: at::tanh_(x->t); return;
        case MT_SILU: at::silu_(x->t); return;
        case MT_GELU: at::gelu_(x->t); return;
        case MT_SOFTPLUS: refuse(MI_E_INTERNAL, "softplus has no in-place form");
        }
        refuse(MI_E_INTERNAL, "unknown activation %d", (int)op);
    });
}

mt_tensor *mt_prelu(mt_tensor *x, mt_tensor *slope) {
    if (!ok(__func__, x, slope)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        const Tensor &v = x->t;
        if (fast_norm_allowed() && fast_prelu_wanted(v, slope->t)) return fast_prelu(v, slope->t);
        Tensor s = slope->t.to(v.scalar_type());
        if (MT_TV >= 200 || v.dim() != 4) return at::prelu(v, s);
        return at::where(v > 0, v, v * s.view({1, -1, 1, 1})); /* 1.13's own kernel leaves channels_last */
    });
}

mt_tensor *mt_softmax(mt_tensor *x, int dim) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::softmax(x->t, dim); });
}

mt_tensor *mt_log_softmax(mt_tensor *x, int dim) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::log_softmax(full(x->t), dim); });
}

mt_tensor *mt_max_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::max_pool2d(x->t, {k, k}, {s, s}, {p, p}, {1, 1}, ceil_mode); });
}

mt_tensor *mt_avg_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode, bool count_pad) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::avg_pool2d(x->t, {k, k}, {s, s}, {p, p}, ceil_mode, count_pad); });
}

mt_tensor *mt_adaptive_avg_pool2d(mt_tensor *x, int h, int w) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::adaptive_avg_pool2d(x->t, {h, w}); });
}

mt_tensor *mt_resize2d(mt_tensor *x, int h, int w, mt_interp mode, bool align_corners, bool antialias) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        int64_t hw[2] = {h, w};
        IntArrayRef size(hw, 2);
        if (mode == MT_NEAREST) return as_layout(x->t, at::upsample_nearest2d(x->t, size));
        if (!antialias) return as_layout(x->t, at::upsample_bilinear2d(x->t, size, align_corners));
        return as_layout(x->t, at::_upsample_bilinear2d_aa(full(x->t), size, align_corners).to(x->t.scalar_type()));
    });
}

mt_tensor *mt_grid_sample(mt_tensor *x, mt_tensor *grid, mt_interp mode, mt_padmode pad) {
    if (!ok(__func__, x, grid)) return nullptr;
    return run(__func__, [&] {
        Tensor v = full(x->t); /* coordinates in bf16 would be a pixel off */
        int64_t border = pad == MT_PAD_ZERO ? 0 : pad == MT_PAD_EDGE ? 1 : 2;
        Tensor y = at::grid_sampler(v, grid->t.to(v.scalar_type()), mode == MT_BILINEAR ? 0 : 1, border, false);
        return as_layout(x->t, y.to(x->t.scalar_type()));
    });
}

mt_tensor *mt_affine_grid(mt_tensor *theta, const int64_t shape[4]) {
    if (!ok(__func__, theta)) return nullptr;
    return run(__func__, [&] { return at::affine_grid_generator(full(theta->t), sizes(shape, 4), false); });
}

mt_tensor *mt_pad2d(mt_tensor *x, const int pad[4], mt_padmode m, double v) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        std::vector<int64_t> p = wide(pad, 4);
        if (m == MT_PAD_ZERO) return at::constant_pad_nd(x->t, p, v);
        Tensor y = m == MT_PAD_REFLECT ? at::reflection_pad2d(full(x->t), p) : at::replication_pad2d(full(x->t), p);
        return as_layout(x->t, y.to(x->t.scalar_type()));
    });
}

mt_tensor *mt_pixel_shuffle(mt_tensor *x, int r) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::pixel_shuffle(x->t, r); });
}

mt_tensor *mt_dropout(mt_tensor *x, double p, mt_rng *rng) {
    if (!ok(__func__, x)) return nullptr;
    if (!rng) {
        null_arg(__func__, 3);
        return nullptr;
    }
    return run(__func__, [&] {
        if (!(p >= 0 && p <= 1)) refuse(MI_E_INTERNAL, "probability %g", p);
        if (p == 1) return x->t * 0;
        at::TensorOptions o = at::TensorOptions().device(dev(rng->device)).dtype(x->t.scalar_type());
        Tensor mask = at::empty(x->t.sizes(), o, x->t.suggest_memory_format()).bernoulli_(1 - p, rng->gen).div_(1 - p);
        return x->t * mask.to(x->t.device());
    });
}

mt_tensor *mt_embedding(mt_tensor *w, mt_tensor *idx) {
    if (!ok(__func__, w, idx)) return nullptr;
    return run(__func__, [&] { return at::embedding(w->t, idx->t); });
}

static int64_t reduction(mt_reduction r) {
    return r == MT_RED_NONE ? at::Reduction::None : r == MT_RED_MEAN ? at::Reduction::Mean : at::Reduction::Sum;
}

mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *target, double smooth, mt_reduction r) {
    if (!ok(__func__, logits, target)) return nullptr;
    return run(__func__, [&] {
        if (logits->t.dim() != 2 || target->t.dim() != 1 || logits->t.size(0) != target->t.size(0))
            refuse(MI_E_INTERNAL, "[N,classes] and [N] are needed");
        Tensor logp = at::log_softmax(full(logits->t), 1); /* [N,classes] */
        Tensor hard = at::nll_loss(logp, target->t, {}, reduction(r));
        if (smooth == 0) return hard;
        /* target (1-s)*onehot + s/classes; libtorch's own smoothing ignores negative s */
        Tensor even = -logp.mean(1);
        if (r != MT_RED_NONE) even = r == MT_RED_MEAN ? even.mean() : even.sum();
        return hard * (1 - smooth) + even * smooth;
    });
}

mt_tensor *mt_bce_logits(mt_tensor *x, mt_tensor *y, mt_reduction r) {
    if (!ok(__func__, x, y)) return nullptr;
    return run(__func__, [&] {
        Tensor v = full(x->t);
        return at::binary_cross_entropy_with_logits(v, y->t.to(v.scalar_type()), {}, {}, reduction(r));
    });
}

mt_tensor *mt_mse(mt_tensor *a, mt_tensor *b, mt_reduction r) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        if (a->t.sizes() != b->t.sizes()) refuse(MI_E_INTERNAL, "different shapes");
        return at::mse_loss(full(a->t), full(b->t), reduction(r));
    });
}

} /* extern "C" */
