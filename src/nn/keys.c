/* src/nn/keys.c - the names in a file of weights, freed of what wrappers put around them.
 *
 * A network trained under DataParallel has "module." before every name, one behind a trainer's class "model.", and
 * torch.compile puts "_orig_mod." somewhere in the middle.  Nothing is known here about who wraps how: "_orig_mod."
 * goes wherever it stands, and the wrapping is whatever stands before the network's own names in most of them.
 * Some networks went public under more than one set of names; which, the network says (mi_alias).  The file's names are
 * taken as they are or all through it, whichever finds more.
 * Names are kept sorted, so that looking a thousand of them up in turn costs nothing worth mentioning.
 * The archive is borrowed; the names are owned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/recognise.h"

#define ANCHORS 6 /* own names that are searched at the ends of the file's names */
#define NEAREST 4 /* wrappings tried for each, the shortest: "conv1.weight" also ends "layer1.0.conv1.weight" */

struct names {
    const mt_archive *a;
    char **name; /* [n] by entry */
    int *order;  /* [n] entries sorted by name; of equals one that has this name in the file comes first */
};

struct mi_keys {
    const mt_archive *a;
    int n;
    struct names plain, renamed; /* the latter as `alias` has it */
    mi_alias alias;
    const struct names *now; /* one of the two */
    char *prefix;
};

static void names_free(struct names *s, int n) {
    for (int i = 0; s->name && i < n; i++) free(s->name[i]);
    free(s->name);
    free(s->order);
    *s = (struct names){0};
}

void mi_keys_free(struct mi_keys *k) {
    if (!k) return;
    names_free(&k->plain, k->n);
    names_free(&k->renamed, k->n);
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

static bool changed(const struct names *s, int i) {
    return strcmp(s->name[i], mt_archive_name(s->a, i)) != 0;
}

static int by_name(const void *a, const void *b, void *names) {
    const struct names *s = names;
    int x = *(const int *)a, y = *(const int *)b, c = strcmp(s->name[x], s->name[y]);
    if (c == 0) c = changed(s, x) - changed(s, y);
    return c ? c : x - y;
}

bool mi_alias_begins(const char *const (*pair)[2], const char *name, char *out, size_t cap) {
    for (; (*pair)[0]; pair++) {
        size_t n = strlen((*pair)[0]);
        if (strncmp(name, (*pair)[0], n) != 0) continue;
        int len = snprintf(out, cap, "%s%s", (*pair)[1], name + n);
        return len >= 0 && (size_t)len < cap;
    }
    return false;
}

char *mi_alias_applied(mi_alias alias, const char *name) {
    char own[512];
    for (const char *at = name; alias && at; at = strchr(at, '.'), at += at != NULL)
        if (alias(at, own, sizeof own)) return mi_format("%.*s%s", (int)(at - name), name, own);
    return mi_strdup(name);
}

/* All n names from `from`, or from the archive with "_orig_mod." cut out. */
static bool names_make(struct mi_keys *k, struct names *s, const struct names *from, mi_alias alias) {
    s->a = k->a;
    s->order = mi_calloc((size_t)k->n + 1, sizeof *s->order);
    s->name = mi_calloc((size_t)k->n + 1, sizeof *s->name);
    bool ok = s->order && s->name;
    for (int i = 0; ok && i < k->n; i++) {
        s->order[i] = i;
        s->name[i] = mi_alias_applied(alias, from ? from->name[i] : mt_archive_name(k->a, i));
        ok = s->name[i] != NULL;
        if (ok && !from) cut_out(s->name[i], "_orig_mod.");
    }
    if (ok)
        qsort_r(s->order, (size_t)k->n, sizeof *s->order, by_name, s);
    else
        names_free(s, k->n);
    return ok;
}

struct mi_keys *mi_keys_new(const mt_archive *a) {
    struct mi_keys *k = mi_calloc(1, sizeof *k);
    if (!k) return NULL;
    k->a = a;
    k->n = mt_archive_count(a);
    k->now = &k->plain;
    k->prefix = mi_strdup("");
    if (k->prefix && names_make(k, &k->plain, NULL, NULL)) return k;
    mi_keys_free(k);
    return NULL;
}

const char *mi_keys_prefix(const struct mi_keys *k) {
    return k->prefix;
}

/* Compares prefix + own with text, without putting the two together. */
static int compare(const char *prefix, size_t len, const char *own, const char *text) {
    int c = strncmp(prefix, text, len);
    return c ? c : strcmp(own, text + len);
}

static int find(const struct names *s, int n, const char *prefix, size_t len, const char *own) {
    int lo = 0, hi = n;
    while (lo < hi) { /* the first that is not smaller */
        int mid = lo + (hi - lo) / 2;
        if (compare(prefix, len, own, s->name[s->order[mid]]) > 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && compare(prefix, len, own, s->name[s->order[lo]]) == 0 ? s->order[lo] : -1;
}

int mi_keys_index(const struct mi_keys *k, const char *own) {
    return find(k->now, k->n, k->prefix, strlen(k->prefix), own);
}

/* Two entries of one name: the one that is not taken keeps the name it has in the file, so that it is seen. */
const char *mi_keys_own(const struct mi_keys *k, int i) {
    size_t n = strlen(k->prefix);
    const char *name = k->now->name[i];
    if (strncmp(name, k->prefix, n) != 0) return NULL;
    return mi_keys_index(k, name + n) == i ? name + n : mt_archive_name(k->a, i);
}

static int count(const struct names *s, int n, const struct mi_params *ps, const char *prefix, size_t len) {
    int found = 0;
    for (int i = 0; i < ps->n; i++) found += find(s, n, prefix, len, ps->item[i].name) >= 0;
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

/* The wrapping under which most of the network's names are found; that many. */
static int best_wrap(const struct names *s, int n, const struct mi_params *ps, struct wrap *best) {
    *best = (struct wrap){"", 0};
    int most = count(s, n, ps, "", 0);
    for (int anchor = 0; anchor < ANCHORS && ps->n > 0; anchor++) {
        const char *own = ps->item[(long)anchor * (ps->n - 1) / (ANCHORS - 1)].name;
        struct wrap list[NEAREST] = {{NULL, 0}};
        int listed = 0;
        for (int i = 0; i < n; i++) {
            int len = wrapping(s->name[i], own);
            if (len > 0) listed = keep_short(list, listed, (struct wrap){s->name[i], len});
        }
        for (int i = 0; i < listed; i++) {
            int found = count(s, n, ps, list[i].name, (size_t)list[i].len);
            if (found > most) most = found, *best = list[i];
        }
    }
    return most;
}

int mi_keys_settle(struct mi_keys *k, const struct mi_params *ps) {
    struct wrap best, other;
    int most = best_wrap(&k->plain, k->n, ps, &best);
    k->now = &k->plain;
    if (ps->alias && most < ps->n) {
        if (!k->renamed.name || k->alias != ps->alias) {
            names_free(&k->renamed, k->n);
            if (!names_make(k, &k->renamed, &k->plain, ps->alias)) return -1;
            k->alias = ps->alias;
        }
        int found = best_wrap(&k->renamed, k->n, ps, &other);
        if (found > most) most = found, best = other, k->now = &k->renamed;
    }
    char *prefix = mi_format("%.*s", best.len, best.name);
    if (!prefix) return -1;
    free(k->prefix);
    k->prefix = prefix;
    return most;
}
