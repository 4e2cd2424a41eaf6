/* src/engine/oracle.c - the door between an attack and its target.
 *
 * The rule that makes numbers of different attacks comparable is enforced here and nowhere else: an attack states
 * its access level, and a call above it fails.  Every image shown is counted, whatever the call.  The target is
 * frozen on entry and stays so: evaluation mode, no weight gradients; gradients reach the image only, and only
 * through white-box logits.  Images are [0,1]; what normalisation the target was trained with is the target's own
 * affair and is applied here. */
#include "midre/oracle.h"

#include <stdlib.h>

struct mi_oracle {
    struct mi_model *target; /* borrowed */
    enum mi_access level;
    char *attack;
    int shown; /* side of the images an attack shows */
    double own, *queries; /* points to own, or to the tally of the stage */
};

static const char *level_word(enum mi_access level) {
    switch (level) {
    case MI_ACCESS_LABEL: return "labels";
    case MI_ACCESS_BLACK: return "probabilities";
    case MI_ACCESS_WHITE: return "gradients";
    }
    return "nothing";
}

struct mi_oracle *mi_oracle_new(struct mi_model *target, enum mi_access level, const char *attack) {
    struct mi_oracle *o = mi_calloc(1, sizeof *o);
    char *name = mi_strdup(attack);
    if (!o || !name) {
        free(o);
        free(name);
        return NULL;
    }
    *o = (struct mi_oracle){.target = target, .level = level, .attack = name, .shown = target->size};
    o->queries = &o->own;
    target->train = false;
    mi_params_freeze(target->params, true);
    return o;
}

void mi_oracle_free(struct mi_oracle *o) {
    if (!o) return;
    free(o->attack);
    free(o);
}

int mi_oracle_classes(const struct mi_oracle *o) { return o->target->classes; }
int mi_oracle_size(const struct mi_oracle *o) { return o->target->size; }
int mi_oracle_feature_width(const struct mi_oracle *o) { return o->target->feature_width; }
int64_t mi_oracle_queries(const struct mi_oracle *o) { return (int64_t)*o->queries; }
void mi_oracle_images(struct mi_oracle *o, int size) { o->shown = size; }
void mi_oracle_tally(struct mi_oracle *o, double *tally) { o->queries = tally; }
enum mi_access mi_oracle_access(const struct mi_oracle *o) { return o->level; }

/* Checks access and shape, counts, and runs the target on normalised images. */
static enum mi_status ask(struct mi_oracle *o, enum mi_access need, mt_tensor *x, struct mi_forward_out *out) {
    if (need > o->level)
        return mi_fail(MI_E_INPUT, "attack %s may only see %s of the target, but asked for %s", o->attack,
                       level_word(o->level), level_word(need));
    int size = o->target->size, shown = o->shown;
    if (!x) return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "attack %s shows the target no image", o->attack);
    if (mt_ndim(x) != 4 || mt_size(x, 1) != 3 || mt_size(x, 2) != shown || mt_size(x, 3) != shown)
        return mi_fail(MI_E_INPUT, "attack %s shows the target %dx%d images where %dx%d were agreed on; attack.size "
                                   "says what it makes", o->attack, (int)mt_size(x, -1), (int)mt_size(x, -2), shown,
                       shown);
    if (shown != size) x = mt_resize2d(x, size, size, MT_BILINEAR, false, shown > size);
    /* The tally is in every checkpoint, so a target with noise of its own answers a resumed attack as it would have. */
    if (!o->target->train) mi_model_reseed(o->target, "asked", (uint64_t)*o->queries);
    *o->queries += (double)mt_size(x, 0);
    return mi_model_forward(o->target, mi_model_normalise(o->target, x), false, out);
}

enum mi_status mi_oracle_logits(struct mi_oracle *o, mt_tensor *x, mt_tensor **logits, mt_tensor **features) {
    struct mi_forward_out out = {0};
    *logits = NULL;
    if (features) *features = NULL;
    MI_TRY(ask(o, MI_ACCESS_WHITE, x, &out));
    *logits = out.logits;
    if (features) *features = out.features;
    return MI_OK;
}

/* Runs the target without a graph in a scope of its own and hands `what` of the logits to the caller's scope. */
static enum mi_status ask_detached(struct mi_oracle *o, enum mi_access need, mt_tensor *x, mt_tensor **result) {
    struct mi_forward_out out = {0};
    *result = NULL;
    mt_scope *s = mt_scope_begin("oracle");
    bool grad = mt_grad_mode(false);
    enum mi_status st = ask(o, need, x, &out);
    mt_tensor *r = NULL;
    if (st == MI_OK) r = need == MI_ACCESS_BLACK ? mt_softmax(out.logits, 1) : mt_argmax(out.logits, 1);
    mt_grad_mode(grad);
    if (r) *result = mt_pass(r);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

enum mi_status mi_oracle_probs(struct mi_oracle *o, mt_tensor *x, mt_tensor **probs) {
    return ask_detached(o, MI_ACCESS_BLACK, x, probs);
}

enum mi_status mi_oracle_labels(struct mi_oracle *o, mt_tensor *x, mt_tensor **labels) {
    return ask_detached(o, MI_ACCESS_LABEL, x, labels);
}

/* Running statistics move in a forward pass in training mode; they are put back so that the target stays frozen. */
enum mi_status mi_oracle_probs_batch(struct mi_oracle *o, mt_tensor *x, mt_tensor **probs) {
    struct mi_params *ps = o->target->params;
    mt_tensor **held = mi_calloc((size_t)(ps->n > 0 ? ps->n : 1), sizeof(mt_tensor *));
    *probs = NULL;
    if (!held) return MI_E_NOMEM;
    struct mi_forward_out out = {0};
    mt_scope *s = mt_scope_begin("oracle");
    bool grad = mt_grad_mode(false);
    for (int i = 0; i < ps->n; i++) held[i] = ps->item[i].role == MI_BUFFER ? mt_clone(ps->item[i].t) : NULL;
    o->target->train = true;
    enum mi_status st = ask(o, MI_ACCESS_WHITE, x, &out);
    o->target->train = false;
    for (int i = 0; i < ps->n; i++)
        if (held[i]) mt_copy_(ps->item[i].t, held[i]);
    if (st == MI_OK) *probs = mt_pass(mt_softmax(out.logits, 1));
    mt_grad_mode(grad);
    free(held);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}
