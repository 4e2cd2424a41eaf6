/* src/engine/curves.c - the curves of one stage.
 *
 * A long phase is cut into at most a few hundred buckets of equally many steps; a point of a curve is the mean of a
 * bucket.  Buckets depend on steps only, never on the clock, so a run that was killed and resumed draws the very same
 * curves as one that was not, and the product's curves.json is as reproducible as its weights.  Device scalars are
 * summed on the device and read back once a bucket.
 *
 * Owns: names, points and the device sums.  Used by loop.c (gathering), checkpoint.c (exact state) and graph.c (the
 * copy kept with a product, replayed when a later run finds the product in the cache). */
#include "curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "midre/workspace.h"

struct mi_curves *mi_curves_new(void) {
    return mi_calloc(1, sizeof(struct mi_curves));
}

void mi_curves_clear(struct mi_curves *c) {
    for (size_t i = 0; i < c->n; i++) {
        free(c->item[i].name);
        free(c->item[i].p);
        mt_free(c->item[i].device);
    }
    free(c->item);
    memset(c, 0, sizeof(*c));
}

void mi_curves_free(struct mi_curves *c) {
    if (!c) return;
    mi_curves_clear(c);
    free(c);
}

/* The series of that name, made when new; NULL on no memory. */
static struct mi_curve *curve_of(struct mi_curves *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->item[i].name, name) == 0) return &c->item[i];
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 8;
        struct mi_curve *grown = realloc(c->item, cap * sizeof(*grown));
        if (!grown) return mi_fail(MI_E_NOMEM, "no memory for curve %s", name), NULL;
        c->item = grown;
        c->cap = cap;
    }
    char *copy = mi_strdup(name);
    if (!copy) return NULL;
    struct mi_curve *s = &c->item[c->n++];
    *s = (struct mi_curve){.name = copy};
    return s;
}

static void push(struct mi_curve *s, int64_t step, double x, double y) {
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct mi_curve_point *grown = realloc(s->p, cap * sizeof(*grown));
        if (!grown) {
            mi_fail(MI_E_NOMEM, "no memory for curve %s", s->name);
            return;
        }
        s->p = grown;
        s->cap = cap;
    }
    s->p[s->n++] = (struct mi_curve_point){step, x, y};
}

void mi_curves_point(struct mi_curves *c, const char *name, int64_t step, double x, double value) {
    if (!isfinite(value)) return;
    struct mi_curve *s = curve_of(c, name);
    if (s) push(s, step, x, value);
}

void mi_curves_add(struct mi_curves *c, const char *name, double value) {
    struct mi_curve *s = curve_of(c, name);
    if (!s) return;
    s->sum += value;
    s->count++;
}

void mi_curves_add_tensor(struct mi_curves *c, const char *name, mt_tensor *value) {
    struct mi_curve *s = value ? curve_of(c, name) : NULL;
    if (!s) return;
    if (mt_device_of(value).type == 0) { /* on the CPU reading is free and f64 sums are better */
        double v;
        if (mt_item(value, &v) == MI_OK) mi_curves_add(c, name, v);
        return;
    }
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("curve");
    mt_tensor *v = mt_cast(mt_detach(value), MT_F32); /* [] */
    if (s->device)
        mt_add_(s->device, v, 1.0);
    else
        s->device = mt_keep(mt_clone(v));
    s->count++;
    if (mt_scope_end(scope) != MI_OK) mi_error_clear(); /* a curve is never worth the run */
    mt_grad_mode(was);
}

/* Moves what waits on the device into the host sum. */
static enum mi_status settle(struct mi_curve *s) {
    if (!s->device) return MI_OK;
    double v;
    MI_TRY(mt_item(s->device, &v));
    s->sum += v;
    mt_free(s->device);
    s->device = NULL;
    return MI_OK;
}

static void write_line(struct mi_journal *j, const char *stage, int64_t step, double x, json_t *values) {
    if (!j || json_object_size(values) == 0) {
        json_decref(values);
        return;
    }
    json_t *e = json_pack("{s:s, s:s, s:I, s:f, s:o}", "t", "scalars", "stage", stage, "step", (json_int_t)step, "x", x,
                          "values", values);
    if (!e || mi_journal_write(j, e) != MI_OK) mi_error_clear();
}

enum mi_status mi_curves_close(struct mi_curves *c, int64_t step, double x, struct mi_journal *j, const char *stage) {
    json_t *values = json_object();
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < c->n && st == MI_OK; i++) {
        struct mi_curve *s = &c->item[i];
        if (s->count == 0) continue;
        st = settle(s);
        double mean = s->sum / (double)s->count;
        s->sum = 0;
        s->count = 0;
        if (!isfinite(mean)) continue;
        push(s, step, x, mean);
        json_object_set_new(values, s->name, json_real(mean));
    }
    write_line(j, stage, step, x, values);
    return st;
}

void mi_curves_replay(const struct mi_curves *c, struct mi_journal *j, const char *stage) {
    size_t *at = mi_calloc(c->n + 1, sizeof(*at));
    if (!j || !at) {
        free(at);
        return;
    }
    for (;;) { /* merge: the points that share the smallest (step, x) become one line */
        const struct mi_curve_point *least = NULL;
        for (size_t i = 0; i < c->n; i++) {
            const struct mi_curve_point *p = at[i] < c->item[i].n ? &c->item[i].p[at[i]] : NULL;
            if (p && (!least || p->step < least->step || (p->step == least->step && p->x < least->x))) least = p;
        }
        if (!least) break;
        int64_t step = least->step;
        double x = least->x;
        json_t *values = json_object();
        for (size_t i = 0; i < c->n; i++) {
            const struct mi_curve_point *p = at[i] < c->item[i].n ? &c->item[i].p[at[i]] : NULL;
            if (!p || p->step != step || p->x > x) continue;
            json_object_set_new(values, c->item[i].name, json_real(p->y));
            at[i]++;
        }
        write_line(j, stage, step, x, values);
    }
    free(at);
}

/* ---- exact state in a checkpoint: per series an f64 table [n+1,3], row 0 = {sum, count, 0}, then {step, x, y} ------
 */

enum mi_status mi_curves_save(struct mi_curves *c, mt_archive *a) {
    char key[160], text[96];
    snprintf(text, sizeof(text), "%zu %lld %a", c->n, (long long)c->base_step, c->base_x);
    MI_TRY(mt_archive_meta_put(a, "curves", text));
    mt_scope *scope = mt_scope_begin("curves");
    for (size_t i = 0; i < c->n; i++) {
        struct mi_curve *s = &c->item[i];
        if (settle(s) != MI_OK) break;
        double *rows = mi_calloc(s->n + 1, 3 * sizeof(*rows));
        if (!rows) break;
        rows[0] = s->sum;
        rows[1] = (double)s->count;
        for (size_t k = 0; k < s->n; k++) {
            rows[3 * k + 3] = (double)s->p[k].step;
            rows[3 * k + 4] = s->p[k].x;
            rows[3 * k + 5] = s->p[k].y;
        }
        mt_spec f64 = {MT_F64, MT_CPU, MT_NCHW};
        snprintf(key, sizeof(key), "curve.%zu", i);
        mt_archive_put(a, key, mt_from(rows, MT_SHAPE((int64_t)s->n + 1, 3), f64));
        free(rows);
        mt_archive_meta_put(a, key, s->name);
    }
    MI_TRY(mt_scope_end(scope));
    return mi_error_status();
}

static enum mi_status load_one(struct mi_curves *c, mt_archive *a, size_t i) {
    char key[160];
    snprintf(key, sizeof(key), "curve.%zu", i);
    const char *name = mt_archive_meta(a, key);
    mt_tensor *t = mt_archive_get(a, key, MT_CPU); /* [n+1,3] f64 */
    if (!name || !t || mt_ndim(t) != 2 || mt_size(t, 1) != 3 || mt_size(t, 0) < 1)
        return mi_fail(MI_E_INPUT, "checkpoint: curve %zu is damaged", i);
    size_t rows = (size_t)mt_size(t, 0);
    double *v = mi_calloc(rows, 3 * sizeof(*v));
    struct mi_curve *s = v ? curve_of(c, name) : NULL;
    enum mi_status st = s ? mt_read(t, v, (int64_t)(rows * 3 * sizeof(*v)), MT_F64, MT_NCHW) : mi_error_status();
    if (s && st == MI_OK) {
        s->sum = v[0];
        s->count = (int64_t)v[1];
        for (size_t k = 1; k < rows; k++) push(s, (int64_t)v[3 * k], v[3 * k + 1], v[3 * k + 2]);
    }
    free(v);
    return st;
}

enum mi_status mi_curves_load(struct mi_curves *c, mt_archive *a) {
    const char *head = mt_archive_meta(a, "curves");
    size_t n = 0;
    long long base = 0;
    double base_x = 0;
    if (!head || sscanf(head, "%zu %lld %la", &n, &base, &base_x) != 3)
        return mi_fail(MI_E_INPUT, "checkpoint: the curves are missing");
    mi_curves_clear(c);
    c->base_step = base;
    c->base_x = base_x;
    enum mi_status st = MI_OK;
    mt_scope *scope = mt_scope_begin("curves");
    for (size_t i = 0; i < n && st == MI_OK; i++) st = load_one(c, a, i);
    enum mi_status end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}

static size_t points_of(const struct mi_curves *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += c->item[i].n;
    return n;
}

enum mi_status mi_curves_advance(struct mi_curves *c, mt_archive *a) {
    struct mi_curves saved = {0};
    enum mi_status st = mi_curves_load(&saved, a);
    bool further =
        saved.base_step > c->base_step || (saved.base_step == c->base_step && points_of(&saved) > points_of(c));
    if (st == MI_OK && further) {
        mi_curves_clear(c);
        *c = saved;
    } else {
        mi_curves_clear(&saved);
    }
    return st;
}

/* ---- curves.json: {"loss/train": [[step, x, y], ...], ...} --------------------------------------------------------
 */

enum mi_status mi_curves_write(const struct mi_curves *c, const char *path) {
    json_t *all = json_object();
    for (size_t i = 0; i < c->n; i++) {
        json_t *points = json_array();
        for (size_t k = 0; k < c->item[i].n; k++) {
            const struct mi_curve_point *p = &c->item[i].p[k];
            json_array_append_new(points, json_pack("[I, f, f]", (json_int_t)p->step, p->x, p->y));
        }
        json_object_set_new(all, c->item[i].name, points);
    }
    char *text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(10));
    json_decref(all);
    if (!text) return mi_fail(MI_E_NOMEM, "no memory to write %s", path);
    enum mi_status st = mi_write_file(path, text, strlen(text));
    free(text);
    return st;
}

enum mi_status mi_curves_read(struct mi_curves *c, const char *path) {
    mi_curves_clear(c);
    size_t size = 0;
    char *text = mi_read_file(path, 64u << 20, &size);
    if (!text) return mi_error_status();
    json_error_t err;
    json_t *all = json_loadb(text, size, 0, &err);
    free(text);
    if (!json_is_object(all)) {
        json_decref(all);
        return mi_fail(MI_E_INPUT, "%s: not the curves of a product (%s)", path, err.text);
    }
    const char *name;
    json_t *points, *p;
    size_t k;
    json_object_foreach(all, name, points) {
        json_array_foreach(points, k, p) {
            mi_curves_point(c, name, (int64_t)json_integer_value(json_array_get(p, 0)),
                            json_number_value(json_array_get(p, 1)), json_number_value(json_array_get(p, 2)));
        }
    }
    json_decref(all);
    return MI_OK;
}
