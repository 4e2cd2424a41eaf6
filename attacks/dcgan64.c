/* attacks/dcgan64.c - generator and critic of the 64 px attacks (Zhang et al. 2020, "The Secret Revealer", after the
 * DCGAN of Radford et al. 2016), at any of 32, 64 and 128 px.
 *
 * Generator: a linear layer makes a 4x4 map with width*2^(stages-1) channels; each stage doubles the side with a 5x5
 * transposed convolution and halves the channels, batch norm and ReLU behind each but the last, which ends in a
 * sigmoid.  Critic: the mirror image, 5x5 convolutions of stride 2 with instance norm (not on the first) and leaky
 * ReLU 0.2, then a 4x4 convolution to one number, no sigmoid.  64 px has four stages; the published 32 px form has
 * three; 128 px goes on the same way.
 *
 * The structs own their parameter stores; layers borrow from them.  Images leave in float32 whatever the precision:
 * a bf16 sigmoid would round pixels more coarsely than 8-bit images do. */
#include "attacks/dcgan64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mt_convp up_p = {{2, 2}, {2, 2}, {1, 1}, {1, 1}, 1}; /* 5x5: doubles the side exactly */

static int stages_of(int size) {
    int n = 0;
    for (int side = 4; side < size; side *= 2) n++;
    return n;
}

const int mi_dcgan_sizes[] = {32, 64, 128, 0};

enum mi_status mi_dcgan_check_size(int size) {
    for (const int *s = mi_dcgan_sizes; *s; s++)
        if (*s == size) return MI_OK;
    return mi_fail(MI_E_INPUT, "this attack's generator makes images of 32, 64 or 128 px, not %d; "
                               "set attack.size to one of them", size);
}

/* ---- generator ------------------------------------------------------------------------------------------------ */

static void g_layers(struct mi_dcgan_g *g, uint64_t seed) {
    struct mi_builder b;
    mi_builder_init(&b, g->ps, seed);
    int ch = g->width << (g->stages - 1); /* channels at 4x4 */
    mi_builder_push(&b, "l1");
    mi_linear_new(&b, &g->l1, "0", g->z_dim, ch * 16, false, MI_INIT_DEFAULT);
    mi_bn_new(&b, &g->bn1, "1", ch * 16, 1e-5, 0.1);
    mi_builder_pop(&b);
    mi_builder_push(&b, "l2_5");
    for (int i = 0; i < g->stages; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (i == g->stages - 1) { /* the last stage is not wrapped in a block of its own */
            mi_deconv_new(&b, &g->up[i], name, ch, 3, 5, up_p, true);
            break;
        }
        mi_builder_push(&b, name);
        mi_deconv_new(&b, &g->up[i], "0", ch, ch / 2, 5, up_p, false);
        mi_bn_new(&b, &g->bn[i], "1", ch / 2, 1e-5, 0.1);
        mi_builder_pop(&b);
        ch /= 2;
    }
    mi_builder_pop(&b);
}

enum mi_status mi_dcgan_g_open(struct mi_dcgan_g *g, int size, int width, int z_dim, mt_device dev, mt_dtype precision,
                               uint64_t seed) {
    memset(g, 0, sizeof *g);
    MI_TRY(mi_dcgan_check_size(size));
    g->stages = stages_of(size);
    g->size = size;
    g->width = width;
    g->z_dim = z_dim;
    g->precision = precision;
    g->ps = mi_params_new(dev, MT_NHWC);
    if (!g->ps) return mi_error_status();
    mt_scope *s = mt_scope_begin("generator");
    g_layers(g, seed);
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) mi_dcgan_g_close(g);
    return st;
}

void mi_dcgan_g_close(struct mi_dcgan_g *g) {
    for (int i = 0; g->ps && i < g->stages; i++)
        if (g->up[i].w) mi_deconv_freeze(&g->up[i], false);
    mi_params_free(g->ps);
    memset(g, 0, sizeof *g);
}

mt_tensor *mi_dcgan_g(const struct mi_dcgan_g *g, mt_tensor *z, bool train) {
    bool half = g->precision == MT_BF16;
    if (half) mt_autocast_begin(g->ps->device, MT_BF16);
    mt_tensor *x = mi_linear(&g->l1, z); /* [N,C*16] */
    mt_set(&x, mi_bn(&g->bn1, x, train));
    mt_act_(x, MT_RELU, 0);
    mt_set(&x, mt_reshape(x, MT_SHAPE(-1, g->width << (g->stages - 1), 4, 4)));
    mt_set(&x, mt_contig(x, g->ps->layout));
    for (int i = 0; i < g->stages; i++) {
        mt_set(&x, mi_deconv(&g->up[i], x)); /* [N,C/2^(i+1),8*2^i,8*2^i] */
        if (i == g->stages - 1) break;
        mt_set(&x, mi_bn_relu(&g->bn[i], x, MT_NONE, 1.0, train));
    }
    if (half) mt_autocast_end();
    if (half) mt_set(&x, mt_cast(x, MT_F32));
    return mt_act_(x, MT_SIGMOID, 0); /* [N,3,size,size] */
}

enum mi_status mi_dcgan_g_freeze(struct mi_dcgan_g *g) {
    mt_scope *s = mt_scope_begin("freeze generator");
    mi_params_freeze(g->ps, true);
    for (int i = 0; i < g->stages; i++) mi_deconv_freeze(&g->up[i], true);
    return mt_scope_end(s);
}

/* ---- critic --------------------------------------------------------------------------------------------------- */

static void d_layers(struct mi_dcgan_d *d, uint64_t seed) {
    struct mi_builder b;
    mi_builder_init(&b, d->ps, seed);
    mi_builder_push(&b, "ls");
    mi_conv_new(&b, &d->down[0], "0", 3, d->width, 5, MT_CONV(2, 2), true, MI_INIT_DEFAULT);
    int ch = d->width;
    char name[16];
    for (int i = 1; i < d->stages; i++) { /* entry 1 of the public list is the first leaky ReLU */
        snprintf(name, sizeof name, "%d", i + 1);
        mi_builder_push(&b, name);
        mi_conv_new(&b, &d->down[i], "0", ch, ch * 2, 5, MT_CONV(2, 2), true, MI_INIT_DEFAULT);
        mi_inorm_new(&b, &d->norm[i], "1", ch * 2);
        mi_builder_pop(&b);
        ch *= 2;
    }
    snprintf(name, sizeof name, "%d", d->stages + 1);
    mi_conv_new(&b, &d->head, name, ch, 1, 4, MT_CONV(1, 0), true, MI_INIT_DEFAULT);
    mi_builder_pop(&b);
}

enum mi_status mi_dcgan_d_open(struct mi_dcgan_d *d, int size, int width, mt_device dev, mt_dtype precision,
                               uint64_t seed) {
    memset(d, 0, sizeof *d);
    MI_TRY(mi_dcgan_check_size(size));
    d->stages = stages_of(size);
    d->size = size;
    d->width = width;
    d->precision = precision;
    d->ps = mi_params_new(dev, MT_NCHW);
    if (!d->ps) return mi_error_status();
    mt_scope *s = mt_scope_begin("critic");
    d_layers(d, seed);
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) mi_dcgan_d_close(d);
    return st;
}

void mi_dcgan_d_close(struct mi_dcgan_d *d) {
    mi_params_free(d->ps);
    memset(d, 0, sizeof *d);
}

mt_tensor *mi_dcgan_d(const struct mi_dcgan_d *d, mt_tensor *x) {
    bool half = d->precision == MT_BF16;
    if (half) mt_autocast_begin(d->ps->device, MT_BF16);
    mt_tensor *h = mt_contig(x, d->ps->layout);
    h = mi_conv(&d->down[0], h); /* [N,width,size/2,size/2]; no drop: h may be x itself */
    mt_act_(h, MT_LRELU, 0.2);
    for (int i = 1; i < d->stages; i++) {
        mt_set(&h, mi_conv(&d->down[i], h)); /* [N,width*2^i,size/2^(i+1),..] */
        mt_set(&h, mi_inorm(&d->norm[i], h));
        mt_act_(h, MT_LRELU, 0.2);
    }
    mt_set(&h, mi_conv(&d->head, h)); /* [N,1,1,1] */
    mt_set(&h, mt_reshape(h, MT_SHAPE(-1)));
    if (half) mt_autocast_end();
    if (half) mt_set(&h, mt_cast(h, MT_F32));
    return h; /* [N] */
}

/* ---- archives ------------------------------------------------------------------------------------------------- */

static enum mi_status put_number(mt_archive *a, const char *key, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return mt_archive_meta_put(a, key, text);
}

enum mi_status mi_dcgan_save(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, mt_archive *a) {
    MI_TRY(mt_archive_meta_put(a, "prior", "dcgan"));
    MI_TRY(put_number(a, "size", g->size));
    MI_TRY(put_number(a, "width", g->width));
    MI_TRY(put_number(a, "z_dim", g->z_dim));
    MI_TRY(mi_params_save(g->ps, a, "G."));
    return mi_params_save(d->ps, a, "D.");
}

/* A whole number of the metadata; 0 when absent or out of [1,limit]. */
static int get_number(const mt_archive *a, const char *key, int limit) {
    const char *text = mt_archive_meta(a, key);
    long v = text ? strtol(text, NULL, 10) : 0;
    return v >= 1 && v <= limit ? (int)v : 0;
}

enum mi_status mi_dcgan_load(struct mi_dcgan_g *g, struct mi_dcgan_d *d, mt_archive *a, int size, mt_device dev,
                             mt_dtype precision) {
    memset(g, 0, sizeof *g);
    if (d) memset(d, 0, sizeof *d);
    int made = get_number(a, "size", 128), width = get_number(a, "width", 1024), z_dim = get_number(a, "z_dim", 4096);
    if (!made || !width || !z_dim)
        return mi_fail(MI_E_INPUT, "the prior file says no usable size, width and z_dim: it is not a prior of this "
                                   "attack, or it is damaged");
    if (made != size)
        return mi_fail(MI_E_INPUT, "the prior makes %d px images but the attack runs at %d px", made, size);
    enum mi_status st = mi_dcgan_g_open(g, size, width, z_dim, dev, precision, 0);
    if (st == MI_OK) st = mi_params_load(g->ps, a, "G.");
    if (st == MI_OK) st = mi_dcgan_g_freeze(g);
    if (st == MI_OK && d) st = mi_dcgan_d_open(d, size, width, dev, precision, 0);
    if (st == MI_OK && d) st = mi_params_load(d->ps, a, "D.");
    if (st == MI_OK && d) mi_params_freeze(d->ps, true);
    if (st == MI_OK) return MI_OK;
    mi_dcgan_g_close(g);
    if (d) mi_dcgan_d_close(d);
    return st;
}
