/* midre/data.h - datasets: descriptors, splits, packed pixels, batches.  Plain C, no libtorch.
 *
 * A dataset resolves to three lists of items: private train, private test (labelled 0..classes-1) and public
 * (people disjoint from the private ones; attackers are not told who).  Pixels are decoded, cropped and resized once
 * per (dataset settings, resolution) into a pack: uint8 HWC, memory-mapped, checked by SHA-256. */
#ifndef MIDRE_DATA_H
#define MIDRE_DATA_H

#include <stdio.h>

#include "midre/entry.h"
#include "midre/fingerprint.h"
#include "midre/image.h"
#include "midre/rng.h"
#include "midre/workspace.h"

enum mi_split { MI_TRAIN, MI_TEST, MI_PUBLIC, MI_SPLIT_COUNT };

struct mi_item {
    int32_t label;   /* private: 0..classes-1; public: a number for the person, -1 where the dataset does not say */
    uint32_t source; /* index into the dataset's own numbering */
};

/* What a descriptor's `list` produces. */
struct mi_listing {
    struct mi_item *items[MI_SPLIT_COUNT];
    size_t n[MI_SPLIT_COUNT];
    int classes;
    char **class_names;   /* classes entries: CelebA identity number, folder name, "person 17" */
    char *note;           /* human text about a rule that could not be met in full, NULL if none */
    bool of_public;       /* train and test hold public people (mi_dataset_open_people): sources count as public ones */
    void *state;          /* the descriptor's own (file names, ...), freed by its `close` */
};

struct mi_data_desc {
    struct mi_entry info;
    bool synthetic;       /* rendered: every number from it is labelled synthetic */
    int version;          /* grows when the pixels of equal settings change: part of the fingerprint */
    /* Finds files and applies the split rule.  `seed` only where the rule is random. */
    enum mi_status (*list)(const struct mi_values *v, uint64_t seed, struct mi_listing *out);
    /* One item's pixels: decoded, cropped by the published rule, resized to size x size.  Thread-safe.  A file that
     * cannot be decoded returns MI_E_INPUT; packing skips, counts and names it. */
    enum mi_status (*pixels)(const struct mi_values *v, const struct mi_listing *l, enum mi_split split,
                             const struct mi_item *it, int size, uint8_t *rgb);
    /* The file an item comes from, borrowed from the listing; NULL when the dataset has no files. */
    const char *(*file)(const struct mi_listing *l, const struct mi_item *it);
    /* What only this dataset can tell of its files, before the report of mi_data_check; NULL: nothing. */
    enum mi_status (*describe)(const struct mi_values *v, FILE *out);
    void (*close)(struct mi_listing *l);
};
extern const struct mi_data_desc *const mi_data_table[]; /* NULL-terminated; src/data/table.c */
const struct mi_data_desc *mi_data_find(const char *name);

struct mi_spec;

/* Says on `out` precisely what is found, missing or broken; decodes everything when `deep`. */
enum mi_status mi_data_check(const struct mi_data_desc *d, const struct mi_values *v, bool deep, FILE *out);
/* Are the files of an experiment's datasets there?  Asked before a run that could only fail; decodes nothing.  Where
 * something is wrong the report goes to `out` too (NULL: only the error message).  Where networks begin with weights
 * learnt on public people: are there any? */
enum mi_status mi_data_check_spec(const struct mi_spec *spec, FILE *out);

/* An opened dataset at one resolution. */
struct mi_pack_split { const uint8_t *rgb; /* n*size*size*3 */ const int32_t *labels; size_t n; };
struct mi_dataset {
    const struct mi_data_desc *desc;
    int size, classes;
    char **class_names;
    struct mi_pack_split split[MI_SPLIT_COUNT];
    struct mi_fingerprint fp;  /* of the pixels and labels; of rendered pictures, of their settings */
    size_t skipped;            /* undecodable files left out; named in the note and journal */
    char *note;                /* human text on skips, NULL if none */
    struct mi_data_private *priv;
};

/* Progress while packing: done of total; returning false stops (MI_STOPPED). */
typedef bool (*mi_data_progress)(size_t done, size_t total, void *user);

/* Which lists of a dataset to pack: what a target or judge needs, what an attacker has, what start weights are learnt
 * on (only with mi_dataset_open_people). */
enum mi_data_part { MI_DATA_PRIVATE = 1, MI_DATA_PUBLIC = 2, MI_DATA_ALL = 3, MI_DATA_PEOPLE = 4 };

/* Opens the pack for (settings, size, part), building it first if needed (all cores, atomic).  The other lists stay
 * empty.  Public alone works for datasets without private people, too ("flat"), with classes = 0; MI_E_INPUT where the
 * dataset has nothing of the part. */
enum mi_status mi_dataset_open(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                               const struct mi_values *v, uint64_t seed, int size, enum mi_data_part part,
                               mi_data_progress fn, void *user);
/* The public people as a labelled set of their own: train, test (one photo in ten, rounded up, chosen by the seed) and
 * classes; the first `people` by number (0 = all) with at least `min_images` of the public photos.  For networks that
 * learn faces before they learn the private people.  MI_E_INPUT where the dataset does not say who is on its public
 * images, or fewer than two are left. */
struct mi_people { int people, min_images; };
struct mi_people mi_data_people(const struct mi_spec *spec); /* as [pretrain] says */
enum mi_status mi_dataset_open_people(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                                      const struct mi_values *v, uint64_t seed, int size, const struct mi_people *want,
                                      mi_data_progress fn, void *user);
void mi_dataset_close(struct mi_dataset *d);

/* Order of a training epoch: a permutation of 0..n-1 that depends on (seed, epoch) only. Caller gives order[n]. */
void mi_epoch_order(int32_t *order, size_t n, uint64_t seed, int64_t epoch);

/* One fused pass: gathers `n` images, mirrors those with flip[i], maps bytes to floats (x/255 - mean)/std and writes
 * NHWC (channels_last) floats: out[n*size*size*3].  flip may be NULL.  Vectorised, OpenMP over images. */
void mi_batch_fill(float *out, const struct mi_pack_split *s, const int32_t *index, const uint8_t *flip, size_t n,
                   int size, const float mean[3], const float std[3]);

/* ---- synthfaces: the procedural faces (DESIGN of the renderer in src/data/synthfaces.c) -------------------- */
/* Renders photo `photo` of person `person` (private and public people have disjoint numbers) at any size. */
void mi_synthface_render(uint64_t seed, uint32_t person, uint32_t photo, int size, double difficulty, uint8_t *rgb);

#endif
