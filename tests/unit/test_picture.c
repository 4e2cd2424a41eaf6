/* tests/unit/test_picture.c - pictures survive the way to the terminal and back; the probe understands answers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sixel/sixel.h>

#include "ui/picture.h"

/* A smooth colour card with an edge: what photos are made of. */
static struct mi_image card(int w, int h) {
    struct mi_image img;
    assert_int_equal(mi_image_new(&img, w, h), MI_OK);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint8_t *p = img.rgb + 3 * (y * w + x);
            double u = (x - w / 2.0) / w, v = (y - h / 2.0) / h, d = sqrt(u * u + v * v);
            p[0] = (uint8_t)(d < 0.35 ? 200 - 200 * d : 40 + 80 * x / w);
            p[1] = (uint8_t)(d < 0.35 ? 150 - 150 * d : 60 + 40 * y / h);
            p[2] = (uint8_t)(d < 0.35 ? 120 : 90 + 60 * y / h);
        }
    return img;
}

static double psnr(const uint8_t *a, const uint8_t *b, size_t n) {
    double sum = 0;
    for (size_t k = 0; k < n; k++) sum += ((double)a[k] - b[k]) * ((double)a[k] - b[k]);
    return sum == 0 ? 99 : 10 * log10(255.0 * 255.0 * (double)n / sum);
}

/* Decodes a sixel picture to RGB; the caller frees. */
static uint8_t *decode(const struct mi_picture *p, int *w, int *h) {
    unsigned char *pixels = NULL, *palette = NULL, *copy = malloc(p->n);
    int colours = 0;
    memcpy(copy, p->bytes, p->n);
    assert_true(SIXEL_SUCCEEDED(sixel_decode_raw(copy, (int)p->n, &pixels, w, h, &palette, &colours, NULL)));
    uint8_t *rgb = malloc(3 * (size_t)*w * (size_t)*h);
    for (int k = 0; k < *w * *h; k++) memcpy(rgb + 3 * k, palette + 3 * pixels[k], 3);
    free(copy);
    free(pixels);
    free(palette);
    return rgb;
}

static void sixel_round_trip_keeps_the_picture(void **s) {
    (void)s;
    struct mi_image img = card(192, 192);
    struct mi_picture_box box = {.cols = 20, .rows = 10, .cell_w = 10, .cell_h = 20};
    struct mi_picture pic;
    int w, h;
    assert_int_equal(mi_picture_encode(&img, MI_PIC_SIXEL, &box, &pic), MI_OK);
    assert_int_equal(pic.width, 192);
    uint8_t *back = decode(&pic, &w, &h);
    assert_int_equal(w, 192);
    assert_true(h >= 192);
    assert_true(psnr(img.rgb, back, 3 * 192 * 192) >= 25);
    free(back);
    mi_picture_free(&pic);
    mi_image_free(&img);
}

static void small_pictures_grow_by_whole_factors(void **s) {
    (void)s;
    struct mi_image img = card(64, 64);
    struct mi_picture_box box = {.cols = 22, .rows = 11, .cell_w = 10, .cell_h = 20}; /* 220x220 px */
    struct mi_picture pic;
    int w, h;
    assert_int_equal(mi_picture_encode(&img, MI_PIC_SIXEL, &box, &pic), MI_OK);
    assert_int_equal(pic.width, 192);
    assert_int_equal(pic.height, 192);
    assert_int_equal(pic.cols, 20);
    assert_int_equal(pic.rows, 10);
    uint8_t *back = decode(&pic, &w, &h);
    for (int y = 0; y < 64; y++) /* the nine pixels of one are equal */
        for (int x = 0; x < 64; x++)
            for (int k = 1; k < 9; k++)
                assert_memory_equal(back + 3 * ((3 * y + k / 3) * w + 3 * x + k % 3), back + 3 * (3 * y * w + 3 * x),
                                    3);
    free(back);
    mi_picture_free(&pic);
    mi_image_free(&img);
}

static void pictures_stay_in_their_box(void **s) {
    (void)s;
    static const int sides[] = {1, 5, 17, 64, 128, 224, 511};
    static const enum mi_picture_mode modes[] = {MI_PIC_SIXEL, MI_PIC_HALF24, MI_PIC_HALF256, MI_PIC_ASCII};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        for (int cols = 1; cols < 60; cols += 13)
            for (int rows = 1; rows < 30; rows += 7)
                for (size_t m = 0; m < 4; m++) {
                    struct mi_image img = card(sides[i], sides[(i + 2) % 7]);
                    struct mi_picture_box box = {.cols = cols, .rows = rows, .cell_w = 7, .cell_h = 13};
                    struct mi_picture pic;
                    assert_int_equal(mi_picture_encode(&img, modes[m], &box, &pic), MI_OK);
                    assert_in_range(pic.cols, 1, cols);
                    assert_in_range(pic.rows, 1, rows);
                    if (modes[m] == MI_PIC_SIXEL) assert_true((pic.height + 5) / 6 * 6 <= rows * 13);
                    mi_picture_free(&pic);
                    mi_image_free(&img);
                }
}

static void half_blocks_carry_the_colours(void **s) {
    (void)s;
    struct mi_image img;
    struct mi_picture_box box = {.cols = 2, .rows = 1, .cell_w = 10, .cell_h = 20};
    struct mi_picture pic;
    assert_int_equal(mi_image_new(&img, 2, 2), MI_OK);
    memcpy(img.rgb, "\xff\x00\x00\x00\xff\x00\x00\x00\xff\x80\x80\x80", 12);
    assert_int_equal(mi_picture_encode(&img, MI_PIC_HALF24, &box, &pic), MI_OK);
    assert_string_equal(pic.bytes,
                        "\033[38;2;255;0;0m\033[48;2;0;0;255m▀\033[38;2;0;255;0m\033[48;2;128;128;128m▀\033[0m\n");
    mi_picture_free(&pic);
    assert_int_equal(mi_picture_encode(&img, MI_PIC_HALF256, &box, &pic), MI_OK);
    assert_string_equal(pic.bytes, "\033[38;5;196m\033[48;5;21m▀\033[38;5;46m\033[48;5;244m▀\033[0m\n");
    mi_picture_free(&pic);
    mi_image_free(&img);
}

static void ascii_is_brightness_and_nothing_else(void **s) {
    (void)s;
    struct mi_image img;
    struct mi_picture_box box = {.cols = 2, .rows = 1, .cell_w = 10, .cell_h = 20};
    struct mi_picture pic;
    assert_int_equal(mi_image_new(&img, 2, 2), MI_OK);
    memcpy(img.rgb, "\xff\xff\xff\0\0\0\xff\xff\xff\0\0\0", 12);
    assert_int_equal(mi_picture_encode(&img, MI_PIC_ASCII, &box, &pic), MI_OK);
    assert_string_equal(pic.bytes, "@ \n");
    mi_picture_free(&pic);
    box.light = true;
    assert_int_equal(mi_picture_encode(&img, MI_PIC_ASCII, &box, &pic), MI_OK);
    assert_string_equal(pic.bytes, " @\n");
    mi_picture_free(&pic);
    mi_image_free(&img);
}

static bool feed(struct mi_probe *p, const char *seq) {
    return mi_probe_feed(p, seq, strlen(seq));
}

/* Replies as terminals sent them: xterm as vt340, mlterm, tmux. */
static void answers_of_real_terminals(void **s) {
    (void)s;
    struct mi_probe p = {0};
    assert_true(feed(&p, "\033P>|XTerm(379)\033\\"));
    assert_string_equal(p.name, "XTerm(379)");
    assert_true(feed(&p, "\033[?1;0;1024S"));
    assert_true(feed(&p, "\033[?2;0;480;312S"));
    assert_true(feed(&p, "\033[6;19;10t"));
    assert_true(feed(&p, "\033]11;rgb:ffff/ffff/ffff\033\\"));
    assert_true(feed(&p, "\033[?63;1;2;4;6;9;15;16;22;28c"));
    assert_true(p.sixel && p.answered && p.background_known && p.background_light && p.cell_known);
    assert_int_equal(p.registers, 1024);
    assert_int_equal(p.area_w, 480);
    assert_int_equal(p.cell_w, 10);
    assert_int_equal(p.cell_h, 19);
    struct mi_probe q = {0};
    assert_true(feed(&q, "\033]11;rgb:0000/1111/2222\a"));
    assert_true(feed(&q, "\033[?1;3;0S")); /* refused */
    assert_true(feed(&q, "\033[?1;2c"));   /* tmux 3.3a */
    assert_true(q.answered && !q.sixel && !q.background_light && q.registers == 0);
    assert_true(feed(&q, "\033[?64;1;2;6;9;15;24c")); /* 64 and 24 are not 4 */
    assert_false(q.sixel);
}

static void pictures_are_no_larger_than_the_terminal_takes(void **s) {
    (void)s;
    struct mi_probe xterm = {0}, other = {0};
    assert_true(feed(&xterm, "\033P>|XTerm(379)\033\\"));
    assert_true(feed(&other, "\033P>|tmux 3.5\033\\"));
    struct mi_picture_box wide = {.cols = 150, .rows = 40, .cell_w = 12, .cell_h = 24}, box = wide;
    mi_picture_limit(&other, &box);
    assert_memory_equal(&box, &wide, sizeof box);
    mi_picture_limit(&xterm, &box);
    assert_int_equal(box.cols, 83);
    assert_int_equal(box.rows, 40);
    box.rows = 50;
    mi_picture_limit(&xterm, &box);
    assert_int_equal(box.rows, 41);
}

static void rubbish_is_no_answer(void **s) {
    (void)s;
    struct mi_probe p = {0}, before = p;
    char longer[400];
    memset(longer, ';', sizeof longer);
    longer[0] = '\033', longer[1] = '[', longer[398] = 'c', longer[399] = 0;
    assert_false(feed(&p, "\033[A"));
    assert_false(feed(&p, "x"));
    assert_false(feed(&p, "\033]11;pink\a"));
    assert_false(feed(&p, longer));
    assert_memory_equal(&p, &before, sizeof p);
    feed(&p, "\033[6;-5;99999999999999999999t"); /* must not believe nonsense sizes */
    assert_false(p.cell_known);
}

static void the_best_mode_that_works_is_chosen(void **s) {
    (void)s;
    struct mi_probe p = {.utf8 = true};
    enum mi_picture_mode m;
    assert_int_equal(mi_picture_choose(&p, NULL, 256, &m), MI_OK);
    assert_int_equal(m, MI_PIC_HALF256);
    p.truecolor = true;
    assert_int_equal(mi_picture_choose(&p, "auto", 256, &m), MI_OK);
    assert_int_equal(m, MI_PIC_HALF24);
    p.sixel = true;
    assert_int_equal(mi_picture_choose(&p, "auto", 256, &m), MI_OK);
    assert_int_equal(m, MI_PIC_SIXEL);
    p = (struct mi_probe){0};
    assert_int_equal(mi_picture_choose(&p, "auto", 256, &m), MI_OK);
    assert_int_equal(m, MI_PIC_ASCII); /* no UTF-8: no half blocks */
    assert_int_equal(mi_picture_choose(&p, "kitten", 256, &m), MI_E_USAGE);
    mi_error_clear();
    for (int k = 0; k < MI_PIC_COUNT; k++) {
        assert_int_equal(mi_picture_choose(&p, mi_picture_mode_name((enum mi_picture_mode)k), 0, &m), MI_OK);
        assert_int_equal(m, k);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixel_round_trip_keeps_the_picture),
        cmocka_unit_test(small_pictures_grow_by_whole_factors),
        cmocka_unit_test(pictures_stay_in_their_box),
        cmocka_unit_test(half_blocks_carry_the_colours),
        cmocka_unit_test(ascii_is_brightness_and_nothing_else),
        cmocka_unit_test(answers_of_real_terminals),
        cmocka_unit_test(pictures_are_no_larger_than_the_terminal_takes),
        cmocka_unit_test(rubbish_is_no_answer),
        cmocka_unit_test(the_best_mode_that_works_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
