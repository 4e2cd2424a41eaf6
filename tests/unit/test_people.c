/* test_people.c - the public people of a dataset as a labelled set of their own: who, how many, and that it is them. */
#include "tests/unit/celeba_test.h"

static struct mi_dataset people_of(const struct place *p, const struct mi_values *v, int people, int min_images) {
    struct mi_dataset d;
    struct mi_people want = {people, min_images};
    assert_ok(mi_dataset_open_people(&d, &p->ws, "celeba", v, 1, 8, &want, NULL, NULL));
    return d;
}

/* The photos of the scratch CelebA tell who is on them: red of the first pixel is 20 times the person plus the photo. */
static int person_on(const struct mi_dataset *d, enum mi_split s, size_t i) {
    return d->split[s].rgb[i * 8 * 8 * 3] / 20;
}

static void classes_are_the_public_people_with_enough_photos(void **state) {
    struct mi_values *v = celeba_values(*state); /* private: 3, 8 and 20 */
    assert_ok(mi_values_set(v, "public_rule", "others"));
    assert_ok(mi_values_set(v, "public_images", "0"));
    struct mi_dataset d = people_of(*state, v, 0, 5);
    static const int who[] = {5, 6, 8}, test[] = {1, 1, 2}; /* by place: 1002, 1003, 2000 own 10, 5 and 20 */
    assert_int_equal(d.classes, 3);
    assert_string_equal(d.class_names[0], "public person 1002");
    assert_string_equal(d.class_names[2], "public person 2000");
    assert_int_equal(d.split[MI_PUBLIC].n, 0);
    assert_null(d.note);
    bool seen[PEOPLE][20] = {{false}};
    int tests[3] = {0};
    for (int s = MI_TRAIN; s <= MI_TEST; s++)
        for (size_t i = 0; i < d.split[s].n; i++) {
            int label = d.split[s].labels[i], person = person_on(&d, (enum mi_split)s, i);
            assert_int_equal(person, who[label]);
            int photo = d.split[s].rgb[i * 8 * 8 * 3] - 20 * person;
            assert_false(seen[person][photo]);
            seen[person][photo] = true;
            tests[label] += s == MI_TEST;
        }
    assert_int_equal(d.split[MI_TRAIN].n + d.split[MI_TEST].n, 35);
    for (int k = 0; k < 3; k++) assert_int_equal(tests[k], test[k]);
    mi_dataset_close(&d);
    mi_values_free(v);
}

static void fewer_can_be_asked_for_but_not_more(void **state) {
    struct mi_values *v = celeba_values(*state);
    assert_ok(mi_values_set(v, "public_rule", "others"));
    struct mi_dataset two = people_of(*state, v, 2, 5), many = people_of(*state, v, 9, 5);
    assert_int_equal(two.classes, 2);
    assert_int_equal(two.split[MI_TRAIN].n, 9 + 4);
    assert_string_not_equal(two.fp.hex, many.fp.hex);
    assert_int_equal(many.classes, 3);
    assert_non_null(strstr(many.note, "9 public people with 5 photos asked for, all 3"));
    mi_dataset_close(&two);
    mi_dataset_close(&many);
    assert_int_equal(mi_dataset_open_people(&two, &((struct place *)*state)->ws, "celeba", v, 1, 8,
                                            &(struct mi_people){0, 20}, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "[pretrain] min_images");
    assert_int_equal(mi_dataset_open_people(&two, &((struct place *)*state)->ws, "celeba", v, 1, 8,
                                            &(struct mi_people){1, 2}, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "nobody to tell");
    struct mi_dataset all = people_of(*state, v, 0, 5); /* the same people and the same pack: nothing was missed */
    assert_int_equal(all.classes, 3);
    assert_null(all.note);
    mi_dataset_close(&all);
    mi_values_free(v);
}

static void who_is_unknown_is_not_guessed(void **state) {
    struct place *p = *state;
    struct mi_people want = {0, 2};
    struct mi_dataset d;
    struct mi_values *v = mi_values_new("data.flat", mi_data_find("flat")->info.settings);
    char *images = mi_path_join(p->root, "img_align_celeba");
    assert_ok(mi_values_set(v, "root", images));
    assert_int_equal(mi_dataset_open_people(&d, &p->ws, "flat", v, 1, 8, &want, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "does not say who");
    mi_values_free(v);
    free(images);

    /* In lists of files, those whose number is given. */
    static const char *const lists[] = {"train_list", "test_list", "public_list"};
    put_text(p->dir, "train_list", "000001.jpg 0\n000002.jpg 1\n");
    put_text(p->dir, "test_list", "000010.jpg 0\n000011.jpg 1\n");
    put_text(p->dir, "public_list", "000006.jpg 70\n000015.jpg 70\n000004.jpg 12\n000013.jpg 12\n000003.jpg\n");
    v = celeba_values(p);
    assert_ok(mi_values_set(v, "public_images", "0"));
    for (int i = 0; i < 3; i++) {
        char *path = mi_path_join(p->dir, lists[i]);
        assert_ok(mi_values_set(v, lists[i], path));
        free(path);
    }
    d = people_of(p, v, 0, 2);
    assert_int_equal(d.classes, 2);
    assert_string_equal(d.class_names[0], "public person 12");
    assert_int_equal(person_on(&d, MI_TRAIN, 0), 3); /* files are numbered person after person */
    assert_int_equal(person_on(&d, MI_TRAIN, 1), 5);
    mi_dataset_close(&d);
    mi_values_free(v);
}

/* An attacker's images stay without names, also in the pack. */
static void public_images_have_no_labels(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_PUBLIC, NULL, NULL));
    assert_true(d.split[MI_PUBLIC].n > 0);
    for (size_t i = 0; i < d.split[MI_PUBLIC].n; i++) assert_int_equal(d.split[MI_PUBLIC].labels[i], -1);
    mi_dataset_close(&d);
    mi_values_free(v);
}

static void folders_are_people(void **state) {
    struct place *p = *state;
    char *root = put_folders(p->dir, "abcde", (int[]){4, 6, 5, 1, 3}); /* a and b are private */
    struct mi_values *v = mi_values_new("data.folder", mi_data_find("folder")->info.settings);
    assert_ok(mi_values_set(v, "root", root));
    assert_ok(mi_values_set(v, "min_images", "4"));
    assert_ok(mi_values_set(v, "identities", "2"));
    struct mi_dataset d;
    assert_ok(mi_dataset_open_people(&d, &p->ws, "folder", v, 1, 8, &(struct mi_people){0, 3}, NULL, NULL));
    assert_int_equal(d.classes, 2);
    for (size_t i = 0; i < d.split[MI_TRAIN].n; i++)
        assert_int_equal(person_on(&d, MI_TRAIN, i), d.split[MI_TRAIN].labels[i] ? 4 : 2);
    assert_int_equal(d.split[MI_TRAIN].n, 4 + 2);
    mi_dataset_close(&d);
    mi_values_free(v);
    free(root);
}

static void rendered_people_are_the_public_ones(void **state) {
    struct place *p = *state;
    struct mi_values *v = mi_values_new("data.synthfaces", mi_data_find("synthfaces")->info.settings);
    assert_ok(mi_values_set(v, "identities", "3"));
    assert_ok(mi_values_set(v, "public_identities", "4"));
    assert_ok(mi_values_set(v, "public_photos", "3"));
    struct mi_dataset d;
    assert_ok(mi_dataset_open_people(&d, &p->ws, "synthfaces", v, 1, 16, &(struct mi_people){0, 3}, NULL, NULL));
    assert_int_equal(d.classes, 4);
    assert_int_equal(d.split[MI_TEST].n, 4);
    for (size_t i = 0; i < d.split[MI_TEST].n; i++) {
        uint8_t rgb[3][16 * 16 * 3];
        int found = 0;
        for (uint32_t k = 0; k < 3; k++) {
            mi_synthface_render(1, 1000000u + (uint32_t)d.split[MI_TEST].labels[i], k, 16, 0.6, rgb[k]);
            found += !memcmp(rgb[k], d.split[MI_TEST].rgb + i * sizeof rgb[k], sizeof rgb[k]);
        }
        assert_int_equal(found, 1);
    }
    mi_dataset_close(&d);
    mi_values_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(classes_are_the_public_people_with_enough_photos),
        TEST(fewer_can_be_asked_for_but_not_more),
        TEST(who_is_unknown_is_not_guessed),
        TEST(public_images_have_no_labels),
        TEST(folders_are_people),
        TEST(rendered_people_are_the_public_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
