/* fastprelu.cpp - the C++ side of prelu.c: PReLU as one node of the graph. */
#include "src/tensor/fastprelu.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <new>

#include "src/tensor/fastnode.h"
#include "src/tensor/prelu.h"

using at::Tensor;
using namespace fastnode;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

long rows(const Tensor &x) {
    return static_cast<long>(x.numel() / x.size(1));
}

struct Prelu : Function<Prelu> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &slope) {
        Tensor y = at::empty_like(x);
        prelu_apply(x.data_ptr<float>(), slope.data_ptr<float>(), rows(x), static_cast<int>(x.size(1)),
                    y.data_ptr<float>());
        ctx->save_for_backward({x, slope});
        return y;
    }
    /* For a derivative of the derivative, the same in libtorch's own functions. */
    static variable_list in_graph(AutogradContext *ctx, const Tensor &dy, const Tensor &x, const Tensor &slope) {
        Tensor dx, ds, above = x > 0, zero = at::zeros({}, x.options());
        if (ctx->needs_input_grad(0)) dx = at::where(above, dy, dy * slope.view({1, -1, 1, 1}));
        if (ctx->needs_input_grad(1)) ds = at::where(above, zero, dy * x).sum({0, 2, 3});
        return {dx, ds};
    }
    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        if (c10::GradMode::is_enabled()) return in_graph(ctx, grads[0], saved[0], saved[1]);
        Tensor x = saved[0], dy = nhwc(grads[0]), dx = at::empty_like(x), ds;
        if (ctx->needs_input_grad(1)) ds = at::empty_like(saved[1]);
        if (!prelu_grad(dy.data_ptr<float>(), x.data_ptr<float>(), saved[1].data_ptr<float>(), rows(x),
                        static_cast<int>(x.size(1)), dx.data_ptr<float>(),
                        ds.defined() ? ds.data_ptr<float>() : nullptr))
            throw std::bad_alloc();
        return {dx, ds};
    }
};

} // namespace

bool fast_prelu_wanted(const Tensor &x, const Tensor &slope) {
    return x.device().is_cpu() && x.scalar_type() == at::kFloat && slope.scalar_type() == at::kFloat && x.dim() == 4 &&
           x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast) && slope.is_contiguous() &&
           slope.numel() == x.size(1);
}

Tensor fast_prelu(const Tensor &x, const Tensor &slope) {
    return Prelu::apply(x, slope);
}
