/* models/vgg16.c - VGG16 with BatchNorm as the 64 px attack papers use it.
 *
 * Thirteen 3x3 convolutions with bias in five blocks (Simonyan & Zisserman 2015, configuration D with BatchNorm),
 * each block ending in a 2x2 max pool; the 512 x S/32 x S/32 map is flattened and passes a BatchNorm1d, whose output
 * is the feature, then one linear layer.  The BatchNorm1d's bias stays at zero: it is in the file but never trained.
 * Names and shapes are those of class VGG16 of the KedMI family ("feature.0.weight" .. "bn", "fc_layer").
 * Taps are the five hidden activations BiDO regularises: blocks 1 to 4 after their pool, and the feature. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define CONVS 13

struct vgg16 {
    struct mi_conv conv[CONVS];
    struct mi_bn norm[CONVS];
    struct mi_bn head_norm;
    struct mi_linear fc;
};

/* Output channels in order; 0 is a pool.  An entry is one module of the flat "feature" list, a convolution three. */
static const int plan[] = {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0};
#define PLAN ((int)(sizeof plan / sizeof *plan))

static int width_of(const struct mi_values *v, int size) {
    (void)v;
    return 512 * (size / 32) * (size / 32);
}

static void *vgg16_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    struct vgg16 *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    mi_builder_push(b, "feature");
    int in = 3, module = 0;
    for (int i = 0, k = 0; i < PLAN; i++) {
        if (plan[i] == 0) {
            module++;
            continue;
        }
        char name[12];
        snprintf(name, sizeof name, "%d", module);
        mi_conv_new(b, &net->conv[k], name, in, plan[i], 3, MT_CONV(1, 1), true, MI_INIT_KAIMING_FAN_OUT);
        snprintf(name, sizeof name, "%d", module + 1);
        mi_bn_new(b, &net->norm[k++], name, plan[i], 1e-5, 0.1);
        in = plan[i];
        module += 3;
    }
    mi_builder_pop(b);
    int width = width_of(v, size);
    mi_bn_new(b, &net->head_norm, "bn", width, 1e-5, 0.1);
    mi_params_fix(b->ps, "bn.bias");
    mi_linear_new(b, &net->fc, "fc_layer", width, classes, true, MI_INIT_DEFAULT);
    return net;
}

static enum mi_status vgg16_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                    struct mi_forward_out *out) {
    const struct vgg16 *net = m->net;
    mt_tensor *h = x;
    bool borrowed = true; /* h belongs to the caller or is a tap: not ours to drop */
    for (int i = 0, k = 0, block = 0; i < PLAN; i++) {
        mt_tensor *next;
        if (plan[i]) {
            next = mi_conv_bn(&net->conv[k], &net->norm[k], h, m->train, true);
            k++;
        } else {
            next = mt_max_pool2d(h, 2, 2, 0, false);
        }
        if (!borrowed) mt_drop(h);
        h = next;
        borrowed = want_taps && plan[i] == 0 && block < 4;
        if (borrowed) out->tap[block] = h;
        if (plan[i] == 0) block++;
    }
    mt_tensor *flat = mt_flatten(h, 1); /* [N,512*(S/32)^2] in channel-major order */
    out->features = mi_bn(&net->head_norm, flat, m->train);
    if (want_taps) out->tap[4] = out->features;
    out->logits = mi_linear(&net->fc, out->features);
    mt_drop(flat);
    if (!borrowed) mt_drop(h);
    return MI_OK;
}

/* BiDO's code cuts the same layers into five blocks, layer1 .. layer5, numbered anew in each. */
static bool block_names(const char *name, char *out, size_t cap) {
    static const int first[] = {0, 7, 14, 24, 34, 44};
    int block, module, rest = 0;
    if (sscanf(name, "layer%1d.%2d.%n", &block, &module, &rest) != 2 || rest == 0) return false;
    if (block < 1 || block > 5 || module < 0 || module >= first[block] - first[block - 1]) return false;
    int len = snprintf(out, cap, "feature.%d.%s", first[block - 1] + module, name + rest);
    return len >= 0 && (size_t)len < cap;
}

static const char *const taps[] = {"block1", "block2", "block3", "block4", "feature", NULL};

const struct mi_model_desc mi_model_vgg16 = {
    .info =
        {.name = "vgg16",
         .title = "VGG16-BN",
         .help =
             "The target of the 64 px attack papers: VGG16 with BatchNorm and a BatchNorm1d feature of 2048 values. "
             "Sees raw pixels in [0,1]",
         .paper = "Simonyan and Zisserman, ICLR 2015; head as in Chen et al. (KedMI), ICCV 2021",
         .tags = "target 64px 16.8M 1.26GMAC"},
    .native_size = 64,
    .min_size = 32,
    .max_size = 224,
    .size_step = 32,
    .feature_width_of = width_of,
    .head = "fc_layer",
    .head_norm = "bn",
    .learns_from = "feature.27", /* conv4_2, as published */
    .init_file_prefix = "features.",
    .init_own_prefix = "feature.",
    .alias = block_names,
    .taps = taps,
    .std = {1, 1, 1},
    .build = vgg16_build,
    .forward = vgg16_forward,
    .free = free,
};
