/* data_priv.h - what the dataset files share: file lists, crops, splits, the worker pool, packs.
 *
 * A dataset on disk (celeba, folder, flat) lists into a struct mi_files, the `state` of its listing; item.source
 * indexes its names.  The rendered dataset has no files and its own state. */
#ifndef MIDRE_DATA_PRIV_H
#define MIDRE_DATA_PRIV_H

#include "midre/data.h"

/* ---- files on disk (files.c) -------------------------------------------------------------------------------- */
struct mi_files {
    char **name; /* absolute or relative to the working folder, ready to open */
    size_t n, room;
};
/* Appends a path and takes ownership of it (also on failure). NULL path: MI_E_NOMEM. */
enum mi_status mi_files_take(struct mi_files *f, char *path);
void mi_files_free(struct mi_files *f);
/* Image files (.jpg .jpeg .png, any case) directly in `dir`, sorted by name; MI_E_MISSING when there is no folder.
 * `setting` names the setting to correct ("[data.celeba] root"). */
enum mi_status mi_files_scan(struct mi_files *f, const char *dir, const char *setting);
/* Adds the images of `dir` and of its sub-folders (one level) to f. */
enum mi_status mi_files_add_tree(struct mi_files *f, const char *dir, const char *setting);
/* Sub-folders of `dir`, sorted by name, hidden ones left out. */
enum mi_status mi_folders_scan(struct mi_files *f, const char *dir, const char *setting);
/* Name without folders; position of the entry whose name without folders and ending equals that of `name`, or -1. */
const char *mi_base_name(const char *path);
long mi_files_find(const struct mi_files *f, const char *name);
/* `pixels`, `file` and `close` of every dataset whose state is a struct mi_files and that has a setting "crop". */
enum mi_status mi_files_pixels(const struct mi_values *v, const struct mi_listing *l, enum mi_split split,
                               const struct mi_item *it, int size, uint8_t *rgb);
const char *mi_files_path(const struct mi_listing *l, const struct mi_item *it);
void mi_files_close(struct mi_listing *l);
#define MI_DATA_OF_FILES .pixels = mi_files_pixels, .file = mi_files_path, .close = mi_files_close

/* ---- crop: "none" (whole picture), "center" (largest square), "108@55,35" (square at top, left) --------------- */
struct mi_crop {
    int side, top, left; /* side 0: none, -1: center */
};
enum mi_status mi_crop_parse(const char *text, const char *section, struct mi_crop *out);

/* ---- listings (listing.c) ------------------------------------------------------------------------------------- */
enum mi_status mi_listing_add(struct mi_listing *l, enum mi_split split, int label, size_t source);
/* Takes ownership of `name`, also on failure; classes grows by one. */
enum mi_status mi_listing_class(struct mi_listing *l, char *name);
/* Frees items, names and note, not `state`. */
void mi_listing_free(struct mi_listing *l);
/* One person's photos: `percent` of n, rounded up, chosen by (seed, tag), become test; the rest train. */
enum mi_status mi_listing_split(struct mi_listing *l, int label, const uint32_t *sources, size_t n, int percent,
                                uint64_t seed, uint64_t tag);
/* Draws `want` (0 = all) of the pool uniformly by seed, keeps their order and adds them as public. A pool that is
 * smaller than asked is taken whole and said so in the note. */
enum mi_status mi_listing_public(struct mi_listing *l, const struct mi_item *pool, size_t n, size_t want,
                                 uint64_t seed);
/* The lists replaced by the public people's (people.c, see mi_dataset_open_people). `name`: of the dataset. */
enum mi_status mi_listing_people(struct mi_listing *l, const struct mi_people *want, uint64_t seed, const char *name);

/* ---- worker pool (workers.c) ------------------------------------------------------------------------------------ */
/* Calls fn(user, i) for every i in 0..n-1 on all cores.  The first failure (message and status) or progress
 * returning false ends it early; progress runs on the calling thread only. */
typedef enum mi_status (*mi_work_fn)(void *user, size_t i);
enum mi_status mi_parallel(size_t n, mi_work_fn fn, void *user, mi_data_progress progress, void *progress_user);

/* ---- packs (pack.c writes, pack_open.c maps and checks) ---------------------------------------------------------- */
struct mi_pack {
    void *map;
    size_t bytes;
};
enum mi_status mi_pack_build(const char *path, struct mi_dataset *d, const struct mi_values *v,
                             const struct mi_listing *l, mi_data_progress fn, void *user);
/* Maps and verifies; fills d's splits, classes, names, skipped, note.  MI_E_MISSING: no such file; MI_E_INPUT:
 * damaged (message says how). */
enum mi_status mi_pack_open(const char *path, struct mi_dataset *d, struct mi_pack *pack);
void mi_pack_close(struct mi_pack *pack);
/* Adds the pixels and labels of an open pack to `h`. */
void mi_pack_hash(const struct mi_pack *pack, struct mi_hasher *h);

#endif
