/* midre/oracle.h - the only door through which an attack touches a target.
 *
 * The oracle has an access level; a call above it fails with MI_E_INPUT ("attack X may only see labels").  It counts
 * queries (images shown).  The target inside is frozen: evaluation mode, no weight gradients.  Images are [0,1]. */
#ifndef MIDRE_ORACLE_H
#define MIDRE_ORACLE_H

#include "midre/model.h"

enum mi_access { MI_ACCESS_LABEL, MI_ACCESS_BLACK, MI_ACCESS_WHITE }; /* each includes the ones before it */

struct mi_oracle;
/* Freezes and borrows `target`. */
struct mi_oracle *mi_oracle_new(struct mi_model *target, enum mi_access level, const char *attack);
void mi_oracle_free(struct mi_oracle *o);
int mi_oracle_classes(const struct mi_oracle *o);
int mi_oracle_size(const struct mi_oracle *o);      /* input side in px */
int mi_oracle_feature_width(const struct mi_oracle *o); /* of the penultimate features, white-box logits */
int64_t mi_oracle_queries(const struct mi_oracle *o);
/* Images are shown with this side from now on instead of the target's; the oracle resizes them (bilinear, half-pixel
 * centres, antialiased downwards), and gradients reach the image as it was shown. */
void mi_oracle_images(struct mi_oracle *o, int size);
/* Counts into *tally (borrowed) from now on: the stage's count, which checkpoints keep across a resume. */
void mi_oracle_tally(struct mi_oracle *o, double *tally);
enum mi_access mi_oracle_access(const struct mi_oracle *o);
/* White: logits [N,K] f32 and (if features != NULL) penultimate features, differentiable with respect to x. */
enum mi_status mi_oracle_logits(struct mi_oracle *o, mt_tensor *x, mt_tensor **logits, mt_tensor **features);
/* Black: probabilities [N,K], detached. */
enum mi_status mi_oracle_probs(struct mi_oracle *o, mt_tensor *x, mt_tensor **probs);
/* White: probabilities in training mode, detached: BatchNorm takes the batch's own statistics, dropout is active (the
 * published GAN training of KedMI).  The target itself stays as it is. */
enum mi_status mi_oracle_probs_batch(struct mi_oracle *o, mt_tensor *x, mt_tensor **probs);
/* Label: argmax [N] i64, detached. */
enum mi_status mi_oracle_labels(struct mi_oracle *o, mt_tensor *x, mt_tensor **labels);

#endif
