/* src/engine/checkpoint.c - saving and restoring a loop exactly.
 *
 * A checkpoint is one safetensors file in the work folder of the stage's product, ckpt-<phase>-A or -B.  The two are
 * written in turn and each appears by rename, so whatever instant the engine dies at, at least one of them is whole.
 * It holds every registered network, optimiser, tensor and number, the step, and the stage's curves; random numbers
 * need no state, they are functions of the step.  Numbers travel as hexadecimal floats: nothing is rounded.
 *
 * Parts are the finished pieces of a stage that works piece by piece (groups of identities): part-<name>. */
#include <stdlib.h>
#include <string.h>

#include "loop_priv.h"

void mi_file_word(const char *text, char *out, size_t cap) {
    size_t n = 0;
    for (const char *s = text; *s && n + 1 < cap; s++) {
        bool plain =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '.' || *s == '-';
        out[n++] = plain ? *s : '_';
    }
    out[n] = '\0';
}

static char *slot_path(const struct mi_loop *l, int slot) {
    char word[96], name[128];
    mi_file_word(l->phase, word, sizeof(word));
    snprintf(name, sizeof(name), "ckpt-%s-%c.safetensors", word, 'A' + slot);
    return mi_product_work_file(l->ctx->product, name);
}

static enum mi_status put_tally(const struct mi_ctx *c, mt_archive *a) {
    char text[64];
    snprintf(text, sizeof(text), "%a", c->tally ? *c->tally : 0.0);
    return mt_archive_meta_put(a, "tally", text);
}

/* Counts only grow: a part read back after later work must not turn the count back. */
static void get_tally(const struct mi_ctx *c, const mt_archive *a) {
    const char *text = mt_archive_meta(a, "tally");
    double v = text ? strtod(text, NULL) : 0;
    if (c->tally && v > *c->tally) *c->tally = v;
}

/* The base of the curves at the start of this phase is part of the curves; see mi_loop_end. */
static enum mi_status put_all(struct mi_loop *l, mt_archive *a) {
    char key[160], text[64];
    snprintf(text, sizeof(text), "%lld", (long long)l->step);
    MI_TRY(mt_archive_meta_put(a, "step", text));
    snprintf(text, sizeof(text), "%lld", (long long)l->total);
    MI_TRY(mt_archive_meta_put(a, "total", text));
    MI_TRY(mt_archive_meta_put(a, "phase", l->phase));
    MI_TRY(put_tally(l->ctx, a));
    for (int i = 0; i < l->n_numbers; i++) {
        snprintf(key, sizeof(key), "number.%s", l->numbers[i].name);
        snprintf(text, sizeof(text), "%a", *l->numbers[i].v);
        MI_TRY(mt_archive_meta_put(a, key, text));
    }
    for (int i = 0; i < l->n_params; i++) {
        snprintf(key, sizeof(key), "net.%s.", l->params[i].name);
        MI_TRY(mi_params_save(l->params[i].ps, a, key));
    }
    for (int i = 0; i < l->n_opts; i++) {
        snprintf(key, sizeof(key), "opt.%s.", l->opts[i].name);
        MI_TRY(mt_opt_save(l->opts[i].o, a, key));
    }
    for (int i = 0; i < l->n_tensors; i++) {
        snprintf(key, sizeof(key), "tensor.%s", l->tensors[i].name);
        if (*l->tensors[i].t) MI_TRY(mt_archive_put(a, key, *l->tensors[i].t));
    }
    return mi_curves_save(l->priv->curves, a);
}

static enum mi_status write_file(struct mi_loop *l, const char *path) {
    mt_archive *a = mt_archive_create(path);
    if (!a) return mi_error_status();
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("checkpoint");
    enum mi_status st = put_all(l, a);
    enum mi_status end = mt_scope_end(scope);
    mt_grad_mode(was);
    if (st == MI_OK) st = end;
    if (st == MI_OK) return mt_archive_close(a);
    mt_archive_abort(a);
    return st;
}

enum mi_status mi_checkpoint_write(struct mi_loop *l) {
    if (!l->ctx->product || l->priv->saved_step == l->step) return MI_OK;
    char *path = slot_path(l, l->priv->slot);
    if (!path) return mi_error_status();
    enum mi_status st = write_file(l, path);
    if (st != MI_OK) mi_fail_context("checkpoint of %s at step %lld", l->phase, (long long)l->step);
    free(path);
    if (st != MI_OK) return st;
    l->priv->slot = 1 - l->priv->slot;
    l->priv->saved_step = l->step;
    return MI_OK;
}

/* ---- restoring ------------------------------------------------------------------------------------------------------
 */

/* A tensor registered by the phase: copied into the existing one, which optimisers may hold, or made new. */
static enum mi_status get_tensor(struct mi_loop *l, mt_archive *a, const char *key, mt_tensor **own) {
    if (!mt_archive_has(a, key)) {
        mt_free(*own);
        *own = NULL;
        return MI_OK;
    }
    mt_tensor *t = mt_archive_get(a, key, l->ctx->device);
    if (!t) return mi_error_status();
    if (!*own) {
        *own = mt_keep(t);
        return MI_OK;
    }
    int64_t have[MT_MAXDIM], saved[MT_MAXDIM];
    int nd = mt_shape(*own, have);
    if (nd != mt_shape(t, saved) || memcmp(have, saved, (size_t)nd * sizeof(*have)) != 0)
        return mi_fail(MI_E_INPUT, "checkpoint: %s has another shape", key);
    mt_copy_(*own, t);
    return MI_OK;
}

static enum mi_status get_all(struct mi_loop *l, mt_archive *a) {
    char key[160];
    for (int i = 0; i < l->n_numbers; i++) {
        snprintf(key, sizeof(key), "number.%s", l->numbers[i].name);
        const char *text = mt_archive_meta(a, key);
        if (!text) return mi_fail(MI_E_INPUT, "checkpoint: %s is missing", key);
        *l->numbers[i].v = strtod(text, NULL);
    }
    for (int i = 0; i < l->n_params; i++) {
        snprintf(key, sizeof(key), "net.%s.", l->params[i].name);
        MI_TRY(mi_params_load(l->params[i].ps, a, key));
    }
    for (int i = 0; i < l->n_opts; i++) {
        snprintf(key, sizeof(key), "opt.%s.", l->opts[i].name);
        MI_TRY(mt_opt_load(l->opts[i].o, a, key));
    }
    for (int i = 0; i < l->n_tensors; i++) {
        snprintf(key, sizeof(key), "tensor.%s", l->tensors[i].name);
        MI_TRY(get_tensor(l, a, key, l->tensors[i].t));
    }
    get_tally(l->ctx, a);
    return mi_curves_load(l->priv->curves, a);
}

/* Opens a slot that belongs to this phase; *step = -1 and no error when there is none or it is unreadable. */
static mt_archive *open_slot(struct mi_loop *l, int slot, int64_t *step) {
    *step = -1;
    char *path = slot_path(l, slot);
    if (!path || !mi_exists(path)) {
        free(path);
        return NULL;
    }
    mt_archive *a = mt_archive_open(path);
    const char *phase = a ? mt_archive_meta(a, "phase") : NULL;
    const char *total = a ? mt_archive_meta(a, "total") : NULL;
    const char *at = a ? mt_archive_meta(a, "step") : NULL;
    bool ours = phase && total && at && strcmp(phase, l->phase) == 0 && strtoll(total, NULL, 10) == l->total;
    if (!ours) {
        mi_ctx_log(l->ctx, "warn", "%s: checkpoint %s is not usable (%s) and is passed over", l->ctx->stage, path,
                   mi_error_status() != MI_OK ? mi_error_text() : "it belongs to another phase");
        mi_error_clear();
        if (a) mt_archive_close(a);
        a = NULL;
    } else {
        *step = strtoll(at, NULL, 10);
    }
    free(path);
    return a;
}

static enum mi_status restore(struct mi_loop *l, mt_archive *a) {
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("restore");
    enum mi_status st = get_all(l, a);
    enum mi_status end = mt_scope_end(scope);
    mt_grad_mode(was);
    return st != MI_OK ? st : end;
}

enum mi_status mi_checkpoint_read(struct mi_loop *l, bool *found) {
    *found = false;
    if (!l->ctx->product) return MI_OK;
    int64_t step[2];
    mt_archive *a[2] = {open_slot(l, 0, &step[0]), open_slot(l, 1, &step[1])};
    int slot = step[1] > step[0] ? 1 : 0;
    enum mi_status st = MI_OK;
    for (int tries = 0; tries < 2 && !*found; tries++, slot = 1 - slot) {
        if (!a[slot]) continue;
        st = restore(l, a[slot]);
        if (st == MI_OK) {
            *found = true;
            l->step = l->priv->saved_step = step[slot];
            l->priv->slot = 1 - slot;
            break;
        }
        mi_ctx_log(l->ctx, "warn", "%s: checkpoint of step %lld is damaged (%s)", l->ctx->stage, (long long)step[slot],
                   mi_error_text());
        if (tries == 0 && a[1 - slot]) mi_error_clear();
    }
    for (int i = 0; i < 2; i++)
        if (a[i]) mt_archive_close(a[i]);
    if (st == MI_OK || *found) return MI_OK;
    /* Half of a damaged state may already be in the networks: starting from it would be silently wrong. */
    return mi_fail_context("%s: no checkpoint of %s can be read; remove %s to start it afresh", l->ctx->stage, l->phase,
                           l->ctx->product->work);
}

/* ---- parts ----------------------------------------------------------------------------------------------------------
 */

static char *part_path(const struct mi_ctx *c, const char *part) {
    char word[96], name[128];
    mi_file_word(part, word, sizeof(word));
    snprintf(name, sizeof(name), "part-%s.safetensors", word);
    return mi_product_work_file(c->product, name);
}

enum mi_status mi_ctx_part_save(struct mi_ctx *c, const char *part, mt_tensor *const *ts, const char *const *names,
                                int n) {
    if (!c->product) return MI_OK;
    char *path = part_path(c, part);
    mt_archive *a = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!a) return mi_error_status();
    mt_scope *scope = mt_scope_begin("part");
    enum mi_status st = MI_OK;
    for (int i = 0; i < n && st == MI_OK; i++) st = mt_archive_put(a, names[i], ts[i]);
    if (st == MI_OK && c->curves) st = mi_curves_save(c->curves, a);
    if (st == MI_OK) st = put_tally(c, a);
    enum mi_status end = mt_scope_end(scope);
    if (st == MI_OK) st = end;
    if (st == MI_OK) return mt_archive_close(a);
    mt_archive_abort(a);
    return st;
}

enum mi_status mi_ctx_part_load(struct mi_ctx *c, const char *part, mt_tensor **ts, const char *const *names, int n) {
    char *path = c->product ? part_path(c, part) : NULL;
    if (!path || !mi_exists(path)) {
        free(path);
        return MI_E_MISSING;
    }
    mt_archive *a = mt_archive_open(path);
    free(path);
    enum mi_status st = a ? MI_OK : mi_error_status();
    for (int i = 0; i < n && st == MI_OK; i++) {
        ts[i] = mt_archive_get(a, names[i], c->device); /* belongs to the caller's scope */
        if (!ts[i]) st = mi_error_status();
    }
    if (st == MI_OK && c->curves) st = mi_curves_advance(c->curves, a);
    if (st == MI_OK) get_tally(c, a);
    if (a) mt_archive_close(a);
    if (st == MI_OK) return MI_OK;
    /* A finished part can always be made again: name the damage and do so. */
    mi_ctx_log(c, "warn", "%s: part %s is damaged (%s) and is done again", c->stage, part, mi_error_text());
    mt_status();
    mi_error_clear();
    return MI_E_MISSING;
}
