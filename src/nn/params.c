/* src/nn/params.c - the parameter store: every tensor of a network, by its public name, in state_dict order.
 *
 * The store owns the tensors and the names; layers only borrow handles.  Parameters are leaves of the autograd graph,
 * buffers (running statistics, counters) never require a gradient.  Rank-4 tensors lie in memory as the store's layout
 * says (channels_last for speed), which no name, shape or file ever shows.
 * Failures while building are raised as the tensor layer's sticky error: a constructor needs one check, at its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/skips.h"
#include "src/nn/params_priv.h"

struct mi_params *mi_params_new(mt_device d, mt_layout_t layout) {
    struct mi_params *ps = mi_calloc(1, sizeof *ps);
    if (!ps) return NULL;
    ps->device = d;
    ps->layout = layout;
    return ps;
}

void mi_params_free(struct mi_params *ps) {
    if (!ps) return;
    for (int i = 0; i < ps->n; i++) {
        mt_free(ps->item[i].t);
        free(ps->item[i].name);
    }
    free(ps->item);
    free(ps->layer);
    mi_skips_free(ps->skips);
    free(ps);
}

struct mi_named *mi_params_item(const struct mi_params *ps, const char *name) {
    for (int i = 0; i < ps->n; i++)
        if (strcmp(ps->item[i].name, name) == 0) return &ps->item[i];
    return NULL;
}

mt_tensor *mi_params_find(const struct mi_params *ps, const char *name) {
    struct mi_named *item = mi_params_item(ps, name);
    return item ? item->t : NULL;
}

void *mi_params_layer(const struct mi_params *ps, enum mi_layer_kind kind, const char *name) {
    char weight[320];
    snprintf(weight, sizeof weight, "%s.weight", name);
    const mt_tensor *w = mi_params_find(ps, weight);
    for (int i = 0; w && i < ps->n_layers; i++) {
        void *at = ps->layer[i].at;
        if (ps->layer[i].kind != kind) continue;
        const mt_tensor *own = kind == MI_LAYER_CONV     ? ((struct mi_conv *)at)->w
                               : kind == MI_LAYER_LINEAR ? ((struct mi_linear *)at)->w
                               : kind == MI_LAYER_BN     ? ((struct mi_bn *)at)->g
                                                         : ((struct mi_prelu *)at)->w;
        if (own == w) return at;
    }
    return NULL;
}

enum mi_status mi_params_remove(struct mi_params *ps, const char *name) {
    struct mi_named *item = mi_params_item(ps, name);
    if (!item) return mi_fail(MI_E_INTERNAL, "cannot remove parameter '%s': the network has none of that name", name);
    mt_free(item->t);
    free(item->name);
    ps->n--;
    memmove(item, item + 1, (size_t)(ps->item + ps->n - item) * sizeof *item);
    return MI_OK;
}

int mi_params_trainable(const struct mi_params *ps, mt_tensor **out, int cap) {
    int n = 0;
    for (int i = 0; i < ps->n; i++) {
        if (!ps->item[i].trainable) continue;
        if (n < cap) out[n] = ps->item[i].t;
        n++;
    }
    return n;
}

enum mi_status mi_params_optimise(const struct mi_params *ps, mt_opt *o) {
    int n = mi_params_trainable(ps, NULL, 0);
    if (n == 0) return mi_fail(MI_E_INPUT, "every weight of the network is frozen: nothing to train");
    mt_tensor **list = mi_calloc((size_t)n, sizeof(mt_tensor *));
    if (!list) return MI_E_NOMEM;
    mi_params_trainable(ps, list, n);
    enum mi_status st = mt_opt_add(o, list, n, 1);
    free(list);
    return st;
}

int64_t mi_params_count(const struct mi_params *ps, bool trainable_only) {
    int64_t elements = 0;
    for (int i = 0; i < ps->n; i++) {
        const struct mi_named *item = &ps->item[i];
        if (item->role == MI_BUFFER || (trainable_only && !item->trainable)) continue;
        elements += mt_numel(item->t);
    }
    return elements;
}

enum mi_status mi_params_cast(struct mi_params *ps, mt_dtype d) {
    for (int i = 0; i < ps->n && !mt_failed(); i++) {
        mt_dtype now = mt_dtype_of(ps->item[i].t);
        bool real = now == MT_F32 || now == MT_F64 || now == MT_BF16 || now == MT_F16;
        if (real && now != d) mt_cast_(ps->item[i].t, d);
    }
    return mt_status();
}

void mi_params_freeze(struct mi_params *ps, bool frozen) {
    for (int i = 0; i < ps->n; i++) {
        if (ps->item[i].role == MI_BUFFER) continue;
        mt_requires_grad_(ps->item[i].t, !frozen && ps->item[i].trainable);
    }
    if (!frozen) return;
    /* A gradient left from training would otherwise live as long as the attack. */
    for (int i = 0; i < ps->n; i++)
        if (ps->item[i].role != MI_BUFFER) mt_zero_grad(&ps->item[i].t, 1, true);
}

int mi_params_set_trainable(struct mi_params *ps, const char *prefix, bool trainable) {
    size_t len = strlen(prefix);
    int matched = 0;
    for (int i = 0; i < ps->n; i++) {
        struct mi_named *item = &ps->item[i];
        if (item->role != MI_PARAM || strncmp(item->name, prefix, len) != 0) continue;
        item->trainable = trainable;
        mt_requires_grad_(item->t, trainable);
        matched++;
    }
    return matched;
}

void mi_params_fix(struct mi_params *ps, const char *name) {
    struct mi_named *item = mi_params_item(ps, name);
    if (!item || item->role == MI_BUFFER) {
        mt_raise(MI_E_INTERNAL, "cannot fix parameter '%s': the network has none of that name", name);
        return;
    }
    item->role = MI_FROZEN_PARAM;
    item->trainable = false;
    mt_requires_grad_(item->t, false);
}

/* Appends; takes over the owned tensor `t` in every case. */
static mt_tensor *append(struct mi_params *ps, const char *name, mt_tensor *t, enum mi_role role) {
    if (ps->n == ps->cap) {
        int cap = ps->cap ? 2 * ps->cap : 64;
        struct mi_named *grown = realloc(ps->item, (size_t)cap * sizeof *grown);
        if (!grown) goto no_memory;
        ps->item = grown;
        ps->cap = cap;
    }
    char *copy = mi_strdup(name);
    if (!copy) goto no_memory;
    ps->item[ps->n++] = (struct mi_named){.name = copy, .t = t, .role = role, .trainable = role == MI_PARAM};
    return t;
no_memory:
    mt_free(t);
    mt_raise(MI_E_NOMEM, "out of memory for parameter '%s'", name);
    return NULL;
}

mt_tensor *mi_param_new(struct mi_builder *b, const char *name, const int64_t *shape, int nd, enum mi_role role) {
    struct mi_params *ps = b->ps;
    char *full = mi_format("%s%s", b->prefix, name);
    if (!full) {
        mt_raise(MI_E_NOMEM, "out of memory for parameter '%s'", name);
        return NULL;
    }
    mt_tensor *t = NULL;
    if (mi_params_item(ps, full)) {
        mt_raise(MI_E_INTERNAL, "parameter '%s' exists twice", full);
    } else {
        bool counter = strcmp(name, "num_batches_tracked") == 0 || strstr(full, ".num_batches_tracked");
        mt_spec sp = {counter ? MT_I64 : MT_F32, ps->device, nd == 4 ? ps->layout : MT_NCHW};
        t = mt_zeros(shape, nd, sp);
        if (t) t = append(ps, full, mt_keep(t), role);
        if (t && role == MI_PARAM) mt_requires_grad_(t, true);
    }
    free(full);
    return t;
}

mt_tensor *mi_index_new(struct mi_builder *b, const char *name, const int64_t *values, const int64_t *shape, int nd) {
    char *full = mi_format("%s%s", b->prefix, name);
    mt_tensor *t = NULL;
    if (!full)
        mt_raise(MI_E_NOMEM, "out of memory for parameter '%s'", name);
    else if (mi_params_item(b->ps, full))
        mt_raise(MI_E_INTERNAL, "parameter '%s' exists twice", full);
    else
        t = mt_to(mt_from(values, shape, nd, (mt_spec){MT_I64, MT_CPU, MT_NCHW}), b->ps->device);
    if (t) t = append(b->ps, full, mt_keep(t), MI_BUFFER);
    if (t) b->ps->item[b->ps->n - 1].constant = true;
    free(full);
    return t;
}

void mi_builder_init(struct mi_builder *b, struct mi_params *ps, uint64_t seed) {
    *b = (struct mi_builder){.ps = ps, .rng = mi_rng_make(seed, "init", 0, 0)};
}

void mi_builder_push(struct mi_builder *b, const char *name) {
    size_t have = strlen(b->prefix), more = strlen(name);
    if (have + more + 2 > sizeof b->prefix) {
        mt_raise(MI_E_INTERNAL, "parameter name '%s%s' is too long", b->prefix, name);
        return;
    }
    memcpy(b->prefix + have, name, more);
    memcpy(b->prefix + have + more, ".", 2);
}

void mi_builder_pop(struct mi_builder *b) {
    size_t len = strlen(b->prefix);
    if (len == 0) return;
    b->prefix[len - 1] = '\0';
    char *dot = strrchr(b->prefix, '.');
    if (dot)
        dot[1] = '\0';
    else
        b->prefix[0] = '\0';
}
