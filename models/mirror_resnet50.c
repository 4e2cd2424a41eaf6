/* models/mirror_resnet50.c - the ResNet-50 MIRROR attacks and judges with, under the names of its Caffe-made code.
 *
 * Not torchvision's: an import of the VGGFace2 network of Oxford's Caffe model.  Names are flat
 * ("conv3_1_1x1_reduce"), a halving block has its stride on the first 1x1 convolution, the stem's pool rounds up and
 * does not pad, and the classifier is a 1x1 convolution on the averaged map.  Input is RGB in 0..255 less a mean
 * colour, not divided, which as mean and std of pixels in [0,1] is mean/255 and 1/255.
 * The published 7x7 mean is the global one at 224 px; the global one is used at every size.
 * Taps are the outputs of stages 2 to 5 (the stem is stage 1). */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define BLOCKS 16

struct block {
    struct mi_conv reduce, conv, increase, project;
    struct mi_bn reduce_norm, conv_norm, increase_norm, project_norm;
    bool projects;
};

struct mirror {
    struct mi_conv stem;
    struct mi_bn stem_norm;
    struct mi_linear classifier;
    struct block block[BLOCKS];
};

static const int in_stage[4] = {3, 4, 6, 3};

/* A convolution and its BatchNorm, both at top level: NAME and NAME_bn. */
static void unit_build(struct mi_builder *b, struct mi_conv *c, struct mi_bn *n, const char *name, int in, int out,
                       int k, mt_convp p) {
    char norm[64];
    snprintf(norm, sizeof norm, "%s_bn", name);
    mi_conv_new(b, c, name, in, out, k, p, false, MI_INIT_DEFAULT);
    mi_bn_new(b, n, norm, out, 1e-5, 0.1);
}

static void block_build(struct mi_builder *b, struct block *k, int stage, int number, int in) {
    int width = 16 << stage, out = 4 * width; /* 64 channels at stage 2 */
    int stride = stage > 2 && number == 1 ? 2 : 1;
    char name[32];
    snprintf(name, sizeof name, "conv%d_%d_1x1_reduce", stage, number);
    unit_build(b, &k->reduce, &k->reduce_norm, name, in, width, 1, MT_CONV(stride, 0));
    snprintf(name, sizeof name, "conv%d_%d_3x3", stage, number);
    unit_build(b, &k->conv, &k->conv_norm, name, width, width, 3, MT_CONV(1, 1));
    snprintf(name, sizeof name, "conv%d_%d_1x1_increase", stage, number);
    unit_build(b, &k->increase, &k->increase_norm, name, width, out, 1, MT_CONV(1, 0));
    k->projects = number == 1;
    if (!k->projects) return;
    snprintf(name, sizeof name, "conv%d_%d_1x1_proj", stage, number);
    unit_build(b, &k->project, &k->project_norm, name, in, out, 1, MT_CONV(stride, 0));
}

static void *mirror_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    (void)v;
    (void)size;
    struct mirror *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    unit_build(b, &net->stem, &net->stem_norm, "conv1_7x7_s2", 3, 64, 7, MT_CONV(2, 3));
    int in = 64;
    struct block *k = net->block;
    for (int s = 0; s < 4; s++) {
        for (int j = 1; j <= in_stage[s]; j++, in = 256 << s) block_build(b, k++, s + 2, j, in);
    }
    mi_linear_1x1_new(b, &net->classifier, "classifier", in, classes, true, MI_INIT_DEFAULT);
    return net;
}

static mt_tensor *block_run(const struct block *k, mt_tensor *x /* left alone */, bool train) {
    mt_tensor *h = mi_conv_bn(&k->reduce, &k->reduce_norm, x, train, true);
    mt_set(&h, mi_conv_bn(&k->conv, &k->conv_norm, h, train, true));
    mt_set(&h, mi_conv(&k->increase, h));
    mt_tensor *skip = k->projects ? mi_conv_bn(&k->project, &k->project_norm, x, train, false) : x;
    mt_set(&h, mi_bn_relu(&k->increase_norm, h, skip, 1.0, train));
    if (skip != x) mt_drop(skip);
    return h;
}

static enum mi_status mirror_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                     struct mi_forward_out *out) {
    const struct mirror *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, true); /* [N,64,S/2,S/2] */
    mt_set(&h, mt_max_pool2d(h, 3, 2, 0, true));                               /* [N,64,S/4,S/4] */
    const struct block *k = net->block;
    bool tapped = false;
    for (int s = 0; s < 4; s++) {
        for (int j = 0; j < in_stage[s]; j++) {
            mt_tensor *next = block_run(k++, h, m->train);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        tapped = want_taps;
        if (want_taps) out->tap[s] = h;
    }
    mt_tensor *pooled = mt_adaptive_avg_pool2d(h, 1, 1); /* [N,2048,1,1] */
    if (!tapped) mt_drop(h);
    out->features = mt_flatten(pooled, 1);
    mt_drop(pooled);
    out->logits = mi_linear(&net->classifier, out->features);
    return MI_OK;
}

static const char *const taps[] = {"stage2", "stage3", "stage4", "stage5", NULL};

const struct mi_model_desc mi_model_resnet50_mirror = {
    .info = {.name = "resnet50_mirror",
             .title = "ResNet-50 (MIRROR)",
             .help = "VGGFace2 network of Oxford's Caffe model as MIRROR uses it; not torchvision's ResNet-50. "
                     "Sees RGB 0..255 less a mean colour",
             .paper = "Cao et al. (VGGFace2), FG 2018; used as in An et al. (MIRROR), NDSS 2022",
             .tags = "target judge 224px 23.5M 3.87GMAC"},
    .native_size = 224,
    .min_size = 32,
    .max_size = 512,
    .size_step = 1,
    .feature_width = 2048,
    .head = "classifier",
    .taps = taps,
    .mean = {131.0912f / 255.0f, 103.8827f / 255.0f, 91.4953f / 255.0f},
    .std = {1.0f / 255.0f, 1.0f / 255.0f, 1.0f / 255.0f},
    .build = mirror_build,
    .forward = mirror_forward,
    .free = free,
};
