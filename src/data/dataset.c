/* dataset.c - opening a dataset at one resolution: list, fingerprint, pack, map.
 *
 * Listing is cheap and done every time; it yields the name of the pack, a hash over the settings, the resolution, every
 * item with its label, and name, length and modification time of every file: a changed photograph or setting simply
 * leads to another pack.  A pack that fails its checksum is built anew, and the note says so.
 * The fingerprint of photographs is that of what the pack holds.  A folder that was copied, unpacked again or moved to
 * another machine has other times and is packed once more, and everything learnt from it is still found.
 * d->priv owns the mapping; class names and note are d's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/data/data_priv.h"

struct mi_data_private {
    struct mi_pack pack;
};

const struct mi_data_desc *mi_data_find(const char *name) {
    const char *names[64];
    size_t n = 0;
    for (; n < sizeof names / sizeof *names && mi_data_table[n]; n++) {
        names[n] = mi_data_table[n]->info.name;
        if (!strcmp(names[n], name)) return mi_data_table[n];
    }
    const char *near = mi_nearest(name, names, n);
    mi_fail(MI_E_INPUT, "there is no dataset \"%s\"%s%s%s", name, near ? "; did you mean \"" : "", near ? near : "",
            near ? "\"?" : "");
    return NULL;
}

/* Two 32-bit numbers as one 64-bit value for the hasher. */
static int64_t pair(uint32_t high, uint32_t low) {
    return (int64_t)((uint64_t)high << 32 | low);
}

static enum mi_status hash_file(struct mi_hasher *h, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return mi_fail(MI_E_MISSING, "%s is listed but not there; is the dataset complete?", path);
    mi_hasher_text(h, "file", mi_base_name(path));
    mi_hasher_int(h, "bytes", st.st_size);
    mi_hasher_int(h, "seconds", st.st_mtim.tv_sec);
    mi_hasher_int(h, "nanoseconds", st.st_mtim.tv_nsec);
    return MI_OK;
}

/* Of what is listed; all there is to say of pictures that are made from their number. */
static enum mi_status fingerprint(struct mi_dataset *d, const struct mi_values *v, const struct mi_listing *l,
                                  const char *what) {
    struct mi_hasher *h = mi_hasher_new("data");
    if (!h) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    mi_hasher_text(h, "dataset", d->desc->info.name);
    mi_hasher_int(h, "version", d->desc->version);
    mi_hasher_text(h, "splits", what);
    mi_hasher_int(h, "size", d->size);
    mi_hasher_values(h, v);
    for (int k = 0; k < l->classes; k++) mi_hasher_text(h, "class", l->class_names[k]);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        mi_hasher_int(h, "split", (int64_t)l->n[s]);
        for (size_t i = 0; i < l->n[s] && st == MI_OK; i++) {
            const struct mi_item *it = &l->items[s][i];
            /* With files the name stands for the source; without, the number does. */
            uint32_t label = s == MI_PUBLIC ? UINT32_MAX : (uint32_t)it->label; /* as packed */
            mi_hasher_int(h, "item", pair(label, d->desc->file ? 0 : it->source));
            if (d->desc->file) st = hash_file(h, d->desc->file(l, it));
        }
    }
    d->fp = mi_hasher_done(h);
    return st;
}

/* Of what was packed. */
static enum mi_status fingerprint_contents(struct mi_dataset *d, const char *what) {
    struct mi_hasher *h = mi_hasher_new("photographs");
    if (!h) return MI_E_NOMEM;
    mi_hasher_text(h, "dataset", d->desc->info.name);
    mi_hasher_text(h, "splits", what);
    mi_hasher_int(h, "size", d->size);
    for (int k = 0; k < d->classes; k++) mi_hasher_text(h, "class", d->class_names[k]);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) mi_hasher_int(h, "split", (int64_t)d->split[s].n);
    mi_pack_hash(&d->priv->pack, h);
    d->fp = mi_hasher_done(h);
    return MI_OK;
}

static char *pack_path(const struct mi_dataset *d, const struct mi_workspace *ws) {
    char *cache = mi_path_join(ws->root, "cache");
    char *dir = cache ? mi_path_join(cache, "packs") : NULL;
    char *path = NULL;
    if (dir && mi_make_dirs(dir) == MI_OK)
        path = mi_format("%s/%s-%d-%.16s.pack", dir, d->desc->info.name, d->size, d->fp.hex);
    free(cache);
    free(dir);
    return path;
}

static void forget_contents(struct mi_dataset *d) {
    for (int k = 0; d->class_names && k < d->classes; k++) free(d->class_names[k]);
    free(d->class_names);
    free(d->note);
    d->class_names = NULL;
    d->note = NULL;
    d->classes = 0;
    memset(d->split, 0, sizeof d->split);
}

/* Adds a sentence to d->note. */
static enum mi_status add_note(struct mi_dataset *d, const char *text) {
    char *joined = mi_format("%s%s%s", d->note ? d->note : "", d->note ? "; " : "", text);
    if (!joined) return MI_E_NOMEM;
    free(d->note);
    d->note = joined;
    return MI_OK;
}

static enum mi_status open_or_build(struct mi_dataset *d, const struct mi_workspace *ws, const struct mi_values *v,
                                    const struct mi_listing *l, mi_data_progress fn, void *user) {
    char *path = pack_path(d, ws), *trouble = NULL;
    if (!path) return mi_error_status();
    enum mi_status st = mi_pack_open(path, d, &d->priv->pack);
    if (st == MI_E_INPUT || st == MI_E_MISSING) {
        if (st == MI_E_INPUT) trouble = mi_format("%s: rebuilt", mi_error_text());
        mi_error_clear();
        forget_contents(d);
        st = mi_pack_build(path, d, v, l, fn, user);
        if (st == MI_OK) st = mi_pack_open(path, d, &d->priv->pack);
        if (st == MI_OK && trouble) st = add_note(d, trouble);
    }
    free(trouble);
    free(path);
    return st;
}

/* Leaves only the lists of the part. */
static void keep(struct mi_listing *l, enum mi_data_part part) {
    if (!(part & MI_DATA_PUBLIC)) l->n[MI_PUBLIC] = 0;
    if (part & MI_DATA_PRIVATE) return;
    for (int s = MI_TRAIN; s <= MI_TEST; s++) l->n[s] = 0;
    for (int k = 0; k < l->classes; k++) free(l->class_names[k]);
    l->classes = 0;
}

static enum mi_status check_lists(const struct mi_dataset *d, const struct mi_listing *l, enum mi_data_part part) {
    if (part == MI_DATA_PUBLIC && !l->n[MI_PUBLIC])
        return mi_fail(MI_E_INPUT, "dataset %s has no public images; choose another for [data] public",
                       d->desc->info.name);
    if (part != MI_DATA_PUBLIC && (l->classes < 2 || !l->n[MI_TRAIN] || !l->n[MI_TEST]))
        return mi_fail(MI_E_INPUT,
                       "dataset %s gives %d private people, %zu training and %zu test images; at least 2 people with "
                       "both are needed%s",
                       d->desc->info.name, l->classes, l->n[MI_TRAIN], l->n[MI_TEST],
                       l->n[MI_PUBLIC] ? " (as public images it can be used: [data] public)" : "");
    return MI_OK;
}

/* The lists of a part; `want` only for MI_DATA_PEOPLE. */
static enum mi_status choose(const struct mi_dataset *d, struct mi_listing *l, enum mi_data_part part,
                             const struct mi_people *want, uint64_t seed) {
    if (part == MI_DATA_PEOPLE) return mi_listing_people(l, want, seed, d->desc->info.name);
    MI_TRY(check_lists(d, l, part));
    keep(l, part);
    return MI_OK;
}

static enum mi_status open_part(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                                const struct mi_values *v, uint64_t seed, int size, enum mi_data_part part,
                                const struct mi_people *want, mi_data_progress fn, void *user) {
    static const char *const words[] = {[MI_DATA_PRIVATE] = "private",
                                        [MI_DATA_PUBLIC] = "public",
                                        [MI_DATA_ALL] = "all",
                                        [MI_DATA_PEOPLE] = "people"};
    memset(d, 0, sizeof *d);
    if (size < 8 || size > 1024) return mi_fail(MI_E_INPUT, "image size %d px is outside 8..1024", size);
    d->desc = mi_data_find(name);
    if (!d->desc) return MI_E_INPUT;
    d->size = size;
    d->priv = mi_calloc(1, sizeof *d->priv);
    if (!d->priv) return MI_E_NOMEM;
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    enum mi_status st = d->desc->list(v, seed, &l);
    if (st == MI_OK) st = choose(d, &l, part, want, seed);
    char *told = NULL; /* about what was asked for, not about the lists: the same pack serves other wishes */
    if (st == MI_OK && part == MI_DATA_PEOPLE) told = l.note, l.note = NULL;
    if (st == MI_OK) st = fingerprint(d, v, &l, words[part]);
    if (st == MI_OK) st = open_or_build(d, ws, v, &l, fn, user);
    if (st == MI_OK && d->desc->file) st = fingerprint_contents(d, words[part]);
    if (st == MI_OK && told) st = add_note(d, told);
    free(told);
    d->desc->close(&l);
    if (st != MI_OK) mi_dataset_close(d);
    return st;
}

enum mi_status mi_dataset_open(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                               const struct mi_values *v, uint64_t seed, int size, enum mi_data_part part,
                               mi_data_progress fn, void *user) {
    if (part == MI_DATA_PEOPLE) return mi_fail(MI_E_INTERNAL, "people are opened with mi_dataset_open_people");
    return open_part(d, ws, name, v, seed, size, part, NULL, fn, user);
}

enum mi_status mi_dataset_open_people(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                                      const struct mi_values *v, uint64_t seed, int size, const struct mi_people *want,
                                      mi_data_progress fn, void *user) {
    return open_part(d, ws, name, v, seed, size, MI_DATA_PEOPLE, want, fn, user);
}

void mi_dataset_close(struct mi_dataset *d) {
    if (!d) return;
    if (d->priv) mi_pack_close(&d->priv->pack);
    free(d->priv);
    forget_contents(d);
    memset(d, 0, sizeof *d);
}
