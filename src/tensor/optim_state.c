/* optim_state.c - optimiser state in an archive, so that a run goes on exactly where it was killed.
 *
 * Under PREFIX: "PREFIX.lr" (f64 [1]), "PREFIX.steps" (i64 [n]) and for each parameter i that has moved
 * "PREFIX.i.exp_avg", "PREFIX.i.exp_avg_sq" (Adam) or "PREFIX.i.momentum_buffer" (SGD), in the parameter's shape.
 * Nothing tells the device, so a run can move between CPU and GPU.  Loading checks everything before it changes
 * anything it cannot check again: a file of another network or optimiser is refused by name. */
#include "src/tensor/archive.h"
#include "src/tensor/optim.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_CAP 256

static const char *const part_name[2][2] = {{"momentum_buffer", NULL}, {"exp_avg", "exp_avg_sq"}};

enum mi_status mt_opt_save(mt_opt *o, mt_archive *a, const char *prefix) {
    char name[NAME_CAP];
    if (!o || !a) return mi_fail(MI_E_INTERNAL, "mt_opt_save: no optimiser or no archive");
    int64_t one = 1, n = o->n;
    int64_t *steps = mi_calloc((unsigned long)n + 1, sizeof *steps);
    if (!steps) return MI_E_NOMEM;
    for (int i = 0; i < o->n; i++) steps[i] = o->slot[i].step;
    snprintf(name, sizeof name, "%s.steps", prefix);
    enum mi_status st = archive_put_raw(a, name, MT_I64, &n, 1, steps);
    free(steps);
    snprintf(name, sizeof name, "%s.lr", prefix);
    if (st == MI_OK) st = archive_put_raw(a, name, MT_F64, &one, 1, &o->lr);
    for (int i = 0; st == MI_OK && i < o->n; i++) {
        mt_tensor *part[2] = {o->slot[i].m, o->slot[i].v};
        for (int k = 0; k < 2 && st == MI_OK; k++) {
            if (!part[k] || o->slot[i].step == 0) continue;
            snprintf(name, sizeof name, "%s.%d.%s", prefix, i, part_name[o->adam][k]);
            st = mt_archive_put(a, name, part[k]);
        }
    }
    return st;
}

/* Copies tensor `name` into `to`, shape for shape. */
static enum mi_status load_part(mt_archive *a, const char *name, mt_tensor *to) {
    int64_t have[MT_MAXDIM], want[MT_MAXDIM];
    mt_tensor *t = mt_archive_get(a, name, mt_device_of(to)); /* in the caller's scope */
    if (!t) return mt_pending();
    int nd = mt_shape(t, have), same = nd == mt_shape(to, want);
    for (int d = 0; same && d < nd; d++) same = have[d] == want[d];
    if (!same) return mi_fail(MI_E_INPUT, "optimiser state '%s' has the shape of another network", name);
    mt_copy_(to, t);
    mt_drop(t);
    return mt_pending();
}

static enum mi_status load_slot(struct mt_opt *o, int i, int64_t step, mt_archive *a, const char *prefix) {
    struct opt_slot *s = &o->slot[i];
    char name[NAME_CAP];
    if (step < 0) return mi_fail(MI_E_INPUT, "optimiser state '%s.steps' holds a negative number", prefix);
    s->step = step;
    if (step == 0) {
        mt_free(s->m);
        mt_free(s->v);
        s->m = s->v = NULL;
        return MI_OK;
    }
    MI_TRY(opt_slot_state(o, s));
    mt_tensor *part[2] = {s->m, s->v};
    for (int k = 0; k < 2; k++) {
        if (!part[k]) continue;
        snprintf(name, sizeof name, "%s.%d.%s", prefix, i, part_name[o->adam][k]);
        MI_TRY(load_part(a, name, part[k]));
    }
    return MI_OK;
}

static enum mi_status load_all(mt_opt *o, mt_archive *a, const char *prefix) {
    char name[NAME_CAP];
    snprintf(name, sizeof name, "%s.lr", prefix);
    mt_tensor *lr = mt_archive_get(a, name, MT_CPU);
    if (!lr) return mt_pending();
    MI_TRY(mt_item(lr, &o->lr));
    snprintf(name, sizeof name, "%s.steps", prefix);
    mt_tensor *steps = mt_archive_get(a, name, MT_CPU);
    if (!steps) return mt_pending();
    if (mt_dtype_of(steps) != MT_I64 || mt_numel(steps) != o->n)
        return mi_fail(MI_E_INPUT, "optimiser state '%s' is for %lld parameters, this network has %d", prefix,
                       (long long)mt_numel(steps), o->n);
    const int64_t *step = mt_data(steps);
    for (int i = 0; i < o->n; i++) MI_TRY(load_slot(o, i, step[i], a, prefix));
    return MI_OK;
}

enum mi_status mt_opt_load(mt_opt *o, mt_archive *a, const char *prefix) {
    if (!o || !a) return mi_fail(MI_E_INTERNAL, "mt_opt_load: no optimiser or no archive");
    mt_scope *scope = mt_scope_begin("optimiser state");
    enum mi_status st = load_all(o, a, prefix), end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}
