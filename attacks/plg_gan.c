/* attacks/plg_gan.c - PLG-MI's conditional GAN (Yuan, Chen, Zhang, Zhang, Yu, AAAI 2023, "Pseudo Label-Guided Model
 * Inversion Attack via Conditional Generative Adversarial Network"), a residual SNGAN with projection.
 *
 * G: linear to 4x4, residual blocks that double the side, each norm scaled and shifted by rows of class tables; tanh.
 * D: residual blocks down to 2x2, sum over positions -> h;  D(x,y) = Linear(h) + <table[y], h>.  Every weight of D is
 * divided by its spectral norm; gradients flow through the weight, not through the estimated singular vectors.
 *
 * The 1x1 shortcuts commute with up- and downsampling (both are linear over positions and keep constants), so they run
 * on the smaller map: same function, a quarter of the work.  Steps at 64 px: 4 -> 64 in four blocks, 64 -> 2 in five;
 * other sizes have a block more or less, the widest stage being 16 times `width` at 64 px. */
#include "attacks/plg_gan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double BN_EPS = 1e-5, BN_MOMENTUM = 0.1, SN_EPS = 1e-12;

const int mi_plg_sizes[] = {32, 64, 128, 0};

static enum mi_status check_size(int size) {
    for (const int *s = mi_plg_sizes; *s; s++)
        if (*s == size) return MI_OK;
    return mi_fail(MI_E_INPUT, "PLG-MI's GAN makes images of 32, 64 or 128 px, not %d", size);
}

/* ---- generator ------------------------------------------------------------------------------------------------ */

static void cbn_new(struct mi_builder *b, struct mi_plg_cbn *n, const char *name, int channels, int classes) {
    mi_builder_push(b, name);
    n->rm = mi_param_new(b, "running_mean", MT_SHAPE(channels), MI_BUFFER);
    n->rv = mi_param_new(b, "running_var", MT_SHAPE(channels), MI_BUFFER);
    n->count = mi_param_new(b, "num_batches_tracked", NULL, 0, MI_BUFFER);
    n->w = mi_param_new(b, "weights.weight", MT_SHAPE(classes, channels), MI_PARAM);
    n->b = mi_param_new(b, "biases.weight", MT_SHAPE(classes, channels), MI_PARAM);
    mi_builder_pop(b);
    bool grad = mt_grad_mode(false);
    if (n->rv) mt_fill_(n->rv, 1);
    if (n->w) mt_fill_(n->w, 1);
    mt_grad_mode(grad);
}

static void g_layers(struct mi_plg_g *g, uint64_t seed) {
    struct mi_builder b;
    mi_builder_init(&b, g->ps, seed);
    int in = g->width << g->blocks;
    char name[16];
    mi_linear_new(&b, &g->l1, "l1", g->z_dim, in * 16, true, MI_INIT_DEFAULT);
    for (int i = 0; i < g->blocks; i++) {
        int out = in / 2;
        snprintf(name, sizeof name, "block%d", i + 2);
        mi_builder_push(&b, name);
        mi_conv_new(&b, &g->up[i].c1, "c1", in, out, 3, MT_CONV(1, 1), true, MI_INIT_DEFAULT);
        mi_conv_new(&b, &g->up[i].c2, "c2", out, out, 3, MT_CONV(1, 1), true, MI_INIT_DEFAULT);
        cbn_new(&b, &g->up[i].b1, "b1", in, g->classes);
        cbn_new(&b, &g->up[i].b2, "b2", out, g->classes);
        mi_conv_new(&b, &g->up[i].sc, "c_sc", in, out, 1, MT_CONV(1, 0), true, MI_INIT_DEFAULT);
        mi_builder_pop(&b);
        in = out;
    }
    snprintf(name, sizeof name, "b%d", g->blocks + 2);
    mi_bn_new(&b, &g->last_bn, name, in, BN_EPS, BN_MOMENTUM);
    snprintf(name, sizeof name, "conv%d", g->blocks + 2);
    mi_conv_new(&b, &g->last, name, in, 3, 1, MT_CONV(1, 0), true, MI_INIT_DEFAULT);
}

enum mi_status mi_plg_g_open(struct mi_plg_g *g, int size, int width, int z_dim, int classes, mt_device dev,
                             mt_dtype precision, uint64_t seed) {
    memset(g, 0, sizeof *g);
    MI_TRY(check_size(size));
    *g = (struct mi_plg_g){.size = size, .width = width, .z_dim = z_dim, .classes = classes, .precision = precision};
    for (int side = size; side > 4; side /= 2) g->blocks++;
    g->ps = mi_params_new(dev, MT_NHWC);
    if (!g->ps) return mi_error_status();
    mt_scope *s = mt_scope_begin("generator");
    g_layers(g, seed);
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) mi_plg_g_close(g);
    return st;
}

void mi_plg_g_close(struct mi_plg_g *g) {
    mi_params_free(g->ps);
    memset(g, 0, sizeof *g);
}

/* ReLU(w[y] * BN(x) + b[y]); the handle of x stays the caller's. */
static mt_tensor *cbn_relu(const struct mi_plg_cbn *n, mt_tensor *x, mt_tensor *y, bool train) {
    if (train && n->count) {
        bool grad = mt_grad_mode(false);
        mt_tensor *one = mt_full(NULL, 0, 1, (mt_spec){MT_I64, mt_device_of(n->count), MT_NCHW});
        mt_add_(n->count, one, 1);
        mt_drop(one);
        mt_grad_mode(grad);
    }
    mt_tensor *h = mt_batch_norm(x, MT_NONE, MT_NONE, n->rm, n->rv, train, BN_MOMENTUM, BN_EPS);
    mt_tensor *w = mt_unsqueeze(mt_unsqueeze(mt_embedding(n->w, y), 2), 3); /* [N,C,1,1] */
    mt_tensor *b = mt_unsqueeze(mt_unsqueeze(mt_embedding(n->b, y), 2), 3);
    mt_set(&h, mt_mul(h, w));
    mt_set(&h, mt_add(h, b));
    return mt_act_(h, MT_RELU, 0);
}

static mt_tensor *twice(mt_tensor *x) {
    return mt_resize2d(x, (int)mt_size(x, 2) * 2, (int)mt_size(x, 3) * 2, MT_BILINEAR, false, false);
}

mt_tensor *mi_plg_g(const struct mi_plg_g *g, mt_tensor *z, mt_tensor *y, bool train) {
    bool half = g->precision == MT_BF16;
    if (half) mt_autocast_begin(g->ps->device, MT_BF16);
    int64_t c = (int64_t)g->width << g->blocks;
    mt_tensor *h = mt_reshape(mi_linear(&g->l1, z), MT_SHAPE(mt_size(z, 0), c, 4, 4)); /* [N,C,4,4] */
    mt_set(&h, mt_contig(h, g->ps->layout));
    for (int i = 0; i < g->blocks; i++) {
        mt_tensor *m = cbn_relu(&g->up[i].b1, h, y, train); /* [N,C,s,s] */
        mt_set(&m, twice(m));
        mt_set(&m, mi_conv(&g->up[i].c1, m)); /* [N,C/2,2s,2s] */
        mt_set(&m, cbn_relu(&g->up[i].b2, m, y, train));
        mt_set(&m, mi_conv(&g->up[i].c2, m));
        mt_set(&h, mi_conv(&g->up[i].sc, h)); /* [N,C/2,s,s] */
        mt_set(&h, twice(h));
        mt_set(&h, mt_add(m, h));
        mt_drop(m);
    }
    mt_set(&h, mi_bn_relu(&g->last_bn, h, MT_NONE, 1.0, train));
    mt_set(&h, mi_conv(&g->last, h)); /* [N,3,size,size] */
    if (half) mt_autocast_end();
    if (half) mt_set(&h, mt_cast(h, MT_F32));
    return mt_act(h, MT_TANH, 0);
}

/* ---- discriminator -------------------------------------------------------------------------------------------- */

/* unit vector from normal numbers. */
static void unit(mt_tensor *t, struct mi_rng r) {
    int n = (int)mt_numel(t);
    float *v = mi_calloc((size_t)(n > 0 ? n : 1), sizeof *v);
    if (!v) {
        mt_raise(MI_E_NOMEM, "no memory for %d numbers", n);
        return;
    }
    double sum = 0;
    mi_rng_fill_normal(&r, v, (size_t)n);
    for (int i = 0; i < n; i++) sum += (double)v[i] * v[i];
    for (int i = 0; i < n; i++) v[i] = (float)(v[i] / sqrt(sum));
    mt_copy_(t, mt_from(v, MT_SHAPE(n), MT_SPEC_F32));
    free(v);
}

/* Names in PyTorch's order: bias, weight_orig, weight_u, weight_v.  k 0: a matrix. */
static void sn_new(struct mi_builder *b, struct mi_plg_sn *n, const char *name, int in, int out, int k, double gain,
                   bool bias) {
    int area = k > 0 ? k * k : 1;
    mi_builder_push(b, name);
    uint64_t key = mi_mix(b->rng.key, mi_hash_text(b->prefix));
    struct mi_rng r = {key, 0}, ru = {mi_mix(key, 1), 0}, rv = {mi_mix(key, 2), 0}, rb = {mi_mix(key, 3), 0};
    if (bias) n->bias = mi_param_new(b, "bias", MT_SHAPE(out), MI_PARAM);
    n->w = k > 0 ? mi_param_new(b, "weight_orig", MT_SHAPE(out, in, k, k), MI_PARAM)
                 : mi_param_new(b, "weight_orig", MT_SHAPE(out, in), MI_PARAM);
    n->u = mi_param_new(b, "weight_u", MT_SHAPE(out), MI_BUFFER);
    n->v = mi_param_new(b, "weight_v", MT_SHAPE((int64_t)in * area), MI_BUFFER);
    mi_builder_pop(b);
    if (mt_failed()) return;
    bool grad = mt_grad_mode(false);
    mi_init_tensor(n->w, MI_INIT_XAVIER, (int64_t)in * area, (int64_t)out * area, &r);
    mt_affine_(n->w, gain, 0);
    if (bias) mi_init_tensor(n->bias, MI_INIT_DEFAULT, (int64_t)in * area, 0, &rb);
    unit(n->u, ru);
    unit(n->v, rv);
    mt_grad_mode(grad);
}

static void d_layers(struct mi_plg_d *d, uint64_t seed) {
    struct mi_builder b;
    mi_builder_init(&b, d->ps, seed);
    const double root2 = sqrt(2);
    int in = 3;
    char name[16];
    for (int i = 0; i < d->blocks; i++) {
        int out = d->width << i, mid = i == 0 ? out : in;
        snprintf(name, sizeof name, "block%d", i + 1);
        mi_builder_push(&b, name);
        sn_new(&b, &d->down[i].c1, "c1", in, mid, 3, root2, true);
        sn_new(&b, &d->down[i].c2, "c2", mid, out, 3, root2, true);
        sn_new(&b, &d->down[i].sc, "c_sc", in, out, 1, 1, true);
        mi_builder_pop(&b);
        in = out;
    }
    snprintf(name, sizeof name, "l%d", d->blocks + 1);
    sn_new(&b, &d->head, name, in, 1, 0, 1, true);
    sn_new(&b, &d->table, "l_y", in, d->classes, 0, 1, false);
}

enum mi_status mi_plg_d_open(struct mi_plg_d *d, int size, int width, int classes, mt_device dev, mt_dtype precision,
                             uint64_t seed) {
    memset(d, 0, sizeof *d);
    MI_TRY(check_size(size));
    *d = (struct mi_plg_d){.size = size, .width = width, .classes = classes, .precision = precision};
    for (int side = size; side > 2; side /= 2) d->blocks++;
    d->ps = mi_params_new(dev, MT_NHWC);
    if (!d->ps) return mi_error_status();
    mt_scope *s = mt_scope_begin("discriminator");
    d_layers(d, seed);
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) mi_plg_d_close(d);
    return st;
}

void mi_plg_d_close(struct mi_plg_d *d) {
    mi_params_free(d->ps);
    memset(d, 0, sizeof *d);
}

/* t <- t / max(|t|, eps), [n,1]. */
static mt_tensor *direction(mt_tensor *t) {
    return mt_div(t, mt_clamp(mt_norm(t, 2, NULL, 0, true), SN_EPS, 1e30));
}

/* One power iteration: v <- W'u, u <- Wv, both of length one; W [out,rest] without a graph. */
static void power_iteration(const struct mi_plg_sn *n, mt_tensor *w) {
    mt_tensor *v = direction(mt_matmul(mt_transpose(w, 0, 1), mt_unsqueeze(n->u, 1))); /* [rest,1] */
    mt_tensor *u = direction(mt_matmul(w, v));                                         /* [out,1] */
    mt_copy_(n->v, mt_squeeze(v, 1));
    mt_copy_(n->u, mt_squeeze(u, 1));
}

/* w / (u' W v) with W [out,rest]; gradient through w in both places. */
static mt_tensor *sn_weight(const struct mi_plg_sn *n, int iterations) {
    int64_t out = mt_size(n->w, 0), rest = mt_numel(n->w) / (out > 0 ? out : 1);
    mt_tensor *w = mt_reshape(n->w, MT_SHAPE(out, rest));
    bool grad = mt_grad_mode(false);
    for (int i = 0; i < iterations; i++) power_iteration(n, mt_detach(w));
    mt_grad_mode(grad);
    /* Copies: the buffers move again before the backward pass of this one is done. */
    mt_tensor *u = mt_clone(n->u), *v = mt_clone(n->v);
    mt_tensor *sigma = mt_sum(mt_mul(u, mt_squeeze(mt_matmul(w, mt_unsqueeze(v, 1)), 1)), NULL, 0, false);
    return mt_div(n->w, sigma);
}

static mt_tensor *sn_conv(const struct mi_plg_sn *n, mt_tensor *w, mt_tensor *x, int pad) {
    mt_convp p = MT_CONV(1, pad);
    return mt_conv2d(x, w, n->bias, &p);
}

static mt_tensor *half_size(mt_tensor *x) {
    return mt_avg_pool2d(x, 2, 2, 0, false, true);
}

/* One block, [N,in,s,s] -> [N,out,s/2,s/2]; w: weights of c1, c2, sc.  The first block takes pixels as they are. */
static mt_tensor *down(const struct mi_plg_d *d, int i, mt_tensor *const w[3], mt_tensor *x) {
    mt_tensor *m = i == 0 ? x : mt_act(x, MT_RELU, 0), *h = sn_conv(&d->down[i].c1, w[0], m, 1); /* [N,mid,s,s] */
    if (m != x) mt_drop(m);
    mt_act_(h, MT_RELU, 0);
    mt_set(&h, sn_conv(&d->down[i].c2, w[1], h, 1)); /* [N,out,s,s] */
    mt_set(&h, half_size(h));
    mt_tensor *s = half_size(x);
    mt_set(&s, sn_conv(&d->down[i].sc, w[2], s, 0)); /* [N,out,s/2,s/2] */
    mt_set(&h, mt_add(h, s));
    mt_drop(s);
    return h;
}

mt_tensor *mi_plg_d(const struct mi_plg_d *d, mt_tensor *x, mt_tensor *y, int iterations) {
    bool half = d->precision == MT_BF16;
    mt_tensor *w[MI_PLG_BLOCKS][3]; /* divided in fp32: a norm in half precision would move every weight */
    for (int i = 0; i < d->blocks; i++) {
        w[i][0] = sn_weight(&d->down[i].c1, iterations);
        w[i][1] = sn_weight(&d->down[i].c2, iterations);
        w[i][2] = sn_weight(&d->down[i].sc, iterations);
    }
    mt_tensor *head = sn_weight(&d->head, iterations), *table = sn_weight(&d->table, iterations);
    if (half) mt_autocast_begin(d->ps->device, MT_BF16);
    mt_tensor *h = mt_contig(x, d->ps->layout);
    for (int i = 0; i < d->blocks; i++) mt_set(&h, down(d, i, w[i], h));
    if (half) mt_autocast_end();
    if (half) mt_set(&h, mt_cast(h, MT_F32));
    mt_set(&h, mt_sum(mt_act_(h, MT_RELU, 0), MT_DIMS(2, 3), false));   /* [N,C] */
    mt_tensor *score = mt_squeeze(mt_linear(h, head, d->head.bias), 1); /* [N] */
    mt_tensor *row = mt_embedding(table, y);                            /* [N,C] */
    return mt_add(score, mt_sum(mt_mul(row, h), MT_DIMS(1), false));
}

/* ---- losses --------------------------------------------------------------------------------------------------- */

mt_tensor *mi_plg_hinge(mt_tensor *on_real, mt_tensor *on_fake) {
    mt_tensor *real = mt_mean(mt_act(mt_affine(on_real, -1, 1), MT_RELU, 0), NULL, 0, false);
    return mt_add(real, mt_mean(mt_act(mt_affine(on_fake, 1, 1), MT_RELU, 0), NULL, 0, false));
}

mt_tensor *mi_plg_margin(mt_tensor *logits, mt_tensor *y) {
    if (!logits || !y) return NULL;
    mt_tensor *own = mt_squeeze(mt_gather(logits, 1, mt_unsqueeze(y, 1)), 1); /* [N] */
    mt_tensor *mine = mt_compare_scalar(mt_one_hot(y, mt_size(logits, 1)), 0, MT_GT);
    mt_tensor *low = mt_full(NULL, 0, -1e30, (mt_spec){MT_F32, mt_device_of(logits), MT_NCHW});
    return mt_sub(mt_amax(mt_where(mine, low, logits), 1, false), own);
}

/* ---- archives ------------------------------------------------------------------------------------------------- */

enum mi_status mi_plg_save(const struct mi_plg_g *g, const struct mi_plg_d *d, mt_archive *a) {
    static const char *const key[] = {"size", "width", "z_dim", "classes", "d_width"};
    const int value[] = {g->size, g->width, g->z_dim, g->classes, d->width};
    MI_TRY(mt_archive_meta_put(a, "prior", "plg"));
    for (int i = 0; i < 5; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", value[i]);
        MI_TRY(mt_archive_meta_put(a, key[i], text));
    }
    MI_TRY(mi_params_save(g->ps, a, "G."));
    return mi_params_save(d->ps, a, "D.");
}

static int number(const mt_archive *a, const char *key, long limit) {
    const char *text = mt_archive_meta(a, key);
    long v = text ? strtol(text, NULL, 10) : -1;
    return v >= 1 && v <= limit ? (int)v : -1;
}

enum mi_status mi_plg_load(struct mi_plg_g *g, mt_archive *a, int size, int classes, mt_device dev,
                           mt_dtype precision) {
    memset(g, 0, sizeof *g);
    int made = number(a, "size", 4096), width = number(a, "width", 1024), z_dim = number(a, "z_dim", 65536);
    int known = number(a, "classes", 1000000);
    if (made < 0 || width < 0 || z_dim < 0 || known < 0)
        return mi_fail(MI_E_INPUT, "the prior file says no usable shape of a conditional generator: it is not a prior "
                                   "of this attack, or it is damaged");
    if (made != size) return mi_fail(MI_E_INPUT, "the prior makes images of %d px, the attack wants %d px", made, size);
    if (known != classes)
        return mi_fail(MI_E_INPUT, "the prior was trained for a target of %d classes, this one has %d", known, classes);
    MI_TRY(mi_plg_g_open(g, size, width, z_dim, classes, dev, precision, 0));
    enum mi_status st = mi_params_load(g->ps, a, "G.");
    if (st == MI_OK)
        mi_params_freeze(g->ps, true);
    else
        mi_plg_g_close(g);
    return st;
}
