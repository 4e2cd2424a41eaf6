/* test_data.c - datasets on disk: the published split rule, lists, folders, checks of what is missing or broken. */
#include "tests/unit/celeba_test.h"

static int count_label(const struct mi_listing *l, enum mi_split s, int label) {
    int n = 0;
    for (size_t i = 0; i < l->n[s]; i++) n += l->items[s][i].label == label;
    return n;
}

/* ---- the split ---------------------------------------------------------------------------------------------------- */

static void private_people_are_the_first_with_enough_photos(void **state) {
    struct mi_values *v = celeba_values(*state);
    struct mi_listing l = list(v, 1);
    assert_int_equal(l.classes, 3);
    assert_string_equal(l.class_names[0], "3");
    assert_string_equal(l.class_names[1], "8");
    assert_string_equal(l.class_names[2], "20");
    /* 10 per cent rounded up: 10 -> 1, 11 -> 2, 12 -> 2. */
    assert_int_equal(count_label(&l, MI_TEST, 0), 1);
    assert_int_equal(count_label(&l, MI_TEST, 1), 2);
    assert_int_equal(count_label(&l, MI_TEST, 2), 2);
    assert_int_equal(count_label(&l, MI_TRAIN, 0), 9);
    assert_int_equal(count_label(&l, MI_TRAIN, 1), 9);
    assert_int_equal(count_label(&l, MI_TRAIN, 2), 10);
    /* Published rule: numbers above 1000 with fewer than 10 photos: 3 + 5 + 2. */
    assert_int_equal(l.n[MI_PUBLIC], 10);
    close_listing(&l);
    assert_ok(mi_values_set(v, "public_rule", "others"));
    l = list(v, 1);
    assert_int_equal(l.n[MI_PUBLIC], 4 + 3 + 10 + 5 + 2 + 20);
    close_listing(&l);
    mi_values_free(v);
}

static void no_photo_is_in_two_lists(void **state) {
    struct mi_values *v = celeba_values(*state);
    assert_ok(mi_values_set(v, "public_rule", "others"));
    struct mi_listing l = list(v, 5);
    uint8_t seen[256] = {0};
    for (int s = 0; s < MI_SPLIT_COUNT; s++)
        for (size_t i = 0; i < l.n[s]; i++) assert_int_equal(seen[l.items[s][i].source]++, 0);
    close_listing(&l);
    mi_values_free(v);
}

static bool same_items(const struct mi_listing *a, const struct mi_listing *b, enum mi_split s) {
    return a->n[s] == b->n[s] && !memcmp(a->items[s], b->items[s], a->n[s] * sizeof *a->items[s]);
}

static void the_seed_chooses_test_and_public_photos(void **state) {
    struct mi_values *v = celeba_values(*state);
    assert_ok(mi_values_set(v, "public_images", "4"));
    struct mi_listing a = list(v, 1), b = list(v, 1), c = list(v, 2);
    assert_int_equal(a.n[MI_PUBLIC], 4);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) assert_true(same_items(&a, &b, (enum mi_split)s));
    assert_false(same_items(&a, &c, MI_TEST) && same_items(&a, &c, MI_PUBLIC));
    close_listing(&a);
    close_listing(&b);
    close_listing(&c);
    mi_values_free(v);
}

static void more_public_photos_than_there_are_is_said(void **state) {
    struct mi_values *v = celeba_values(*state);
    struct mi_listing l = list(v, 1); /* default asks for 30000 */
    assert_non_null(l.note);
    assert_non_null(strstr(l.note, "30000 public images asked for, all 10"));
    close_listing(&l);
    mi_values_free(v);
}

static void published_lists_are_taken_as_they_are(void **state) {
    const struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    put_text(p->dir, "train.txt", "000001.png 0\n000010.png 0\n000002.png 1\n000003.png 2\n000004.png 3\n");
    put_text(p->dir, "test.txt", "000011.png 1\n\n000019.png 0\n");
    put_text(p->dir, "public.txt", "000005.jpg\n000006.jpg\n");
    static const char *const keys[] = {"train_list", "test_list", "public_list"};
    static const char *const files[] = {"train.txt", "test.txt", "public.txt"};
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    for (int i = 0; i < 3; i++) {
        char *path = mi_path_join(p->dir, files[i]);
        assert_ok(mi_values_set(v, keys[i], path));
        free(path);
        if (i < 2) {
            assert_int_equal(mi_data_find("celeba")->list(v, 1, &l), MI_E_INPUT);
            assert_error(MI_E_INPUT, "all three lists or none");
        }
    }
    l = list(v, 1);
    assert_int_equal(l.classes, 3); /* label 3 is beyond identities = 3 */
    assert_int_equal(l.n[MI_TRAIN], 4);
    assert_int_equal(l.n[MI_TEST], 2);
    assert_int_equal(l.n[MI_PUBLIC], 2);
    assert_int_equal(count_label(&l, MI_TRAIN, 0), 2);
    close_listing(&l);
    put_text(p->dir, "public.txt", "000005.jpg\n000001.jpg\n");
    memset(&l, 0, sizeof l);
    assert_int_equal(mi_data_find("celeba")->list(v, 1, &l), MI_E_INPUT);
    assert_error(MI_E_INPUT, "share images");
    mi_values_free(v);
}

/* ---- what is missing or broken ------------------------------------------------------------------------------------ */

static void expect_list_error(const struct mi_values *v, enum mi_status status, const char *text) {
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    assert_int_equal(mi_data_find("celeba")->list(v, 1, &l), status);
    assert_error(status, text);
}

static void every_defect_is_named(void **state) {
    const struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    assert_ok(mi_values_set(v, "root", ""));
    expect_list_error(v, MI_E_MISSING, "[data.celeba] root is not set");
    assert_ok(mi_values_set(v, "root", "/nowhere/at/all"));
    expect_list_error(v, MI_E_MISSING, "/nowhere/at/all");
    assert_ok(mi_values_set(v, "root", p->dir));
    expect_list_error(v, MI_E_MISSING, "img_align_celeba");
    assert_ok(mi_values_set(v, "root", p->root));
    assert_ok(mi_values_set(v, "identities", "6"));
    expect_list_error(v, MI_E_INPUT, "only 5 people own at least 10 photos");
    assert_ok(mi_values_set(v, "identities", "3"));
    assert_ok(mi_values_set(v, "crop", "8@1"));
    expect_list_error(v, MI_E_INPUT, "SIDE@TOP,LEFT");
    assert_ok(mi_values_set(v, "crop", "8@1,2"));
    put_text(p->root, "identity_CelebA.txt", "000001.jpg 3\n000002.jpg three\n");
    expect_list_error(v, MI_E_INPUT, "line 2");
    put_text(p->root, "identity_CelebA.txt", "000001.jpg 3\n\n000001.png 7\n");
    expect_list_error(v, MI_E_INPUT, "line 3: 000001.png appears a second time");
    put_text(p->root, "identity_CelebA.txt", "000001.jpg 3\n../x.jpg 3\n");
    expect_list_error(v, MI_E_INPUT, "line 2");
    put_text(p->root, "identity_CelebA.txt", "000001.jpg 3\n900001.jpg 3\n900002.jpg 3\n");
    expect_list_error(v, MI_E_MISSING, "names 2 images that are not in");
    char *path = mi_path_join(p->root, "identity_CelebA.txt");
    unlink(path);
    free(path);
    expect_list_error(v, MI_E_MISSING, "identity_CelebA.txt");
    assert_null(mi_data_find("celebs"));
    assert_error(MI_E_INPUT, "did you mean \"celeba\"");
    mi_values_free(v);
}

static char *check_text(const struct mi_values *v, bool deep, enum mi_status *st) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    *st = mi_data_check(mi_data_find("celeba"), v, deep, out);
    fclose(out);
    return text;
}

static void check_counts_and_names_damaged_files(void **state) {
    const struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    enum mi_status st;
    char *text = check_text(v, true, &st);
    assert_int_equal(st, MI_OK);
    assert_non_null(strstr(text, "5 people own at least 10 photos, 4 own fewer"));
    assert_non_null(strstr(text, "private      3 people"));
    assert_non_null(strstr(text, "train        28 images"));
    assert_non_null(strstr(text, "public       10 images"));
    assert_non_null(strstr(text, "decoded      43 of 43"));
    free(text);
    char *images = mi_path_join(p->root, "img_align_celeba");
    put_text(images, "000001.png", "not a picture");
    free(images);
    text = check_text(v, true, &st);
    assert_int_equal(st, MI_E_INPUT);
    assert_error(MI_E_INPUT, "1 of 43 images cannot be decoded");
    assert_non_null(strstr(text, "000001.png: neither JPEG nor PNG"));
    free(text);
    mi_values_free(v);
}

/* ---- folders ------------------------------------------------------------------------------------------------------ */

static void folders_and_flat_pictures_work(void **state) {
    struct place *p = *state;
    char *root = put_folders(p->dir, "dacb", (int[]){3, 4, 5, 6});
    char *celeb_images = mi_path_join(p->root, "img_align_celeba");
    struct mi_values *v = mi_values_new("data.folder", mi_data_find("folder")->info.settings);
    assert_ok(mi_values_set(v, "root", root));
    assert_ok(mi_values_set(v, "min_images", "4"));
    assert_ok(mi_values_set(v, "identities", "2"));
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "folder", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    assert_string_equal(d.class_names[0], "a"); /* a: 4 photos, b: 6, c: 5, d: 3 */
    assert_string_equal(d.class_names[1], "b");
    assert_int_equal(d.split[MI_TRAIN].n, 3 + 5);
    assert_int_equal(d.split[MI_TEST].n, 2);
    assert_int_equal(d.split[MI_PUBLIC].n, 5 + 3);
    mi_dataset_close(&d);
    assert_ok(mi_values_set(v, "public_root", celeb_images));
    assert_ok(mi_dataset_open(&d, &p->ws, "folder", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    assert_int_equal(d.split[MI_PUBLIC].n, 77);
    mi_dataset_close(&d);
    mi_values_free(v);

    v = mi_values_new("data.flat", mi_data_find("flat")->info.settings);
    assert_ok(mi_values_set(v, "root", root)); /* pictures one folder down */
    assert_ok(mi_values_set(v, "public_images", "7"));
    assert_int_equal(mi_dataset_open(&d, &p->ws, "flat", v, 1, 8, MI_DATA_ALL, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "[data] public");
    assert_ok(mi_dataset_open(&d, &p->ws, "flat", v, 1, 8, MI_DATA_PUBLIC, NULL, NULL));
    assert_int_equal(d.split[MI_PUBLIC].n, 7);
    assert_int_equal(d.split[MI_TRAIN].n, 0);
    assert_int_equal(d.classes, 0);
    mi_dataset_close(&d);
    mi_values_free(v);
    free(root);
    free(celeb_images);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(private_people_are_the_first_with_enough_photos),
        TEST(no_photo_is_in_two_lists),
        TEST(the_seed_chooses_test_and_public_photos),
        TEST(more_public_photos_than_there_are_is_said),
        TEST(published_lists_are_taken_as_they_are),
        TEST(every_defect_is_named),
        TEST(check_counts_and_names_damaged_files),
        TEST(folders_and_flat_pictures_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
