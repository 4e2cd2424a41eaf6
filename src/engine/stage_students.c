/* src/engine/stage_students.c - networks an attacker distils from a target with public images (model augmentation).
 *
 * A product between target and attack: one per target and way of distilling, shared by the attacks that name the same
 * students and the same settings of them.  What they are and how they learn is the attack's affair; this file gives it
 * the oracle, the public images and a place to write.  Files named in the settings count by content. */
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

static bool listed(const char *name, const char *const *list) {
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

static enum mi_status identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name);
    if (!v) return mi_error_status();
    mi_hasher_text(h, "students", s->desc->students);
    const char *others[256]; /* plan_hash_settings takes the names to leave out */
    size_t n = 0;
    for (const struct mi_setting *t = mi_values_settings(v); t && t->name; t++)
        if (!listed(t->name, s->desc->students_settings) && n < 255) others[n++] = t->name;
    others[n] = NULL;
    return plan_hash_settings(h, v, others);
}

static enum mi_status work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    struct attacker a;
    char *path = mi_product_work_file(ctx->product, "students.safetensors");
    mt_archive *out = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!out) return mi_error_status();
    enum mi_status st = attacker_open(e, s, ctx, &a);
    if (st == MI_OK) st = s->desc->train_students(&a.job, out);
    json_object_set_new(facts, "queries", json_real(a.queries));
    json_object_set_new(facts, "students", json_string(s->desc->students));
    json_object_set_new(facts, "public_images", json_integer((json_int_t)a.job.pub->n));
    attacker_close(&a);
    if (st == MI_OK) return mt_archive_close(out);
    mt_archive_abort(out);
    return st;
}

const struct stage_ops stage_students_ops = {.word = "students", .product = true, .identity = identity, .work = work};
