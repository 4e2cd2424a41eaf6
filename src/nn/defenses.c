/* src/nn/defenses.c - a list of defenses acting as one: "midre+nls" runs every hook of midre, then of nls.
 *
 * The list owns each defense's state; the settings are borrowed from the spec and must outlive it.  A hook that is NULL
 * does nothing.  What can be there only once (a main loss, a sampler, ...) is checked here, from the hooks alone; rules
 * of a single defense are its own `compose`.  When no hook sets the main loss it is mean cross entropy; networks with
 * an auxiliary head (Inception-V3) add the head's with weight 1, as the published judges were trained (PPA). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/defense.h"
#include "midre/spec.h"

static enum mi_status add(struct mi_defenses *ds, const char *name, const struct mi_spec *spec) {
    char *plain = mi_composition_names(name);
    const struct mi_defense_desc *desc = plain ? mi_defense_find(plain) : NULL;
    free(plain);
    if (!desc) return mi_error_status();
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc == desc) return mi_fail(MI_E_INPUT, "defense %s is named twice in one composition", name);
    if (ds->n == MI_MAX_DEFENSES) return mi_fail(MI_E_INPUT, "at most %d defenses can be composed", MI_MAX_DEFENSES);
    struct mi_defense *d = &ds->item[ds->n];
    *d = (struct mi_defense){.desc = desc, .values = mi_spec_entry(spec, MI_KIND_DEFENSE, name)};
    if (!d->values) return mi_fail(MI_E_INPUT, "the spec's list of defenses has no \"%.80s\"", name);
    if (desc->validate) MI_TRY(desc->validate(d->values));
    if (desc->state_size > 0) {
        d->state = mi_calloc(1, desc->state_size);
        if (!d->state) return MI_E_NOMEM;
    }
    size_t used = strlen(ds->names);
    snprintf(ds->names + used, sizeof ds->names - used, "%s%s", used ? "+" : "", desc->info.name);
    ds->n++;
    return MI_OK;
}

/* ---- what goes together ---- */

static bool has_main_loss(const struct mi_defense *d) {
    return d->desc->main_loss;
}
static bool has_gradients(const struct mi_defense *d) {
    return d->desc->gradients;
}
static bool has_head(const struct mi_defense *d) {
    return d->desc->replaces_head;
}
static bool has_sampler(const struct mi_defense *d) {
    return d->desc->sample && (!d->desc->samples || d->desc->samples(d->values));
}

/* There is one place for each of these in a training step. */
static const struct {
    bool (*has)(const struct mi_defense *d);
    const char *what;
} single[] = {
    {has_main_loss, "replaces the classification loss"},
    {has_sampler, "chooses the photos of every batch"},
    {has_gradients, "computes the gradients its own way"},
    {has_head, "puts a head of its own on the features"},
};

static enum mi_status check_composition(const struct mi_defenses *ds, const struct mi_spec *spec) {
    for (int i = 0; i < ds->n; i++) /* first, for a defense's own reason says more */
        if (ds->item[i].desc->compose) MI_TRY(ds->item[i].desc->compose(&ds->item[i], ds, spec));
    for (size_t k = 0; k < sizeof single / sizeof *single; k++) {
        const struct mi_defense *first = NULL;
        for (int i = 0; i < ds->n; i++) {
            const struct mi_defense *d = &ds->item[i];
            if (!single[k].has(d)) continue;
            if (first)
                return mi_fail(MI_E_INPUT, "%s and %s do not compose: each %s, and only one can",
                               first->desc->info.name, d->desc->info.name, single[k].what);
            first = d;
        }
    }
    return MI_OK;
}

enum mi_status mi_defenses_open(struct mi_defenses *ds, const char *composition, const struct mi_spec *spec) {
    memset(ds, 0, sizeof(*ds));
    size_t n = 0;
    char **names = mi_list_split(composition, '+', &n);
    if (!names) return mi_error_status();
    enum mi_status st = n > 0 ? MI_OK : mi_fail(MI_E_INPUT, "no defense named; write none for an undefended target");
    for (size_t i = 0; i < n && st == MI_OK; i++) st = add(ds, names[i], spec);
    mi_list_free(names, n);
    if (st == MI_OK) st = check_composition(ds, spec);
    if (st != MI_OK) mi_defenses_close(ds);
    return st;
}

void mi_defenses_close(struct mi_defenses *ds) {
    for (int i = ds->n - 1; i >= 0; i--) {
        struct mi_defense *d = &ds->item[i];
        if (d->desc->free) d->desc->free(d);
        free(d->state);
    }
    memset(ds, 0, sizeof(*ds));
}

enum mi_status mi_defenses_prepare(struct mi_defenses *ds, struct mi_model *m) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->prepare) MI_TRY(ds->item[i].desc->prepare(&ds->item[i], m));
    return MI_OK;
}

enum mi_status mi_defenses_batch(struct mi_defenses *ds, struct mi_batch *b) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->batch) MI_TRY(ds->item[i].desc->batch(&ds->item[i], b));
    return MI_OK;
}

enum mi_status mi_defenses_start(struct mi_defenses *ds, struct mi_model *m, struct mi_train_recipe *r) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->start) MI_TRY(ds->item[i].desc->start(&ds->item[i], m, r));
    return MI_OK;
}

enum mi_status mi_defenses_plan(struct mi_defenses *ds, struct mi_sampling *s, struct mi_defense **who) {
    *who = NULL;
    for (int i = 0; i < ds->n && !*who; i++) {
        struct mi_defense *d = &ds->item[i];
        if (!has_sampler(d)) continue;
        s->per_epoch = 0;
        MI_TRY(d->desc->plan(d, s));
        if (s->per_epoch > 0) *who = d;
    }
    return MI_OK;
}

enum mi_status mi_defenses_step(struct mi_defenses *ds, struct mi_model *m, mt_opt *o, int64_t step, int64_t epoch) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->step) MI_TRY(ds->item[i].desc->step(&ds->item[i], m, o, step, epoch));
    return MI_OK;
}

/* ---- losses ---- */

mt_tensor *mi_batch_mean(const struct mi_batch *b, mt_tensor *per_image /* [N] */) {
    if (b->weight) return mt_sum(mt_mul(per_image, b->weight), NULL, 0, false);
    return mt_mean(per_image, NULL, 0, false);
}

static mt_tensor *entropy(const struct mi_batch *b, mt_tensor *logits /* [N,C] */, double smooth) {
    if (!b->y2 && !b->weight) return mt_cross_entropy(logits, b->y, smooth, MT_RED_MEAN);
    mt_tensor *each = mt_cross_entropy(logits, b->y, smooth, MT_RED_NONE); /* [N] */
    if (b->y2) {
        mt_tensor *other = mt_cross_entropy(logits, b->y2, smooth, MT_RED_NONE);
        each = mt_add(other, mt_mul(b->share, mt_sub(each, other)));
    }
    return mi_batch_mean(b, each);
}

mt_tensor *mi_main_loss(const struct mi_batch *b, const struct mi_forward_out *out, double smooth) {
    mt_tensor *loss = entropy(b, out->logits, smooth); /* [] */
    if (!out->aux_logits) return loss;
    return mt_add(loss, entropy(b, out->aux_logits, smooth));
}

enum mi_status mi_defenses_loss(struct mi_defenses *ds, struct mi_batch *b, struct mi_forward_out *out,
                                mt_tensor **loss) {
    *loss = NULL;
    for (int i = 0; i < ds->n && !*loss; i++)
        if (ds->item[i].desc->main_loss) MI_TRY(ds->item[i].desc->main_loss(&ds->item[i], b, out, loss));
    if (!*loss) *loss = mi_main_loss(b, out, 0.0);
    for (int i = 0; i < ds->n && *loss; i++)
        if (ds->item[i].desc->loss) MI_TRY(ds->item[i].desc->loss(&ds->item[i], b, out, loss));
    return *loss ? MI_OK : mt_status();
}

enum mi_status mi_defenses_gradients(struct mi_defenses *ds, struct mi_model *m, struct mi_batch *b,
                                     struct mi_forward_out *out, mt_tensor **loss) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->gradients) return ds->item[i].desc->gradients(&ds->item[i], ds, m, b, out, loss);
    if (b->n < 1) return mi_fail(MI_E_INTERNAL, "an empty batch needs a defense that knows what to do with it");
    MI_TRY(mi_model_forward(m, b->x, mi_defenses_want_taps(ds), out));
    MI_TRY(mi_defenses_loss(ds, b, out, loss));
    return mt_backward(*loss, false);
}

enum mi_status mi_defenses_before_step(struct mi_defenses *ds, struct mi_model *m, mt_opt *o) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->before_step) MI_TRY(ds->item[i].desc->before_step(&ds->item[i], m, o));
    return MI_OK;
}

enum mi_status mi_defenses_epoch(struct mi_defenses *ds, struct mi_model *m, int64_t epoch) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->epoch) MI_TRY(ds->item[i].desc->epoch(&ds->item[i], m, epoch));
    return MI_OK;
}

bool mi_defenses_want_taps(const struct mi_defenses *ds) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->wants_taps) return true;
    return false;
}
