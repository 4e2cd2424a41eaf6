/* src/engine/attacker.c - what the attacker's stages (prior, students, attack) are given, put together in one place:
 * the public images at the size the attack makes, its settings, the oracle where the target may be asked, what was
 * made for it before.  The private images never come into this. */
#include "attacker.h"

#include "loop_priv.h"

static enum mi_status open_oracle(const struct engine *e, const struct stage *s, struct attacker *a) {
    MI_TRY(classifier_open(e, s->target, &a->target));
    a->job.oracle = mi_oracle_new(a->target.model, s->desc->access, s->desc->info.name);
    if (!a->job.oracle) return mi_error_status();
    mi_oracle_tally(a->job.oracle, &a->queries);
    mi_oracle_images(a->job.oracle, s->size);
    return MI_OK;
}

enum mi_status attacker_open(const struct engine *e, const struct stage *s, struct mi_ctx *ctx, struct attacker *a) {
    *a = (struct attacker){.job = {.ctx = ctx,
                                   .size = s->size,
                                   .pub = &s->pub->images.split[MI_PUBLIC],
                                   .values = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name),
                                   .restarts = (int)mi_values_int(e->spec->section[MI_SEC_ATTACK], "restarts")}};
    ctx->tally = &a->queries;
    if (!a->job.values) return mi_error_status();
    if (s->target) MI_TRY(open_oracle(e, s, a));
    if (s->prior && !(a->job.prior = graph_archive(e, s->prior, "prior.safetensors"))) return mi_error_status();
    if (s->students && !(a->job.students = graph_archive(e, s->students, "students.safetensors")))
        return mi_error_status();
    return MI_OK;
}

void attacker_close(struct attacker *a) {
    mi_oracle_free(a->job.oracle);
    if (a->job.prior) mt_archive_close(a->job.prior);
    if (a->job.students) mt_archive_close(a->job.students);
    if (a->target.model) classifier_close(&a->target);
    a->job.ctx->tally = NULL;
}
