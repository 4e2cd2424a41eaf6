/* src/train/train_priv.h - what the files of the training room share. */
#ifndef MIDRE_TRAIN_PRIV_H
#define MIDRE_TRAIN_PRIV_H

#include "midre/train.h"

/* Learning rate of step `step` (0-based) of a training of `total` steps, `per_epoch` of them an epoch. */
double mi_schedule_lr(const struct mi_train_recipe *r, int64_t step, int64_t per_epoch, int64_t total);

/* ---- feeder.c: batches --------------------------------------------------------------------------------------------
 */
struct mi_feeder;
/* Who chooses the photos of a step when it is not the usual sampler: `pick` writes their indices into index[most] and
 * returns how many; a pure function of the step, called from one thread at a time. */
struct mi_picker {
    int (*pick)(void *user, int64_t step, int32_t *index);
    void *user;
    int64_t per_epoch;
    int most;
};
/* ahead: a helper thread prepares the next step meanwhile.  Borrows the dataset and the recipe until closed. */
struct mi_feeder *mi_feeder_open(const struct mi_dataset *d, const struct mi_train_recipe *r, const float mean[3],
                                 const float std[3], uint64_t seed, int64_t total, bool ahead);
/* The same with own batches; picker NULL = the usual ones, else it is copied. */
struct mi_feeder *mi_feeder_open_picked(const struct mi_dataset *d, const struct mi_train_recipe *r,
                                        const float mean[3], const float std[3], uint64_t seed, int64_t total,
                                        bool ahead, const struct mi_picker *picker);
/* Photo hooks of prepared defenses run while batches are filled; before the first mi_feeder_get.  Borrowed. */
void mi_feeder_defend(struct mi_feeder *f, struct mi_defenses *defenses);
/* Pixels [N,S,S,3] normalised floats, labels [N] and train-split indices [N] of `step`, valid until the next call but
 * one.  Returns N, or -1 with a message when a photo hook failed. */
int mi_feeder_get(struct mi_feeder *f, int64_t step, float **pixels, int64_t **labels, int32_t **index);
void mi_feeder_close(struct mi_feeder *f);

/* ---- parts.c: a batch that does not fit ---- */
/* mi_defenses_gradients in `parts` parts; out holds the logits of all, detached, when there is more than one. */
enum mi_status mi_parts_gradients(struct mi_defenses *ds, struct mi_model *m, struct mi_batch *b, int parts,
                                  struct mi_forward_out *out, mt_tensor **loss);
/* How many parts this batch needs on this machine (1 = whole); leaves no trace in the model. */
enum mi_status mi_parts_fit(struct mi_ctx *ctx, struct mi_defenses *ds, struct mi_model *m, const struct mi_batch *b,
                            int *parts);

/* Steps of one epoch (the last partial batch is dropped) and images of one step. */
int64_t mi_steps_per_epoch(const struct mi_dataset *d, const struct mi_train_recipe *r, int *batch);

#endif
