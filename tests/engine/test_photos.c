/* tests/engine/test_photos.c - photos left out, CutMix, and the feeder that runs the hooks of a composition. */
#include "defenses/cutmix.h"
#include "photos_test.h"

/* ---- which photos ---- */

static void ee_drops_a_portion_of_each_person(void **state) {
    (void)state;
    static const int of[PEOPLE] = {15, 15, 10, 10, 10};
    struct list l = open_list("ee", "defense.ee.portion=0.3");
    struct mi_sampling s = {.labels = data.split[MI_TRAIN].labels, .n = PHOTOS, .classes = PEOPLE, .batch = 7, .seed = 3};
    struct mi_defense *who = NULL;
    assert_int_equal(mi_defenses_plan(&l.ds, &s, &who), MI_OK);
    assert_ptr_equal(who, &l.ds.item[0]);
    /* kept: 15 - round(4.5) = 11 (halves to even), 10 - 3 = 7 */
    assert_int_equal(s.per_epoch, (11 + 11 + 7 + 7 + 7) / 7);
    int32_t index[7], first[42];
    int seen[2][PHOTOS] = {{0}};
    for (int e = 0; e < 2; e++)
        for (int64_t k = 0; k < s.per_epoch; k++) {
            assert_int_equal(who->desc->sample(who, &s, e * s.per_epoch + k, index), 7);
            for (int i = 0; i < 7; i++) seen[e][index[i]]++;
            if (e == 0) memcpy(first + k * 7, index, sizeof index);
        }
    for (int e = 0; e < 2; e++) {
        int count[PEOPLE] = {0};
        for (int i = 0; i < PHOTOS; i++) {
            assert_true(seen[e][i] <= 1);
            count[data.split[MI_TRAIN].labels[i]] += seen[e][i];
        }
        for (int k = 0; k < PEOPLE; k++) assert_true(count[k] <= of[k] - (int)rint(0.3 * of[k]));
    }
    assert_memory_not_equal(seen[0], seen[1], sizeof seen[0]);
    /* A run that resumes asks for a step of an epoch it never saw the start of, and for an earlier one. */
    assert_int_equal(who->desc->sample(who, &s, 2, index), 7);
    assert_memory_equal(index, first + 14, sizeof index);
    close_list(&l);
}

static void ee_epochs_keeps_the_places_of_the_milestones(void **state) {
    (void)state;
    struct list l = open_list("ee", "defense.ee.how=epochs defense.ee.portion=0.4");
    struct mi_train_recipe r = {.epochs = 100, .milestones = {75, 90}, .n_milestones = 2, .warmup = 5};
    struct mi_sampling s = {.labels = data.split[MI_TRAIN].labels, .n = PHOTOS, .classes = PEOPLE, .batch = 7, .seed = 3};
    struct mi_defense *who = NULL;
    assert_int_equal(mi_defenses_start(&l.ds, &toy->model, &r), MI_OK);
    assert_int_equal(r.epochs, 60);
    assert_float_equal(r.milestones[0], 45, 1e-9);
    assert_float_equal(r.milestones[1], 54, 1e-9);
    assert_float_equal(r.warmup, 3, 1e-9);
    assert_int_equal(mi_defenses_plan(&l.ds, &s, &who), MI_OK);
    assert_null(who); /* all photos, in the usual order */
    close_list(&l);
}

/* ---- CutMix ---- */

static void cutmix_labels_weigh_what_is_left(void **state) {
    (void)state;
    enum { N = 6 };
    struct list l = open_list("cutmix", "");
    static float x[N * S * S * 3], got[N * S * S * 3];
    static const int32_t index[N] = {1, 2, 3, 4, 5, 6};
    const int64_t labels[N] = {10, 11, 12, 13, 14, 15};
    double mean = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < S * S * 3; k++) x[i * S * S * 3 + k] = (float)labels[i];
    for (int64_t step = 0; step < 200; step++) {
        mt_scope *scope = mt_scope_begin("test");
        struct mi_batch b = {.x = mt_from(x, MT_SHAPE(N, 3, S, S), (mt_spec){MT_F32, MT_CPU, MT_NHWC}),
                             .y = mt_from(labels, MT_SHAPE(N), (mt_spec){MT_I64, MT_CPU, MT_NCHW}),
                             .index = index, .n = N, .size = S, .step = step, .seed = 2, .model = &toy->model};
        int64_t other[N];
        float share[N];
        assert_int_equal(mi_defenses_batch(&l.ds, &b), MI_OK);
        assert_int_equal(mt_read(b.x, got, sizeof got, MT_F32, MT_NHWC), MI_OK);
        assert_int_equal(mt_read(b.y2, other, sizeof other, MT_I64, MT_NCHW), MI_OK);
        assert_int_equal(mt_read(b.share, share, sizeof share, MT_F32, MT_NCHW), MI_OK);
        for (int i = 0; i < N; i++) {
            int own = 0;
            for (int k = 0; k < S * S; k++) {
                float v = got[(i * S * S + k) * 3];
                assert_true(v == (float)labels[i] || v == (float)other[i]);
                own += v == (float)labels[i];
            }
            if (other[i] != labels[i]) assert_float_equal(own / (double)(S * S), share[i], 1e-6);
            assert_true(share[i] >= 0 && share[i] <= 1);
        }
        mean += share[0] / 200;
        assert_int_equal(mt_scope_end(scope), MI_OK);
    }
    /* E of what a box of uniform area u around a uniform centre covers: E (sqrt(u) - u/4)^2 = 1/2 - 1/5 + 1/48. */
    assert_float_equal(1 - mean, 0.5 - 0.2 + 1.0 / 48, 0.06);
    double sum = 0, share;
    struct mi_rng r = mi_rng_make(1, "law", 0, 0);
    for (int i = 0; i < 20000; i++) {
        mi_cutmix_draw(&r, 1, 512, &share);
        sum += (1 - share) / 20000;
    }
    assert_float_equal(sum, 0.5 - 0.2 + 1.0 / 48, 0.008);
    close_list(&l);
}

/* ---- the feeder ---- */

static void photo_hooks_depend_on_the_step_only(void **state) {
    (void)state;
    struct list l = open_list("midre+patches+blur", "defense.midre.fill=telea defense.patches.fill=random");
    struct mi_train_recipe r = {.epochs = 2, .batch = 9, .flip = true, .crop = 0.85,
                                .jitter = {0.2f, 0.2f, 0.1f, 0.1f}};
    const float mean[3] = {0.5f, 0.5f, 0.5f}, std[3] = {0.5f, 0.5f, 0.5f};
    struct mi_feeder *here = mi_feeder_open(&data, &r, mean, std, 3, 12, false);
    struct mi_feeder *ahead = mi_feeder_open(&data, &r, mean, std, 3, 12, true);
    mi_feeder_defend(here, &l.ds);
    mi_feeder_defend(ahead, &l.ds);
    static float kept[9 * S * S * 3], first[9 * S * S * 3];
    for (int64_t step = 0; step < 12; step++) {
        float *x, *x2;
        int64_t *y;
        int32_t *index;
        assert_int_equal(mi_feeder_get(here, step, &x, &y, &index), 9);
        assert_int_equal(mi_feeder_get(ahead, step, &x2, &y, &index), 9);
        assert_memory_equal(x, x2, sizeof kept);
        if (step == 0) memcpy(first, x, sizeof first);
        if (step == 7) memcpy(kept, x, sizeof kept);
    }
    assert_memory_not_equal(first, kept, sizeof kept);
    mi_feeder_close(here);
    mi_feeder_close(ahead);
    /* A fresh feeder that starts in the middle, as after a kill. */
    float *x;
    int64_t *y;
    int32_t *index;
    here = mi_feeder_open(&data, &r, mean, std, 3, 12, true);
    mi_feeder_defend(here, &l.ds);
    mi_feeder_get(here, 7, &x, &y, &index);
    assert_memory_equal(x, kept, sizeof kept);
    mi_feeder_close(here);
    close_list(&l);
}

static enum mi_status failing(struct mi_defense *d, struct mi_photo *p) {
    (void)d;
    return p->index == 7 ? mi_fail(MI_E_INPUT, "photo 7 cannot be made") : MI_OK;
}

static void a_failed_photo_stops_the_step_with_its_reason(void **state) {
    (void)state;
    static const struct mi_defense_desc broken = {.info = {.name = "broken"}, .input = failing};
    struct mi_defenses ds = {.item = {{.desc = &broken}}, .n = 1};
    struct mi_train_recipe r = {.epochs = 1, .batch = PHOTOS};
    for (int ahead = 0; ahead < 2; ahead++) {
        struct mi_feeder *f = mi_feeder_open(&data, &r, no_mean, unit_std, 3, 1, ahead);
        mi_feeder_defend(f, &ds);
        float *x;
        int64_t *y;
        int32_t *index;
        assert_int_equal(mi_feeder_get(f, 0, &x, &y, &index), -1);
        assert_string_equal(mi_error_text(), "photo 7 cannot be made");
        mi_error_clear();
        mi_feeder_close(f);
    }
}

static void the_preview_shows_what_is_fed(void **state) {
    (void)state;
    struct list l = open_list("midre+ee", "defense.midre.fill=zero defense.ee.portion=0.5");
    struct mi_train_recipe r = {.epochs = 3, .batch = 8};
    struct mi_image sheet;
    const int32_t index[3] = {4, 9, 30};
    assert_int_equal(mi_preview(&toy->model, &data, &r, &l.ds, 1, index, 3, 9, &sheet), MI_OK);
    assert_int_equal(sheet.width, 9 * S);
    assert_int_equal(sheet.height, 3 * S);
    int dark = 0;
    for (int row = 0; row < 3; row++) {
        const uint8_t *stored = data.split[MI_TRAIN].rgb + (size_t)index[row] * S * S * 3;
        for (int col = 0; col < 9; col++) {
            struct mi_image tile;
            assert_int_equal(mi_sheet_get(&sheet, S, col, row, &tile), MI_OK);
            int same = 0, black = 0, fifth = 0;
            for (int i = 0; i < S * S * 3; i++) {
                same += abs(tile.rgb[i] - stored[i]) <= 1;
                black += tile.rgb[i] == 0;
                fifth += abs(tile.rgb[i] - stored[i] / 5) <= 1;
            }
            if (col == 0) assert_int_equal(same, S * S * 3);
            else assert_true(black > S * S * 3 / 12 && black < S * S * 3 / 2 + 200);
            dark += col > 0 && fifth > same;
            mi_image_free(&tile);
        }
    }
    assert_true(dark > 2 && dark < 22); /* of 24, half are left out */
    mi_image_free(&sheet);
    const int32_t none = PHOTOS;
    assert_int_equal(mi_preview(&toy->model, &data, &r, &l.ds, 1, &none, 1, 2, &sheet), MI_E_INPUT);
    mi_error_clear();
    close_list(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ee_drops_a_portion_of_each_person),
        cmocka_unit_test(ee_epochs_keeps_the_places_of_the_milestones),
        cmocka_unit_test(cutmix_labels_weigh_what_is_left),
        cmocka_unit_test(photo_hooks_depend_on_the_step_only),
        cmocka_unit_test(a_failed_photo_stops_the_step_with_its_reason),
        cmocka_unit_test(the_preview_shows_what_is_fed),
    };
    return cmocka_run_group_tests_name("photos", tests, setup, teardown);
}
