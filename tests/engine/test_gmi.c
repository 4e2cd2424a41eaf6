/* tests/engine/test_gmi.c - GMI's two phases as resumable loops: training the prior, inverting through the oracle. */
#include <pthread.h>

#include "prior_test.h"

enum { PUBLIC = 40 };

static uint8_t public_rgb[PUBLIC * PIXELS];
static int32_t public_labels[PUBLIC];
static struct mi_pack_split public_split = {public_rgb, public_labels, PUBLIC};

static struct bench *bench_open(const char *settings) {
    struct bench *b = bench_new("gmi");
    b->pub = &public_split;
    bench_set(b, "gan_width=4 z_dim=8 gan_batch=8 gan_steps=12 n_critic=3");
    bench_set(b, settings);
    bench_target(b, K, six_colours);
    return b;
}

static enum mi_status invert(struct bench *b, const int *labels, int n, int restarts, float *x) {
    return bench_invert(b, dcgan_prior(b->root), NULL, labels, n, restarts, x);
}

/* ---- prior ------------------------------------------------------------------------------------------------------ */

static void training_is_reproducible_and_moves_both_networks(void **state) {
    (void)state;
    struct bench *a = bench_open(""), *b = bench_open(""), *c = bench_open("gan_steps=2");
    char *pa = bench_train(a, MI_OK, false), *pb = bench_train(b, MI_OK, false), *pc = bench_train(c, MI_OK, false);
    assert_same_file(pa, pb, true);
    mt_archive *x = mt_archive_open(pa), *y = mt_archive_open(pc);
    mt_scope *s = mt_scope_begin("test");
    static const char *const moved[] = {"G.l2_5.2.weight", "G.l1.1.running_mean", "D.ls.0.weight", "D.ls.4.weight"};
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(mt_hash(mt_archive_get(x, moved[i], MT_CPU)), mt_hash(mt_archive_get(y, moved[i], MT_CPU)));
    double count = 0; /* 12 critic steps and 4 generator steps, all in training mode */
    assert_int_equal(mt_item(mt_archive_get(x, "G.l1.1.num_batches_tracked", MT_CPU), &count), MI_OK);
    assert_int_equal((int)count, 16);
    assert_string_equal(mt_archive_meta(x, "size"), "32");
    assert_string_equal(mt_archive_meta(x, "z_dim"), "8");
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_archive_close(x);
    mt_archive_close(y);
    free(pa);
    free(pb);
    free(pc);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

/* Asks for a stop as soon as a checkpoint is on disk. */
static void *stopper(void *user) {
    struct bench *b = user;
    char *mark = mi_product_work_file(&b->product, "ckpt-gan-A.safetensors");
    for (int i = 0; i < 20000 && !mi_exists(mark); i++) usleep(500);
    free(mark);
    mi_control_request(b->ctx.control, MI_REQ_STOP);
    return NULL;
}

static void training_resumes_exactly(void **state) {
    (void)state;
    struct bench *whole = bench_open("gan_steps=60"), *cut = bench_open("gan_steps=60");
    char *pa = bench_train(whole, MI_OK, false), *pb;
    cut->ctx.control = mi_control_serve(cut->root);
    assert_non_null(cut->ctx.control);
    cut->ctx.checkpoint_every = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stopper, cut), 0);
    free(bench_train(cut, MI_STOPPED, false));
    pthread_join(thread, NULL);
    mi_control_close(cut->ctx.control);
    cut->ctx.control = NULL;
    pb = bench_train(cut, MI_OK, false);
    assert_same_file(pa, pb, true);
    free(pa);
    free(pb);
    bench_close(whole);
    bench_close(cut);
}

static void too_few_public_images_are_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("gan_batch=41");
    free(bench_train(b, MI_E_INPUT, false));
    assert_non_null(strstr(mi_error_text(), "40"));
    bench_close(b);
}

/* ---- inversion -------------------------------------------------------------------------------------------------- */

/* The toy target's answer, computed apart from it. */
static double logit(const float *image, int k) {
    double sum = 0;
    for (int c = 0; c < 3; c++) sum += (double)six_colours[k * 3 + c] * image[c * SIZE * SIZE + 1];
    return sum;
}

/* Mean cross entropy of the toy target over two images of each identity after an inversion. */
static double identity_loss(const char *settings) {
    struct bench *b = bench_open(settings);
    static float x[K * 2 * PIXELS];
    assert_int_equal(invert(b, all_labels, K, 2, x), MI_OK);
    double loss = 0;
    for (int i = 0; i < K * 2; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++) sum += exp(logit(x + i * PIXELS, k));
        loss += (log(sum) - logit(x + i * PIXELS, i / 2)) / (K * 2);
    }
    bench_close(b);
    return loss;
}

static void inversion_descends(void **state) {
    (void)state;
    double first = identity_loss("iterations=1 lr=0 init=clamped"), some = identity_loss("iterations=10 init=clamped"),
           more = identity_loss("iterations=100 init=clamped");
    assert_true(some < first - 0.05);
    assert_true(more < some - 0.05);
}

static void chunks_and_company_do_not_matter(void **state) {
    (void)state;
    struct bench *a = bench_open("iterations=8 stack=1"), *b = bench_open("iterations=8 stack=0"),
                 *c = bench_open("iterations=8");
    static float xa[K * 3 * PIXELS], xb[K * 3 * PIXELS], xc[3 * PIXELS];
    const int alone[1] = {4};
    assert_int_equal(invert(a, all_labels, K, 3, xa), MI_OK);
    assert_int_equal(invert(b, all_labels, K, 3, xb), MI_OK);
    assert_int_equal(invert(c, alone, 1, 3, xc), MI_OK);
    assert_true(farthest(xa, xb, K * 3 * PIXELS) < 1e-4);
    assert_true(farthest(xc, xb + 4 * 3 * PIXELS, 3 * PIXELS) < 1e-4);
    assert_true(farthest(xb, xb + PIXELS, PIXELS) > 1e-3); /* restarts differ */
    assert_int_equal(mi_oracle_queries(b->oracle), K * 3 * 8);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

static void batch_mean_divides_by_the_real_batch(void **state) {
    (void)state;
    struct bench *mean = bench_open("iterations=5 lr=0.2 coupling=batch_mean"),
                 *six = bench_open("iterations=5 lr=0.2 batch=6"), *sixty = bench_open("iterations=5 lr=0.2");
    static float a[K * PIXELS], b[K * PIXELS], c[K * PIXELS];
    assert_int_equal(invert(mean, all_labels, K, 1, a), MI_OK);
    assert_int_equal(invert(six, all_labels, K, 1, b), MI_OK);
    assert_int_equal(invert(sixty, all_labels, K, 1, c), MI_OK);
    assert_true(farthest(a, b, K * PIXELS) < 1e-4); /* a mean over 6 present = a sum over 6 */
    assert_true(farthest(a, c, K * PIXELS) > 1e-3); /* ten times the step of the published 60 */
    bench_close(mean);
    bench_close(six);
    bench_close(sixty);
}

static void selection_keeps_the_best_target_logit(void **state) {
    (void)state;
    struct bench *every = bench_open("iterations=3"), *best = bench_open("iterations=3 select=target_logit tries=4");
    static float x[2 * 4 * PIXELS], y[2 * PIXELS];
    const int two[2] = {1, 3};
    assert_int_equal(invert(every, two, 2, 4, x), MI_OK);
    assert_int_equal(invert(best, two, 2, 1, y), MI_OK);
    for (int i = 0; i < 2; i++) {
        double top = -1e9;
        int who = 0;
        for (int r = 0; r < 4; r++) {
            double own = logit(x + (i * 4 + r) * PIXELS, two[i]);
            if (own > top) top = own, who = r;
        }
        assert_true(farthest(y + i * PIXELS, x + (i * 4 + who) * PIXELS, PIXELS) < 1e-4);
    }
    bench_close(every);
    bench_close(best);
}

/* The target fails in the middle of the third chunk; the second attempt continues from the last checkpoint. */
static void inversion_resumes_exactly(void **state) {
    (void)state;
    struct bench *whole = bench_open("iterations=6 stack=2"), *cut = bench_open("iterations=6 stack=2");
    static float a[K * 2 * PIXELS], b[K * 2 * PIXELS];
    assert_int_equal(invert(whole, all_labels, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 16;
    assert_int_equal(invert(cut, all_labels, K, 2, NULL), MI_E_DEVICE);
    assert_non_null(strstr(mi_error_text(), "fails as asked"));
    mi_error_clear();
    int done = cut->toy->forwards;
    cut->toy->fail_at = 0;
    assert_int_equal(invert(cut, all_labels, K, 2, b), MI_OK);
    assert_int_equal(cut->toy->forwards - done, 36 - 15); /* steps 0..14 were not done again */
    assert_memory_equal(a, b, sizeof a);
    bench_close(whole);
    bench_close(cut);
}

static void unknown_identities_and_foreign_priors_are_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("iterations=1");
    const int wrong[1] = {K};
    assert_int_equal(invert(b, wrong, 1, 1, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "0..5"));
    mi_error_clear();
    struct mi_attack_job job = job_of(b);
    job.size = 64, job.prior = dcgan_prior(b->root);
    job.labels = all_labels, job.n_labels = K, job.restarts = 1;
    struct mi_recon out = {0};
    assert_int_equal(b->attack->invert(&job, &out), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "32 px"));
    mt_archive_close(job.prior);
    bench_close(b);
}

static int group_setup(void **state) {
    (void)state;
    flat_images(public_rgb, PUBLIC);
    return 0;
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_is_reproducible_and_moves_both_networks),
        cmocka_unit_test(training_resumes_exactly),
        cmocka_unit_test(too_few_public_images_are_refused),
        cmocka_unit_test(inversion_descends),
        cmocka_unit_test(chunks_and_company_do_not_matter),
        cmocka_unit_test(batch_mean_divides_by_the_real_batch),
        cmocka_unit_test(selection_keeps_the_best_target_logit),
        cmocka_unit_test(inversion_resumes_exactly),
        cmocka_unit_test(unknown_identities_and_foreign_priors_are_refused),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
