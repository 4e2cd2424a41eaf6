/* src/nn/recognise_load.c - what follows from a recognition: the difference in words, and loading.
 *
 * The strict loader (weights.c) is given the names as keys.c found them, so a wrapped file loads like a bare one.  The
 * difference lists what is missing, unexpected and of another shape, a few lines of each, for a person to read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/recognise.h"
#include "src/nn/params_priv.h"

static void shape_words(const int64_t *shape, int nd, char out[96]) {
    size_t len = (size_t)snprintf(out, 96, "[");
    for (int i = 0; i < nd && len < 80; i++)
        len += (size_t)snprintf(out + len, 96 - len, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(out + len, 96 - len, "]");
}

static bool counts(const char *name, const char *head, bool head_may_differ) {
    size_t n = strlen(head), m = strlen(name), t = strlen("num_batches_tracked");
    if (m >= t && strcmp(name + m - t, "num_batches_tracked") == 0) return false;
    return !(head_may_differ && strncmp(name, head, n) == 0 && name[n] == '.');
}

/* One line while there is room for it; the rest is counted. */
static void line(FILE *out, int *n, const char *what, const char *name, const char *words) {
    if ((*n)++ < MI_DIFF_SHOWN) fprintf(out, "%-11s %.120s %s\n", what, name, words);
}

static void rest(FILE *out, int n, const char *what) {
    if (n > MI_DIFF_SHOWN) fprintf(out, "%-11s ... and %d more\n", what, n - MI_DIFF_SHOWN);
}

static void differ(FILE *out, const mt_archive *a, const struct mi_keys *k, const struct mi_params *ps,
                   const struct mi_candidate *c, bool free_head) {
    int missing = 0, reshaped = 0, unexpected = 0;
    char own[96], file[96], words[220];
    int64_t x[MT_MAXDIM], y[MT_MAXDIM];
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < ps->n; i++) {
            const char *name = ps->item[i].name;
            int at = mi_keys_index(k, name), nx = mt_shape(ps->item[i].t, x);
            if (!counts(name, c->desc->head, free_head)) continue;
            shape_words(x, nx, own);
            if (at < 0) {
                if (pass == 0) line(out, &missing, "missing", name, own);
                continue;
            }
            int ny = mt_archive_shape(a, at, y);
            if (pass == 0 || (nx == ny && memcmp(x, y, (size_t)nx * sizeof *x) == 0)) continue;
            shape_words(y, ny, file);
            snprintf(words, sizeof words, "file %s, network %s", file, own);
            line(out, &reshaped, "other shape", name, words);
        }
        if (pass == 0) rest(out, missing, "missing");
    }
    rest(out, reshaped, "other shape");
    for (int i = 0; i < mt_archive_count(a); i++) {
        const char *name = mi_keys_own(k, i);
        if (!name || mi_params_item(ps, name) || !counts(name, c->desc->head, free_head)) continue;
        shape_words(y, mt_archive_shape(a, i, y), file);
        line(out, &unexpected, "unexpected", name, file);
    }
    rest(out, unexpected, "unexpected");
}

char *mi_recognition_diff(const mt_archive *a, const struct mi_candidate *c, bool head_may_differ) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct mi_keys *k = mi_keys_new(a);
    mt_scope *scope = mt_scope_begin("difference");
    struct mi_params *ps = mi_model_shapes(c->desc, c->values, c->classes, c->size);
    bool ok = out && k && ps && mi_keys_settle(k, ps) >= 0;
    if (ok) differ(out, a, k, ps, c, head_may_differ);
    mi_params_free(ps);
    if (mt_scope_end(scope) != MI_OK) ok = false;
    mi_keys_free(k);
    if (out && fclose(out) != 0) ok = false;
    if (ok) return text;
    free(text);
    return NULL;
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

struct found {
    struct mi_lookup base; /* first: the loader hands it back */
    const struct mi_keys *keys;
};

static int found_index(const struct mi_lookup *l, const char *own) {
    return mi_keys_index(((const struct found *)l)->keys, own);
}

static const char *found_own(const struct mi_lookup *l, int i) {
    return mi_keys_own(((const struct found *)l)->keys, i);
}

enum mi_status mi_params_load_found(struct mi_params *ps, mt_archive *a, const char *head, bool *head_kept) {
    struct mi_keys *k = mi_keys_new(a);
    if (!k) return MI_E_NOMEM;
    struct found f = {.base = {.index = found_index, .own = found_own, .head = head}, .keys = k};
    enum mi_status st = mi_keys_settle(k, ps) < 0 ? MI_E_NOMEM : mi_params_load_by(ps, a, &f.base);
    if (head_kept) *head_kept = f.base.head_kept;
    mi_keys_free(k);
    return st;
}
