/* models/efficientnet.c - EfficientNet-B0, -B1 and -B2 in the form LOMMA's augmented models use.
 *
 * Tan & Le 2019: seven stages of inverted residual blocks (1x1 convolution to six times the channels, depthwise
 * convolution, squeeze-and-excitation, 1x1 convolution back; SiLU in between) and a last 1x1 convolution; width and
 * depth grow from B0 to B2.  The wrapper keeps torchvision's trunk as "feature.0", drops its classifier together with
 * the dropout, and puts one linear layer "fc_layer" on the mean of the last map (the feature).
 * Residual blocks are dropped image by image while training, from probability 0 at the first block to nearly
 * `drop_path` at the last (stochastic depth).  Taps are the outputs of the seven stages. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define STAGES 7

struct block {
    struct mi_conv expand, depthwise, project;
    struct mi_bn expand_norm, depthwise_norm, project_norm;
    struct mi_se se;
    bool expands, residual;
};

struct efficientnet {
    const struct plan *plan;
    struct mi_conv stem, last;
    struct mi_bn stem_norm, last_norm;
    struct block *block; /* all stages, flat */
    int blocks;
    double drop_path;
    struct mi_linear fc;
};

struct plan {
    int width[STAGES], repeats[STAGES], last;
};

static const int kernel[STAGES] = {3, 3, 5, 3, 5, 5, 3}, stride[STAGES] = {1, 2, 2, 2, 1, 2, 1};
static const struct plan b0 = {{16, 24, 40, 80, 112, 192, 320}, {1, 2, 2, 3, 3, 4, 1}, 1280};
static const struct plan b1 = {{16, 24, 40, 80, 112, 192, 320}, {2, 3, 3, 4, 4, 5, 2}, 1280};
static const struct plan b2 = {{16, 24, 48, 88, 120, 208, 352}, {2, 3, 3, 4, 4, 5, 2}, 1408};

/* One torchvision unit: module `name` with the convolution as 0 and BatchNorm as 1. */
static void unit_build(struct mi_builder *b, struct mi_conv *c, struct mi_bn *n, const char *name, int in, int out,
                       int k, mt_convp p) {
    mi_builder_push(b, name);
    mi_conv_new(b, c, "0", in, out, k, p, false, MI_INIT_KAIMING_FAN_OUT);
    mi_bn_new(b, n, "1", out, 1e-5, 0.1);
    mi_builder_pop(b);
}

static void block_build(struct mi_builder *b, struct block *k, int in, int out, int size, int step, int ratio) {
    int wide = in * ratio, module = 0;
    char name[12];
    mt_convp p = MT_CONV(step, size / 2);
    p.groups = wide;
    k->expands = ratio != 1;
    k->residual = step == 1 && in == out;
    mi_builder_push(b, "block");
    snprintf(name, sizeof name, "%d", module);
    if (k->expands) {
        unit_build(b, &k->expand, &k->expand_norm, name, in, wide, 1, MT_CONV(1, 0));
        snprintf(name, sizeof name, "%d", ++module);
    }
    unit_build(b, &k->depthwise, &k->depthwise_norm, name, wide, wide, size, p);
    snprintf(name, sizeof name, "%d", ++module);
    mi_se_new(b, &k->se, name, wide, in / 4 > 1 ? in / 4 : 1, MI_INIT_KAIMING_FAN_OUT);
    snprintf(name, sizeof name, "%d", ++module);
    unit_build(b, &k->project, &k->project_norm, name, wide, out, 1, MT_CONV(1, 0));
    mi_builder_pop(b);
}

static void trunk_build(struct mi_builder *b, struct efficientnet *net) {
    const struct plan *p = net->plan;
    mi_builder_push(b, "feature");
    mi_builder_push(b, "0");
    unit_build(b, &net->stem, &net->stem_norm, "0", 3, 32, 3, MT_CONV(2, 1));
    int in = 32;
    struct block *k = net->block;
    for (int s = 0; s < STAGES; s++) {
        char name[12];
        snprintf(name, sizeof name, "%d", s + 1);
        mi_builder_push(b, name);
        for (int i = 0; i < p->repeats[s]; i++, in = p->width[s]) {
            snprintf(name, sizeof name, "%d", i);
            mi_builder_push(b, name);
            block_build(b, k++, in, p->width[s], kernel[s], i == 0 ? stride[s] : 1, s == 0 ? 1 : 6);
            mi_builder_pop(b);
        }
        mi_builder_pop(b);
    }
    unit_build(b, &net->last, &net->last_norm, "8", in, p->last, 1, MT_CONV(1, 0));
    mi_builder_pop(b);
    mi_builder_pop(b);
}

static void efficientnet_free(void *p) {
    struct efficientnet *net = p;
    if (net) free(net->block);
    free(net);
}

static void *efficientnet_build(struct mi_builder *b, const struct mi_values *v, int classes, const struct plan *plan) {
    struct efficientnet *net = mi_calloc(1, sizeof *net);
    int total = 0;
    for (int s = 0; s < STAGES; s++) total += plan->repeats[s];
    if (net) net->block = mi_calloc((unsigned long)total, sizeof *net->block);
    if (!net || !net->block) {
        efficientnet_free(net);
        return NULL;
    }
    net->plan = plan;
    net->blocks = total;
    net->drop_path = mi_values_real(v, "drop_path");
    trunk_build(b, net);
    mi_linear_new(b, &net->fc, "fc_layer", plan->last, classes, true, MI_INIT_DEFAULT);
    return net;
}

static mt_tensor *block_run(struct mi_model *m, int index, mt_tensor *x /* [N,a,H,W], left alone */) {
    const struct efficientnet *net = m->net;
    const struct block *k = &net->block[index];
    mt_tensor *h = x;
    if (k->expands) h = mi_conv_bn_act(&k->expand, &k->expand_norm, x, m->train, MT_SILU);
    mt_tensor *next = mi_conv_bn_act(&k->depthwise, &k->depthwise_norm, h, m->train, MT_SILU);
    if (h != x) mt_drop(h);
    h = next; /* [N,e,H/s,W/s] */
    mt_set(&h, mi_se(&k->se, h));
    mt_set(&h, mi_conv_bn(&k->project, &k->project_norm, h, m->train, false)); /* [N,b,H/s,W/s] */
    if (!k->residual) return h;
    if (m->train) h = mi_drop_path(h, net->drop_path * index / net->blocks, m->rng);
    return mt_add_(h, x, 1.0); /* h is BatchNorm's output, which nobody's backward needs */
}

static enum mi_status efficientnet_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                           struct mi_forward_out *out) {
    const struct efficientnet *net = m->net;
    mt_tensor *h = mi_conv_bn_act(&net->stem, &net->stem_norm, x, m->train, MT_SILU); /* [N,32,S/2,S/2] */
    bool tapped = false;
    for (int s = 0, k = 0; s < STAGES; s++) {
        for (int i = 0; i < net->plan->repeats[s]; i++) {
            mt_tensor *next = block_run(m, k++, h);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        tapped = want_taps;
        if (want_taps) out->tap[s] = h;
    }
    mt_tensor *map = mi_conv_bn_act(&net->last, &net->last_norm, h, m->train, MT_SILU); /* [N,F,S/32,S/32] */
    if (!tapped) mt_drop(h);
    mt_set(&map, mt_adaptive_avg_pool2d(map, 1, 1));
    out->features = mt_flatten(map, 1);
    mt_drop(map);
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const struct mi_setting settings[] = {
    {.name = "drop_path",
     .type = MI_REAL,
     .def = "0.2",
     .min = 0,
     .max = 0.95,
     .help = "Stochastic depth: while training, share of images for which the last residual block is left out"},
    MI_SETTING_END,
};
/* torchvision's own names. */
static bool original_names(const char *name, char *out, size_t cap) {
    static const char *const pair[][2] = {{"features.", "feature.0."}, {"classifier.1.", "fc_layer."}, {NULL, NULL}};
    return mi_alias_begins(pair, name, out, cap);
}

static const char *const taps[] = {"stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7", NULL};

#define EFFICIENTNET(id, text, width, facts)                                                                           \
    static void *build_##id(struct mi_builder *b, const struct mi_values *v, int classes, int size) {                  \
        (void)size;                                                                                                    \
        return efficientnet_build(b, v, classes, &id);                                                                 \
    }                                                                                                                  \
    const struct mi_model_desc mi_model_efficientnet_##id = {                                                          \
        .info = {.name = "efficientnet_" #id,                                                                          \
                 .title = text,                                                                                        \
                 .help =                                                                                               \
                     "Small network trained beside the target by LOMMA's model augmentation. Sees pixels in [0,1]",    \
                 .paper = "Tan and Le, ICML 2019; head as in Nguyen et al. (LOMMA), CVPR 2023",                        \
                 .settings = settings,                                                                                 \
                 .tags = facts},                                                                                       \
        .native_size = 64,                                                                                             \
        .min_size = 32,                                                                                                \
        .max_size = 512,                                                                                               \
        .size_step = 1,                                                                                                \
        .feature_width = width,                                                                                        \
        .head = "fc_layer",                                                                                            \
        .init_file_prefix = "features.",                                                                               \
        .init_own_prefix = "feature.0.",                                                                               \
        .alias = original_names,                                                                                       \
        .taps = taps,                                                                                                  \
        .std = {1, 1, 1},                                                                                              \
        .build = build_##id,                                                                                           \
        .forward = efficientnet_forward,                                                                               \
        .free = efficientnet_free,                                                                                     \
    }

EFFICIENTNET(b0, "EfficientNet-B0", 1280, "student 64px 4.0M 33MMAC");
EFFICIENTNET(b1, "EfficientNet-B1", 1280, "student 64px 6.5M 49MMAC");
EFFICIENTNET(b2, "EfficientNet-B2", 1408, "student 64px 7.7M 56MMAC");
