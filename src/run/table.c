/* src/run/table.c - gathers the privacy-utility table from the journals of a workspace.
 *
 * Every score event of every run is one row; nothing is computed here but the trade-off Delta, because it needs two
 * rows: the defended one and the undefended one of the same experiment.  Published rows (published.c) join in with
 * our names, so that "midre on vgg16 under kedmi" measured here stands beside the paper's.
 *
 * Rows own their strings.  Order: groups of equal data and resolution, those with measured rows first; in a group by
 * attack, model, defense (undefended first), measured before published, newest run first.  Printing: table_print.c. */
#include "midre/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "midre/spec.h"
#include "table_columns.h"

double mi_tradeoff(double acc_nodef, double attacc_nodef, double acc, double attacc, bool *op) {
    *op = false;
    if (isnan(acc_nodef) || isnan(attacc_nodef) || isnan(acc) || isnan(attacc)) return NAN;
    /* Accuracies are printed with two digits; a smaller difference is no fall of accuracy. */
    if (acc_nodef - acc < 0.005) {
        *op = true;
        return NAN;
    }
    return (attacc_nodef - attacc) / (acc_nodef - acc);
}

struct mi_row *mi_table_add(struct mi_table *t) {
    if ((t->n & (t->n - 1)) == 0) { /* grow at powers of two */
        size_t cap = t->n ? t->n * 2 : 1;
        struct mi_row *bigger = realloc(t->rows, cap * sizeof *bigger);
        if (!bigger) {
            mi_fail(MI_E_NOMEM, "no memory for the table (%zu rows)", t->n);
            return NULL;
        }
        t->rows = bigger;
    }
    struct mi_row *r = &t->rows[t->n++];
    memset(r, 0, sizeof *r);
    struct mi_score_view *s = &r->s;
    s->acc = s->attacc = s->attacc_std = s->top5 = s->top5_std = s->knn = s->tradeoff = NAN;
    s->judge_acc = s->target_judged = s->fid = s->delta_eval = s->delta_face = s->queries = NAN;
    s->seed = -1;
    r->base_acc = r->base_attacc = NAN;
    return r;
}

void mi_row_free(struct mi_row *r) {
    struct mi_score_view *s = &r->s;
    char *owned[] = {s->cell,      s->model,       s->defense,  s->attack,         s->data,   s->judge,
                     s->precision, s->device,      s->protocol, s->init,           s->note,   s->fid_features,
                     r->source,    r->public_data, r->variant,  r->attack_variant, r->recipe, r->seeds};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

void mi_table_free(struct mi_table *t) {
    for (size_t i = 0; i < t->n; i++) mi_row_free(&t->rows[i]);
    free(t->rows);
    t->rows = NULL;
    t->n = 0;
}

/* ---- measured rows --------------------------------------------------------------------------------------------- */

static enum mi_status copy_text(char **to, const char *from) {
    *to = mi_strdup(from ? from : "");
    return *to ? MI_OK : MI_E_NOMEM;
}

/* Names and settings of a row's defense and attack, apart.  Without a spec that has them, they stay as they are. */
static enum mi_status name_entries(struct mi_row *r, const struct mi_spec *spec) {
    if (spec)
        MI_TRY(mi_spec_recipe(spec, r->s.model, r->s.attack, &r->recipe, &r->seeds));
    else if (!(r->recipe = mi_strdup("")) || !(r->seeds = mi_strdup("")))
        return MI_E_NOMEM;
    r->attack_variant = spec ? mi_attack_variant(spec, r->s.attack) : NULL;
    if (!r->attack_variant) {
        mi_error_clear();
        MI_TRY(copy_text(&r->attack_variant, ""));
    }
    r->variant = spec ? mi_composition_variant(spec, r->s.defense) : NULL;
    if (!r->variant) {
        mi_error_clear();
        return copy_text(&r->variant, "");
    }
    char *names = mi_composition_names(r->s.defense);
    if (!names) return MI_E_NOMEM;
    free(r->s.defense);
    r->s.defense = names;
    return MI_OK;
}

static enum mi_status add_measured(struct mi_table *t, const struct mi_run_view *v, const struct mi_score_view *s,
                                   const struct mi_spec *spec) {
    struct mi_row *r = mi_table_add(t);
    if (!r) return MI_E_NOMEM;
    r->s = *s;
    r->s.tradeoff = NAN, r->s.overpriced = false;
    r->run = v->number;
    /* Every pointer copied from the view is replaced before anything can fail into row_free. */
    char **own[] = {&r->s.cell,      &r->s.model,  &r->s.defense,  &r->s.attack, &r->s.data, &r->s.judge,
                    &r->s.precision, &r->s.device, &r->s.protocol, &r->s.init,   &r->s.note, &r->s.fid_features};
    const char *from[sizeof own / sizeof *own];
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) from[i] = *own[i], *own[i] = NULL;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) MI_TRY(copy_text(own[i], from[i]));
    r->source = mi_format("%s %04d", s->quick ? "quick" : "run", v->number);
    MI_TRY(name_entries(r, spec));
    const char *pub = spec ? mi_values_text(spec->section[MI_SEC_DATA], "public") : "";
    MI_TRY(copy_text(&r->public_data, spec && !*pub ? r->s.data : pub));
    return r->source && r->variant ? MI_OK : MI_E_NOMEM;
}

/* Rows of one run.  A run that cannot be read (deleted meanwhile, damaged) is no reason to refuse the table. */
static enum mi_status add_run(struct mi_table *t, const struct mi_workspace *ws, int number) {
    char *dir = mi_run_dir(ws, number);
    char *path = mi_run_file(ws, number, "spec.ini");
    struct mi_run_view *v = dir ? mi_view_open(dir, number) : NULL;
    enum mi_status st = MI_OK;
    if (v && mi_view_update(v, NULL) == MI_OK && v->n_scores > 0) {
        struct mi_spec *spec = path ? mi_spec_load(path, NULL, 0) : NULL;
        if (!spec) mi_error_clear();
        for (size_t i = 0; i < v->n_scores && st == MI_OK; i++) st = add_measured(t, v, &v->scores[i], spec);
        mi_spec_free(spec);
    } else {
        mi_error_clear();
    }
    mi_view_close(v);
    free(dir);
    free(path);
    return st;
}

/* ---- trade-off --------------------------------------------------------------------------------------------------- */

/* The undefended row `r` is compared with, or NULL. */
static const struct mi_row *baseline_of(const struct mi_table *t, const struct mi_row *r) {
    const struct mi_row *best = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const struct mi_row *b = &t->rows[i];
        if (b->published || !mi_same_text(b->s.defense, MI_NO_DEFENSE)) continue;
        if (*b->recipe ? !mi_same_text(b->recipe, r->recipe) : b->run != r->run)
            continue; /* a lost spec says nothing */
        if (!mi_same_text(b->seeds, r->seeds) || !mi_same_text(b->s.precision, r->s.precision) ||
            !mi_same_text(b->s.model, r->s.model) || !mi_same_text(b->s.data, r->s.data) ||
            !mi_same_text(b->s.attack, r->s.attack) || !mi_same_text(b->s.judge, r->s.judge) ||
            !mi_same_text(b->s.init, r->s.init) || !mi_same_text(b->s.protocol, r->s.protocol) ||
            b->s.resolution != r->s.resolution || b->s.quick != r->s.quick || b->s.seed != r->s.seed ||
            b->s.identities != r->s.identities)
            continue;
        if (b->run == r->run) return b;
        if (!best || b->run > best->run) best = b;
    }
    return best;
}

static void fill_tradeoffs(struct mi_table *t) {
    for (size_t i = 0; i < t->n; i++) {
        struct mi_row *r = &t->rows[i];
        if (r->published || mi_same_text(r->s.defense, MI_NO_DEFENSE)) continue;
        const struct mi_row *b = baseline_of(t, r);
        if (!b) continue;
        r->base_acc = b->s.acc, r->base_attacc = b->s.attacc;
        r->s.tradeoff = mi_tradeoff(b->s.acc, b->s.attacc, r->s.acc, r->s.attacc, &r->s.overpriced);
    }
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static int by_group(const struct mi_row *a, const struct mi_row *b) {
    int c = strcasecmp(a->s.data ? a->s.data : "", b->s.data ? b->s.data : "");
    return c ? c : (a->s.resolution > b->s.resolution) - (a->s.resolution < b->s.resolution);
}

bool mi_row_same_group(const struct mi_row *a, const struct mi_row *b) {
    return by_group(a, b) == 0;
}

/* Undefended rows stand first in their block. */
static int by_default(const struct mi_row *a, const struct mi_row *b) {
    int c = by_group(a, b);
    if (!c) c = strcasecmp(a->s.attack ? a->s.attack : "", b->s.attack ? b->s.attack : "");
    if (!c) c = strcasecmp(a->s.model ? a->s.model : "", b->s.model ? b->s.model : "");
    if (!c) c = mi_same_text(b->s.defense, MI_NO_DEFENSE) - mi_same_text(a->s.defense, MI_NO_DEFENSE);
    if (!c) c = strcasecmp(a->s.defense ? a->s.defense : "", b->s.defense ? b->s.defense : "");
    if (!c) c = a->published - b->published;
    if (!c) c = strcasecmp(a->variant ? a->variant : "", b->variant ? b->variant : "");
    if (!c) c = strcasecmp(a->attack_variant ? a->attack_variant : "", b->attack_variant ? b->attack_variant : "");
    return c ? c : b->run - a->run;
}

/* Merge sort: equal rows keep the order they were found in. */
static void merge_sort(struct mi_row *rows, struct mi_row *tmp, size_t n, const struct mi_row_order *o) {
    if (n < 2) return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    merge_sort(rows, tmp, half, o);
    merge_sort(rows + half, tmp, n - half, o);
    memcpy(tmp, rows, n * sizeof *rows);
    while (i < half && j < n) rows[k++] = o->compare(&tmp[j], &tmp[i], o) < 0 ? tmp[j++] : tmp[i++];
    while (i < half) rows[k++] = tmp[i++];
    while (j < n) rows[k++] = tmp[j++];
}

enum mi_status mi_rows_sort(struct mi_row *rows, size_t n, const struct mi_row_order *o) {
    if (n < 2) return MI_OK;
    struct mi_row *tmp = mi_calloc(n, sizeof *tmp);
    if (!tmp) return MI_E_NOMEM;
    merge_sort(rows, tmp, n, o);
    free(tmp);
    return MI_OK;
}

static int compare_default(const struct mi_row *a, const struct mi_row *b, const struct mi_row_order *o) {
    (void)o;
    return by_default(a, b);
}

/* Moves groups that hold a measured row to the front, keeping everything else in place. */
static enum mi_status measured_groups_first(struct mi_table *t) {
    struct mi_row *tmp = mi_calloc(t->n, sizeof *tmp);
    if (!tmp) return MI_E_NOMEM;
    size_t k = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0, end; i < t->n; i = end) {
            bool measured = false;
            for (end = i; end < t->n && mi_row_same_group(&t->rows[i], &t->rows[end]); end++)
                measured |= !t->rows[end].published;
            if (measured != (pass == 0)) continue;
            memcpy(tmp + k, t->rows + i, (end - i) * sizeof *tmp);
            k += end - i;
        }
    }
    memcpy(t->rows, tmp, t->n * sizeof *tmp);
    free(tmp);
    return MI_OK;
}

enum mi_status mi_table_build(struct mi_table *t, const struct mi_workspace *ws, bool with_published) {
    *t = (struct mi_table){0};
    int *numbers = NULL;
    size_t n = 0;
    enum mi_status st = ws ? mi_run_list(ws, &numbers, &n) : MI_OK;
    for (size_t i = 0; i < n && st == MI_OK; i++) st = add_run(t, ws, numbers[i]);
    free(numbers);
    if (st == MI_OK) fill_tradeoffs(t);
    if (st == MI_OK && with_published) st = mi_published_append(t);
    if (st == MI_OK) st = mi_rows_sort(t->rows, t->n, &(struct mi_row_order){.compare = compare_default});
    if (st == MI_OK && t->n > 0) st = measured_groups_first(t);
    if (st != MI_OK) mi_table_free(t);
    return st;
}

/* ---- the same row again --------------------------------------------------------------------------------------------
 */

static bool same_measurement(const struct mi_row *a, const struct mi_row *b) {
    if (a->published || b->published || a->s.attacc != b->s.attacc || a->s.quick != b->s.quick) return false;
    if (!*a->recipe || !mi_same_text(a->recipe, b->recipe)) return false; /* 0 % can be had in many ways */
    for (const struct mi_column *c = mi_columns; c->name; c++)
        if (!c->origin && !mi_column_equal(c, a, b)) return false;
    return true;
}

void mi_table_merge(struct mi_table *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct mi_row *twin = NULL;
        for (size_t k = 0; k < kept && !twin; k++)
            if (same_measurement(&t->rows[k], &t->rows[i])) twin = &t->rows[k];
        if (!twin) {
            t->rows[kept++] = t->rows[i];
            continue;
        }
        struct mi_row older = t->rows[i];
        if (older.run > twin->run) older = *twin, *twin = t->rows[i];
        mi_row_free(&older);
    }
    t->n = kept;
}

/* ---- filter ------------------------------------------------------------------------------------------------------ */

static const char *field_of(const struct mi_row *r, const char *field) {
    if (!strcmp(field, "attack")) return r->s.attack;
    if (!strcmp(field, "model")) return r->s.model;
    if (!strcmp(field, "defense")) return r->s.defense;
    if (!strcmp(field, "data")) return r->s.data;
    return r->source; /* "source" and "run" */
}

static bool keeps(const struct mi_row *r, const char *field, char *const *wanted, size_t n) {
    const char *have = field_of(r, field);
    char full[256] = "";
    if (!strcmp(field, "defense") || !strcmp(field, "attack")) mi_table_cell(r, field, full, sizeof full);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(field, "run")) {
            if (!r->published && r->run == atoi(wanted[i])) return true;
        } else if (!strcasecmp(have ? have : "", wanted[i]) || (*full && !strcasecmp(full, wanted[i]))) {
            return true;
        }
    }
    return false;
}

enum mi_status mi_table_filter(struct mi_table *t, const char *field, const char *value) {
    static const char *const fields[] = {"attack", "model", "defense", "data", "source", "run"};
    bool known = false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) known |= !strcmp(field, fields[i]);
    if (!known) {
        const char *near = mi_nearest(field, fields, sizeof fields / sizeof *fields);
        return mi_fail(MI_E_INPUT, "the table has no field \"%s\"%s%s%s", field, near ? ", did you mean \"" : "",
                       near ? near : "", near ? "\"?" : " (attack model defense data source run)");
    }
    /* A variant holds commas itself: "midre(0.1,0.4)" is one value. */
    size_t n = 1;
    char *whole[] = {(char *)value}, **list = NULL;
    if (!strchr(value, '(')) {
        list = mi_list_split(value, ',', &n);
        if (!list) return MI_E_NOMEM;
    }
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (keeps(&t->rows[i], field, list ? list : whole, n))
            t->rows[kept++] = t->rows[i];
        else
            mi_row_free(&t->rows[i]);
    }
    t->n = kept;
    mi_list_free(list, list ? n : 0);
    return MI_OK;
}
