/* models/maxvit.c - MaxViT-T with torchvision's names, shapes and arithmetic.
 *
 * Tu et al. 2022: eleven layers in four stages; each is an inverted-bottleneck convolution with squeeze-excitation
 * (MBConv), attention within 7x7 windows, then attention over a 7x7 grid whose tokens lie far apart.  BatchNorm has eps
 * 1e-3 and momentum 0.99; a bias for every pair of tokens comes from a table of relative positions.  torchvision scales
 * the scores by width^-0.5 where others take the head's 32^-0.5, which its weights depend on.
 * The papers replace the last Linear, so it has a bias; head_bias = no is the published ImageNet form (582 tensors
 * instead of 583).  Every stage must divide by 7: 224 px or twice that.
 * Taps: the stem, then the end of each stage. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define STAGES 4
#define LAYERS 11
#define SIDE   7 /* of a window and of the grid */
#define TOKENS (SIDE * SIDE)
#define HEAD   32 /* width of an attention head */

static const int stage_layers[STAGES] = {2, 2, 5, 2};

struct attention {
    struct mi_lnorm norm, mlp_norm;
    mt_tensor *table, *index; /* [169,heads], i64 [49,49] */
    struct mi_linear qkv, merge, up, down;
    double keep, mlp_keep; /* factors of the skips */
    bool grid;
};

struct layer {
    struct mi_conv proj, wide, depth, narrow;
    struct mi_bn pre, wide_norm, depth_norm;
    struct mi_se se;
    struct attention attention[2];
    double drop; /* stochastic depth of its five residual branches */
    double keep; /* factor of the convolution's skip */
    bool halves;
};

struct maxvit {
    struct mi_conv stem[2];
    struct mi_bn stem_norm;
    struct layer layer[LAYERS];
    struct mi_lnorm head_norm;
    struct mi_linear head, fc;
};

/* ---- building ---------------------------------------------------------------------------------------------- */

/* Row of the table for a pair of tokens: their offset, shifted to 0..12 in each direction. */
static void index_build(struct mi_builder *b, struct attention *a) {
    int64_t index[TOKENS * TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        for (int j = 0; j < TOKENS; j++) {
            int rows = i / SIDE - j / SIDE + SIDE - 1, cols = i % SIDE - j % SIDE + SIDE - 1;
            index[i * TOKENS + j] = (int64_t)rows * (2 * SIDE - 1) + cols;
        }
    }
    a->index = mi_index_new(b, "relative_position_index", index, MT_SHAPE(TOKENS, TOKENS));
}

static void attention_build(struct mi_builder *b, struct attention *a, int width, int stage, bool grid) {
    const int span = (2 * SIDE - 1) * (2 * SIDE - 1);
    a->grid = grid;
    mi_skip_new(b, &a->keep, MI_SKIP_ADD, stage, grid ? "grid_attention" : "window_attention", NULL);
    mi_skip_new(b, &a->mlp_keep, MI_SKIP_ADD, stage, grid ? "grid_mlp" : "window_mlp", NULL);
    mi_builder_push(b, grid ? "grid_attention" : "window_attention");
    mi_builder_push(b, "attn_layer");
    mi_lnorm_new(b, &a->norm, "0", width);
    mi_builder_push(b, "1");
    a->table = mi_param_drawn(b, "relative_position_bias_table", MT_SHAPE(span, width / HEAD), MI_PARAM,
                              MI_INIT_NORMAL_002, 0, 0);
    index_build(b, a);
    mi_linear_new(b, &a->qkv, "to_qkv", width, 3 * width, true, MI_INIT_NORMAL_002);
    mi_linear_new(b, &a->merge, "merge", width, width, true, MI_INIT_NORMAL_002);
    mi_builder_pop(b);
    mi_builder_pop(b);
    mi_builder_push(b, "mlp_layer");
    mi_lnorm_new(b, &a->mlp_norm, "0", width);
    mi_linear_new(b, &a->up, "1", width, 4 * width, true, MI_INIT_NORMAL_002);
    mi_linear_new(b, &a->down, "3", 4 * width, width, true, MI_INIT_NORMAL_002);
    mi_builder_pop(b);
    mi_builder_pop(b);
}

static void conv_norm_build(struct mi_builder *b, struct mi_conv *c, struct mi_bn *n, const char *name, int in, int out,
                            int k, mt_convp p) {
    mi_builder_push(b, name);
    mi_conv_new(b, c, "0", in, out, k, p, false, MI_INIT_NORMAL_002);
    mi_bn_new(b, n, "1", out, 1e-3, 0.99);
    mi_builder_pop(b);
}

static void layer_build(struct mi_builder *b, struct layer *l, int in, int out, int stage, bool halves) {
    int wide = 4 * out;
    mt_convp depthwise = MT_CONV(halves ? 2 : 1, 1);
    depthwise.groups = wide;
    l->halves = halves;
    mi_builder_push(b, "MBconv");
    mi_skip_new(b, &l->keep, MI_SKIP_ADD, stage, "mbconv", halves ? "proj" : NULL);
    if (halves) {
        mi_builder_push(b, "proj"); /* 0 is the pool */
        mi_conv_new(b, &l->proj, "1", in, out, 1, MT_CONV(1, 0), true, MI_INIT_NORMAL_002);
        mi_builder_pop(b);
    }
    mi_builder_push(b, "layers");
    mi_bn_new(b, &l->pre, "pre_norm", in, 1e-3, 0.99);
    conv_norm_build(b, &l->wide, &l->wide_norm, "conv_a", in, wide, 1, MT_CONV(1, 0));
    conv_norm_build(b, &l->depth, &l->depth_norm, "conv_b", wide, wide, 3, depthwise);
    mi_se_new(b, &l->se, "squeeze_excitation", wide, out / 4, MI_INIT_NORMAL_002);
    mi_conv_new(b, &l->narrow, "conv_c", wide, out, 1, MT_CONV(1, 0), true, MI_INIT_NORMAL_002);
    mi_builder_pop(b);
    mi_builder_pop(b);
    attention_build(b, &l->attention[0], out, stage, false);
    attention_build(b, &l->attention[1], out, stage, true);
}

static void stages_build(struct mi_builder *b, struct maxvit *net, double drop_path) {
    int in = 64, k = 0;
    mi_builder_push(b, "blocks");
    for (int s = 0; s < STAGES; s++) {
        char name[16];
        snprintf(name, sizeof name, "%d", s);
        mi_builder_push(b, name);
        mi_builder_push(b, "layers");
        for (int i = 0; i < stage_layers[s]; i++, k++) {
            snprintf(name, sizeof name, "%d", i);
            mi_builder_push(b, name);
            mi_builder_push(b, "layers");
            net->layer[k].drop = drop_path * k / (LAYERS - 1); /* grows evenly from 0 */
            layer_build(b, &net->layer[k], in, 64 << s, s + 1, i == 0);
            mi_builder_pop(b);
            mi_builder_pop(b);
            in = 64 << s;
        }
        mi_builder_pop(b);
        mi_builder_pop(b);
    }
    mi_builder_pop(b);
}

static void *maxvit_build(struct mi_builder *b, const struct mi_values *v, int classes, int size) {
    (void)size;
    struct maxvit *net = mi_calloc(1, sizeof *net);
    if (!net) return NULL;
    bool bias = mi_values_bool(v, "head_bias");
    mi_builder_push(b, "stem");
    conv_norm_build(b, &net->stem[0], &net->stem_norm, "0", 3, 64, 3, MT_CONV(2, 1));
    mi_builder_push(b, "1");
    mi_conv_new(b, &net->stem[1], "0", 64, 64, 3, MT_CONV(1, 1), true, MI_INIT_NORMAL_002);
    mi_builder_pop(b);
    mi_builder_pop(b);
    stages_build(b, net, mi_values_real(v, "drop_path"));
    mi_builder_push(b, "classifier"); /* 0 and 1 pool and flatten, 4 is tanh */
    mi_lnorm_new(b, &net->head_norm, "2", 512);
    mi_linear_new(b, &net->head, "3", 512, 512, true, MI_INIT_NORMAL_002);
    mi_linear_new(b, &net->fc, "5", 512, classes, bias, bias ? MI_INIT_DEFAULT : MI_INIT_NORMAL_002);
    mi_builder_pop(b);
    return net;
}

/* ---- running ----------------------------------------------------------------------------------------------- */

/* x [N,C,H,W] is left alone. */
static mt_tensor *mbconv(const struct layer *l, mt_tensor *x, double drop, struct mi_model *m) {
    mt_tensor *h = mi_bn(&l->pre, x, m->train);
    mt_set(&h, mi_conv_bn_act(&l->wide, &l->wide_norm, h, m->train, MT_GELU));
    mt_set(&h, mi_conv_bn_act(&l->depth, &l->depth_norm, h, m->train, MT_GELU)); /* [N,4D,H/s,W/s] */
    mt_set(&h, mi_se(&l->se, h));
    mt_set(&h, mi_conv(&l->narrow, h)); /* [N,D,H/s,W/s] */
    h = mi_drop_path(h, drop, m->rng);
    if (l->keep == 0.0) return h;
    mt_tensor *skip = x;
    if (l->halves) {
        mt_tensor *half = mt_avg_pool2d(x, 3, 2, 1, false, true);
        skip = mi_conv(&l->proj, half);
        mt_drop(half);
    }
    mt_add_(h, skip, l->keep);
    if (skip != x) mt_drop(skip);
    return h;
}

/* [N,D,H,W] -> tokens [N,H*W,D], 49 of a window (neighbours) or of a grid (H/7 apart) after one another. */
static mt_tensor *split(mt_tensor *x, bool grid) {
    int64_t n = mt_size(x, 0), d = mt_size(x, 1), side = mt_size(x, 2), parts = side / SIDE;
    int64_t inner = grid ? parts : SIDE, outer = grid ? SIDE : parts;
    mt_tensor *v = mt_reshape(x, MT_SHAPE(n, d, outer, inner, outer, inner));
    mt_set(&v, grid ? mt_permute(v, MT_DIMS(0, 3, 5, 2, 4, 1)) : mt_permute(v, MT_DIMS(0, 2, 4, 3, 5, 1)));
    mt_set(&v, mt_reshape(v, MT_SHAPE(n, side * side, d)));
    return v;
}

/* Back to [N,D,H,W]. */
static mt_tensor *join(mt_tensor *t, int64_t side, bool grid) {
    int64_t n = mt_size(t, 0), d = mt_size(t, 2), parts = side / SIDE;
    mt_tensor *v = mt_reshape(t, MT_SHAPE(n, parts, parts, SIDE, SIDE, d));
    mt_set(&v, grid ? mt_permute(v, MT_DIMS(0, 3, 1, 4, 2, 5)) : mt_permute(v, MT_DIMS(0, 1, 3, 2, 4, 5)));
    mt_set(&v, mt_reshape(v, MT_SHAPE(n, side, side, d)));
    mt_set(&v, mt_permute(v, MT_DIMS(0, 3, 1, 2)));
    return v;
}

/* The bias of every pair of tokens, [heads,49,49]. */
static mt_tensor *position_bias(const struct attention *a) {
    mt_tensor *index = mt_flatten(a->index, 0);
    mt_tensor *v = mt_index_select(a->table, 0, index); /* [2401,heads] */
    mt_drop(index);
    mt_set(&v, mt_reshape(v, MT_SHAPE(TOKENS, TOKENS, mt_size(a->table, 1))));
    mt_set(&v, mt_permute(v, MT_DIMS(2, 0, 1)));
    return v;
}

/* Softmax attention among the 49 tokens of each group; t and the result are [N,H*W,D]. */
static mt_tensor *attend(const struct attention *a, mt_tensor *t) {
    int64_t n = mt_size(t, 0), tokens = mt_size(t, 1), d = mt_size(t, 2), heads = d / HEAD,
            groups = n * tokens / TOKENS;
    mt_tensor *qkv = mi_linear(&a->qkv, t), *part[3]; /* q, k, v: [groups,heads,49,32] */
    mt_set(&qkv, mt_reshape(qkv, MT_SHAPE(groups, TOKENS, 3, heads, HEAD)));
    mt_set(&qkv, mt_permute(qkv, MT_DIMS(2, 0, 3, 1, 4)));
    for (int i = 0; i < 3; i++) part[i] = mt_select(qkv, 0, i);
    mt_drop(qkv);
    mt_set(&part[1], mt_affine(part[1], 1.0 / sqrt((double)d), 0.0));
    mt_set(&part[1], mt_transpose(part[1], 2, 3));
    mt_tensor *s = mt_matmul(part[0], part[1]), *bias = position_bias(a); /* [groups,heads,49,49] */
    mt_add_(s, bias, 1.0);
    mt_drop(bias);
    mt_set(&s, mt_softmax(s, 3));
    mt_set(&s, mt_matmul(s, part[2])); /* [groups,heads,49,32] */
    for (int i = 0; i < 3; i++) mt_drop(part[i]);
    mt_set(&s, mt_permute(s, MT_DIMS(0, 2, 1, 3)));
    mt_set(&s, mt_reshape(s, MT_SHAPE(n, tokens, d)));
    mt_set(&s, mi_linear(&a->merge, s));
    return s;
}

/* *t becomes keep times itself plus the branch. */
static void residual(mt_tensor **t, mt_tensor *branch, double keep, double drop, struct mi_model *m) {
    branch = mi_drop_path(branch, drop, m->rng);
    if (keep == 0.0) {
        mt_set(t, branch);
        return;
    }
    if (keep != 1.0) mt_set(t, mt_affine(*t, keep, 0.0));
    mt_set(t, mt_add(*t, branch));
    mt_drop(branch);
}

/* x [N,D,H,W] is left alone. */
static mt_tensor *attention_run(const struct attention *a, mt_tensor *x, double drop, struct mi_model *m) {
    mt_tensor *t = split(x, a->grid);
    mt_tensor *h = mi_lnorm(&a->norm, t);
    mt_set(&h, attend(a, h));
    residual(&t, h, a->keep, drop, m);
    h = mi_lnorm(&a->mlp_norm, t);
    mt_set(&h, mi_linear(&a->up, h)); /* [N,H*W,4D] */
    h = mi_act(h, MT_GELU);
    mt_set(&h, mi_linear(&a->down, h));
    residual(&t, h, a->mlp_keep, drop, m);
    mt_tensor *y = join(t, mt_size(x, 2), a->grid);
    mt_drop(t);
    return y;
}

static mt_tensor *layer_run(const struct layer *l, mt_tensor *x, struct mi_model *m) {
    double drop = m->train ? l->drop : 0.0;
    mt_tensor *h = mbconv(l, x, drop, m);
    mt_set(&h, attention_run(&l->attention[0], h, drop, m));
    mt_set(&h, attention_run(&l->attention[1], h, drop, m));
    return h;
}

static enum mi_status maxvit_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                     struct mi_forward_out *out) {
    const struct maxvit *net = m->net;
    mt_tensor *h = mi_conv_bn_act(&net->stem[0], &net->stem_norm, x, m->train, MT_GELU); /* [N,64,S/2,S/2] */
    mt_set(&h, mi_conv(&net->stem[1], h));
    if (want_taps) out->tap[0] = h;
    const struct layer *l = net->layer;
    bool tapped = want_taps;
    for (int s = 0; s < STAGES; s++) {
        for (int i = 0; i < stage_layers[s]; i++) {
            mt_tensor *next = layer_run(l++, h, m); /* [N,64*2^s,S/2^(s+2),...] */
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        tapped = want_taps;
        if (want_taps) out->tap[1 + s] = h;
    }
    mt_tensor *v = mt_adaptive_avg_pool2d(h, 1, 1); /* [N,512,1,1] */
    if (!tapped) mt_drop(h);
    mt_set(&v, mt_flatten(v, 1));
    mt_set(&v, mi_lnorm(&net->head_norm, v));
    mt_set(&v, mi_linear(&net->head, v));
    out->features = mt_act_(v, MT_TANH, 0.0); /* [N,512]; its backward needs the result */
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

/* ---- descriptor -------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    {.name = "drop_path",
     .type = MI_REAL,
     .def = "0.2",
     .min = 0,
     .max = 0.95,
     .help = "Stochastic depth of the last layer while training; earlier ones grow evenly from 0"},
    {.name = "head_bias",
     .type = MI_BOOL,
     .def = "yes",
     .help = "The last Linear has a bias, as a replaced head does; the published ImageNet file has none"},
    MI_SETTING_END,
};
static const char *const taps[] = {"stem", "stage1", "stage2", "stage3", "stage4", NULL};

const struct mi_model_desc mi_model_maxvit_t = {
    .info = {.name = "maxvit_t",
             .title = "MaxViT-T",
             .help = "Convolution and attention over windows and grids in turn: a target of the 224 px papers",
             .paper = "Tu et al., ECCV 2022",
             .settings = settings,
             .tags = "target 224px 30.4M 5.56GMAC"},
    .native_size = 224,
    .min_size = 224,
    .max_size = 448,
    .size_step = 224,
    .feature_width = 512,
    .head = "classifier.5",
    .learns_from = "blocks.3",
    .taps = taps,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
    .build = maxvit_build,
    .forward = maxvit_forward,
    .free = free,
};
