/* tests/unit/test_telea.c - inpainting beside stored results of OpenCV (synthetic faces), and its limits.
 *
 * The stored pictures were made by scripts/parity/photo_reference.py golden; the live comparison is
 * tests/e2e/parity_photo.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "midre/image.h"
#include "midre/photo.h"

static void compare(char name, int top, int left, int height, int width) {
    char path[64];
    struct mi_image in, want;
    snprintf(path, sizeof path, "tests/golden/telea-%c-in.png", name);
    assert_int_equal(mi_image_read(path, &in), MI_OK);
    snprintf(path, sizeof path, "tests/golden/telea-%c-out.png", name);
    assert_int_equal(mi_image_read(path, &want), MI_OK);
    uint8_t *mask = test_calloc((size_t)in.width, (size_t)in.height);
    for (int y = top; y < top + height; y++) memset(mask + y * in.width + left, 255, (size_t)width);
    assert_int_equal(mi_inpaint_telea(in.rgb, mask, in.width, in.height, 3), MI_OK);
    int near = 0, hole = 0;
    for (int i = 0; i < in.width * in.height; i++) {
        int worst = 0;
        for (int c = 0; c < 3; c++) {
            int d = abs(in.rgb[i * 3 + c] - want.rgb[i * 3 + c]);
            worst = d > worst ? d : worst;
        }
        if (!mask[i]) assert_int_equal(worst, 0);
        hole += mask[i] != 0;
        near += mask[i] && worst <= 1;
    }
    assert_int_equal(hole, height * width);
    assert_true(near >= 0.99 * hole);
    test_free(mask);
    mi_image_free(&in);
    mi_image_free(&want);
}

static void equals_opencv_within_a_grey_level(void **state) {
    (void)state;
    compare('a', 20, 14, 36, 36);
    compare('b', 0, 30, 26, 26); /* at the upper rim */
    compare('c', 9, 4, 51, 51);
}

/* Half a level is added before rounding and a unit step along the gradient, so a constant picture wavers a little; the
 * 200 that was in the hole must be gone. */
static void constant_pictures_stay_nearly_constant(void **state) {
    (void)state;
    enum { W = 20, H = 12 };
    uint8_t rgb[W * H * 3], mask[W * H] = {0};
    memset(rgb, 77, sizeof rgb);
    for (int y = 3; y < 9; y++) {
        memset(mask + y * W + 5, 1, 10);
        memset(rgb + (y * W + 5) * 3, 200, 30);
    }
    assert_int_equal(mi_inpaint_telea(rgb, mask, W, H, 3), MI_OK);
    for (int i = 0; i < W * H * 3; i++) assert_in_range(rgb[i], 74, 81);
}

static void limits_are_said(void **state) {
    (void)state;
    uint8_t rgb[16 * 16 * 3] = {0}, mask[16 * 16] = {0}, before[sizeof rgb];
    memcpy(before, rgb, sizeof rgb);
    assert_int_equal(mi_inpaint_telea(rgb, mask, 16, 16, 3), MI_OK); /* nothing to do */
    assert_memory_equal(rgb, before, sizeof rgb);
    assert_int_equal(mi_inpaint_telea(rgb, mask, 2, 16, 3), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "2 x 16"));
    mi_error_clear();
    assert_int_equal(mi_inpaint_telea(rgb, mask, 16, 16, 0), MI_E_INPUT);
    mi_error_clear();
    memset(mask, 1, sizeof mask);
    assert_int_equal(mi_inpaint_telea(rgb, mask, 16, 16, 3), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "no pixel"));
    mi_error_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_opencv_within_a_grey_level),
        cmocka_unit_test(constant_pictures_stay_nearly_constant),
        cmocka_unit_test(limits_are_said),
    };
    return cmocka_run_group_tests_name("telea", tests, NULL, NULL);
}
