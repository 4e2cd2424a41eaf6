/* optim.h - the inside of an optimiser, shared by the step (optim.c) and its checkpoint (optim_state.c). */
#ifndef MIDRE_OPTIM_H
#define MIDRE_OPTIM_H

#include "src/tensor/tensor_priv.h"

/* One parameter.  State appears at its first step, as in PyTorch. */
struct opt_slot {
    mt_tensor *p;       /* borrowed */
    mt_tensor *m, *v;   /* owned; Adam: first and second moment, SGD: m is the momentum buffer; NULL before use */
    int64_t step;       /* steps this parameter has taken */
    double lr_scale;
};

struct mt_opt {
    bool adam, decoupled, nesterov;
    double lr, b1, b2, eps, wd, momentum;
    struct opt_slot *slot;
    int n, cap;
    mt_tensor **list;   /* [3*cap] scratch for the GPU's list kernels and for zero_grad */
};

/* Makes the state of a slot where it is missing. */
enum mi_status opt_slot_state(const struct mt_opt *o, struct opt_slot *s);

#endif
