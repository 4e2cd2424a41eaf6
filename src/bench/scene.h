/* scene.h - what an attack needs around it to run for a while: a target, public images, a prior, a place to write.
 * Private to src/bench.
 *
 * Sizes are the reference ones (VGG16-BN at the attack's size, 1000 people) or those of an experiment; weights and pixels
 * are random; prior and students are made by the attack's own training, one step of it. */
#ifndef MIDRE_BENCH_SCENE_H
#define MIDRE_BENCH_SCENE_H

#include "midre/attack.h"
#include "midre/spec.h"
#include "src/bench/bench.h"

struct bench_scene {
    const struct mi_attack_desc *attack;
    struct mi_ctx ctx;
    struct mi_trial trial;        /* ctx.trial points here when something is to be timed */
    struct mi_attack_job job;     /* all filled in; job.prior and job.students only after bench_scene_ready */
    struct mi_spec *spec;         /* owned; all defaults when the setup names none */
    struct mi_values *values;     /* owned */
    struct mi_model *target;      /* owned */
    struct mi_pack_split pub;     /* pub.rgb owned */
    uint8_t *pixels;
    int *labels;                  /* owned */
    double tally;                 /* queries */
    struct mi_workspace ws;
    struct mi_product product;
    char *root;                   /* a folder of its own, removed at the end */
};

struct bench_set {
    const char *name, *value;
};

/* alone: one person, one image of them; else the setup's batch, the experiment's identities and restarts, or the
 * published 60, one image each.  On failure nothing stays. */
enum mi_status bench_scene_open(struct bench_scene *s, const struct mi_attack_desc *attack,
                                const struct bench_setup *setup, bool alone);
void bench_scene_close(struct bench_scene *s); /* safe on a zeroed struct */
/* A whole number that not every entry has among its settings. */
int64_t bench_whole(const struct mi_values *v, const char *name, int64_t otherwise);
/* Sets what the attack knows of the list (ends with a NULL name); other names are passed over. */
enum mi_status bench_scene_set(struct bench_scene *s, const struct bench_set *list);
/* Trains prior and students for a step and opens them. */
enum mi_status bench_scene_ready(struct bench_scene *s);
/* Random weights know few classes: makes everybody the class that images of the prior are taken for.  After ready. */
enum mi_status bench_scene_one_class(struct bench_scene *s);

#endif
