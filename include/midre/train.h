/* midre/train.h - training a classifier with defenses, as one resumable loop. */
#ifndef MIDRE_TRAIN_H
#define MIDRE_TRAIN_H

#include "midre/data.h"
#include "midre/defense.h"
#include "midre/loop.h"

struct mi_train_recipe {        /* from the [target] or [judge] section */
    int epochs, batch;
    enum { MI_OPT_SGD, MI_OPT_ADAM } optimiser;
    double lr, momentum, weight_decay; bool nesterov;
    enum { MI_LR_CONSTANT, MI_LR_STEP, MI_LR_COSINE, MI_LR_ONECYCLE } schedule;
    double milestones[8]; int n_milestones; double gamma; /* MI_LR_STEP, in epochs */
    double warmup;              /* epochs of linear warm-up */
    bool flip;                  /* horizontal mirroring, p = 0.5 */
    double crop;                /* least share of the photo's area shown, cropped at random; 0 or 1 = all */
    struct mi_jitter jitter;    /* random colours */
    enum { MI_KEEP_LAST, MI_KEEP_BEST } keep;
    int eval_every;             /* epochs between test evaluations; the last epoch always evaluates */
    int second_step;            /* set by a defense: from this epoch on a fresh optimiser trains what is kept; 0 none */
};
struct mi_values;
enum mi_status mi_train_recipe_read(const struct mi_values *section, struct mi_train_recipe *r);

/* Trains m on d's train split; curves loss/train, acc/train, loss/test, acc/test, lr.  defenses may be NULL (judge).
 * On return m holds the kept weights; *acc the natural accuracy in percent on the whole test split. */
enum mi_status mi_train(struct mi_ctx *ctx, struct mi_model *m, const struct mi_dataset *d,
                        const struct mi_train_recipe *r, struct mi_defenses *defenses, double *acc);

/* What training photos look like under prepared defenses: row k is photo index[k] of the train split, column 0 as it is
 * stored, column c as epoch c (counted from 1) could show it; a photo that epoch leaves out is darkened.  *sheet has
 * tiles of d->size px; free it with mi_image_free. */
enum mi_status mi_preview(struct mi_model *m, const struct mi_dataset *d, const struct mi_train_recipe *r,
                          struct mi_defenses *defenses, uint64_t seed, const int32_t *index, int rows, int cols,
                          struct mi_image *sheet);

#endif
