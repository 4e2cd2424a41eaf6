/* tests/engine/blackbox_test.h - a stage to run BREPMI and RLB-MI in: a prior whose colours vary with z, a target that
 * tells six colours apart and can be computed by hand. */
#ifndef MIDRE_TESTS_BLACKBOX_TEST_H
#define MIDRE_TESTS_BLACKBOX_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attacks/dcgan64.h"
#include "midre/attack.h"
#include "toy_model.h"

enum { SIZE = 32, K = 6, Z = 8, PIXELS = 3 * SIZE * SIZE };

static float colours[K * 3]; /* of the toy target; see sectors() */
static const int all_labels[K] = {0, 1, 2, 3, 4, 5};

struct bench {
    struct mi_workspace ws;
    struct mi_product product;
    struct mi_ctx ctx;
    struct mi_values *values;
    const struct mi_attack_desc *attack;
    struct toy *toy;
    struct mi_oracle *oracle;
    char root[512];
    double tally;
};
static int benches;

/* A prior with synthetic weights: its colours vary with z. */
static char *prior_file(const char *root) {
    char *path = mi_path_join(root, "prior.safetensors");
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, Z, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_dcgan_d_open(&d, SIZE, 4, MT_CPU, MT_F32, 2), MI_OK);
    mt_scope *s = mt_scope_begin("prior");
    mi_params_golden(g.ps, 2);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_dcgan_save(&g, &d, a), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    mi_dcgan_g_close(&g);
    mi_dcgan_d_close(&d);
    return path;
}

/* Six classes the prior can all make: pixel colours of random latents, centred and whitened in the plane across their
 * mean, are cut into six equal sectors.  Logits are linear in the pixel, as the toy target wants them. */
static void sectors(const char *root) {
    enum { N = 400 };
    static float p[N * 3];
    char *path = prior_file(root);
    mt_archive *a = mt_archive_open(path);
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
    free(path);
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

/* `settings`: name=value pairs apart by spaces. */
static struct bench *bench_open(const char *attack, const char *settings) {
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TEST_TMP");
    snprintf(b->root, sizeof b->root, "%s/bb-%d-%d", tmp ? tmp : "/tmp", (int)getpid(), benches++);
    assert_int_equal(mi_workspace_open(&b->ws, b->root), MI_OK);
    struct mi_fingerprint fp;
    memset(fp.hex, 'a', 64);
    fp.hex[64] = '\0';
    assert_int_equal(mi_product_open(&b->ws, "attack", &fp, &b->product), MI_OK);
    assert_int_equal(mi_product_begin(&b->product), MI_OK);
    b->ctx = (struct mi_ctx){.product = &b->product,
                             .stage = "test",
                             .run_dir = b->root,
                             .device = MT_CPU,
                             .precision = MT_F32,
                             .seed = 5,
                             .checkpoint_every = 3600,
                             .report_every = 3600,
                             .tally = &b->tally};
    b->attack = mi_attack_find(attack);
    assert_non_null(b->attack);
    b->values = mi_values_new(attack, b->attack->info.settings);
    char copy[512], *at = copy, *word;
    snprintf(copy, sizeof copy, "%s", settings);
    while ((word = strsep(&at, " "))) {
        if (!*word) continue;
        char *eq = strchr(word, '=');
        *eq = '\0';
        assert_int_equal(mi_values_set(b->values, word, eq + 1), MI_OK);
    }
    sectors(b->root);
    b->toy = toy_new(K, SIZE, colours);
    b->toy->pixel = true;
    b->oracle = mi_oracle_new(&b->toy->model, b->attack->access, attack);
    mi_oracle_tally(b->oracle, &b->tally);
    return b;
}

static void bench_close(struct bench *b) {
    mi_oracle_free(b->oracle);
    toy_free(b->toy);
    mi_values_free(b->values);
    mi_product_close(&b->product);
    mi_workspace_close(&b->ws);
    mi_remove_tree(b->root);
    mi_error_clear();
    free(b);
}

/* x [n*restarts*PIXELS] receives the images; may be NULL. */
static enum mi_status invert(struct bench *b, const int *labels, int n, int restarts, float *x) {
    char *path = prior_file(b->root);
    mt_archive *prior = mt_archive_open(path);
    assert_non_null(prior);
    struct mi_attack_job job = {.ctx = &b->ctx,
                                .values = b->values,
                                .oracle = b->oracle,
                                .size = SIZE,
                                .prior = prior,
                                .labels = labels,
                                .n_labels = n,
                                .restarts = restarts};
    struct mi_recon out = {0};
    enum mi_status st = b->attack->invert(&job, &out);
    if (st == MI_OK) {
        assert_int_equal(mt_size(out.x, 0), n * restarts);
        int64_t bytes = (int64_t)n * restarts * PIXELS * (int64_t)sizeof(float);
        if (x) assert_int_equal(mt_read(out.x, x, bytes, MT_F32, MT_NCHW), MI_OK);
    }
    mt_free(out.x);
    mt_archive_close(prior);
    free(path);
    return st;
}

static double farthest(const float *a, const float *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
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
