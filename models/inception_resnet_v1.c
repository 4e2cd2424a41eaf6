/* models/inception_resnet_v1.c - Inception-ResNet-V1 for faces, names and shapes of facenet-pytorch.
 *
 * Szegedy et al. 2017 in the form of David Sandberg's FaceNet: Inception modules whose joined branches pass a 1x1
 * convolution, are scaled down (0.17, 0.10, 0.20) and added to their input.  At 160 px the stem leaves 256 x 17 x 17,
 * the two reductions 896 x 8 x 8 and 1792 x 3 x 3.  The papers call it Inception-V1: a VGGFace2 target and judge.
 * The feature is the 512-vector after the last BatchNorm, not normalised; delta_face divides it by its length.
 * Input as the network was trained: 0..255, minus 127.5, over 128; delta_face feeds it (x - 0.5)/0.5 instead.
 * Taps: the stem, then the end of each of the three groups of residual modules. */
#include <stdio.h>
#include <stdlib.h>

#include "models/inception_parts.h"
#include "models/models.h"

#define STEM   6
#define GROUPS 3
#define BLOCKS 21 /* 5 + 10 + 5 + block8 */

#define IN   MI_BR_INPUT
#define LAST MI_BR_LAST

static const struct mi_branch_unit block35[] = {{"branch0", IN, 32, 1, 1, 1, true},
                                                {"branch1.0", IN, 32, 1, 1, 1, false},
                                                {"branch1.1", LAST, 32, 3, 3, 1, true},
                                                {"branch2.0", IN, 32, 1, 1, 1, false},
                                                {"branch2.1", LAST, 32, 3, 3, 1, false},
                                                {"branch2.2", LAST, 32, 3, 3, 1, true},
                                                {.name = NULL}};
static const struct mi_branch_unit block17[] = {{"branch0", IN, 128, 1, 1, 1, true},
                                                {"branch1.0", IN, 128, 1, 1, 1, false},
                                                {"branch1.1", LAST, 128, 1, 7, 1, false},
                                                {"branch1.2", LAST, 128, 7, 1, 1, true},
                                                {.name = NULL}};
static const struct mi_branch_unit block8[] = {{"branch0", IN, 192, 1, 1, 1, true},
                                               {"branch1.0", IN, 192, 1, 1, 1, false},
                                               {"branch1.1", LAST, 192, 1, 3, 1, false},
                                               {"branch1.2", LAST, 192, 3, 1, 1, true},
                                               {.name = NULL}};
static const struct mi_branch_unit mixed_6a[] = {{"branch0", IN, 384, 3, 3, 2, true},
                                                 {"branch1.0", IN, 192, 1, 1, 1, false},
                                                 {"branch1.1", LAST, 192, 3, 3, 1, false},
                                                 {"branch1.2", LAST, 256, 3, 3, 2, true},
                                                 {.name = NULL}};
static const struct mi_branch_unit mixed_7a[] = {
    {"branch0.0", IN, 256, 1, 1, 1, false},  {"branch0.1", LAST, 384, 3, 3, 2, true},
    {"branch1.0", IN, 256, 1, 1, 1, false},  {"branch1.1", LAST, 256, 3, 3, 2, true},
    {"branch2.0", IN, 256, 1, 1, 1, false},  {"branch2.1", LAST, 256, 3, 3, 1, false},
    {"branch2.2", LAST, 256, 3, 3, 2, true}, {.name = NULL}};

static const struct {
    const char *name;
    int out, k, stride, pad;
} stem[STEM] = {{"conv2d_1a", 32, 3, 2, 0}, {"conv2d_2a", 32, 3, 1, 0},  {"conv2d_2b", 64, 3, 1, 1},
                {"conv2d_3b", 80, 1, 1, 0}, {"conv2d_4a", 192, 3, 1, 0}, {"conv2d_4b", 256, 3, 2, 0}};

static const struct {
    const char *name, *reduction; /* the module that halves the map after the group */
    const struct mi_branch_unit *plan, *halve;
    int blocks, width;
    double scale;
} group[GROUPS] = {{"repeat_1", "mixed_6a", block35, mixed_6a, 5, 256, 0.17},
                   {"repeat_2", "mixed_7a", block17, mixed_7a, 10, 896, 0.10},
                   {"repeat_3", NULL, block8, NULL, 5, 1792, 0.20}};

struct block {
    struct mi_branches mix;
    struct mi_conv up;
    double scale;
    bool relu;
};

struct face {
    struct mi_unit stem[STEM];
    struct block block[BLOCKS];
    struct mi_branches halve[GROUPS - 1];
    struct mi_linear last_linear, fc;
    struct mi_bn last_bn;
    double dropout;
};

static void block_build(struct mi_builder *b, struct block *k, const struct mi_branch_unit *plan, int width,
                        double scale, bool relu) {
    k->scale = scale;
    k->relu = relu;
    mi_branches_new(b, &k->mix, plan, MI_BR_NO_POOL, width, 0, MI_INIT_DEFAULT);
    mi_conv_new(b, &k->up, "conv2d", k->mix.out, width, 1, MT_CONV(1, 0), true, MI_INIT_DEFAULT);
}

static void groups_build(struct mi_builder *b, struct face *net) {
    struct block *k = net->block;
    for (int g = 0; g < GROUPS; g++) {
        mi_builder_push(b, group[g].name);
        for (int i = 0; i < group[g].blocks; i++) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            mi_builder_push(b, name);
            block_build(b, k++, group[g].plan, group[g].width, group[g].scale, true);
            mi_builder_pop(b);
        }
        mi_builder_pop(b);
        if (!group[g].halve) continue;
        mi_builder_push(b, group[g].reduction);
        mi_branches_new(b, &net->halve[g], group[g].halve, MI_BR_HALVE, group[g].width, 0, MI_INIT_DEFAULT);
        mi_builder_pop(b);
    }
    mi_builder_push(b, "block8");
    block_build(b, k, block8, group[GROUPS - 1].width, 1.0, false);
    mi_builder_pop(b);
}

static void *face_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    (void)size;
    struct face *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    net->dropout = mi_values_real(v, "dropout");
    int in = 3;
    for (int i = 0; i < STEM; i++) {
        mi_unit_new(b, &net->stem[i], stem[i].name, in, stem[i].out, stem[i].k, stem[i].k, stem[i].stride, stem[i].pad,
                    stem[i].pad, MI_INIT_DEFAULT);
        in = stem[i].out;
    }
    groups_build(b, net);
    mi_linear_new(b, &net->last_linear, "last_linear", group[GROUPS - 1].width, 512, false, MI_INIT_DEFAULT);
    mi_bn_new(b, &net->last_bn, "last_bn", 512, 1e-3, 0.1);
    mi_linear_new(b, &net->fc, "logits", 512, classes, true, MI_INIT_DEFAULT);
    return net;
}

/* x [N,C,H,W] is left alone. */
static mt_tensor *block_run(const struct block *k, mt_tensor *x, bool train) {
    mt_tensor *h = mi_branches(&k->mix, x, train);
    mt_set(&h, mi_conv(&k->up, h));
    if (k->scale != 1.0) h = mt_affine_(h, k->scale, 0.0); /* a convolution's backward does not need its output */
    h = mt_add_(h, x, 1.0);
    return k->relu ? mt_act_(h, MT_RELU, 0.0) : h;
}

static enum mi_status face_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                   struct mi_forward_out *out) {
    const struct face *net = m->net;
    struct mi_map h = {x, false};
    for (int i = 0; i < STEM; i++) {
        mi_map_next(&h, mi_unit(&net->stem[i], h.t, m->train));
        if (i == 2) mi_map_next(&h, mt_max_pool2d(h.t, 3, 2, 0, false)); /* [N,64,38,38] */
    }
    if (want_taps) mi_map_tap(&h, &out->tap[0]); /* [N,256,17,17] */
    const struct block *k = net->block;
    for (int g = 0; g < GROUPS; g++) {
        for (int i = 0; i < group[g].blocks; i++) mi_map_next(&h, block_run(k++, h.t, m->train));
        if (g == GROUPS - 1) mi_map_next(&h, block_run(k, h.t, m->train)); /* block8 */
        if (want_taps) mi_map_tap(&h, &out->tap[1 + g]);                   /* [N,256,17,17] [N,896,8,8] [N,1792,3,3] */
        if (group[g].halve) mi_map_next(&h, mi_branches(&net->halve[g], h.t, m->train));
    }
    mt_tensor *v = mt_adaptive_avg_pool2d(h.t, 1, 1); /* [N,1792,1,1] */
    if (h.ours) mt_drop(h.t);
    mt_set(&v, mt_flatten(v, 1)); /* [N,1792] */
    if (m->train && net->dropout > 0.0) mt_set(&v, mt_dropout(v, net->dropout, m->rng));
    mt_set(&v, mi_linear(&net->last_linear, v)); /* [N,512] */
    out->features = mi_bn(&net->last_bn, v, m->train);
    mt_drop(v);
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const struct mi_setting settings[] = {
    {.name = "dropout",
     .type = MI_REAL,
     .def = "0.6",
     .min = 0,
     .max = 0.95,
     .help = "Share of the pooled map set to zero while training"},
    MI_SETTING_END,
};
/* The names of the model-inversion toolbox (its spelling), which keeps the trunk in a module of its own. */
static bool toolbox_names(const char *name, char *out, size_t cap) {
    static const char *const pair[][2] = {{"model.", ""},
                                          {"adative_layer.1.", "last_linear."},
                                          {"adative_layer.2.", "last_bn."},
                                          {"classifier.", "logits."},
                                          {NULL, NULL}};
    return mi_alias_begins(pair, name, out, cap);
}

static const char *const taps[] = {"stem", "repeat_1", "repeat_2", "block8", NULL};

const struct mi_model_desc mi_model_inception_resnet_v1 = {
    .info = {.name = "inception_resnet_v1",
             .title = "Inception-ResNet-V1",
             .help =
                 "FaceNet's network at 160 px, called Inception-V1 in the papers: a target and judge on VGGFace2, and "
                 "what delta_face measures with",
             .paper = "Szegedy et al., AAAI 2017; Schroff et al. (FaceNet), CVPR 2015",
             .settings = settings,
             .tags = "target judge 160px 23.5M 1.42GMAC"},
    .native_size = 160,
    .min_size = 75,
    .max_size = 512,
    .size_step = 1,
    .feature_width = 512,
    .head = "logits",
    .learns_from = "mixed_7a",
    .alias = toolbox_names,
    .taps = taps,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {128.0f / 255.0f, 128.0f / 255.0f, 128.0f / 255.0f},
    .build = face_build,
    .forward = face_forward,
    .free = free,
};
