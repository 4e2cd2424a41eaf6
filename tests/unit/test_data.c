/* test_data.c - datasets on disk: the published split rule, lists, checks, packs, batches.
 *
 * A small CelebA is made in a scratch folder: person p owns counts[p] photos of 12x10 px whose pixels tell person and
 * photo.  With MIDRE_CELEBA_MINI (or the folder beside the checkout) real photographs are packed too. */
#include "tests/unit/run_test.h"

#include <dirent.h>
#include <sys/stat.h>

#include "midre/data.h"

#define PEOPLE 9
static const int number[PEOPLE] = {3, 7, 8, 20, 1001, 1002, 1003, 1500, 2000};
static const int counts[PEOPLE] = {10, 4, 11, 12, 3, 10, 5, 2, 20};

struct place {
    char *dir, *root;
    struct mi_workspace ws;
};

static void put_photo(const char *path, int person, int photo) {
    struct mi_image img;
    assert_ok(mi_image_new(&img, 12, 10));
    for (int i = 0; i < 12 * 10 * 3; i++) img.rgb[i] = (uint8_t)(person * 20 + photo + i % 3);
    assert_ok(mi_image_write_png(path, &img));
    mi_image_free(&img);
}

static void put_text(const char *dir, const char *name, const char *text) {
    char *path = mi_path_join(dir, name);
    assert_ok(mi_write_file(path, text, strlen(text)));
    free(path);
}

static int setup(void **state) {
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

static int teardown(void **state) {
    struct place *p = *state;
    mi_workspace_close(&p->ws);
    mi_remove_tree(p->dir);
    free(p->dir);
    free(p->root);
    mi_error_clear();
    return 0;
}

static struct mi_values *celeba_values(const struct place *p) {
    struct mi_values *v = mi_values_new("data.celeba", mi_data_find("celeba")->info.settings);
    assert_non_null(v);
    assert_ok(mi_values_set(v, "root", p->root));
    assert_ok(mi_values_set(v, "identities", "3"));
    assert_ok(mi_values_set(v, "min_images", "10"));
    assert_ok(mi_values_set(v, "crop", "8@1,2"));
    return v;
}

static struct mi_listing list(const struct mi_values *v, uint64_t seed) {
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    assert_ok(mi_data_find("celeba")->list(v, seed, &l));
    return l;
}

static int count_label(const struct mi_listing *l, enum mi_split s, int label) {
    int n = 0;
    for (size_t i = 0; i < l->n[s]; i++) n += l->items[s][i].label == label;
    return n;
}

static void close_listing(struct mi_listing *l) {
    mi_data_find("celeba")->close(l);
}

/* ---- the split ------------------------------------------------------------------------------------------------------
 */

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

/* ---- what is missing or broken
 * ---------------------------------------------------------------------------------------- */

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
    *st = mi_data_find("celeba")->check(v, deep, out);
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

/* ---- packs
 * -------------------------------------------------------------------------------------------------------------- */

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
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
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
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
    struct pack_file after = find_pack(p);
    assert_int_equal(before.st.st_ino, after.st.st_ino);
    assert_string_equal(fp.hex, d.fp.hex);
    mi_dataset_close(&d);
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 16, NULL, NULL));
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
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
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
        assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
        assert_non_null(d.note);
        if (!strstr(d.note, "rebuilt")) fail_msg("place %ld: note is \"%s\"", places[i], d.note);
        assert_int_equal(d.split[MI_TRAIN].rgb[0], first);
        mi_dataset_close(&d);
        assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
        assert_null(strstr(d.note ? d.note : "", "rebuilt")); /* healed */
        mi_dataset_close(&d);
    }
    free(f.path);
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
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
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
    assert_int_equal(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "no training image of 8 can be decoded");
    close_listing(&l);
    mi_values_free(v);
}

static void a_killed_builder_leaves_nothing_for_long(void **state) {
    struct place *p = *state;
    struct mi_values *v = celeba_values(p);
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
    mi_dataset_close(&d);
    struct pack_file f = find_pack(p);
    char *orphan = mi_format("%s.tmp.12345", f.path);
    assert_int_equal(rename(f.path, orphan), 0); /* as after kill -9 just before the rename */
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 8, NULL, NULL));
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
    assert_int_equal(mi_dataset_open(&d, &p->ws, "synthfaces", v, 1, 112, never, &calls), MI_STOPPED);
    assert_true(calls > 0);
    assert_int_equal(mi_error_status(), MI_OK);
    struct pack_file f = find_pack(p);
    assert_int_equal(f.files, 0);
    mi_values_free(v);
}

/* ---- folders
 * ---------------------------------------------------------------------------------------------------------- */

static void folders_and_flat_pictures_work(void **state) {
    struct place *p = *state;
    char *root = mi_path_join(p->dir, "people"), *celeb_images = mi_path_join(p->root, "img_align_celeba");
    for (int person = 0; person < 4; person++) {
        char *dir = mi_format("%s/%c", root, "dacb"[person]);
        assert_ok(mi_make_dirs(dir));
        for (int photo = 0; photo < 3 + person; photo++) {
            char *path = mi_format("%s/%d.png", dir, photo);
            put_photo(path, person, photo);
            free(path);
        }
        free(dir);
    }
    struct mi_values *v = mi_values_new("data.folder", mi_data_find("folder")->info.settings);
    assert_ok(mi_values_set(v, "root", root));
    assert_ok(mi_values_set(v, "min_images", "4"));
    assert_ok(mi_values_set(v, "identities", "2"));
    struct mi_dataset d;
    assert_ok(mi_dataset_open(&d, &p->ws, "folder", v, 1, 8, NULL, NULL));
    assert_string_equal(d.class_names[0], "a"); /* a: 4 photos, b: 6, c: 5, d: 3 */
    assert_string_equal(d.class_names[1], "b");
    assert_int_equal(d.split[MI_TRAIN].n, 3 + 5);
    assert_int_equal(d.split[MI_TEST].n, 2);
    assert_int_equal(d.split[MI_PUBLIC].n, 5 + 3);
    mi_dataset_close(&d);
    assert_ok(mi_values_set(v, "public_root", celeb_images));
    assert_ok(mi_dataset_open(&d, &p->ws, "folder", v, 1, 8, NULL, NULL));
    assert_int_equal(d.split[MI_PUBLIC].n, 77);
    mi_dataset_close(&d);
    mi_values_free(v);

    v = mi_values_new("data.flat", mi_data_find("flat")->info.settings);
    assert_ok(mi_values_set(v, "root", root)); /* pictures one folder down */
    assert_ok(mi_values_set(v, "public_images", "7"));
    assert_int_equal(mi_dataset_open(&d, &p->ws, "flat", v, 1, 8, NULL, NULL), MI_E_INPUT);
    assert_error(MI_E_INPUT, "[data] public");
    assert_ok(mi_dataset_open_public(&d, &p->ws, "flat", v, 1, 8, NULL, NULL));
    assert_int_equal(d.split[MI_PUBLIC].n, 7);
    assert_int_equal(d.split[MI_TRAIN].n, 0);
    assert_int_equal(d.classes, 0);
    mi_dataset_close(&d);
    mi_values_free(v);
    free(root);
    free(celeb_images);
}

/* ---- batches
 * ---------------------------------------------------------------------------------------------------------- */

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

/* ---- real photographs
 * ------------------------------------------------------------------------------------------------- */

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
    assert_ok(mi_dataset_open(&d, &p->ws, "celeba", v, 1, 32, NULL, NULL));
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(private_people_are_the_first_with_enough_photos),
        TEST(no_photo_is_in_two_lists),
        TEST(the_seed_chooses_test_and_public_photos),
        TEST(more_public_photos_than_there_are_is_said),
        TEST(published_lists_are_taken_as_they_are),
        TEST(every_defect_is_named),
        TEST(check_counts_and_names_damaged_files),
        TEST(pack_holds_cropped_pixels_and_is_reused),
        TEST(a_damaged_pack_is_rebuilt_and_said_so),
        TEST(undecodable_files_are_left_out_and_named),
        TEST(a_killed_builder_leaves_nothing_for_long),
        TEST(packing_can_be_stopped_and_leaves_nothing),
        TEST(folders_and_flat_pictures_work),
        cmocka_unit_test(batches_equal_the_plain_formula),
        cmocka_unit_test(an_epoch_is_a_permutation_of_its_own),
        TEST(real_photographs_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
