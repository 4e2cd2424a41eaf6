/* midre/tensor_nn.h - network functions (the shim, part 3 of 4). Rules: tensor.h.
 * x is [N,C,H,W] for the 2d functions; optional weights are MT_NONE.  All keep NHWC where libtorch can. */
#ifndef MIDRE_TENSOR_NN_H
#define MIDRE_TENSOR_NN_H

#include "midre/tensor_math.h"

typedef enum { MT_RELU, MT_LRELU, MT_SIGMOID, MT_TANH, MT_SILU, MT_GELU, MT_SOFTPLUS } mt_actop;
typedef enum { MT_NEAREST, MT_BILINEAR } mt_interp;
typedef enum { MT_PAD_ZERO, MT_PAD_REFLECT, MT_PAD_EDGE } mt_padmode;
typedef enum { MT_RED_NONE, MT_RED_MEAN, MT_RED_SUM } mt_reduction;
typedef struct { int stride[2], pad[2], outpad[2], dil[2]; int64_t groups; } mt_convp;
#define MT_CONV(s, p) ((mt_convp){{(s), (s)}, {(p), (p)}, {0, 0}, {1, 1}, 1})

mt_tensor *mt_linear(mt_tensor *x, mt_tensor *w /* [out,in] */, mt_tensor *b);
mt_tensor *mt_conv2d(mt_tensor *x, mt_tensor *w /* [out,in/groups,kh,kw] */, mt_tensor *b, const mt_convp *p);
/* What a convolution's kernel sees at each place, [N,C*kh*kw,places]; p->groups plays no part. */
mt_tensor *mt_unfold2d(mt_tensor *x, int kh, int kw, const mt_convp *p);
/* Transposed convolution, w [in,out,kh,kw].  Stride 2 goes the sub-pixel way (3x3 convolution + pixel_shuffle, exact)
 * where that is faster: always on 1.13 CPU. */
mt_tensor *mt_deconv2d(mt_tensor *x, mt_tensor *w, mt_tensor *b, const mt_convp *p);
/* The sub-pixel kernel of a 5/2/2/1 transposed convolution, [4*out,in,3,3], differentiable; a frozen generator
 * prepares it once and then calls mt_subpixel_conv. */
mt_tensor *mt_subpixel_weight(mt_tensor *w);
mt_tensor *mt_subpixel_conv(mt_tensor *x, mt_tensor *subpixel_w, mt_tensor *b);
/* rm, rv are updated in place when train. */
mt_tensor *mt_batch_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, mt_tensor *rm, mt_tensor *rv, bool train,
                         double momentum, double eps);
/* ReLU(BatchNorm(x) + skip), skip [like x] or MT_NONE; on the CPU one kernel does the three. */
mt_tensor *mt_batch_norm_relu(mt_tensor *x, mt_tensor *skip, mt_tensor *g, mt_tensor *b, mt_tensor *rm, mt_tensor *rv,
                              bool train, double momentum, double eps);
mt_tensor *mt_instance_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, double eps); /* = group_norm, groups = C */
mt_tensor *mt_group_norm(mt_tensor *x, int64_t groups, mt_tensor *g, mt_tensor *b, double eps);
mt_tensor *mt_layer_norm(mt_tensor *x, int tail_dims, mt_tensor *g, mt_tensor *b, double eps);
mt_tensor *mt_act(mt_tensor *x, mt_actop op, double alpha);   /* alpha: slope of MT_LRELU */
mt_tensor *mt_act_(mt_tensor *x, mt_actop op, double alpha);
mt_tensor *mt_prelu(mt_tensor *x, mt_tensor *slope /* [C] */);
mt_tensor *mt_softmax(mt_tensor *x, int dim);
mt_tensor *mt_log_softmax(mt_tensor *x, int dim);             /* f32 inside */
mt_tensor *mt_max_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode);
mt_tensor *mt_avg_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode, bool count_pad);
mt_tensor *mt_adaptive_avg_pool2d(mt_tensor *x, int h, int w);
mt_tensor *mt_resize2d(mt_tensor *x, int h, int w, mt_interp mode, bool align_corners, bool antialias);
mt_tensor *mt_grid_sample(mt_tensor *x, mt_tensor *grid, mt_interp mode, mt_padmode pad);
mt_tensor *mt_affine_grid(mt_tensor *theta, const int64_t shape[4]);
mt_tensor *mt_pad2d(mt_tensor *x, const int pad[4] /* l r t b */, mt_padmode m, double v);
mt_tensor *mt_pixel_shuffle(mt_tensor *x, int r);
mt_tensor *mt_dropout(mt_tensor *x, double p, mt_rng *rng);   /* training form */
mt_tensor *mt_embedding(mt_tensor *w, mt_tensor *idx);
/* Counts the multiply-accumulates of this thread's convolutions, linear layers and matrix products, from their shapes. */
void mt_macs_begin(void);
double mt_macs_end(void);

/* target: i64 [N]; smooth in (-inf,1): negative = NLS. */
mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *target, double smooth, mt_reduction r);
mt_tensor *mt_bce_logits(mt_tensor *x, mt_tensor *y, mt_reduction r);
mt_tensor *mt_mse(mt_tensor *a, mt_tensor *b, mt_reduction r);

#endif
