/* src/nn/layers.c - layers: a few borrowed handles each, made by a builder, applied by one call.
 *
 * A constructor registers its tensors under the builder's prefix with the names PyTorch gives them and draws the first
 * values from a stream of the tensor's own (seed, full name), so adding a layer does not change its neighbours.
 * Applying a layer never fails by itself: errors are the tensor layer's sticky ones. */
#include <stdlib.h>
#include <string.h>

#include "midre/watch.h"
#include "src/nn/params_priv.h"

static _Thread_local const struct mi_watch *watch;

void mi_watch_layers(const struct mi_watch *w) {
    watch = w;
}

static mt_tensor *told(enum mi_layer_kind kind, const void *layer, mt_tensor *x, mt_tensor *y) {
    if (watch && y) watch->applied(watch->ctx, kind, layer, x, y);
    return y;
}

mt_tensor *mi_param_drawn(struct mi_builder *b, const char *name, const int64_t *shape, int nd, enum mi_role role,
                          enum mi_init how, int64_t fan_in, int64_t fan_out) {
    mt_tensor *t = mi_param_new(b, name, shape, nd, role);
    struct mi_rng own = {mi_mix(mi_mix(b->rng.key, mi_hash_text(b->prefix)), mi_hash_text(name)), 0};
    if (how != MI_INIT_ZEROS) mi_init_tensor(t, how, fan_in, fan_out, &own);
    return t;
}

/* Registers prefix + name + "." + part and fills it. */
static mt_tensor *make(struct mi_builder *b, const char *name, const char *part, const int64_t *shape, int nd,
                       enum mi_role role, enum mi_init how, int64_t fan_in, int64_t fan_out) {
    char local[128];
    size_t a = strlen(name), c = strlen(part);
    if (a + c + 2 > sizeof local) {
        mt_raise(MI_E_INTERNAL, "layer name '%s' is too long", name);
        return NULL;
    }
    memcpy(local, name, a);
    local[a] = '.';
    memcpy(local + a + 1, part, c + 1);
    return mi_param_drawn(b, local, shape, nd, role, how, fan_in, fan_out);
}

/* A bias follows its weight's scheme only in PyTorch's default; every other published scheme starts it at zero. */
static mt_tensor *make_bias(struct mi_builder *b, const char *name, int out, enum mi_init how, int64_t fan_in) {
    return make(b, name, "bias", MT_SHAPE(out), MI_PARAM, how == MI_INIT_DEFAULT ? how : MI_INIT_ZEROS, fan_in, 0);
}

/* Lets the store know where a layer lives; made anew, it stays in its place. */
static void note_layer(struct mi_params *ps, enum mi_layer_kind kind, void *at) {
    for (int i = 0; i < ps->n_layers; i++)
        if (ps->layer[i].at == at) return;
    if (ps->n_layers == ps->cap_layers) {
        int cap = ps->cap_layers ? 2 * ps->cap_layers : 64;
        struct mi_layer *grown = realloc(ps->layer, (size_t)cap * sizeof *grown);
        if (!grown) {
            mt_raise(MI_E_NOMEM, "out of memory for the list of layers");
            return;
        }
        ps->layer = grown;
        ps->cap_layers = cap;
    }
    ps->layer[ps->n_layers++] = (struct mi_layer){.kind = kind, .at = at};
}

void mi_conv_new(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int k, mt_convp p,
                 bool bias, enum mi_init how) {
    mi_conv_rect_new(b, c, name, in, out, k, k, p, bias, how);
}

void mi_conv_rect_new(struct mi_builder *b, struct mi_conv *c, const char *name, int in, int out, int kh, int kw,
                      mt_convp p, bool bias, enum mi_init how) {
    int64_t area = (int64_t)kh * kw, fan_in = in / p.groups * area, fan_out = out * area;
    c->p = p;
    c->w = make(b, name, "weight", MT_SHAPE(out, in / p.groups, kh, kw), MI_PARAM, how, fan_in, fan_out);
    note_layer(b->ps, MI_LAYER_CONV, c);
    c->b = bias ? make_bias(b, name, out, how, fan_in) : MT_NONE;
}

mt_tensor *mi_conv(const struct mi_conv *c, mt_tensor *x) {
    return told(MI_LAYER_CONV, c, x, mt_conv2d(x, c->w, c->b, &c->p));
}

void mi_deconv_new(struct mi_builder *b, struct mi_deconv *c, const char *name, int in, int out, int k, mt_convp p,
                   bool bias) {
    /* PyTorch takes the second dimension of the [in,out,k,k] kernel as "in" when it computes the fan. */
    int64_t fan = out / p.groups * (int64_t)k * k;
    c->p = p;
    c->subpixel = NULL;
    c->w = make(b, name, "weight", MT_SHAPE(in, out / p.groups, k, k), MI_PARAM, MI_INIT_DEFAULT, fan, 0);
    c->b = bias ? make_bias(b, name, out, MI_INIT_DEFAULT, fan) : MT_NONE;
}

void mi_deconv_freeze(struct mi_deconv *c, bool frozen) {
    mt_free(c->subpixel);
    c->subpixel = NULL;
    if (!frozen || !c->w) return;
    const mt_convp *p = &c->p;
    bool fits = mt_size(c->w, 2) == 5 && mt_size(c->w, 3) == 5 && p->stride[0] == 2 && p->stride[1] == 2 &&
                p->pad[0] == 2 && p->pad[1] == 2 && p->outpad[0] == 1 && p->outpad[1] == 1 && p->dil[0] == 1 &&
                p->dil[1] == 1 && p->groups == 1;
    /* Only libtorch 1.x has a slow transposed convolution; later versions and GPUs are as fast without the detour. */
    bool slow = mt_device_of(c->w).type == 0 && atoi(mt_version()) < 2;
    if (!fits || !slow) return;
    bool grad = mt_grad_mode(false);
    mt_tensor *kernel = mt_subpixel_weight(c->w);
    if (kernel) c->subpixel = mt_keep(kernel);
    mt_grad_mode(grad);
}

mt_tensor *mi_deconv(const struct mi_deconv *c, mt_tensor *x) {
    if (c->subpixel) return mt_subpixel_conv(x, c->subpixel, c->b);
    return mt_deconv2d(x, c->w, c->b, &c->p);
}

void mi_linear_new(struct mi_builder *b, struct mi_linear *l, const char *name, int in, int out, bool bias,
                   enum mi_init how) {
    *l = (struct mi_linear){.w = make(b, name, "weight", MT_SHAPE(out, in), MI_PARAM, how, in, out)};
    note_layer(b->ps, MI_LAYER_LINEAR, l);
    l->b = bias ? make_bias(b, name, out, how, in) : MT_NONE;
}

void mi_linear_1x1_new(struct mi_builder *b, struct mi_linear *l, const char *name, int in, int out, bool bias,
                       enum mi_init how) {
    *l = (struct mi_linear){.w = make(b, name, "weight", MT_SHAPE(out, in, 1, 1), MI_PARAM, how, in, out)};
    note_layer(b->ps, MI_LAYER_LINEAR, l);
    l->b = bias ? make_bias(b, name, out, how, in) : MT_NONE;
}

mt_tensor *mi_linear(const struct mi_linear *l, mt_tensor *x) {
    if (l->enter) x = l->enter(l->ctx, x);
    if (!l->w || mt_ndim(l->w) == 2) return told(MI_LAYER_LINEAR, l, x, mt_linear(x, l->w, l->b));
    mt_tensor *w = mt_flatten(l->w, 1); /* [out,in] */
    mt_tensor *y = mt_linear(x, w, l->b);
    mt_drop(w);
    return told(MI_LAYER_LINEAR, l, x, y);
}

void mi_bn_new(struct mi_builder *b, struct mi_bn *n, const char *name, int channels, double eps, double momentum) {
    *n = (struct mi_bn){.eps = eps, .momentum = momentum};
    note_layer(b->ps, MI_LAYER_BN, n);
    n->g = make(b, name, "weight", MT_SHAPE(channels), MI_PARAM, MI_INIT_ONES, 0, 0);
    n->b = make(b, name, "bias", MT_SHAPE(channels), MI_PARAM, MI_INIT_ZEROS, 0, 0);
    n->rm = make(b, name, "running_mean", MT_SHAPE(channels), MI_BUFFER, MI_INIT_ZEROS, 0, 0);
    n->rv = make(b, name, "running_var", MT_SHAPE(channels), MI_BUFFER, MI_INIT_ONES, 0, 0);
    n->count = make(b, name, "num_batches_tracked", NULL, 0, MI_BUFFER, MI_INIT_ZEROS, 0, 0);
}

/* The counter has no say in the arithmetic; it is kept so that our files equal PyTorch's. */
static void count_batch(mt_tensor *count) {
    if (!count) return;
    if (mt_device_of(count).type == 0) {
        int64_t *host = mt_data(count);
        if (host) ++*host;
        return;
    }
    mt_tensor *one = mt_full(NULL, 0, 1.0, (mt_spec){MT_I64, mt_device_of(count), MT_NCHW});
    mt_add_(count, one, 1.0);
    mt_drop(one);
}

static bool by_groups(const struct mi_bn *n) { return n->groups > 0 && !n->fixed; }

/* relu: through a ReLU, after the shortcut if there is one. */
static mt_tensor *batch_norm(const struct mi_bn *n, mt_tensor *x, mt_tensor *skip, bool train, bool relu) {
    if (n->fixed) train = false;
    if (train) count_batch(n->count);
    if (relu) return mt_batch_norm_relu(x, skip, n->g, n->b, n->rm, n->rv, train, n->momentum, n->eps);
    return mt_batch_norm(x, n->g, n->b, n->rm, n->rv, train, n->momentum, n->eps);
}

mt_tensor *mi_bn(const struct mi_bn *n, mt_tensor *x, bool train) {
    if (n->off) return mt_narrow(x, 0, 0, mt_size(x, 0)); /* a handle of its own: callers drop x */
    if (by_groups(n)) return told(MI_LAYER_BN, n, x, mt_group_norm(x, n->groups, n->g, n->b, n->eps));
    return told(MI_LAYER_BN, n, x, batch_norm(n, x, MT_NONE, train, false));
}

mt_tensor *mi_bn_relu(const struct mi_bn *n, mt_tensor *x, mt_tensor *skip, double keep, bool train) {
    bool add = skip != MT_NONE, whole = !add || keep == 1.0;
    if (whole && !n->off && !by_groups(n) && !watch) /* who watches wants BatchNorm's own result */
        return batch_norm(n, x, skip, train, true);
    mt_tensor *y = n->off ? mt_clone(x) : mi_bn(n, x, train);
    /* In place is safe: no norm's backward needs its output. */
    if (add) mt_add_(y, skip, keep);
    return mt_act_(y, MT_RELU, 0.0);
}

mt_tensor *mi_conv_bn(const struct mi_conv *c, const struct mi_bn *n, mt_tensor *x, bool train, bool relu) {
    mt_tensor *h = mi_conv(c, x);
    mt_tensor *y = relu ? mi_bn_relu(n, h, MT_NONE, 1.0, train) : mi_bn(n, h, train);
    mt_drop(h);
    return y;
}

void mi_inorm_new(struct mi_builder *b, struct mi_inorm *n, const char *name, int channels) {
    n->g = make(b, name, "weight", MT_SHAPE(channels), MI_PARAM, MI_INIT_ONES, 0, 0);
    n->b = make(b, name, "bias", MT_SHAPE(channels), MI_PARAM, MI_INIT_ZEROS, 0, 0);
}

mt_tensor *mi_inorm(const struct mi_inorm *n, mt_tensor *x) {
    return mt_instance_norm(x, n->g, n->b, 1e-5);
}

void mi_lnorm_new(struct mi_builder *b, struct mi_lnorm *n, const char *name, int width) {
    n->g = make(b, name, "weight", MT_SHAPE(width), MI_PARAM, MI_INIT_ONES, 0, 0);
    n->b = make(b, name, "bias", MT_SHAPE(width), MI_PARAM, MI_INIT_ZEROS, 0, 0);
}

mt_tensor *mi_lnorm(const struct mi_lnorm *n, mt_tensor *x) {
    return mt_layer_norm(x, 1, n->g, n->b, 1e-5);
}

void mi_prelu_new(struct mi_builder *b, struct mi_prelu *p, const char *name, int channels) {
    p->w = make(b, name, "weight", MT_SHAPE(channels), MI_PARAM, MI_INIT_ZEROS, 0, 0);
    note_layer(b->ps, MI_LAYER_PRELU, p);
    if (!p->w) return;
    bool grad = mt_grad_mode(false);
    mt_fill_(p->w, 0.25);
    mt_grad_mode(grad);
}

mt_tensor *mi_prelu(const struct mi_prelu *p, mt_tensor *x) {
    return told(MI_LAYER_PRELU, p, x, mt_prelu(x, p->w));
}
