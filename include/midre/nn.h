/* midre/nn.h - layers and their initialisation.  Names and shapes are those of the public PyTorch code.
 *
 * Layers borrow their tensors from a parameter store (params.h); convolution weights are channels_last where it says so.
 * A builder carries the name prefix and the init stream while a network is put together. */
#ifndef MIDRE_NN_H
#define MIDRE_NN_H

#include "midre/params.h"
#include "midre/rng.h"
#include "midre/tensor_nn.h"

struct mi_builder { struct mi_params *ps; char prefix[256]; struct mi_rng rng; };
void mi_builder_init(struct mi_builder *b, struct mi_params *ps, uint64_t seed);
void mi_builder_push(struct mi_builder *b, const char *name); /* "layer1" -> "layer1." */
void mi_builder_pop(struct mi_builder *b);
/* A zeroed tensor of the store under the builder's prefix (rank 4 in the store's layout); borrowed. */
mt_tensor *mi_param_new(struct mi_builder *b, const char *name, const int64_t *shape, int nd, enum mi_role role);
/* A table of indices that belongs to the architecture: a buffer in the file; a file with another one is refused. */
mt_tensor *mi_index_new(struct mi_builder *b, const char *name, const int64_t *values, const int64_t *shape, int nd);

/* ---- initialisers (in place) ---- */
enum mi_init { MI_INIT_DEFAULT /* U(+-1/sqrt(fan_in)) */, MI_INIT_KAIMING_FAN_OUT, MI_INIT_XAVIER, MI_INIT_NORMAL_001,
               MI_INIT_ZEROS, MI_INIT_ONES, MI_INIT_KAIMING_FAN_IN, MI_INIT_NORMAL_0001 /* 0.001 */,
               MI_INIT_NORMAL_002 /* 0.02 */, MI_INIT_NORMAL_01 /* 0.1 */ };
void mi_init_tensor(mt_tensor *t, enum mi_init how, int64_t fan_in, int64_t fan_out, struct mi_rng *r);
mt_tensor *mi_param_drawn(struct mi_builder *b, const char *name, const int64_t *shape, int nd, enum mi_role role,
                          enum mi_init how, int64_t fan_in, int64_t fan_out); /* mi_param_new with first values */

/* ---- layers: `name` is relative to the builder's prefix ---- */
struct mi_conv { mt_tensor *w, *b; mt_convp p; };
void mi_conv_new(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int k, mt_convp p,
                 bool bias, enum mi_init how);
void mi_conv_rect_new(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int kh /* rows */,
                      int kw, mt_convp p, bool bias, enum mi_init how);
mt_tensor *mi_conv(const struct mi_conv *c, mt_tensor *x);
struct mi_deconv { mt_tensor *w, *b, *subpixel; mt_convp p; }; /* subpixel: prepared by freeze, else NULL */
void mi_deconv_new(struct mi_builder *b, struct mi_deconv *c, const char *name, int in, int out, int k, mt_convp p,
                   bool bias);
void mi_deconv_freeze(struct mi_deconv *c, bool frozen);       /* prepares/drops the sub-pixel kernel */
mt_tensor *mi_deconv(const struct mi_deconv *c, mt_tensor *x);
struct mi_linear {
    mt_tensor *w, *b;
    mt_tensor *(*enter)(void *ctx, mt_tensor *x); /* set by a defense: what the layer sees instead of its input */
    void *ctx;
};
void mi_linear_new(struct mi_builder *b, struct mi_linear *l, const char *name, int in, int out, bool bias,
                   enum mi_init how);
/* The same layer whose file calls it a 1x1 convolution: weight [out,in,1,1], applied to x [N,in]. */
void mi_linear_1x1_new(struct mi_builder *b, struct mi_linear *l, const char *name, int in, int out, bool bias,
                       enum mi_init how);
mt_tensor *mi_linear(const struct mi_linear *l, mt_tensor *x);
struct mi_bn {
    mt_tensor *g, *b, *rm, *rv, *count;
    double momentum, eps;
    /* Set by defenses after the build.  fixed: running statistics also while training, which do not move; groups > 0
     * and not fixed: group normalisation with this many groups and the same g and b instead; off: nothing at all. */
    bool fixed, off;
    int groups;
};
void mi_bn_new(struct mi_builder *b, struct mi_bn *n, const char *name, int channels, double eps, double momentum);
mt_tensor *mi_bn(const struct mi_bn *n, mt_tensor *x, bool train); /* train: statistics and count move */
/* ReLU(BatchNorm(x) + keep skip); skip [like x] or MT_NONE. */
mt_tensor *mi_bn_relu(const struct mi_bn *n, mt_tensor *x, mt_tensor *skip, double keep, bool train);
/* convolution, BatchNorm and (relu) ReLU in one go; the intermediate handle is dropped at once. */
mt_tensor *mi_conv_bn(const struct mi_conv *c, const struct mi_bn *n, mt_tensor *x, bool train, bool relu);
struct mi_inorm { mt_tensor *g, *b; };
void mi_inorm_new(struct mi_builder *b, struct mi_inorm *n, const char *name, int channels);
mt_tensor *mi_inorm(const struct mi_inorm *n, mt_tensor *x);
struct mi_lnorm { mt_tensor *g, *b; }; /* over the last axis */
void mi_lnorm_new(struct mi_builder *b, struct mi_lnorm *n, const char *name, int width);
mt_tensor *mi_lnorm(const struct mi_lnorm *n, mt_tensor *x /* [...,width] */);
struct mi_prelu { mt_tensor *w; };
void mi_prelu_new(struct mi_builder *b, struct mi_prelu *p, const char *name, int channels);
mt_tensor *mi_prelu(const struct mi_prelu *p, mt_tensor *x);
/* Activation of an intermediate result: takes x, which must not be used afterwards (in place where no gradient runs). */
mt_tensor *mi_act(mt_tensor *x, mt_actop op);
mt_tensor *mi_conv_bn_act(const struct mi_conv *c, const struct mi_bn *n, mt_tensor *x, bool train, mt_actop op);
/* Squeeze-and-excitation: x times sigmoid(fc2(SiLU(fc1(mean over H,W)))), 1x1 convolutions with bias. */
struct mi_se { struct mi_conv fc1, fc2; };
void mi_se_new(struct mi_builder *b, struct mi_se *s, const char *name, int channels, int squeezed, enum mi_init how);
mt_tensor *mi_se(const struct mi_se *s, mt_tensor *x /* [N,C,H,W] */);
/* Stochastic depth per sample, training form, in place: `branch` is an output no backward needs (BatchNorm, conv). */
mt_tensor *mi_drop_path(mt_tensor *branch, double p, mt_rng *rng);

#endif
