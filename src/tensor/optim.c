/* optim.c - Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019) and SGD with momentum in plain C.
 *
 * On the CPU a step is one pass over each parameter: weight, gradient and state are read once and written once, with
 * PyTorch's formulas in the same order.  Above SPLIT elements the range is shared between OpenMP threads; every
 * element is computed alone, so the result does not depend on their number.  The norm for clipping is summed in
 * double over blocks of fixed size in a fixed order, for the same reason.  On a GPU the shim launches libtorch's
 * list kernels.  An optimiser owns its state; parameters are borrowed and must outlive it. */
#include "src/tensor/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPLIT 65536
#define BLOCK 16384 /* elements summed together in a norm */

static mt_opt *opt_new(struct mt_opt with) {
    mt_opt *o = mi_calloc(1, sizeof *o);
    if (o) *o = with;
    return o;
}

mt_opt *mt_adam_new(double lr, double b1, double b2, double eps, double weight_decay, bool decoupled) {
    return opt_new((struct mt_opt){.adam = true, .lr = lr, .b1 = b1, .b2 = b2, .eps = eps, .wd = weight_decay,
                                   .decoupled = decoupled});
}

mt_opt *mt_sgd_new(double lr, double momentum, double weight_decay, bool nesterov) {
    return opt_new((struct mt_opt){.lr = lr, .momentum = momentum, .wd = weight_decay, .nesterov = nesterov});
}

void mt_opt_reset(mt_opt *o) {
    for (int i = 0; o && i < o->n; i++) {
        mt_free(o->slot[i].m);
        mt_free(o->slot[i].v);
        o->slot[i].m = o->slot[i].v = NULL;
        o->slot[i].step = 0;
    }
}

void mt_opt_free(mt_opt *o) {
    if (!o) return;
    mt_opt_reset(o);
    free(o->slot);
    free(o->list);
    free(o);
}

static enum mi_status grow(mt_opt *o, int need) {
    if (need <= o->cap) return MI_OK;
    int cap = need + o->cap;
    struct opt_slot *slot = mi_calloc((unsigned long)cap, sizeof *slot);
    mt_tensor **list = mi_calloc(3ul * (unsigned long)cap, sizeof *list);
    if (!slot || !list) {
        free(slot);
        free(list);
        return mi_error_status();
    }
    if (o->n) memcpy(slot, o->slot, (size_t)o->n * sizeof *slot);
    free(o->slot);
    free(o->list);
    o->slot = slot, o->list = list, o->cap = cap;
    return MI_OK;
}

enum mi_status mt_opt_add(mt_opt *o, mt_tensor *const *ps, int n, double lr_scale) {
    if (!o) return mi_fail(MI_E_INTERNAL, "mt_opt_add: no optimiser");
    MI_TRY(mt_pending());
    MI_TRY(grow(o, o->n + n));
    for (int i = 0; i < n; i++) {
        if (!ps[i] || ps[i] == MT_NONE || mt_dtype_of(ps[i]) != MT_F32)
            return mi_fail(MI_E_INTERNAL, "mt_opt_add: parameter %d is not an f32 tensor", i);
        o->slot[o->n++] = (struct opt_slot){.p = ps[i], .lr_scale = lr_scale};
    }
    return MI_OK;
}

enum mi_status opt_slot_state(const struct mt_opt *o, struct opt_slot *s) {
    if (!s->m && (o->adam || o->momentum != 0) && !(s->m = mt_own_zeros_like(s->p))) return mt_pending();
    if (!s->v && o->adam && !(s->v = mt_own_zeros_like(s->p))) return mt_pending();
    return MI_OK;
}

/* ---- the arithmetic ------------------------------------------------------------------------------------------- */

struct adam_coef { float decay, wd, b2, c1, c2, step, bias2, eps; };

static void adam_range(float *restrict w, const float *restrict g, float *restrict m, float *restrict v, int64_t n,
                       const struct adam_coef c) {
    for (int64_t i = 0; i < n; i++) {
        float wi = w[i] - c.decay * w[i];
        float gi = g[i] + c.wd * wi;
        float mi = m[i] + c.c1 * (gi - m[i]);
        float vi = c.b2 * v[i] + c.c2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        w[i] = wi - c.step * mi / (sqrtf(vi) / c.bias2 + c.eps);
    }
}

static void adam_cpu(const struct mt_opt *o, const struct opt_slot *s, const struct mt_flat *f) {
    double lr = o->lr * s->lr_scale, bias1 = 1 - pow(o->b1, (double)s->step), bias2 = 1 - pow(o->b2, (double)s->step);
    struct adam_coef c = {.decay = o->decoupled ? (float)(lr * o->wd) : 0, .wd = o->decoupled ? 0 : (float)o->wd,
                          .b2 = (float)o->b2, .c1 = (float)(1 - o->b1), .c2 = (float)(1 - o->b2),
                          .step = (float)(lr / bias1), .bias2 = (float)sqrt(bias2), .eps = (float)o->eps};
    float *m = mt_data(s->m), *v = mt_data(s->v);
    int64_t blocks = (f->n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (f->n > SPLIT)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t lo = b * BLOCK, len = f->n - lo < BLOCK ? f->n - lo : BLOCK;
        adam_range(f->w + lo, f->g + lo, m + lo, v + lo, len, c);
    }
}

static void sgd_range(float *restrict w, const float *restrict g, float *restrict buf, int64_t n, float lr, float mom,
                      float wd, bool nesterov) {
    if (nesterov)
        for (int64_t i = 0; i < n; i++) {
            float gi = g[i] + wd * w[i], bi = mom * buf[i] + gi;
            buf[i] = bi;
            w[i] -= lr * (gi + mom * bi);
        }
    else
        for (int64_t i = 0; i < n; i++) {
            float bi = mom * buf[i] + (g[i] + wd * w[i]);
            buf[i] = bi;
            w[i] -= lr * bi;
        }
}

static void plain_range(float *restrict w, const float *restrict g, int64_t n, float lr, float wd) {
    for (int64_t i = 0; i < n; i++) w[i] -= lr * (g[i] + wd * w[i]);
}

static void sgd_cpu(const struct mt_opt *o, const struct opt_slot *s, const struct mt_flat *f) {
    float lr = (float)(o->lr * s->lr_scale), mom = (float)o->momentum, wd = (float)o->wd;
    float *buf = s->m ? mt_data(s->m) : NULL;
    int64_t blocks = (f->n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (f->n > SPLIT)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t lo = b * BLOCK, len = f->n - lo < BLOCK ? f->n - lo : BLOCK;
        if (buf) sgd_range(f->w + lo, f->g + lo, buf + lo, len, lr, mom, wd, o->nesterov);
        else plain_range(f->w + lo, f->g + lo, len, lr, wd);
    }
}

/* ---- the step ------------------------------------------------------------------------------------------------- */

/* One launch for all GPU parameters from `first` on that share device, learning rate and step number. */
static enum mi_status step_gpu(mt_opt *o, int first) {
    const struct opt_slot lead = o->slot[first];
    mt_device d = mt_device_of(lead.p);
    mt_tensor **p = o->list, **m = p + o->cap, **v = m + o->cap;
    int n = 0;
    for (int i = first; i < o->n; i++) {
        struct opt_slot *s = &o->slot[i];
        mt_device e = mt_device_of(s->p);
        if (s->step != lead.step || s->lr_scale != lead.lr_scale || e.type != 1 || e.index != d.index) continue;
        if (!mt_has_grad(s->p)) continue;
        MI_TRY(opt_slot_state(o, s));
        p[n] = s->p, m[n] = s->m, v[n] = s->v, n++;
        s->step = -(lead.step + 1); /* done; the sign goes when the whole step is through */
    }
    double lr = o->lr * lead.lr_scale;
    if (o->adam)
        return mt_device_adam(&(struct mt_adam_batch){.p = p, .m = m, .v = v, .n = n, .step = lead.step + 1, .lr = lr,
                              .b1 = o->b1, .b2 = o->b2, .eps = o->eps, .wd = o->wd, .decoupled = o->decoupled});
    return mt_device_sgd(&(struct mt_sgd_batch){.p = p, .buf = m, .n = n, .lr = lr, .momentum = o->momentum,
                         .wd = o->wd, .nesterov = o->nesterov});
}

static enum mi_status step_cpu(mt_opt *o, struct opt_slot *s) {
    struct mt_flat f;
    MI_TRY(mt_flat_of(s->p, &f));
    if (!f.g) return MI_OK;
    MI_TRY(opt_slot_state(o, s));
    s->step++;
    if (o->adam) adam_cpu(o, s, &f);
    else sgd_cpu(o, s, &f);
    mt_touched(s->p);
    return MI_OK;
}

enum mi_status mt_opt_step(mt_opt *o) {
    if (!o) return mi_fail(MI_E_INTERNAL, "mt_opt_step: no optimiser");
    enum mi_status st = mt_pending(); /* after a failed forward or backward nothing may move */
    for (int i = 0; st == MI_OK && i < o->n; i++) {
        struct opt_slot *s = &o->slot[i];
        if (s->step < 0 || !mt_has_grad(s->p)) continue;
        st = mt_device_of(s->p).type == 1 ? step_gpu(o, i) : step_cpu(o, s);
    }
    for (int i = 0; i < o->n; i++)
        if (o->slot[i].step < 0) o->slot[i].step = -o->slot[i].step;
    return st == MI_OK ? mt_pending() : st;
}

void mt_opt_zero_grad(mt_opt *o) {
    if (!o || o->n == 0) return;
    for (int i = 0; i < o->n; i++) o->list[i] = o->slot[i].p;
    mt_zero_grad(o->list, o->n, true);
}

void mt_opt_set_lr(mt_opt *o, double lr) {
    if (o) o->lr = lr;
}

double mt_opt_lr(const mt_opt *o) { return o ? o->lr : 0; }

/* ---- clipping ------------------------------------------------------------------------------------------------- */

static double block_squares(const float *g, int64_t n) {
    double lane[8] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) lane[k] += (double)g[i + k] * (double)g[i + k];
    for (; i < n; i++) lane[0] += (double)g[i] * (double)g[i];
    for (int k = 0; k < 8; k++) sum += lane[k];
    return sum;
}

static bool squares(const float *g, int64_t n, double *sum) {
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    double *part = mi_calloc((unsigned long)blocks + 1, sizeof *part);
    if (!part) return false;
#pragma omp parallel for schedule(static) if (n > SPLIT)
    for (int64_t b = 0; b < blocks; b++)
        part[b] = block_squares(g + b * BLOCK, n - b * BLOCK < BLOCK ? n - b * BLOCK : BLOCK);
    for (int64_t b = 0; b < blocks; b++) *sum += part[b];
    free(part);
    return true;
}

static void scale(float *g, int64_t n, float by) {
#pragma omp parallel for simd schedule(static) if (n > SPLIT)
    for (int64_t i = 0; i < n; i++) g[i] *= by;
}

double mt_clip_grad_norm(mt_tensor *const *ps, int n, double max_norm) {
    double sum = 0, norm = 0;
    struct mt_flat f;
    for (int i = 0; i < n; i++)
        if (!ps[i] || mt_device_of(ps[i]).type == 1) return mt_device_clip(ps, n, max_norm, &norm), norm;
    for (int i = 0; i < n; i++) {
        if (mt_flat_of(ps[i], &f) != MI_OK) return NAN;
        if (!f.g) continue;
        if (!squares(f.g, f.n, &sum)) {
            mt_raise(MI_E_NOMEM, "out of memory while clipping gradients");
            return NAN;
        }
    }
    norm = sqrt(sum);
    double by = max_norm / (norm + 1e-6);
    if (by >= 1) return norm;
    for (int i = 0; i < n; i++) {
        if (mt_flat_of(ps[i], &f) != MI_OK) return NAN;
        if (f.g) scale(f.g, f.n, (float)by);
    }
    return norm;
}
