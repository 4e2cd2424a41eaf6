/* tests/unit/celeba_test.h - a small CelebA in a scratch folder: person p owns counts[p] photos of 12x10 px whose pixels
 * tell person and photo. */
#ifndef MIDRE_TESTS_CELEBA_TEST_H
#define MIDRE_TESTS_CELEBA_TEST_H

#include "tests/unit/run_test.h"

#include "midre/data.h"

#define PEOPLE 9
static const int number[PEOPLE] = {3, 7, 8, 20, 1001, 1002, 1003, 1500, 2000};
static const int counts[PEOPLE] = {10, 4, 11, 12, 3, 10, 5, 2, 20};

struct place {
    char *dir, *root;
    struct mi_workspace ws;
};

static inline void put_photo(const char *path, int person, int photo) {
    struct mi_image img;
    assert_ok(mi_image_new(&img, 12, 10));
    for (int i = 0; i < 12 * 10 * 3; i++) img.rgb[i] = (uint8_t)(person * 20 + photo + i % 3);
    assert_ok(mi_image_write_png(path, &img));
    mi_image_free(&img);
}

/* One folder per letter, made in this order: own[k] photos of person k in the k-th.  Caller frees the name of the folder
 * they are in. */
static inline char *put_folders(const char *dir, const char *letters, const int *own) {
    char *root = mi_path_join(dir, "people");
    for (int person = 0; letters[person]; person++) {
        char *folder = mi_format("%s/%c", root, letters[person]);
        assert_ok(mi_make_dirs(folder));
        for (int photo = 0; photo < own[person]; photo++) {
            char *path = mi_format("%s/%d.png", folder, photo);
            put_photo(path, person, photo);
            free(path);
        }
        free(folder);
    }
    return root;
}

static inline void put_text(const char *dir, const char *name, const char *text) {
    char *path = mi_path_join(dir, name);
    assert_ok(mi_write_file(path, text, strlen(text)));
    free(path);
}

static inline int setup(void **state) {
    static struct place p;
    char lines[8192], *at = lines;
    p.dir = scratch();
    p.root = mi_path_join(p.dir, "celeba");
    char *images = mi_path_join(p.root, "img_align_celeba"), *cache = mi_path_join(p.dir, "workspace");
    if (mi_make_dirs(images) != MI_OK || mi_workspace_open(&p.ws, cache) != MI_OK) return -1;
    int file = 0;
    for (int photo = 0; photo < 20; photo++) /* people interleaved, as in the real file */
        for (int k = 0; k < PEOPLE; k++) {
            if (photo >= counts[k]) continue;
            char *path = mi_format("%s/%06d.png", images, ++file);
            put_photo(path, k, photo);
            free(path);
            at += sprintf(at, "%06d.jpg %d\n", file, number[k]); /* names end otherwise than the files */
        }
    put_text(p.root, "identity_CelebA.txt", lines);
    free(images);
    free(cache);
    *state = &p;
    return 0;
}

static inline int teardown(void **state) {
    struct place *p = *state;
    mi_workspace_close(&p->ws);
    mi_remove_tree(p->dir);
    free(p->dir);
    free(p->root);
    mi_error_clear();
    return 0;
}

static inline struct mi_values *celeba_values(const struct place *p) {
    struct mi_values *v = mi_values_new("data.celeba", mi_data_find("celeba")->info.settings);
    assert_non_null(v);
    assert_ok(mi_values_set(v, "root", p->root));
    assert_ok(mi_values_set(v, "identities", "3"));
    assert_ok(mi_values_set(v, "min_images", "10"));
    assert_ok(mi_values_set(v, "crop", "8@1,2"));
    return v;
}

static inline struct mi_listing list(const struct mi_values *v, uint64_t seed) {
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    assert_ok(mi_data_find("celeba")->list(v, seed, &l));
    return l;
}

static inline void close_listing(struct mi_listing *l) {
    mi_data_find("celeba")->close(l);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
