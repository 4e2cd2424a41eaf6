/* folder.c - photographs sorted into one folder per person: FaceScrub, VGGFace2, Stanford Dogs, one's own.
 *
 * Private people are the first `identities` folders by name that own enough photos; of each, test_share per cent
 * (rounded up, chosen by the seed) are test.  Public images come from public_root when it is set (any folder of
 * pictures, also with sub-folders), otherwise from the folders that did not become private. */
#include <stdlib.h>
#include <string.h>

#include "src/data/data_priv.h"

static const struct mi_setting settings[] = {
    {.name = "root",
     .type = MI_PATH,
     .def = "",
     .help = "Folder that holds one folder of photos per person",
     .cosmetic = true},
    {.name = "identities",
     .type = MI_INT,
     .def = "0",
     .min = 0,
     .max = 100000,
     .unit = "people",
     .help = "Private people: the first folders by name that own enough photos; 0 takes all of them"},
    {.name = "min_images",
     .type = MI_INT,
     .def = "10",
     .min = 2,
     .max = 100000,
     .unit = "photos",
     .help = "Photos a private person must own"},
    {.name = "test_share",
     .type = MI_INT,
     .def = "10",
     .min = 1,
     .max = 90,
     .unit = "%",
     .help = "Test photos of each private person, rounded up, chosen by the seed"},
    {.name = "public_root",
     .type = MI_PATH,
     .def = "",
     .cosmetic = true,
     .help = "Folder of public images of other people; empty takes the folders that are not private"},
    {.name = "public_images",
     .type = MI_INT,
     .def = "0",
     .min = 0,
     .max = 10000000,
     .unit = "photos",
     .help = "Public photos drawn uniformly by the seed; 0 takes all"},
    {.name = "crop",
     .type = MI_TEXT,
     .def = "center",
     .help = "Square cut out before resizing: center, none or SIDE@TOP,LEFT in px"},
    MI_SETTING_END};

struct builder {
    const struct mi_values *v;
    uint64_t seed;
    struct mi_files *files;
    struct mi_listing *l;
    struct mi_item *pool; /* public candidates, sources are indices into files */
    size_t n_pool;
    int32_t people; /* folders seen */
};

/* Indices first..end-1 as an array; NULL on no memory. */
static uint32_t *span(size_t first, size_t end) {
    uint32_t *s = mi_calloc(end - first, sizeof *s);
    for (size_t i = first; s && i < end; i++) s[i - first] = (uint32_t)i;
    return s;
}

/* `person`: whose they are, -1 unknown. */
static enum mi_status to_pool(struct builder *b, size_t first, size_t end, int32_t person) {
    struct mi_item *grown = realloc(b->pool, (b->n_pool + end - first + 1) * sizeof *grown);
    if (!grown) return mi_fail(MI_E_NOMEM, "out of memory for the public images");
    b->pool = grown;
    while (first < end) grown[b->n_pool++] = (struct mi_item){person, (uint32_t)first++};
    return MI_OK;
}

/* One person's folder: private while places are left, else a candidate for public. */
static enum mi_status add_person(struct builder *b, const char *dir, bool rest_public) {
    struct mi_files photos;
    MI_TRY(mi_files_scan(&photos, dir, "[data.folder] root"));
    size_t first = b->files->n, wanted = (size_t)mi_values_int(b->v, "identities");
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < photos.n && st == MI_OK; i++) st = mi_files_take(b->files, mi_strdup(photos.name[i]));
    size_t end = b->files->n;
    bool enough = photos.n >= (size_t)mi_values_int(b->v, "min_images");
    if (st == MI_OK && enough && (!wanted || (size_t)b->l->classes < wanted)) {
        uint32_t *sources = span(first, end);
        st = sources ? mi_listing_class(b->l, mi_strdup(mi_base_name(dir))) : MI_E_NOMEM;
        uint64_t tag = mi_hash_text(mi_base_name(dir));
        if (st == MI_OK)
            st = mi_listing_split(b->l, b->l->classes - 1, sources, end - first, (int)mi_values_int(b->v, "test_share"),
                                  b->seed, tag);
        free(sources);
    } else if (st == MI_OK && rest_public) {
        st = to_pool(b, first, end, b->people);
    }
    b->people++;
    mi_files_free(&photos);
    return st;
}

static enum mi_status build(struct builder *b) {
    const char *root = mi_values_text(b->v, "root"), *public_root = mi_values_text(b->v, "public_root");
    long wanted = (long)mi_values_int(b->v, "identities");
    struct mi_files people;
    MI_TRY(mi_folders_scan(&people, root, "[data.folder] root"));
    enum mi_status st = MI_OK;
    if (!people.n) st = mi_fail(MI_E_MISSING, "%s holds no sub-folders; one per person is needed", root);
    for (size_t i = 0; i < people.n && st == MI_OK; i++) st = add_person(b, people.name[i], !*public_root);
    if (st == MI_OK && b->l->classes < (wanted ? wanted : 1))
        st = mi_fail(
            MI_E_INPUT, "only %d of %zu folders in %s own at least %ld photos; lower [data.folder] min_images%s",
            b->l->classes, people.n, root, (long)mi_values_int(b->v, "min_images"), wanted ? " or identities" : "");
    mi_files_free(&people);
    if (st == MI_OK && *public_root) {
        size_t first = b->files->n;
        st = mi_files_add_tree(b->files, public_root, "[data.folder] public_root");
        if (st == MI_OK) st = to_pool(b, first, b->files->n, -1);
    }
    size_t public_images = (size_t)mi_values_int(b->v, "public_images");
    return st == MI_OK ? mi_listing_public(b->l, b->pool, b->n_pool, public_images, b->seed) : st;
}

static enum mi_status list(const struct mi_values *v, uint64_t seed, struct mi_listing *out) {
    struct mi_crop crop;
    MI_TRY(mi_crop_parse(mi_values_text(v, "crop"), "data.folder", &crop));
    struct builder b = {.v = v, .seed = seed, .l = out, .files = mi_calloc(1, sizeof *b.files)};
    if (!b.files) return MI_E_NOMEM;
    out->state = b.files;
    enum mi_status st = build(&b);
    free(b.pool);
    if (st != MI_OK) mi_files_close(out);
    return st;
}

extern const struct mi_data_desc mi_data_folder;
const struct mi_data_desc mi_data_folder = {
    .info = {.name = "folder",
             .title = "Folder per person",
             .help = "Your own photographs, one folder per person (FaceScrub, VGGFace2 and Stanford Dogs fit too)",
             .paper = "",
             .settings = settings,
             .tags = "photographs any-size"},
    .version = 1,
    .list = list,
    MI_DATA_OF_FILES,
};
