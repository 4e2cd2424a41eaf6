/* src/engine/score_events.c - a stored score as journal events: verdicts, the nearest private photos, the table row.
 *
 * Beside every reconstruction stands the private training photo it comes nearest to in the judge's features: the photo
 * it leaks.  The trade-off of a defended row needs the undefended row of the same model and attack; when that is in
 * this run and done it is measured here, otherwise the table does it over the whole workspace. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "score.h"
#include "midre/table.h"

static double real_of(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}
static int int_of(const json_t *j, const char *key) {
    return (int)json_integer_value(json_object_get(j, key));
}

static void recon_events(struct engine *e, const struct mi_ctx *ctx, const json_t *verdicts) {
    size_t i;
    json_t *v;
    int row = -1, last = 0;
    json_array_foreach(verdicts, i, v) {
        int label = int_of(v, "label");
        if (row < 0 || label != last) row++;
        last = label;
        json_t *ev = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:b}", "t", "recon", "cell", ctx->cell, "row", row,
                               "col", int_of(v, "restart"), "label", label, "judge", int_of(v, "judge"), "confidence",
                               real_of(v, "confidence"), "hit", (int)json_is_true(json_object_get(v, "hit")));
        double d = real_of(v, "distance");
        if (ev && isfinite(d)) json_object_set_new(ev, "distance", json_real(d));
        engine_event(e, ev);
    }
}

/* The photo nearest to each reconstruction, in the places of the reconstructions. */
static enum mi_status photo_atlas(const struct stage *s, struct mi_ctx *ctx, const json_t *score) {
    const json_t *verdicts = json_object_get(score, "verdicts");
    int restarts = int_of(score, "restarts"), ids = int_of(score, "identities");
    size_t n = json_array_size(verdicts);
    /* Both packs list the same photos; where one skipped some, the judge's own is the one that was searched. */
    const struct mi_dataset *seen = &s->judge->data->images, *own = &s->data->images;
    const struct mi_dataset *d = own->split[MI_TRAIN].n == seen->split[MI_TRAIN].n ? own : seen;
    size_t px = (size_t)d->size * (size_t)d->size * 3;
    float *pixels = mi_calloc(n * px + 1, sizeof(*pixels));
    int *labels = mi_calloc((size_t)ids + 1, sizeof(*labels));
    enum mi_status st = pixels && labels ? MI_OK : MI_E_NOMEM;
    for (size_t i = 0; st == MI_OK && i < n; i++) {
        const json_t *v = json_array_get(verdicts, i);
        int at = int_of(v, "nearest");
        if (restarts > 0 && i / (size_t)restarts < (size_t)ids) labels[i / (size_t)restarts] = int_of(v, "label");
        if (at < 0 || (size_t)at >= d->split[MI_TRAIN].n) continue;
        const uint8_t *rgb = d->split[MI_TRAIN].rgb + (size_t)at * px;
        for (size_t k = 0; k < px; k++) pixels[i * px + k] = (float)rgb[k] / 255.0f;
    }
    if (st == MI_OK && n > 0 && restarts > 0) {
        char name[160];
        snprintf(name, sizeof(name), "photo-%s", ctx->cell);
        mt_spec image = {MT_F32, MT_CPU, MT_NHWC};
        mt_scope *scope = mt_scope_begin("photos");
        st = mi_ctx_atlas(ctx, name, "photo", mt_from(pixels, MT_SHAPE((int64_t)n, 3, d->size, d->size), image),
                          restarts, labels, 0, true);
        enum mi_status end = mt_scope_end(scope);
        if (st == MI_OK) st = end;
    }
    free(pixels);
    free(labels);
    return st;
}

/* Facts of the product of another stage; NULL when it cannot be read.  Caller decrefs. */
static json_t *facts_of(const struct engine *e, const struct stage *s) {
    struct mi_product p;
    if (mi_product_open(&e->ws, stage_ops_of(s->kind)->word, &s->fp, &p) != MI_OK) return NULL;
    char *text = mi_product_facts(&p);
    json_t *facts = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    mi_product_close(&p);
    return facts;
}

static void set_real(json_t *e, const char *key, double v) {
    if (isfinite(v)) json_object_set_new(e, key, json_real(v));
}

/* Against the undefended cell of this run with the same model and attack. */
static void add_tradeoff(struct engine *e, size_t cell, json_t *ev) {
    const struct mi_cell *own = &e->spec->cells[cell];
    if (strcmp(own->defense, "none") == 0) return;
    for (size_t i = 0; i < e->spec->n_cells; i++) {
        const struct mi_cell *c = &e->spec->cells[i];
        const struct mi_score_view *base = &e->scores[i], *mine = &e->scores[cell];
        if (!base->cell || strcmp(c->defense, "none") != 0 || strcmp(c->model, own->model) != 0 ||
            strcmp(c->attack, own->attack) != 0)
            continue;
        bool op = false;
        set_real(ev, "tradeoff", mi_tradeoff(base->acc, base->attacc, mine->acc, mine->attacc, &op));
        json_object_set_new(ev, "overpriced", json_boolean(op));
    }
}

static json_t *row_event(struct engine *e, struct stage *s, const json_t *score, const struct mi_cell *c) {
    const struct mi_values *group = e->spec->section[MI_SEC_SCORE];
    int ids = int_of(score, "identities"), restarts = int_of(score, "restarts");
    char protocol[160], judge[96];
    snprintf(judge, sizeof(judge), "%s@%d", s->judge->model, s->judge->size);
    snprintf(protocol, sizeof(protocol), "%d ids x %d restarts, groups of %d, judge %s (%.1f %%)", ids, restarts,
             (int)mi_values_int(group, "group"), judge, s->judge->acc);
    json_t *ev =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "t", "score", "cell", c->id, "model", c->model,
                  "defense", c->defense, "attack", c->attack, "data", s->data->dataset, "judge", judge, "precision",
                  e->precision == MT_BF16 ? "bf16" : "fp32", "device", e->device_name, "protocol", protocol);
    if (!ev) return NULL;
    json_object_set_new(ev, "identities", json_integer(ids));
    json_object_set_new(ev, "images", json_integer(int_of(score, "images")));
    json_object_set_new(ev, "resolution", json_integer(s->size));
    json_object_set_new(ev, "seed", json_integer((json_int_t)e->seed));
    json_object_set_new(ev, "synthetic", json_boolean(s->data->images.desc->synthetic));
    set_real(ev, "acc", s->target->acc);
    set_real(ev, "judge_acc", s->judge->acc);
    static const char *const metrics[] = {"attacc", "attacc_std", "top5", "top5_std",
                                          "knn",    "target_judged", "fid"};
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        set_real(ev, metrics[i], real_of(score, metrics[i]));
    const json_t *features = json_object_get(score, "fid_features");
    if (features) json_object_set(ev, "fid_features", (json_t *)features);
    return ev;
}

/* What the attacker does who knows of the defense (setting "adaptive" of an attack); NULL: he does not. */
static const char *adaptive_of(const struct engine *e, const struct stage *s) {
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name);
    for (const struct mi_setting *t = v ? mi_values_settings(v) : NULL; t && t->name; t++)
        if (strcmp(t->name, "adaptive") == 0 && mi_values_choice(v, t->name) != 0) return mi_values_text(v, t->name);
    return NULL;
}

/* How the row came about where that is not the usual way: shortened, another size, a batch in parts, few images. */
static void add_note(const struct engine *e, const struct stage *s, json_t *ev, const json_t *target,
                     const json_t *score) {
    char *shortened = budget_note(e, s), *text = NULL;
    size_t size = 0;
    int n = int_of(target, "parts");
    const char *adaptive = adaptive_of(e, s);
    FILE *out = open_memstream(&text, &size);
    if (budget_quick(e)) json_object_set_new(ev, "quick", json_true());
    if (out) {
        if (shortened && *shortened) fprintf(out, "; %s", shortened);
        if (adaptive) fprintf(out, "; the attacker knows the defense (adaptive = %s)", adaptive);
        if (s->attack->size != s->size) fprintf(out, "; attacked with images of %d px", s->attack->size);
        if (n > 1) fprintf(out, "; target's batches in %d parts", n);
        if (json_is_true(json_object_get(score, "fid_few"))) fputs("; FID of fewer images than features", out);
        if (fclose(out) == 0 && size > 0) json_object_set_new(ev, "note", json_string(text + 2));
    }
    free(text);
    free(shortened);
}

/* The last word of a quick run, from its numbers alone. */
static void verdict(const struct engine *e, const struct stage *s, struct mi_ctx *ctx, const json_t *score) {
    double attacc = real_of(score, "attacc"), fooled = real_of(score, "target_judged"), acc = s->target->acc;
    double chance = 100.0 / s->data->images.classes;
    if (!budget_quick(e)) return;
    const char *say =
        acc < 2 * chance     ? "no verdict: the checkpoint does not know these people; perhaps it was trained on other data"
        : s->judge->acc < 50 ? "no verdict: the judge itself is too weak; give it more time, or a checkpoint"
        : attacc >= 50       ? "it leaks: even this short attack gets recognisable faces out"
        : attacc >= 4 * chance && attacc >= 10 ? "it leaks some faces to this short attack"
        : fooled < 50 ? "not shown to leak; the attack did not even convince the target, give it more time"
                      : "not shown to leak: the attack convinces the target but not the judge; no proof of safety";
    mi_ctx_log(ctx, "info",
               "verdict (quick): %s.  accuracy %.1f %%, attack accuracy %.1f %% (chance %.1f %%), judge %.1f %%", say,
               acc, attacc, chance, s->judge->acc);
}

enum mi_status score_publish(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *score) {
    size_t cell = s->shown;
    const struct mi_cell *c = &e->spec->cells[cell];
    e->scores[cell] = (struct mi_score_view){.cell = c->id, .acc = s->target->acc, .attacc = real_of(score, "attacc")};
    recon_events(e, ctx, json_object_get(score, "verdicts"));
    MI_TRY(photo_atlas(s, ctx, score));
    json_t *ev = row_event(e, s, score, c);
    if (!ev) return mi_fail(MI_E_NOMEM, "no memory for the row of %s", c->id);
    json_t *target = facts_of(e, s->target), *attack = facts_of(e, s->attack);
    const json_t *init = json_object_get(target, "init");
    if (init) json_object_set(ev, "init", (json_t *)init);
    /* Where it was attacked, which for a product of the cache may have been another machine than this one. */
    json_t *device = json_object_get(json_object_get(attack, "volatile"), "device");
    if (json_is_string(device)) json_object_set(ev, "device", device);
    add_note(e, s, ev, target, score);
    set_real(ev, "queries", real_of(attack, "queries"));
    json_decref(target);
    json_decref(attack);
    add_tradeoff(e, cell, ev);
    engine_event(e, ev);
    verdict(e, s, ctx, score);
    return MI_OK;
}
