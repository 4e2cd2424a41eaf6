/* tests/engine/blackbox_test.h - a stage to run BREPMI and RLB-MI in: a prior whose colours vary with z, a target that
 * tells six colours apart and can be computed by hand. */
#ifndef MIDRE_TESTS_BLACKBOX_TEST_H
#define MIDRE_TESTS_BLACKBOX_TEST_H

#include "prior_test.h"

static float colours[K * 3]; /* of the toy target; see sectors() */

/* Six classes the prior can all make: pixel colours of random latents, centred and whitened in the plane across their
 * mean, are cut into six equal sectors.  Logits are linear in the pixel, as the toy target wants them. */
static void sectors(const char *root) {
    enum { N = 400 };
    static float p[N * 3];
    mt_archive *a = dcgan_prior(root);
    struct mi_dcgan_g g;
    assert_int_equal(mi_dcgan_load(&g, NULL, a, SIZE, MT_CPU, MT_F32), MI_OK);
    mt_scope *s = mt_scope_begin("sectors");
    mt_rng *r = mt_rng_new(MT_CPU, 3);
    bool grad = mt_grad_mode(false);
    mt_tensor *x = mi_dcgan_g(&g, mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, r), false);
    mt_grad_mode(grad);
    assert_int_equal(mt_read(mt_select(mt_select(x, 3, 1), 2, 0), p, sizeof p, MT_F32, MT_NCHW), MI_OK);
    mt_rng_free(r);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_dcgan_g_close(&g);
    mt_archive_close(a);
    double m[3] = {0}, e[2][3], c[3] = {0};
    for (int i = 0; i < N * 3; i++) m[i % 3] += (double)p[i] / N;
    double len = sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), flat = hypot(m[0], m[1]);
    e[0][0] = -m[1] / flat, e[0][1] = m[0] / flat, e[0][2] = 0;
    for (int j = 0; j < 3; j++) /* m x e0, of length 1 */
        e[1][j] = (m[(j + 1) % 3] * e[0][(j + 2) % 3] - m[(j + 2) % 3] * e[0][(j + 1) % 3]) / len;
    for (int i = 0; i < N; i++) {
        double u = 0, v = 0;
        for (int j = 0; j < 3; j++) u += (double)p[i * 3 + j] * e[0][j], v += (double)p[i * 3 + j] * e[1][j];
        c[0] += u * u / N, c[1] += u * v / N, c[2] += v * v / N;
    }
    double a0 = sqrt(c[0]), b0 = c[1] / a0, d0 = sqrt(c[2] - b0 * b0); /* Cholesky of the plane's covariance */
    for (int k = 0; k < K; k++) {
        double co = cos(2 * M_PI * k / K), si = sin(2 * M_PI * k / K), w1 = si / d0, w0 = (co - b0 * w1) / a0;
        for (int j = 0; j < 3; j++) colours[k * 3 + j] = (float)(4 * (w0 * e[0][j] + w1 * e[1][j]));
    }
}

static struct bench *bench_open(const char *attack, const char *settings) {
    struct bench *b = bench_new(attack);
    bench_set(b, settings);
    sectors(b->root);
    bench_target(b, K, colours);
    return b;
}

static enum mi_status invert(struct bench *b, const int *labels, int n, int restarts, float *x) {
    return bench_invert(b, dcgan_prior(b->root), NULL, labels, n, restarts, x);
}

/* The toy target's probability of class k for an image, computed apart from it. */
static double sure_of(const float *image, int k) {
    double sum = 0, own = 0;
    for (int j = 0; j < K; j++) {
        double logit = 0;
        for (int c = 0; c < 3; c++) logit += (double)colours[j * 3 + c] * (double)image[c * SIZE * SIZE + 1];
        sum += exp(logit);
        if (j == k) own = exp(logit);
    }
    return own / sum;
}

#endif
