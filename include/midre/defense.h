/* midre/defense.h - defenses as a list of hooks in the training step.  They compose: "midre+nls" is a list of two,
 * each hook runs through the list in order.  NULL hook = not used. */
#ifndef MIDRE_DEFENSE_H
#define MIDRE_DEFENSE_H

#include "midre/model.h"

#define MI_MAX_DEFENSES 4

/* A training batch on the device, in the network's input domain. */
struct mi_batch {
    mt_tensor *x;            /* [N,3,S,S] f32 channels_last, writable in place; replace with mt_set */
    mt_tensor *y;            /* [N] i64 */
    const int32_t *index;    /* [N] host: index of each sample in the train split */
    int n, size;
    int64_t step, epoch;
    uint64_t seed;           /* random numbers: mi_rng_make(seed, purpose, step, i) */
    const struct mi_model *model;
};

struct mi_defense;
struct mi_defense_desc {
    struct mi_entry info;
    size_t state_size;
    enum mi_status (*prepare)(struct mi_defense *d, struct mi_model *m);                 /* freeze, add parts */
    enum mi_status (*batch)(struct mi_defense *d, struct mi_batch *b);                   /* change inputs (MIDRE) */
    /* Replaces or adds to *loss; *loss is NULL when no earlier hook set the main loss. */
    enum mi_status (*loss)(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **loss);
    enum mi_status (*before_step)(struct mi_defense *d, struct mi_model *m, mt_opt *o);
    enum mi_status (*epoch)(struct mi_defense *d, struct mi_model *m, int64_t epoch);
    void (*free)(struct mi_defense *d);
    bool wants_taps;         /* forward must return hidden taps */
    /* Settings that contradict each other (area_low > area_high): MI_E_INPUT, checked before anything runs. */
    enum mi_status (*validate)(const struct mi_values *v);
};
extern const struct mi_defense_desc *const mi_defense_table[]; /* NULL-terminated; defenses/table.c */
const struct mi_defense_desc *mi_defense_find(const char *name);

struct mi_defense { const struct mi_defense_desc *desc; const struct mi_values *values; void *state; };

/* An ordered list made from "midre+nls".  Unknown names: did-you-mean. */
struct mi_spec;
struct mi_defenses { struct mi_defense item[MI_MAX_DEFENSES]; int n; };
enum mi_status mi_defenses_open(struct mi_defenses *ds, const char *composition, const struct mi_spec *spec);
void mi_defenses_close(struct mi_defenses *ds);
enum mi_status mi_defenses_prepare(struct mi_defenses *ds, struct mi_model *m);
enum mi_status mi_defenses_batch(struct mi_defenses *ds, struct mi_batch *b);
/* The composed loss; mean cross entropy when no hook sets one. */
enum mi_status mi_defenses_loss(struct mi_defenses *ds, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **loss);
enum mi_status mi_defenses_before_step(struct mi_defenses *ds, struct mi_model *m, mt_opt *o);
enum mi_status mi_defenses_epoch(struct mi_defenses *ds, struct mi_model *m, int64_t epoch);
bool mi_defenses_want_taps(const struct mi_defenses *ds);

/* ---- erased boxes, shared by MIDRE and its ablations (src/nn/erase.c; CUDA twin in src/cuda) ----------------- */
struct mi_box { int16_t top, left, height, width; };            /* height 0: nothing */
/* Writes fill[c] into the box of every image of x [N,3,S,S] in place; works in NHWC and NCHW, any device. */
enum mi_status mi_erase_boxes(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]);

#endif
