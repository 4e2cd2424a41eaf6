/* midre/tensor.h - tensors in C: handles, scopes, errors, creation, views (the shim over libtorch, part 1 of 4).
 *
 * Ownership.  Every mt_tensor* a function returns belongs to the innermost scope of the calling thread and dies at
 * its end; mt_keep takes it out (then mt_free), mt_pass hands it to the parent scope, mt_drop frees it early.
 * Arguments are borrowed for the call.  In-place functions (trailing _) return their first argument.
 * Errors are sticky per thread: the first failure is kept, a NULL argument makes a function return NULL without
 * touching it, so a chain needs one check, at mt_scope_end.  "Absent" is MT_NONE, never NULL.
 * Handles are single-thread objects unless owned and handed over.  C++ exceptions never leave the shim. */
#ifndef MIDRE_TENSOR_H
#define MIDRE_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "midre/status.h"

#define MT_MAXDIM 8
#define MT_AUTO INT64_MIN
#define MT_SHAPE(...) (const int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define MT_DIMS(...) (const int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))
#define MT_LIST(...) (mt_tensor *const[]){__VA_ARGS__}, (int)(sizeof((mt_tensor *[]){__VA_ARGS__}) / sizeof(mt_tensor *))

typedef struct mt_tensor mt_tensor;
typedef struct mt_scope mt_scope;
typedef enum { MT_F32, MT_F64, MT_BF16, MT_F16, MT_I64, MT_I32, MT_U8, MT_BOOL } mt_dtype;
typedef enum { MT_NCHW, MT_NHWC } mt_layout_t; /* memory order; the shape always reads N,C,H,W */
typedef struct { int type; int index; } mt_device; /* type 0 = CPU, 1 = CUDA, 2 = shapes without memory */
#define MT_CPU ((mt_device){0, 0})
#define MT_META ((mt_device){2, 0}) /* tensors on it can be created, filled and asked for their shape, not computed with */
typedef struct { mt_dtype dtype; mt_device device; mt_layout_t layout; } mt_spec;
#define MT_SPEC_F32 ((mt_spec){MT_F32, {0, 0}, MT_NCHW})

extern mt_tensor *const MT_NONE;

/* ---- library ---- */
enum mi_status mt_init(int threads /* 0 = all cores of the affinity mask */);
const char *mt_version(void);                     /* "1.13.0", as the headers say */
int mt_threads(void);
bool mt_cpu_bf16_fast(void);                      /* AMX or AVX512-BF16 present */
int64_t mt_live(void);                            /* live handles, all threads: leak tests */

/* ---- scopes and errors ---- */
mt_scope *mt_scope_begin(const char *name);
/* Frees the scope's tensors in reverse; returns the sticky error of this thread (moved into mi_error) and clears it. */
enum mi_status mt_scope_end(mt_scope *s);
mt_tensor *mt_keep(mt_tensor *t);                 /* to owned */
mt_tensor *mt_pass(mt_tensor *t);                 /* to the parent of the current scope */
void mt_drop(mt_tensor *t);                       /* free a scope tensor now; NULL ok */
void mt_free(mt_tensor *t);                       /* free an owned tensor; NULL ok */
mt_tensor *mt_set(mt_tensor **var, mt_tensor *value); /* drop the old, assign the new */
bool mt_failed(void);
enum mi_status mt_status(void);                   /* the sticky error moved into mi_error and cleared; MI_OK if none */
enum mi_status mt_raise(enum mi_status st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- create ---- */
mt_tensor *mt_empty(const int64_t *shape, int nd, mt_spec sp);
mt_tensor *mt_zeros(const int64_t *shape, int nd, mt_spec sp);
mt_tensor *mt_full(const int64_t *shape, int nd, double value, mt_spec sp);
mt_tensor *mt_zeros_like(mt_tensor *t);
mt_tensor *mt_arange(int64_t lo, int64_t hi, mt_spec sp);
/* Copies host memory; strides as the layout of `sp` says (NHWC: data is n,h,w,c while shape is n,c,h,w). */
mt_tensor *mt_from(const void *data, const int64_t *shape, int nd, mt_spec sp);
/* Wraps host memory without copying (CPU only); it must outlive every view and graph. */
mt_tensor *mt_wrap(void *data, const int64_t *shape, int nd, mt_spec sp);
mt_tensor *mt_clone(mt_tensor *t);
mt_tensor *mt_to(mt_tensor *t, mt_device d);
mt_tensor *mt_cast(mt_tensor *t, mt_dtype d);
/* Changes the element type behind the handle: whoever borrowed it sees it. A leaf stays one; its gradient is lost. */
mt_tensor *mt_cast_(mt_tensor *t, mt_dtype d);
mt_tensor *mt_contig(mt_tensor *t, mt_layout_t lay);
mt_tensor *mt_copy_(mt_tensor *dst, mt_tensor *src); /* dtype, device, layout converted */
/* Copies out as NCHW row-major (or NHWC) of `as`; `bytes` must match exactly. Host sync. */
enum mi_status mt_read(mt_tensor *t, void *out, int64_t bytes, mt_dtype as, mt_layout_t lay);

/* ---- inspect ---- */
int mt_ndim(const mt_tensor *t);
int64_t mt_size(const mt_tensor *t, int dim);     /* negative dims count from the end */
int64_t mt_numel(const mt_tensor *t);
int mt_shape(const mt_tensor *t, int64_t out[MT_MAXDIM]);
mt_dtype mt_dtype_of(const mt_tensor *t);
mt_device mt_device_of(const mt_tensor *t);
mt_layout_t mt_layout(const mt_tensor *t);
enum mi_status mt_item(mt_tensor *t, double *out); /* one element; host sync */
void *mt_data(mt_tensor *t);                      /* CPU only, storage order */
uint64_t mt_hash(mt_tensor *t);                   /* FNV over NCHW bytes: reproducibility checks */

/* ---- views and shape ---- */
mt_tensor *mt_reshape(mt_tensor *t, const int64_t *shape, int nd);
mt_tensor *mt_flatten(mt_tensor *t, int from);
mt_tensor *mt_permute(mt_tensor *t, const int *dims, int nd);
mt_tensor *mt_transpose(mt_tensor *t, int a, int b);
mt_tensor *mt_narrow(mt_tensor *t, int dim, int64_t start, int64_t len);
mt_tensor *mt_stride_slice(mt_tensor *t, int dim, int64_t start, int64_t end, int64_t step);
mt_tensor *mt_select(mt_tensor *t, int dim, int64_t i);
mt_tensor *mt_expand(mt_tensor *t, const int64_t *shape, int nd);
mt_tensor *mt_repeat(mt_tensor *t, const int64_t *times, int nd);
mt_tensor *mt_squeeze(mt_tensor *t, int dim);
mt_tensor *mt_unsqueeze(mt_tensor *t, int dim);
mt_tensor *mt_flip(mt_tensor *t, int dim);
mt_tensor *mt_cat(mt_tensor *const *ts, int n, int dim);
mt_tensor *mt_stack(mt_tensor *const *ts, int n, int dim);
mt_tensor *mt_detach(mt_tensor *t);

#endif
