/* shim_grad.cpp - autograd, and what optim.c needs of it (midre/tensor_grad.h, tensor_priv.h).
 * The arithmetic of the optimisers is not here: on the CPU it is optim.c's, on a GPU libtorch's kernels. */
#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "src/tensor/shim_convert.h"

using namespace shim;

extern "C" {

/* ======================================================================================================= autograd */

enum mi_status mt_requires_grad_(mt_tensor *t, bool on) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        if (on && !t->t.is_floating_point()) refuse(MI_E_INTERNAL, "only floating point tensors have gradients");
        t->t.set_requires_grad(on);
    });
}

bool mt_requires_grad(const mt_tensor *t) { return ok(__func__, t) && t->t.requires_grad(); }
bool mt_has_grad(const mt_tensor *p) { return ok(__func__, p) && p->t.grad().defined(); }

mt_tensor *mt_grad(mt_tensor *leaf) {
    if (!ok(__func__, leaf)) return nullptr;
    if (!leaf->t.is_leaf()) {
        record(MI_E_INTERNAL, __func__, "the tensor (made by %s) is not a leaf", leaf->op);
        return nullptr;
    }
    if (!leaf->t.grad().defined()) return MT_NONE;
    return run(__func__, [&] { return leaf->t.grad(); });
}

void mt_zero_grad(mt_tensor *const *ps, int n, bool to_none) {
    if (n == 0 || !ok_list(__func__, ps, n)) return;
    status_of(__func__, [&] {
        c10::NoGradGuard off;
        for (int i = 0; i < n; i++) {
            Tensor &g = ps[i]->t.mutable_grad();
            if (!g.defined()) continue;
            if (to_none) g = Tensor();
            else g.detach_().zero_();
        }
    });
}

/* Backward never runs under autocast, whatever region the caller stands in. */
#define NO_AUTOCAST                                                                                                    \
    c10::impl::ExcludeDispatchKeyGuard no_autocast_(                                                                   \
        c10::DispatchKeySet({c10::DispatchKey::AutocastCPU, c10::DispatchKey::AutocastCUDA}))

static void check_loss(const Tensor &t) {
    if (t.numel() != 1) refuse(MI_E_INTERNAL, "the loss is not a single number");
    if (!t.requires_grad()) refuse(MI_E_INTERNAL, "the loss depends on nothing that requires a gradient");
}

enum mi_status mt_backward(mt_tensor *loss, bool retain) {
    if (!ok(__func__, loss)) return surface();
    return status_of(__func__, [&] {
        check_loss(loss->t);
        NO_AUTOCAST;
        loss->t.backward({}, retain, false);
    });
}

enum mi_status mt_grad_of(mt_tensor *out, mt_tensor *const *in, int n, bool create_graph, bool retain,
                          mt_tensor **grads) {
    for (int i = 0; i < n; i++) grads[i] = nullptr;
    if (!ok_list(__func__, in, n) || !ok(__func__, out)) return surface();
    std::vector<Tensor> g;
    mi_status st = status_of(__func__, [&] {
        check_loss(out->t);
        NO_AUTOCAST;
        g = torch::autograd::grad({out->t}, list_of(in, n), {}, retain || create_graph, create_graph, true);
    });
    for (int i = 0; st == MI_OK && i < n; i++) {
        grads[i] = g[(size_t)i].defined() ? run(__func__, [&] { return g[(size_t)i]; }) : MT_NONE;
        if (grads[i]) continue;
        st = surface();
        while (i-- > 0) {
            mt_drop(grads[i]);
            grads[i] = nullptr;
        }
        break;
    }
    return st;
}

/* A view written to in place later would be rebuilt from its base, past the edge taken here: it becomes a copy. */
mt_tensor *mt_mark(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        if (t->t.is_view()) t->t = t->t.clone();
        Tensor mark = at::empty({0}, t->t.options());
        if (t->t.requires_grad())
            torch::autograd::impl::set_gradient_edge(mark, torch::autograd::impl::gradient_edge(t->t));
        return mark;
    });
}

bool mt_grad_mode(bool on) {
    bool was = c10::GradMode::is_enabled();
    c10::GradMode::set_enabled(on);
    return was;
}

/* ======================================================================================= services of optim.c */

/* The gradient in the exact memory order of its parameter; strides of dimensions of size 1 mean nothing. */
static Tensor matched_grad(Tensor &p) {
    Tensor g = p.grad();
    if (!g.defined()) return g;
    bool same = g.scalar_type() == p.scalar_type() && g.sizes() == p.sizes();
    for (int64_t d = 0; same && d < p.dim(); d++) same = p.size(d) == 1 || g.stride(d) == p.stride(d);
    if (same) return g;
    c10::NoGradGuard off;
    Tensor m = at::empty_strided(p.sizes(), p.strides(), p.options());
    m.copy_(g);
    p.mutable_grad() = m;
    return m;
}

static void check_param(const Tensor &p) {
    if (p.scalar_type() != at::kFloat) refuse(MI_E_INTERNAL, "optimisers work on f32 parameters");
    if (!p.is_non_overlapping_and_dense()) refuse(MI_E_INTERNAL, "the parameter is a strided view");
}

enum mi_status mt_flat_of(mt_tensor *p, struct mt_flat *out) {
    if (!ok(__func__, p)) return surface();
    return status_of(__func__, [&] {
        check_param(p->t);
        if (!p->t.is_cpu()) refuse(MI_E_INTERNAL, "the parameter is on a GPU");
        Tensor g = matched_grad(p->t);
        *out = {p->t.data_ptr<float>(), g.defined() ? g.data_ptr<float>() : nullptr, p->t.numel()};
    });
}

const void *mt_rows(const mt_tensor *t) {
    return ok(__func__, t) && t->t.is_cpu() && t->t.is_contiguous() ? t->t.data_ptr() : nullptr;
}

void mt_touched(mt_tensor *p) {
    if (ok(__func__, p)) p->t.unsafeGetTensorImpl()->bump_version();
}

static std::vector<Tensor> grads_of(mt_tensor *const *ps, int n) {
    std::vector<Tensor> g;
    for (int i = 0; i < n; i++) {
        check_param(ps[i]->t);
        g.push_back(matched_grad(ps[i]->t));
        if (!g.back().defined()) refuse(MI_E_INTERNAL, "parameter %d has no gradient", i);
    }
    return g;
}

enum mi_status mt_device_adam(const struct mt_adam_batch *a) {
    if (!ok_list(__func__, a->p, a->n) || !ok_list(__func__, a->m, a->n) || !ok_list(__func__, a->v, a->n))
        return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> p = list_of(a->p, a->n), g = grads_of(a->p, a->n), m = list_of(a->m, a->n),
                            v = list_of(a->v, a->n);
        if (a->decoupled && a->wd != 0) at::_foreach_mul_(p, at::Scalar(1 - a->lr * a->wd));
        /* The kernel reads the step number from the device; one tensor serves the whole list. */
        Tensor step = at::full({}, (double)a->step, p[0].options());
        std::vector<Tensor> steps((size_t)a->n, step);
        at::_fused_adam_(p, g, m, v, at::TensorList(), steps, a->lr, a->b1, a->b2, a->decoupled ? 0.0 : a->wd, a->eps,
                         false, false);
    });
}

enum mi_status mt_device_sgd(const struct mt_sgd_batch *s) {
    if (!ok_list(__func__, s->p, s->n)) return surface();
    if (s->momentum != 0 && !ok_list(__func__, s->buf, s->n)) return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> p = list_of(s->p, s->n), g = grads_of(s->p, s->n);
        if (s->wd != 0) g = at::_foreach_add(g, p, at::Scalar(s->wd));
        if (s->momentum != 0) {
            std::vector<Tensor> buf = list_of(s->buf, s->n);
            at::_foreach_mul_(buf, at::Scalar(s->momentum));
            at::_foreach_add_(buf, g, at::Scalar(1));
            g = s->nesterov ? at::_foreach_add(g, buf, at::Scalar(s->momentum)) : buf;
        }
        at::_foreach_add_(p, g, at::Scalar(-s->lr));
    });
}

enum mi_status mt_device_clip(mt_tensor *const *ps, int n, double max_norm, double *norm) {
    *norm = 0;
    if (n == 0) return MI_OK;
    if (!ok_list(__func__, ps, n)) return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> g;
        for (int i = 0; i < n; i++)
            if (ps[i]->t.grad().defined()) g.push_back(ps[i]->t.grad());
        if (g.empty()) return;
        *norm = at::norm(at::stack(at::_foreach_norm(g))).item<double>();
        double scale = max_norm / (*norm + 1e-6);
        if (!(scale >= 1)) at::_foreach_mul_(g, at::Scalar(scale));
    });
}

} /* extern "C" */
