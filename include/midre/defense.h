/* midre/defense.h - defenses as a list of hooks in the training step.  They compose: "midre+nls" is a list of two,
 * each hook runs through the list in order.  NULL hook = not used. */
#ifndef MIDRE_DEFENSE_H
#define MIDRE_DEFENSE_H

#include "midre/model.h"
#include "midre/photo.h"

#define MI_MAX_DEFENSES 4

/* A training batch on the device, in the network's input domain. */
struct mi_batch {
    mt_tensor *x;            /* [N,3,S,S] f32 channels_last, writable in place; replace with mt_set */
    mt_tensor *y;            /* [N] i64 */
    mt_tensor *y2, *share;   /* mixed labels: share_i of y_i and 1 - share_i of y2_i; [N] i64 and [N] f32, or both NULL */
    mt_tensor *weight;       /* [N] f32: losses are summed with these weights instead of averaged; NULL = the mean */
    const int32_t *index;    /* [N] host: index of each sample in the train split */
    int n, size;             /* n varies, and may be 0, under a sampler of a defense */
    int64_t step, epoch, epochs; /* epochs: of the whole training */
    uint64_t seed;           /* random numbers: mi_rng_make(seed, purpose, step, i) */
    const struct mi_model *model;
};

/* The training set as a sampler sees it, and what it plans. */
struct mi_sampling {
    const int32_t *labels;   /* [n] of the train split */
    size_t n;
    int classes, batch;      /* batch: of the recipe */
    uint64_t seed;
    int64_t per_epoch;       /* set by `plan`: steps of an epoch; 0 = leave it to the usual sampler */
    int most;                /* set by `plan`: images of the greatest batch */
};

struct mi_defense;
struct mi_defenses;
struct mi_spec;
struct mi_train_recipe;
struct mi_defense_desc {
    struct mi_entry info;
    size_t state_size;
    /* ---- before anything runs ---- */
    enum mi_status (*validate)(const struct mi_values *v); /* settings that contradict each other: MI_E_INPUT */
    /* What this defense cannot stand in `all` (itself included) or in the spec's other sections: MI_E_INPUT with the
     * reason.  Two of `main_loss`, `sample`, `gradients` or `replaces_head` in one list are refused without asking. */
    enum mi_status (*compose)(const struct mi_defense *d, const struct mi_defenses *all, const struct mi_spec *spec);
    enum mi_status (*prepare)(struct mi_defense *d, struct mi_model *m);                 /* freeze, add parts */
    /* ---- training; pure functions of the model, the batch and (seed, step), so that a run resumes exactly ---- */
    /* Once, before the first step; m holds its start weights.  May change the recipe. */
    enum mi_status (*start)(struct mi_defense *d, struct mi_model *m, struct mi_train_recipe *r);
    /* Own batches: `plan` once, `sample` writes the images of a step into index[most] and returns their number.
     * `sample` runs on a thread of its own, one call at a time: no tensors, nothing other hooks write. */
    enum mi_status (*plan)(struct mi_defense *d, struct mi_sampling *s);
    int (*sample)(struct mi_defense *d, const struct mi_sampling *s, int64_t step, int32_t *index);
    bool (*samples)(const struct mi_values *v); /* false: these settings leave the usual sampler; NULL = true */
    /* First thing in every step: sets what depends on the step or epoch (also the first step after a resume). */
    enum mi_status (*step)(struct mi_defense *d, struct mi_model *m, mt_opt *o, int64_t step, int64_t epoch);
    /* One photo on the feeder's threads, ahead of the step: plain C, many photos at once, d->state is only read.
     * view: chooses p->frame, there are no pixels yet.  input: changes p->px, the network's input, after everything. */
    enum mi_status (*view)(struct mi_defense *d, struct mi_photo *p);
    enum mi_status (*input)(struct mi_defense *d, struct mi_photo *p);
    enum mi_status (*batch)(struct mi_defense *d, struct mi_batch *b);                   /* change inputs (MIDRE) */
    /* Replaces forward, loss and backward (per-image clipping): leaves gradients on the parameters, *out and *loss as
     * the curves show them (NULL logits when b->n is 0).  mi_defenses_loss(all, ...) is the composed loss. */
    enum mi_status (*gradients)(struct mi_defense *d, struct mi_defenses *all, struct mi_model *m, struct mi_batch *b,
                                struct mi_forward_out *out, mt_tensor **loss);
    /* The main loss in place of cross entropy, see mi_main_loss. */
    enum mi_status (*main_loss)(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **loss);
    /* Adds to *loss, which is the main loss and what hooks before added; never NULL. */
    enum mi_status (*loss)(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **loss);
    enum mi_status (*before_step)(struct mi_defense *d, struct mi_model *m, mt_opt *o);
    enum mi_status (*epoch)(struct mi_defense *d, struct mi_model *m, int64_t epoch);
    /* What the settings come to ("erases 25.0 % of an image on the average"), for journal and preview; after prepare. */
    void (*note)(const struct mi_defense *d, int size, char *text, size_t room);
    void (*free)(struct mi_defense *d);
    bool wants_taps;         /* forward must return hidden taps */
    bool couples_images;     /* its loss is no sum over the images of a batch */
    bool replaces_head;      /* puts another head on the features */
};
extern const struct mi_defense_desc *const mi_defense_table[]; /* NULL-terminated; defenses/table.c */
const struct mi_defense_desc *mi_defense_find(const char *name);

struct mi_defense { const struct mi_defense_desc *desc; const struct mi_values *values; void *state; };

/* An ordered list made from "midre:fill=zero+nls"; names: "midre+nls".  MI_E_INPUT: did-you-mean, or why it clashes. */
struct mi_defenses { struct mi_defense item[MI_MAX_DEFENSES]; int n; char names[128]; };
enum mi_status mi_defenses_open(struct mi_defenses *ds, const char *composition, const struct mi_spec *spec);
void mi_defenses_close(struct mi_defenses *ds);
enum mi_status mi_defenses_prepare(struct mi_defenses *ds, struct mi_model *m);
enum mi_status mi_defenses_start(struct mi_defenses *ds, struct mi_model *m, struct mi_train_recipe *r);
/* Plans the batches; *who is the defense that draws them, NULL for the usual sampler. */
enum mi_status mi_defenses_plan(struct mi_defenses *ds, struct mi_sampling *s, struct mi_defense **who);
enum mi_status mi_defenses_step(struct mi_defenses *ds, struct mi_model *m, mt_opt *o, int64_t step, int64_t epoch);
/* Photos in the making (src/nn/photo_hooks.c): whether any hook wants to choose frames, or to change pixels. */
bool mi_defenses_have_view(const struct mi_defenses *ds);
bool mi_defenses_have_input(const struct mi_defenses *ds);
enum mi_status mi_defenses_view(struct mi_defenses *ds, struct mi_photo *p);
enum mi_status mi_defenses_input(struct mi_defenses *ds, struct mi_photo *p);
/* "midre: erases ...; cutmix: ..."; empty text when there is nothing to say. */
void mi_defenses_note(const struct mi_defenses *ds, int size, char *text, size_t room);
enum mi_status mi_defenses_batch(struct mi_defenses *ds, struct mi_batch *b);
/* The composed loss; mean cross entropy when no hook sets one. */
enum mi_status mi_defenses_loss(struct mi_defenses *ds, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **loss);
/* Forward, loss and backward of a step, or what a `gradients` hook does in their place. */
enum mi_status mi_defenses_gradients(struct mi_defenses *ds, struct mi_model *m, struct mi_batch *b,
                                     struct mi_forward_out *out, mt_tensor **loss);
enum mi_status mi_defenses_before_step(struct mi_defenses *ds, struct mi_model *m, mt_opt *o);
enum mi_status mi_defenses_epoch(struct mi_defenses *ds, struct mi_model *m, int64_t epoch);
bool mi_defenses_want_taps(const struct mi_defenses *ds);

/* What loss hooks are made of; per_image is [N].  Mean over the batch, or the sum with b->weight. */
mt_tensor *mi_batch_mean(const struct mi_batch *b, mt_tensor *per_image);
/* Cross entropy with (also negative) smoothing of possibly mixed labels, plus the auxiliary head's. */
mt_tensor *mi_main_loss(const struct mi_batch *b, const struct mi_forward_out *out, double smooth);

/* ---- erased boxes, shared by MIDRE and its ablations (src/nn/erase.c; CUDA twin in src/cuda) ----------------- */
struct mi_box { int16_t top, left, height, width; };            /* height 0: nothing */
/* Writes fill[c] into the box of every image of x [N,3,S,S] in place; works in NHWC and NCHW, any device. */
enum mi_status mi_erase_boxes(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]);

#endif
