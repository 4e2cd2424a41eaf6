/* attacks/query.h - attacks without gradients: the latents they may show the target, and what they get to hear.
 * Private to attacks/ and their tests.
 *
 * A row is one image to deliver: identity by identity, restart by restart.  Latents are turned into images and shown in
 * batches that fit into memory; how they are batched changes speed, not what is asked. */
#ifndef MIDRE_ATTACKS_QUERY_H
#define MIDRE_ATTACKS_QUERY_H

#include "attacks/dcgan64.h"
#include "midre/attack.h"

struct mi_query {
    struct mi_attack_job *job; /* borrowed */
    struct mi_dcgan_g g;       /* owned, frozen */
    int rows;                  /* identities * restarts */
    int batch;                 /* images shown at once */
};

#define MI_QUERY_STACK                                                                                                 \
    {                                                                                                                  \
        .name = "stack", .type = MI_INT, .def = "0", .min = 0, .max = 100000, .unit = "images",                        \
        .help = "Images shown to the target at once, 0 = by memory; changes speed, not results", .cosmetic = true      \
    }

/* Checks the labels and opens the generator of the prior; reads the setting `stack`. */
enum mi_status mi_query_open(struct mi_query *q, struct mi_attack_job *job);
void mi_query_close(struct mi_query *q);               /* safe on a zeroed struct */
int mi_query_label(const struct mi_query *q, int row); /* class a row wants */
/* A stream of random numbers for one row: a function of (seed, purpose, label, restart, step), whatever the company. */
struct mi_rng mi_query_rng(const struct mi_query *q, const char *purpose, int row, int64_t step);

/* z [N,z_dim] on any device.  Counted by the oracle, N images each. */
enum mi_status mi_query_labels(struct mi_query *q, mt_tensor *z, int64_t *labels /* [N], host */);
enum mi_status mi_query_probs(struct mi_query *q, mt_tensor *z, mt_tensor **probs /* [N,K] of the current scope */);
/* Images [N,3,S,S] in [0,1] on the CPU, of the current scope.  The target sees nothing. */
mt_tensor *mi_query_images(struct mi_query *q, mt_tensor *z);
/* A sheet of G(z) for rows first.. of z [n,z_dim], as many identities as people look at. */
enum mi_status mi_query_show(struct mi_query *q, int first, mt_tensor *z, int64_t step);

#endif
