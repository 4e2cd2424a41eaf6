/* fastconv.cpp - the C++ side of winograd.c: autograd around it, and the convolutions that can be rewritten to it.
 * Part of the shim, apart because it needs another header of libtorch and nothing of the handles.
 *
 * A 3x3 convolution is linear in x and in w, and its two gradients are again 3x3 convolutions or the weight-gradient
 * sum, so the two functions below are closed under differentiation: WGAN-GP's double backward needs nothing else. */
#include "src/tensor/fastconv.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <new>

#include "src/tensor/fastnode.h"
#include "src/tensor/winograd.h"

using at::Tensor;
using namespace fastnode;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

/* The data gradient reads the same weight with its two channel axes swapped and the kernel turned. */
Tensor turned(const Tensor &w) { return w.flip({2, 3}).transpose(0, 1); }

Tensor conv_raw(const Tensor &x_any, const Tensor &w, const Tensor &b, bool rotate) {
    Tensor x = nhwc(x_any), bias = has(b) ? b.contiguous() : Tensor();
    int out = static_cast<int>(w.size(rotate ? 1 : 0)), in = static_cast<int>(w.size(rotate ? 0 : 1));
    TORCH_CHECK(x.size(1) == in, "convolution: the image has ", x.size(1), " channels, the weight wants ", in);
    Tensor y = at::empty({x.size(0), out, x.size(2), x.size(3)},
                         x.options().memory_format(at::MemoryFormat::ChannelsLast));
    wino_weight ww = {w.data_ptr<float>(), w.stride(rotate ? 1 : 0), w.stride(rotate ? 0 : 1), w.stride(2), w.stride(3),
                      out, in, rotate};
    if (!wino_conv(x.data_ptr<float>(), &ww, bias.defined() ? bias.data_ptr<float>() : nullptr, y.data_ptr<float>(),
                   static_cast<int>(x.size(0)), static_cast<int>(x.size(2)), static_cast<int>(x.size(3))))
        throw std::bad_alloc();
    return y;
}

Tensor weight_grad_raw(const Tensor &x_any, const Tensor &dy_any) {
    Tensor x = nhwc(x_any), dy = nhwc(dy_any);
    int in = static_cast<int>(x.size(1)), out = static_cast<int>(dy.size(1));
    Tensor dw = at::empty({out, in, 3, 3}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
    wino_weight ww = {dw.data_ptr<float>(), dw.stride(0), dw.stride(1), dw.stride(2), dw.stride(3), out, in, false};
    if (!wino_weight_grad(x.data_ptr<float>(), dy.data_ptr<float>(), &ww, static_cast<int>(x.size(0)),
                          static_cast<int>(x.size(2)), static_cast<int>(x.size(3))))
        throw std::bad_alloc();
    return dw;
}

struct Conv : Function<Conv> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &w, const Tensor &b);
    static variable_list backward(AutogradContext *ctx, variable_list grads);
};

struct WeightGrad : Function<WeightGrad> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &dy) {
        Tensor xl = nhwc(x);
        ctx->save_for_backward({xl, dy});
        return weight_grad_raw(xl, dy);
    }
    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        Tensor g = grads[0], dx, ddy;
        if (ctx->needs_input_grad(0)) dx = Conv::apply(saved[1], turned(g), none(g));
        if (ctx->needs_input_grad(1)) ddy = Conv::apply(saved[0], g, none(g));
        return {dx, ddy};
    }
};

Tensor Conv::forward(AutogradContext *ctx, const Tensor &x, const Tensor &w, const Tensor &b) {
    Tensor xl = nhwc(x);
    ctx->save_for_backward({xl, w});
    return conv_raw(xl, w, b, false);
}

variable_list Conv::backward(AutogradContext *ctx, variable_list grads) {
    variable_list saved = ctx->get_saved_variables();
    Tensor dy = grads[0], dx, dw, db;
    bool graph = c10::GradMode::is_enabled(); /* double backward: stay differentiable */
    if (ctx->needs_input_grad(0))
        dx = graph ? Conv::apply(dy, turned(saved[1]), none(dy)) : conv_raw(dy, saved[1], none(dy), true);
    if (ctx->needs_input_grad(1)) dw = graph ? WeightGrad::apply(saved[0], dy) : weight_grad_raw(saved[0], dy);
    if (ctx->needs_input_grad(2)) db = dy.sum({0, 2, 3});
    return {dx, dw, db};
}

bool plain_f32(const Tensor &x, const Tensor &w) {
    return x.device().is_cpu() && x.scalar_type() == at::kFloat && w.scalar_type() == at::kFloat && x.dim() == 4 &&
           w.dim() == 4;
}

/* [N,C,H,W] -> [N,4C,H/2,W/2], channel (row parity, column parity, c), channels_last. */
Tensor fold(const Tensor &x) {
    int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    Tensor cells = x.permute({0, 2, 3, 1}).reshape({n, h / 2, 2, w / 2, 2, c}).permute({0, 1, 3, 2, 4, 5});
    return cells.reshape({n, h / 2, w / 2, 4 * c}).permute({0, 3, 1, 2});
}

/* [K,C,5,5] -> [K,4C,3,3]: tap u of an axis becomes tap u/2 of parity u%2; parity 1 has no third tap. */
Tensor fold_weight(const Tensor &w) {
    int64_t k = w.size(0), c = w.size(1);
    Tensor six = at::constant_pad_nd(w, {0, 1, 0, 1}).reshape({k, c, 3, 2, 3, 2});
    return six.permute({0, 3, 5, 1, 2, 4}).reshape({k, 4 * c, 3, 3});
}

} // namespace

bool fast_conv3x3_wanted(const Tensor &x, const Tensor &w) {
    return plain_f32(x, w) && w.size(2) == 3 && w.size(3) == 3 && x.size(1) == w.size(1) &&
           wino_wanted(static_cast<int>(x.size(2)), static_cast<int>(x.size(3)), static_cast<int>(w.size(1)),
                       static_cast<int>(w.size(0)));
}

Tensor fast_conv3x3(const Tensor &x, const Tensor &w, const Tensor &b) {
    return Conv::apply(x, w, given(b, x));
}

bool fast_conv5x5s2_wanted(const Tensor &x, const Tensor &w) {
    return plain_f32(x, w) && w.size(2) == 5 && w.size(3) == 5 && x.size(1) == w.size(1) && x.size(2) % 2 == 0 &&
           x.size(3) % 2 == 0 &&
           wino_wanted(static_cast<int>(x.size(2) / 2), static_cast<int>(x.size(3) / 2),
                       static_cast<int>(4 * w.size(1)), static_cast<int>(w.size(0)));
}

Tensor fast_conv5x5s2(const Tensor &x, const Tensor &w, const Tensor &b) {
    return fast_conv3x3(fold(x), fold_weight(w), b);
}
