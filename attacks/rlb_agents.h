/* attacks/rlb_agents.h - the agents of RLB-MI side by side, and its two formulas for tests by hand.
 * Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_RLB_AGENTS_H
#define MIDRE_ATTACKS_RLB_AGENTS_H

#include "attacks/query.h"
#include "attacks/sac.h"

struct mi_rlb_reward {
    mt_tensor *reward; /* [N] w1 ln p_y + w2 ln q_y + w3 ln max(1e-7, p_y - max of the others); logs at least -100 */
    mt_tensor *own;    /* [N] p_y */
    mt_tensor *margin; /* [N] p_y - max of the others */
};

/* p, q [N,K]: probabilities for the next state's image and the action's image; y [N,1] i64. */
enum mi_status mi_rlb_reward(mt_tensor *p, mt_tensor *q, mt_tensor *y, const double w[3], struct mi_rlb_reward *out);
/* `count` different numbers of 0..n-1, every set equally likely; taken [n] is scratch and comes back zeroed. */
void mi_rlb_choose(struct mi_rng *r, int64_t n, int count, unsigned char *taken, int64_t *out);

enum { MI_RLB_SCALAR, MI_RLB_ROW, MI_RLB_COORDINATE };
enum { MI_RLB_FRESH, MI_RLB_TRAINING };

struct mi_rlb {
    struct mi_query q;
    int dim, episodes, steps, batch, warmup, noise, candidates, segment;
    bool random, twice; /* twice: the action's image is asked about as well */
    double alpha, scale, weight[3];
    struct mi_sac_config sac;
    int group, groups; /* learners side by side, groups of them */
    /* of the group in work */
    int first, n;
    struct mi_sac m;
    mt_tensor *y;             /* [n,1] i64 */
    mt_tensor *replay, *tail; /* [n,episodes*steps,2 dim+1], [n,segment,2 dim+1]: s, a, scaled reward */
    mt_tensor *best, *score;  /* [n,dim], [n] */
    float *host;              /* random numbers on their way: [max(n,batch)*dim] */
    int64_t *index;           /* [batch] */
    unsigned char *taken;     /* [episodes*steps] */
};

/* Reads the job's settings and opens its generator; the job must outlive it.  Close it also after a failure. */
enum mi_status mi_rlb_open(struct mi_rlb *r, struct mi_attack_job *job);
void mi_rlb_close(struct mi_rlb *r); /* safe on a zeroed struct */
/* Learners r->first.. of group `group`, fresh; the fields above the group's must be set. */
enum mi_status mi_rlb_group_open(struct mi_rlb *r, int group);
void mi_rlb_group_close(struct mi_rlb *r);
/* After a resume at `size` remembered steps: the replay from its segments on disk and the one begun. */
enum mi_status mi_rlb_recall(struct mi_rlb *r, int64_t size);
/* Episode l->step of all learners of the group. */
enum mi_status mi_rlb_episode(struct mi_rlb *r, struct mi_loop *l);

#endif
