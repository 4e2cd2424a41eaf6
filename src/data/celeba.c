/* celeba.c - CelebA (Liu et al. 2015) with the split all published low-resolution attacks use.
 *
 * Recovered from the published list files: private people are the first 1000 identity numbers, ascending, that own
 * at least 30 photos; of each person 10 % (rounded up) are test, the choice is random; the public images are a
 * uniform draw of 30,000 from the people with identity numbers above 1000 who own fewer than 30 photos.  The same
 * rule with other numbers gives a scaled-down split.  public_rule = others takes every person who is not private,
 * which a small collection may need.  The published list files themselves are read when all three are given.
 * Pixels: 108 px square at row 55, column 35 of the aligned 178x218 photograph, then resized. */
#include <stdlib.h>
#include <string.h>

#include "src/data/celeba_priv.h"

#define PUBLISHED_ABOVE 1000 /* public identity numbers are larger than this */

static const struct mi_setting settings[] = {
    {.name = "root",
     .type = MI_PATH,
     .def = "",
     .help = "Folder with img_align_celeba and identity_CelebA.txt",
     .cosmetic = true},
    {.name = "identities",
     .type = MI_INT,
     .def = "1000",
     .min = 2,
     .max = 10177,
     .unit = "people",
     .help = "Private people: the first ones by identity number that own enough photos"},
    {.name = "min_images",
     .type = MI_INT,
     .def = "30",
     .min = 2,
     .max = 1000,
     .unit = "photos",
     .help = "Photos a private person must own"},
    {.name = "test_share",
     .type = MI_INT,
     .def = "10",
     .min = 1,
     .max = 90,
     .unit = "%",
     .help = "Test photos of each private person, rounded up, chosen by the seed"},
    {.name = "public_rule",
     .type = MI_CHOICE,
     .def = "published",
     .choices = "published|others",
     .help = "Public people: published = identity numbers above 1000 with fewer than min_images photos; others = "
             "everyone who is not private"},
    {.name = "public_images",
     .type = MI_INT,
     .def = "30000",
     .min = 0,
     .max = 300000,
     .unit = "photos",
     .help = "Public photos drawn uniformly by the seed; 0 takes all"},
    {.name = "crop",
     .type = MI_TEXT,
     .def = "108@55,35",
     .help = "Square cut out before resizing as SIDE@TOP,LEFT, or center, or none"},
    {.name = "train_list",
     .type = MI_PATH,
     .def = "",
     .cosmetic = true,
     .help = "Published list of training images (name label); needs test_list and public_list too"},
    {.name = "test_list", .type = MI_PATH, .def = "", .help = "Published list of test images", .cosmetic = true},
    {.name = "public_list",
     .type = MI_PATH,
     .def = "",
     .help = "Published list of public images; a number after a name tells who it is",
     .cosmetic = true},
    MI_SETTING_END};

/* The first of the usual places below root that exists; NULL (without message) if none does. */
static char *find_place(const char *root, const char *const *places) {
    for (; *places; places++) {
        char *path = mi_path_join(root, *places);
        if (path && mi_exists(path)) return path;
        free(path);
    }
    return NULL;
}

static enum mi_status find_files(const struct mi_values *v, bool need_identities, struct mi_celeba *c) {
    static const char *const image_places[] = {"img_align_celeba/img_align_celeba",
                                               "img_align_celeba",
                                               "Img/img_align_celeba",
                                               "img_align_celeba_png",
                                               "images",
                                               NULL};
    static const char *const identity_places[] = {"identity_CelebA.txt", "Anno/identity_CelebA.txt",
                                                  "anno/identity_CelebA.txt", NULL};
    const char *root = mi_values_text(v, "root");
    if (!*root)
        return mi_fail(MI_E_MISSING, "[data.celeba] root is not set: the folder with img_align_celeba and "
                                     "identity_CelebA.txt");
    if (!mi_exists(root)) return mi_fail(MI_E_MISSING, "folder %s: not found; correct [data.celeba] root", root);
    c->images = find_place(root, image_places);
    if (!c->images)
        return mi_fail(MI_E_MISSING, "%s holds no folder img_align_celeba with the aligned photographs", root);
    MI_TRY(mi_files_scan(&c->files, c->images, "[data.celeba] root"));
    if (!c->files.n) return mi_fail(MI_E_MISSING, "%s holds no .jpg or .png file", c->images);
    if (!need_identities) return MI_OK;
    c->identities = find_place(root, identity_places);
    if (!c->identities)
        return mi_fail(MI_E_MISSING, "%s holds no identity_CelebA.txt (who is on which photograph)", root);
    return MI_OK;
}

static void celeba_free(struct mi_celeba *c) {
    free(c->images);
    free(c->identities);
    mi_files_free(&c->files);
}

/* ---- by rule ------------------------------------------------------------------------------------------------------
 */

static size_t person_end(const struct mi_photos *p, size_t at) {
    size_t end = at;
    while (end < p->n && p->photo[end].number == p->photo[at].number) end++;
    return end;
}

struct rule {
    int identities, min_images, percent, public_rule;
    uint64_t seed;
};

/* One person's photos go to train and test, or to the pool of public images, or nowhere. */
static enum mi_status place_person(const struct rule *r, const struct mi_photo *photo, size_t n, struct mi_listing *l,
                                   uint32_t *scratch, struct mi_item *pool, size_t *n_pool) {
    long number = photo->number;
    bool enough = n >= (size_t)r->min_images;
    if (enough && l->classes < r->identities) {
        for (size_t i = 0; i < n; i++) scratch[i] = photo[i].file;
        MI_TRY(mi_listing_class(l, mi_format("%ld", number)));
        return mi_listing_split(l, l->classes - 1, scratch, n, r->percent, r->seed, (uint64_t)number);
    }
    if (r->public_rule == 1 || (!enough && number > PUBLISHED_ABOVE))
        for (size_t i = 0; i < n; i++) pool[(*n_pool)++] = (struct mi_item){(int32_t)number, photo[i].file};
    return MI_OK;
}

static int by_file(const void *a, const void *b) {
    uint32_t x = ((const struct mi_item *)a)->source, y = ((const struct mi_item *)b)->source;
    return (x > y) - (x < y);
}

static enum mi_status list_by_rule(const struct mi_values *v, uint64_t seed, struct mi_celeba *c,
                                   struct mi_listing *l) {
    struct rule r = {.identities = (int)mi_values_int(v, "identities"),
                     .min_images = (int)mi_values_int(v, "min_images"),
                     .percent = (int)mi_values_int(v, "test_share"),
                     .public_rule = mi_values_choice(v, "public_rule"),
                     .seed = seed};
    struct mi_photos all;
    MI_TRY(mi_celeba_read(c, c->identities, true, &all));
    mi_photos_sort(&all);
    struct mi_item *pool = mi_calloc(all.n, sizeof *pool);
    uint32_t *scratch = mi_calloc(all.n, sizeof *scratch);
    size_t n_pool = 0;
    enum mi_status st = pool && scratch ? MI_OK : MI_E_NOMEM;
    for (size_t at = 0; at < all.n && st == MI_OK;) {
        size_t end = person_end(&all, at);
        st = place_person(&r, all.photo + at, end - at, l, scratch, pool, &n_pool);
        at = end;
    }
    if (st == MI_OK && l->classes < r.identities)
        st = mi_fail(MI_E_INPUT,
                     "only %d people own at least %d photos, [data.celeba] identities = %d; lower one of "
                     "identities and min_images",
                     l->classes, r.min_images, r.identities);
    if (st == MI_OK) {
        qsort(pool, n_pool, sizeof *pool, by_file);
        st = mi_listing_public(l, pool, n_pool, (size_t)mi_values_int(v, "public_images"), seed);
    }
    free(pool);
    free(scratch);
    mi_photos_free(&all);
    return st;
}

/* ---- by published lists -------------------------------------------------------------------------------------------
 */

/* Labels must be 0..K-1 without gaps in the training list; labels beyond `identities` are left out. */
static enum mi_status add_labelled(struct mi_listing *l, enum mi_split split, const struct mi_photos *p, int identities,
                                   const char *path) {
    for (size_t i = 0; i < p->n; i++) {
        int label = p->photo[i].number;
        if (label >= identities) continue;
        if (split == MI_TRAIN && label == l->classes) MI_TRY(mi_listing_class(l, mi_format("label %d", label)));
        if (label >= l->classes)
            return mi_fail(MI_E_INPUT, "%s: label %d has no training images or labels have gaps", path, label);
        MI_TRY(mi_listing_add(l, split, label, p->photo[i].file));
    }
    return MI_OK;
}

static enum mi_status check_disjoint(const struct mi_listing *l, size_t files) {
    uint8_t *seen = mi_calloc(files, 1);
    if (!seen) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (int s = 0; s < MI_SPLIT_COUNT && st == MI_OK; s++)
        for (size_t i = 0; i < l->n[s] && st == MI_OK; i++)
            if (seen[l->items[s][i].source]++)
                st = mi_fail(MI_E_INPUT, "the train, test and public lists share images; they must not");
    free(seen);
    return st;
}

static enum mi_status list_by_files(const struct mi_values *v, uint64_t seed, struct mi_celeba *c,
                                    struct mi_listing *l) {
    static const char *const names[MI_SPLIT_COUNT] = {"train_list", "test_list", "public_list"};
    int identities = (int)mi_values_int(v, "identities");
    enum mi_status st = MI_OK;
    for (int s = 0; s < MI_SPLIT_COUNT && st == MI_OK; s++) {
        const char *path = mi_values_text(v, names[s]);
        if (!*path) return mi_fail(MI_E_INPUT, "[data.celeba] %s is not set; give all three lists or none", names[s]);
        struct mi_photos p;
        MI_TRY(mi_celeba_read(c, path, s != MI_PUBLIC, &p));
        if (s == MI_PUBLIC) {
            struct mi_item *pool = mi_calloc(p.n, sizeof *pool);
            st = pool ? MI_OK : MI_E_NOMEM;
            for (size_t i = 0; i < p.n && pool; i++) pool[i] = (struct mi_item){p.photo[i].number, p.photo[i].file};
            if (pool) st = mi_listing_public(l, pool, p.n, (size_t)mi_values_int(v, "public_images"), seed);
            free(pool);
        } else {
            mi_photos_sort(&p);
            st = add_labelled(l, (enum mi_split)s, &p, identities, path);
        }
        mi_photos_free(&p);
    }
    return st == MI_OK ? check_disjoint(l, c->files.n) : st;
}

/* ---- descriptor ------------------------------------------------------------------------------------------------- */

static enum mi_status list(const struct mi_values *v, uint64_t seed, struct mi_listing *out) {
    struct mi_celeba c;
    struct mi_crop crop;
    memset(&c, 0, sizeof c);
    MI_TRY(mi_crop_parse(mi_values_text(v, "crop"), "data.celeba", &crop));
    bool lists =
        *mi_values_text(v, "train_list") || *mi_values_text(v, "test_list") || *mi_values_text(v, "public_list");
    struct mi_files *files = mi_calloc(1, sizeof *files);
    enum mi_status st = files ? find_files(v, !lists, &c) : MI_E_NOMEM;
    if (st == MI_OK) st = lists ? list_by_files(v, seed, &c, out) : list_by_rule(v, seed, &c, out);
    if (st == MI_OK) {
        *files = c.files; /* the listing takes the names */
        memset(&c.files, 0, sizeof c.files);
        out->state = files;
    } else {
        free(files);
        mi_listing_free(out);
    }
    celeba_free(&c);
    return st;
}

/* How many people own how many photos: what identities and min_images can be set to. */
static enum mi_status print_people(const struct mi_values *v, FILE *out) {
    struct mi_celeba c;
    struct mi_photos all;
    memset(&c, 0, sizeof c);
    memset(&all, 0, sizeof all);
    enum mi_status st = find_files(v, true, &c);
    if (st == MI_OK) st = mi_celeba_read(&c, c.identities, true, &all);
    if (st == MI_OK) {
        mi_photos_sort(&all);
        size_t people = 0, enough = 0, min = (size_t)mi_values_int(v, "min_images");
        for (size_t at = 0; at < all.n;) {
            size_t end = person_end(&all, at);
            people++;
            enough += end - at >= min;
            at = end;
        }
        fprintf(out, "images       %s: %zu files\n", c.images, c.files.n);
        fprintf(out, "identities   %s: %zu photos of %zu people\n", c.identities, all.n, people);
        fprintf(out, "enough       %zu people own at least %zu photos, %zu own fewer\n", enough, min, people - enough);
    }
    mi_photos_free(&all);
    celeba_free(&c);
    return st;
}

static enum mi_status describe(const struct mi_values *v, FILE *out) {
    return *mi_values_text(v, "train_list") ? MI_OK : print_people(v, out);
}

extern const struct mi_data_desc mi_data_celeba;
const struct mi_data_desc mi_data_celeba = {
    .info = {.name = "celeba",
             .title = "CelebA",
             .help = "Aligned celebrity photographs with the private/public split of the published attacks",
             .paper = "Liu, Luo, Wang, Tang 2015, ICCV; split: Zhang et al. 2020, CVPR (GMI)",
             .settings = settings,
             .tags = "photographs 178x218"},
    .version = 1,
    .list = list,
    .describe = describe,
    MI_DATA_OF_FILES,
};
