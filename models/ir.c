/* models/ir.c - the IR face-recognition networks: IR-152 and the two IR-50 forms (FaceNet64, FaceNet112).
 *
 * The backbone is face.evoLVe's improved residual network (Deng et al. 2019 use the same unit): BatchNorm before the
 * first convolution, PReLU inside, nothing after the sum; the first unit of every stage halves the map, so S px end as
 * 512 x S/16 x S/16.  An embedding block (BatchNorm, dropout, Linear to 512, BatchNorm1d) gives the feature, which is
 * not normalised, and a linear layer the logits.  Names and shapes are those of the KedMI family: FaceNet112 keeps
 * its embedding inside the backbone and before the body, the others outside.
 * facenet112 is the judge of the 64 px papers.  Taps are the ends of the four stages. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"

#define EMBED 512

struct unit {
    struct mi_bn norm_in, norm_out, skip_norm;
    struct mi_conv conv1, conv2, skip_conv;
    struct mi_prelu slope;
    int stride;
    bool projects;
    double keep; /* factor of the skip */
};

struct ir {
    struct mi_conv stem;
    struct mi_bn stem_norm, map_norm, feature_norm;
    struct mi_prelu stem_slope;
    struct unit *unit;
    const int *units; /* of the four stages */
    double dropout;
    struct mi_linear embed, fc;
};

static const int ir50[4] = {3, 4, 14, 3}, ir152[4] = {3, 8, 36, 3};

static void unit_build(struct mi_builder *b, struct unit *u, int in, int out, int stride) {
    u->stride = stride;
    u->projects = in != out;
    if (u->projects) {
        mi_builder_push(b, "shortcut_layer");
        mi_conv_new(b, &u->skip_conv, "0", in, out, 1, MT_CONV(stride, 0), false, MI_INIT_XAVIER);
        mi_bn_new(b, &u->skip_norm, "1", out, 1e-5, 0.1);
        mi_builder_pop(b);
    }
    mi_builder_push(b, "res_layer");
    mi_bn_new(b, &u->norm_in, "0", in, 1e-5, 0.1);
    mi_conv_new(b, &u->conv1, "1", in, out, 3, MT_CONV(1, 1), false, MI_INIT_XAVIER);
    mi_prelu_new(b, &u->slope, "2", out);
    mi_conv_new(b, &u->conv2, "3", out, out, 3, MT_CONV(stride, 1), false, MI_INIT_XAVIER);
    mi_bn_new(b, &u->norm_out, "4", out, 1e-5, 0.1);
    mi_builder_pop(b);
}

static void embed_build(struct mi_builder *b, struct ir *net, int size, enum mi_init how) {
    int side = size / 16;
    mi_builder_push(b, "output_layer"); /* 1 is the dropout, 2 the flattening */
    mi_bn_new(b, &net->map_norm, "0", 512, 1e-5, 0.1);
    mi_linear_new(b, &net->embed, "3", 512 * side * side, EMBED, true, how);
    mi_bn_new(b, &net->feature_norm, "4", EMBED, 1e-5, 0.1);
    mi_builder_pop(b);
}

static void body_build(struct mi_builder *b, struct ir *net) {
    mi_builder_push(b, "body");
    int in = 64;
    for (int s = 0, k = 0; s < 4; s++) {
        for (int i = 0; i < net->units[s]; i++, k++) {
            char name[16];
            snprintf(name, sizeof name, "%d", k);
            mi_builder_push(b, name);
            mi_skip_new(b, &net->unit[k].keep, MI_SKIP_ADD, s + 1, "block", in != 64 << s ? "shortcut_layer" : NULL);
            unit_build(b, &net->unit[k], in, 64 << s, i == 0 ? 2 : 1);
            mi_builder_pop(b);
            in = 64 << s;
        }
    }
    mi_builder_pop(b);
}

static void ir_free(void *p) {
    struct ir *net = p;
    if (net) free(net->unit);
    free(net);
}

static void *ir_build(struct mi_builder *b, const struct mi_values *v, int classes, int size, const int units[4],
                      bool embed_inside) {
    struct ir *net = mi_calloc(1, sizeof *net);
    int total = units[0] + units[1] + units[2] + units[3];
    if (net) net->unit = mi_calloc((unsigned long)total, sizeof *net->unit);
    if (!net || !net->unit) {
        ir_free(net);
        return NULL;
    }
    net->units = units;
    net->dropout = mi_values_real(v, "dropout");
    mi_builder_push(b, "feature");
    mi_builder_push(b, "input_layer");
    mi_conv_new(b, &net->stem, "0", 3, 64, 3, MT_CONV(1, 1), false, MI_INIT_XAVIER);
    mi_bn_new(b, &net->stem_norm, "1", 64, 1e-5, 0.1);
    mi_prelu_new(b, &net->stem_slope, "2", 64);
    mi_builder_pop(b);
    if (embed_inside) embed_build(b, net, size, MI_INIT_XAVIER);
    body_build(b, net);
    mi_builder_pop(b);
    if (!embed_inside) embed_build(b, net, size, MI_INIT_DEFAULT);
    mi_linear_new(b, &net->fc, "fc_layer", EMBED, classes, true, MI_INIT_DEFAULT);
    return net;
}

static mt_tensor *unit_run(const struct unit *u, mt_tensor *x /* [N,a,H,W] */, bool train) {
    mt_tensor *h = mi_bn(&u->norm_in, x, train);
    mt_set(&h, mi_conv(&u->conv1, h));
    mt_set(&h, mi_prelu(&u->slope, h));
    mt_set(&h, mi_conv(&u->conv2, h));
    mt_set(&h, mi_bn(&u->norm_out, h, train)); /* [N,b,H/s,W/s] */
    if (u->keep == 0.0) return h;
    mt_tensor *skip = x;
    if (u->projects)
        skip = mi_conv_bn(&u->skip_conv, &u->skip_norm, x, train, false);
    else if (u->stride != 1)
        skip = mt_max_pool2d(x, 1, u->stride, 0, false); /* every s-th pixel */
    mt_add_(h, skip, u->keep);
    if (skip != x) mt_drop(skip);
    return h;
}

static enum mi_status ir_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                 struct mi_forward_out *out) {
    const struct ir *net = m->net;
    mt_tensor *h = mi_conv_bn(&net->stem, &net->stem_norm, x, m->train, false);
    mt_set(&h, mi_prelu(&net->stem_slope, h)); /* [N,64,S,S] */
    bool tapped = false;
    for (int s = 0, k = 0; s < 4; s++) {
        for (int i = 0; i < net->units[s]; i++) {
            mt_tensor *next = unit_run(&net->unit[k++], h, m->train);
            if (!tapped) mt_drop(h);
            tapped = false;
            h = next;
        }
        if (want_taps) {
            out->tap[s] = h;
            tapped = true;
        }
    }
    mt_tensor *e = mi_bn(&net->map_norm, h, m->train); /* [N,512,S/16,S/16] */
    if (!tapped) mt_drop(h);
    if (m->train && net->dropout > 0.0) mt_set(&e, mt_dropout(e, net->dropout, m->rng));
    mt_tensor *flat = mt_flatten(e, 1);
    mt_drop(e);
    mt_tensor *embedded = mi_linear(&net->embed, flat);
    mt_drop(flat);
    out->features = mi_bn(&net->feature_norm, embedded, m->train);
    mt_drop(embedded);
    out->logits = mi_linear(&net->fc, out->features);
    return MI_OK;
}

static const struct mi_setting settings[] = {
    {.name = "dropout",
     .type = MI_REAL,
     .def = "0.5",
     .min = 0,
     .max = 0.95,
     .help = "Share of the last map set to zero while training"},
    MI_SETTING_END,
};
/* One public form of the code has the softmax behind the last layer inside of it. */
static bool with_softmax(const char *name, char *out, size_t cap) {
    static const char *const pair[][2] = {{"fc_layer.0.", "fc_layer."}, {NULL, NULL}};
    return mi_alias_begins(pair, name, out, cap);
}

static const char *const taps[] = {"stage1", "stage2", "stage3", "stage4", NULL};

#define IR(id, depth, inside, text, words, facts, px, learns)                                                          \
    static void *build_##id(struct mi_builder *b, const struct mi_values *v, int classes, int size) {                  \
        return ir_build(b, v, classes, size, depth, inside);                                                           \
    }                                                                                                                  \
    const struct mi_model_desc mi_model_##id = {                                                                       \
        .info = {.name = #id,                                                                                          \
                 .title = text,                                                                                        \
                 .help = words,                                                                                        \
                 .paper = "face.evoLVe (Zhao et al.); used as in Chen et al. (KedMI), ICCV 2021",                      \
                 .settings = settings,                                                                                 \
                 .tags = facts},                                                                                       \
        .native_size = px,                                                                                             \
        .min_size = 32,                                                                                                \
        .max_size = 224,                                                                                               \
        .size_step = 16,                                                                                               \
        .feature_width = EMBED,                                                                                        \
        .head = "fc_layer",                                                                                            \
        .learns_from = learns,                                                                                         \
        .init_file_prefix = "",                                                                                        \
        .init_own_prefix = "feature.",                                                                                 \
        .alias = with_softmax,                                                                                         \
        .taps = taps,                                                                                                  \
        .std = {1, 1, 1},                                                                                              \
        .build = build_##id,                                                                                           \
        .forward = ir_forward,                                                                                         \
        .free = ir_free,                                                                                               \
    }

IR(ir152, ir152, false, "IR-152", "Deep face-recognition network, a target of the 64 px papers. Sees pixels in [0,1]",
   "target 64px 62.1M 4.02GMAC", 64, "feature.body.47");
IR(facenet64, ir50, false, "FaceNet64 (IR-50)",
   "IR-50 face-recognition network, a target of the 64 px papers. Sees pixels in [0,1]", "target 64px 34.9M 2.06GMAC",
   64, "feature.body.6");
IR(facenet112, ir50, true, "FaceNet112 (IR-50)",
   "IR-50 face-recognition network at 112 px, the judge of the 64 px papers. Sees pixels in [0,1]",
   "judge 112px 43.6M 6.30GMAC", 112, "feature.body.6,feature.output_layer");
