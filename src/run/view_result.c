/* view_result.c - cells in a view: pictures, verdicts on reconstructions, table rows.
 *
 * Everything has a key (a cell's id, a picture's name, row and column of a reconstruction); a later event with the
 * same key replaces the earlier one, which is what happens when a stage is done again.
 *
 * A picture's file name comes from the journal and is opened by whoever draws, so only plain names inside the run's
 * folder are let through. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/run/view_priv.h"

#define CELLS_MAX   1000
#define ATLASES_MAX 4096
#define RECON_MAX   262144
#define SHEET_MAX   32768 /* px a side */

/* ---- cells ---------------------------------------------------------------------------------------------- */

static struct mi_cell_view *find_cell(const struct mi_run_view *v, const char *id) {
    for (size_t i = 0; i < v->n_cells; i++)
        if (strcmp(v->cells[i].id, id) == 0) return &v->cells[i];
    return NULL;
}

static struct mi_cell_view *cell_of(struct mi_run_view *v, const char *id, enum mi_applied *why) {
    struct mi_cell_view *c = id ? find_cell(v, id) : NULL;
    *why = MI_MALFORMED;
    if (c || !id || v->n_cells >= CELLS_MAX) return c;
    *why = MI_NO_MEMORY;
    struct mi_cell_view *more = mi_view_grow(v->cells, v->n_cells, sizeof *more);
    if (!more) return NULL;
    v->cells = more;
    c = &v->cells[v->n_cells];
    *c = (struct mi_cell_view){.id = mi_strdup(id)};
    if (!c->id) return NULL;
    v->n_cells++;
    return c;
}

enum mi_applied mi_view_apply_cells(struct mi_run_view *v, const json_t *list) {
    size_t index;
    const json_t *item;
    enum mi_applied why;
    json_array_foreach(list, index, item) {
        struct mi_cell_view *c = cell_of(v, mi_event_name(item, "id"), &why);
        if (!c) return why;
        if (!mi_event_text(item, "model", &c->model) || !mi_event_text(item, "defense", &c->defense) ||
            !mi_event_text(item, "attack", &c->attack) || !mi_event_text(item, "label", &c->label))
            return MI_NO_MEMORY;
    }
    return MI_APPLIED;
}

/* ---- pictures ------------------------------------------------------------------------------------------- */

/* A relative path that stays below the run's folder: no part of it is empty or starts with a dot. */
static bool is_inside(const char *file) {
    if (!file) return false;
    for (const char *part = file; *part;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || *part == '.') return false;
        part += n;
        if (*part == '/' && !*++part) return false;
    }
    return *file != '\0';
}

/* labels[rows] of an atlas, or NULL when the list is not one whole number a row. */
static bool read_labels(const json_t *event, int rows, int **labels) {
    const json_t *list = json_object_get(event, "labels");
    free(*labels);
    *labels = NULL;
    if (!json_is_array(list) || json_array_size(list) != (size_t)rows) return true;
    int *fresh = mi_calloc((size_t)rows, sizeof *fresh);
    if (!fresh) return false;
    for (int i = 0; i < rows; i++) {
        json_int_t label = json_integer_value(json_array_get(list, (size_t)i));
        fresh[i] = label >= 0 && label <= INT32_MAX ? (int)label : -1;
    }
    *labels = fresh;
    return true;
}

static struct mi_atlas_view *atlas_of(struct mi_run_view *v, const char *name, enum mi_applied *why) {
    for (size_t i = 0; i < v->n_atlases; i++)
        if (strcmp(v->atlases[i].name, name) == 0) return &v->atlases[i];
    *why = MI_MALFORMED;
    if (v->n_atlases >= ATLASES_MAX) return NULL;
    *why = MI_NO_MEMORY;
    struct mi_atlas_view *more = mi_view_grow(v->atlases, v->n_atlases, sizeof *more);
    if (!more) return NULL;
    v->atlases = more;
    struct mi_atlas_view *a = &v->atlases[v->n_atlases];
    *a = (struct mi_atlas_view){.name = mi_strdup(name)};
    if (!a->name) return NULL;
    v->n_atlases++;
    return a;
}

enum mi_applied mi_view_apply_atlas(struct mi_run_view *v, const json_t *event) {
    enum mi_applied why;
    const char *name = mi_event_name(event, "name"), *file = mi_event_name(event, "file");
    int tile = (int)mi_event_int(event, "tile", 1, SHEET_MAX, 0);
    int cols = (int)mi_event_int(event, "cols", 1, SHEET_MAX, 0),
        rows = (int)mi_event_int(event, "rows", 1, SHEET_MAX, 0);
    if (!name || !mi_event_name(event, "kind") || !is_inside(file) || tile * cols == 0 || rows == 0)
        return MI_MALFORMED;
    if (cols > SHEET_MAX / tile || rows > SHEET_MAX / tile) return MI_MALFORMED;
    struct mi_atlas_view *a = atlas_of(v, name, &why);
    if (!a) return why;
    a->tile = tile;
    a->cols = cols;
    a->rows = rows;
    a->step = mi_event_int(event, "step", INT64_MIN, INT64_MAX, 0);
    a->final = mi_event_bool(event, "final", false);
    a->version = ++v->priv->changes;
    bool kept = mi_event_text(event, "kind", &a->kind) && mi_event_text(event, "cell", &a->cell) &&
                mi_event_text(event, "stage", &a->stage) && mi_event_text(event, "file", &a->file) &&
                read_labels(event, rows, &a->labels);
    return kept ? MI_APPLIED : MI_NO_MEMORY;
}

const struct mi_atlas_view *mi_view_atlas(const struct mi_run_view *v, const char *kind, const char *cell) {
    const struct mi_atlas_view *newest = NULL;
    for (size_t i = 0; i < v->n_atlases; i++) {
        const struct mi_atlas_view *a = &v->atlases[i];
        if (!a->kind || !a->file || strcmp(a->kind, kind) != 0) continue;
        if (cell && (!a->cell || strcmp(a->cell, cell) != 0)) continue;
        if (!newest || a->version > newest->version) newest = a;
    }
    return newest;
}

/* ---- reconstructions ------------------------------------------------------------------------------------ */

enum mi_applied mi_view_apply_recon(struct mi_run_view *v, const json_t *event) {
    enum mi_applied why;
    struct mi_recon_view r = {
        .row = (int)mi_event_int(event, "row", 0, INT32_MAX, -1),
        .col = (int)mi_event_int(event, "col", 0, INT32_MAX, -1),
        .label = (int)mi_event_int(event, "label", 0, INT32_MAX, -1),
        .judge = (int)mi_event_int(event, "judge", 0, INT32_MAX, -1),
        .confidence = mi_event_real(event, "confidence", NAN),
        .distance = mi_event_real(event, "distance", NAN),
        .hit = mi_event_bool(event, "hit", false),
    };
    if (r.row < 0 || r.col < 0) return MI_MALFORMED;
    struct mi_cell_view *c = cell_of(v, mi_event_name(event, "cell"), &why);
    if (!c) return why;
    if (c->n_recon >= RECON_MAX) return MI_MALFORMED;
    struct mi_recon_view *more = mi_view_grow(c->recon, c->n_recon, sizeof *more);
    if (!more) return MI_NO_MEMORY;
    c->recon = more;
    c->recon[c->n_recon++] = r; /* mi_view_sort_recon puts it in place */
    return MI_APPLIED;
}

struct numbered {
    struct mi_recon_view r;
    size_t order; /* of arrival: the later one of equal places wins */
};

static int by_place(const void *a, const void *b) {
    const struct numbered *x = a, *y = b;
    if (x->r.row != y->r.row) return x->r.row < y->r.row ? -1 : 1;
    if (x->r.col != y->r.col) return x->r.col < y->r.col ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static bool in_order(const struct mi_cell_view *c) {
    for (size_t i = 1; i < c->n_recon; i++) {
        const struct mi_recon_view *a = &c->recon[i - 1], *b = &c->recon[i];
        if (a->row > b->row || (a->row == b->row && a->col >= b->col)) return false;
    }
    return true;
}

enum mi_status mi_view_sort_recon(struct mi_run_view *v) {
    for (size_t i = 0; i < v->n_cells; i++) {
        struct mi_cell_view *c = &v->cells[i];
        if (in_order(c)) continue;
        struct numbered *all = mi_calloc(c->n_recon, sizeof *all);
        if (!all) return MI_E_NOMEM;
        for (size_t k = 0; k < c->n_recon; k++) all[k] = (struct numbered){c->recon[k], k};
        qsort(all, c->n_recon, sizeof *all, by_place);
        size_t kept = 0;
        for (size_t k = 0; k < c->n_recon; k++) {
            bool again = kept > 0 && c->recon[kept - 1].row == all[k].r.row && c->recon[kept - 1].col == all[k].r.col;
            if (!again) kept++;
            c->recon[kept - 1] = all[k].r;
        }
        c->n_recon = kept;
        free(all);
    }
    return MI_OK;
}

/* ---- scores --------------------------------------------------------------------------------------------- */

static void free_score(struct mi_score_view *s) {
    char *texts[] = {s->cell,  s->model,     s->defense, s->attack,   s->data,
                     s->judge, s->precision, s->device,  s->protocol, s->init, s->note,
                     s->fid_features};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) free(texts[i]);
}

static bool read_score_texts(const json_t *e, struct mi_score_view *s) {
    return mi_event_text(e, "cell", &s->cell) && mi_event_text(e, "model", &s->model) &&
           mi_event_text(e, "defense", &s->defense) && mi_event_text(e, "attack", &s->attack) &&
           mi_event_text(e, "data", &s->data) && mi_event_text(e, "judge", &s->judge) &&
           mi_event_text(e, "precision", &s->precision) && mi_event_text(e, "device", &s->device) &&
           mi_event_text(e, "protocol", &s->protocol) && mi_event_text(e, "init", &s->init) &&
           mi_event_text(e, "note", &s->note) && mi_event_text(e, "fid_features", &s->fid_features);
}

enum mi_applied mi_view_apply_score(struct mi_run_view *v, const json_t *e) {
    const char *cell = mi_event_name(e, "cell");
    if (!cell) return MI_MALFORMED;
    struct mi_score_view s = {
        .acc = mi_event_real(e, "acc", NAN),
        .attacc = mi_event_real(e, "attacc", NAN),
        .attacc_std = mi_event_real(e, "attacc_std", NAN),
        .top5 = mi_event_real(e, "top5", NAN),
        .top5_std = mi_event_real(e, "top5_std", NAN),
        .knn = mi_event_real(e, "knn", NAN),
        .tradeoff = mi_event_real(e, "tradeoff", NAN),
        .judge_acc = mi_event_real(e, "judge_acc", NAN),
        .target_judged = mi_event_real(e, "target_judged", NAN),
        .overpriced = mi_event_bool(e, "overpriced", false),
        .fid = mi_event_real(e, "fid", NAN),
        .delta_eval = mi_event_real(e, "delta_eval", NAN),
        .delta_face = mi_event_real(e, "delta_face", NAN),
        .queries = mi_event_real(e, "queries", NAN),
        .seed = mi_event_int(e, "seed", INT64_MIN, INT64_MAX, 0),
        .identities = (int)mi_event_int(e, "identities", 0, INT32_MAX, 0),
        .images = (int)mi_event_int(e, "images", 0, INT32_MAX, 0),
        .resolution = (int)mi_event_int(e, "resolution", 0, INT32_MAX, 0),
        .synthetic = mi_event_bool(e, "synthetic", false),
        .quick = mi_event_bool(e, "quick", false),
    };
    size_t at = 0;
    while (at < v->n_scores && strcmp(v->scores[at].cell, cell) != 0) at++;
    if (at >= CELLS_MAX) return MI_MALFORMED;
    struct mi_score_view *more = at == v->n_scores ? mi_view_grow(v->scores, at, sizeof *more) : v->scores;
    if (!more || !read_score_texts(e, &s)) {
        if (more) v->scores = more;
        free_score(&s);
        return MI_NO_MEMORY;
    }
    v->scores = more;
    if (at == v->n_scores)
        v->n_scores++;
    else
        free_score(&v->scores[at]);
    v->scores[at] = s;
    return MI_APPLIED;
}

void mi_view_free_results(struct mi_run_view *v) {
    for (size_t i = 0; i < v->n_cells; i++) {
        char *texts[] = {v->cells[i].id, v->cells[i].model, v->cells[i].defense, v->cells[i].attack, v->cells[i].label};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) free(texts[k]);
        free(v->cells[i].recon);
    }
    for (size_t i = 0; i < v->n_atlases; i++) {
        const struct mi_atlas_view *a = &v->atlases[i];
        char *texts[] = {a->name, a->kind, a->cell, a->stage, a->file};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) free(texts[k]);
        free(a->labels);
    }
    for (size_t i = 0; i < v->n_scores; i++) free_score(&v->scores[i]);
    free(v->cells);
    free(v->atlases);
    free(v->scores);
}
