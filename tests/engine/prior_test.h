/* tests/engine/prior_test.h - priors for tests of attacks, trained by the attack or made up, and what is inverted
 * with them. */
#ifndef MIDRE_TESTS_PRIOR_TEST_H
#define MIDRE_TESTS_PRIOR_TEST_H

#include "attack_test.h"
#include "attacks/dcgan64.h"

/* Flat colours with a little noise as public images: rgb [n*PIXELS]. */
static inline void flat_images(uint8_t *rgb, int n) {
    struct mi_rng r = mi_rng_make(3, "public", 0, 0);
    for (int i = 0; i < n; i++)
        for (int p = 0; p < PIXELS; p++)
            rgb[i * PIXELS + p] = (uint8_t)((i * 37 + p % 3 * 80) % 200 + (int)mi_rng_below(&r, 50));
}

/* Trains the prior, or the students, and wants that end; the path of the file, which the caller frees. */
static inline char *bench_train(struct bench *b, enum mi_status want, bool students) {
    struct mi_attack_job job = job_of(b);
    char *path = mi_path_join(b->root, "trained.safetensors");
    mt_archive *out = mt_archive_create(path);
    enum mi_status st = students ? b->attack->train_students(&job, out) : b->attack->train_prior(&job, out);
    assert_int_equal(st, want);
    if (st == MI_OK)
        assert_int_equal(mt_archive_close(out), MI_OK);
    else
        mt_archive_abort(out);
    return path;
}

static inline void assert_same_file(const char *a, const char *b, bool same) {
    char ha[65], hb[65];
    assert_int_equal(mi_file_sha256(a, ha), MI_OK);
    assert_int_equal(mi_file_sha256(b, hb), MI_OK);
    assert_int_equal(strcmp(ha, hb) == 0, same);
}

/* Weights under which a generator's colours vary with its input, which is all an inversion needs. */
static inline void colourful(struct mi_params *generator) {
    mt_scope *s = mt_scope_begin("prior");
    mi_params_golden(generator, 2);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* GMI's networks as a prior. */
static inline mt_archive *dcgan_prior(const char *root) {
    char *path = mi_path_join(root, "prior.safetensors");
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, Z, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_dcgan_d_open(&d, SIZE, 4, MT_CPU, MT_F32, 2), MI_OK);
    colourful(g.ps);
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_dcgan_save(&g, &d, a), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    mi_dcgan_g_close(&g);
    mi_dcgan_d_close(&d);
    a = mt_archive_open(path);
    free(path);
    assert_non_null(a);
    return a;
}

/* Inverts `labels` and closes the prior; x [n*restarts*PIXELS] receives the images (may be NULL). */
static inline enum mi_status bench_invert(struct bench *b, mt_archive *prior, mt_archive *students, const int *labels,
                                          int n, int restarts, float *x) {
    struct mi_attack_job job = job_of(b);
    job.prior = prior, job.students = students;
    job.labels = labels, job.n_labels = n, job.restarts = restarts;
    struct mi_recon out = {0};
    enum mi_status st = b->attack->invert(&job, &out);
    if (st == MI_OK) assert_int_equal(mt_size(out.x, 0), n * restarts);
    int64_t bytes = (int64_t)n * restarts * PIXELS * (int64_t)sizeof(float);
    if (st == MI_OK && x) assert_int_equal(mt_read(out.x, x, bytes, MT_F32, MT_NCHW), MI_OK);
    mt_free(out.x);
    mt_archive_close(prior);
    return st;
}

static inline double farthest(const float *a, const float *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

#endif
