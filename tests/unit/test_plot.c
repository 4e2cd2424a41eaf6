/* tests/unit/test_plot.c - curves: dots where the data says, no extremes lost, axes that rarely move. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ui/canvas.h"
#include "ui/plot.h"

static struct mi_plot_line line_of(const struct mi_point *p, size_t n) {
    return (struct mi_plot_line){.points = p, .n = n, .ink = 1};
}

static void diagonal_touches_both_corners(void **s) {
    (void)s;
    const struct mi_point p[] = {{0, 0, 0}, {10, 10, 1}};
    struct mi_plot_line l = line_of(p, 2);
    for (int g = 0; g < MI_GLYPH_COUNT; g++) {
        struct mi_plot plot;
        assert_int_equal(mi_plot_new(&plot, 20, 10, (enum mi_glyphs)g), MI_OK);
        mi_plot_range(&plot, &l, 1, 10, false);
        assert_int_equal(mi_plot_line(&plot, &l), 0);
        mi_plot_finish(&plot);
        assert_int_not_equal(plot.glyph[9 * 20 + 0], ' ');
        assert_int_not_equal(plot.glyph[0 * 20 + 19], ' ');
        assert_int_equal(plot.glyph[0], ' ');
        assert_int_equal(plot.glyph[9 * 20 + 19], ' ');
        int marked = 0;
        for (int k = 0; k < 200; k++) marked += plot.glyph[k] != ' ';
        assert_in_range(marked, 20, 40);
        mi_plot_free(&plot);
    }
}

static void a_braille_dot_is_the_right_dot(void **s) {
    (void)s;
    struct mi_plot plot;
    const struct mi_point p[] = {{0, 1, 0}}; /* top left */
    struct mi_plot_line l = line_of(p, 1);
    assert_int_equal(mi_plot_new(&plot, 4, 4, MI_GLYPH_BRAILLE), MI_OK);
    plot.x0 = 0, plot.x1 = 1, plot.y0 = 0, plot.y1 = 1;
    mi_plot_line(&plot, &l);
    mi_plot_finish(&plot);
    assert_int_equal(plot.glyph[0], 0x2801);
    mi_plot_free(&plot);
}

static void one_spike_among_thousands_survives(void **s) {
    (void)s;
    static struct mi_point p[10000];
    struct mi_plot plot;
    for (int k = 0; k < 10000; k++) p[k] = (struct mi_point){k, k == 5000 ? 9 : 1, k};
    struct mi_plot_line l = line_of(p, 10000);
    assert_int_equal(mi_plot_new(&plot, 40, 10, MI_GLYPH_BRAILLE), MI_OK);
    mi_plot_range(&plot, &l, 1, 0, false);
    assert_true(plot.y1 == 10);
    mi_plot_line(&plot, &l);
    mi_plot_finish(&plot);
    int top = 0;
    for (int k = 0; k < 40 * 2; k++) top += plot.glyph[k] != ' ';
    assert_in_range(top, 1, 4);
    mi_plot_free(&plot);
}

static void smoothing_keeps_a_constant_constant(void **s) {
    (void)s;
    struct mi_point p[50];
    struct mi_plot raw, smooth;
    for (int k = 0; k < 50; k++) p[k] = (struct mi_point){k, 7, k};
    struct mi_plot_line l = line_of(p, 50);
    assert_int_equal(mi_plot_new(&raw, 30, 8, MI_GLYPH_BRAILLE), MI_OK);
    assert_int_equal(mi_plot_new(&smooth, 30, 8, MI_GLYPH_BRAILLE), MI_OK);
    mi_plot_range(&raw, &l, 1, 50, false);
    mi_plot_range(&smooth, &l, 1, 50, false);
    mi_plot_line(&raw, &l);
    l.ema = 0.9;
    mi_plot_line(&smooth, &l);
    assert_memory_equal(raw.mask, smooth.mask, 30 * 8);
    mi_plot_free(&raw);
    mi_plot_free(&smooth);
}

static void points_without_a_value_break_the_line(void **s) {
    (void)s;
    const struct mi_point p[] = {{0, 0, 0}, {1, 0, 1}, {2, NAN, 2}, {8, 0, 3}, {9, INFINITY, 4}, {10, 0, 5}};
    struct mi_plot plot;
    struct mi_plot_line l = line_of(p, 6);
    assert_int_equal(mi_plot_new(&plot, 22, 4, MI_GLYPH_BRAILLE), MI_OK);
    mi_plot_range(&plot, &l, 1, 10, false);
    assert_int_equal(mi_plot_line(&plot, &l), 2);
    mi_plot_finish(&plot);
    assert_int_equal(plot.glyph[3 * 22 + 10], ' '); /* x = 5: the gap */
    mi_plot_free(&plot);
}

static void log_axes_leave_out_what_has_no_logarithm(void **s) {
    (void)s;
    const struct mi_point p[] = {{0, 100, 0}, {1, 0, 1}, {2, -3, 2}, {3, 0.01, 3}};
    struct mi_plot plot;
    struct mi_plot_line l = line_of(p, 4);
    assert_int_equal(mi_plot_new(&plot, 10, 4, MI_GLYPH_ASCII), MI_OK);
    mi_plot_range(&plot, &l, 1, 0, true);
    assert_true(fabs(plot.y0 - 0.01) < 1e-12 && fabs(plot.y1 - 100) < 1e-9);
    assert_int_equal(mi_plot_line(&plot, &l), 2);
    mi_plot_free(&plot);
}

static void axes_stay_while_points_arrive(void **s) {
    (void)s;
    struct mi_point p[30];
    struct mi_plot plot;
    double y1 = 0;
    assert_int_equal(mi_plot_new(&plot, 30, 8, MI_GLYPH_BRAILLE), MI_OK);
    for (int k = 0; k < 30; k++) p[k] = (struct mi_point){k + 1, 3.2 * exp(-k / 9.0), k};
    for (size_t n = 1; n <= 30; n++) {
        struct mi_plot_line l = line_of(p, n);
        mi_plot_range(&plot, &l, 1, 30, false);
        if (n == 1) y1 = plot.y1;
        assert_true(plot.x0 == 0 && plot.x1 == 30 && plot.y0 == 0 && plot.y1 == y1);
    }
    mi_plot_free(&plot);
}

static void nice_numbers(void **s) {
    (void)s;
    assert_true(mi_nice_ceil(0.93) == 1 && mi_nice_ceil(6.41) == 8 && mi_nice_ceil(101) == 150);
    assert_true(mi_nice_ceil(100) == 100 && mi_nice_ceil(0) == 0 && mi_nice_ceil(NAN) == 0);
}

static void bars_fill_in_eighths(void **s) {
    (void)s;
    char b[64];
    mi_bar_text(b, sizeof b, 4, 0.5, false);
    assert_string_equal(b, "██  ");
    mi_bar_text(b, sizeof b, 4, 1.0 / 32, false);
    assert_string_equal(b, "▏   ");
    mi_bar_text(b, sizeof b, 4, 0.5, true);
    assert_string_equal(b, "##..");
    mi_bar_text(b, sizeof b, 4, NAN, true);
    assert_string_equal(b, "....");
    mi_bar_text(b, 5, 4, 1, false); /* room for one glyph only */
    assert_string_equal(b, "█");
}

static void text_is_clean_and_fits(void **s) {
    (void)s;
    char out[64];
    const char *bad = "a\x1b[31m\xff\xc3";
    int n = 0;
    for (uint32_t c; (c = mi_utf8_next(&bad)); n++) assert_true(c >= 32 && c != 127);
    assert_int_equal(n, 8);
    mi_text_clip(out, sizeof out, "an identity with a long name", 10);
    assert_string_equal(out, "an ident..");
    mi_text_clip(out, sizeof out, "δ▏█", 10);
    assert_string_equal(out, "δ▏█");
    mi_text_clip(out, 5, "ääää", 10); /* never half a character */
    assert_string_equal(out, "ä");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diagonal_touches_both_corners),
        cmocka_unit_test(a_braille_dot_is_the_right_dot),
        cmocka_unit_test(one_spike_among_thousands_survives),
        cmocka_unit_test(smoothing_keeps_a_constant_constant),
        cmocka_unit_test(points_without_a_value_break_the_line),
        cmocka_unit_test(log_axes_leave_out_what_has_no_logarithm),
        cmocka_unit_test(axes_stay_while_points_arrive),
        cmocka_unit_test(nice_numbers),
        cmocka_unit_test(bars_fill_in_eighths),
        cmocka_unit_test(text_is_clean_and_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
