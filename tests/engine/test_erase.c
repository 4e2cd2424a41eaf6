/* test_erase.c - box erasing: the fill to the bit inside, nothing outside, in both layouts and all forms. */
#include "tests/engine/nn_test.h"

#include "src/nn/erase_priv.h"

#define N 9
#define H 20
#define W 14

static const struct mi_box boxes[N] = {{0, 0, H, W}, {0, 0, 1, 1}, {H - 1, W - 1, 1, 1}, {3, 2, 7, 5},  {5, 5, 0, 0},
                                       {0, 4, H, 3}, {6, 0, 2, W}, {1, 1, 5, 0},         {19, 0, 1, 14}};

static void check_erased(mt_tensor *x, const float *before, const float fill[3]) {
    static float after[N * 3 * H * W];
    assert_int_equal(mt_read(x, after, sizeof after, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < N * 3 * H * W; i++) {
        int col = i % W, row = i / W % H, c = i / (W * H) % 3, n = i / (3 * W * H);
        const struct mi_box *b = &boxes[n];
        bool in = row >= b->top && row < b->top + b->height && col >= b->left && col < b->left + b->width;
        const float *want = in ? &fill[c] : &before[i];
        assert_memory_equal(&after[i], want, sizeof(float));
    }
}

static void erased_pixels_equal_the_fill_and_no_other_changes(void **state) {
    (void)state;
    static float before[N * 3 * H * W];
    const float fill[3] = {0.485f, 0.456f, -0.406f};
    for (int path = 0; path < 6; path++) { /* loop and tensor operations, two layouts and a strided view */
        mt_rng *r = mt_rng_new(MT_CPU, 4);
        mt_tensor *wide = mt_rand(MT_SHAPE(N, 3, H, W + 3), 0.0, 1.0, MT_SPEC_F32, r);
        mt_rng_free(r);
        mt_tensor *view = mt_narrow(wide, 3, 1, W);
        mt_tensor *x = path / 2 == 2 ? view : mt_contig(view, path / 2 ? MT_NHWC : MT_NCHW);
        assert_int_equal(mt_read(x, before, sizeof before, MT_F32, MT_NCHW), MI_OK);
        assert_int_equal((path % 2 ? mi_erase_boxes_ops : mi_erase_boxes)(x, boxes, N, fill), MI_OK);
        check_erased(x, before, fill);
        if (path / 2 == 1) assert_int_equal(mt_layout(x), MT_NHWC);
    }
}

static void erasing_refuses_boxes_outside_and_leaves(void **state) {
    (void)state;
    const float fill[3] = {0};
    mt_tensor *x = mt_zeros(MT_SHAPE(1, 3, 8, 8), MT_SPEC_F32);
    const struct mi_box outside[] = {{0, 5, 2, 4}, {7, 0, 2, 1}, {-1, 0, 2, 2}, {0, 0, -3, 2}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mi_erase_boxes(x, &outside[i], 1, fill), MI_E_INTERNAL);
        mi_error_clear();
    }
    const struct mi_box good = {0, 0, 2, 2};
    assert_int_equal(mi_erase_boxes(x, &good, 2, fill), MI_E_INTERNAL); /* two boxes for one image */
    mi_error_clear();
    mt_requires_grad_(x, true);
    assert_int_equal(mi_erase_boxes(x, &good, 1, fill), MI_E_INTERNAL);
    mi_error_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(erased_pixels_equal_the_fill_and_no_other_changes),
        TEST(erasing_refuses_boxes_outside_and_leaves),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
