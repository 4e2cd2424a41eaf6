/* midre/model.h - classifier architectures: descriptors and instances. */
#ifndef MIDRE_MODEL_H
#define MIDRE_MODEL_H

#include "midre/entry.h"
#include "midre/nn.h"

#define MI_MAX_TAPS 8

struct mi_model;
struct mi_forward_out {
    mt_tensor *features;          /* [N,width] penultimate features, as the paper's metrics use them */
    mt_tensor *logits;            /* [N,classes] f32 (f64 of a network cast to it) */
    mt_tensor *tap[MI_MAX_TAPS];  /* named hidden activations, only when asked for */
    mt_tensor *aux_logits;        /* Inception-V3 in training; else NULL */
};

struct mi_model_desc {
    struct mi_entry info;
    int native_size;              /* default resolution in px; */
    int min_size, max_size, size_step; /* sizes it works at */
    int feature_width;            /* 0: depends on settings or size, see feature_width_of */
    int (*feature_width_of)(const struct mi_values *v, int size); /* set when feature_width is 0 */
    const char *head;             /* name of the last Linear ("fc"): its first dimension is the class count */
    const char *head_norm;        /* BatchNorm1d that makes the feature and nothing else reads before; NULL = none */
    /* Transfer learning: name of the first layer that the published (or proposed) plan lets learn, then, separated by
     * commas, further ones that learn although they come earlier in the list of names; NULL = no plan known. */
    const char *learns_from;
    /* Published start weights name their tensors FILE_PREFIX + rest where ours are OWN_PREFIX + rest; NULL = same. */
    const char *init_file_prefix, *init_own_prefix;
    mi_alias alias;               /* other names in public files of the whole network; NULL = none */
    const char *const *taps;      /* names of hidden taps, NULL-terminated; NULL = none */
    float mean[3], std[3];        /* input normalisation of its training protocol, of x in [0,1] (0/1 = none) */
    /* Allocates the network's own struct with all parameters in b->ps; NULL on failure. */
    void *(*build)(struct mi_builder *b, const struct mi_values *v, int classes, int size);
    enum mi_status (*forward)(struct mi_model *m, mt_tensor *x, bool want_taps, struct mi_forward_out *out);
    void (*free)(void *net);
    /* Makes the layers anew whose widths follow from a MI_SKIP_CAT's k (skips.h); NULL = there is none. */
    enum mi_status (*rewire)(struct mi_model *m);
};
extern const struct mi_model_desc *const mi_model_table[]; /* NULL-terminated; models/table.c */
const struct mi_model_desc *mi_model_find(const char *name);

struct mi_model {
    const struct mi_model_desc *desc;
    struct mi_params *params;
    void *net;
    int classes, size, feature_width;
    bool train;                   /* BatchNorm and dropout mode */
    mt_rng *rng;                  /* dropout; re-seeded by the training loop each step */
    mt_dtype precision;           /* MT_F32 or MT_BF16 (autocast around forward) */
    uint64_t seed;                /* as given to mi_model_new: first values of parts that defenses add, their noise */
    int passes;                   /* > 1: answers are random (a defense's noise); accuracies are means of so many */
};

/* Builds with fresh weights from `seed`.  channels_last on. NULL with a message on failure. */
struct mi_model *mi_model_new(const char *name, const struct mi_values *v, int classes, int size, mt_device d,
                              uint64_t seed);
void mi_model_free(struct mi_model *m);
/* Names, roles and shapes of what mi_model_new would build, in state_dict order, without its numbers: takes no time and
 * no memory to speak of.  `v` NULL = defaults.  The store lives on MT_META. NULL with a message on failure. */
struct mi_params *mi_model_shapes(const struct mi_model_desc *desc, const struct mi_values *v, int classes, int size);
/* What start weights reached: `used` of the `all` tensors that are not the head's, constant or mere counters. */
struct mi_started { int used, all; const char *missed; /* the first of the others, m's; NULL = there is none */ };
/* Start weights (ImageNet, face.evoLVe, an earlier target): copies every tensor that fits by name and shape except the
 * head. Nothing fits: MI_E_INPUT. */
enum mi_status mi_model_init_from(struct mi_model *m, mt_archive *a, struct mi_started *s);
/* "120 of 122 tensors start from FROM; ..." into text.  Returns the level to log it with: "warn" below one half. */
const char *mi_started_text(const struct mi_started *s, const char *from, char *text, size_t room);
/* x: [N,3,size,size] in the network's input domain (see mean/std).  Results belong to the current scope. */
enum mi_status mi_model_forward(struct mi_model *m, mt_tensor *x, bool want_taps, struct mi_forward_out *out);
/* Starts the model's random numbers anew from (its seed, purpose, counter).  Who runs a model outside training does it
 * before a measurement, so that a network with noise of its own answers the same whenever it is asked. */
void mi_model_reseed(struct mi_model *m, const char *purpose, uint64_t counter);
/* (x - mean)/std of the model, differentiable; x in [0,1]. Returns x itself when there is nothing to do. */
mt_tensor *mi_model_normalise(const struct mi_model *m, mt_tensor *x);

#endif
