/* models/resnest.c - ResNeSt-101 with the names and shapes of the authors' code (timm's resnest101e has the same).
 *
 * Zhang et al. 2022: a bottleneck ResNet with a stem of three 3x3 convolutions whose middle convolution is a split
 * attention: one grouped convolution makes two maps ("splits") of w channels; the mean of their sum passes two 1x1
 * convolutions and a softmax over the two splits, and the maps are added with these weights, channel by channel.
 * The 3x3 convolutions keep the resolution: where a block halves it, a 3x3 mean after the attention does (zeros of the
 * rim counted), and a 2x2 mean before the projection of the skip (rim not counted).
 * Taps are the outputs of layer1..layer4. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define BLOCKS 33

struct attention {
    struct mi_conv conv, fc1, fc2;
    struct mi_bn bn0, bn1;
    int width; /* channels of one split */
};

struct block {
    struct mi_conv conv1, conv3, skip_conv;
    struct mi_bn norm1, norm3, skip_norm;
    struct attention split;
    int stride;
    bool projects; /* the skip has a convolution */
    double keep;   /* factor of the skip */
};

struct resnest {
    struct mi_conv stem[3];
    struct mi_bn stem_norm[3];
    struct block block[BLOCKS];
    struct mi_linear fc;
};

static const int in_layer[4] = {3, 4, 23, 3};

static void conv_build(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int k, mt_convp p) {
    mi_conv_new(b, c, name, in, out, k, p, false, MI_INIT_KAIMING_FAN_OUT);
}

/* The published initialisation redraws weights only: biases of convolutions keep PyTorch's default. */
static void biased_build(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out) {
    mi_conv_new(b, c, name, in, out, 1, MT_CONV(1, 0), true, MI_INIT_KAIMING_FAN_OUT);
    struct mi_rng own = {mi_mix(mi_mix(b->rng.key, mi_hash_text(b->prefix)), mi_hash_text(name)), 1};
    mi_init_tensor(c->b, MI_INIT_DEFAULT, in, out, &own);
}

static void attention_build(struct mi_builder *b, struct attention *a, int width) {
    mt_convp two_groups = MT_CONV(1, 1);
    two_groups.groups = 2;
    int squeezed = width / 2 > 32 ? width / 2 : 32;
    a->width = width;
    mi_builder_push(b, "conv2");
    conv_build(b, &a->conv, "conv", width, 2 * width, 3, two_groups);
    mi_bn_new(b, &a->bn0, "bn0", 2 * width, 1e-5, 0.1);
    biased_build(b, &a->fc1, "fc1", width, squeezed);
    mi_bn_new(b, &a->bn1, "bn1", squeezed, 1e-5, 0.1);
    biased_build(b, &a->fc2, "fc2", squeezed, 2 * width);
    mi_builder_pop(b);
}

static void block_build(struct mi_builder *b, struct block *k, int in, int width, int stride, bool projects) {
    k->stride = stride;
    k->projects = projects;
    conv_build(b, &k->conv1, "conv1", in, width, 1, MT_CONV(1, 0));
    mi_bn_new(b, &k->norm1, "bn1", width, 1e-5, 0.1);
    attention_build(b, &k->split, width);
    conv_build(b, &k->conv3, "conv3", width, 4 * width, 1, MT_CONV(1, 0));
    mi_bn_new(b, &k->norm3, "bn3", 4 * width, 1e-5, 0.1);
    if (!projects) return;
    mi_builder_push(b, "downsample"); /* 0 is the pool */
    conv_build(b, &k->skip_conv, "1", in, 4 * width, 1, MT_CONV(1, 0));
    mi_bn_new(b, &k->skip_norm, "2", 4 * width, 1e-5, 0.1);
    mi_builder_pop(b);
}

static void stem_build(struct mi_builder *b, struct resnest *net) {
    mi_builder_push(b, "conv1");
    conv_build(b, &net->stem[0], "0", 3, 64, 3, MT_CONV(2, 1));
    mi_bn_new(b, &net->stem_norm[0], "1", 64, 1e-5, 0.1);
    conv_build(b, &net->stem[1], "3", 64, 64, 3, MT_CONV(1, 1));
    mi_bn_new(b, &net->stem_norm[1], "4", 64, 1e-5, 0.1);
    conv_build(b, &net->stem[2], "6", 64, 128, 3, MT_CONV(1, 1));
    mi_builder_pop(b);
    mi_bn_new(b, &net->stem_norm[2], "bn1", 128, 1e-5, 0.1);
}

static void *resnest_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    (void)v;
    (void)size;
    struct resnest *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    stem_build(b, net);
    int in = 128;
    struct block *k = net->block;
    for (int l = 0; l < 4; l++) {
        char name[24];
        snprintf(name, sizeof name, "layer%d", l + 1);
        mi_builder_push(b, name);
        for (int i = 0; i < in_layer[l]; i++, in = 256 << l) {
            snprintf(name, sizeof name, "%d", i);
            mi_builder_push(b, name);
            mi_skip_new(b, &k->keep, MI_SKIP_ADD, l + 1, "block", i == 0 ? "downsample" : NULL);
            block_build(b, k++, in, 64 << l, l > 0 && i == 0 ? 2 : 1, i == 0);
            mi_builder_pop(b);
        }
        mi_builder_pop(b);
    }
    mi_linear_new(b, &net->fc, "fc", in, classes, true, MI_INIT_DEFAULT);
    return net;
}

/* Weights of the two splits: softmax over them for every image and channel. */
static mt_tensor *split_weights(const struct attention *a, mt_tensor *maps /* [N,2w,H,W] */, bool train) {
    mt_tensor *mean = mt_adaptive_avg_pool2d(maps, 1, 1); /* [N,2w,1,1] */
    mt_tensor *first = mt_narrow(mean, 1, 0, a->width), *second = mt_narrow(mean, 1, a->width, a->width);
    mt_tensor *h = mt_add(first, second); /* [N,w,1,1]: the mean of the splits' sum */
    mt_drop(second);
    mt_drop(first);
    mt_drop(mean);
    mt_set(&h, mi_conv_bn(&a->fc1, &a->bn1, h, train, true));
    mt_set(&h, mi_conv(&a->fc2, h)); /* [N,2w,1,1] */
    int64_t n = mt_size(maps, 0);
    mt_set(&h, mt_reshape(h, MT_SHAPE(n, 2, a->width)));
    mt_set(&h, mt_softmax(h, 1));
    return mt_set(&h, mt_reshape(h, MT_SHAPE(n, 2 * a->width, 1, 1)));
}

/* Split `from`.. times its weights; the views go at once, they would keep the whole map alive. */
static mt_tensor *weighted(mt_tensor *maps, mt_tensor *share, int from, int w) {
    mt_tensor *map = mt_narrow(maps, 1, from, w), *by = mt_narrow(share, 1, from, w);
    mt_tensor *y = mt_mul(map, by); /* [N,w,H,W] */
    mt_drop(by);
    mt_drop(map);
    return y;
}

static mt_tensor *attention_run(const struct attention *a, mt_tensor *x /* [N,w,H,W] */, bool train) {
    int w = a->width;
    mt_tensor *maps = mi_conv_bn(&a->conv, &a->bn0, x, train, true); /* [N,2w,H,W] */
    mt_tensor *share = split_weights(a, maps, train);                /* [N,2w,1,1] */
    mt_tensor *y = weighted(maps, share, 0, w), *second = weighted(maps, share, w, w);
    mt_add_(y, second, 1.0); /* a product's backward needs its factors, not itself */
    mt_drop(second);
    mt_drop(share);
    mt_drop(maps);
    return y; /* [N,w,H,W] */
}

static mt_tensor *block_run(const struct block *k, mt_tensor *x /* left alone */, bool train) {
    mt_tensor *h = mi_conv_bn(&k->conv1, &k->norm1, x, train, true);
    mt_set(&h, attention_run(&k->split, h, train));
    if (k->stride == 2) mt_set(&h, mt_avg_pool2d(h, 3, 2, 1, false, true));
    mt_set(&h, mi_conv(&k->conv3, h));
    mt_tensor *skip = k->keep == 0.0 ? MT_NONE : x;
    if (k->keep != 0.0 && k->projects) {
        mt_tensor *small = k->stride == 2 ? mt_avg_pool2d(x, 2, 2, 0, true, false) : x;
        skip = mi_conv_bn(&k->skip_conv, &k->skip_norm, small, train, false);
        if (small != x) mt_drop(small);
    }
    mt_set(&h, mi_bn_relu(&k->norm3, h, skip, k->keep, train));
    if (skip != x) mt_drop(skip);
    return h;
}

static enum mi_status resnest_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                      struct mi_forward_out *out) {
    const struct resnest *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem[0], &net->stem_norm[0], x, m->train, true); /* [N,64,S/2,S/2] */
    for (int i = 1; i < 3; i++) mt_set(&h, mi_conv_bn(&net->stem[i], &net->stem_norm[i], h, m->train, true));
    mt_set(&h, mt_max_pool2d(h, 3, 2, 1, false)); /* [N,128,S/4,S/4] */
    const struct block *k = net->block;
    bool tapped = false;
    for (int l = 0; l < 4; l++) {
        for (int i = 0; i < in_layer[l]; i++) {
            mt_tensor *next = block_run(k++, h, m->train);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        tapped = want_taps;
        if (want_taps) out->tap[l] = h;
    }
    mt_tensor *pooled = mt_adaptive_avg_pool2d(h, 1, 1); /* [N,2048,1,1] */
    if (!tapped) mt_drop(h);
    out->features = mt_flatten(pooled, 1);
    mt_drop(pooled);
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const char *const taps[] = {"layer1", "layer2", "layer3", "layer4", NULL};

const struct mi_model_desc mi_model_resnest101 = {
    .info = {.name = "resnest101",
             .title = "ResNeSt-101",
             .help = "Residual network with split attention, layers and names of the authors' code. Sees (x - 0.5)/0.5",
             .paper = "Zhang et al., CVPR workshops 2022",
             .tags = "target 224px 46.2M 10.2GMAC"},
    .native_size = 224,
    .min_size = 32,
    .max_size = 512,
    .size_step = 1,
    .feature_width = 2048,
    .head = "fc",
    .learns_from = "layer3.15",
    .taps = taps,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .build = resnest_build,
    .forward = resnest_forward,
    .free = free,
};
