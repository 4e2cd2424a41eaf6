/* tests/engine/test_plg_parts.c - what PLG-MI is made of: the margin by hand, sizes of the networks, spectral norms,
 * random views.  The same against PyTorch is in e2e/parity_plg.sh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "attacks/plgmi.h"

enum { SIZE = 32, PIXELS = 3 * SIZE * SIZE, K = 6 };

static double farthest(const float *a, const float *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* ---- formulas ------------------------------------------------------------------------------------------------------
 */

static void margin_by_hand(void **state) {
    (void)state;
    const float logits[3 * 4] = {5, 1, -2, 3, /* */ -1, 0.5f, 4, 2, /* */ 7, 7, -9, 6};
    const int64_t y[3] = {0, 1, 2};
    float got[3];
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *l = mt_from(logits, MT_SHAPE(3, 4), MT_SPEC_F32);
    mt_tensor *label = mt_from(y, MT_SHAPE(3), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    assert_int_equal(mt_read(mi_plg_margin(l, label), got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_scope_end(s), MI_OK);
    assert_float_equal(got[0], 3 - 5, 0);
    assert_float_equal(got[1], 4 - 0.5, 0);
    assert_float_equal(got[2], 7 + 9, 0);
}

/* Parameter counts of the published sizes: 18.0 and 11.2 million at 64 px, width 64, 1000 classes. */
static int64_t weights_of(const struct mi_params *ps) {
    int64_t n = 0;
    for (int i = 0; i < ps->n; i++)
        if (ps->item[i].trainable) n += mt_numel(ps->item[i].t);
    return n;
}

static void networks_have_the_published_size(void **state) {
    (void)state;
    struct mi_plg_g g;
    struct mi_plg_d d;
    assert_int_equal(mi_plg_g_open(&g, 64, 64, 128, 1000, MT_META, MT_F32, 1), MI_OK);
    assert_int_equal(mi_plg_d_open(&d, 64, 64, 1000, MT_META, MT_F32, 2), MI_OK);
    assert_true(llabs(weights_of(g.ps) - 18000000) < 50000);
    assert_true(llabs(weights_of(d.ps) - 11200000) < 50000);
    mi_plg_g_close(&g);
    mi_plg_d_close(&d);
    assert_int_equal(mi_plg_g_open(&g, 48, 64, 128, 10, MT_META, MT_F32, 1), MI_E_INPUT);
    mi_error_clear();
}

/* Every weight has a greatest singular value of 1 once the iterations have settled. */
static void spectral_norms_settle_at_one(void **state) {
    (void)state;
    struct mi_plg_d d;
    assert_int_equal(mi_plg_d_open(&d, SIZE, 4, K, MT_CPU, MT_F32, 2), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    bool grad = mt_grad_mode(false);
    mt_rng *r = mt_rng_new(MT_CPU, 1);
    mt_tensor *x = mt_rand(MT_SHAPE(2, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    mt_tensor *y = mt_zeros(MT_SHAPE(2), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    float before[2], scaled[2], settled[2];
    assert_int_equal(mt_read(mi_plg_d(&d, x, y, 300), before, sizeof before, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < d.blocks; i++) mt_affine_(d.down[i].c2.w, 7, 0); /* a norm does not see the scale */
    mt_affine_(d.head.w, 7, 0);
    assert_int_equal(mt_read(mi_plg_d(&d, x, y, 1), scaled, sizeof scaled, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_read(mi_plg_d(&d, x, y, 0), settled, sizeof settled, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < 2; i++) {
        assert_float_equal(before[i], scaled[i], 1e-4 * fabs((double)before[i]) + 1e-6);
        assert_float_equal(settled[i], scaled[i], 1e-4 * fabs((double)before[i]) + 1e-6);
    }
    mt_tensor *w = mt_flatten(d.down[1].c1.w, 1); /* [out,rest] */
    mt_tensor *gram = mt_matmul(w, mt_transpose(w, 0, 1)), *u = d.down[1].c1.u;
    double own = 0, applied = 0; /* u is an eigenvector of W W' and its eigenvalue the square of the norm */
    assert_int_equal(mt_item(mt_norm(mt_matmul(gram, mt_unsqueeze(u, 1)), 2, NULL, 0, false), &own), MI_OK);
    mt_tensor *v = mt_matmul(mt_transpose(w, 0, 1), mt_unsqueeze(u, 1));
    assert_int_equal(mt_item(mt_sum(mt_mul(v, v), NULL, 0, false), &applied), MI_OK);
    assert_float_equal(own, applied, 1e-4 * own);
    mt_rng_free(r);
    mt_grad_mode(grad);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_plg_d_close(&d);
}

/* ---- views ---------------------------------------------------------------------------------------------------------
 */

static void views_depend_on_their_image_alone(void **state) {
    (void)state;
    static float a[4 * PIXELS], b[4 * PIXELS], c[PIXELS];
    const uint64_t key[4] = {11, 22, 33, 44}, one[1] = {33};
    mt_scope *s = mt_scope_begin("test");
    mt_rng *r = mt_rng_new(MT_CPU, 3);
    mt_tensor *x = mt_rand(MT_SHAPE(4, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    int differ = 0;
    for (int step = 0; step < 8; step++) {
        assert_int_equal(mt_read(mi_plg_augment(x, 1, "t", key, step, 1), a, sizeof a, MT_F32, MT_NCHW), MI_OK);
        assert_int_equal(mt_read(mi_plg_augment(x, 1, "t", key, step, 1), b, sizeof b, MT_F32, MT_NCHW), MI_OK);
        assert_memory_equal(a, b, sizeof a);
        mt_tensor *third = mi_plg_augment(mt_narrow(x, 0, 2, 1), 1, "t", one, step, 1);
        assert_int_equal(mt_read(third, c, sizeof c, MT_F32, MT_NCHW), MI_OK);
        assert_true(farthest(c, a + 2 * PIXELS, PIXELS) < 1e-4);
        mt_tensor *later = mi_plg_augment(x, 1, "t", key, step + 100, 1);
        assert_int_equal(mt_read(later, b, sizeof b, MT_F32, MT_NCHW), MI_OK);
        differ += farthest(a, b, 4 * PIXELS) > 1e-2;
    }
    assert_int_equal(differ, 8);
    mt_rng_free(r);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* Many draws: ranges as published, and the shares of what happens to only some images. */
static void views_are_drawn_as_published(void **state) {
    (void)state;
    enum { DRAWS = 4000, S = 64 };
    int flips = 0, turns = 0, coloured = 0, whole = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct mi_plg_view v = mi_plg_view_draw(1, "t", (uint64_t)i, 0, S, 0.5);
        assert_in_range(v.side, 57, S);
        assert_true(v.left >= 0 && v.left + v.side <= S && v.top >= 0 && v.top + v.side <= S);
        assert_true(fabs(v.brightness - 1) <= 0.2 && fabs(v.contrast - 1) <= 0.2);
        assert_true(fabs(v.angle) <= 5 * M_PI / 180);
        flips += v.flip;
        turns += v.angle != 0;
        coloured += v.jitter;
        whole += v.side == S;
        assert_true(mi_plg_view_draw(1, "t", (uint64_t)i, 0, S, 1).jitter);
    }
    assert_in_range(flips, DRAWS / 2 - 160, DRAWS / 2 + 160); /* five standard deviations */
    assert_in_range(turns, DRAWS / 2 - 160, DRAWS / 2 + 160);
    assert_in_range(coloured, DRAWS / 2 - 160, DRAWS / 2 + 160);
    assert_int_equal(whole, 0);
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(margin_by_hand),
        cmocka_unit_test(networks_have_the_published_size),
        cmocka_unit_test(spectral_norms_settle_at_one),
        cmocka_unit_test(views_depend_on_their_image_alone),
        cmocka_unit_test(views_are_drawn_as_published),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
