/* defenses/ghost.c - norms of per-image gradients from what goes into a layer and the gradient of what comes out
 * (Goodfellow 2015 for linear layers; Rochette et al. 2019 and Bu et al. 2022 for convolutions).
 *
 * With inputs U_i (unfolded: one column per place) and output gradients D_i of image i a weight's gradient is D_i U_i',
 * so its squared norm is either the sum of its squared entries or, where places are few, the sum over pairs of places
 * of (U_i'U_i)(D_i'D_i): nothing of the weight's size per image.  The cheaper of the two is taken.  Biases, norms and
 * slopes are sums over places.  Output gradients of all layers come from one backward pass that touches no weight.
 * Exact as long as a layer is applied once per pass and no image's output depends on another image; blocks of images
 * bound the memory.  Tensors belong to the caller's scope. */
#include "defenses/ghost.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 8e6 /* floats of unfolded input, or of gradients, at a time */

static void tensors_of(enum mi_layer_kind kind, const void *layer, mt_tensor *t[2]) {
    t[0] = t[1] = NULL;
    switch (kind) {
    case MI_LAYER_CONV:
        t[0] = ((const struct mi_conv *)layer)->w;
        t[1] = ((const struct mi_conv *)layer)->b;
        break;
    case MI_LAYER_LINEAR:
        t[0] = ((const struct mi_linear *)layer)->w;
        t[1] = ((const struct mi_linear *)layer)->b;
        break;
    case MI_LAYER_BN:
        t[0] = ((const struct mi_bn *)layer)->g;
        t[1] = ((const struct mi_bn *)layer)->b;
        break;
    case MI_LAYER_PRELU:
        t[0] = ((const struct mi_prelu *)layer)->w;
    }
}

static bool learns(const mt_tensor *t) {
    return t && t != MT_NONE && mt_requires_grad(t);
}

const char *mi_ghost_uncovered(const struct mi_params *ps) {
    for (int i = 0; i < ps->n; i++) {
        bool found = !ps->item[i].trainable;
        for (int k = 0; k < ps->n_layers && !found; k++) {
            mt_tensor *t[2];
            tensors_of(ps->layer[k].kind, ps->layer[k].at, t);
            found = t[0] == ps->item[i].t || t[1] == ps->item[i].t;
        }
        if (!found) return ps->item[i].name;
    }
    return NULL;
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

static struct mi_ghost_use *next_use(struct mi_ghost *g) {
    if (g->n == g->cap) {
        int cap = g->cap ? 2 * g->cap : 64;
        struct mi_ghost_use *grown = realloc(g->use, (size_t)cap * sizeof *grown);
        if (!grown) return NULL;
        g->use = grown;
        g->cap = cap;
    }
    return &g->use[g->n++];
}

static void applied(void *ctx, enum mi_layer_kind kind, const void *layer, mt_tensor *x, mt_tensor *y) {
    struct mi_ghost *g = ctx;
    mt_tensor *t[2];
    tensors_of(kind, layer, t);
    if (!learns(t[0]) && !learns(t[1])) return;
    for (int i = 0; i < g->n; i++)
        if (g->use[i].layer == layer) g->trouble = "a layer is applied twice in one pass";
    if (mt_size(x, 0) != g->images) g->trouble = "a layer sees something else than one row per image";
    struct mi_ghost_use *u = next_use(g);
    if (u)
        *u = (struct mi_ghost_use){.kind = kind, .layer = layer, .x = mt_detach(x), .mark = mt_mark(y)};
    else
        g->trouble = "out of memory";
}

void mi_ghost_begin(struct mi_ghost *g, int64_t images) {
    g->watch = (struct mi_watch){.applied = applied, .ctx = g};
    g->images = images;
    g->n = 0;
    g->trouble = NULL;
    mi_watch_layers(&g->watch);
}

void mi_ghost_end(struct mi_ghost *g) {
    (void)g;
    mi_watch_layers(NULL);
}

void mi_ghost_free(struct mi_ghost *g) {
    free(g->use);
    *g = (struct mi_ghost){.n = 0};
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* Sum of squares of everything but the first dimension, [N]. */
static mt_tensor *energy(mt_tensor *t) {
    if (!t) return NULL;
    mt_tensor *flat = mt_reshape(t, MT_SHAPE(mt_size(t, 0), mt_numel(t) / mt_size(t, 0)));
    return mt_sum(mt_unary(flat, MT_SQUARE), MT_DIMS(1), false);
}

/* ||D U'||^2 per image; u [n,G,K,P], d [n,G,O,P]. */
static mt_tensor *product(mt_tensor *u, mt_tensor *d) {
    if (!u || !d) return NULL;
    double k = (double)mt_size(u, 2), o = (double)mt_size(d, 2), p = (double)mt_size(u, 3);
    if (p == 1) return mt_mul(energy(u), energy(d)); /* G is 1 or each group has one place: see below */
    if (p * (k + o) >= k * o) return energy(mt_matmul(d, mt_transpose(u, 2, 3)));
    mt_tensor *uu = mt_matmul(mt_transpose(u, 2, 3), u), *dd = mt_matmul(mt_transpose(d, 2, 3), d); /* [n,G,P,P] */
    mt_tensor *both = mt_mul(uu, dd);
    return mt_sum(mt_reshape(both, MT_SHAPE(mt_size(both, 0), mt_numel(both) / mt_size(both, 0))), MT_DIMS(1), false);
}

static mt_tensor *conv_block(const struct mi_conv *c, mt_tensor *x /* [n,C,H,W] */, mt_tensor *d /* [n,O,h,w] */) {
    int64_t n = mt_size(x, 0), groups = c->p.groups, places = mt_size(d, 2) * mt_size(d, 3), out = mt_size(d, 1);
    int kh = (int)mt_size(c->w, 2), kw = (int)mt_size(c->w, 3);
    bool plain = kh == 1 && kw == 1 && c->p.stride[0] == 1 && c->p.stride[1] == 1 && !c->p.pad[0] && !c->p.pad[1];
    mt_tensor *u = plain ? mt_contig(x, MT_NCHW) : mt_unfold2d(x, kh, kw, &c->p); /* [n,C*kh*kw,P] */
    u = mt_reshape(u, MT_SHAPE(n, groups, mt_size(x, 1) / groups * kh * kw, places));
    mt_tensor *rows = mt_reshape(mt_contig(d, MT_NCHW), MT_SHAPE(n, groups, out / groups, places));
    if (places == 1 && groups > 1) return energy(mt_matmul(rows, mt_transpose(u, 2, 3)));
    return product(u, rows);
}

static mt_tensor *conv_weight(const struct mi_conv *c, mt_tensor *x, mt_tensor *d) {
    if (!x || !d) return NULL;
    int64_t n = mt_size(x, 0), places = mt_size(d, 2) * mt_size(d, 3);
    double each = (double)(mt_size(x, 1) * mt_size(c->w, 2) * mt_size(c->w, 3)) * (double)places;
    int64_t most = each < BLOCK ? (int64_t)(BLOCK / each) : 1;
    if (most >= n) return conv_block(c, x, d);
    mt_tensor **part = mi_calloc((size_t)(n / most + 1), sizeof(mt_tensor *)), *all = NULL;
    int parts = 0;
    for (int64_t i = 0; part && i < n; i += most, parts++) {
        int64_t len = n - i < most ? n - i : most;
        mt_scope *scope = mt_scope_begin("norms"); /* unfolded inputs go before the next block's come */
        part[parts] = mt_pass(conv_block(c, mt_narrow(x, 0, i, len), mt_narrow(d, 0, i, len)));
        enum mi_status st = mt_scope_end(scope);
        if (st != MI_OK) mt_raise(st, "%s", mi_error_text());
    }
    if (part) all = mt_cat(part, parts, 0);
    free(part);
    return all;
}

/* Sum over places: [N,C,...] -> [N,C]. */
static mt_tensor *over_places(mt_tensor *t) {
    if (!t || mt_ndim(t) == 2) return t;
    return mt_sum(t, mt_ndim(t) == 4 ? (const int[]){2, 3} : (const int[]){2}, mt_ndim(t) - 2, false);
}

static mt_tensor *conv_squares(const struct mi_conv *c, mt_tensor *x, mt_tensor *d, mt_tensor *sum) {
    if (learns(c->w)) sum = mt_add(sum, conv_weight(c, x, d));
    if (learns(c->b)) sum = mt_add(sum, energy(over_places(d)));
    return sum;
}

static mt_tensor *linear_squares(const struct mi_linear *l, mt_tensor *x, mt_tensor *d, mt_tensor *sum) {
    int64_t n = mt_size(x, 0), in = mt_size(x, -1), out = mt_size(d, -1), tokens = mt_numel(x) / (n * in);
    mt_tensor *u = mt_transpose(mt_reshape(x, MT_SHAPE(n, 1, tokens, in)), 2, 3); /* [N,1,in,T] */
    mt_tensor *rows = mt_reshape(d, MT_SHAPE(n, tokens, out));
    if (learns(l->w)) sum = mt_add(sum, product(u, mt_transpose(mt_unsqueeze(rows, 1), 2, 3)));
    if (learns(l->b)) sum = mt_add(sum, energy(mt_sum(rows, MT_DIMS(1), false)));
    return sum;
}

static mt_tensor *norm_squares(const struct mi_bn *n, mt_tensor *x, mt_tensor *d, mt_tensor *sum) {
    bool grouped = n->groups > 0 && !n->fixed;
    mt_tensor *unit = grouped ? mt_group_norm(x, n->groups, MT_NONE, MT_NONE, n->eps)
                              : mt_batch_norm(x, MT_NONE, MT_NONE, n->rm, n->rv, false, 0, n->eps);
    if (learns(n->g)) sum = mt_add(sum, energy(over_places(mt_mul(d, unit))));
    if (learns(n->b)) sum = mt_add(sum, energy(over_places(d)));
    return sum;
}

static mt_tensor *slope_squares(const struct mi_prelu *p, mt_tensor *x, mt_tensor *d, mt_tensor *sum) {
    mt_tensor *each = over_places(mt_mul(d, mt_clamp(x, -3e38, 0))); /* [N,C] */
    if (mt_numel(p->w) == 1) each = mt_sum(each, MT_DIMS(1), true);
    return mt_add(sum, energy(each));
}

static mt_tensor *use_squares(const struct mi_ghost_use *u, mt_tensor *d, mt_tensor *sum) {
    if (!u->x || !d) return NULL;
    mt_tensor *x = mt_cast(u->x, MT_F32);
    d = mt_cast(d, MT_F32);
    switch (u->kind) {
    case MI_LAYER_CONV:
        return conv_squares(u->layer, x, d, sum);
    case MI_LAYER_LINEAR:
        return linear_squares(u->layer, x, d, sum);
    case MI_LAYER_BN:
        return norm_squares(u->layer, x, d, sum);
    case MI_LAYER_PRELU:
        return slope_squares(u->layer, x, d, sum);
    }
    return sum;
}

static enum mi_status sum_squares(struct mi_ghost *g, mt_tensor **grad, mt_tensor **squares) {
    mt_tensor *sum = mt_zeros(MT_SHAPE(g->images), (mt_spec){MT_F32, mt_device_of(g->use[0].x), MT_NCHW});
    for (int i = 0; i < g->n; i++) {
        if (grad[i] == MT_NONE) continue; /* the loss does not depend on this layer */
        mt_scope *scope = mt_scope_begin("layer");
        mt_tensor *more = mt_pass(use_squares(&g->use[i], grad[i], sum));
        enum mi_status st = mt_scope_end(scope);
        if (st != MI_OK) return st;
        sum = more;
    }
    *squares = sum;
    return sum ? MI_OK : mt_status();
}

enum mi_status mi_ghost_squares(struct mi_ghost *g, mt_tensor *total, mt_tensor **squares) {
    *squares = NULL;
    if (g->trouble) return mi_fail(MI_E_INTERNAL, "norms of single images cannot be told: %s", g->trouble);
    if (g->n == 0) return mi_fail(MI_E_INPUT, "no layer of the network learns: there is nothing to clip");
    mt_tensor **grad = mi_calloc((size_t)g->n * 2, sizeof(mt_tensor *)), **mark = grad ? grad + g->n : NULL;
    if (!grad) return MI_E_NOMEM;
    for (int i = 0; i < g->n; i++) mark[i] = g->use[i].mark;
    enum mi_status st = mt_grad_of(total, mark, g->n, false, true, grad);
    bool was = mt_grad_mode(false);
    if (st == MI_OK) st = sum_squares(g, grad, squares);
    mt_grad_mode(was);
    free(grad);
    return st;
}

enum mi_status mi_ghost_check(const struct mi_ghost *g, const struct mi_params *ps) {
    for (int i = 0; i < ps->n; i++) {
        mt_tensor *p = ps->item[i].t, *t[2];
        if (!ps->item[i].trainable || mt_grad(p) == MT_NONE) continue;
        bool found = false;
        for (int k = 0; k < g->n && !found; k++) {
            tensors_of(g->use[k].kind, g->use[k].layer, t);
            found = t[0] == p || t[1] == p;
        }
        if (!found)
            return mi_fail(MI_E_INTERNAL, "%s learns outside the layers whose norms are known", ps->item[i].name);
    }
    return MI_OK;
}
