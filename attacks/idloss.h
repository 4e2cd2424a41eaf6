/* attacks/idloss.h - how much an image is not yet the wanted person: the loss shared by all latent descents at low
 * resolution, in every published form.  Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_IDLOSS_H
#define MIDRE_ATTACKS_IDLOSS_H

#include "attacks/adaptive.h"
#include "attacks/students.h"

enum mi_idloss_kind { MI_IDLOSS_CE, MI_IDLOSS_LOGIT };

/* {.oracle = o, .adaptive.masks = 1} is GMI's and KedMI's: cross entropy of the target. */
struct mi_idloss {
    struct mi_oracle *oracle;            /* borrowed, white-box */
    enum mi_idloss_kind kind;
    const struct mi_students *students;  /* NULL or borrowed: judged beside the target with equal weight */
    double reg;                          /* logit: weight of the pull of the target's features to the public mean */
    mt_tensor *mean, *std;               /* [d] of public features, owned; std NULL: the mean itself is the aim */
    uint64_t seed;                       /* of the drawn aims when std is there */
    struct mi_adaptive adaptive;
};

struct mi_idloss_terms {
    mt_tensor *loss;   /* [N] */
    mt_tensor *logits; /* [N,K] of the target (its first view of each image) */
};

/* x [N,3,S,S], y [N] i64, key [N] (used by an adaptive attack only), step: iteration of the descent.
 * CE: mean over the models of -log softmax_y.  Logit: mean over the models of -logit_y, plus reg times the mean square
 * distance of the target's features to the aim.  Lives in the current scope, differentiable in x. */
enum mi_status mi_idloss_loss(const struct mi_idloss *id, mt_tensor *x, mt_tensor *y, const uint64_t *key,
                                int64_t step, struct mi_idloss_terms *out);
/* Mean and standard deviation (n-1) of the target's features over the first `images` public images of a seeded order,
 * as a resumable loop; fills id->mean, and id->std when `spread`. */
enum mi_status mi_idloss_measure(struct mi_idloss *id, struct mi_attack_job *job, int64_t images, bool spread);
void mi_idloss_close(struct mi_idloss *id); /* safe on a zeroed struct */

#endif
