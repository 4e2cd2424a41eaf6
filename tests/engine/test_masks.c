/* tests/engine/test_masks.c - MIDRE's ablations: where pixels are erased (position bias), what is written, masks through
 * crops and mirroring, several squares, random pixels.
 *
 * Expected rates are closed forms: a square of relative side t covers point (u, v) with probability c(u) c(v),
 * c(u) = min(u, 1-u, t, 1-t)/(1-t). */
#include "photos_test.h"

/* ---- where ---- */

static double share_at(double t, double u) {
    double c = fmin(fmin(u, 1 - u), fmin(t, 1 - t)) / (1 - t);
    return c > 1 ? 1 : c;
}

static void squares_cover_the_middle_more_than_the_rim(void **state) {
    (void)state;
    enum { SIDE = 224, DRAWS = 20000 };
    static const double at[5][2] = {{0.5, 0.5}, {0.35, 0.40}, {0.25, 0.25}, {0.05, 0.5}, {0.05, 0.05}};
    /* The published sheet's numbers for areas of 0.1 to 0.5, to three digits. */
    static const double sheet[5][5] = {{0.214, 0.214, 0.134, 0.034, 0.005},
                                       {0.655, 0.458, 0.205, 0.073, 0.008},
                                       {1.000, 0.684, 0.306, 0.111, 0.012},
                                       {1.000, 0.952, 0.463, 0.136, 0.019},
                                       {1.000, 1.000, 0.729, 0.171, 0.029}};
    for (int a = 0; a < 5; a++) {
        struct mi_erase_sampler s;
        double hit[5] = {0}, t = sqrt((a + 1) / 10.0);
        assert_int_equal(mi_erase_sampler_square(&s, "test", (a + 1) / 10.0, SIDE), MI_OK);
        for (int i = 0; i < DRAWS; i++) {
            struct mi_rng r = mi_rng_make(5, "position", 0, (uint64_t)i);
            struct mi_box b = mi_erase_sample(&s, &r);
            for (int k = 0; k < 5; k++) {
                int x = (int)(at[k][0] * SIDE), y = (int)(at[k][1] * SIDE);
                hit[k] += (y >= b.top && y < b.top + b.height && x >= b.left && x < b.left + b.width) / (double)DRAWS;
            }
        }
        for (int k = 0; k < 5; k++) {
            double law = share_at(t, at[k][0]) * share_at(t, at[k][1]);
            assert_float_equal(law, sheet[a][k], 6e-4);
            /* Pixels are not points: up to a pixel's worth of rate beside four standard deviations. */
            assert_float_equal(hit[k], law, 4 * sqrt(law * (1 - law) / DRAWS) + 3.0 / SIDE);
        }
    }
}

static void a_fixed_mask_follows_the_face(void **state) {
    (void)state;
    struct mi_box face = {10, 4, 8, 6}; /* rows 10..17, columns 4..9 of a 32 px photo */
    struct mi_frame all = {0, 0, S, S, false}, mirrored = {0, 0, S, S, true};
    struct mi_box b = mi_frame_box(&all, S, face);
    assert_memory_equal(&b, &face, sizeof b);
    b = mi_frame_box(&mirrored, S, face);
    assert_int_equal(b.left, S - 4 - 6);
    assert_int_equal(b.width, 6);
    struct mi_frame half = {8, 0, 16, 16, false}; /* twice enlarged: rows 8..23, columns 0..15 */
    b = mi_frame_box(&half, S, face);
    assert_int_equal(b.top, 4);
    assert_int_equal(b.height, 16);
    assert_int_equal(b.left, 8);
    assert_int_equal(b.width, 12);
    struct mi_frame away = {20, 0, 12, 12, false};
    assert_int_equal(mi_frame_box(&away, S, face).height, 0);
}

/* In every photo of every step the pixels FE erases are exactly those of its part of the face, whatever crop and flip
 * did: a probe photo whose red channel marks the masked part goes through the same frame. */
static void fe_stays_on_the_face_through_crop_and_flip(void **state) {
    (void)state;
    struct list l = open_list("fe+crop", "defense.fe.area=0.2 defense.fe.fill=zero defense.crop.low=0.5");
    struct mi_train_recipe r = {.epochs = 3, .batch = 12, .flip = true, .crop = 0.85};
    struct mi_feeder *f = mi_feeder_open(&data, &r, no_mean, unit_std, 9, 15, false);
    mi_feeder_defend(f, &l.ds);
    struct mi_erase_sampler sampler;
    assert_int_equal(mi_erase_sampler_square(&sampler, "test", 0.2, S), MI_OK);
    static uint8_t marked[S * S * 3];
    static float probe[S * S * 3];
    int flips = 0, erased_pixels = 0;
    for (int64_t step = 0; step < 15; step++) {
        float *x;
        int64_t *y;
        int32_t *index;
        assert_int_equal(mi_feeder_get(f, step, &x, &y, &index), 12);
        struct mi_rng flip = mi_rng_make(9, "flip", (uint64_t)step, 0);
        for (int i = 0; i < 12; i++) {
            struct mi_frame frame = {0, 0, S, S, mi_rng_u64(&flip) >> 63};
            struct mi_rng a = mi_rng_make(9, "crop", (uint64_t)step, (uint64_t)index[i]);
            struct mi_rng b = mi_rng_make(9, "defense crop", (uint64_t)step, (uint64_t)index[i]);
            mi_frame_crop(&frame, &a, 0.85, 1);
            mi_frame_crop(&frame, &b, 0.5, 1);
            struct mi_rng p = mi_rng_make(9, "fixed", 0, (uint64_t)index[i]);
            struct mi_box box = mi_erase_sample(&sampler, &p);
            memset(marked, 0, sizeof marked);
            for (int v = box.top; v < box.top + box.height; v++)
                for (int u = box.left; u < box.left + box.width; u++) marked[(v * S + u) * 3] = 255;
            mi_photo_show(probe, marked, S, &frame);
            const float *px = x + (size_t)i * S * S * 3;
            for (int k = 0; k < S * S; k++) {
                bool erased = px[k * 3] == 0 && px[k * 3 + 1] == 0 && px[k * 3 + 2] == 0;
                if (probe[k * 3] > 0.99f) assert_true(erased);   /* all of the part is hidden ... */
                if (probe[k * 3] < 0.01f) assert_false(erased);  /* ... and nothing else */
                erased_pixels += erased;
            }
            flips += frame.flip;
        }
    }
    assert_true(flips > 60 && flips < 120);
    assert_true(erased_pixels > 15 * 12 * S * S / 8);
    mi_feeder_close(f);
    close_list(&l);
}

/* ---- what ---- */

/* Runs a defense's photo hook on a photo of constant colour 2 (no fill has it) and returns it. */
static const float *hook(struct list *l, int32_t index, int64_t step, float *px) {
    for (int i = 0; i < S * S * 3; i++) px[i] = 2;
    struct mi_photo p = {.px = px, .size = S, .index = index, .step = step, .seed = 4, .frame = {0, 0, S, S, false},
                         .mean = no_mean, .std = unit_std};
    assert_int_equal(mi_defenses_input(&l->ds, &p), MI_OK);
    return px;
}

static void noise_is_uniform_per_pixel_and_channel(void **state) {
    (void)state;
    struct list l = open_list("midre", "defense.midre.fill=noise defense.midre.area_low=0.4");
    static float px[S * S * 3];
    double sum = 0, square = 0, cross = 0;
    int n = 0;
    for (int i = 0; i < 40; i++) {
        hook(&l, i, 1, px);
        for (int k = 0; k < S * S; k++) {
            if (px[k * 3] == 2) continue;
            n++;
            for (int c = 0; c < 3; c++) {
                assert_true(px[k * 3 + c] >= 0 && px[k * 3 + c] < 1);
                sum += px[k * 3 + c];
                square += px[k * 3 + c] * px[k * 3 + c];
            }
            cross += (px[k * 3] - 0.5) * (px[k * 3 + 1] - 0.5);
        }
    }
    assert_int_equal(n, 40 * 20 * 20); /* round(sqrt(0.4)*32) = 20 */
    assert_float_equal(sum / (3.0 * n), 0.5, 0.005);
    assert_float_equal(square / (3.0 * n) - 0.25, 1.0 / 12, 0.003);
    assert_float_equal(cross / n, 0, 0.003); /* channels are independent */
    close_list(&l);
}

static void inpainting_leaves_the_rest_alone(void **state) {
    (void)state;
    static const float mean[3] = {0.5f, 0.5f, 0.5f}, std[3] = {0.5f, 0.5f, 0.5f};
    struct list l = open_list("midre", "defense.midre.fill=telea");
    static float px[S * S * 3], whole[S * S * 3];
    static uint8_t mask[S * S], rgb[S * S * 3];
    const uint8_t *stored = data.split[MI_TRAIN].rgb;
    struct mi_frame all = {0, 0, S, S, false};
    mi_photo_show(whole, stored, S, &all);
    mi_photo_normalise(whole, S, mean, std);
    memcpy(px, whole, sizeof px);
    struct mi_photo p = {.px = px, .size = S, .index = 0, .step = 6, .seed = 4, .frame = all, .mean = mean, .std = std};
    assert_int_equal(mi_defenses_input(&l.ds, &p), MI_OK);
    /* The same box, inpainted on the stored bytes by hand. */
    struct mi_erase_sampler s;
    assert_int_equal(mi_erase_sampler_open(&s, l.ds.item[0].values, S, S), MI_OK);
    struct mi_rng r = mi_rng_make(4, "erase", 6, 0);
    struct mi_box box = mi_erase_sample(&s, &r);
    assert_float_equal(mi_boxes_union(&box, 1, S, mask), (double)box.height * box.width / (S * S), 1e-12);
    memcpy(rgb, stored, sizeof rgb);
    assert_int_equal(mi_inpaint_telea(rgb, mask, S, S, 3), MI_OK);
    assert_memory_not_equal(rgb, stored, sizeof rgb);
    for (int i = 0; i < S * S * 3; i++) {
        if (!mask[i / 3]) assert_true(px[i] == whole[i]);
        else assert_float_equal(px[i], ((float)rgb[i] / 255 - 0.5f) / 0.5f, 1e-6);
    }
    memset(mask, 1, sizeof mask);
    assert_int_equal(mi_inpaint_telea(rgb, mask, S, S, 3), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "no pixel"));
    mi_error_clear();
    close_list(&l);
}

static void several_squares_report_their_union(void **state) {
    (void)state;
    static const struct { const char *text; double share; } want[] = {
        {"defense.patches.count=4 defense.patches.area=0.1", 31.8},
        {"defense.patches.count=8 defense.patches.area=0.05", 31.8},
        {"defense.patches.count=8 defense.patches.area=0.1", 49.2}};
    for (size_t k = 0; k < 3; k++) {
        struct list l = open_list("patches", want[k].text);
        char text[600];
        static float px[S * S * 3];
        mi_defenses_note(&l.ds, S, text, sizeof text);
        double said = 0;
        assert_int_equal(sscanf(strstr(text, "cover"), "cover %lf", &said), 1);
        assert_float_equal(said, want[k].share, 1.5); /* a 32 px side is rounded: 10.12 to 10, 7.16 to 7 */
        int erased = 0;
        for (int i = 0; i < 300; i++) {
            hook(&l, i, 2, px);
            for (int q = 0; q < S * S; q++) erased += px[q * 3] != 2;
        }
        assert_float_equal(100.0 * erased / (300.0 * S * S), said, 1.5);
        close_list(&l);
    }
}

static void random_pixels_are_scattered(void **state) {
    (void)state;
    struct list l = open_list("pixels", "defense.pixels.area=0.3");
    static float px[S * S * 3];
    int erased = 0, pairs = 0;
    for (int i = 0; i < 100; i++) {
        hook(&l, i, 0, px);
        for (int k = 0; k < S * S; k++) {
            bool here = px[k * 3] != 2;
            erased += here;
            pairs += here && (k + 1) % S && px[(k + 1) * 3] != 2;
        }
    }
    assert_float_equal(erased / (100.0 * S * S), 0.3, 0.008);
    assert_float_equal(pairs / (100.0 * S * (S - 1)), 0.09, 0.005); /* neighbours do not know of each other */
    close_list(&l);
}

static void a_blur_keeps_the_mean_and_mirrors_alike(void **state) {
    (void)state;
    static float px[S * S * 3], other[S * S * 3];
    struct mi_frame all = {0, 0, S, S, false}, mirrored = {0, 0, S, S, true};
    mi_photo_show(px, data.split[MI_TRAIN].rgb, S, &all);
    mi_photo_show(other, data.split[MI_TRAIN].rgb, S, &mirrored);
    assert_int_equal(mi_photo_blur(px, S, 23, 1.5), MI_OK);
    assert_int_equal(mi_photo_blur(other, S, 23, 1.5), MI_OK);
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) assert_float_equal(px[(y * S + x) * 3], other[(y * S + S - 1 - x) * 3], 1e-5);
    for (int i = 0; i < S * S * 3; i++) px[i] = 0.25f;
    assert_int_equal(mi_photo_blur(px, S, 23, 2), MI_OK);
    for (int i = 0; i < S * S * 3; i++) assert_float_equal(px[i], 0.25, 1e-6);
    assert_int_equal(mi_photo_blur(px, S, 24, 2), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_photo_blur(px, S, 2 * S + 1, 2), MI_E_INPUT);
    mi_error_clear();
}

static void contradictions_are_refused(void **state) {
    (void)state;
    static const struct { const char *name, *text, *word; } bad[] = {
        {"crop", "defense.crop.low=0.9 defense.crop.high=0.8", "low"},
        {"blur", "defense.blur.kernel=22", "odd"},
        {"blur", "defense.blur.sigma_low=3", "sigma_low"},
        {"fe", "defense.fe.fill=custom defense.fe.fill_rgb=1,2", "fill_rgb"},
        {"midre", "defense.midre.fill=telea defense.midre.area_high=1", "telea"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *words[4];
        char copy[200], *at = copy, *word;
        size_t n = 0;
        snprintf(copy, sizeof copy, "%s", bad[i].text);
        while ((word = strsep(&at, " "))) words[n++] = word;
        struct mi_spec *spec = mi_spec_parse("", "test", words, n);
        struct mi_defenses ds;
        assert_non_null(spec);
        assert_int_equal(mi_defenses_open(&ds, bad[i].name, spec), MI_E_INPUT);
        assert_non_null(strstr(mi_error_text(), bad[i].word));
        mi_error_clear();
        mi_spec_free(spec);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_cover_the_middle_more_than_the_rim),
        cmocka_unit_test(a_fixed_mask_follows_the_face),
        cmocka_unit_test(fe_stays_on_the_face_through_crop_and_flip),
        cmocka_unit_test(noise_is_uniform_per_pixel_and_channel),
        cmocka_unit_test(inpainting_leaves_the_rest_alone),
        cmocka_unit_test(several_squares_report_their_union),
        cmocka_unit_test(random_pixels_are_scattered),
        cmocka_unit_test(a_blur_keeps_the_mean_and_mirrors_alike),
        cmocka_unit_test(contradictions_are_refused),
    };
    return cmocka_run_group_tests_name("masks", tests, setup, teardown);
}
