/* models/densenet.c - DenseNet-121 and -169 with torchvision's names and shapes.
 *
 * Huang et al. 2017: inside a dense block every layer (BatchNorm, ReLU, 1x1 convolution to 128 channels, BatchNorm,
 * ReLU, 3x3 convolution to 32) sees all maps made before it; its own 32 channels are appended behind them.  Between
 * the four blocks a transition halves channels (1x1 convolution) and resolution (2x2 mean).  A last BatchNorm and ReLU,
 * the mean over the map (the feature) and one linear layer follow; no dropout.
 * The appended map is made anew by every layer, so without gradients at most two of them are alive at a time.
 * Taps are the four blocks' maps before what follows them. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define GROWTH 32
#define NARROW 128 /* channels between a layer's two convolutions: four times the growth */
#define FIRST  64

struct layer {
    struct mi_bn norm1, norm2;
    struct mi_conv conv1, conv2;
};

struct densenet {
    const int *layers; /* of the four blocks */
    struct mi_conv stem, halve[3];
    struct mi_bn stem_norm, halve_norm[3], last_norm;
    struct layer *layer; /* all blocks, flat */
    struct mi_linear fc;
};

static const int dense121[4] = {6, 12, 24, 16}, dense169[4] = {6, 12, 32, 32};

static void numbered(char out[24], const char *word, int n) {
    snprintf(out, 24, "%s%d", word, n);
}

/* Kaiming normal over the inputs for every convolution, as torchvision draws them. */
static void conv_build(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int k, mt_convp p) {
    mi_conv_new(b, c, name, in, out, k, p, false, MI_INIT_KAIMING_FAN_IN);
}

static void layer_build(struct mi_builder *b, struct layer *l, int in) {
    mi_bn_new(b, &l->norm1, "norm1", in, 1e-5, 0.1);
    conv_build(b, &l->conv1, "conv1", in, NARROW, 1, MT_CONV(1, 0));
    mi_bn_new(b, &l->norm2, "norm2", NARROW, 1e-5, 0.1);
    conv_build(b, &l->conv2, "conv2", NARROW, GROWTH, 3, MT_CONV(1, 1));
}

static void densenet_free(void *p) {
    struct densenet *net = p;
    if (net) free(net->layer);
    free(net);
}

/* Returns the channels after the last block. */
static int blocks_build(struct mi_builder *b, struct densenet *net) {
    int width = FIRST;
    struct layer *l = net->layer;
    char name[24];
    for (int k = 0; k < 4; k++) {
        numbered(name, "denseblock", k + 1);
        mi_builder_push(b, name);
        for (int i = 0; i < net->layers[k]; i++, width += GROWTH) {
            numbered(name, "denselayer", i + 1);
            mi_builder_push(b, name);
            layer_build(b, l++, width);
            mi_builder_pop(b);
        }
        mi_builder_pop(b);
        if (k == 3) break;
        numbered(name, "transition", k + 1);
        mi_builder_push(b, name);
        mi_bn_new(b, &net->halve_norm[k], "norm", width, 1e-5, 0.1);
        conv_build(b, &net->halve[k], "conv", width, width / 2, 1, MT_CONV(1, 0));
        mi_builder_pop(b);
        width /= 2;
    }
    return width;
}

static void *densenet_build(struct mi_builder *b, int classes, const int layers[4]) {
    struct densenet *net = mi_calloc(1, sizeof *net);
    int total = layers[0] + layers[1] + layers[2] + layers[3];
    if (net) net->layer = mi_calloc((unsigned long)total, sizeof *net->layer);
    if (!net || !net->layer) {
        densenet_free(net);
        return NULL;
    }
    net->layers = layers;
    mi_builder_push(b, "features");
    conv_build(b, &net->stem, "conv0", 3, FIRST, 7, MT_CONV(2, 3));
    mi_bn_new(b, &net->stem_norm, "norm0", FIRST, 1e-5, 0.1);
    int width = blocks_build(b, net);
    mi_bn_new(b, &net->last_norm, "norm5", width, 1e-5, 0.1);
    mi_builder_pop(b);
    mi_linear_new(b, &net->fc, "classifier", width, classes, true, MI_INIT_DEFAULT);
    mi_init_tensor(net->fc.b, MI_INIT_ZEROS, 0, 0, &b->rng);
    return net;
}

/* ReLU may overwrite BatchNorm's output, which no backward needs; a norm switched off gives x itself, still in use. */
static mt_tensor *norm_relu(const struct mi_bn *n, mt_tensor *x, bool train) {
    return n->off ? mt_act(x, MT_RELU, 0.0) : mt_act_(mi_bn(n, x, train), MT_RELU, 0.0);
}

/* [N,C,H,W] -> [N,C+GROWTH,H,W]; x is left alone. */
static mt_tensor *layer_run(const struct layer *l, mt_tensor *x, bool train) {
    mt_tensor *h = norm_relu(&l->norm1, x, train);
    mt_set(&h, mi_conv_bn(&l->conv1, &l->norm2, h, train, true)); /* [N,128,H,W] */
    mt_set(&h, mi_conv(&l->conv2, h));                            /* [N,32,H,W] */
    mt_tensor *y = mt_cat(MT_LIST(x, h), 1);
    mt_drop(h);
    return y;
}

static enum mi_status densenet_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                       struct mi_forward_out *out) {
    const struct densenet *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, true); /* [N,64,S/2,S/2] */
    mt_set(&h, mt_max_pool2d(h, 3, 2, 1, false));                              /* [N,64,S/4,S/4] */
    const struct layer *l = net->layer;
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < net->layers[k]; i++) mt_set(&h, layer_run(l++, h, m->train));
        if (want_taps) out->tap[k] = h;
        mt_tensor *y = norm_relu(k < 3 ? &net->halve_norm[k] : &net->last_norm, h, m->train);
        if (!want_taps) mt_drop(h);
        h = y;
        if (k == 3) break;
        mt_set(&h, mi_conv(&net->halve[k], h));
        mt_set(&h, mt_avg_pool2d(h, 2, 2, 0, false, true)); /* [N,C/2,H/2,W/2] */
    }
    mt_set(&h, mt_adaptive_avg_pool2d(h, 1, 1)); /* [N,W,1,1] */
    out->features = mt_flatten(h, 1);
    mt_drop(h);
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const char *const taps[] = {"denseblock1", "denseblock2", "denseblock3", "denseblock4", NULL};

#define DENSENET(depth, text, width, facts)                                                                            \
    static void *build##depth(struct mi_builder *b, const struct mi_values *v, int classes, int size) {                \
        (void)v;                                                                                                       \
        (void)size;                                                                                                    \
        return densenet_build(b, classes, dense##depth);                                                               \
    }                                                                                                                  \
    const struct mi_model_desc mi_model_densenet##depth = {                                                            \
        .info = {.name = "densenet" #depth,                                                                            \
                 .title = text,                                                                                        \
                 .help = "Densely connected network with torchvision's layers and names. Sees (x - 0.5)/0.5",          \
                 .paper = "Huang et al., CVPR 2017",                                                                   \
                 .tags = facts},                                                                                       \
        .native_size = 224,                                                                                            \
        .min_size = 32,                                                                                                \
        .max_size = 512,                                                                                               \
        .size_step = 1,                                                                                                \
        .feature_width = width,                                                                                        \
        .head = "classifier",                                                                                          \
        .learns_from = "features.denseblock4",                                                                         \
        .taps = taps,                                                                                                  \
        .mean = {0.5f, 0.5f, 0.5f},                                                                                    \
        .std = {0.5f, 0.5f, 0.5f},                                                                                     \
        .build = build##depth,                                                                                         \
        .forward = densenet_forward,                                                                                   \
        .free = densenet_free,                                                                                         \
    }

DENSENET(121, "DenseNet-121", 1024, "target 224px 7.0M 2.83GMAC");
DENSENET(169, "DenseNet-169", 1664, "target 224px 12.5M 3.36GMAC");
