/* src/engine/stage_trial.c - the first steps of a stage's work, only to time them (ctx->trial ends the loop).
 *
 * Each kind of stage is set up as for real, with the same networks, images and batch, but on its own copies and
 * without a product: MI_STOPPED is the expected end.  An attack's queries of a trial are counted into nothing. */
#include <stdlib.h>

#include "attacker.h"
#include "budget.h"

static enum mi_status train(struct engine *e, struct stage *s, struct mi_ctx *ctx) {
    struct mi_train_recipe r;
    struct classifier c;
    double acc = 0;
    MI_TRY(mi_train_recipe_read(classifier_section(e, s), &r));
    MI_TRY(classifier_build(e, s, &c));
    enum mi_status st = classifier_start(e, s, ctx, c.model); /* defenses may look at them */
    if (st == MI_OK)
        st = mi_train(ctx, c.model, &s->data->images, &r, s->kind == ST_TARGET ? &c.defenses : NULL, &acc);
    classifier_close(&c);
    return st;
}

static enum mi_status prior(const struct stage *s, struct mi_attack_job *job, const char *folder) {
    char *path = mi_path_join(folder, "prior.safetensors");
    mt_archive *out = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!out) return mi_error_status();
    enum mi_status st = s->desc->train_prior(job, out);
    mt_archive_abort(out);
    return st;
}

static enum mi_status invert(const struct engine *e, const struct stage *s, struct mi_attack_job *job) {
    struct mi_recon recon = {0};
    int classes = s->data->images.classes, want = (int)mi_values_int(e->spec->section[MI_SEC_ATTACK], "identities");
    job->n_labels = want > 0 && want < classes ? want : classes;
    int *labels = mi_calloc((size_t)job->n_labels, sizeof *labels);
    if (!labels) return MI_E_NOMEM;
    for (int i = 0; i < job->n_labels; i++) labels[i] = i;
    job->labels = labels;
    enum mi_status st = s->desc->invert(job, &recon);
    mt_free(recon.x);
    free(labels);
    return st;
}

enum mi_status stage_trial(struct engine *e, struct stage *s, struct mi_ctx *ctx, const char *folder) {
    if (s->kind == ST_PRETRAIN || s->kind == ST_TARGET || s->kind == ST_JUDGE) return train(e, s, ctx);
    struct attacker a;
    enum mi_status st = attacker_open(e, s, ctx, &a);
    if (st == MI_OK) st = s->kind == ST_PRIOR ? prior(s, &a.job, folder) : invert(e, s, &a.job);
    attacker_close(&a);
    return st;
}
