/* tests/engine/test_gmi_nets.c - GMI's networks, critic loss and update rule; PyTorch parity is in e2e/parity_gmi.sh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "attacks/gmi.h"
#include "attacks/wgan.h"

enum { SIZE = 32, PIXELS = 3 * SIZE * SIZE };

static double farthest(const float *a, const float *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* ---- networks ------------------------------------------------------------------------------------------------- */

static void shapes_and_names_are_the_published_ones(void **state) {
    (void)state;
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    assert_int_equal(mi_dcgan_g_open(&g, 64, 64, 100, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_dcgan_d_open(&d, 64, 64, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_params_count(g.ps, false) / 10000, 514);
    assert_int_equal(mi_params_count(d.ps, false) / 10000, 431); /* 4.32 M rounded */
    static const char *const of_g[] = {"l1.0.weight", "l1.1.running_var", "l2_5.0.0.weight", "l2_5.2.1.bias",
                                       "l2_5.3.weight", "l2_5.3.bias"};
    static const char *const of_d[] = {"ls.0.weight", "ls.0.bias", "ls.2.0.weight", "ls.4.1.weight", "ls.5.weight"};
    for (size_t i = 0; i < sizeof of_g / sizeof *of_g; i++) assert_non_null(mi_params_find(g.ps, of_g[i]));
    for (size_t i = 0; i < sizeof of_d / sizeof *of_d; i++) assert_non_null(mi_params_find(d.ps, of_d[i]));
    mt_tensor *first = mi_params_find(g.ps, "l2_5.0.0.weight");
    assert_int_equal(mt_size(first, 0), 512);
    assert_int_equal(mt_size(first, 1), 256);
    assert_int_equal(mt_size(first, 2), 5);
    mi_dcgan_g_close(&g);
    mi_dcgan_d_close(&d);
}

static void every_size_goes_through(void **state) {
    (void)state;
    for (int size = 32; size <= 128; size *= 2) {
        struct mi_dcgan_g g;
        struct mi_dcgan_d d;
        assert_int_equal(mi_dcgan_g_open(&g, size, 4, 10, MT_CPU, MT_F32, 1), MI_OK);
        assert_int_equal(mi_dcgan_d_open(&d, size, 4, MT_CPU, MT_F32, 1), MI_OK);
        mt_scope *s = mt_scope_begin("test");
        mt_rng *r = mt_rng_new(MT_CPU, 1);
        mt_tensor *z = mt_randn(MT_SHAPE(3, 10), MT_SPEC_F32, r), *x = mi_dcgan_g(&g, z, true);
        double low, high;
        assert_int_equal(mt_size(x, 3), size);
        assert_int_equal(mt_item(mt_amin(mt_flatten(mt_detach(x), 0), 0, false), &low), MI_OK);
        assert_int_equal(mt_item(mt_amax(mt_flatten(mt_detach(x), 0), 0, false), &high), MI_OK);
        assert_true(low > 0 && high < 1 && high > low);
        mt_tensor *score = mi_dcgan_d(&d, x);
        assert_int_equal(mt_ndim(score), 1);
        assert_int_equal(mt_size(score, 0), 3);
        mt_rng_free(r);
        assert_int_equal(mt_scope_end(s), MI_OK);
        mi_dcgan_g_close(&g);
        mi_dcgan_d_close(&d);
    }
    struct mi_dcgan_g g;
    assert_int_equal(mi_dcgan_g_open(&g, 48, 4, 10, MT_CPU, MT_F32, 1), MI_E_INPUT);
    mi_error_clear();
}

static void freezing_does_not_change_images(void **state) {
    (void)state;
    struct mi_dcgan_g g;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, 10, MT_CPU, MT_F32, 3), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    mt_rng *r = mt_rng_new(MT_CPU, 1);
    mt_tensor *z = mt_randn(MT_SHAPE(2, 10), MT_SPEC_F32, r);
    static float a[2 * PIXELS], b[2 * PIXELS];
    assert_int_equal(mt_read(mi_dcgan_g(&g, z, false), a, sizeof a, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mi_dcgan_g_freeze(&g), MI_OK);
    mt_tensor *x = mi_dcgan_g(&g, z, false);
    assert_false(mt_requires_grad(x));
    assert_int_equal(mt_read(x, b, sizeof b, MT_F32, MT_NCHW), MI_OK);
    assert_true(farthest(a, b, 2 * PIXELS) < 1e-5);
    mt_rng_free(r);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_dcgan_g_close(&g);
}

/* ---- losses ----------------------------------------------------------------------------------------------------- */

struct probe { struct mi_dcgan_d d; mt_tensor *real, *fake, *mix; };

static void terms_at(struct probe *p, double *gap, double *penalty) {
    struct mi_wgan_terms t;
    double loss = NAN;
    assert_int_equal(mi_wgan_critic_loss(&p->d, p->real, p->fake, p->mix, 10, &t), MI_OK);
    assert_int_equal(mt_item(t.gap, gap), MI_OK);
    assert_int_equal(mt_item(t.penalty, penalty), MI_OK);
    assert_int_equal(mt_item(t.loss, &loss), MI_OK);
    assert_float_equal(loss, -*gap + 10 * *penalty, 1e-4 * fabs(loss));
}

static double along(mt_tensor *grad, mt_tensor *w) {
    double v = NAN;
    assert_int_equal(mt_item(mt_sum(mt_mul(grad, mt_detach(w)), NULL, 0, false), &v), MI_OK);
    return v;
}

/* Scaling the head by c scales the gap and every slope n by c: the penalty is mean (c n - 1)^2, of which two values give
 * all there is to know.  Its derivative at c = 1 must be the double backward's gradient along the head's weights, and
 * the same along the last norm's weight and bias, since the leaky ReLU between them is homogeneous. */
static void the_penalty_gradient_is_its_derivative(void **state) {
    (void)state;
    struct probe p;
    assert_int_equal(mi_dcgan_d_open(&p.d, SIZE, 4, MT_CPU, MT_F32, 9), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    mt_rng *r = mt_rng_new(MT_CPU, 3);
    p.real = mt_rand(MT_SHAPE(4, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    p.fake = mt_rand(MT_SHAPE(4, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    p.mix = mt_rand(MT_SHAPE(4, 1, 1, 1), 0, 1, MT_SPEC_F32, r);
    mt_tensor *w[3] = {p.d.head.w, p.d.norm[2].g, p.d.norm[2].b}, *grad[3];
    bool mode = mt_grad_mode(false);
    mt_fill_(p.d.norm[2].b, 0.3);
    mt_grad_mode(mode);
    struct mi_wgan_terms t;
    assert_int_equal(mi_wgan_critic_loss(&p.d, p.real, p.fake, p.mix, 10, &t), MI_OK);
    assert_int_equal(mt_grad_of(t.loss, w, 3, false, false, grad), MI_OK);
    double gap1, gap2, one, two;
    terms_at(&p, &gap1, &one);
    mode = mt_grad_mode(false);
    mt_affine_(p.d.head.w, 2, 0);
    mt_grad_mode(mode);
    terms_at(&p, &gap2, &two);
    assert_float_equal(gap2, 2 * gap1, 1e-5 + 1e-4 * fabs(gap1));
    mode = mt_grad_mode(false);
    mt_affine_(p.d.head.w, 0.5, 0);
    mt_grad_mode(mode);
    double want = -gap1 + 10 * (two - 1) / 2;
    assert_true(fabs(two - one) > 1e-4);
    assert_float_equal(along(grad[0], w[0]), want, 1e-3 * fabs(want));
    assert_float_equal(along(grad[1], w[1]) + along(grad[2], w[2]), want, 1e-3 * fabs(want));
    mt_rng_free(r);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_dcgan_d_close(&p.d);
}

static void the_update_looks_ahead(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("test");
    const float z0[2] = {0.5f, 0.9f}, v0[2] = {0.1f, 0.1f}, g0[2] = {2, -9};
    mt_tensor *z = mt_from(z0, MT_SHAPE(2), MT_SPEC_F32), *v = mt_from(v0, MT_SHAPE(2), MT_SPEC_F32);
    mi_gmi_update(z, v, mt_from(g0, MT_SHAPE(2), MT_SPEC_F32), 0.02, 0.9, true);
    float got[2];
    assert_int_equal(mt_read(v, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(got[0], 0.05, 1e-6); /* 0.09 - 0.04 */
    assert_float_equal(got[1], 0.27, 1e-6);
    assert_int_equal(mt_read(z, got, sizeof got, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(got[0], 0.5 - 0.09 + 1.9 * 0.05, 1e-6);
    assert_float_equal(got[1], 1, 1e-6); /* 0.9 - 0.09 + 0.513 clamped */
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_and_names_are_the_published_ones),
        cmocka_unit_test(every_size_goes_through),
        cmocka_unit_test(freezing_does_not_change_images),
        cmocka_unit_test(the_penalty_gradient_is_its_derivative),
        cmocka_unit_test(the_update_looks_ahead),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
