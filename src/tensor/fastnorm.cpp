/* fastnorm.cpp - the C++ side of bnorm.c: BatchNorm, shortcut and ReLU as one node of the graph. */
#include "src/tensor/fastnorm.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <new>
#include <vector>

#include "src/tensor/bnorm.h"

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

Tensor nhwc(const Tensor &t) {
    return t.contiguous(at::MemoryFormat::ChannelsLast);
}
/* Autograd functions take no undefined tensor: an empty one stands for it. */
Tensor given(const Tensor &t, const Tensor &like) {
    return t.defined() ? t : at::empty({0}, like.options());
}
bool has(const Tensor &t) {
    return t.numel() > 0;
}
const float *floats(const Tensor &t) {
    return t.data_ptr<float>();
}
double at_or(const Tensor &t, int64_t i, double other) {
    return has(t) ? static_cast<double>(floats(t)[i]) : other;
}

/* What forward and backward both need of the arithmetic: mean and 1/std [C] f64, scale and shift [C] f32. */
struct Line {
    Tensor scale, shift;
    bnorm n;
    Line(const Tensor &x, const Tensor &mean, const Tensor &inv, const Tensor &w, const Tensor &b, bool relu)
        : scale(at::empty({x.size(1)}, x.options())), shift(at::empty_like(scale)) {
        const double *m = mean.data_ptr<double>(), *s = inv.data_ptr<double>();
        for (int64_t i = 0; i < x.size(1); i++) {
            double a = s[i] * at_or(w, i, 1);
            scale.data_ptr<float>()[i] = static_cast<float>(a);
            shift.data_ptr<float>()[i] = static_cast<float>(at_or(b, i, 0) - m[i] * a);
        }
        n = {static_cast<long>(x.numel() / x.size(1)), static_cast<int>(x.size(1)), floats(scale), floats(shift), relu};
    }
};

/* Mean and variance of this batch; the running ones follow (their variance is the unbiased one). */
void batch_moments(const Tensor &x, double *mean, double *var, const Tensor &rm, const Tensor &rv, double momentum) {
    long rows = static_cast<long>(x.numel() / x.size(1));
    if (!bnorm_moments(floats(x), rows, static_cast<int>(x.size(1)), mean, var)) throw std::bad_alloc();
    double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
    auto move = [&](const Tensor &t, const double *to, double times) {
        float *v = has(t) ? t.data_ptr<float>() : nullptr;
        for (int64_t i = 0; v && i < t.numel(); i++)
            v[i] = static_cast<float>((1 - momentum) * static_cast<double>(v[i]) + momentum * to[i] * times);
    };
    move(rm, mean, 1);
    move(rv, var, unbiased);
}

/* The same arithmetic in libtorch's own functions, for a derivative of the derivative. */
Tensor composed(const Tensor &x, const Tensor &w, const Tensor &b, const Tensor &skip, const Tensor &mean,
                const Tensor &inv, bool train, bool relu, double eps) {
    auto row = [](const Tensor &t) { return t.reshape({1, -1, 1, 1}); };
    Tensor m = row(mean.to(at::kFloat)), s = row(inv.to(at::kFloat));
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
        Tensor mean = at::empty({x.size(1)}, x.options().dtype(at::kDouble)), inv = at::empty_like(mean);
        double *m = mean.data_ptr<double>(), *s = inv.data_ptr<double>();
        if (train)
            batch_moments(x, m, s, rm, rv, momentum);
        else
            for (int64_t i = 0; i < x.size(1); i++) m[i] = at_or(rm, i, 0), s[i] = at_or(rv, i, 1);
        for (int64_t i = 0; i < x.size(1); i++) s[i] = 1 / std::sqrt(s[i] + eps);
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
    const double *mean = saved[MEAN].data_ptr<double>(), *inv = saved[INV].data_ptr<double>();
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
        double s = inv[i] * at_or(saved[W], i, 1), n = static_cast<double>(rows);
        a[i] = static_cast<float>(s);
        slope[i] = train ? static_cast<float>(-s * inv[i] * inv[i] * along / n) : 0;
        fixed[i] = train ? static_cast<float>(-s * sum / n) : 0;
        origin[i] = static_cast<float>(mean[i]);
        dw.data_ptr<float>()[i] = static_cast<float>(along * inv[i]);
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

bool fast_batch_norm_wanted(const Tensor &x, const Tensor &rm, const Tensor &rv, bool train) {
    if (!x.device().is_cpu() || x.scalar_type() != at::kFloat || x.dim() != 4 || x.numel() == 0) return false;
    if (!x.is_contiguous(at::MemoryFormat::ChannelsLast) || (x.is_contiguous() && x.size(1) > 1)) return false;
    auto plain = [&](const Tensor &t) { return t.defined() && t.scalar_type() == at::kFloat && t.is_contiguous(); };
    if (train) return x.numel() / x.size(1) > 1 && rm.defined() == rv.defined() && (!rm.defined() || plain(rm));
    return plain(rm) && plain(rv);
}

Tensor fast_batch_norm(const Tensor &x, const Tensor &w, const Tensor &b, const Tensor &rm, const Tensor &rv,
                       const Tensor &skip, norm_how how) {
    return BatchNorm::apply(x, given(w, x), given(b, x), given(skip, x), given(rm, x), given(rv, x), how.train,
                            how.relu, how.momentum, how.eps);
}
