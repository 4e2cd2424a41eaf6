/* view_stage.c - stages in a view: states, progress, curves.
 *
 * A resumed run announces its stages again; those with a known id keep what is known about them, curves included.
 * Where work restarts from a checkpoint the engine says which points are void (t=rewind) before it goes on, so a
 * curve never shows a step twice.
 *
 * Counts are capped: a journal is untrusted, a run has a few dozen stages with a dozen curves each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/run/view_priv.h"

#define STAGES_MAX 1024
#define SERIES_MAX 64
#define POINTS_MAX 16384

/* ---- finding and making --------------------------------------------------------------------------------- */

static void free_stage(struct mi_stage_view *s) {
    for (size_t i = 0; i < s->n_series; i++) {
        free(s->series[i].name);
        free(s->series[i].points);
    }
    free(s->series);
    free(s->id);
    free(s->kind);
    free(s->title);
    free(s->phase);
    free(s->unit);
    free(s->fingerprint);
    free(s->error);
}

void mi_view_free_stages(struct mi_run_view *v) {
    for (size_t i = 0; i < v->n_stages; i++) free_stage(&v->stages[i]);
    free(v->stages);
}

static struct mi_stage_view *find_stage(const struct mi_run_view *v, const char *id) {
    for (size_t i = 0; i < v->n_stages; i++)
        if (strcmp(v->stages[i].id, id) == 0) return &v->stages[i];
    return NULL;
}

/* The stage of an event, made when it is new; NULL sets *why. */
static struct mi_stage_view *stage_of(struct mi_run_view *v, const json_t *event, const char *key,
                                      enum mi_applied *why) {
    const char *id = mi_event_name(event, key);
    struct mi_stage_view *s = id ? find_stage(v, id) : NULL;
    *why = MI_MALFORMED;
    if (s || !id || v->n_stages >= STAGES_MAX) return s;
    *why = MI_NO_MEMORY;
    struct mi_stage_view *more = mi_view_grow(v->stages, v->n_stages, sizeof *more);
    if (!more) return NULL;
    v->stages = more;
    s = &v->stages[v->n_stages];
    *s = (struct mi_stage_view){.eta = -1, .id = mi_strdup(id)};
    if (!s->id) return NULL;
    v->n_stages++;
    return s;
}

const struct mi_series *mi_stage_series(const struct mi_stage_view *s, const char *name) {
    for (size_t i = 0; i < s->n_series; i++)
        if (strcmp(s->series[i].name, name) == 0) return &s->series[i];
    return NULL;
}

/* ---- announcements and states --------------------------------------------------------------------------- */

/* The list of a session's first line becomes the order of the stages; stages it does not name go behind. */
enum mi_applied mi_view_apply_stages(struct mi_run_view *v, const json_t *list) {
    size_t at = 0, index;
    const json_t *item;
    enum mi_applied why;
    json_array_foreach(list, index, item) {
        struct mi_stage_view *s = stage_of(v, item, "id", &why);
        if (!s) return why;
        if (!mi_event_text(item, "kind", &s->kind) || !mi_event_text(item, "title", &s->title)) return MI_NO_MEMORY;
        size_t from = (size_t)(s - v->stages);
        if (from < at) continue; /* named twice */
        struct mi_stage_view moved = *s;
        memmove(&v->stages[at + 1], &v->stages[at], (from - at) * sizeof moved);
        v->stages[at++] = moved;
    }
    mi_view_rest_stages(v);
    for (size_t i = 0; i < v->n_stages; i++) {
        struct mi_stage_view *s = &v->stages[i];
        if (s->state == MI_STAGE_FAILED) s->state = MI_STAGE_WAITING; /* the engine started anew tries again */
        free(s->error);
        s->error = NULL;
    }
    return MI_APPLIED;
}

void mi_view_rest_stages(struct mi_run_view *v) {
    v->current = -1;
    for (size_t i = 0; i < v->n_stages; i++) {
        if (v->stages[i].state != MI_STAGE_RUNNING) continue;
        v->stages[i].state = MI_STAGE_WAITING;
        v->stages[i].rate = 0;
        v->stages[i].eta = -1;
    }
}

static void enter_state(struct mi_run_view *v, struct mi_stage_view *s, enum mi_stage_state state) {
    int index = (int)(s - v->stages);
    s->state = state;
    s->rate = 0;
    s->eta = -1;
    if (state == MI_STAGE_RUNNING) {
        v->current = index;
        s->done = s->total = 0;
        free(s->error);
        s->error = NULL;
    } else if (v->current == index) {
        v->current = -1;
    }
    if (state == MI_STAGE_DONE || state == MI_STAGE_CACHED) s->done = s->total;
}

enum mi_applied mi_view_apply_stage(struct mi_run_view *v, const json_t *event) {
    static const struct {
        const char *word;
        enum mi_stage_state state;
    } words[] = {{"start", MI_STAGE_RUNNING},
                 {"resume", MI_STAGE_RUNNING},
                 {"cached", MI_STAGE_CACHED},
                 {"done", MI_STAGE_DONE},
                 {"failed", MI_STAGE_FAILED}};
    enum mi_applied why;
    const char *word = mi_event_name(event, "state");
    size_t n = sizeof words / sizeof words[0], w = 0;
    while (word && w < n && strcmp(words[w].word, word) != 0) w++;
    if (!word || w == n) return MI_MALFORMED;
    struct mi_stage_view *s = stage_of(v, event, "stage", &why);
    if (!s) return why;
    enter_state(v, s, words[w].state);
    s->seconds = mi_event_real(event, "seconds", s->seconds);
    bool kept = mi_event_text(event, "kind", &s->kind) && mi_event_text(event, "title", &s->title) &&
                mi_event_text(event, "fingerprint", &s->fingerprint) && mi_event_text(event, "error", &s->error);
    return kept ? MI_APPLIED : MI_NO_MEMORY;
}

enum mi_applied mi_view_apply_progress(struct mi_run_view *v, const json_t *event) {
    enum mi_applied why;
    struct mi_stage_view *s = stage_of(v, event, "stage", &why);
    if (!s) return why;
    s->done = mi_event_real(event, "done", s->done);
    s->total = mi_event_real(event, "total", s->total);
    s->rate = mi_event_real(event, "rate", 0);
    s->eta = mi_event_real(event, "eta", -1);
    s->epoch = mi_event_real(event, "epoch", 0);
    s->epochs = mi_event_real(event, "epochs", 0);
    bool kept = mi_event_text(event, "phase", &s->phase) && mi_event_text(event, "unit", &s->unit);
    return kept ? MI_APPLIED : MI_NO_MEMORY;
}

/* ---- curves --------------------------------------------------------------------------------------------- */

/* Every second point goes; the first and the last stay. */
static void thin_out(struct mi_series *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i += 2) s->points[kept++] = s->points[i];
    if (s->n % 2 == 0) s->points[kept++] = s->points[s->n - 1];
    s->n = kept;
}

static struct mi_series *series_of(struct mi_stage_view *stage, const char *name, enum mi_applied *why) {
    struct mi_series *s = (struct mi_series *)(uintptr_t)mi_stage_series(stage, name);
    *why = MI_MALFORMED;
    if (s || !*name || stage->n_series >= SERIES_MAX) return s;
    *why = MI_NO_MEMORY;
    struct mi_series *more = mi_view_grow(stage->series, stage->n_series, sizeof *more);
    if (!more) return NULL;
    stage->series = more;
    s = &stage->series[stage->n_series];
    *s = (struct mi_series){.name = mi_strdup(name)};
    if (!s->name) return NULL;
    stage->n_series++;
    return s;
}

enum mi_applied mi_view_apply_scalars(struct mi_run_view *v, const json_t *event) {
    enum mi_applied why;
    const json_t *values = json_object_get(event, "values"), *value;
    const char *name;
    struct mi_point p = {.x = mi_event_real(event, "x", NAN), .step = mi_event_int(event, "step", -1, INT64_MAX, -1)};
    if (!json_is_object(values) || isnan(p.x)) return MI_MALFORMED;
    struct mi_stage_view *stage = stage_of(v, event, "stage", &why);
    if (!stage) return why;
    json_object_foreach((json_t *)(uintptr_t)values, name, value) {
        if (!json_is_number(value)) continue; /* null: the value was not finite */
        struct mi_series *s = series_of(stage, name, &why);
        if (!s) return why;
        if (s->n >= POINTS_MAX) thin_out(s);
        struct mi_point *more = mi_view_grow(s->points, s->n, sizeof *more);
        if (!more) return MI_NO_MEMORY;
        s->points = more;
        p.y = json_number_value(value);
        s->points[s->n++] = p;
    }
    return MI_APPLIED;
}

enum mi_applied mi_view_apply_rewind(struct mi_run_view *v, const json_t *event) {
    const char *id = mi_event_name(event, "stage");
    struct mi_stage_view *stage = id ? find_stage(v, id) : NULL;
    if (!id || !json_is_integer(json_object_get(event, "step"))) return MI_MALFORMED;
    int64_t last = mi_event_int(event, "step", INT64_MIN, INT64_MAX, -1);
    for (size_t i = 0; stage && i < stage->n_series; i++) {
        struct mi_series *s = &stage->series[i];
        size_t kept = 0;
        for (size_t k = 0; k < s->n; k++)
            if (s->points[k].step <= last) s->points[kept++] = s->points[k];
        s->n = kept;
    }
    return MI_APPLIED;
}

/* ---- the overall bar ------------------------------------------------------------------------------------ */

/* How long a kind of stage takes beside the others, roughly: only the pace of one bar depends on it. */
static double weight_of(const struct mi_stage_view *s) {
    static const struct {
        const char *kind;
        double weight;
    } weights[] = {{"data", 2},      {"pretrain", 30}, {"target", 30}, {"judge", 30},
                   {"prior", 40}, {"students", 30}, {"attack", 20}, {"score", 3}};
    for (size_t i = 0; s->kind && i < sizeof weights / sizeof weights[0]; i++)
        if (strcmp(s->kind, weights[i].kind) == 0) return weights[i].weight;
    return 10;
}

double mi_view_fraction(const struct mi_run_view *v) {
    double whole = 0, done = 0;
    if (v->state && strcmp(v->state, "done") == 0) return 1;
    for (size_t i = 0; i < v->n_stages; i++) {
        const struct mi_stage_view *s = &v->stages[i];
        double part = s->total > 0 && s->done > 0 ? s->done / s->total : 0;
        if (s->state == MI_STAGE_DONE || s->state == MI_STAGE_CACHED || part > 1) part = 1;
        whole += weight_of(s);
        done += weight_of(s) * part;
    }
    return whole > 0 ? done / whole : 0;
}
