/* src/nn/recognise.c - which architecture, with how many classes, at what size and with which settings, fits a file.
 *
 * For each architecture of the table a layout without memory is compared with the file.  The order in which the open
 * questions are settled keeps the number of layouts small: the class count is read off the head; settings are only
 * tried where more than half of the names are already there, one setting after another, each at its best value before
 * the next; the size is only searched where shapes depend on it.  A file of this program says all of it in its
 * metadata, which is tried first and believed only if it fits.
 *
 * Nothing here knows an architecture by name. */
#include "midre/recognise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/nn/params_priv.h"

#define ASSUMED_CLASSES 1000
#define SIZES_MAX       64
#define VALUES_MAX      96 /* values tried for one setting */

struct job {
    const mt_archive *a;
    struct mi_keys *keys;
    const struct mi_wish *wish;
};

static bool same_shape(const mt_archive *a, int i, const mt_tensor *t) {
    int64_t file[MT_MAXDIM], own[MT_MAXDIM];
    int nf = mt_archive_shape(a, i, file), no = mt_shape(t, own);
    return nf == no && memcmp(file, own, (size_t)no * sizeof *own) == 0;
}

static bool in_head(const struct mi_model_desc *d, const char *name) {
    size_t n = strlen(d->head);
    return strncmp(name, d->head, n) == 0 && name[n] == '.';
}

static bool counter(const char *name) {
    size_t n = strlen(name), m = strlen("num_batches_tracked");
    return n >= m && strcmp(name + n - m, "num_batches_tracked") == 0;
}

/* Counts what fits.  Needs settled keys. */
static void compare(const struct job *j, const struct mi_params *ps, struct mi_candidate *c) {
    int exact = 0, inside = 0;
    c->found = c->missing = c->unexpected = c->reshaped = 0;
    c->keys = ps->n;
    c->head_fits = true;
    bool ok = true;
    for (int i = 0; i < ps->n; i++) {
        const char *name = ps->item[i].name;
        int at = mi_keys_index(j->keys, name);
        bool head = in_head(c->desc, name), shaped = at >= 0 && same_shape(j->a, at, ps->item[i].t);
        c->found += at >= 0;
        exact += shaped;
        c->missing += at < 0 && !counter(name);
        c->reshaped += at >= 0 && !shaped;
        if (shaped || (at < 0 && counter(name))) continue;
        if (head) c->head_fits = false;
        if (!head) ok = false;
    }
    for (int i = 0; i < mt_archive_count(j->a); i++) {
        const char *own = mi_keys_own(j->keys, i);
        if (!own) continue;
        inside++;
        if (mi_params_item(ps, own)) continue;
        c->unexpected++;
        if (in_head(c->desc, own))
            c->head_fits = false;
        else
            ok = false;
    }
    c->fits = ok && (c->head_fits || j->wish->head_may_differ);
    int all = ps->n + inside - c->found;
    c->likeness = all > 0 ? 0.5 * (c->found + exact) / all : 0;
}

/* Lays the candidate out and compares.  MI_E_INPUT (message cleared): the architecture cannot be built like this. */
static enum mi_status measure(const struct job *j, struct mi_candidate *c) {
    mt_scope *scope = mt_scope_begin("recognise");
    struct mi_params *ps = mi_model_shapes(c->desc, c->values, c->classes, c->size);
    c->likeness = 0;
    c->fits = false;
    enum mi_status st = ps ? MI_OK : mi_error_status();
    if (ps && mi_keys_settle(j->keys, ps) < 0) st = MI_E_NOMEM;
    if (st == MI_OK) compare(j, ps, c);
    mi_params_free(ps);
    enum mi_status end = mt_scope_end(scope);
    if (st == MI_OK) st = end;
    if (st != MI_OK && st != MI_E_NOMEM) {
        mi_error_clear();
        st = MI_E_INPUT;
    }
    return st;
}

/* The class count as the head's first dimension; needs keys settled for this architecture. */
static void read_classes(const struct job *j, struct mi_candidate *c) {
    int64_t shape[MT_MAXDIM];
    char *name = mi_format("%s.weight", c->desc->head);
    int at = name ? mi_keys_index(j->keys, name) : -1;
    if (at >= 0 && mt_archive_shape(j->a, at, shape) >= 1 && shape[0] > 0 && shape[0] < 10000000) {
        c->classes = (int)shape[0];
        c->classes_known = true;
    }
    free(name);
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

/* Texts worth trying for a setting: all of a short list, else round numbers.  Returns how many. */
static int values_of(const struct mi_setting *s, char out[VALUES_MAX][24]) {
    int n = 0;
    if (s->type == MI_BOOL) {
        snprintf(out[n++], 24, "yes");
        snprintf(out[n++], 24, "no");
    } else if (s->type == MI_CHOICE) {
        for (const char *at = s->choices; *at && n < VALUES_MAX; at += strcspn(at, "|"), at += *at == '|')
            snprintf(out[n++], 24, "%.*s", (int)strcspn(at, "|"), at);
    } else if (s->type == MI_INT && s->max - s->min < 32) {
        for (double v = s->min; v <= s->max; v++) snprintf(out[n++], 24, "%.0f", v);
    } else if (s->type == MI_INT) {
        static const int part[] = {4, 5, 6, 7}; /* quarters between two powers of two */
        for (double p = 1; p <= s->max; p *= 2)
            for (int i = 0; i < 4 && n < VALUES_MAX; i++) {
                double v = p * part[i];
                if (v >= s->min && v <= s->max) snprintf(out[n++], 24, "%.0f", v);
            }
    }
    return n;
}

/* Tries the values of one setting and leaves the best. */
static enum mi_status try_setting(const struct job *j, struct mi_candidate *c, const struct mi_setting *s) {
    char value[VALUES_MAX][24];
    int n = values_of(s, value), best = -1;
    struct mi_candidate top = *c;
    char *before = mi_strdup(mi_values_text(c->values, s->name));
    if (!before) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (int i = 0; i < n && !top.fits && st != MI_E_NOMEM; i++) {
        if (mi_values_set(c->values, s->name, value[i]) != MI_OK) {
            mi_error_clear();
            continue;
        }
        st = measure(j, c);
        if (st != MI_OK || c->likeness <= top.likeness) continue;
        top = *c;
        best = i;
    }
    *c = top;
    if (st != MI_E_NOMEM) st = mi_values_set(c->values, s->name, best < 0 ? before : value[best]);
    free(before);
    return st;
}

static enum mi_status search_settings(const struct job *j, struct mi_candidate *c) {
    double before;
    int rounds = 0;
    do { /* settings may depend on each other: once more while it helps */
        before = c->likeness;
        for (const struct mi_setting *s = mi_values_settings(c->values); s && s->name && !c->fits; s++)
            MI_TRY(try_setting(j, c, s));
    } while (!c->fits && c->likeness > before && ++rounds < 3);
    return MI_OK;
}

/* ---- size ----------------------------------------------------------------------------------------------------- */

static int sizes_of(const struct mi_model_desc *d, int out[SIZES_MAX]) {
    static const int usual[] = {32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512};
    int step = d->size_step > 0 ? d->size_step : 1, n = 0;
    if ((d->max_size - d->min_size) / step < SIZES_MAX) {
        for (int s = d->min_size; s <= d->max_size; s += step) out[n++] = s;
        return n;
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (usual[i] >= d->min_size && usual[i] <= d->max_size && (usual[i] - d->min_size) % step == 0)
            out[n++] = usual[i];
    return n;
}

/* Whether the smallest and the greatest size have the same shapes. */
static bool size_matters(const struct mi_candidate *c) {
    const struct mi_model_desc *d = c->desc;
    int step = d->size_step > 0 ? d->size_step : 1, high = d->max_size - (d->max_size - d->min_size) % step;
    if (high == d->min_size) return false;
    mt_scope *scope = mt_scope_begin("sizes");
    struct mi_params *a = mi_model_shapes(d, c->values, c->classes, d->min_size);
    struct mi_params *b = mi_model_shapes(d, c->values, c->classes, high);
    bool differ = a && b && a->n != b->n;
    for (int i = 0; a && b && !differ && i < a->n; i++) {
        int64_t x[MT_MAXDIM], y[MT_MAXDIM];
        int nx = mt_shape(a->item[i].t, x), ny = mt_shape(b->item[i].t, y);
        differ = nx != ny || memcmp(x, y, (size_t)nx * sizeof *x) != 0;
    }
    mi_params_free(a);
    mi_params_free(b);
    if (mt_scope_end(scope) != MI_OK || mi_error_status() != MI_OK) mi_error_clear();
    return differ;
}

/* Finds the size; several that fit leave it assumed: the native one if it is among them, else the first. */
static enum mi_status search_size(const struct job *j, struct mi_candidate *c) {
    int size[SIZES_MAX], n = sizes_of(c->desc, size), fitting = 0;
    struct mi_candidate top = *c;
    for (int i = 0; i < n; i++) {
        c->size = size[i];
        enum mi_status st = measure(j, c);
        if (st == MI_E_NOMEM) return st;
        if (st != MI_OK) continue;
        fitting += c->fits;
        bool better = c->likeness > top.likeness || (c->fits && !top.fits);
        if (better || (c->fits && c->size == c->desc->native_size)) top = *c;
    }
    *c = top;
    c->size_known = fitting == 1;
    return MI_OK;
}

/* ---- one architecture ------------------------------------------------------------------------------------------ */

/* What a file of this program says about itself. */
static void take_metadata(const struct job *j, struct mi_candidate *c) {
    const char *model = mt_archive_meta(j->a, "model"), *size = mt_archive_meta(j->a, "size");
    if (!model || strcmp(model, c->desc->info.name) != 0) return;
    for (const struct mi_setting *s = mi_values_settings(c->values); s && s->name; s++) {
        char key[96];
        snprintf(key, sizeof key, "model.%s", s->name);
        const char *text = mt_archive_meta(j->a, key);
        if (text && mi_values_set(c->values, s->name, text) != MI_OK) mi_error_clear();
    }
    if (size && !j->wish->size) c->size = atoi(size), c->size_known = true;
}

static bool allowed(const struct mi_model_desc *d, int size) {
    int step = d->size_step > 0 ? d->size_step : 1;
    return size >= d->min_size && size <= d->max_size && (size - d->min_size) % step == 0;
}

static enum mi_status examine(const struct job *j, struct mi_candidate *c) {
    c->classes = j->wish->classes > 0 ? j->wish->classes : ASSUMED_CLASSES;
    c->size = j->wish->size && allowed(c->desc, j->wish->size) ? j->wish->size : c->desc->native_size;
    if (c->desc->info.settings) {
        c->values = mi_values_new(c->desc->info.name, c->desc->info.settings);
        if (!c->values) return MI_E_NOMEM;
    }
    take_metadata(j, c);
    if (!allowed(c->desc, c->size)) c->size = c->desc->native_size, c->size_known = false;
    enum mi_status st = measure(j, c);
    if (st != MI_OK) return st;
    int assumed = c->classes;
    read_classes(j, c);
    if (c->classes != assumed && (st = measure(j, c)) != MI_OK) return st;
    if (c->found * 2 < c->keys) return MI_OK; /* another network */
    if (!c->fits && c->values) MI_TRY(search_settings(j, c));
    bool said = c->size_known && c->fits;
    if (!said && !j->wish->size && size_matters(c)) MI_TRY(search_size(j, c));
    if (!c->fits && c->values && c->desc->info.settings) MI_TRY(search_settings(j, c));
    if (c->fits && j->wish->size && size_matters(c)) c->size_known = true;
    return MI_OK;
}

static int by_rank(const void *x, const void *y) {
    const struct mi_candidate *a = x, *b = y;
    if (a->fits != b->fits) return b->fits - a->fits;
    if (a->likeness != b->likeness) return a->likeness < b->likeness ? 1 : -1;
    return strcmp(a->desc->info.name, b->desc->info.name);
}

/* ---- the file itself ------------------------------------------------------------------------------------------- */

static void describe_file(const mt_archive *a, struct mi_recognition *r) {
    int64_t per_type[MT_BOOL + 1] = {0};
    r->tensors = mt_archive_count(a);
    for (int i = 0; i < r->tensors; i++) {
        int64_t shape[MT_MAXDIM], n = 1;
        int nd = mt_archive_shape(a, i, shape);
        for (int d = 0; d < nd; d++) n *= shape[d];
        r->elements += n;
        per_type[mt_archive_dtype(a, i)] += n;
    }
    for (int t = 0; t <= MT_BOOL; t++)
        if (per_type[t] > per_type[r->dtype]) r->dtype = (mt_dtype)t;
}

void mi_recognition_free(struct mi_recognition *r) {
    for (int i = 0; i < r->n; i++) mi_values_free(r->best[i].values);
    free(r->best);
    free(r->prefix);
    *r = (struct mi_recognition){.n = 0};
}

static enum mi_status rank(const struct job *j, struct mi_recognition *r) {
    qsort(r->best, (size_t)r->n, sizeof *r->best, by_rank);
    struct mi_candidate again = r->best[0]; /* settles the keys for the winner */
    enum mi_status st = measure(j, &again);
    if (st == MI_E_INPUT) st = MI_OK; /* none could be laid out */
    if (st == MI_OK) r->prefix = mi_strdup(mi_keys_prefix(j->keys));
    return st == MI_OK && !r->prefix ? MI_E_NOMEM : st;
}

enum mi_status mi_recognise(const mt_archive *a, const struct mi_wish *wish, struct mi_recognition *r) {
    *r = (struct mi_recognition){.n = 0};
    const struct mi_model_desc *only = wish->arch ? mi_model_find(wish->arch) : NULL;
    if (wish->arch && !only) return MI_E_INPUT;
    if (mt_archive_count(a) < 1) return mi_fail(MI_E_INPUT, "the file holds no tensor");
    describe_file(a, r);
    int n = 0;
    while (mi_model_table[n]) n++;
    struct job j = {.a = a, .keys = mi_keys_new(a), .wish = wish};
    r->best = mi_calloc((size_t)n + 1, sizeof *r->best);
    enum mi_status st = j.keys && r->best ? MI_OK : MI_E_NOMEM;
    for (int i = 0; i < n && st == MI_OK; i++) {
        if (only && mi_model_table[i] != only) continue;
        struct mi_candidate *c = &r->best[r->n++];
        c->desc = mi_model_table[i];
        st = examine(&j, c);
        if (st == MI_E_INPUT) st = MI_OK; /* this one cannot be laid out like that: it stays last */
    }
    if (st == MI_OK) st = rank(&j, r);
    mi_keys_free(j.keys);
    if (st != MI_OK) mi_recognition_free(r);
    return st;
}
