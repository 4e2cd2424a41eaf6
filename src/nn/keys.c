/* src/nn/keys.c - the names in a file of weights, freed of what wrappers put around them.
 *
 * A network trained under DataParallel has "module." before every name, one behind a trainer's class "model.", and
 * torch.compile puts "_orig_mod." somewhere in the middle.  Nothing is known here about who wraps how: "_orig_mod."
 * goes wherever it stands, and the wrapping is whatever stands before the network's own names in most of them.
 * Names are kept sorted, so that looking a thousand of them up in turn costs nothing worth mentioning.
 * The archive is borrowed; the plain names are owned. */
#include <stdlib.h>
#include <string.h>

#include "midre/recognise.h"

#define ANCHORS 6 /* own names that are searched at the ends of the file's names */
#define NEAREST 4 /* wrappings tried for each, the shortest: "conv1.weight" also ends "layer1.0.conv1.weight" */

struct mi_keys {
    int n, *order; /* [n] entries sorted by plain name */
    char **plain;  /* [n] by entry */
    char *prefix;
};

void mi_keys_free(struct mi_keys *k) {
    if (!k) return;
    for (int i = 0; k->plain && i < k->n; i++) free(k->plain[i]);
    free(k->plain);
    free(k->order);
    free(k->prefix);
    free(k);
}

static void cut_out(char *name, const char *word) {
    size_t n = strlen(word);
    for (char *at = name; (at = strstr(at, word));) {
        bool whole = at == name || at[-1] == '.';
        if (whole)
            memmove(at, at + n, strlen(at + n) + 1);
        else
            at += n;
    }
}

static int by_plain(const void *a, const void *b, void *keys) {
    const struct mi_keys *k = keys;
    return strcmp(k->plain[*(const int *)a], k->plain[*(const int *)b]);
}

struct mi_keys *mi_keys_new(const mt_archive *a) {
    struct mi_keys *k = mi_calloc(1, sizeof *k);
    if (!k) return NULL;
    k->n = mt_archive_count(a);
    k->order = mi_calloc((size_t)k->n + 1, sizeof *k->order);
    k->plain = mi_calloc((size_t)k->n + 1, sizeof *k->plain);
    k->prefix = mi_strdup("");
    bool ok = k->order && k->plain && k->prefix;
    for (int i = 0; ok && i < k->n; i++) {
        k->order[i] = i;
        k->plain[i] = mi_strdup(mt_archive_name(a, i));
        ok = k->plain[i] != NULL;
        if (ok) cut_out(k->plain[i], "_orig_mod.");
    }
    if (!ok) {
        mi_keys_free(k);
        return NULL;
    }
    qsort_r(k->order, (size_t)k->n, sizeof *k->order, by_plain, k);
    return k;
}

const char *mi_keys_prefix(const struct mi_keys *k) {
    return k->prefix;
}

/* Compares prefix + own with text, without putting the two together. */
static int compare(const char *prefix, size_t len, const char *own, const char *text) {
    int c = strncmp(prefix, text, len);
    return c ? c : strcmp(own, text + len);
}

static int find(const struct mi_keys *k, const char *prefix, size_t len, const char *own) {
    int lo = 0, hi = k->n - 1;
    while (lo <= hi) {
        int mid = lo + (hi - lo) / 2, c = compare(prefix, len, own, k->plain[k->order[mid]]);
        if (c == 0) return k->order[mid];
        if (c < 0)
            hi = mid - 1;
        else
            lo = mid + 1;
    }
    return -1;
}

int mi_keys_index(const struct mi_keys *k, const char *own) {
    return find(k, k->prefix, strlen(k->prefix), own);
}

const char *mi_keys_own(const struct mi_keys *k, int i) {
    size_t n = strlen(k->prefix);
    return strncmp(k->plain[i], k->prefix, n) == 0 ? k->plain[i] + n : NULL;
}

static int count(const struct mi_keys *k, const struct mi_params *ps, const char *prefix, size_t len) {
    int found = 0;
    for (int i = 0; i < ps->n; i++) found += find(k, prefix, len, ps->item[i].name) >= 0;
    return found;
}

/* What stands before `own` at the end of a name: its length, -1 when the name does not end so. */
static int wrapping(const char *name, const char *own) {
    size_t a = strlen(name), b = strlen(own);
    if (a < b || strcmp(name + a - b, own) != 0) return -1;
    return a == b || name[a - b - 1] == '.' ? (int)(a - b) : -1;
}

struct wrap {
    const char *name; /* starts with the wrapping */
    int len;
};

/* Files `w` among the shortest wrappings found so far; `n` of at most NEAREST. */
static int keep_short(struct wrap *list, int n, struct wrap w) {
    for (int i = 0; i < n; i++)
        if (list[i].len == w.len && strncmp(list[i].name, w.name, (size_t)w.len) == 0) return n;
    int at = n < NEAREST ? n++ : NEAREST - 1;
    if (at == NEAREST - 1 && n == NEAREST && list[at].name && list[at].len <= w.len) return n;
    for (; at > 0 && list[at - 1].len > w.len; at--) list[at] = list[at - 1];
    list[at] = w;
    return n;
}

int mi_keys_settle(struct mi_keys *k, const struct mi_params *ps) {
    struct wrap best = {"", 0};
    int most = count(k, ps, "", 0);
    for (int anchor = 0; anchor < ANCHORS && ps->n > 0; anchor++) {
        const char *own = ps->item[(long)anchor * (ps->n - 1) / (ANCHORS - 1)].name;
        struct wrap list[NEAREST] = {{NULL, 0}};
        int n = 0;
        for (int i = 0; i < k->n; i++) {
            int len = wrapping(k->plain[i], own);
            if (len > 0) n = keep_short(list, n, (struct wrap){k->plain[i], len});
        }
        for (int i = 0; i < n; i++) {
            int found = count(k, ps, list[i].name, (size_t)list[i].len);
            if (found > most) most = found, best = list[i];
        }
    }
    char *prefix = mi_format("%.*s", best.len, best.name);
    if (!prefix) return -1;
    free(k->prefix);
    k->prefix = prefix;
    return most;
}
