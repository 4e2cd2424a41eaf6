/* attacks/public.h - batches of public images for training priors and students.  Private to attacks/. */
#ifndef MIDRE_ATTACKS_PUBLIC_H
#define MIDRE_ATTACKS_PUBLIC_H

#include "midre/attack.h"

/* One shuffled walk over the public images: its order is a function of (seed, purpose, epoch). */
struct mi_public {
    const struct mi_attack_job *job; /* borrowed */
    const char *purpose;             /* borrowed */
    int batch;
    int64_t per_epoch;               /* whole batches; an incomplete last one is dropped */
    int64_t epoch;                   /* whose order is held, -1 none */
    int32_t *order;
    float *pixels;                   /* [batch,S,S,3] staging */
};

/* MI_E_INPUT when there is not one whole batch.  `what` names the setting of the batch size in the message. */
enum mi_status mi_public_open(struct mi_public *p, const struct mi_attack_job *job, const char *purpose, int batch,
                              const char *what);
void mi_public_close(struct mi_public *p); /* safe on a zeroed struct */
/* The images of a step, [batch,3,S,S] in [0,1], not mirrored, on the job's device; of the current scope. */
mt_tensor *mi_public_batch(struct mi_public *p, int64_t step, mt_layout_t layout);
/* Images number first..first+n-1 of epoch 0's order, n <= batch. */
mt_tensor *mi_public_range(struct mi_public *p, int64_t first, int n, mt_layout_t layout);

#endif
