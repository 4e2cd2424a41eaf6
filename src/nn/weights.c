/* src/nn/weights.c - a parameter store and the outside: saving, strict loading, start weights, synthetic weights.
 *
 * Loading copies into the existing tensors, so optimisers and layers keep their handles.  The strict loader first
 * looks at everything and changes nothing unless all of it fits: names, shapes, whole-number against real-number
 * types, finite values, variances that are not negative.  Its message names what is missing, unexpected or of
 * another shape.  A missing num_batches_tracked is 0 (files older than PyTorch 0.4.1 have none).
 * The synthetic weights follow the recipe of tests/golden/README.md. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/nn/params_priv.h"

#define NAMES_SHOWN 6

enum fault { MISSING, UNEXPECTED, RESHAPED, FAULTS };
struct report {
    int n[FAULTS];
    char text[FAULTS][640];
};

__attribute__((format(printf, 3, 4))) static void blame(struct report *r, enum fault f, const char *fmt, ...) {
    if (r->n[f]++ >= NAMES_SHOWN) return;
    size_t len = strlen(r->text[f]);
    va_list ap;
    va_start(ap, fmt);
    if (len && len + 3 < sizeof r->text[f]) len += (size_t)snprintf(r->text[f] + len, sizeof r->text[f] - len, ", ");
    vsnprintf(r->text[f] + len, sizeof r->text[f] - len, fmt, ap);
    va_end(ap);
}

static enum mi_status verdict(const struct report *r) {
    static const char *const word[FAULTS] = {"missing", "unexpected", "of another shape"};
    char text[3 * 720] = "";
    size_t len = 0;
    for (int f = 0; f < FAULTS; f++) {
        if (!r->n[f]) continue;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d %s (%s%s)", len ? "; " : "", r->n[f], word[f],
                                r->text[f], r->n[f] > NAMES_SHOWN ? ", ..." : "");
    }
    return len ? mi_fail(MI_E_INPUT, "the weights do not fit this network: %s", text) : MI_OK;
}

static void shape_text(const mt_tensor *t, char out[96]) {
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape);
    size_t len = (size_t)snprintf(out, 96, "[");
    for (int i = 0; i < nd && len < 80; i++)
        len += (size_t)snprintf(out + len, 96 - len, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(out + len, 96 - len, "]");
}

static bool same_shape(const mt_tensor *a, const mt_tensor *b) {
    int64_t sa[MT_MAXDIM], sb[MT_MAXDIM];
    int na = mt_shape(a, sa), nb = mt_shape(b, sb);
    return na == nb && na >= 0 && memcmp(sa, sb, (size_t)na * sizeof *sa) == 0;
}

static bool whole(const mt_tensor *t) {
    mt_dtype d = mt_dtype_of(t);
    return d == MT_I64 || d == MT_I32 || d == MT_U8 || d == MT_BOOL;
}

static bool ends_with(const char *text, const char *tail) {
    size_t a = strlen(text), b = strlen(tail);
    return a >= b && strcmp(text + a - b, tail) == 0;
}

bool mi_params_counter(const char *name) {
    return ends_with(name, "num_batches_tracked");
}

/* "fc.weight" belongs to "fc". */
static bool belongs_to(const char *name, const char *layer) {
    size_t n = strlen(layer);
    return strncmp(name, layer, n) == 0 && name[n] == '.';
}

/* Copies under no-grad: parameters are leaves. */
static void overwrite(mt_tensor *dst, mt_tensor *src) {
    bool grad = mt_grad_mode(false);
    mt_copy_(dst, src);
    mt_grad_mode(grad);
}

enum mi_status mi_params_save(const struct mi_params *ps, mt_archive *a, const char *prefix) {
    for (int i = 0; i < ps->n; i++) {
        char *name = mi_format("%s%s", prefix ? prefix : "", ps->item[i].name);
        if (!name) return MI_E_NOMEM;
        enum mi_status st = mt_archive_put(a, name, ps->item[i].t);
        free(name);
        MI_TRY(st);
    }
    return MI_OK;
}

/* Fetches every tensor of the store into got[ps->n] (NULL where a counter is absent) and notes what does not fit. */
static enum mi_status collect(const struct mi_params *ps, mt_archive *a, struct mi_lookup *l, mt_tensor **got) {
    struct report r = {0};
    for (int i = 0; i < ps->n; i++) {
        const struct mi_named *item = &ps->item[i];
        bool head = l->head && belongs_to(item->name, l->head);
        int at = l->index(l, item->name);
        if (at >= 0)
            got[i] = mt_archive_get(a, mt_archive_name(a, at), MT_CPU);
        else if (head)
            l->head_kept = true;
        else if (!mi_params_counter(item->name))
            blame(&r, MISSING, "%s", item->name);
        if (mt_failed()) return mt_status();
        if (!got[i]) continue;
        if (head && !same_shape(got[i], item->t)) {
            l->head_kept = true;
            got[i] = NULL;
        } else if (!same_shape(got[i], item->t)) {
            char theirs[96], ours[96];
            shape_text(got[i], theirs);
            shape_text(item->t, ours);
            blame(&r, RESHAPED, "%s: file %s, network %s", item->name, theirs, ours);
        } else if (whole(got[i]) != whole(item->t)) {
            blame(&r, RESHAPED, "%s: file holds %s numbers", item->name, whole(got[i]) ? "whole" : "real");
        }
    }
    for (int i = 0; i < mt_archive_count(a); i++) {
        const char *own = l->own(l, i);
        if (own && !mi_params_item(ps, own) && !(l->head && belongs_to(own, l->head))) blame(&r, UNEXPECTED, "%s", own);
    }
    return verdict(&r);
}

/* Values no training leaves behind: the file is damaged or hostile. */
static enum mi_status check_values(const struct mi_params *ps, mt_tensor *const *got) {
    for (int i = 0; i < ps->n; i++) {
        const char *name = ps->item[i].name;
        if (got[i] && ps->item[i].constant && mt_hash(mt_cast(got[i], MT_I64)) != mt_hash(ps->item[i].t))
            return mi_fail(MI_E_INPUT, "'%s' is not the table this network computes: the file is damaged", name);
        if (!got[i] || whole(got[i])) continue;
        if (!mt_all_finite(got[i]))
            return mi_fail(MI_E_INPUT, "weight '%s' holds values that are not finite: the file is damaged", name);
        double least = 0.0;
        if (ends_with(name, "running_var") && mt_numel(got[i]) > 0)
            MI_TRY(mt_item(mt_amin(mt_flatten(got[i], 0), 0, false), &least));
        if (least < 0.0) return mi_fail(MI_E_INPUT, "'%s' holds a negative variance: the file is damaged", name);
    }
    return MI_OK;
}

enum mi_status mi_params_load_by(struct mi_params *ps, mt_archive *a, struct mi_lookup *l) {
    mt_tensor **got = mi_calloc((unsigned long)ps->n + 1, sizeof *got);
    if (!got) return MI_E_NOMEM;
    mt_scope *s = mt_scope_begin("params.load");
    enum mi_status st = collect(ps, a, l, got);
    if (st == MI_OK) st = check_values(ps, got);
    for (int i = 0; st == MI_OK && i < ps->n; i++) {
        if (got[i])
            overwrite(ps->item[i].t, got[i]);
        else if (mi_params_counter(ps->item[i].name))
            mt_fill_(ps->item[i].t, 0.0);
    }
    enum mi_status end = mt_scope_end(s);
    free(got);
    return st != MI_OK ? st : end;
}

/* The plain lookup: every name behind one prefix. */
struct prefixed {
    struct mi_lookup base;
    const mt_archive *a;
    const char *prefix;
};

static int prefixed_index(const struct mi_lookup *l, const char *own) {
    const struct prefixed *p = (const struct prefixed *)l;
    char *name = mi_format("%s%s", p->prefix, own);
    int at = name ? mt_archive_index(p->a, name) : -1;
    free(name);
    return at;
}

static const char *prefixed_own(const struct mi_lookup *l, int i) {
    const struct prefixed *p = (const struct prefixed *)l;
    const char *name = mt_archive_name(p->a, i);
    size_t n = strlen(p->prefix);
    return strncmp(name, p->prefix, n) == 0 ? name + n : NULL;
}

enum mi_status mi_params_load(struct mi_params *ps, mt_archive *a, const char *prefix) {
    struct prefixed p = {.base = {.index = prefixed_index, .own = prefixed_own}, .a = a, .prefix = prefix ? prefix : ""};
    return mi_params_load_by(ps, a, &p.base);
}

/* Wrappers PyTorch users put around a network leave their name in front of every key. */
static const char *strip_wrappers(const char *name) {
    static const char *const wrapper[] = {"module.", "_orig_mod.", "model."};
    for (size_t i = 0; i < sizeof wrapper / sizeof *wrapper; i++) {
        size_t len = strlen(wrapper[i]);
        if (strncmp(name, wrapper[i], len) == 0) return strip_wrappers(name + len);
    }
    return name;
}

enum mi_status mi_params_init_some(struct mi_params *ps, mt_archive *a, const char *file_prefix, const char *own_prefix,
                                   const char *skip, bool *hit, int *used) {
    size_t file_len = strlen(file_prefix);
    *used = 0;
    mt_scope *s = mt_scope_begin("params.init_from");
    enum mi_status st = MI_OK;
    for (int i = 0; i < mt_archive_count(a) && st == MI_OK; i++) {
        const char *file_name = mt_archive_name(a, i), *plain = strip_wrappers(file_name);
        if (strncmp(plain, file_prefix, file_len) != 0) continue;
        char *own = mi_alias_applied(ps->alias, plain);
        if (own && strcmp(own, plain) == 0) {
            free(own);
            own = mi_format("%s%s", own_prefix, plain + file_len);
        }
        if (!own) st = MI_E_NOMEM;
        struct mi_named *item = own ? mi_params_item(ps, own) : NULL;
        bool skipped = item && strncmp(own, skip, strlen(skip)) == 0;
        free(own);
        if (!item || skipped || item->constant) continue;
        mt_tensor *t = mt_archive_get(a, file_name, MT_CPU);
        if (!t) {
            st = mt_status();
        } else if (same_shape(t, item->t) && whole(t) == whole(item->t)) {
            overwrite(item->t, t);
            hit[item - ps->item] = true;
            ++*used;
        }
        mt_drop(t);
    }
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

/* ---- synthetic weights of the parity tests --------------------------------------------------------------- */

/* Uniform in [-1,1): a splitmix64 finaliser over (hash of the key + element number). */
static double golden_unit(uint64_t key, uint64_t i) {
    uint64_t z = key + i + UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53 * 2.0 - 1.0;
}

static void golden_scale(const char *name, const mt_tensor *t, double gain, double *mul, double *add) {
    *add = 0.0;
    if (ends_with(name, "running_mean"))
        *mul = 0.1;
    else if (ends_with(name, "running_var"))
        *mul = 0.25, *add = 1.0;
    else if (ends_with(name, "relative_position_bias_table"))
        *mul = 0.5;
    else if (mt_ndim(t) >= 2)
        *mul = gain * sqrt(3.0 / ((double)mt_numel(t) / (double)mt_size(t, 0)));
    else if (ends_with(name, "weight"))
        *mul = 0.25, *add = 1.0;
    else
        *mul = 0.1;
}

void mi_params_golden(struct mi_params *ps, double gain) {
    for (int i = 0; i < ps->n; i++) {
        const struct mi_named *item = &ps->item[i];
        if (ends_with(item->name, "relative_position_index")) continue;
        if (mi_params_counter(item->name)) {
            mt_fill_(item->t, 0.0);
            continue;
        }
        size_t n = (size_t)mt_numel(item->t);
        float *values = malloc(n * sizeof *values);
        if (!values) {
            mt_raise(MI_E_NOMEM, "out of memory for the synthetic weights");
            return;
        }
        double mul, add;
        golden_scale(item->name, item->t, gain, &mul, &add);
        uint64_t key = mi_hash_text(item->name);
        for (size_t e = 0; e < n; e++) values[e] = (float)(mul * golden_unit(key, e) + add);
        mi_param_write(item->t, values);
        free(values);
    }
}
