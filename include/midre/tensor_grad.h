/* midre/tensor_grad.h - autograd, optimisers, devices, mixed precision, archives (the shim, part 4 of 4). */
#ifndef MIDRE_TENSOR_GRAD_H
#define MIDRE_TENSOR_GRAD_H

#include "midre/tensor_math.h"

/* ---- autograd ---- */
enum mi_status mt_requires_grad_(mt_tensor *t, bool on);
bool mt_requires_grad(const mt_tensor *t);
mt_tensor *mt_grad(mt_tensor *leaf);                       /* borrowed into scope; MT_NONE when undefined */
void mt_zero_grad(mt_tensor *const *ps, int n, bool to_none);
enum mi_status mt_backward(mt_tensor *loss, bool retain);
/* Gradients of scalar `out` for `in`; create_graph for double backward. grads[i] may come back MT_NONE. */
enum mi_status mt_grad_of(mt_tensor *out, mt_tensor *const *in, int n, bool create_graph, bool retain,
                          mt_tensor **grads);
/* Stands for t as it is now in mt_grad_of's `in`, even if t is overwritten in place afterwards. */
mt_tensor *mt_mark(mt_tensor *t);
bool mt_grad_mode(bool on);                                /* thread state; returns the old value */

/* ---- optimisers: one C pass over each parameter on the CPU, fused/foreach kernels on CUDA --------------------
 * fp32 master weights; formulas are PyTorch's (torch.optim.Adam, SGD). Parameters are borrowed. */
typedef struct mt_opt mt_opt;
mt_opt *mt_adam_new(double lr, double b1, double b2, double eps, double weight_decay, bool decoupled);
mt_opt *mt_sgd_new(double lr, double momentum, double weight_decay, bool nesterov);
enum mi_status mt_opt_add(mt_opt *o, mt_tensor *const *ps, int n, double lr_scale);
enum mi_status mt_opt_step(mt_opt *o);                     /* parameters without gradient are left alone */
void mt_opt_zero_grad(mt_opt *o);                          /* gradients become undefined */
void mt_opt_set_lr(mt_opt *o, double lr);
double mt_opt_lr(const mt_opt *o);
double mt_clip_grad_norm(mt_tensor *const *ps, int n, double max_norm); /* returns the norm before */
void mt_opt_reset(mt_opt *o);                              /* forgets the state, as if no step had been taken */
void mt_opt_free(mt_opt *o);

/* ---- archives: files of named tensors, written atomically, read with limits ---------------------------------
 * Written: safetensors, or what torch.save writes when the path ends in .pth or .pt.  Read: safetensors, torch.save
 * files of any age, told apart by their content.  Of a torch.save file the largest dictionary of tensors is taken
 * (optimiser states never); plain values around it become metadata ("epoch", "config.lr").  In every format wrappers'
 * prefixes common to all names ("module.", "_orig_mod.", "model.") are taken off. Nothing in a file is executed. */
typedef struct mt_archive mt_archive;
mt_archive *mt_archive_create(const char *path);
mt_archive *mt_archive_open(const char *path);             /* checks everything but the numbers; hostile: refused */
enum mi_status mt_archive_put(mt_archive *a, const char *name, mt_tensor *t);
mt_tensor *mt_archive_get(mt_archive *a, const char *name, mt_device d); /* NULL + MI_E_INPUT when absent */
bool mt_archive_has(const mt_archive *a, const char *name);
int mt_archive_count(const mt_archive *a);
const char *mt_archive_name(const mt_archive *a, int i);
int mt_archive_index(const mt_archive *a, const char *name); /* -1 when absent */
int mt_archive_shape(const mt_archive *a, int i, int64_t out[MT_MAXDIM]); /* the rank, -1 when i is out of range */
mt_dtype mt_archive_dtype(const mt_archive *a, int i);                   /* 0 <= i < count */
enum mi_status mt_archive_meta_put(mt_archive *a, const char *key, const char *value);
const char *mt_archive_meta(const mt_archive *a, const char *key);       /* NULL when absent; borrowed */
const char *mt_archive_meta_key(const mt_archive *a, int i);             /* NULL behind the last */
const char *mt_archive_format(const mt_archive *a);        /* "safetensors", "torch", "torch (before 1.6)" */
enum mi_status mt_archive_close(mt_archive *a);            /* create: sync + rename happen here; frees in any case */
void mt_archive_abort(mt_archive *a);                      /* create: discard */
/* Optimiser state under `prefix`, plain names, so CPU and CUDA runs resume each other. */
enum mi_status mt_opt_save(mt_opt *o, mt_archive *a, const char *prefix);
enum mi_status mt_opt_load(mt_opt *o, mt_archive *a, const char *prefix);

/* ---- devices and precision ---- */
int mt_device_count(void);                                 /* CUDA devices usable by this build on this machine */
bool mt_built_with_cuda(void);
/* "auto" (CUDA if there, named in the journal), "cpu", "cuda", "cuda:1". Absent GPU: MI_E_DEVICE saying why. */
enum mi_status mt_device_parse(const char *text, mt_device *out);
enum mi_status mt_device_use(mt_device d);
enum mi_status mt_sync(mt_device d);
/* For CUDA kernels: libtorch's current stream as a cudaStream_t (NULL: the default stream, or no GPU), and the address
 * of a tensor's first element on whatever device it is. */
void *mt_cuda_stream(mt_device d);
void *mt_data_device(mt_tensor *t);
int mt_strides(const mt_tensor *t, int64_t out[MT_MAXDIM]);  /* elements from one index to the next; returns the rank */
void mt_device_name(mt_device d, char *out, int cap);      /* "NVIDIA H200", "AMD EPYC (2 threads)" */
enum mi_status mt_mem_info(mt_device d, uint64_t *used, uint64_t *total, uint64_t *peak);
void mt_mem_release(mt_device d);                          /* emptyCache or malloc_trim: between phases only */
void mt_set_tf32(bool on);
void mt_set_deterministic(bool on);
/* Autocast region: bf16 compute, fp32 masters. Weight cache is cleared at the end (stale-cast trap). Nestable. */
void mt_autocast_begin(mt_device d, mt_dtype dt);
void mt_autocast_end(void);
bool mt_autocast_on(void);

#endif
