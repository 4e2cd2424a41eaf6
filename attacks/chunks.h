/* attacks/chunks.h - many identities inverted side by side: the part of a latent descent that is not its formula.
 * Private to attacks/ and their tests.
 *
 * Identities are cut into chunks that fit into memory.  One loop runs chunk after chunk, `iterations` steps each; a
 * finished chunk's images are saved as a part of the stage.  Everything random depends on (seed, purpose, label,
 * candidate), never on the chunk, so chunks change speed and memory, not results. */
#ifndef MIDRE_ATTACKS_CHUNKS_H
#define MIDRE_ATTACKS_CHUNKS_H

#include "midre/attack.h"

struct mi_chunks {
    struct mi_attack_job *job; /* borrowed */
    int per_label;             /* rows of the descent for each identity */
    int ids, count;            /* identities in a chunk (fewer in the last); chunks */
    int64_t iterations;
    int loaded;                /* chunk that y and key are of; -1 none */
    mt_tensor *y;              /* [rows] i64 label of each row, owned */
    uint64_t *key;             /* [rows] a number of its own for each (label, candidate), owned */
};

#define MI_STACK_SETTING                                                                                               \
    {.name = "stack", .type = MI_INT, .def = "0", .min = 0, .max = 100000, .unit = "images",                           \
     .help = "Images inverted side by side, 0 = by memory; changes speed, not results", .cosmetic = true}

/* Checks the labels and cuts them.  `stack`: rows side by side, 0 = by memory; `weight`: how many images each row costs
 * (views of an adaptive attack). */
enum mi_status mi_chunks_open(struct mi_chunks *c, struct mi_attack_job *job, int per_label, int64_t iterations,
                              int stack, int weight);
void mi_chunks_close(struct mi_chunks *c); /* safe on a zeroed struct */
int mi_chunks_ids(const struct mi_chunks *c, int chunk);
int mi_chunks_rows(const struct mi_chunks *c, int chunk); /* ids * per_label */
int mi_chunks_of(const struct mi_chunks *c, int64_t step); /* chunk of a loop step */
/* Labels and keys of a chunk, made when it is entered (also after a resume in its middle). */
enum mi_status mi_chunks_enter(struct mi_chunks *c, int chunk);
/* Normal numbers for rows label by label: [ids*each,dim] from (seed, purpose, label, candidate + each*step).  A new
 * tensor of the current scope on the job's device. */
mt_tensor *mi_chunks_normal(const struct mi_chunks *c, int chunk, const char *purpose, int each, int64_t step, int dim);
/* The running reconstructions: one row for each of the first identities, x [ids_shown*restarts,3,S,S]. */
enum mi_status mi_chunks_show(struct mi_chunks *c, int chunk, int64_t step, mt_tensor *x);
int mi_chunks_shown(const struct mi_chunks *c, int chunk); /* identities on that sheet */
/* Curves of a descent: prior (may be NULL) and identity [N] are averaged, logits [N,K] give the target's own accuracy
 * now and then. */
void mi_chunks_curves(struct mi_chunks *c, struct mi_loop *l, mt_tensor *identity, mt_tensor *prior, mt_tensor *logits);
/* A finished chunk, x [ids*restarts,3,S,S] in [0,1]. */
enum mi_status mi_chunks_deliver(struct mi_chunks *c, int chunk, mt_tensor *x);
/* All delivered images in order of label and restart. */
enum mi_status mi_chunks_collect(struct mi_chunks *c, struct mi_recon *out);

#endif
