/* defenses/identity.h - batches of P people with K photos each, for losses that compare the images of a batch. */
#ifndef MIDRE_DEFENSES_IDENTITY_H
#define MIDRE_DEFENSES_IDENTITY_H

#include "midre/defense.h"

struct mi_identity_batches {
    int people, per;       /* P, K */
    int32_t *photo;        /* [n] photos ordered by person; person c owns photo[first[c]..first[c+1]) */
    int32_t *first;        /* [classes+1] */
    int32_t *order, *left; /* [per_epoch*P*K] of the epoch at hand; [classes] groups left while drawing */
    struct mi_rank { double key; int32_t person; } *rank; /* [classes] */
    int64_t epoch;         /* the one `order` is of, -1 none */
};

/* Plans s->batch / per people a batch; refuses when the data have too few.  `who` is named in messages. */
enum mi_status mi_identity_plan(struct mi_identity_batches *ib, struct mi_sampling *s, int per, const char *who);
/* The photos of a step; returns P*K. */
int mi_identity_sample(struct mi_identity_batches *ib, const struct mi_sampling *s, int64_t step, int32_t *index);
void mi_identity_close(struct mi_identity_batches *ib);

#endif
