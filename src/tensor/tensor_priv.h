/* tensor_priv.h - what the plain C files of this room need from the shim beyond the public tensor headers.
 *
 * The optimisers walk parameters as flat float arrays: for a dense tensor the i-th element in memory of the
 * parameter, its gradient and its state belong to the same weight as long as all three have the same strides.
 * mt_flat_of guarantees that for parameter and gradient, mt_own_zeros_like for the state. */
#ifndef MIDRE_TENSOR_PRIV_H
#define MIDRE_TENSOR_PRIV_H

#include "midre/tensor_grad.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mt_flat { float *w, *g; int64_t n; }; /* g is NULL when the parameter has no gradient */

/* CPU, f32, dense parameters only.  A gradient in another layout is replaced by one that matches. */
enum mi_status mt_flat_of(mt_tensor *p, struct mt_flat *out);
bool mt_has_grad(const mt_tensor *p);
/* Owned zeros with the shape, strides, dtype and device of p. */
mt_tensor *mt_own_zeros_like(mt_tensor *p);
/* Tells autograd that the memory of p was written through a raw pointer. */
void mt_touched(mt_tensor *p);
/* The host bytes of t if they already are NCHW row-major, else NULL (no error). */
const void *mt_rows(const mt_tensor *t);
/* The waiting error of this thread without clearing it, also left in mi_fail; MI_OK if none. */
enum mi_status mt_pending(void);

/* One kernel launch per list on a GPU.  All tensors on one device; every p has a gradient; `step` counts from 1. */
struct mt_adam_batch { mt_tensor *const *p, *const *m, *const *v; int n; int64_t step; double lr, b1, b2, eps, wd;
                       bool decoupled; };
struct mt_sgd_batch { mt_tensor *const *p, *const *buf; int n; double lr, momentum, wd; bool nesterov; };
enum mi_status mt_device_adam(const struct mt_adam_batch *a);
enum mi_status mt_device_sgd(const struct mt_sgd_batch *s);
/* Norm over the gradients of ps (any device), clipped to max_norm where above; costs one host sync on a GPU. */
enum mi_status mt_device_clip(mt_tensor *const *ps, int n, double max_norm, double *norm);

#ifdef __cplusplus
}
#endif
#endif
