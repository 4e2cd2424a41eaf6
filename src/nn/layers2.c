/* src/nn/layers2.c - what newer networks add: activations after BatchNorm, squeeze-excitation, stochastic depth.
 *
 * Squeeze-and-excitation (Hu et al. 2018): the mean of every channel passes two 1x1 convolutions and a sigmoid and
 * scales the channel it came from; torchvision puts SiLU between the two.  Stochastic depth (Huang et al. 2016) in its
 * per-sample form: a residual branch is kept with probability 1-p for each image on its own and scaled by 1/(1-p), so
 * its mean stays; evaluation leaves it out.
 * Activations other than ReLU need their input for the backward pass, so they run in place only where no gradient is
 * recorded. */
#include "src/nn/params_priv.h"

mt_tensor *mi_act(mt_tensor *x, mt_actop op) {
    if (!mt_requires_grad(x)) return mt_act_(x, op, 0.0);
    mt_tensor *y = mt_act(x, op, 0.0);
    mt_drop(x);
    return y;
}

mt_tensor *mi_conv_bn_act(const struct mi_conv *c, const struct mi_bn *n, mt_tensor *x, bool train, mt_actop op) {
    return mi_act(mi_conv_bn(c, n, x, train, false), op);
}

void mi_se_new(struct mi_builder *b, struct mi_se *s, const char *name, int channels, int squeezed, enum mi_init how) {
    mi_builder_push(b, name);
    mi_conv_new(b, &s->fc1, "fc1", channels, squeezed, 1, MT_CONV(1, 0), true, how);
    mi_conv_new(b, &s->fc2, "fc2", squeezed, channels, 1, MT_CONV(1, 0), true, how);
    mi_builder_pop(b);
}

mt_tensor *mi_se(const struct mi_se *s, mt_tensor *x /* [N,C,H,W] */) {
    mt_tensor *a = mt_adaptive_avg_pool2d(x, 1, 1); /* [N,C,1,1] */
    mt_set(&a, mi_conv(&s->fc1, a));
    a = mi_act(a, MT_SILU);
    mt_set(&a, mi_conv(&s->fc2, a));
    a = mt_act_(a, MT_SIGMOID, 0.0); /* its backward needs the result, the convolution's its input: in place is safe */
    mt_tensor *y = mt_mul(x, a);
    mt_drop(a);
    return y;
}

mt_tensor *mi_drop_path(mt_tensor *branch /* [N,...] */, double p, mt_rng *rng) {
    if (!branch || p <= 0.0) return branch;
    if (p >= 1.0) return mt_affine_(branch, 0.0, 0.0);
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(branch, shape);
    for (int i = 1; i < nd; i++) shape[i] = 1;
    mt_spec sp = {mt_dtype_of(branch), mt_device_of(branch), MT_NCHW};
    mt_tensor *kept = mt_affine_(mt_bernoulli(shape, nd, 1.0 - p, sp, rng), 1.0 / (1.0 - p), 0.0); /* [N,1,..] */
    branch = mt_mul_(branch, kept);
    mt_drop(kept);
    return branch;
}
