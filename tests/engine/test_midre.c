/* tests/engine/test_midre.c - MIDRE's samplers against the numbers of their laws, and its hook pixel by pixel. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "defenses/erasing.h"
#include "midre/judge.h"
#include "toy_model.h"

enum { MASKS = 100000 };

/* Settings "a=b c=d" over the defaults. */
static struct mi_values *values(const char *text) {
    struct mi_values *v = mi_values_new("defense.midre", mi_defense_find("midre")->info.settings);
    char copy[256], *at = copy, *word;
    snprintf(copy, sizeof copy, "%s", text);
    while ((word = strsep(&at, " "))) {
        if (!*word) continue;
        char *eq = strchr(word, '=');
        *eq = '\0';
        assert_int_equal(mi_values_set(v, word, eq + 1), MI_OK);
    }
    return v;
}

struct law { double area, centre; int least, most; };

static struct law measure(const char *text, int h, int w) {
    struct mi_values *v = values(text);
    struct mi_erase_sampler s;
    assert_int_equal(mi_erase_sampler_open(&s, v, h, w), MI_OK);
    struct law law = {.least = 1 << 20};
    for (int i = 0; i < MASKS; i++) {
        struct mi_rng r = mi_rng_make(7, "erase", 3, (uint64_t)i);
        struct mi_box b = mi_erase_sample(&s, &r);
        assert_true(b.top >= 0 && b.left >= 0 && b.top + b.height <= h && b.left + b.width <= w);
        law.area += (double)b.height * b.width / h / w / MASKS;
        law.centre += (b.top <= h / 2 && h / 2 < b.top + b.height && b.left <= w / 2 && w / 2 < b.left + b.width) /
                      (double)MASKS;
        if (b.height < law.least) law.least = b.height;
        if (b.height > law.most) law.most = b.height;
    }
    mi_erase_sampler_close(&s);
    mi_values_free(v);
    return law;
}

static void reading_a_at_224(void **state) {
    (void)state;
    struct law low = measure("area_high=0.4", 224, 224), high = measure("area_high=0.8", 224, 224);
    assert_float_equal(low.area, 0.2500, 0.001);
    assert_float_equal(high.area, 0.4500, 0.0025);
    assert_int_equal(low.least, 71);
    assert_int_equal(low.most, 142);
    assert_int_equal(high.least, 71);
    assert_int_equal(high.most, 200);
    assert_float_equal(low.centre, 0.773, 0.005);
    assert_float_equal(high.centre, 0.903, 0.005);
}

static void reading_a_at_64(void **state) {
    (void)state;
    struct law low = measure("area_high=0.4", 64, 64), high = measure("area_high=0.8", 64, 64);
    assert_int_equal(low.least, 20);
    assert_int_equal(low.most, 40);
    assert_int_equal(high.least, 20);
    assert_int_equal(high.most, 57);
    assert_float_equal(low.area, 0.25, 0.001);
}

static void reading_b_favours_small_squares(void **state) {
    (void)state;
    assert_float_equal(measure("reading=B area_high=0.4", 224, 224).area, 0.2184, 0.001);
    assert_float_equal(measure("reading=B area_high=0.8", 224, 224).area, 0.2899, 0.002);
    assert_float_equal(measure("reading=B area_high=0.4", 64, 64).area, 0.2142, 0.001);
    assert_float_equal(measure("reading=B area_high=0.8", 64, 64).area, 0.2892, 0.002);
    assert_float_equal(measure("reading=B area_high=0.8", 224, 224).centre, 0.753, 0.006);
}

/* The discrete law must be that of the text's literal retry, side by side, also on an image that is not square. */
static void reading_b_equals_the_literal_retry(void **state) {
    (void)state;
    enum { H = 24, W = 40 };
    struct mi_values *v = values("reading=B area_low=0.05 area_high=0.7");
    struct mi_erase_sampler s;
    assert_int_equal(mi_erase_sampler_open(&s, v, H, W), MI_OK);
    double ours[H + 1] = {0}, literal[H + 1] = {0}, top_ours = 0, top_literal = 0;
    struct mi_rng r = mi_rng_make(1, "literal", 0, 0);
    for (int i = 0; i < MASKS; i++) {
        struct mi_box b = mi_erase_sample(&s, &r);
        ours[b.height] += 1.0 / MASKS;
        top_ours += (double)b.top / MASKS;
        int side, x, y;
        do {
            x = (int)mi_rng_below(&r, W);
            y = (int)mi_rng_below(&r, H);
            side = (int)sqrt(mi_rng_range(&r, 0.05, 0.7) * H * W);
        } while (x + side > W || y + side > H);
        literal[side] += 1.0 / MASKS;
        top_literal += (double)y / MASKS;
    }
    for (int k = 0; k <= H; k++) assert_float_equal(ours[k], literal[k], 5 * sqrt(2 * 0.12 / MASKS));
    assert_float_equal(top_ours, top_literal, 0.15);
    mi_erase_sampler_close(&s);
    mi_values_free(v);
}

static void a_fixed_ratio_has_one_side(void **state) {
    (void)state;
    struct law a = measure("area_low=0.2 area_high=0.2", 64, 64), b = measure("reading=B area_low=0.2 area_high=0.2", 64, 64);
    assert_int_equal(a.least, 29); /* sqrt(0.2)*64 = 28.62, rounded */
    assert_int_equal(a.most, 29);
    assert_int_equal(b.least, 28); /* cut */
    assert_int_equal(b.most, 28);
}

static void aspect_is_log_uniform(void **state) {
    (void)state;
    struct mi_values *v = values("area_low=0.2 area_high=0.2 aspect_low=0.25 aspect_high=4");
    struct mi_erase_sampler s;
    assert_int_equal(mi_erase_sampler_open(&s, v, 128, 96), MI_OK);
    int tall = 0, placed = 0;
    for (int i = 0; i < 20000; i++) {
        struct mi_rng r = mi_rng_make(7, "erase", 0, (uint64_t)i);
        struct mi_box b = mi_erase_sample(&s, &r);
        if (b.height == 0) continue;
        placed++;
        tall += b.height > b.width;
        double aspect = (double)b.height / b.width;
        assert_true(aspect > 0.25 * 0.93 && aspect < 4 * 1.07);
        assert_float_equal((double)b.height * b.width / (128 * 96), 0.2, 0.01);
    }
    assert_true(placed > 19900);
    /* Without rejection half would be tall; a 128x96 image rejects wide boxes sooner (width < 96). */
    assert_true(tall > placed * 0.49 && tall < placed * 0.62);
    mi_erase_sampler_close(&s);
    mi_values_free(v);
}

static void probability_leaves_images_whole(void **state) {
    (void)state;
    assert_float_equal(measure("probability=0.3 area_low=0.25 area_high=0.25", 64, 64).area, 0.3 * 0.25, 0.002);
    assert_int_equal(measure("probability=0", 64, 64).most, 0);
}

/* ---- the hook ------------------------------------------------------------------------------------------------ */

enum { N = 6, S = 32, PIXELS = N * 3 * S * S };

static struct toy *toy;
static float before[PIXELS], after[PIXELS];
static const int32_t index_of[N] = {40, 3, 17, 99, 5, 6};

static int setup(void **state) {
    (void)state;
    static const float weight[2 * 3] = {1, 0, 0, 0, 1, 0};
    toy = toy_new(2, S, weight);
    for (int i = 0; i < PIXELS; i++) before[i] = 2 + 0.001f * (float)(i % 997); /* no fill has such a value */
    return 0;
}

static int teardown(void **state) {
    (void)state;
    toy_free(toy);
    mi_error_clear();
    return 0;
}

/* The photo hook on every image of `before`; px [N,S,S,3]. */
static void run_input(struct mi_defense *d, float *px, int64_t step) {
    static const float none[3] = {0, 0, 0}, one[3] = {1, 1, 1};
    for (int i = 0; i < N; i++) {
        struct mi_photo p = {.px = px + (size_t)i * 3 * S * S, .size = S, .index = index_of[i], .step = step,
                             .seed = 11, .frame = {0, 0, S, S, false}, .mean = none, .std = one};
        for (int k = 0; k < 3 * S * S; k++) p.px[k] = before[(size_t)i * 3 * S * S + (size_t)(k % 3 * S * S + k / 3)];
        assert_int_equal(d->desc->input(d, &p), MI_OK);
    }
}

/* Runs the hooks once on `before` and leaves the result in `after` (NCHW). */
static void erase(const char *text, mt_layout_t layout, int64_t step) {
    struct mi_values *v = values(text);
    struct mi_defense d = {.desc = mi_defense_find("midre"), .values = v};
    d.state = calloc(1, d.desc->state_size);
    assert_int_equal(d.desc->prepare(&d, &toy->model), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    static float px[PIXELS];
    run_input(&d, px, step);
    mt_tensor *x = mt_contig(mt_from(px, MT_SHAPE(N, 3, S, S), (mt_spec){MT_F32, MT_CPU, MT_NHWC}), layout);
    struct mi_batch b = {.x = x, .index = index_of, .n = N, .size = S, .step = step, .epoch = step, .seed = 11,
                         .model = &toy->model};
    assert_int_equal(d.desc->batch(&d, &b), MI_OK);
    assert_int_equal(mt_read(b.x, after, sizeof after, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_scope_end(s), MI_OK);
    d.desc->free(&d);
    free(d.state);
    mi_values_free(v);
}

/* Every pixel is either untouched in all channels or exactly `fill`; returns the erased share. */
static double erased(const float fill[3]) {
    int count = 0;
    for (int i = 0; i < N; i++)
        for (int p = 0; p < S * S; p++) {
            size_t at = (size_t)i * 3 * S * S + (size_t)p;
            bool changed = after[at] != before[at];
            count += changed;
            for (int c = 0; c < 3; c++, at += S * S) assert_true(after[at] == (changed ? fill[c] : before[at]));
        }
    return (double)count / (N * S * S);
}

static void erased_pixels_equal_the_fill_and_no_other_changes(void **state) {
    (void)state;
    const float mean[3] = {0.485f, 0.456f, 0.406f};
    erase("", MT_NHWC, 4);
    double share = erased(mean);
    assert_true(share > 0.1 && share < 0.4);
    static float nhwc[PIXELS];
    memcpy(nhwc, after, sizeof after);
    erase("", MT_NCHW, 4); /* the same step draws the same boxes, whatever the memory order */
    assert_memory_equal(nhwc, after, sizeof after);
    erase("", MT_NHWC, 5);
    erased(mean);
    assert_memory_not_equal(nhwc, after, sizeof after);
}

static void fills_are_what_they_say(void **state) {
    (void)state;
    for (int c = 0; c < 3; c++) toy->desc.mean[c] = toy->desc.std[c] = 0.5f;
    const float mean[3] = {0.485f, 0.456f, 0.406f}, zero[3] = {0}, one[3] = {1, 1, 1}, custom[3] = {0.1f, 0.2f, 0.9f};
    erase("", MT_NHWC, 0);
    assert_true(erased(mean) > 0);
    erase("fill=released fill_domain=image", MT_NHWC, 0);
    assert_true(erased(mean) > 0);
    erase("fill=zero", MT_NHWC, 0);
    assert_true(erased(zero) > 0);
    erase("fill=one fill_domain=image", MT_NHWC, 0);
    assert_true(erased(one) > 0); /* (1 - 0.5)/0.5 */
    const float black[3] = {-1, -1, -1};
    erase("fill=zero fill_domain=image", MT_NHWC, 0);
    assert_true(erased(black) > 0);
    erase("fill=custom fill_rgb=0.1,0.2,0.9", MT_NHWC, 0);
    assert_true(erased(custom) > 0);
    float colour[3]; /* the paper's "true mean" at 224: (mean - 0.5)/0.5 */
    for (int c = 0; c < 3; c++) colour[c] = (mean[c] - 0.5f) / 0.5f;
    erase("fill_domain=image", MT_NHWC, 0);
    assert_true(erased(colour) > 0);
    assert_float_equal(colour[1], -0.088, 1e-6);
}

static void a_random_fill_is_one_colour_per_image(void **state) {
    (void)state;
    erase("fill=random", MT_NHWC, 2);
    float seen[N][3];
    for (int i = 0; i < N; i++) {
        bool found = false;
        for (int p = 0; p < S * S; p++) {
            size_t at = (size_t)i * 3 * S * S + (size_t)p;
            if (after[at] == before[at]) continue;
            for (int c = 0; c < 3; c++, at += S * S) {
                assert_true(after[at] >= 0 && after[at] < 1);
                if (!found) seen[i][c] = after[at];
                assert_true(after[at] == seen[i][c]);
            }
            found = true;
        }
        assert_true(found);
        if (i > 0) assert_memory_not_equal(seen[i], seen[i - 1], sizeof seen[i]);
    }
}

static void evaluation_sees_whole_images(void **state) {
    (void)state;
    static uint8_t rgb[S * S * 3];
    static const int32_t label = 0;
    memset(rgb, 255, sizeof rgb);
    struct mi_pack_split split = {rgb, &label, 1};
    struct mi_values *v = values("fill=zero");
    struct mi_defense d = {.desc = mi_defense_find("midre"), .values = v};
    d.state = calloc(1, d.desc->state_size);
    assert_int_equal(d.desc->prepare(&d, &toy->model), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *f = NULL;
    float got[3];
    assert_int_equal(mi_eval_features(&toy->model, &split, NULL, 0, 1, &f), MI_OK);
    assert_int_equal(mt_read(f, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    for (int c = 0; c < 3; c++) assert_true(got[c] == 1); /* mean of an image nobody erased */
    assert_int_equal(mt_scope_end(s), MI_OK);
    d.desc->free(&d);
    free(d.state);
    mi_values_free(v);
}

static void contradictions_are_refused(void **state) {
    (void)state;
    static const struct { const char *text, *word; } bad[] = {
        {"area_low=0.5 area_high=0.4", "area_high"}, {"aspect_low=2 aspect_high=1", "aspect_low"},
        {"reading=B aspect_high=2", "squares"},      {"fill=custom fill_rgb=1,2", "fill_rgb"},
        {"fill=custom fill_rgb=0.1,0.2,nan", "fill_rgb"}, {"fill=custom fill_rgb=0.1,0.2,0.3,0.4", "fill_rgb"}};
    const struct mi_defense_desc *desc = mi_defense_find("midre");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mi_values *v = values(bad[i].text);
        assert_int_equal(desc->validate(v), MI_E_INPUT);
        assert_non_null(strstr(mi_error_text(), bad[i].word));
        mi_error_clear();
        mi_values_free(v);
    }
    struct mi_values *v = values("");
    assert_int_equal(desc->validate(v), MI_OK);
    assert_int_equal(mi_values_set(v, "area_high", "1.01"), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_values_set(v, "area_low", "-0.1"), MI_E_INPUT);
    mi_error_clear();
    mi_values_free(v);
}

static void an_area_that_never_fits_is_refused(void **state) {
    (void)state;
    struct mi_values *v = values("area_low=1 area_high=1");
    struct mi_erase_sampler s;
    assert_int_equal(mi_erase_sampler_open(&s, v, 64, 64), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "64x64"));
    mi_error_clear();
    mi_values_free(v);
    v = values("area_low=1 area_high=1 reading=B"); /* the text's reading may erase everything */
    assert_int_equal(mi_erase_sampler_open(&s, v, 64, 64), MI_OK);
    struct mi_rng r = mi_rng_make(0, "erase", 0, 0);
    assert_int_equal(mi_erase_sample(&s, &r).height, 64);
    mi_erase_sampler_close(&s);
    mi_values_free(v);
}

static void the_table_knows_its_defenses(void **state) {
    (void)state;
    assert_ptr_equal(mi_defense_find("none")->batch, NULL);
    assert_null(mi_defense_find("midr"));
    assert_non_null(strstr(mi_error_text(), "did you mean \"midre\""));
    mi_error_clear();
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_a_at_224),
        cmocka_unit_test(reading_a_at_64),
        cmocka_unit_test(reading_b_favours_small_squares),
        cmocka_unit_test(reading_b_equals_the_literal_retry),
        cmocka_unit_test(a_fixed_ratio_has_one_side),
        cmocka_unit_test(aspect_is_log_uniform),
        cmocka_unit_test(probability_leaves_images_whole),
        cmocka_unit_test_setup_teardown(erased_pixels_equal_the_fill_and_no_other_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(fills_are_what_they_say, setup, teardown),
        cmocka_unit_test_setup_teardown(a_random_fill_is_one_colour_per_image, setup, teardown),
        cmocka_unit_test_setup_teardown(evaluation_sees_whole_images, setup, teardown),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(an_area_that_never_fits_is_refused),
        cmocka_unit_test(the_table_knows_its_defenses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
