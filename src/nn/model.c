/* src/nn/model.c - an instance of a classifier: found in the table, built, started from weights, run.
 *
 * The instance owns its parameters, the network's own struct and the dropout generator.  mi_model_forward is the only
 * way to run a network: it checks the input's shape, brings the pixels into the store's memory layout, opens the mixed
 * precision region around the forward pass (never the backward) and returns logits and features as f32, so no caller
 * has to know about precision or layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/model.h"
#include "src/nn/params_priv.h"

#define MAX_MODELS 64

const struct mi_model_desc *mi_model_find(const char *name) {
    const char *names[MAX_MODELS];
    size_t n = 0;
    for (size_t i = 0; mi_model_table[i]; i++) {
        if (strcmp(mi_model_table[i]->info.name, name) == 0) return mi_model_table[i];
        if (n < MAX_MODELS) names[n++] = mi_model_table[i]->info.name;
    }
    const char *near = mi_nearest(name, names, n);
    if (near)
        mi_fail(MI_E_INPUT, "there is no model \"%.80s\"; did you mean \"%s\"?", name, near);
    else
        mi_fail(MI_E_INPUT, "there is no model \"%.80s\"; `midre models` lists them", name);
    return NULL;
}

static enum mi_status check_size(const struct mi_model_desc *d, int classes, int size) {
    if (classes < 1) return mi_fail(MI_E_INPUT, "model %s needs at least one class, got %d", d->info.name, classes);
    int step = d->size_step > 0 ? d->size_step : 1;
    if (size >= d->min_size && size <= d->max_size && (size - d->min_size) % step == 0) return MI_OK;
    char steps[48] = "";
    if (step > 1) snprintf(steps, sizeof steps, " in steps of %d", step);
    return mi_fail(MI_E_INPUT, "model %s works at %d..%d px%s, not at %d px", d->info.name, d->min_size, d->max_size,
                   steps, size);
}

/* channels_last is what oneDNN and cuDNN are fastest with; the one place to decide otherwise. */
static mt_layout_t preferred_layout(mt_device d) {
    (void)d;
    return MT_NHWC;
}

static enum mi_status build(struct mi_model *m, const struct mi_values *v, mt_device d, uint64_t seed) {
    const struct mi_model_desc *desc = m->desc;
    m->params = mi_params_new(d, preferred_layout(d));
    if (!m->params) return MI_E_NOMEM;
    mt_scope *s = mt_scope_begin("model.build");
    struct mi_builder b;
    mi_builder_init(&b, m->params, seed);
    m->net = desc->build(&b, v, m->classes, m->size);
    m->rng = mt_rng_new(d, mi_mix(seed, mi_hash_text("dropout")));
    m->feature_width = desc->feature_width ? desc->feature_width : desc->feature_width_of(v, m->size);
    m->params->alias = desc->alias;
    MI_TRY(mt_scope_end(s));
    if (m->net && m->rng) return MI_OK;
    return mi_fail(MI_E_NOMEM, "model %s could not be built", desc->info.name);
}

struct mi_model *mi_model_new(const char *name, const struct mi_values *v, int classes, int size, mt_device d,
                              uint64_t seed) {
    const struct mi_model_desc *desc = mi_model_find(name);
    if (!desc || check_size(desc, classes, size) != MI_OK) return NULL;
    struct mi_values *defaults = NULL;
    if (!v && desc->info.settings) {
        v = defaults = mi_values_new(name, desc->info.settings);
        if (!v) return NULL;
    }
    struct mi_model *m = mi_calloc(1, sizeof *m);
    if (m) {
        *m = (struct mi_model){.desc = desc, .classes = classes, .size = size, .precision = MT_F32, .seed = seed};
        if (build(m, v, d, seed) != MI_OK) {
            mi_model_free(m);
            m = NULL;
        }
    }
    mi_values_free(defaults);
    return m;
}

struct mi_params *mi_model_shapes(const struct mi_model_desc *desc, const struct mi_values *v, int classes, int size) {
    struct mi_model m = {.desc = desc, .classes = classes, .size = size};
    struct mi_values *defaults = NULL;
    if (check_size(desc, classes, size) != MI_OK) return NULL;
    if (!v && desc->info.settings && !(v = defaults = mi_values_new(desc->info.name, desc->info.settings))) return NULL;
    enum mi_status st = build(&m, v, MT_META, 0);
    mi_values_free(defaults);
    if (m.net) desc->free(m.net);
    if (m.rng) mt_rng_free(m.rng);
    if (st == MI_OK) return m.params;
    mi_params_free(m.params);
    return NULL;
}

void mi_model_free(struct mi_model *m) {
    if (!m) return;
    if (m->net) m->desc->free(m->net);
    if (m->rng) mt_rng_free(m->rng);
    mi_params_free(m->params);
    free(m);
}

static struct mi_started count_started(const struct mi_params *ps, const char *head, const bool *hit) {
    struct mi_started s = {0};
    for (int i = 0; i < ps->n; i++) {
        const struct mi_named *item = &ps->item[i];
        if (item->constant || mi_params_counter(item->name) || strncmp(item->name, head, strlen(head)) == 0) continue;
        s.all++;
        s.used += hit[i];
        if (!hit[i] && !s.missed) s.missed = item->name;
    }
    return s;
}

enum mi_status mi_model_init_from(struct mi_model *m, mt_archive *a, struct mi_started *s) {
    const struct mi_model_desc *d = m->desc;
    int copied = 0;
    char *head = mi_format("%s.", d->head);
    bool *hit = mi_calloc((size_t)m->params->n, sizeof(*hit));
    enum mi_status st = head && hit ? MI_OK : MI_E_NOMEM;
    /* The published naming first: a face.evoLVe file holds an "output_layer" that is not the one of our 64 px nets. */
    if (st == MI_OK && d->init_file_prefix && d->init_own_prefix)
        st = mi_params_init_some(m->params, a, d->init_file_prefix, d->init_own_prefix, head, hit, &copied);
    if (st == MI_OK && copied == 0) st = mi_params_init_some(m->params, a, "", "", head, hit, &copied);
    if (st == MI_OK) *s = count_started(m->params, head, hit);
    free(head);
    free(hit);
    if (st != MI_OK || copied > 0) return st;
    return mi_fail(MI_E_INPUT, "none of the file's %d tensors fits model %s; it expects names such as \"%s\"",
                   mt_archive_count(a), d->info.name, m->params->n ? m->params->item[0].name : "");
}

const char *mi_started_text(const struct mi_started *s, const char *from, char *text, size_t room) {
    if (!s->missed)
        snprintf(text, room, "all %d tensors but the head's start from %s", s->all, from);
    else
        snprintf(text, room, "%d of %d tensors start from %s; the others (%s first) are not in it or of another shape",
                 s->used, s->all, from, s->missed);
    return 2 * s->used < s->all ? "warn" : "info";
}

/* f32 for everything a loss or a metric sees; a network cast to f64 answers in f64. */
static mt_tensor *widen(mt_tensor *t) {
    return t && mt_dtype_of(t) != MT_F32 && mt_dtype_of(t) != MT_F64 ? mt_cast(t, MT_F32) : t;
}

enum mi_status mi_model_forward(struct mi_model *m, mt_tensor *x /* [N,3,S,S] */, bool want_taps,
                                struct mi_forward_out *out) {
    *out = (struct mi_forward_out){0};
    if (mt_failed()) return mt_status();
    if (!x || mt_ndim(x) != 4 || mt_size(x, 1) != 3 || mt_size(x, 2) != m->size || mt_size(x, 3) != m->size)
        return mi_fail(MI_E_INTERNAL, "model %s takes images [N,3,%d,%d]", m->desc->info.name, m->size, m->size);
    mt_tensor *in = mt_layout(x) == m->params->layout ? x : mt_contig(x, m->params->layout);
    bool mixed = m->precision != MT_F32;
    if (mixed) mt_autocast_begin(m->params->device, m->precision);
    enum mi_status st = m->desc->forward(m, in, want_taps, out);
    if (mixed) mt_autocast_end();
    out->logits = widen(out->logits);
    out->features = widen(out->features);
    out->aux_logits = widen(out->aux_logits);
    if (mt_failed()) {
        enum mi_status sticky = mt_status();
        mi_fail_context("model %s", m->desc->info.name);
        return st != MI_OK ? st : sticky;
    }
    return st;
}

void mi_model_reseed(struct mi_model *m, const char *purpose, uint64_t counter) {
    if (m->rng) mt_rng_seed(m->rng, mi_mix(mi_mix(m->seed, mi_hash_text(purpose)), counter));
}

mt_tensor *mi_model_normalise(const struct mi_model *m, mt_tensor *x /* [N,3,S,S] in [0,1] */) {
    const float *mean = m->desc->mean, *std = m->desc->std;
    double mul[3], add[3];
    for (int c = 0; c < 3; c++) {
        mul[c] = std[c] != 0.0f ? 1.0 / (double)std[c] : 1.0;
        add[c] = -(double)mean[c] * mul[c];
    }
    bool same = mul[0] == mul[1] && mul[1] == mul[2] && add[0] == add[1] && add[1] == add[2];
    if (same && mul[0] == 1.0 && add[0] == 0.0) return x;
    if (same) return mt_affine(x, mul[0], add[0]);
    mt_tensor *channel[3]; /* [N,1,S,S] each: no constant tensor to upload, so it can be captured in a graph */
    for (int c = 0; c < 3; c++) channel[c] = mt_affine(mt_narrow(x, 1, c, 1), mul[c], add[c]);
    return mt_contig(mt_cat(channel, 3, 1), mt_layout(x));
}
