/* defenses/tldmi.c - TL-DMI, transfer learning (Ho et al., CVPR 2024): the first layers keep weights learnt on public
 * data and never see a gradient of the private photos; only the last ones learn.  No new loss.
 *
 * The order of layers is that of their parameters' names.  `until` names the first layer that learns (all before it are
 * frozen; further names, separated by commas, learn although they come earlier); "published" takes the plan that the
 * model's descriptor states.  `share` freezes whole layers from the front up to that share of the backbone's
 * parameters. The head always learns.
 *
 * BatchNorm is said explicitly: norm = frozen keeps the running statistics of frozen layers (evaluation mode), adapt
 * lets them follow the private photos, as the released code does unnoticed.  Two other slips of the released code are
 * ruled out here: the stem is frozen like the rest, and a start file that does not reach every frozen layer is refused,
 * because those would stay random for ever.
 *
 * Frozen tensors get no gradient, the optimiser does not know them (no weight decay), backward ends above them.  Owns a
 * list of hashes of the random first weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/defense.h"
#include "midre/spec.h"

struct tldmi {
    struct first_weight {
        mt_tensor *t;
        uint64_t hash;
    } * first; /* frozen kernels as they were built */
    int n_first;
};

/* Is `name` this layer or inside it? */
static bool inside(const char *name, const char *layer) {
    size_t n = strlen(layer);
    return n > 0 && strncmp(name, layer, n) == 0 && (name[n] == '.' || name[n] == '\0');
}

static enum mi_status unknown_layer(const struct mi_model *m, const char *layer) {
    const struct mi_params *ps = m->params;
    char list[512] = "";
    size_t used = 0, last = 0, len = 0;
    const char *before = "";
    for (int i = 0; i < ps->n && used + 64 < sizeof list; i++) { /* layer names up to their second dot, each once */
        const char *name = ps->item[i].name, *dot = strchr(name, '.');
        const char *end = dot ? strchr(dot + 1, '.') : NULL;
        len = end ? (size_t)(end - name) : dot ? (size_t)(dot - name) : strlen(name);
        if (len == last && strncmp(before, name, len) == 0) continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%.*s", used ? ", " : "",
                                 (int)(len < 40 ? len : 40), name);
        before = name;
        last = len;
    }
    return mi_fail(MI_E_INPUT, "defense.tldmi: model %s has no layer \"%.60s\"; it has %s%s", m->desc->info.name, layer,
                   list, used + 64 >= sizeof list ? ", ..." : "");
}

static bool frozen_later(const struct mi_params *ps, int i) {
    return ps->item[i].role != MI_BUFFER;
}

/* Number of the first tensor of `layer`, or -1. */
static int find_layer(const struct mi_params *ps, const char *layer) {
    for (int i = 0; i < ps->n; i++)
        if (inside(ps->item[i].name, layer)) return i;
    return -1;
}

/* freeze[i] for every tensor: before the first layer of the list, and in none of the others. */
static enum mi_status mark_until(const struct mi_model *m, const char *plan, bool *freeze) {
    const struct mi_params *ps = m->params;
    size_t n = 0;
    char **layer = mi_list_split(plan, ',', &n);
    enum mi_status st = layer ? MI_OK : MI_E_NOMEM;
    if (layer && n == 0) st = mi_fail(MI_E_INPUT, "defense.tldmi: until is empty; name the first layer that learns");
    for (size_t k = 0; k < n && st == MI_OK; k++)
        if (find_layer(ps, layer[k]) < 0) st = unknown_layer(m, layer[k]);
    int end = st == MI_OK ? find_layer(ps, layer[0]) : 0;
    for (int i = 0; i < end; i++) {
        freeze[i] = frozen_later(ps, i);
        for (size_t k = 1; k < n; k++) freeze[i] = freeze[i] && !inside(ps->item[i].name, layer[k]);
    }
    mi_list_free(layer, n);
    return st;
}

/* Length of a tensor's layer name: without its last part. */
static size_t layer_length(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

/* Whole layers from the front while the frozen ones stay within `share` of the parameters before the head. */
static void mark_share(const struct mi_model *m, double share, bool *freeze) {
    const struct mi_params *ps = m->params;
    int64_t all = 0, done = 0;
    for (int i = 0; i < ps->n; i++)
        if (ps->item[i].role != MI_BUFFER && !inside(ps->item[i].name, m->desc->head)) all += mt_numel(ps->item[i].t);
    for (int i = 0; i < ps->n;) {
        const char *name = ps->item[i].name;
        size_t len = layer_length(name);
        int64_t size = 0;
        int end = i;
        for (; end < ps->n && layer_length(ps->item[end].name) == len && strncmp(ps->item[end].name, name, len) == 0;
             end++)
            if (ps->item[end].role != MI_BUFFER) size += mt_numel(ps->item[end].t);
        if ((double)(done + size) > share * (double)all * (1 + 1e-12)) return;
        for (; i < end; i++) freeze[i] = frozen_later(ps, i);
        done += size;
    }
}

static enum mi_status mark(const struct mi_values *v, const struct mi_model *m, bool *freeze) {
    double share = mi_values_real(v, "share");
    const char *until = mi_values_text(v, "until");
    if (share > 0) {
        mark_share(m, share, freeze);
    } else if (strcmp(until, "published") == 0) {
        if (!m->desc->learns_from)
            return mi_fail(MI_E_INPUT,
                           "defense.tldmi: no plan is known for model %s; set until (the first layer that "
                           "learns) or share (of the parameters, from the front)",
                           m->desc->info.name);
        MI_TRY(mark_until(m, m->desc->learns_from, freeze));
    } else {
        MI_TRY(mark_until(m, until, freeze));
    }
    int n = 0;
    for (int i = 0; i < m->params->n; i++) {
        freeze[i] = freeze[i] && !inside(m->params->item[i].name, m->desc->head);
        n += freeze[i];
    }
    if (n > 0) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "defense.tldmi freezes nothing of model %s: its first layer learns already; name a later "
                   "one or raise share",
                   m->desc->info.name);
}

static void freeze_norms(struct mi_params *ps) {
    for (int i = 0; i < ps->n_layers; i++) {
        struct mi_bn *bn = ps->layer[i].at;
        if (ps->layer[i].kind != MI_LAYER_BN) continue;
        for (int k = 0; k < ps->n; k++)
            if (ps->item[k].t == bn->g && !ps->item[k].trainable) bn->fixed = true;
    }
}

static enum mi_status freeze_all(struct tldmi *s, struct mi_params *ps, const bool *freeze) {
    free(s->first);
    s->n_first = 0;
    s->first = mi_calloc((size_t)ps->n, sizeof *s->first);
    if (!s->first) return MI_E_NOMEM;
    for (int i = 0; i < ps->n; i++) {
        if (!freeze[i]) continue;
        ps->item[i].trainable = false;
        MI_TRY(mt_requires_grad_(ps->item[i].t, false));
        if (mt_ndim(ps->item[i].t) >= 2) /* kernels start random; ones and zeros of a BatchNorm may be meant */
            s->first[s->n_first++] = (struct first_weight){ps->item[i].t, mt_hash(ps->item[i].t)};
    }
    return MI_OK;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    bool *freeze = mi_calloc((size_t)m->params->n + 1, sizeof *freeze);
    if (!freeze) return MI_E_NOMEM;
    enum mi_status st = mark(d->values, m, freeze);
    if (st == MI_OK) st = freeze_all(d->state, m->params, freeze);
    if (st == MI_OK && mi_values_choice(d->values, "norm") == 0) freeze_norms(m->params);
    free(freeze);
    return st;
}

static enum mi_status compose(const struct mi_defense *d, const struct mi_defenses *all, const struct mi_spec *spec) {
    const struct mi_values *target = spec->section[MI_SEC_TARGET];
    (void)all;
    if (*mi_values_text(target, "init") || *mi_values_text(target, "checkpoint")) return MI_OK;
    if (mi_values_bool(target, "pretrained") || mi_values_bool(d->values, "random_start")) return MI_OK;
    return mi_fail(MI_E_INPUT, "tldmi freezes the first layers as they start, and targets start random here: set "
                               "target.pretrained = yes, name a file in target.init, or set "
                               "defense.tldmi.random_start = yes to freeze random ones");
}

/* Frozen kernels that the start file did not reach are what they were built as. */
static enum mi_status start(struct mi_defense *d, struct mi_model *m, struct mi_train_recipe *r) {
    const struct tldmi *s = d->state;
    const char *name = NULL;
    int untouched = 0;
    (void)r;
    if (mi_values_bool(d->values, "random_start")) return MI_OK;
    for (int i = 0; i < s->n_first; i++) {
        if (mt_hash(s->first[i].t) != s->first[i].hash) continue;
        for (int k = 0; untouched == 0 && k < m->params->n; k++)
            if (m->params->item[k].t == s->first[i].t) name = m->params->item[k].name;
        untouched++;
    }
    if (untouched == 0) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "tldmi: the start weights reach only %d of %d frozen layers; %s and others would stay "
                   "random for ever; give weights of this architecture, freeze less, or set "
                   "defense.tldmi.random_start = yes",
                   s->n_first - untouched, s->n_first, name ? name : "some");
}

static void release(struct mi_defense *d) {
    struct tldmi *s = d->state;
    if (!s) return;
    free(s->first);
    s->first = NULL;
    s->n_first = 0;
}

static const struct mi_setting settings[] = {
    {.name = "until",
     .label = true,
     .type = MI_TEXT,
     .def = "published",
     .help =
         "First layer that learns, all before it are frozen: published (vgg16 feature.27, ir152 feature.body.47, "
         "facenet64 feature.body.6, resnest101 layer3.15, maxvit_t blocks.3; for other networks the last stage), or a "
         "name such as layer3"},
    {.name = "share",
     .type = MI_REAL,
     .def = "0",
     .min = 0,
     .max = 1,
     .help = "Instead of until: freeze whole layers from the front up to this share of the parameters before the head "
             "(vgg16 as published: 0.2); 0 = use until"},
    {.name = "norm",
     .type = MI_CHOICE,
     .def = "frozen",
     .choices = "frozen|adapt",
     .help = "Running statistics of frozen BatchNorm layers: kept, or following the private photos as in the released "
             "code"},
    {.name = "random_start",
     .type = MI_BOOL,
     .def = "no",
     .help = "Also freeze layers that have no start weights but random ones"},
    MI_SETTING_END};

extern const struct mi_defense_desc mi_defense_tldmi;
const struct mi_defense_desc mi_defense_tldmi = {
    .info = {.name = "tldmi",
             .title = "TL-DMI",
             .help =
                 "Transfer learning as a defense: the first layers keep weights learnt on public pictures and only "
                 "the last ones learn from the private photos, so private detail is never written into the early "
                 "layers, which attacks read most from. Needs start weights of the same architecture ([target] "
                 "pretrained or init). Plain cross entropy, cheaper than training everything. Published at 64 px: SGD, "
                 "rate 0.08 (vgg16, 200 epochs), 0.01 (ir152, 100), 0.008 (facenet64, batch 8, 200).",
             .paper = "Ho, Hao, Chandrasegaran, Nguyen, Cheung: Model Inversion Robustness: Can Transfer Learning "
                      "Help?, CVPR 2024",
             .settings = settings,
             .tags = "freezing"},
    .state_size = sizeof(struct tldmi),
    .compose = compose,
    .prepare = prepare,
    .start = start,
    .free = release};
