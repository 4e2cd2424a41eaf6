/* models/densenet.c - DenseNet-121 and -169 with torchvision's names and shapes.
 *
 * Huang et al. 2017: inside a dense block every layer (BatchNorm, ReLU, 1x1 convolution to 128 channels, BatchNorm,
 * ReLU, 3x3 convolution to 32) sees all maps made before it; its own 32 channels are appended behind them.  Between
 * the four blocks a transition halves channels (1x1 convolution) and resolution (2x2 mean).  A last BatchNorm and ReLU,
 * the mean over the map (the feature) and one linear layer follow; no dropout.
 * A defense may cut what the last block passes on to the first round(k * channels) channels of every map but the newest
 * (Koh et al. 2024, "keep"): the widths that follow from it are set by rewire.
 * The appended map is made anew by every layer, so without gradients at most two of them are alive at a time.
 * Taps are the four blocks' maps before what follows them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    int first; /* channels that enter the last block */
    double keep;
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
        if (k == 3) {
            net->first = width;
            mi_skip_new(b, &net->keep, MI_SKIP_CAT, 4, "block", NULL);
        }
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

/* ---- fewer channels kept ----------------------------------------------------------------------------------------- */

/* Half to even, as Python rounds. */
static int kept(double k, int channels) {
    return (int)rint(k * channels);
}

/* Makes one layer's or the last BatchNorm anew. */
static enum mi_status renew_norm(struct mi_builder *b, struct mi_bn *n, const char *name, int width) {
    static const char *const part[] = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char *full = mi_format("%s%s.%s", b->prefix, name, part[i]);
        enum mi_status st = full ? mi_params_remove(b->ps, full) : MI_E_NOMEM;
        free(full);
        MI_TRY(st);
    }
    mi_bn_new(b, n, name, width, 1e-5, 0.1);
    return MI_OK;
}

static enum mi_status renew_layer(struct mi_builder *b, struct layer *l, int number, int in) {
    char name[24];
    numbered(name, "denselayer", number);
    mi_builder_push(b, name);
    enum mi_status st = renew_norm(b, &l->norm1, "norm1", in);
    char *full = st == MI_OK ? mi_format("%sconv1.weight", b->prefix) : NULL;
    if (st == MI_OK) st = full ? mi_params_remove(b->ps, full) : MI_E_NOMEM;
    free(full);
    if (st == MI_OK) conv_build(b, &l->conv1, "conv1", in, NARROW, 1, MT_CONV(1, 0));
    mi_builder_pop(b);
    return st;
}

static enum mi_status renew_head(struct mi_builder *b, struct mi_model *m, int width) {
    struct densenet *net = m->net;
    if (net->fc.enter || mt_size(net->fc.w, 1) != m->feature_width)
        return mi_fail(MI_E_INPUT,
                       "the classifier of %s has been changed by another defense already: name the one that "
                       "weakens skip connections first",
                       m->desc->info.name);
    MI_TRY(mi_params_remove(b->ps, "classifier.weight"));
    MI_TRY(mi_params_remove(b->ps, "classifier.bias"));
    mi_linear_new(b, &net->fc, "classifier", width, m->classes, true, MI_INIT_DEFAULT);
    mi_init_tensor(net->fc.b, MI_INIT_ZEROS, 0, 0, &b->rng);
    m->feature_width = width;
    return MI_OK;
}

static enum mi_status rewire(struct mi_model *m) {
    struct densenet *net = m->net;
    struct layer *l = net->layer + net->layers[0] + net->layers[1] + net->layers[2];
    int width = kept(net->keep, net->first) + GROWTH;
    struct mi_builder b;
    mi_builder_init(&b, m->params, m->seed);
    mt_scope *scope = mt_scope_begin("rewire");
    mi_builder_push(&b, "features");
    mi_builder_push(&b, "denseblock4");
    enum mi_status st = MI_OK;
    for (int i = 1; i < net->layers[3] && st == MI_OK; i++, width += kept(net->keep, GROWTH))
        st = renew_layer(&b, l + i, i + 1, width);
    mi_builder_pop(&b);
    if (st == MI_OK) st = renew_norm(&b, &net->last_norm, "norm5", width);
    mi_builder_pop(&b);
    if (st == MI_OK) st = renew_head(&b, m, width);
    enum mi_status end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* [N,C,H,W] -> [N,pass+GROWTH,H,W], `pass` channels of x before the new ones; x is left alone. */
static mt_tensor *layer_run(const struct layer *l, mt_tensor *x, int64_t pass, bool train) {
    mt_tensor *h = mi_bn_relu(&l->norm1, x, MT_NONE, 1.0, train);
    mt_set(&h, mi_conv_bn(&l->conv1, &l->norm2, h, train, true)); /* [N,128,H,W] */
    mt_set(&h, mi_conv(&l->conv2, h));                            /* [N,32,H,W] */
    if (pass == 0) return h;
    mt_tensor *old = pass < mt_size(x, 1) ? mt_narrow(x, 1, 0, pass) : x;
    mt_tensor *y = mt_cat(MT_LIST(old, h), 1);
    if (old != x) mt_drop(old);
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
        for (int i = 0; i < net->layers[k]; i++) {
            int64_t newest = i == 0 ? (h ? mt_size(h, 1) : 0) : GROWTH, pass = h ? mt_size(h, 1) : 0;
            if (k == 3) pass += kept(net->keep, (int)newest) - newest;
            mt_set(&h, layer_run(l++, h, pass, m->train));
        }
        if (want_taps) out->tap[k] = h;
        mt_tensor *y = mi_bn_relu(k < 3 ? &net->halve_norm[k] : &net->last_norm, h, MT_NONE, 1.0, m->train);
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

/* The published ImageNet files have "denselayer1.norm.1" where today's code says "denselayer1.norm1". */
static bool old_names(const char *name, char *out, size_t cap) {
    char word[8];
    int layer, part, rest = 0;
    if (sscanf(name, "denselayer%2d.%4[convrm].%1d.%n", &layer, word, &part, &rest) != 3 || rest == 0) return false;
    if ((strcmp(word, "norm") != 0 && strcmp(word, "conv") != 0) || part < 1 || part > 2) return false;
    int len = snprintf(out, cap, "denselayer%d.%s%d.%s", layer, word, part, name + rest);
    return len >= 0 && (size_t)len < cap;
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
        .alias = old_names,                                                                                            \
        .mean = {0.5f, 0.5f, 0.5f},                                                                                    \
        .std = {0.5f, 0.5f, 0.5f},                                                                                     \
        .build = build##depth,                                                                                         \
        .forward = densenet_forward,                                                                                   \
        .rewire = rewire,                                                                                              \
        .free = densenet_free,                                                                                         \
    }

DENSENET(121, "DenseNet-121", 1024, "target 224px 7.0M 2.83GMAC");
DENSENET(169, "DenseNet-169", 1664, "target 224px 12.5M 3.36GMAC");
