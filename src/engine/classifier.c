/* src/engine/classifier.c - what target, judge and their start weights have in common: a network that learns people.
 *
 * The stage's section ([target], [judge], [pretrain]) says how: train from random or given start weights, or take
 * finished ones (`checkpoint`), which then are only measured.  Start weights learn the public people ([pretrain], a
 * stage of its own), the others the private ones.  The product is model.safetensors, with the facts needed to use it
 * elsewhere as metadata, and the accuracy on the whole test split.  Defenses act while training and may change the
 * network's structure, so they are prepared whenever it is opened. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "midre/recognise.h"

const struct mi_values *classifier_section(const struct engine *e, const struct stage *s) {
    static const enum mi_section of[ST_KINDS] = {
        [ST_PRETRAIN] = MI_SEC_PRETRAIN, [ST_TARGET] = MI_SEC_TARGET, [ST_JUDGE] = MI_SEC_JUDGE};
    return e->spec->section[of[s->kind]];
}

enum mi_status classifier_identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    static const char *const skip[] = {"model", "size", "people", "min_images", NULL}; /* these are in the inputs */
    const struct mi_values *model = mi_spec_entry(e->spec, MI_KIND_MODEL, s->model);
    if (!model) return mi_error_status();
    struct mi_defenses ds;
    MI_TRY(mi_defenses_open(&ds, s->defense, e->spec)); /* contradictory settings fail here, before anything runs */
    mi_hasher_text(h, "model", s->model);
    mi_hasher_text(h, "defense", ds.names); /* settings count by their values, wherever they are written */
    enum mi_status st = plan_hash_settings(h, classifier_section(e, s), skip);
    if (st == MI_OK) st = plan_hash_settings(h, model, NULL);
    for (int i = 0; i < ds.n && st == MI_OK; i++) st = plan_hash_settings(h, ds.item[i].values, NULL);
    mi_defenses_close(&ds);
    struct mi_train_recipe r;
    return st == MI_OK ? mi_train_recipe_read(classifier_section(e, s), &r) : st;
}

void classifier_close(struct classifier *c) {
    mi_model_free(c->model);
    mi_defenses_close(&c->defenses);
    c->model = NULL;
}

enum mi_status classifier_build(const struct engine *e, const struct stage *s, struct classifier *c) {
    memset(c, 0, sizeof(*c));
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_MODEL, s->model);
    if (!v) return mi_error_status();
    uint64_t seed = mi_mix(e->seed, mi_hash_text(stage_ops_of(s->kind)->word));
    MI_TRY(mi_defenses_open(&c->defenses, s->defense, e->spec));
    c->model = mi_model_new(s->model, v, s->data->images.classes, s->size, e->device, seed);
    enum mi_status st = c->model ? mi_defenses_prepare(&c->defenses, c->model) : mi_error_status();
    if (st != MI_OK)
        classifier_close(c);
    else
        c->model->precision = e->precision;
    return st;
}

enum mi_status classifier_open(const struct engine *e, const struct stage *s, struct classifier *c) {
    MI_TRY(classifier_build(e, s, c));
    mt_archive *a = graph_archive(e, s, "model.safetensors");
    enum mi_status st = a ? mi_params_load(c->model->params, a, "") : mi_error_status();
    if (a) mt_archive_close(a);
    c->model->train = false;
    if (st != MI_OK) classifier_close(c);
    return st;
}

/* Weights that do not fit: the first error stays, with a guess what they are of in front of it. */
static enum mi_status guess(const struct mi_model *m, const mt_archive *a, const char *path) {
    char *reason = mi_strdup(mi_error_text());
    enum mi_status st = mi_error_status();
    struct mi_recognition r;
    mi_error_clear();
    if (!reason || mi_recognise(a, &(struct mi_wish){0}, &r) != MI_OK) {
        mi_error_clear();
        mi_fail(st, "%s", reason ? reason : "out of memory");
    } else {
        const struct mi_candidate *c = &r.best[0];
        bool other = c->desc != m->desc || c->classes != m->classes || c->size != m->size;
        if (c->fits && other)
            mi_fail(st, "the file is a %s of %d classes at %d px, not a %s of %d at %d px: %s", c->desc->info.name,
                    c->classes, c->size, m->desc->info.name, m->classes, m->size, reason);
        else if (c->desc != m->desc && c->likeness > 0.5)
            mi_fail(st, "the file is more like a %s than a %s: %s", c->desc->info.name, m->desc->info.name, reason);
        else
            mi_fail(st, "%s", reason);
        mi_recognition_free(&r);
    }
    free(reason);
    return mi_fail_context("checkpoint %s", path);
}

static enum mi_status load_finished(struct mi_ctx *ctx, struct mi_model *m, const char *path, bool free_head,
                                    const struct mi_pack_split *test, double *acc) {
    bool kept = false;
    mt_archive *a = mt_archive_open(path);
    if (!a) return mi_error_status();
    enum mi_status st = mi_params_load_found(m->params, a, free_head ? m->desc->head : NULL, &kept);
    if (st == MI_E_INPUT) st = guess(m, a, path);
    mt_archive_close(a);
    if (st != MI_OK) return st;
    mi_ctx_log(ctx, "info", "%s: finished weights from %s", ctx->stage, path);
    if (kept)
        mi_ctx_log(ctx, "warn", "%s: the file's head does not fit %d people; it is random now, accuracies mean nothing",
                   ctx->stage, m->classes);
    double loss = 0;
    m->train = false;
    MI_TRY(mi_eval_accuracy(m, test, 64, acc, &loss));
    mi_ctx_scalar(ctx, "acc/test", 0, 0, *acc);
    mi_ctx_scalar(ctx, "loss/test", 0, 0, loss);
    return MI_OK;
}

enum mi_status classifier_start(const struct engine *e, const struct stage *s, struct mi_ctx *ctx, struct mi_model *m) {
    const char *init = s->kind == ST_PRETRAIN ? "" : mi_values_text(classifier_section(e, s), "init");
    if (!s->start && !*init) return MI_OK;
    struct mi_started got;
    char text[512];
    const char *from = s->start ? s->start->title : init;
    mt_archive *a = s->start ? graph_archive(e, s->start, "model.safetensors") : mt_archive_open(init);
    if (!a) return mi_error_status();
    enum mi_status st = mi_model_init_from(m, a, &got);
    mt_archive_close(a);
    if (st != MI_OK) return mi_fail_context("init %s", from);
    const char *level = mi_started_text(&got, from, text, sizeof(text));
    if (ctx->journal) mi_ctx_log(ctx, level, "%s: %s", ctx->stage, text);
    return MI_OK;
}

/* Metadata after which another program can use the file; stops at the first failure. */
static void note(mt_archive *a, enum mi_status *st, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void note(mt_archive *a, enum mi_status *st, const char *key, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (*st == MI_OK) *st = mt_archive_meta_put(a, key, text);
}

static enum mi_status save(const struct engine *e, const struct stage *s, const struct classifier *c,
                           struct mi_ctx *ctx, double acc) {
    const struct mi_model *m = c->model;
    char *path = mi_product_work_file(ctx->product, "model.safetensors");
    mt_archive *a = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!a) return mi_error_status();
    enum mi_status st = mi_params_save(m->params, a, "");
    const float *mean = m->desc->mean, *std = m->desc->std;
    note(a, &st, "model", "%s", s->model);
    note(a, &st, "defense", "%s", c->defenses.names);
    note(a, &st, "data", "%s", s->data->dataset);
    note(a, &st, "classes", "%d", m->classes);
    note(a, &st, "size", "%d", m->size);
    note(a, &st, "mean", "%.6g,%.6g,%.6g", (double)mean[0], (double)mean[1], (double)mean[2]);
    note(a, &st, "std", "%.6g,%.6g,%.6g", (double)std[0], (double)std[1], (double)std[2]);
    note(a, &st, "acc", "%.4f", acc);
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_MODEL, s->model);
    for (const struct mi_setting *t = mi_values_settings(v); t && t->name; t++) {
        char key[96];
        snprintf(key, sizeof(key), "model.%s", t->name);
        note(a, &st, key, "%s", mi_values_text(v, t->name));
    }
    if (st == MI_OK) return mt_archive_close(a);
    mt_archive_abort(a);
    return st;
}

/* Where the weights are from, as rows say it: the last part of a path, "200 public people (1a2b3c)" or "random". */
static json_t *origin(const struct stage *s, const char *init, const char *checkpoint) {
    const char *p = *checkpoint ? checkpoint : init;
    const char *slash = strrchr(p, '/');
    if (s->start) return json_sprintf("%d public people (%.6s)", s->start->data->images.classes, s->start->fp.hex);
    return json_string(!*p ? "random" : slash ? slash + 1 : p);
}

enum mi_status classifier_work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    const struct mi_values *section = classifier_section(e, s);
    bool pretrain = s->kind == ST_PRETRAIN; /* always begins with random weights */
    const char *init = pretrain ? "" : mi_values_text(section, "init");
    const char *finished = pretrain ? "" : mi_values_text(section, "checkpoint");
    struct mi_train_recipe r;
    struct classifier c;
    double acc = 0;
    MI_TRY(mi_train_recipe_read(section, &r));
    MI_TRY(classifier_build(e, s, &c));
    enum mi_status st = MI_OK;
    if (*finished) {
        bool free_head = s->kind == ST_TARGET && mi_values_bool(section, "head_may_differ");
        st = load_finished(ctx, c.model, finished, free_head, &s->data->images.split[MI_TEST], &acc);
    } else {
        st = classifier_start(e, s, ctx, c.model);
        if (st == MI_OK)
            st = mi_train(ctx, c.model, &s->data->images, &r, s->kind == ST_TARGET ? &c.defenses : NULL, &acc);
    }
    if (st == MI_OK) st = save(e, s, &c, ctx, acc);
    char told[600] = ""; /* what the defenses came to, a privacy guarantee for one */
    if (st == MI_OK && !*finished && s->kind == ST_TARGET)
        mi_defenses_note(&c.defenses, s->size, told, sizeof(told));
    json_object_set_new(facts, "defense", json_string(c.defenses.names));
    classifier_close(&c);
    if (st != MI_OK) return st;
    json_object_set_new(facts, "acc", json_real(acc));
    if (ctx->parts > 1) json_object_set_new(facts, "parts", json_integer(ctx->parts));
    json_object_set_new(facts, "epochs", json_integer(*finished ? 0 : r.epochs));
    json_object_set_new(facts, "init", origin(s, init, finished));
    json_object_set_new(facts, "model", json_string(s->model));
    if (*told) json_object_set_new(facts, "defense_note", json_string(told));
    json_object_set_new(facts, "size", json_integer(s->size));
    json_object_set_new(facts, "classes", json_integer(s->data->images.classes));
    return MI_OK;
}

enum mi_status classifier_show(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *facts) {
    s->acc = json_number_value(json_object_get(facts, "acc"));
    mi_ctx_log(ctx, "info", "%s: natural accuracy %.2f %%%s", s->title, s->acc,
               s->kind == ST_PRETRAIN ? " on the public people" : "");
    if (s->kind == ST_JUDGE && s->acc < 70)
        mi_ctx_log(ctx, "warn",
                   "the judge recognises only %.1f %% of the private test photos: it misses faces that leak, so attack "
                   "accuracies come out too low; train it longer",
                   s->acc);
    (void)e;
    return MI_OK;
}

const struct stage_ops stage_pretrain_ops = {.word = "pretrain",
                                             .product = true,
                                             .identity = classifier_identity,
                                             .work = classifier_work,
                                             .show = classifier_show};
const struct stage_ops stage_target_ops = {.word = "target",
                                           .product = true,
                                           .identity = classifier_identity,
                                           .work = classifier_work,
                                           .show = classifier_show};
const struct stage_ops stage_judge_ops = {.word = "judge",
                                          .product = true,
                                          .identity = classifier_identity,
                                          .work = classifier_work,
                                          .show = classifier_show};
