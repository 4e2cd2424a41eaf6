/* src/engine/stage_prior.c - the attacker's knowledge of faces in general, trained from public images only.
 *
 * Attacks that name the same prior and the same settings of it share one product: the hash covers just the settings the
 * prior depends on.  A prior that reads the target (KedMI) has the target as an input.  [prior] file takes a finished
 * one; the bytes become the product, so a run never depends on a file that may change later. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attacker.h"

static const char *given_file(const struct engine *e) {
    return mi_values_text(e->spec->section[MI_SEC_PRIOR], "file");
}

static enum mi_status identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name);
    if (!v) return mi_error_status();
    mi_hasher_text(h, "prior", s->desc->prior);
    for (const char *const *name = s->desc->prior_settings; name && *name; name++)
        mi_hasher_text(h, *name, mi_values_text(v, *name));
    return plan_hash_settings(h, e->spec->section[MI_SEC_PRIOR], NULL);
}

/* Byte for byte; the target is in the work folder, where the commit syncs and hashes it. */
static enum mi_status copy_file(const char *from, const char *to) {
    FILE *in = fopen(from, "rbe");
    if (!in) return mi_fail(MI_E_MISSING, "[prior] file %s: %s", from, strerror(errno));
    FILE *out = fopen(to, "wbe");
    char buffer[1 << 16];
    size_t n;
    bool ok = out != NULL;
    while (ok && (n = fread(buffer, 1, sizeof(buffer), in)) > 0) ok = fwrite(buffer, 1, n, out) == n;
    ok = ok && !ferror(in);
    if (out && fclose(out) != 0) ok = false;
    fclose(in);
    return ok ? MI_OK : mi_fail(MI_E_DISK, "copying %s to %s: %s", from, to, strerror(errno));
}

static enum mi_status take_given(struct mi_ctx *ctx, const char *given, const char *path) {
    mt_archive *a = mt_archive_open(given); /* refuses what is not weights before it becomes a product */
    if (!a) return mi_fail_context("[prior] file");
    mt_archive_close(a);
    mi_ctx_log(ctx, "info", "%s: finished prior from %s", ctx->stage, given);
    return copy_file(given, path);
}

static enum mi_status train(struct engine *e, struct stage *s, struct mi_ctx *ctx, const char *path, double *queries) {
    struct attacker a;
    mt_archive *out = mt_archive_create(path);
    if (!out) return mi_error_status();
    enum mi_status st = attacker_open(e, s, ctx, &a);
    if (st == MI_OK) st = s->desc->train_prior(&a.job, out);
    *queries = a.queries;
    attacker_close(&a);
    if (st == MI_OK) return mt_archive_close(out);
    mt_archive_abort(out);
    return st;
}

static enum mi_status work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    double queries = 0;
    char *path = mi_product_work_file(ctx->product, "prior.safetensors");
    if (!path) return MI_E_NOMEM;
    enum mi_status st =
        *given_file(e) ? take_given(ctx, given_file(e), path) : train(e, s, ctx, path, &queries);
    free(path);
    json_object_set_new(facts, "queries", json_real(queries));
    json_object_set_new(facts, "prior", json_string(s->desc->prior));
    json_object_set_new(facts, "public_images", json_integer((json_int_t)s->pub->images.split[MI_PUBLIC].n));
    return st;
}

const struct stage_ops stage_prior_ops = {.word = "prior", .product = true, .identity = identity, .work = work};
