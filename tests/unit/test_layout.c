/* tests/unit/test_layout.c - the properties of every layout at every size, and the key table's promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <ncurses.h>

#include "ui/keys.h"
#include "ui/layout.h"

static bool meet(struct mi_rect a, struct mi_rect b) {
    return a.h > 0 && b.h > 0 && a.w > 0 && b.w > 0 && a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h &&
           b.y < a.y + a.h;
}

static void inside(struct mi_rect r, struct mi_rect body) {
    if (r.h == 0 || r.w == 0) return;
    assert_true(r.h > 0 && r.w > 0);
    assert_true(r.y >= body.y && r.x >= body.x && r.y + r.h <= body.y + body.h && r.x + r.w <= body.x + body.w);
}

static void check(enum mi_screen s, int rows, int cols, const struct mi_layout_want *w) {
    struct mi_layout l;
    struct mi_rect all[MI_BOX_COUNT + 2 * MI_PICS_MAX];
    int n = 0;
    mi_layout_make(s, rows, cols, w, &l);
    if (l.size == MI_SIZE_NONE) return;
    for (int k = 0; k < MI_BOX_COUNT; k++) all[n++] = l.box[k];
    for (int k = 0; k < l.n_pics; k++) {
        all[n++] = l.pic[k];
        all[n++] = l.caption[k];
        assert_true(l.pic[k].y + l.pic[k].h <= rows - 2); /* a sixel in the last row scrolls the terminal */
    }
    for (int k = 0; k < n; k++) {
        inside(all[k], l.body);
        for (int j = 0; j < k; j++) assert_false(meet(all[k], all[j]));
    }
    assert_false(meet(l.body, l.tabs) || meet(l.body, l.foot));
}

static void boxes_are_inside_and_apart_at_every_size(void **state) {
    (void)state;
    for (int rows = 1; rows < 110; rows += rows < 50 ? 1 : 7)
        for (int cols = 1; cols < 420; cols += cols < 170 ? 3 : 31)
            for (int s = 0; s < MI_SCR_COUNT; s++)
                for (int pics = 0; pics < 18; pics += 4) {
                    struct mi_layout_want w = {.pics = pics, .strips = pics, .focus_all = pics & 4, .pane = rows};
                    check((enum mi_screen)s, rows, cols, &w);
                }
}

static void a_picture_has_the_larger_part_of_the_screen(void **state) {
    (void)state;
    struct mi_picture_page p;
    for (int rows = 1; rows < 110; rows += rows < 50 ? 1 : 7)
        for (int cols = 1; cols < 420; cols += cols < 170 ? 3 : 31)
            for (int lines = 0; lines < 40; lines += 3) {
                int down, across;
                mi_layout_picture(rows, cols, lines, &p);
                if (mi_size_class(rows, cols) == MI_SIZE_NONE) {
                    assert_int_equal(p.frame.h + p.picture.h + p.keys.h, 0);
                    continue;
                }
                struct mi_rect in = {p.frame.y + 1, p.frame.x + 1, p.frame.h - 2, p.frame.w - 2};
                assert_true(p.frame.y == 1 && p.frame.y + p.frame.h == rows - 1); /* tabs and status row stay */
                inside(p.picture, in), inside(p.text, in), inside(p.keys, in);
                assert_false(meet(p.picture, p.text) || meet(p.picture, p.keys) || meet(p.text, p.keys));
                assert_true(p.keys.h == 1 && p.picture.h >= 3 && p.picture.h > p.text.h && p.text.h <= lines);
                assert_true(p.picture.y + p.picture.h <= rows - 2);
                mi_layout_photos(p.picture, 10, 20, 4 + lines % 2, 1 + 31 * (lines % 2), &down, &across);
                assert_true(down >= 1 && down <= 6 && across >= 3 && across <= 10);
            }
    int down, across;
    mi_layout_picture(24, 80, 3, &p);
    assert_int_equal(p.text.h, 3);
    mi_layout_photos(p.picture, 10, 20, 6, 1, &down, &across); /* 760 x 320 px */
    assert_true(down == 2 && across == 4);
    mi_layout_photos(p.picture, 0, 0, 6, 1, &down, &across); /* a terminal that did not say */
    assert_true(down == 2 && across == 4);
    mi_layout_photos(p.picture, 10, 20, 4, 32, &down, &across); /* 80 px would be 2.5 times: 2 times, so more of them */
    assert_true(down == 5 && across == 10);
    mi_layout_photos(p.picture, 10, 20, 4, 224, &down, &across); /* made smaller in any case */
    assert_true(down == 4 && across == 9);
    mi_layout_photos((struct mi_rect){0}, 10, 20, 4, 64, &down, &across);
    assert_true(down == 1 && across == 3);
}

static void sizes_have_their_classes(void **state) {
    (void)state;
    assert_int_equal(mi_size_class(48, 160), MI_SIZE_FULL);
    assert_int_equal(mi_size_class(24, 80), MI_SIZE_STD);
    assert_int_equal(mi_size_class(16, 60), MI_SIZE_SMALL);
    assert_int_equal(mi_size_class(10, 40), MI_SIZE_TINY);
    assert_int_equal(mi_size_class(9, 200), MI_SIZE_NONE);
    assert_int_equal(mi_size_class(200, 39), MI_SIZE_NONE);
}

static void the_standard_page_shows_what_it_promises(void **state) {
    (void)state;
    struct mi_layout l;
    struct mi_layout_want w = {.pics = 3, .strips = 2};
    mi_layout_make(MI_SCR_LIVE, 24, 80, &w, &l);
    assert_true(l.box[MI_LIVE_PLOT1].h >= 8 && l.box[MI_LIVE_PLOT2].h >= 8 && l.box[MI_LIVE_EVENTS].h &&
                l.box[MI_LIVE_LOAD].h);
    mi_layout_make(MI_SCR_GALLERY, 24, 80, &w, &l);
    assert_int_equal(l.n_pics, 3);
    assert_true(l.pic[0].h >= 10 && l.caption[0].h == 3 && l.box[MI_GAL_STRIP].h == 4);
    w = (struct mi_layout_want){.pics = 15, .strips = 14}; /* seven attacks on two targets, and the photo */
    mi_layout_make(MI_SCR_GALLERY, 24, 80, &w, &l);
    assert_int_equal(l.n_pics, 3);
    mi_layout_make(MI_SCR_GALLERY, 48, 160, &w, &l);
    assert_int_equal(l.n_pics, 15);
    assert_true(l.pic[14].y > l.caption[0].y && l.pic[14].h >= 8);
    w.pics = 3; /* few stay in a row, as large as they can be */
    mi_layout_make(MI_SCR_GALLERY, 48, 160, &w, &l);
    assert_true(l.n_pics == 3 && l.pic[2].y == l.pic[0].y && l.pic[0].h >= 20);
    w = (struct mi_layout_want){.pics = 3, .strips = 2};
    mi_layout_make(MI_SCR_SETUP, 24, 80, &w, &l);
    assert_true(l.box[MI_SETUP_FORM].h >= 14 && l.box[MI_SETUP_HELP].h && l.box[MI_SETUP_PUBLISHED].h);
    mi_layout_make(MI_SCR_SETUP, 48, 160, &w, &l);
    assert_true(l.box[MI_SETUP_ALL].h && l.box[MI_SETUP_FORM].h);
    mi_layout_make(MI_SCR_TABLE, 24, 80, &w, &l);
    assert_true(l.box[MI_TABLE_LIST].h >= 10 && l.box[MI_TABLE_PLOT].h >= 6);
    mi_layout_make(MI_SCR_LIVE, 16, 60, &w, &l);
    int boxes = 0;
    for (int k = MI_BOX_A; k < MI_BOX_COUNT; k++) boxes += l.box[k].h > 0;
    assert_int_equal(boxes, 1); /* one pane at a time */
}

static void no_key_means_two_things_on_a_screen(void **state) {
    (void)state;
    size_t n;
    const struct mi_key *t = mi_key_table(&n);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < a; b++)
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++)
                    if (t[a].screen == t[b].screen && t[a].code[i]) assert_true(t[a].code[i] != t[b].code[j]);
}

static void every_key_does_what_its_row_says(void **state) {
    (void)state;
    size_t n;
    const struct mi_key *t = mi_key_table(&n);
    for (size_t k = 0; k < n; k++)
        for (int j = 0; j < 3; j++)
            if (t[k].code[j] && t[k].screen >= 0)
                assert_int_equal(mi_key_action((enum mi_screen)t[k].screen, t[k].code[j]), t[k].act);
    for (int s = 0; s < MI_SCR_COUNT; s++) {
        assert_int_equal(mi_key_action((enum mi_screen)s, 'q'), MI_ACT_QUIT);
        assert_int_equal(mi_key_action((enum mi_screen)s, '?'), MI_ACT_HELP);
        assert_int_equal(mi_key_action((enum mi_screen)s, 27), MI_ACT_BACK); /* Esc never quits */
        assert_int_equal(mi_key_action((enum mi_screen)s, 0), MI_ACT_NONE);
    }
}

static void nothing_needs_a_function_key(void **state) {
    (void)state;
    size_t n;
    const struct mi_key *t = mi_key_table(&n);
    for (size_t k = 0; k < n; k++) {
        bool plain = t[k].act == MI_ACT_PREV; /* Shift-Tab: Tab goes round */
        for (size_t m = 0; m < n; m++)
            for (int j = 0; j < 3; j++)
                plain |= t[m].act == t[k].act && t[m].screen == t[k].screen && t[m].code[j] > 0 && t[m].code[j] < 256;
        assert_true(plain);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_are_inside_and_apart_at_every_size),
        cmocka_unit_test(a_picture_has_the_larger_part_of_the_screen),
        cmocka_unit_test(sizes_have_their_classes),
        cmocka_unit_test(the_standard_page_shows_what_it_promises),
        cmocka_unit_test(no_key_means_two_things_on_a_screen),
        cmocka_unit_test(every_key_does_what_its_row_says),
        cmocka_unit_test(nothing_needs_a_function_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
