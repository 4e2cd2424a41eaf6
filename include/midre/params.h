/* midre/params.h - the named tensors of a network, in state_dict order, under the names of the public PyTorch code.
 *
 * The store owns them; layers (nn.h) borrow, so loading a state dict copies into the tensors that are there. */
#ifndef MIDRE_PARAMS_H
#define MIDRE_PARAMS_H

#include "midre/alias.h"
#include "midre/tensor_grad.h"

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
/* Gives all of them to o; MI_E_INPUT when every weight is frozen. */
enum mi_status mi_params_optimise(const struct mi_params *ps, mt_opt *o);
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
/* The synthetic golden weights of the parity tests (FNV/splitmix recipe), for tests only. */
void mi_params_golden(struct mi_params *ps, double gain);

#endif
