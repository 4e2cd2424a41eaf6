/* models/smallcnn.c - two small networks for demos and quick checks: a plain target and a residual judge.
 *
 * They keep what attacks and metrics rely on in the big ones (BatchNorm statistics, a BatchNorm1d feature, one linear
 * head) at a hundredth of the work, about 15 and 26 MMAC at 64 px, so that a target and a judge of different build
 * train on a laptop in a minute.  Both start with a stride-2 convolution; widths are multiples of 8 for the vector
 * units.  quick: convolution, BatchNorm, ReLU, 2x2 pool per stage, in VGG's manner.  quickres: stages of basic
 * residual blocks, in ResNet's manner, no pools.  The last map is flattened, not averaged: where a feature sits in an
 * aligned face tells people apart. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define STAGES     3
#define MAX_BLOCKS 4

struct small {
    struct mi_conv stem, conv[STAGES][MAX_BLOCKS][2], skip_conv[STAGES];
    struct mi_bn stem_norm, norm[STAGES][MAX_BLOCKS][2], skip_norm[STAGES], feature_norm;
    struct mi_linear embed, fc;
    int blocks;
    double dropout, keep[STAGES][MAX_BLOCKS]; /* keep: factors of quickres' skips */
};

static int small_width(const struct mi_values *v, int size) {
    (void)size;
    return (int)mi_values_int(v, "feature");
}

static struct small *small_new(struct mi_builder *b, const struct mi_values *v, int width) {
    struct small *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    net->blocks = (int)mi_values_int(v, "blocks");
    net->dropout = mi_values_real(v, "dropout");
    mi_builder_push(b, "stem");
    mi_conv_new(b, &net->stem, "0", 3, width, 3, MT_CONV(2, 1), false, MI_INIT_KAIMING_FAN_OUT);
    mi_bn_new(b, &net->stem_norm, "1", width, 1e-5, 0.1);
    mi_builder_pop(b);
    return net;
}

static void head_build(struct mi_builder *b, struct small *net, const struct mi_values *v, int flat, int classes) {
    int width = small_width(v, 0);
    mi_linear_new(b, &net->embed, "embed", flat, width, false, MI_INIT_DEFAULT); /* the BatchNorm has the bias */
    mi_bn_new(b, &net->feature_norm, "bn", width, 1e-5, 0.1);
    mi_linear_new(b, &net->fc, "fc_layer", width, classes, true, MI_INIT_DEFAULT);
}

static enum mi_status head_run(struct mi_model *m, mt_tensor *map /* [N,C,h,w], ours unless a tap */, bool tapped,
                               struct mi_forward_out *out) {
    const struct small *net = m->net;
    mt_tensor *flat = mt_flatten(map, 1); /* [N,C*h*w] */
    if (!tapped) mt_drop(map);
    if (m->train && net->dropout > 0.0) mt_set(&flat, mt_dropout(flat, net->dropout, m->rng));
    mt_set(&flat, mi_linear(&net->embed, flat));
    out->features = mi_bn(&net->feature_norm, flat, m->train); /* [N,feature] */
    mt_drop(flat);
    if (tapped) out->tap[STAGES] = out->features;
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

/* ---- quick: plain ------------------------------------------------------------------------------------------ */

static void *quick_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    int width = (int)mi_values_int(v, "width"), in = width;
    struct small *net = small_new(b, v, width);
    if (!net) return NULL;
    for (int s = 0; s < STAGES; s++) {
        char name[16];
        snprintf(name, sizeof name, "stage%d", s + 1);
        mi_builder_push(b, name);
        int out = width << (s + 1);
        for (int i = 0; i < net->blocks; i++) { /* numbered as conv, BatchNorm, ReLU in one nn.Sequential */
            snprintf(name, sizeof name, "%d", 3 * i);
            mi_conv_new(b, &net->conv[s][i][0], name, in, out, 3, MT_CONV(1, 1), false, MI_INIT_KAIMING_FAN_OUT);
            snprintf(name, sizeof name, "%d", 3 * i + 1);
            mi_bn_new(b, &net->norm[s][i][0], name, out, 1e-5, 0.1);
            in = out;
        }
        mi_builder_pop(b);
    }
    int side = size / 32;
    head_build(b, net, v, in * side * side, classes);
    return net;
}

static enum mi_status quick_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                    struct mi_forward_out *out) {
    const struct small *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, true); /* [N,w,S/2,S/2] */
    mt_set(&h, mt_max_pool2d(h, 2, 2, 0, false));                              /* [N,w,S/4,S/4] */
    bool tapped = false;
    for (int s = 0; s < STAGES; s++) {
        for (int i = 0; i < net->blocks; i++) {
            mt_tensor *next = mi_conv_bn(&net->conv[s][i][0], &net->norm[s][i][0], h, m->train, true);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        mt_set(&h, mt_max_pool2d(h, 2, 2, 0, false)); /* [N,w*2^(s+1),S/2^(s+3),...] */
        tapped = want_taps;
        if (want_taps) out->tap[s] = h;
    }
    return head_run(m, h, tapped, out);
}

/* ---- quickres: residual ------------------------------------------------------------------------------------ */

static void *quickres_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    int width = (int)mi_values_int(v, "width"), in = width;
    struct small *net = small_new(b, v, width);
    if (!net) return NULL;
    for (int s = 0; s < STAGES; s++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", s + 1);
        mi_builder_push(b, name);
        int out = width << (s + 1);
        for (int i = 0; i < net->blocks; i++) {
            snprintf(name, sizeof name, "%d", i);
            mi_builder_push(b, name);
            mi_conv_new(b, &net->conv[s][i][0], "conv1", in, out, 3, MT_CONV(i == 0 ? 2 : 1, 1), false,
                        MI_INIT_KAIMING_FAN_OUT);
            mi_bn_new(b, &net->norm[s][i][0], "bn1", out, 1e-5, 0.1);
            mi_conv_new(b, &net->conv[s][i][1], "conv2", out, out, 3, MT_CONV(1, 1), false, MI_INIT_KAIMING_FAN_OUT);
            mi_bn_new(b, &net->norm[s][i][1], "bn2", out, 1e-5, 0.1);
            mi_skip_new(b, &net->keep[s][i], MI_SKIP_ADD, s + 1, "block", i == 0 ? "downsample" : NULL);
            if (i == 0) {
                mi_builder_push(b, "downsample");
                mi_conv_new(b, &net->skip_conv[s], "0", in, out, 1, MT_CONV(2, 0), false, MI_INIT_KAIMING_FAN_OUT);
                mi_bn_new(b, &net->skip_norm[s], "1", out, 1e-5, 0.1);
                mi_builder_pop(b);
            }
            mi_builder_pop(b);
            in = out;
        }
        mi_builder_pop(b);
    }
    int side = size / 16;
    head_build(b, net, v, in * side * side, classes);
    return net;
}

static mt_tensor *residual(const struct small *net, int s, int i, mt_tensor *x, bool train) {
    mt_tensor *h = mi_conv_bn(&net->conv[s][i][0], &net->norm[s][i][0], x, train, true);
    mt_set(&h, mi_conv(&net->conv[s][i][1], h));
    mt_tensor *skip = net->keep[s][i] == 0.0 ? MT_NONE
                      : i == 0               ? mi_conv_bn(&net->skip_conv[s], &net->skip_norm[s], x, train, false)
                                             : x;
    mt_set(&h, mi_bn_relu(&net->norm[s][i][1], h, skip, net->keep[s][i], train));
    if (skip != x) mt_drop(skip);
    return h;
}

static enum mi_status quickres_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                       struct mi_forward_out *out) {
    const struct small *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, true); /* [N,w,S/2,S/2] */
    bool tapped = false;
    for (int s = 0; s < STAGES; s++) {
        for (int i = 0; i < net->blocks; i++) {
            mt_tensor *next = residual(net, s, i, h, m->train); /* [N,w*2^(s+1),S/2^(s+2),...] */
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        tapped = want_taps;
        if (want_taps) out->tap[s] = h;
    }
    return head_run(m, h, tapped, out);
}

/* ---- descriptors --------------------------------------------------------------------------------------------- */

#define SETTINGS(width_, feature_)                                                                                     \
    {.name = "width",                                                                                                  \
     .type = MI_INT,                                                                                                   \
     .def = width_,                                                                                                    \
     .min = 8,                                                                                                         \
     .max = 128,                                                                                                       \
     .help = "Channels after the first convolution; each stage doubles them"},                                         \
        {.name = "blocks",                                                                                             \
         .type = MI_INT,                                                                                               \
         .def = "1",                                                                                                   \
         .min = 1,                                                                                                     \
         .max = MAX_BLOCKS,                                                                                            \
         .help = "Convolutions (quick) or residual blocks (quickres) per stage"},                                      \
        {.name = "feature", .type = MI_INT, .def = feature_, .min = 16, .max = 2048, .help = "Width of the feature"},  \
        {.name = "dropout",                                                                                            \
         .type = MI_REAL,                                                                                              \
         .def = "0",                                                                                                   \
         .min = 0,                                                                                                     \
         .max = 0.95,                                                                                                  \
         .help = "Share of the last map set to zero while training"},                                                  \
        MI_SETTING_END

static const struct mi_setting quick_settings[] = {SETTINGS("32", "256")};
static const struct mi_setting quickres_settings[] = {SETTINGS("24", "128")};
static const char *const quick_taps[] = {"stage1", "stage2", "stage3", "feature", NULL};
static const char *const quickres_taps[] = {"layer1", "layer2", "layer3", "feature", NULL};

const struct mi_model_desc mi_model_quick = {
    .info = {.name = "quick",
             .title = "Quick (small plain CNN)",
             .help = "Small VGG-like network that trains in a minute on a laptop: the target of demos and quick checks",
             .paper = "",
             .settings = quick_settings,
             .tags = "target 32..128px 0.7M 15MMAC"},
    .native_size = 64,
    .min_size = 32,
    .max_size = 128,
    .size_step = 32,
    .feature_width_of = small_width,
    .head = "fc_layer",
    .head_norm = "bn",
    .learns_from = "stage3",
    .taps = quick_taps,
    .std = {1, 1, 1},
    .build = quick_build,
    .forward = quick_forward,
    .free = free,
};

const struct mi_model_desc mi_model_quickres = {
    .info = {.name = "quickres",
             .title = "QuickRes (small residual CNN)",
             .help =
                 "Small residual network: the judge of demos and quick checks, of another build than the quick target",
             .paper = "",
             .settings = quickres_settings,
             .tags = "judge 32..128px 1.1M 26MMAC"},
    .native_size = 64,
    .min_size = 32,
    .max_size = 128,
    .size_step = 16,
    .feature_width_of = small_width,
    .head = "fc_layer",
    .head_norm = "bn",
    .learns_from = "layer3",
    .taps = quickres_taps,
    .std = {1, 1, 1},
    .build = quickres_build,
    .forward = quickres_forward,
    .free = free,
};
