/* src/nn/defenses.c - a list of defenses acting as one: "midre+nls" runs every hook of midre, then of nls.
 *
 * The list owns each defense's state; the settings are borrowed from the spec and must outlive it.  A hook that is NULL
 * does nothing.  When no loss hook set the main loss it is mean cross entropy; networks with an auxiliary head
 * (Inception-V3) add 0.4 of the head's cross entropy, as that architecture was published with. */
#include <stdlib.h>
#include <string.h>

#include "midre/defense.h"
#include "midre/spec.h"

static enum mi_status add(struct mi_defenses *ds, const char *name, const struct mi_spec *spec) {
    const struct mi_defense_desc *desc = mi_defense_find(name);
    if (!desc) return mi_error_status();
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc == desc) return mi_fail(MI_E_INPUT, "defense %s is named twice in one composition", name);
    if (ds->n == MI_MAX_DEFENSES) return mi_fail(MI_E_INPUT, "at most %d defenses can be composed", MI_MAX_DEFENSES);
    struct mi_defense *d = &ds->item[ds->n];
    *d = (struct mi_defense){.desc = desc, .values = mi_spec_entry(spec, MI_KIND_DEFENSE, name)};
    if (!d->values) return mi_error_status();
    if (desc->validate) MI_TRY(desc->validate(d->values));
    if (desc->state_size > 0) {
        d->state = mi_calloc(1, desc->state_size);
        if (!d->state) return MI_E_NOMEM;
    }
    ds->n++;
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

/* Mean cross entropy of the logits, plus the auxiliary head's. */
static mt_tensor *plain_loss(struct mi_batch *b, struct mi_forward_out *out) {
    mt_tensor *loss = mt_cross_entropy(out->logits, b->y, 0.0, MT_RED_MEAN); /* [] */
    if (!out->aux_logits) return loss;
    return mt_add(loss, mt_affine(mt_cross_entropy(out->aux_logits, b->y, 0.0, MT_RED_MEAN), 0.4, 0.0));
}

enum mi_status mi_defenses_loss(struct mi_defenses *ds, struct mi_batch *b, struct mi_forward_out *out,
                                mt_tensor **loss) {
    *loss = NULL;
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->loss) MI_TRY(ds->item[i].desc->loss(&ds->item[i], b, out, loss));
    if (!*loss) *loss = plain_loss(b, out);
    return *loss ? MI_OK : mt_status();
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
