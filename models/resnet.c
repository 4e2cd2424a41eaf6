/* models/resnet.c - ResNet-18/50/101/152 with torchvision's names and shapes.
 *
 * He et al. 2016 in the form torchvision publishes: 7x7 stride-2 stem, 3x3 max pool, four layers of residual blocks,
 * global average pool (the feature), one linear layer.  Bottleneck blocks put their stride on the 3x3 convolution.
 * One row of `family` describes a depth; a descriptor at the bottom makes it known.
 * Taps are the outputs of layer1..layer4. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

struct block {
    struct mi_conv conv[3], skip_conv;
    struct mi_bn norm[3], skip_norm;
    bool projects; /* the skip has a convolution */
    double keep;   /* factor of the skip */
};

struct resnet {
    struct mi_conv stem;
    struct mi_bn stem_norm;
    struct block *block; /* all layers, flat */
    int in_layer[4], convs;
    struct mi_linear fc;
};

struct family {
    int blocks[4];
    int convs; /* in a block: 2 basic, 3 bottleneck */
};

static const struct family family[] = {
    {{2, 2, 2, 2}, 2},  /* 18 */
    {{3, 4, 6, 3}, 3},  /* 50 */
    {{3, 4, 23, 3}, 3}, /* 101 */
    {{3, 8, 36, 3}, 3}, /* 152 */
};

static void numbered(char out[24], const char *word, int n) {
    snprintf(out, 24, "%s%d", word, n);
}

static void block_build(struct mi_builder *b, struct block *k, int convs, int in, int mid, int out, int stride,
                        int stage) {
    int from = in;
    for (int i = 0; i < convs; i++) {
        bool wide = convs == 2 || i == 1, last = i == convs - 1; /* wide: a 3x3 convolution */
        int s = convs == 2 ? (i == 0 ? stride : 1) : (i == 1 ? stride : 1);
        int to = last ? out : mid;
        char name[24];
        numbered(name, "conv", i + 1);
        mi_conv_new(b, &k->conv[i], name, from, to, wide ? 3 : 1, MT_CONV(s, wide ? 1 : 0), false,
                    MI_INIT_KAIMING_FAN_OUT);
        numbered(name, "bn", i + 1);
        mi_bn_new(b, &k->norm[i], name, to, 1e-5, 0.1);
        from = to;
    }
    k->projects = stride != 1 || in != out;
    mi_skip_new(b, &k->keep, MI_SKIP_ADD, stage, "block", k->projects ? "downsample" : NULL);
    if (!k->projects) return;
    mi_builder_push(b, "downsample");
    mi_conv_new(b, &k->skip_conv, "0", in, out, 1, MT_CONV(stride, 0), false, MI_INIT_KAIMING_FAN_OUT);
    mi_bn_new(b, &k->skip_norm, "1", out, 1e-5, 0.1);
    mi_builder_pop(b);
}

static void resnet_free(void *p) {
    struct resnet *net = p;
    if (net) free(net->block);
    free(net);
}

static void *build_family(struct mi_builder *b, const struct family *f, int classes) {
    struct resnet *net = mi_calloc(1, sizeof *net);
    int total = f->blocks[0] + f->blocks[1] + f->blocks[2] + f->blocks[3];
    if (net) net->block = mi_calloc((unsigned long)total, sizeof *net->block);
    if (!net || !net->block) {
        resnet_free(net);
        return NULL;
    }
    net->convs = f->convs;
    mi_conv_new(b, &net->stem, "conv1", 3, 64, 7, MT_CONV(2, 3), false, MI_INIT_KAIMING_FAN_OUT);
    mi_bn_new(b, &net->stem_norm, "bn1", 64, 1e-5, 0.1);
    int in = 64, expand = f->convs == 3 ? 4 : 1;
    struct block *k = net->block;
    for (int l = 0; l < 4; l++) {
        net->in_layer[l] = f->blocks[l];
        char name[24];
        numbered(name, "layer", l + 1);
        mi_builder_push(b, name);
        int mid = 64 << l;
        for (int i = 0; i < f->blocks[l]; i++) {
            numbered(name, "", i);
            mi_builder_push(b, name);
            block_build(b, k++, f->convs, in, mid, mid * expand, l > 0 && i == 0 ? 2 : 1, l + 1);
            mi_builder_pop(b);
            in = mid * expand;
        }
        mi_builder_pop(b);
    }
    mi_linear_new(b, &net->fc, "fc", in, classes, true, MI_INIT_DEFAULT);
    return net;
}

/* Result may be dropped by the caller; x [N,C,H,W] is left alone. */
static mt_tensor *block_run(const struct block *k, int convs, mt_tensor *x, bool train) {
    mt_tensor *h = x, *skip = MT_NONE;
    for (int i = 0; i < convs; i++) {
        bool last = i == convs - 1; /* its norm comes with the shortcut */
        mt_tensor *next = last ? mi_conv(&k->conv[i], h) : mi_conv_bn(&k->conv[i], &k->norm[i], h, train, true);
        if (h != x) mt_drop(h);
        h = next;
    }
    if (k->keep != 0.0) skip = k->projects ? mi_conv_bn(&k->skip_conv, &k->skip_norm, x, train, false) : x;
    mt_set(&h, mi_bn_relu(&k->norm[convs - 1], h, skip, k->keep, train));
    if (skip != x) mt_drop(skip);
    return h;
}

static enum mi_status resnet_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                     struct mi_forward_out *out) {
    const struct resnet *net = m->net;
    mt_tensor *stem = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, true); /* [N,64,S/2,S/2] */
    mt_tensor *h = mt_max_pool2d(stem, 3, 2, 1, false);                           /* [N,64,S/4,S/4] */
    mt_drop(stem);
    const struct block *k = net->block;
    bool tapped = false;
    for (int l = 0; l < 4; l++) {
        for (int i = 0; i < net->in_layer[l]; i++) {
            mt_tensor *next = block_run(k++, net->convs, h, m->train);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        if (want_taps) {
            out->tap[l] = h;
            tapped = true;
        }
    }
    mt_tensor *pooled = mt_adaptive_avg_pool2d(h, 1, 1); /* [N,W,1,1] */
    out->features = mt_flatten(pooled, 1);
    out->logits = mi_linear(&net->fc, out->features);
    if (!tapped) mt_drop(h);
    mt_drop(pooled);
    return MI_OK;
}

static const char *const taps[] = {"layer1", "layer2", "layer3", "layer4", NULL};

#define RESNET(row, id, text, width, facts)                                                                            \
    static void *build_##id(struct mi_builder *b, const struct mi_values *v, int classes, int size) {                  \
        (void)v;                                                                                                       \
        (void)size;                                                                                                    \
        return build_family(b, &family[row], classes);                                                                 \
    }                                                                                                                  \
    const struct mi_model_desc mi_model_##id = {                                                                       \
        .info = {.name = #id,                                                                                          \
                 .title = text,                                                                                        \
                 .help = "Residual network with torchvision's layers and names, so ImageNet weights fit. "             \
                         "Sees (x - 0.5)/0.5",                                                                         \
                 .paper = "He et al., CVPR 2016",                                                                      \
                 .tags = facts},                                                                                       \
        .native_size = 224,                                                                                            \
        .min_size = 32,                                                                                                \
        .max_size = 512,                                                                                               \
        .size_step = 1,                                                                                                \
        .feature_width = width,                                                                                        \
        .head = "fc",                                                                                                  \
        .learns_from = "layer4",                                                                                       \
        .taps = taps,                                                                                                  \
        .mean = {0.5f, 0.5f, 0.5f},                                                                                    \
        .std = {0.5f, 0.5f, 0.5f},                                                                                     \
        .build = build_##id,                                                                                           \
        .forward = resnet_forward,                                                                                     \
        .free = resnet_free,                                                                                           \
    }

RESNET(0, resnet18, "ResNet-18", 512, "target 224px 11.2M 1.81GMAC");
RESNET(1, resnet50, "ResNet-50", 2048, "target 224px 23.5M 4.09GMAC");
RESNET(2, resnet101, "ResNet-101", 2048, "target 224px 42.5M 7.80GMAC");
RESNET(3, resnet152, "ResNet-152", 2048, "target 224px 58.1M 11.5GMAC");
