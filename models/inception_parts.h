/* models/inception_parts.h - what the Inception networks are made of: units (convolution without bias, BatchNorm with
 * eps 1e-3, ReLU) and mixing modules, whose branches see the same map and are joined on the channels.
 *
 * A module is a table of units in state_dict order; the order in which branches join is the same in all of them.  A
 * unit of stride 1 keeps the size of the map, one of stride 2 has no padding. */
#ifndef MIDRE_INCEPTION_PARTS_H
#define MIDRE_INCEPTION_PARTS_H

#include "midre/nn.h"

#define MI_BR_UNITS 10

struct mi_unit { struct mi_conv conv; struct mi_bn norm; };
/* Keys NAME.conv.weight, NAME.bn.*; padding ph, pw. */
void mi_unit_new(struct mi_builder *b, struct mi_unit *u, const char *name, int in, int out, int kh, int kw, int stride,
                 int ph, int pw, enum mi_init how);
mt_tensor *mi_unit(const struct mi_unit *u, mt_tensor *x, bool train);

enum mi_branch_from { MI_BR_INPUT, MI_BR_LAST /* the unit before */, MI_BR_LAST2 /* the one before that */, MI_BR_POOL };
struct mi_branch_unit {
    const char *name;
    enum mi_branch_from from;
    int out;                     /* 0: the width given to mi_branches_new */
    int kh, kw, stride;
    bool joins;                  /* its output is part of the module's */
};
enum mi_branch_pool {
    MI_BR_NO_POOL,
    MI_BR_AVG,                  /* 3x3 stride 1, padding counted (torchvision) */
    MI_BR_AVG_INSIDE,           /* 3x3 stride 1, padding not counted (TensorFlow) */
    MI_BR_MAX,                  /* 3x3 stride 1 */
    MI_BR_HALVE                 /* 3x3 stride 2 maximum, joins last and has no unit */
};
struct mi_branches {
    struct mi_unit unit[MI_BR_UNITS];
    const struct mi_branch_unit *plan;
    enum mi_branch_pool pool;
    int n, out;                  /* units, channels of the result */
};
/* Under the builder's prefix; `plan` ends with a NULL name and must outlive the module. */
void mi_branches_new(struct mi_builder *b, struct mi_branches *m, const struct mi_branch_unit *plan, enum mi_branch_pool pool, int in,
                int width, enum mi_init how);
/* x [N,in,H,W] -> [N,out,H',W'], a tensor of its own; x is left alone. */
mt_tensor *mi_branches(const struct mi_branches *m, mt_tensor *x, bool train);

/* The map a forward pass has in hand.  `ours`: dropped when the next one is there; the input and taps are not. */
struct mi_map { mt_tensor *t; bool ours; };
void mi_map_next(struct mi_map *h, mt_tensor *next);
void mi_map_tap(struct mi_map *h, mt_tensor **slot);

#endif
