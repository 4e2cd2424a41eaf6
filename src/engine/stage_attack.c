/* src/engine/stage_attack.c - one attack against one target: reconstructions of the first N identities.
 *
 * The attack gets the oracle, its trained prior, public images and the labels, nothing else.  The product holds the
 * images as floats (recon.safetensors: x, labels) and how many images the target was shown. */
#include <stdlib.h>
#include <string.h>

#include "attacker.h"
#include "loop_priv.h"

static enum mi_status identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name);
    static const char *const skip[] = {"name", "size", NULL}; /* the stage's own size counts */
    if (!v) return mi_error_status();
    mi_hasher_text(h, "attack", s->desc->info.name);
    MI_TRY(plan_hash_settings(h, v, NULL));
    return plan_hash_settings(h, e->spec->section[MI_SEC_ATTACK], skip);
}

/* The identities to attack: the first N classes, 0 = all. */
static enum mi_status choose_labels(const struct engine *e, const struct stage *s, int **labels, int *n) {
    int classes = s->data->images.classes, want = (int)mi_values_int(e->spec->section[MI_SEC_ATTACK], "identities");
    if (want > classes)
        return mi_fail(MI_E_INPUT, "attack.identities = %d, but %s has only %d identities", want, s->data->dataset,
                       classes);
    *n = want > 0 ? want : classes;
    *labels = mi_calloc((size_t)*n, sizeof(**labels));
    if (!*labels) return MI_E_NOMEM;
    for (int i = 0; i < *n; i++) (*labels)[i] = i;
    return MI_OK;
}

static enum mi_status save(struct mi_ctx *ctx, mt_tensor *x, const struct mi_attack_job *job) {
    char *path = mi_product_work_file(ctx->product, "recon.safetensors");
    mt_archive *a = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!a) return mi_error_status();
    mt_scope *scope = mt_scope_begin("save recon");
    mt_spec i32 = {MT_I32, MT_CPU, MT_NCHW};
    enum mi_status st = mt_archive_put(a, "x", x); /* [ids*restarts,3,S,S] */
    if (st == MI_OK) st = mt_archive_put(a, "labels", mt_from(job->labels, MT_SHAPE(job->n_labels), i32));
    enum mi_status end = mt_scope_end(scope);
    if (st == MI_OK) st = end;
    if (st == MI_OK) return mt_archive_close(a);
    mt_archive_abort(a);
    return st;
}

static enum mi_status invert(const struct stage *s, struct mi_attack_job *job) {
    struct mi_recon recon = {0};
    enum mi_status st = s->desc->invert(job, &recon);
    int64_t want = (int64_t)job->n_labels * job->restarts;
    if (st == MI_OK && (!recon.x || mt_ndim(recon.x) != 4 || mt_size(recon.x, 0) != want))
        st = mi_fail(MI_E_INTERNAL, "attack %s did not return %lld images", s->desc->info.name, (long long)want);
    if (st == MI_OK && !mt_all_finite(recon.x))
        st = mi_fail(MI_E_INPUT,
                     "attack %s diverged: its images are not numbers; lower its step size or use "
                     "precision = fp32",
                     s->desc->info.name);
    if (st == MI_OK) st = save(job->ctx, recon.x, job);
    mt_free(recon.x);
    return st;
}

static enum mi_status work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    struct attacker a;
    int *labels = NULL;
    enum mi_status st = attacker_open(e, s, ctx, &a);
    if (st == MI_OK) st = choose_labels(e, s, &labels, &a.job.n_labels);
    a.job.labels = labels;
    if (st == MI_OK) st = invert(s, &a.job);
    if (st == MI_OK) {
        json_object_set_new(facts, "attack", json_string(s->desc->info.name));
        json_object_set_new(facts, "identities", json_integer(a.job.n_labels));
        json_object_set_new(facts, "restarts", json_integer(a.job.restarts));
        json_object_set_new(facts, "queries", json_real(a.queries));
    }
    attacker_close(&a);
    free(labels);
    return st;
}

/* The finished sheet: one row an identity, one column a restart. */
static enum mi_status show(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *facts) {
    int restarts = (int)json_integer_value(json_object_get(facts, "restarts"));
    int ids = (int)json_integer_value(json_object_get(facts, "identities"));
    int *labels = mi_calloc((size_t)(ids > 0 ? ids : 1), sizeof(*labels));
    mt_archive *a = graph_archive(e, s, "recon.safetensors");
    enum mi_status st = a && labels ? MI_OK : mi_error_status();
    mt_scope *scope = mt_scope_begin("show recon");
    if (st == MI_OK) {
        mt_tensor *x = mt_archive_get(a, "x", MT_CPU), *l = mt_archive_get(a, "labels", MT_CPU);
        st = l ? mt_read(l, labels, ids * (int64_t)sizeof(*labels), MT_I32, MT_NCHW) : mt_status();
        char name[160];
        snprintf(name, sizeof(name), "recon-%s", ctx->cell);
        if (st == MI_OK) st = mi_ctx_atlas(ctx, name, "recon", x, restarts, labels, 0, true);
    }
    enum mi_status end = mt_scope_end(scope);
    if (a) mt_archive_close(a);
    free(labels);
    return st != MI_OK ? st : end;
}

const struct stage_ops stage_attack_ops = {
    .word = "attack", .product = true, .identity = identity, .work = work, .show = show};
