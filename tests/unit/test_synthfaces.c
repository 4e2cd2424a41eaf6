/* test_synthfaces.c - the rendered faces: the same bytes everywhere, people told apart, settings obeyed. */
#include "tests/unit/run_test.h"

#include "midre/data.h"

static uint64_t fnv(const uint8_t *bytes, size_t n) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Recorded once; gcc and clang, with and without optimisation and wide vectors, gave these.  A change here changes
 * every user's data: raise `version` in the descriptor with it. */
static void known_faces_render_to_known_bytes(void **state) {
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t person, photo;
        int size;
        double difficulty;
        uint64_t hash;
    } known[] = {
        {1, 0, 0, 64, 0.6, UINT64_C(0xd7424a9d54e45f82)},
        {1, 0, 1, 64, 0.6, UINT64_C(0x7e911f625b44ed5c)},
        {1, 7, 3, 64, 0.6, UINT64_C(0x83672a57221f06a9)},
        {1, 1000000, 0, 64, 0.6, UINT64_C(0x77439ff94c450070)},
        {2, 5, 2, 64, 0.0, UINT64_C(0x5b85eb6cc295e73a)},
        {3, 11, 9, 64, 1.0, UINT64_C(0x55dfe6695699ba07)},
        {1, 0, 0, 112, 0.6, UINT64_C(0xebc4550a4cb0889e)},
        {1, 13, 4, 112, 0.6, UINT64_C(0x15a708e0592042be)},
        {42, 1000599, 4, 112, 1.0, UINT64_C(0x3967e83fa11dfa33)},
        {7, 4242, 31, 33, 0.3, UINT64_C(0xb14f4b965c4c8c57)},
    };
    static uint8_t rgb[112 * 112 * 3];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = (size_t)known[i].size * (size_t)known[i].size * 3;
        mi_synthface_render(known[i].seed, known[i].person, known[i].photo, known[i].size, known[i].difficulty, rgb);
        if (fnv(rgb, n) != known[i].hash) fail_msg("face %zu renders to 0x%016llx", i, (unsigned long long)fnv(rgb, n));
    }
}

static void rendering_stays_inside_its_buffer(void **state) {
    (void)state;
    static uint8_t rgb[40 * 40 * 3 + 32];
    for (int size = 8; size <= 40; size += 8) {
        size_t n = (size_t)size * (size_t)size * 3;
        memset(rgb, 0xa5, sizeof rgb);
        mi_synthface_render(9, 3, 1, size, 1, rgb + 16);
        for (size_t i = 0; i < 16; i++) assert_int_equal(rgb[i], 0xa5);
        for (size_t i = 16 + n; i < sizeof rgb; i++) assert_int_equal(rgb[i], 0xa5);
    }
}

/* Mean colour of 8x8 blocks: coarse enough to forgive pose, fine enough to tell faces apart. */
static void describe(uint32_t person, uint32_t photo, double difficulty, float out[192]) {
    static uint8_t rgb[64 * 64 * 3];
    mi_synthface_render(1, person, photo, 64, difficulty, rgb);
    memset(out, 0, 192 * sizeof *out);
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 64; x++)
            for (int c = 0; c < 3; c++) out[(y / 8 * 8 + x / 8) * 3 + c] += (float)rgb[(y * 64 + x) * 3 + c] / 64;
}

static float distance(const float *a, const float *b) {
    float d = 0;
    for (int i = 0; i < 192; i++) d += (a[i] - b[i]) * (a[i] - b[i]);
    return d;
}

enum { PEOPLE = 20, PHOTOS = 16, TRAIN = 12 };

/* Share of photos whose nearest neighbour among the others' and own training photos is the same person. */
static double nearest_neighbour(double difficulty) {
    static float seen[PEOPLE][PHOTOS][192];
    int right = 0;
    for (uint32_t k = 0; k < PEOPLE; k++)
        for (uint32_t i = 0; i < PHOTOS; i++) describe(k, i, difficulty, seen[k][i]);
    for (int k = 0; k < PEOPLE; k++)
        for (int i = TRAIN; i < PHOTOS; i++) {
            int best = -1;
            float least = 0;
            for (int m = 0; m < PEOPLE; m++)
                for (int j = 0; j < TRAIN; j++) {
                    float d = distance(seen[k][i], seen[m][j]);
                    if (best < 0 || d < least) {
                        least = d;
                        best = m;
                    }
                }
            right += best == k;
        }
    return (double)right / (PEOPLE * (PHOTOS - TRAIN));
}

static void people_can_be_told_apart_and_difficulty_counts(void **state) {
    (void)state;
    double easy = nearest_neighbour(0), hard = nearest_neighbour(1);
    /* Chance is 5 %.  Even raw colours find most people when it is easy, and far fewer when it is hard. */
    if (easy < 0.6 || hard < 0.12 || hard > easy - 0.15)
        fail_msg("nearest neighbour: easy %.2f, hard %.2f", easy, hard);
}

static void private_and_public_people_differ(void **state) {
    (void)state;
    float a[192], b[192];
    for (uint32_t k = 0; k < 50; k++) {
        describe(k, 0, 0.5, a);
        describe(1000000u + k, 0, 0.5, b);
        assert_true(distance(a, b) > 100);
    }
}

static struct mi_values *values(const char *identities, const char *photos) {
    struct mi_values *v = mi_values_new("data.synthfaces", mi_data_find("synthfaces")->info.settings);
    assert_non_null(v);
    assert_ok(mi_values_set(v, "identities", identities));
    assert_ok(mi_values_set(v, "photos", photos));
    assert_ok(mi_values_set(v, "public_identities", "7"));
    assert_ok(mi_values_set(v, "public_photos", "3"));
    return v;
}

static void settings_decide_the_lists(void **state) {
    (void)state;
    const struct mi_data_desc *d = mi_data_find("synthfaces");
    struct mi_values *v = values("5", "11");
    struct mi_listing l, other;
    memset(&l, 0, sizeof l);
    memset(&other, 0, sizeof other);
    assert_true(d->synthetic);
    assert_ok(d->list(v, 1, &l));
    assert_int_equal(l.classes, 5);
    assert_string_equal(l.class_names[4], "person 4");
    assert_int_equal(l.n[MI_TEST], 5 * 3); /* 20 % of 11, rounded up */
    assert_int_equal(l.n[MI_TRAIN], 5 * 8);
    assert_int_equal(l.n[MI_PUBLIC], 21);
    assert_ok(d->list(v, 2, &other)); /* the run's seed does not change the data */
    assert_memory_equal(l.items[MI_TEST], other.items[MI_TEST], l.n[MI_TEST] * sizeof(struct mi_item));
    d->close(&l);
    d->close(&other);
    mi_values_free(v);
}

static void packed_pixels_are_the_rendered_ones(void **state) {
    (void)state;
    char *dir = scratch();
    struct mi_workspace ws;
    struct mi_values *v = values("3", "4");
    struct mi_dataset d, public_only;
    static uint8_t rgb[32 * 32 * 3];
    assert_ok(mi_workspace_open(&ws, dir));
    assert_ok(mi_dataset_open(&d, &ws, "synthfaces", v, 1, 32, MI_DATA_ALL, NULL, NULL));
    for (int p = 0; p < 7; p++)
        for (int i = 0; i < 3; i++) {
            mi_synthface_render(1, 1000000u + (uint32_t)p, (uint32_t)i, 32, 0.6, rgb);
            assert_memory_equal(rgb, d.split[MI_PUBLIC].rgb + (p * 3 + i) * 3072, 3072);
        }
    assert_ok(mi_dataset_open(&public_only, &ws, "synthfaces", v, 1, 32, MI_DATA_PUBLIC, NULL, NULL));
    assert_int_equal(public_only.split[MI_TRAIN].n, 0);
    assert_memory_equal(public_only.split[MI_PUBLIC].rgb, d.split[MI_PUBLIC].rgb, 21 * 3072);
    assert_string_not_equal(public_only.fp.hex, d.fp.hex);
    mi_dataset_close(&public_only);
    mi_dataset_close(&d);
    mi_workspace_close(&ws);
    mi_values_free(v);
    mi_remove_tree(dir);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_faces_render_to_known_bytes),
        cmocka_unit_test(rendering_stays_inside_its_buffer),
        cmocka_unit_test(people_can_be_told_apart_and_difficulty_counts),
        cmocka_unit_test(private_and_public_people_differ),
        cmocka_unit_test(settings_decide_the_lists),
        cmocka_unit_test(packed_pixels_are_the_rendered_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
