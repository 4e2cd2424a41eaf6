/* attacks/descent.h - the loop under every attack that descends on latents: many points side by side, each moved by the
 * gradient of its own loss.  Private to attacks/ and their tests.
 *
 * An attack gives its formula as a struct mi_descent_desc; the driver owns points and optimiser state, runs chunk after
 * chunk (chunks.h), draws curves and sheets, delivers finished chunks and resumes after a kill.  Settings it reads from
 * the job: iterations, stack, lr.  The same order for all attacks:
 *     start of a chunk:  start
 *     each step:         loss, gradient, curves, sheet when one is due, rule->move
 *     end of a chunk:    finish */
#ifndef MIDRE_ATTACKS_DESCENT_H
#define MIDRE_ATTACKS_DESCENT_H

#include "attacks/chunks.h"

/* What a loss says of N images; all belong to the current scope. */
struct mi_descent_terms {
    mt_tensor *x;        /* [N,3,S,S] the images of the points */
    mt_tensor *logits;   /* [N,K] of the target */
    mt_tensor *prior;    /* [N] how little they look real; NULL without such a term */
    mt_tensor *identity; /* [N] how little the target sees the wanted person */
    mt_tensor *loss;     /* scalar: what the points descend on */
};

/* How points move once their gradient is known. */
struct mi_descent_rule {
    const char *state[2]; /* names of its running tensors in a checkpoint, NULL where fewer; zero when a chunk starts */
    /* In place: p and state [N,dim]; t = 1, 2, ... within the chunk. */
    void (*move)(const void *attack, mt_tensor *p, mt_tensor *const *state, mt_tensor *grad, double lr, int64_t t);
};
extern const struct mi_descent_rule mi_descent_by_adam;
/* One step of Adam (betas 0.9, 0.999, eps 1e-8) in place: p with moments m and v, which start at 0; t = 1, 2, ... */
void mi_descent_adam(mt_tensor *p, mt_tensor *m, mt_tensor *v, mt_tensor *grad, double lr, int64_t t);

/* Each call runs inside a scope of its own; `attack` is what mi_descent_open was given; N = rows of the chunk. */
struct mi_descent_desc {
    const char *points; /* their name in a checkpoint */
    const struct mi_descent_rule *rule;
    /* Writes the first points p [N,dim]: a function of (seed, label, candidate), whatever the chunks. */
    void (*start)(void *attack, int chunk, mt_tensor *p);
    /* p [N,dim] requires a gradient; it = 0, 1, ... within the chunk. */
    enum mi_status (*loss)(void *attack, int chunk, int64_t it, mt_tensor *p, struct mi_descent_terms *out);
    /* Images of the chunk's first `ids` identities for a sheet, [ids*restarts,3,S,S]; x [N,3,S,S] of this step. */
    mt_tensor *(*sheet)(void *attack, int chunk, int ids, mt_tensor *x);
    /* The chunk's reconstructions from its last points, [ids*restarts,3,S,S] in [0,1]; called without a graph. */
    enum mi_status (*finish)(void *attack, int chunk, mt_tensor *p, mt_tensor **x);
};

struct mi_descent {
    const struct mi_descent_desc *desc; /* borrowed, as are the next two */
    void *attack;
    struct mi_attack_job *job;
    struct mi_chunks c;
    double lr;
    mt_tensor *p, *state[2]; /* [rows,dim], owned; the last chunk uses the first rows */
};

/* per_label: points for each identity; weight: as in mi_chunks_open. */
enum mi_status mi_descent_open(struct mi_descent *d, const struct mi_descent_desc *desc, void *attack,
                               struct mi_attack_job *job, int per_label, int weight);
/* The whole descent as a resumable loop on points of `dim` numbers. */
enum mi_status mi_descent_run(struct mi_descent *d, int dim, struct mi_recon *out);
void mi_descent_close(struct mi_descent *d); /* safe on a zeroed struct */

#endif
