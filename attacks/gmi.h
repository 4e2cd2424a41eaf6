/* attacks/gmi.h - the two formulas of GMI's inversion, apart from its loop, for the parity test against PyTorch.
 * Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_GMI_H
#define MIDRE_ATTACKS_GMI_H

#include "attacks/dcgan64.h"
#include "midre/oracle.h"

struct mi_gmi_terms {
    mt_tensor *x;        /* [N,3,S,S] G(z) */
    mt_tensor *logits;   /* [N,K] of the target */
    mt_tensor *prior;    /* [N] -D(G(z)) */
    mt_tensor *identity; /* [N] cross entropy of the target for the wanted label */
    mt_tensor *loss;     /* scalar: sum_i weight_i (prior_i + lambda identity_i) */
};

/* z [N,z_dim] requiring a gradient, y [N] i64, weight [N].  Results live in the current scope. */
enum mi_status mi_gmi_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, struct mi_oracle *o, mt_tensor *z,
                           mt_tensor *y, mt_tensor *weight, double lambda, struct mi_gmi_terms *out);
/* Momentum in look-ahead form, in place: v' = m v - lr grad;  z' = z - m v + (1+m) v', into [-1,1] when clamp. */
void mi_gmi_update(mt_tensor *z, mt_tensor *v, mt_tensor *grad, double lr, double momentum, bool clamp);

#endif
