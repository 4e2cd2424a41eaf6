/* midre/nn.h - named parameters, layers, initialisation.  Names and shapes are those of the public PyTorch code.
 *
 * A parameter store owns all tensors of a network in state_dict order.  Layers borrow handles from it, so loading a
 * state dict copies into the existing tensors.  Convolution weights are stored channels_last where the store says so.
 * A builder carries the name prefix and the init stream while a network is put together. */
#ifndef MIDRE_NN_H
#define MIDRE_NN_H

#include "midre/alias.h"
#include "midre/rng.h"
#include "midre/tensor_grad.h"
#include "midre/tensor_nn.h"

enum mi_role { MI_PARAM, MI_FROZEN_PARAM /* in the file, never trained */, MI_BUFFER };
struct mi_named { char *name; mt_tensor *t; enum mi_role role; bool trainable, constant /* loading must bring the same */; };
/* A layer as it stands in the network's own struct: what a defense may change after the build (borrowed, see `at`). */
enum mi_layer_kind { MI_LAYER_CONV, MI_LAYER_LINEAR, MI_LAYER_BN, MI_LAYER_PRELU };
struct mi_layer { enum mi_layer_kind kind; void *at; /* struct mi_conv, mi_linear, ... */ };
struct mi_params {
    struct mi_named *item; int n, cap; mt_device device; mt_layout_t layout; struct mi_skips *skips; /* skips.h */
    struct mi_layer *layer; int n_layers, cap_layers; /* in the order they were built; they live as long as the network */
    mi_alias alias; /* other names in public files; NULL = none */
};

struct mi_params *mi_params_new(mt_device d, mt_layout_t layout);
void mi_params_free(struct mi_params *ps);
mt_tensor *mi_params_find(const struct mi_params *ps, const char *name);    /* NULL when absent (no error) */
/* Trainable tensors, in order; returns the count, writes at most cap. */
int mi_params_trainable(const struct mi_params *ps, mt_tensor **out, int cap);
enum mi_status mi_params_optimise(const struct mi_params *ps, mt_opt *o); /* gives all of them to o */
int64_t mi_params_count(const struct mi_params *ps, bool trainable_only);   /* elements, buffers excluded */
/* Changes every real-valued tensor of the store where it stands, so that a pass over inputs of the same type computes
 * in it: f64 proves the arithmetic without rounding. Optimisers and the fast convolutions are f32's alone. */
enum mi_status mi_params_cast(struct mi_params *ps, mt_dtype d);
/* Turns every weight gradient off (attack, evaluation) or back to `trainable`. */
void mi_params_freeze(struct mi_params *ps, bool frozen);
/* Sets `trainable` of all parameters whose name starts with prefix. Returns how many matched. */
int mi_params_set_trainable(struct mi_params *ps, const char *prefix, bool trainable);
/* MI_PARAM -> MI_FROZEN_PARAM: stays in the file, is never trained, set_trainable leaves it alone. */
void mi_params_fix(struct mi_params *ps, const char *name);
/* The layer whose weight is NAME.weight; NULL when there is none of that kind (no error). */
void *mi_params_layer(const struct mi_params *ps, enum mi_layer_kind kind, const char *name);
/* Takes one tensor out of the store and frees it; the layer that used it must not run any more, or be made anew. */
enum mi_status mi_params_remove(struct mi_params *ps, const char *name);
enum mi_status mi_params_save(const struct mi_params *ps, mt_archive *a, const char *prefix);
/* Strict: missing, unexpected (under prefix) and wrong shapes are listed in one readable message (MI_E_INPUT).
 * num_batches_tracked may be missing. */
enum mi_status mi_params_load(struct mi_params *ps, mt_archive *a, const char *prefix);
/* Lenient start weights: copies what matches name and shape after stripping "module."/prefix; *used gets the count. */
enum mi_status mi_params_init_from(struct mi_params *ps, mt_archive *a, const char *file_prefix, const char *own_prefix,
                                   int *used);
/* The synthetic golden weights of the parity tests (FNV/splitmix recipe), for tests only. */
void mi_params_golden(struct mi_params *ps, double gain);

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
