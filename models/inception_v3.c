/* models/inception_v3.c - Inception-V3 with torchvision's names and shapes, and the form the FID metric uses.
 *
 * Szegedy et al. 2016.  The judge of the high-resolution papers, at 299 px.  An auxiliary head on the last 17 px map
 * adds its cross entropy while training; it keeps the 1000 outputs of ImageNet whatever the class count, because the
 * published judges replace the last layer only (`aux_head` for files that differ).
 *
 * transform_input maps pixels scaled by 0.5/0.5 to ImageNet's mean and deviation first.  It is not in the file: the
 * published judges were trained with it and attacked without, so it is a setting.
 *
 * inception_fid is another network of the same layers (pytorch-fid): padding is not counted in the means, the last
 * module takes a maximum, there is no auxiliary head.  FID compares its 2048 features; its file has 1008 classes.
 * Taps: the map before Mixed_5b, then the last of each group of modules. */
#include <stdlib.h>

#include "models/inception_parts.h"
#include "models/models.h"

#define STEM     5
#define MODULES  11
#define IMAGENET 1000
#define AUX_FROM 768 /* channels of Mixed_6e */

#define IN    MI_BR_INPUT
#define LAST  MI_BR_LAST
#define LAST2 MI_BR_LAST2
#define POOL  MI_BR_POOL

static const struct mi_branch_unit module_a[] = {
    {"branch1x1", IN, 64, 1, 1, 1, true},         {"branch5x5_1", IN, 48, 1, 1, 1, false},
    {"branch5x5_2", LAST, 64, 5, 5, 1, true},     {"branch3x3dbl_1", IN, 64, 1, 1, 1, false},
    {"branch3x3dbl_2", LAST, 96, 3, 3, 1, false}, {"branch3x3dbl_3", LAST, 96, 3, 3, 1, true},
    {"branch_pool", POOL, 0, 1, 1, 1, true},      {.name = NULL}};
static const struct mi_branch_unit module_b[] = {{"branch3x3", IN, 384, 3, 3, 2, true},
                                                 {"branch3x3dbl_1", IN, 64, 1, 1, 1, false},
                                                 {"branch3x3dbl_2", LAST, 96, 3, 3, 1, false},
                                                 {"branch3x3dbl_3", LAST, 96, 3, 3, 2, true},
                                                 {.name = NULL}};
static const struct mi_branch_unit module_c[] = {{"branch1x1", IN, 192, 1, 1, 1, true},
                                                 {"branch7x7_1", IN, 0, 1, 1, 1, false},
                                                 {"branch7x7_2", LAST, 0, 1, 7, 1, false},
                                                 {"branch7x7_3", LAST, 192, 7, 1, 1, true},
                                                 {"branch7x7dbl_1", IN, 0, 1, 1, 1, false},
                                                 {"branch7x7dbl_2", LAST, 0, 7, 1, 1, false},
                                                 {"branch7x7dbl_3", LAST, 0, 1, 7, 1, false},
                                                 {"branch7x7dbl_4", LAST, 0, 7, 1, 1, false},
                                                 {"branch7x7dbl_5", LAST, 192, 1, 7, 1, true},
                                                 {"branch_pool", POOL, 192, 1, 1, 1, true},
                                                 {.name = NULL}};
static const struct mi_branch_unit module_d[] = {{"branch3x3_1", IN, 192, 1, 1, 1, false},
                                                 {"branch3x3_2", LAST, 320, 3, 3, 2, true},
                                                 {"branch7x7x3_1", IN, 192, 1, 1, 1, false},
                                                 {"branch7x7x3_2", LAST, 192, 1, 7, 1, false},
                                                 {"branch7x7x3_3", LAST, 192, 7, 1, 1, false},
                                                 {"branch7x7x3_4", LAST, 192, 3, 3, 2, true},
                                                 {.name = NULL}};
static const struct mi_branch_unit module_e[] = {
    {"branch1x1", IN, 320, 1, 1, 1, true},         {"branch3x3_1", IN, 384, 1, 1, 1, false},
    {"branch3x3_2a", LAST, 384, 1, 3, 1, true},    {"branch3x3_2b", LAST2, 384, 3, 1, 1, true},
    {"branch3x3dbl_1", IN, 448, 1, 1, 1, false},   {"branch3x3dbl_2", LAST, 384, 3, 3, 1, false},
    {"branch3x3dbl_3a", LAST, 384, 1, 3, 1, true}, {"branch3x3dbl_3b", LAST2, 384, 3, 1, 1, true},
    {"branch_pool", POOL, 192, 1, 1, 1, true},     {.name = NULL}};

static const struct {
    const char *name;
    int out, k, stride, pad;
} stem[STEM] = {{"Conv2d_1a_3x3", 32, 3, 2, 0},
                {"Conv2d_2a_3x3", 32, 3, 1, 0},
                {"Conv2d_2b_3x3", 64, 3, 1, 1},
                {"Conv2d_3b_1x1", 80, 1, 1, 0},
                {"Conv2d_4a_3x3", 192, 3, 1, 0}};

static const struct {
    const char *name;
    const struct mi_branch_unit *plan;
    int width;
    enum mi_branch_pool pool, fid_pool;
    int tap; /* its output is this tap, 0 = none */
} module[MODULES] = {
    {"Mixed_5b", module_a, 32, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_5c", module_a, 64, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_5d", module_a, 64, MI_BR_AVG, MI_BR_AVG_INSIDE, 1},
    {"Mixed_6a", module_b, 0, MI_BR_HALVE, MI_BR_HALVE, 0},
    {"Mixed_6b", module_c, 128, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_6c", module_c, 160, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_6d", module_c, 160, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_6e", module_c, 192, MI_BR_AVG, MI_BR_AVG_INSIDE, 2},
    {"Mixed_7a", module_d, 0, MI_BR_HALVE, MI_BR_HALVE, 0},
    {"Mixed_7b", module_e, 0, MI_BR_AVG, MI_BR_AVG_INSIDE, 0},
    {"Mixed_7c", module_e, 0, MI_BR_AVG, MI_BR_MAX, 3},
};

struct inception {
    struct mi_unit stem[STEM], aux_conv[2];
    struct mi_branches mix[MODULES];
    struct mi_linear aux_fc, fc;
    int aux_classes;
    double dropout;
    bool transform;
};

static void aux_build(struct mi_builder *b, struct inception *net) {
    mi_builder_push(b, "AuxLogits");
    mi_unit_new(b, &net->aux_conv[0], "conv0", AUX_FROM, 128, 1, 1, 1, 0, 0, MI_INIT_NORMAL_01);
    mi_unit_new(b, &net->aux_conv[1], "conv1", 128, AUX_FROM, 5, 5, 1, 0, 0, MI_INIT_NORMAL_01);
    mi_linear_new(b, &net->aux_fc, "fc", AUX_FROM, net->aux_classes, true, MI_INIT_DEFAULT);
    struct mi_rng r = {mi_mix(mi_mix(b->rng.key, mi_hash_text(b->prefix)), mi_hash_text("fc.weight.small")), 0};
    mi_init_tensor(net->aux_fc.w, MI_INIT_NORMAL_0001, AUX_FROM, net->aux_classes, &r); /* the bias stays default */
    mi_builder_pop(b);
}

static struct inception *trunk_build(struct mi_builder *b, int aux_classes, bool fid) {
    struct inception *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    net->aux_classes = aux_classes;
    int in = 3;
    for (int i = 0; i < STEM; i++) {
        mi_unit_new(b, &net->stem[i], stem[i].name, in, stem[i].out, stem[i].k, stem[i].k, stem[i].stride, stem[i].pad,
                    stem[i].pad, MI_INIT_NORMAL_01);
        in = stem[i].out;
    }
    for (int i = 0; i < MODULES; i++) {
        if (module[i].plan == module_d && aux_classes > 0) aux_build(b, net); /* its keys come after Mixed_6e's */
        mi_builder_push(b, module[i].name);
        mi_branches_new(b, &net->mix[i], module[i].plan, fid ? module[i].fid_pool : module[i].pool, in, module[i].width,
                        MI_INIT_NORMAL_01);
        mi_builder_pop(b);
        in = net->mix[i].out;
    }
    return net;
}

static void *v3_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    const int outputs[] = {IMAGENET, classes, 0};
    (void)size;
    struct inception *net = trunk_build(b, outputs[mi_values_choice(v, "aux_head")], false);
    if (!net) return NULL;
    net->dropout = mi_values_real(v, "dropout");
    net->transform = mi_values_bool(v, "transform_input");
    mi_linear_new(b, &net->fc, "fc", 2048, classes, true, MI_INIT_DEFAULT); /* as a replaced head starts */
    return net;
}

static void *fid_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    (void)v, (void)size;
    struct inception *net = trunk_build(b, 0, true);
    if (net) mi_linear_new(b, &net->fc, "fc", 2048, classes, true, MI_INIT_DEFAULT);
    return net;
}

/* From (x - 0.5)/0.5 to ImageNet's mean and deviation, channel by channel; [N,3,S,S]. */
static mt_tensor *transformed(mt_tensor *x) {
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    mt_tensor *channel[3];
    for (int c = 0; c < 3; c++) {
        mt_tensor *one = mt_narrow(x, 1, c, 1); /* [N,1,S,S] */
        channel[c] = mt_affine(one, std[c] / 0.5, (mean[c] - 0.5) / 0.5);
        mt_drop(one);
    }
    mt_tensor *all = mt_cat(channel, 3, 1), *y = mt_contig(all, mt_layout(x));
    for (int c = 0; c < 3; c++) mt_drop(channel[c]);
    mt_drop(all);
    return y;
}

static enum mi_status aux_run(const struct inception *net, mt_tensor *h /* [N,768,17,17] at 299 px */, int classes,
                              mt_tensor **logits) {
    if (net->aux_classes < classes)
        return mi_fail(MI_E_INPUT,
                       "the auxiliary head of inception_v3 has %d outputs for %d classes: set aux_head = classes",
                       net->aux_classes, classes);
    if (h && mt_size(h, 2) < 17)
        return mi_fail(MI_E_INPUT, "the auxiliary head of inception_v3 trains from 299 px on: set aux_head = none");
    mt_tensor *a = mt_avg_pool2d(h, 5, 3, 0, false, true); /* [N,768,5,5] */
    mt_set(&a, mi_unit(&net->aux_conv[0], a, true));       /* [N,128,5,5] */
    mt_set(&a, mi_unit(&net->aux_conv[1], a, true));       /* [N,768,1,1] */
    mt_set(&a, mt_adaptive_avg_pool2d(a, 1, 1));
    mt_set(&a, mt_flatten(a, 1)); /* [N,768] */
    *logits = mi_linear(&net->aux_fc, a);
    mt_drop(a);
    return MI_OK;
}

static enum mi_status inception_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                        struct mi_forward_out *out) {
    const struct inception *net = m->net;
    struct mi_map h = {x, false};
    if (net->transform) mi_map_next(&h, transformed(x));
    for (int i = 0; i < STEM; i++) {
        mi_map_next(&h, mi_unit(&net->stem[i], h.t, m->train));
        if (i == 2 || i == 4) mi_map_next(&h, mt_max_pool2d(h.t, 3, 2, 0, false)); /* [N,64,73,73], [N,192,35,35] */
    }
    if (want_taps) mi_map_tap(&h, &out->tap[0]);
    for (int i = 0; i < MODULES; i++) {
        if (module[i].plan == module_d && m->train && net->aux_classes > 0)
            MI_TRY(aux_run(net, h.t, m->classes, &out->aux_logits));
        mi_map_next(&h, mi_branches(&net->mix[i], h.t, m->train));
        if (want_taps && module[i].tap) mi_map_tap(&h, &out->tap[module[i].tap]);
    }
    mt_tensor *pooled = mt_adaptive_avg_pool2d(h.t, 1, 1); /* [N,2048,1,1] */
    if (h.ours) mt_drop(h.t);
    out->features = mt_flatten(pooled, 1); /* [N,2048] */
    mt_drop(pooled);
    if (m->train && net->dropout > 0.0) mt_set(&out->features, mt_dropout(out->features, net->dropout, m->rng));
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const struct mi_setting settings[] = {
    {.name = "dropout",
     .type = MI_REAL,
     .def = "0.5",
     .min = 0,
     .max = 0.95,
     .help = "Share of the pooled features set to zero while training"},
    {.name = "transform_input",
     .type = MI_BOOL,
     .def = "yes",
     .help = "Maps the input to ImageNet's mean and deviation first; published judges were trained with it, the code "
             "that attacks them leaves it off"},
    {.name = "aux_head",
     .type = MI_CHOICE,
     .def = "imagenet",
     .choices = "imagenet|classes|none",
     .help = "Outputs of the auxiliary head used in training: the 1000 of ImageNet as in published judges, the class "
             "count, or no such head"},
    MI_SETTING_END,
};
static const char *const taps[] = {"stem", "Mixed_5d", "Mixed_6e", "Mixed_7c", NULL};

const struct mi_model_desc mi_model_inception_v3 = {
    .info = {.name = "inception_v3",
             .title = "Inception-V3",
             .help = "The judge of the 224 px papers, at 299 px, with the auxiliary head of its training",
             .paper = "Szegedy et al., CVPR 2016; used as in Struppek et al. (PPA), ICML 2022",
             .settings = settings,
             .tags = "judge 299px 25.1M 5.71GMAC"},
    .native_size = 299,
    .min_size = 75,
    .max_size = 512,
    .size_step = 1,
    .feature_width = 2048,
    .head = "fc",
    .learns_from = "Mixed_7a,AuxLogits",
    .taps = taps,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .build = v3_build,
    .forward = inception_forward,
    .free = free,
};

const struct mi_model_desc mi_model_inception_fid = {
    .info = {.name = "inception_fid",
             .title = "Inception-V3 of FID",
             .help = "The form of Inception-V3 whose features FID compares; its published file has 1008 classes",
             .paper = "Heusel et al., NeurIPS 2017; layers and names of pytorch-fid",
             .tags = "metric 299px 21.8M 5.71GMAC"},
    .native_size = 299,
    .min_size = 75,
    .max_size = 512,
    .size_step = 1,
    .feature_width = 2048,
    .head = "fc",
    .taps = taps,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .build = fid_build,
    .forward = inception_forward,
    .free = free,
};
