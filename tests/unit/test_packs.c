/* test_packs.c - packed pixels of a dataset, batches and the order of an epoch.
 *
 * With MIDRE_CELEBA_MINI (or the folder beside the checkout) real photographs are packed too. */
#include "tests/unit/celeba_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

/* ---- packs -------------------------------------------------------------------------------------------------------- */

struct pack_file {
    char *path;
    struct stat st;
    int files;
};

/* The only pack in the workspace. */
static struct pack_file find_pack(const struct place *p) {
    struct pack_file f = {.path = NULL};
    char *dir = mi_format("%s/cache/packs", p->ws.root);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        free(f.path);
        f.path = mi_path_join(dir, e->d_name);
        f.files++;
    }
    closedir(d);
    free(dir);
    if (f.path) assert_int_equal(stat(f.path, &f.st), 0);
    return f;
}

static void pack_holds_cropped_pixels_and_is_reused(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    assert_int_equal(d.classes, 3);
    assert_int_equal(d.split[MI_TRAIN].n, 28);
    assert_int_equal(d.split[MI_TEST].n, 5);
    assert_int_equal(d.split[MI_PUBLIC].n, 10);
    assert_int_equal(d.skipped, 0);
    /* Crop 8 to 8 px copies: bytes rise by 0, 1, 2 within a pixel; label 1 is person 2 of the table. */
    for (size_t i = 0; i < d.split[MI_TRAIN].n; i++) {
        const uint8_t *px = d.split[MI_TRAIN].rgb + i * 192;
        int label = d.split[MI_TRAIN].labels[i], person = label == 0 ? 0 : label == 1 ? 2 : 3;
        assert_in_range(px[0], person * 20, person * 20 + 12);
        assert_int_equal(px[191], px[0] + 2);
    }
    struct pack_file before = find_pack(p);
    struct mi_fingerprint fp = d.fp;
    mi_dataset_close(&d);
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    struct pack_file after = find_pack(p);
    assert_int_equal(before.st.st_ino, after.st.st_ino);
    assert_string_equal(fp.hex, d.fp.hex);
    mi_dataset_close(&d);
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 16, MI_DATA_ALL, NULL, NULL));
    assert_string_not_equal(fp.hex, d.fp.hex);
    mi_dataset_close(&d);
    free(before.path);
    free(after.path);
    mi_values_free(v);
}

static void a_damaged_pack_is_rebuilt_and_said_so(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    uint8_t first = d.split[MI_TRAIN].rgb[0];
    mi_dataset_close(&d);
    struct pack_file f = find_pack(p);
    /* Padding, head, text, pixels, labels, then cut short and empty. */
    const long places[] = {4096 + 7, 30, 200, f.st.st_size - 100, f.st.st_size - 60, -1, -2};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        FILE *file = fopen(f.path, "r+b");
        assert_non_null(file);
        if (places[i] >= 0) {
            fseek(file, places[i], SEEK_SET);
            int c = fgetc(file);
            fseek(file, places[i], SEEK_SET);
            fputc(c ^ 4, file);
        } else {
            assert_int_equal(ftruncate(fileno(file), places[i] == -1 ? f.st.st_size - 1 : 0), 0);
        }
        fclose(file);
        assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
        assert_non_null(d.note);
        if (!strstr(d.note, "rebuilt")) fail_msg("place %ld: note is \"%s\"", places[i], d.note);
        assert_int_equal(d.split[MI_TRAIN].rgb[0], first);
        mi_dataset_close(&d);
        assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
        assert_null(strstr(d.note ? d.note : "", "rebuilt")); /* healed */
        mi_dataset_close(&d);
    }
    free(f.path);
    mi_values_free(v);
}

/* Products hang on the photographs, not on when and where they were copied. */
static void a_copied_folder_is_the_same_data(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_listing l = list(v, 1);
    const struct mi_data_desc *desc = mi_data_find("celeba");
    char *photo = mi_strdup(desc->file(&l, &l.items[MI_TEST][2])), *moved = mi_path_join(p->dir, "copy");
    close_listing(&l);
    static const struct timespec later[2] = {{.tv_sec = 2000000000, .tv_nsec = 7}, {.tv_sec = 2000000000, .tv_nsec = 7}};
    struct mi_fingerprint fp[4];
    for (int i = 0; i < 4; i++) {
        struct mi_dataset d;
        if (i == 1) assert_int_equal(utimensat(AT_FDCWD, photo, later, 0), 0);
        if (i == 2) put_photo(photo, 7, 0);
        if (i == 3) {
            assert_int_equal(rename(p->root, moved), 0);
            assert_ok(mi_values_set(v, "root", moved));
        }
        assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_PRIVATE, NULL, NULL));
        fp[i] = d.fp;
        mi_dataset_close(&d);
        struct pack_file f = find_pack(p);
        assert_int_equal(f.files, i < 2 ? i + 1 : 3); /* packed again for another time, not for another place */
        free(f.path);
    }
    assert_string_equal(fp[1].hex, fp[0].hex);
    assert_string_not_equal(fp[2].hex, fp[1].hex);
    assert_string_equal(fp[3].hex, fp[2].hex);
    free(photo);
    free(moved);
    mi_values_free(v);
}

static void undecodable_files_are_left_out_and_named(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_listing l = list(v, 1);
    const struct mi_data_desc *desc = mi_data_find("celeba");
    const char *bad = desc->file(&l, &l.items[MI_TRAIN][4]), *bad2 = desc->file(&l, &l.items[MI_PUBLIC][9]);
    assert_ok(mi_write_file(bad, "junk", 4));
    assert_ok(mi_write_file(bad2, "", 0));
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    assert_int_equal(d.skipped, 2);
    assert_int_equal(d.split[MI_TRAIN].n, 27);
    assert_int_equal(d.split[MI_PUBLIC].n, 9);
    assert_non_null(strstr(d.note, "2 undecodable images left out"));
    assert_non_null(strstr(d.note, bad));
    assert_non_null(strstr(d.note, bad2));
    for (size_t i = 0; i < 27; i++) { /* labels still fit the pixels after the holes were closed */
        int label = d.split[MI_TRAIN].labels[i], person = label == 0 ? 0 : label == 1 ? 2 : 3;
        assert_in_range(d.split[MI_TRAIN].rgb[i * 192], person * 20, person * 20 + 12);
    }
    for (size_t i = 0; i < 9; i++) assert_int_equal(d.split[MI_PUBLIC].labels[i], -1);
    mi_dataset_close(&d);
    /* A person with no photo left is an error, not a silent gap. */
    for (size_t i = 0; i < l.n[MI_TRAIN]; i++)
        if (l.items[MI_TRAIN][i].label == 1) assert_ok(mi_write_file(desc->file(&l, &l.items[MI_TRAIN][i]), "x", 1));
    assert_int_equal(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "no training image of 8 can be decoded");
    close_listing(&l);
    mi_values_free(v);
}

static void a_killed_builder_leaves_nothing_for_long(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    mi_dataset_close(&d);
    struct pack_file f = find_pack(p);
    char *orphan = mi_format("%s.tmp.12345", f.path);
    assert_int_equal(rename(f.path, orphan), 0); /* as after kill -9 just before the rename */
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, MI_DATA_ALL, NULL, NULL));
    mi_dataset_close(&d);
    struct pack_file after = find_pack(p);
    assert_int_equal(after.files, 1);
    assert_string_equal(after.path, f.path);
    free(orphan);
    free(f.path);
    free(after.path);
    mi_values_free(v);
}

static bool never(size_t done, size_t total, void *user) {
    (void)done;
    (void)total;
    ++*(int *)user;
    return false;
}

static void packing_can_be_stopped_and_leaves_nothing(void **state) {
    struct place *p = *state;
    struct mi_values *v = mi_values_new("data.synthfaces", mi_data_find("synthfaces")->info.settings);
    struct mi_dataset d;
    int calls = 0;
    assert_int_equal(mi_dataset_open(&d, &p->ws, "synthfaces", v, 1, 112, MI_DATA_ALL, never, &calls), MI_STOPPED);
    assert_true(calls > 0);
    assert_int_equal(mi_error_status(), MI_OK);
    struct pack_file f = find_pack(p);
    assert_int_equal(f.files, 0);
    mi_values_free(v);
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

static void batches_equal_the_plain_formula(void **state) {
    (void)state;
    enum { SIZE = 13, N = 5 };
    static uint8_t rgb[N * SIZE * SIZE * 3];
    static float out[7 * SIZE * SIZE * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 37 + i / 11);
    struct mi_pack_split s = {.rgb = rgb, .n = N};
    const int32_t index[7] = {4, 0, 0, 3, 2, 1, 4};
    const uint8_t flip[7] = {0, 1, 0, 0, 1, 1, 1};
    const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    for (int pass = 0; pass < 2; pass++) {
        mi_batch_fill(out, &s, index, pass ? flip : NULL, 7, SIZE, mean, std);
        for (int i = 0; i < 7; i++)
            for (int y = 0; y < SIZE; y++)
                for (int x = 0; x < SIZE; x++)
                    for (int c = 0; c < 3; c++) {
                        int from = pass && flip[i] ? SIZE - 1 - x : x;
                        double byte = rgb[((index[i] * SIZE + y) * SIZE + from) * 3 + c];
                        double want = (byte / 255 - (double)mean[c]) / (double)std[c];
                        double got = (double)out[((i * SIZE + y) * SIZE + x) * 3 + c];
                        if (got - want > 1e-6 || want - got > 1e-6)
                            fail_msg("%d %d %d %d: %g %g", i, y, x, c, got, want);
                    }
    }
}

static void an_epoch_is_a_permutation_of_its_own(void **state) {
    (void)state;
    enum { N = 1000 };
    static int32_t a[N], b[N], c[N];
    uint8_t seen[N] = {0};
    mi_epoch_order(a, N, 7, 3);
    mi_epoch_order(b, N, 7, 3);
    mi_epoch_order(c, N, 7, 4);
    for (int i = 0; i < N; i++) seen[a[i]]++;
    for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

/* ---- real photographs --------------------------------------------------------------------------------------------- */

static void real_photographs_pack(void **state) {
    struct place *p = *state;
    const char *root = getenv("MIDRE_CELEBA_MINI");
    if (!root || !*root) root = "../shared/data/celeba-mini";
    if (!mi_exists(root)) {
        print_message("no photographs at %s (set MIDRE_CELEBA_MINI)\n", root);
        skip();
    }
    struct mi_values *v = celeba_values(p);
    assert_ok(mi_values_set(v, "root", root));
    assert_ok(mi_values_set(v, "identities", "100"));
    assert_ok(mi_values_set(v, "min_images", "23"));
    assert_ok(mi_values_set(v, "crop", "108@55,35"));
    assert_ok(mi_values_set(v, "public_images", "0"));
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 32, MI_DATA_ALL, NULL, NULL));
    assert_int_equal(d.classes, 100);
    assert_int_equal(d.skipped, 0);
    int per_class[100] = {0};
    for (size_t i = 0; i < d.split[MI_TRAIN].n; i++) per_class[d.split[MI_TRAIN].labels[i]]++;
    for (int k = 0; k < 100; k++) assert_in_range(per_class[k], 20, 27);
    for (size_t i = 0; i < d.split[MI_TEST].n; i++) per_class[d.split[MI_TEST].labels[i]]++;
    for (int k = 0; k < 100; k++) assert_in_range(per_class[k], 23, 30);
    assert_true(d.split[MI_PUBLIC].n > 1000);
    mi_dataset_close(&d);
    mi_values_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pack_holds_cropped_pixels_and_is_reused),
        TEST(a_damaged_pack_is_rebuilt_and_said_so),
        TEST(a_copied_folder_is_the_same_data),
        TEST(undecodable_files_are_left_out_and_named),
        TEST(a_killed_builder_leaves_nothing_for_long),
        TEST(packing_can_be_stopped_and_leaves_nothing),
        cmocka_unit_test(batches_equal_the_plain_formula),
        cmocka_unit_test(an_epoch_is_a_permutation_of_its_own),
        TEST(real_photographs_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
