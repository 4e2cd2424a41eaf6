/* attacks/sac.h - many soft actor-critics side by side (Haarnoja et al. 2018), in the form RLB-MI trains them.
 * Private to attacks/ and their tests.
 *
 * Every weight is a stack [L,in,out] over L independent learners and every layer one batched product, so one call
 * trains all of them; losses are summed over learners and averaged over the batch, and Adam works element by element,
 * so each learner walks as it would alone.  Numbers: s [L,B,dim] states, a [L,B,dim] actions, r [L,B] rewards. */
#ifndef MIDRE_ATTACKS_SAC_H
#define MIDRE_ATTACKS_SAC_H

#include "midre/nn.h"

struct mi_sac_config {
    int learners, dim, hidden;
    int critics;    /* 1 or 2 */
    bool twins;     /* two critics start with equal weights */
    bool bootstrap; /* episodes have more than one step: next actions and target critics matter */
    double lr, lr_temperature, gamma, tau;
    double box;     /* actions are box * tanh(u) */
    double entropy; /* target of the mean log-density is -entropy */
};

struct mi_sac {
    struct mi_sac_config c;
    struct mi_params *actor, *critic, *target, *temperature; /* owned; target: empty without bootstrap */
    mt_opt *opt_actor, *opt_critic, *opt_temperature;        /* owned */
};

struct mi_sac_batch {
    mt_tensor *s, *a, *r;   /* [L,B,dim], [L,B,dim], [L,B] */
    mt_tensor *next, *done; /* bootstrap: [L,B,dim], [B] or [L,B] (1 = last step); else unused */
};

struct mi_sac_policy {
    mt_tensor *a;    /* [L,B,dim] */
    mt_tensor *logp; /* [L,B] log-density, averaged over the dim coordinates */
};

struct mi_sac_losses {
    mt_tensor *critic, *actor, *temperature; /* means over learners, detached scalars */
};

/* seed[i] keys the first weights of learner i alone.  On failure nothing stays allocated. */
enum mi_status mi_sac_open(struct mi_sac *m, const struct mi_sac_config *c, const uint64_t *seed, mt_device dev);
void mi_sac_close(struct mi_sac *m); /* safe on a zeroed struct */
/* Normal numbers e broadcast to [L,B,dim]: [..,1] gives one number to all coordinates. */
enum mi_status mi_sac_policy(const struct mi_sac *m, mt_tensor *s, mt_tensor *e, struct mi_sac_policy *out);
/* Critic number `which` (0 or 1) of `ps` (m->critic or m->target): [L,B]. */
mt_tensor *mi_sac_q(const struct mi_sac *m, const struct mi_params *ps, int which, mt_tensor *s, mt_tensor *a);
/* One learning step: critics, temperature, actor, target critics.  e_next: noise of the next action (bootstrap only).
 */
enum mi_status mi_sac_learn(struct mi_sac *m, const struct mi_sac_batch *b, mt_tensor *e_next, mt_tensor *e,
                            struct mi_sac_losses *out);
/* Bytes a learner needs beside its replay: weights, Adam, target, and what one step keeps for the backward pass. */
int64_t mi_sac_bytes(const struct mi_sac_config *c, int batch);

#endif
