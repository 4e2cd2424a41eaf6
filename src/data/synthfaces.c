/* synthfaces.c - the dataset that needs no files: faces rendered on demand.
 *
 * A person is a vector of traits drawn from (seed, person number), a photo a set of circumstances drawn from (seed,
 * person, photo); see synth_traits.c.  Private people are numbered from 0, public ones from PUBLIC_FIRST, so the two
 * never meet, yet come from the same population - as with real faces, a prior learnt on public people covers the
 * private ones without knowing them.  Every number computed from these pictures is labelled synthetic. */
#include <stdlib.h>
#include <string.h>

#include "src/data/data_priv.h"

#define PUBLIC_FIRST 1000000u

static const struct mi_setting settings[] = {
    {.name = "identities",
     .type = MI_INT,
     .def = "24",
     .min = 2,
     .max = 10000,
     .unit = "people",
     .help = "Private people"},
    {.name = "photos",
     .type = MI_INT,
     .def = "40",
     .min = 2,
     .max = 1000,
     .unit = "photos",
     .help = "Photos of each private person, training and test together"},
    {.name = "test_share",
     .type = MI_INT,
     .def = "20",
     .min = 1,
     .max = 90,
     .unit = "%",
     .help = "Test photos of each private person, rounded up"},
    {.name = "public_identities",
     .type = MI_INT,
     .def = "600",
     .min = 0,
     .max = 1000000,
     .unit = "people",
     .help = "Public people, none of whom is private"},
    {.name = "public_photos",
     .type = MI_INT,
     .def = "5",
     .min = 1,
     .max = 1000,
     .unit = "photos",
     .help = "Photos of each public person"},
    {.name = "difficulty",
     .type = MI_REAL,
     .def = "0.6",
     .min = 0,
     .max = 1,
     .help = "0 = people differ a lot and photos little; 1 = look-alikes in very different photos"},
    {.name = "seed", .type = MI_INT, .def = "1", .min = 0, .max = 2147483647, .help = "Which population of people"},
    MI_SETTING_END};

static enum mi_status list_private(const struct mi_values *v, struct mi_listing *out) {
    int people = (int)mi_values_int(v, "identities"), percent = (int)mi_values_int(v, "test_share");
    size_t photos = (size_t)mi_values_int(v, "photos");
    uint32_t *sources = mi_calloc(photos, sizeof *sources);
    enum mi_status st = sources ? MI_OK : MI_E_NOMEM;
    for (int k = 0; k < people && st == MI_OK; k++) {
        for (size_t i = 0; i < photos; i++) sources[i] = (uint32_t)((size_t)k * photos + i);
        st = mi_listing_class(out, mi_format("person %d", k));
        /* The seed setting, not the run's: the data stay the same when a run is repeated with another seed. */
        if (st == MI_OK)
            st = mi_listing_split(out, k, sources, photos, percent, (uint64_t)mi_values_int(v, "seed"), (uint64_t)k);
    }
    free(sources);
    return st;
}

static enum mi_status list(const struct mi_values *v, uint64_t seed, struct mi_listing *out) {
    (void)seed;
    size_t n = (size_t)mi_values_int(v, "public_identities") * (size_t)mi_values_int(v, "public_photos");
    if (n > 10000000)
        return mi_fail(MI_E_INPUT, "[data.synthfaces] public_identities x public_photos = %zu, at most 10000000", n);
    enum mi_status st = list_private(v, out);
    size_t photos = (size_t)mi_values_int(v, "public_photos");
    for (size_t i = 0; i < n && st == MI_OK; i++) st = mi_listing_add(out, MI_PUBLIC, (int)(i / photos), i);
    if (st != MI_OK) mi_listing_free(out);
    return st;
}

static enum mi_status pixels(const struct mi_values *v, const struct mi_listing *l, enum mi_split split,
                             const struct mi_item *it, int size, uint8_t *rgb) {
    bool is_public = split == MI_PUBLIC || l->of_public;
    uint32_t photos = (uint32_t)mi_values_int(v, is_public ? "public_photos" : "photos");
    uint32_t person = it->source / photos + (is_public ? PUBLIC_FIRST : 0);
    mi_synthface_render((uint64_t)mi_values_int(v, "seed"), person, it->source % photos, size,
                        mi_values_real(v, "difficulty"), rgb);
    return MI_OK;
}

static enum mi_status describe(const struct mi_values *v, FILE *out) {
    (void)v;
    fprintf(out, "rendered     synthetic faces, nothing on disk can be missing\n");
    return MI_OK;
}

extern const struct mi_data_desc mi_data_synthfaces;
const struct mi_data_desc mi_data_synthfaces = {
    .info = {.name = "synthfaces",
             .title = "Synthetic faces",
             .help = "Faces rendered by the program itself: no download, the same on every machine",
             .paper = "",
             .settings = settings,
             .tags = "synthetic any-size"},
    .synthetic = true,
    .version = 1,
    .list = list,
    .pixels = pixels,
    .describe = describe,
    .close = mi_listing_free,
};
