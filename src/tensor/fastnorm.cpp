/* fastnorm.cpp - the C++ side of bnorm.c: BatchNorm, shortcut and ReLU as one node of the graph. */
#include "src/tensor/fastnorm.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <new>
#include <vector>

#include "src/tensor/bnorm.h"
#include "src/tensor/fastnode.h"

using at::Tensor;
using namespace fastnode;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

const float *floats(const Tensor &t) {
    return t.data_ptr<float>();
}
float at_or(const Tensor &t, int64_t i, float other) {
    return has(t) ? floats(t)[i] : other;
}

/* What forward and backward both need of the arithmetic, from mean [C] f64 and 1/std [C] f32.  Scale and shift are
 * rounded where libtorch's kernels round them, so that evaluation gives the same bits. */
struct Line {
    Tensor scale, shift;
    bnorm n;
    Line(const Tensor &x, const Tensor &mean, const Tensor &inv, const Tensor &w, const Tensor &b, bool relu)
        : scale(at::empty({x.size(1)}, x.options())), shift(at::empty_like(scale)) {
        const double *m = mean.data_ptr<double>();
        for (int64_t i = 0; i < x.size(1); i++) {
            float a = floats(inv)[i] * at_or(w, i, 1);
            scale.data_ptr<float>()[i] = a;
            shift.data_ptr<float>()[i] = std::fma(-static_cast<float>(m[i]), a, at_or(b, i, 0));
        }
        n = {static_cast<long>(x.numel() / x.size(1)), static_cast<int>(x.size(1)), floats(scale), floats(shift), relu};
    }
};

/* Mean and 1/std of this batch; the running moments follow (their variance is the unbiased one). */
void batch_moments(const Tensor &x, const Tensor &mean, const Tensor &inv, const Tensor &rm, const Tensor &rv,
                   double momentum, double eps) {
    long rows = static_cast<long>(x.numel() / x.size(1));
    std::vector<double> var(static_cast<size_t>(x.size(1)));
    double *m = mean.data_ptr<double>();
    if (!bnorm_moments(floats(x), rows, static_cast<int>(x.size(1)), m, var.data())) throw std::bad_alloc();
    double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
    auto move = [&](const Tensor &t, const double *to, double times) {
        float *v = has(t) ? t.data_ptr<float>() : nullptr;
        for (int64_t i = 0; v && i < t.numel(); i++)
            v[i] = static_cast<float>((1 - momentum) * static_cast<double>(v[i]) + momentum * to[i] * times);
    };
    move(rm, m, 1);
    move(rv, var.data(), unbiased);
    for (size_t i = 0; i < var.size(); i++) inv.data_ptr<float>()[i] = static_cast<float>(1 / std::sqrt(var[i] + eps));
}

void running_moments(const Tensor &mean, const Tensor &inv, const Tensor &rm, const Tensor &rv, double eps) {
    for (int64_t i = 0; i < mean.numel(); i++) {
        mean.data_ptr<double>()[i] = static_cast<double>(floats(rm)[i]);
        inv.data_ptr<float>()[i] = 1 / std::sqrt(floats(rv)[i] + static_cast<float>(eps));
    }
}

/* The same arithmetic in libtorch's own functions, for a derivative of the derivative. */
Tensor composed(const Tensor &x, const Tensor &w, const Tensor &b, const Tensor &skip, const Tensor &mean,
                const Tensor &inv, bool train, bool relu, double eps) {
    auto row = [](const Tensor &t) { return t.reshape({1, -1, 1, 1}); };
    Tensor m = row(mean.to(at::kFloat)), s = row(inv);
    if (train) {
        m = x.mean({0, 2, 3}, true);
        s = ((x - m).square().mean({0, 2, 3}, true) + eps).rsqrt();
    }
    Tensor y = (x - m) * s;
    if (has(w)) y = y * row(w);
    if (has(b)) y = y + row(b);
    if (has(skip)) y = y + skip;
    return relu ? at::relu(y) : y;
}

enum { X, W, B, SKIP, INPUTS, MEAN = INPUTS, INV, Y };

struct BatchNorm : Function<BatchNorm> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x_any, const Tensor &w, const Tensor &b,
                          const Tensor &skip_any, const Tensor &rm, const Tensor &rv, bool train, bool relu,
                          double momentum, double eps) {
        Tensor x = nhwc(x_any), skip = has(skip_any) ? nhwc(skip_any) : skip_any;
        Tensor mean = at::empty({x.size(1)}, x.options().dtype(at::kDouble)), inv = at::empty({x.size(1)}, x.options());
        if (train)
            batch_moments(x, mean, inv, rm, rv, momentum, eps);
        else
            running_moments(mean, inv, rm, rv, eps);
        Line line(x, mean, inv, w, b, relu);
        Tensor y = at::empty_like(x);
        bnorm_apply(&line.n, floats(x), has(skip) ? floats(skip) : nullptr, y.data_ptr<float>());
        /* Only a shortcut's ReLU cannot be told from x. */
        ctx->save_for_backward({x, w, b, skip, mean, inv, has(skip) && relu ? y : given(Tensor(), x)});
        ctx->saved_data["train"] = train;
        ctx->saved_data["relu"] = relu;
        ctx->saved_data["eps"] = eps;
        return y;
    }
    static variable_list backward(AutogradContext *ctx, variable_list grads);
};

/* Gradients of x, w, b, skip; only what is needed is made. */
variable_list gradients(AutogradContext *ctx, const variable_list &saved, const Tensor &dy_any) {
    bool train = ctx->saved_data["train"].toBool(), relu = ctx->saved_data["relu"].toBool();
    Tensor dy = nhwc(dy_any), x = saved[X], masked;
    Line line(x, saved[MEAN], saved[INV], saved[W], saved[B], relu);
    int64_t c = x.size(1), rows = line.n.rows;
    const double *mean = saved[MEAN].data_ptr<double>();
    const float *inv = floats(saved[INV]);
    bool by_result = has(saved[Y]), weights = ctx->needs_input_grad(W) || ctx->needs_input_grad(B);
    std::vector<double> sums(static_cast<size_t>(2 * c), 0.0);
    if (by_result) masked = at::empty_like(x);
    if (train || weights || by_result)
        if (!bnorm_grad_sums(&line.n, floats(dy), floats(x), by_result ? floats(saved[Y]) : nullptr, mean, sums.data(),
                             by_result ? masked.data_ptr<float>() : nullptr))
            throw std::bad_alloc();
    if (by_result) dy = masked, line.n.relu = false;
    variable_list out(INPUTS);
    if (ctx->needs_input_grad(SKIP)) out[SKIP] = dy;
    Tensor k = at::empty({4, c}, line.scale.options()), dw = at::empty({c}, k.options()),
           db = at::empty({c}, k.options());
    float *a = k.data_ptr<float>(), *slope = a + c, *fixed = slope + c, *origin = fixed + c;
    for (int64_t i = 0; i < c; i++) {
        double sum = sums[static_cast<size_t>(i)], along = sums[static_cast<size_t>(c + i)];
        double v = inv[i], s = line.n.scale[i], n = static_cast<double>(rows);
        a[i] = line.n.scale[i];
        slope[i] = train ? static_cast<float>(-s * v * v * along / n) : 0;
        fixed[i] = train ? static_cast<float>(-s * sum / n) : 0;
        origin[i] = static_cast<float>(mean[i]);
        dw.data_ptr<float>()[i] = static_cast<float>(along * v);
        db.data_ptr<float>()[i] = static_cast<float>(sum);
    }
    if (ctx->needs_input_grad(X)) {
        bnorm_slope line_of = {a, slope, fixed, origin};
        out[X] = at::empty_like(x);
        bnorm_grad_apply(&line.n, floats(dy), floats(x), &line_of, out[X].data_ptr<float>());
    }
    if (ctx->needs_input_grad(W)) out[W] = dw;
    if (ctx->needs_input_grad(B)) out[B] = db;
    return out;
}

/* The same, as nodes of a graph. */
variable_list graph_gradients(AutogradContext *ctx, const variable_list &saved, const Tensor &dy) {
    Tensor y =
        composed(saved[X], saved[W], saved[B], saved[SKIP], saved[MEAN], saved[INV], ctx->saved_data["train"].toBool(),
                 ctx->saved_data["relu"].toBool(), ctx->saved_data["eps"].toDouble());
    variable_list wanted, out(INPUTS);
    for (size_t i = 0; i < INPUTS; i++)
        if (ctx->needs_input_grad(i)) wanted.push_back(saved[i]);
    variable_list made = torch::autograd::grad({y}, wanted, {dy}, true, true, true);
    for (size_t i = 0, j = 0; i < INPUTS; i++)
        if (ctx->needs_input_grad(i)) out[i] = made[j++];
    return out;
}

variable_list BatchNorm::backward(AutogradContext *ctx, variable_list grads) {
    variable_list saved = ctx->get_saved_variables();
    bool graph = c10::GradMode::is_enabled();
    variable_list out = graph ? graph_gradients(ctx, saved, grads[0]) : gradients(ctx, saved, grads[0]);
    out.resize(10); /* one a parameter of forward */
    return out;
}

} // namespace

bool fast_batch_norm_wanted(const Tensor &x, const Tensor &w, const Tensor &b, const Tensor &rm, const Tensor &rv,
                            bool train) {
    if (!x.device().is_cpu() || x.scalar_type() != at::kFloat || x.dim() != 4 || x.numel() == 0) return false;
    if (!x.is_contiguous(at::MemoryFormat::ChannelsLast) || (x.is_contiguous() && x.size(1) > 1)) return false;
    auto fits = [](const Tensor &t) { return !t.defined() || (t.scalar_type() == at::kFloat && t.is_contiguous()); };
    if (!fits(w) || !fits(b) || !fits(rm) || !fits(rv) || rm.defined() != rv.defined()) return false;
    return train ? x.numel() / x.size(1) > 1 : rm.defined();
}

Tensor fast_batch_norm(const Tensor &x, const Tensor &w, const Tensor &b, const Tensor &rm, const Tensor &rv,
                       const Tensor &skip, norm_how how) {
    return BatchNorm::apply(x, given(w, x), given(b, x), given(skip, x), given(rm, x), given(rv, x), how.train,
                            how.relu, how.momentum, how.eps);
}
