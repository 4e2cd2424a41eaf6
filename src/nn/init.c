/* src/nn/init.c - initial values of parameters, as the published code draws them.
 *
 *   default          U(+-1/sqrt(fan_in))              PyTorch's own for Conv2d and Linear (weight and bias)
 *   kaiming fan_out  N(0, 2/fan_out)                  He et al. 2015, torchvision's ResNet and VGG
 *   kaiming fan_in   N(0, 2/fan_in)                   torchvision's DenseNet
 *   xavier           U(+-sqrt(6/(fan_in+fan_out)))    Glorot & Bengio 2010, face.evoLVe's IR networks
 *   normal 0.01      N(0, 0.01^2)                     VGG's linear layers
 *   normal 0.02      N(0, 0.02^2)                     MaxViT
 *   normal 0.1       N(0, 0.1^2)                      Inception-V3; 0.001 at its auxiliary head
 *
 * Where the published code cuts the normal at +-2 (Inception-V3, MaxViT's bias tables) that is 20 standard deviations
 * and more: no draw ever reaches it.
 *
 * Numbers come from the project's own counter-based generator, so the same seed gives the same network on every
 * machine and device; the values of PyTorch's generator are not reproduced, only its distributions. */
#include <math.h>
#include <stdlib.h>

#include "src/nn/params_priv.h"

void mi_param_write(mt_tensor *t, const float *values) {
    if (!t || !values || mt_device_of(t).type == MT_META.type) return;
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape);
    bool grad = mt_grad_mode(false); /* writing into a leaf is not part of any graph */
    /* The wrapped memory is only read, during the copy. */
    mt_tensor *src = mt_wrap((void *)(uintptr_t)values, shape, nd, MT_SPEC_F32);
    mt_copy_(t, src);
    mt_drop(src);
    mt_grad_mode(grad);
}

static void fill_constant(mt_tensor *t, double value) {
    bool grad = mt_grad_mode(false);
    mt_fill_(t, value);
    mt_grad_mode(grad);
}

/* Of the normal schemes; 0 for the uniform ones. */
static float normal_std(enum mi_init how, int64_t fan_in, int64_t fan_out) {
    int64_t fan = how == MI_INIT_KAIMING_FAN_OUT ? fan_out : fan_in;
    switch (how) {
    case MI_INIT_KAIMING_FAN_OUT:
    case MI_INIT_KAIMING_FAN_IN: return (float)sqrt(2.0 / (double)(fan > 0 ? fan : 1));
    case MI_INIT_NORMAL_0001: return 0.001f;
    case MI_INIT_NORMAL_001: return 0.01f;
    case MI_INIT_NORMAL_002: return 0.02f;
    case MI_INIT_NORMAL_01: return 0.1f;
    default: return 0.0f;
    }
}

void mi_init_tensor(mt_tensor *t, enum mi_init how, int64_t fan_in, int64_t fan_out, struct mi_rng *r) {
    if (!t || mt_failed() || mt_device_of(t).type == MT_META.type) return;
    if (how == MI_INIT_ZEROS || how == MI_INIT_ONES) {
        fill_constant(t, how == MI_INIT_ONES ? 1.0 : 0.0);
        return;
    }
    size_t n = (size_t)mt_numel(t);
    float *values = malloc((n ? n : 1) * sizeof *values);
    if (!values) {
        mt_raise(MI_E_NOMEM, "out of memory while initialising %zu weights", n);
        return;
    }
    float std = normal_std(how, fan_in, fan_out);
    if (std > 0.0f) {
        mi_rng_fill_normal(r, values, n);
        for (size_t i = 0; i < n; i++) values[i] *= std;
    } else {
        double fan = how == MI_INIT_XAVIER ? (double)(fan_in + fan_out) / 6.0 : (double)fan_in;
        double bound = 1.0 / sqrt(fan > 0 ? fan : 1.0);
        for (size_t i = 0; i < n; i++) values[i] = (float)mi_rng_range(r, -bound, bound);
    }
    mi_param_write(t, values);
    free(values);
}
