/* src/engine/stage_score.c - what the judge says about an attack's reconstructions.
 *
 * Every number comes from the reconstructions of this very attack and the judge of this very run, by the protocol of
 * judge.h.  score.json holds the verdict on each image and the metrics; the facts that belong to the run rather than to
 * the product (the name of the cell, the device, the trade-off against the undefended row) are added when it is
 * published (score_events.c).  The target is asked too: how many of its reconstructions it takes for the identity tells
 * a weak attack from a strong one that does not carry over to the judge. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "score.h"

#define BATCH 64

static enum mi_status identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    (void)s;
    MI_TRY(fid_check(e));
    return plan_hash_settings(h, e->spec->section[MI_SEC_SCORE], NULL);
}

/* The run's judge, loaded at the first score and kept. */
static enum mi_status open_judge(struct engine *e, const struct stage *judge) {
    if (e->judge && e->judge_of == judge) return MI_OK;
    struct classifier c;
    MI_TRY(classifier_open(e, judge, &c));
    mi_defenses_close(&c.defenses); /* a judge has none */
    mi_params_freeze(c.model->params, true);
    mi_model_free(e->judge);
    e->judge = c.model;
    e->judge_of = judge;
    return MI_OK;
}

/* Percent of the images that the target itself takes for the identity. */
static enum mi_status ask_target(const struct engine *e, const struct stage *s, mt_tensor *x, const int *labels, int n,
                                 double *percent) {
    struct classifier c;
    MI_TRY(classifier_open(e, s->target, &c));
    struct mi_verdict *v = mi_calloc((size_t)n, sizeof(*v));
    enum mi_status st = v ? mi_judge_images(c.model, x, labels, BATCH, v, NULL) : MI_E_NOMEM;
    int hits = 0;
    for (int i = 0; st == MI_OK && i < n; i++) hits += v[i].hit;
    *percent = 100.0 * hits / n;
    free(v);
    classifier_close(&c);
    return st;
}

static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *to_json(const struct mi_verdict *v, int n, const struct mi_attack_score *sc, double target) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *one = json_pack("{s:i, s:i, s:i, s:f, s:b, s:b, s:i}", "label", v[i].label, "restart", v[i].restart,
                                "judge", v[i].judge, "confidence", v[i].confidence, "hit", (int)v[i].hit, "hit5",
                                (int)v[i].hit5, "nearest", v[i].nearest);
        json_object_set_new(one, "distance", number(v[i].distance));
        json_array_append_new(list, one);
    }
    json_t *j = json_object();
    json_object_set_new(j, "attacc", number(sc->top1));
    json_object_set_new(j, "attacc_std", number(sc->top1_std));
    json_object_set_new(j, "top5", number(sc->top5));
    json_object_set_new(j, "top5_std", number(sc->top5_std));
    json_object_set_new(j, "knn", number(sc->knn));
    json_object_set_new(j, "target_judged", number(target));
    json_object_set_new(j, "identities", json_integer(sc->identities));
    json_object_set_new(j, "images", json_integer(sc->images));
    json_object_set_new(j, "verdicts", list);
    return j;
}

static enum mi_status write_json(struct mi_ctx *ctx, json_t *score) {
    char *path = mi_product_work_file(ctx->product, "score.json");
    char *text = json_dumps(score, JSON_COMPACT | JSON_REAL_PRECISION(12));
    enum mi_status st = path && text ? mi_write_file(path, text, strlen(text)) : MI_E_NOMEM;
    free(text);
    free(path);
    return st;
}

/* Judges all images and measures the metrics; verdicts [n] are the caller's. */
static enum mi_status measure(struct engine *e, const struct stage *s, mt_tensor *x, const int *labels, int ids,
                              int restarts, struct mi_verdict *v, struct mi_attack_score *sc, struct fid_score *fid) {
    const struct mi_values *score = e->spec->section[MI_SEC_SCORE];
    const struct mi_pack_split *photos = &s->judge->data->images.split[MI_TRAIN];
    mt_tensor *features = NULL, *theirs = NULL; /* [n,width], [photos of the attacked,width] */
    int n = ids * restarts;
    size_t count = 0;
    double knn = NAN;
    MI_TRY(mi_judge_images(e->judge, x, labels, BATCH, v, &features));
    bool near = mi_values_bool(score, "knn"), fids = mi_values_choice(score, "fid") != 0;
    int32_t *index = mi_photos_of(v, n, photos, &count);
    enum mi_status st = index ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK && count == 0 && (near || fids))
        st = mi_fail(MI_E_INPUT, "the private training set has no photo of any attacked identity");
    if (st == MI_OK && (near || fids)) st = mi_eval_features(e->judge, photos, index, count, BATCH, &theirs);
    if (st == MI_OK && near) st = mi_score_knn_among(features, v, n, photos, index, theirs, &knn);
    if (st == MI_OK) st = fid_measure(e, s, x, v, n, features, theirs, fid);
    if (st == MI_OK) st = mi_score_attack(v, ids, restarts, (int)mi_values_int(score, "group"), sc);
    sc->knn = knn;
    free(index);
    return st;
}

static enum mi_status read_recon(mt_archive *a, mt_tensor **x, int **labels, int *ids, int *restarts) {
    *x = mt_archive_get(a, "x", MT_CPU); /* [ids*restarts,3,S,S] */
    mt_tensor *l = mt_archive_get(a, "labels", MT_CPU);
    if (!*x || !l) return mt_status();
    *ids = (int)mt_size(l, 0);
    *restarts = *ids > 0 ? (int)(mt_size(*x, 0) / *ids) : 0;
    if (*restarts < 1) return mi_fail(MI_E_INPUT, "the reconstructions are incomplete");
    int *one = mi_calloc((size_t)*ids, sizeof(*one));
    *labels = mi_calloc((size_t)*ids * (size_t)*restarts, sizeof(**labels));
    enum mi_status st = one && *labels ? mt_read(l, one, *ids * (int64_t)sizeof(*one), MT_I32, MT_NCHW) : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < *ids * *restarts; i++) (*labels)[i] = one[i / *restarts];
    free(one);
    return st;
}

static enum mi_status work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    MI_TRY(open_judge(e, s->judge));
    mt_archive *a = graph_archive(e, s->attack, "recon.safetensors");
    if (!a) return mi_error_status();
    int *labels = NULL, ids = 0, restarts = 0;
    struct mi_verdict *v = NULL;
    struct mi_attack_score sc = {0};
    struct fid_score fid = {.value = NAN};
    double target = NAN;
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("score");
    mt_tensor *x = NULL;
    enum mi_status st = read_recon(a, &x, &labels, &ids, &restarts);
    if (st == MI_OK && !(v = mi_calloc((size_t)ids * (size_t)restarts, sizeof(*v)))) st = MI_E_NOMEM;
    if (st == MI_OK) st = measure(e, s, x, labels, ids, restarts, v, &sc, &fid);
    if (st == MI_OK) st = ask_target(e, s, x, labels, ids * restarts, &target);
    if (st == MI_OK) {
        json_t *score = to_json(v, ids * restarts, &sc, target);
        json_object_set_new(score, "restarts", json_integer(restarts));
        json_object_set_new(score, "fid", number(fid.value));
        if (*fid.features) json_object_set_new(score, "fid_features", json_string(fid.features));
        json_object_set_new(score, "fid_few", json_boolean(fid.few));
        st = write_json(ctx, score);
        json_decref(score);
    }
    enum mi_status end = mt_scope_end(scope);
    mt_grad_mode(was);
    mt_archive_close(a);
    free(labels);
    free(v);
    if (st != MI_OK || end != MI_OK) return st != MI_OK ? st : end;
    json_object_set_new(facts, "attacc", number(sc.top1));
    json_object_set_new(facts, "knn", number(sc.knn));
    return MI_OK;
}

static enum mi_status show(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *facts) {
    (void)facts;
    size_t size = 0;
    char *path = graph_file(e, s, "score.json");
    char *text = path ? mi_read_file(path, 256u << 20, &size) : NULL;
    free(path);
    if (!text) return mi_error_status();
    json_t *score = json_loadb(text, size, 0, NULL);
    free(text);
    if (!score) return mi_fail(MI_E_INPUT, "score.json of %s cannot be read", s->id);
    enum mi_status st = score_publish(e, s, ctx, score);
    json_decref(score);
    return st;
}

const struct stage_ops stage_score_ops = {
    .word = "score", .product = true, .identity = identity, .work = work, .show = show};
