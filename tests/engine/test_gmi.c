/* tests/engine/test_gmi.c - GMI's two phases as resumable loops: training the prior, inverting through the oracle. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attacks/dcgan64.h"
#include "midre/attack.h"
#include "toy_model.h"

enum { SIZE = 32, PUBLIC = 40, K = 6, PIXELS = 3 * SIZE * SIZE };

/* Six colours a flat-ish image can be. */
static const float weight[K * 3] = {9, -4, -4, -4, 9, -4, -4, -4, 9, 5, 5, -9, -9, 5, 5, 5, -9, 5};

/* ---- a stage to run in --------------------------------------------------------------------------------------- */

struct bench {
    struct mi_workspace ws;
    struct mi_product product;
    struct mi_ctx ctx;
    struct mi_values *values;
    struct toy *toy;
    struct mi_oracle *oracle;
    char root[512], *mark;
};
static uint8_t public_rgb[PUBLIC * PIXELS];
static int32_t public_labels[PUBLIC];
static struct mi_pack_split public_split = {public_rgb, public_labels, PUBLIC};
static int benches;

static struct bench *bench_open(const char *settings) {
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TEST_TMP");
    snprintf(b->root, sizeof b->root, "%s/gmi-%d-%d", tmp ? tmp : "/tmp", (int)getpid(), benches++);
    assert_int_equal(mi_workspace_open(&b->ws, b->root), MI_OK);
    struct mi_fingerprint fp;
    memset(fp.hex, 'a', 64);
    fp.hex[64] = '\0';
    assert_int_equal(mi_product_open(&b->ws, "attack", &fp, &b->product), MI_OK);
    assert_int_equal(mi_product_begin(&b->product), MI_OK);
    b->ctx = (struct mi_ctx){.product = &b->product, .stage = "test", .run_dir = b->root, .device = MT_CPU,
                             .precision = MT_F32, .seed = 5, .checkpoint_every = 3600, .report_every = 3600};
    b->values = mi_values_new("attack.gmi", mi_attack_find("gmi")->info.settings);
    char copy[512], *at = copy, *word;
    snprintf(copy, sizeof copy, "gan_width=4 z_dim=8 gan_batch=8 gan_steps=12 n_critic=3 %s", settings);
    while ((word = strsep(&at, " "))) {
        if (!*word) continue;
        char *eq = strchr(word, '=');
        *eq = '\0';
        assert_int_equal(mi_values_set(b->values, word, eq + 1), MI_OK);
    }
    b->toy = toy_new(K, SIZE, weight);
    b->toy->pixel = true;
    b->oracle = mi_oracle_new(&b->toy->model, MI_ACCESS_WHITE, "gmi");
    return b;
}

static void bench_close(struct bench *b) {
    mi_oracle_free(b->oracle);
    toy_free(b->toy);
    mi_values_free(b->values);
    mi_product_close(&b->product);
    mi_workspace_close(&b->ws);
    mi_remove_tree(b->root);
    free(b->mark);
    mi_error_clear();
    free(b);
}

/* A prior file with synthetic weights: the generator's colours vary with z, which is all inversion needs. */
static char *prior_file(const struct bench *b) {
    char *path = mi_path_join(b->root, "prior.safetensors");
    struct mi_dcgan_g g;
    struct mi_dcgan_d d;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, 8, MT_CPU, MT_F32, 1), MI_OK);
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

/* Inverts `labels`; x [n*restarts*PIXELS] receives the images (may be NULL). */
static enum mi_status invert(struct bench *b, const int *labels, int n, int restarts, float *x) {
    char *path = prior_file(b);
    mt_archive *prior = mt_archive_open(path);
    assert_non_null(prior);
    struct mi_attack_job job = {.ctx = &b->ctx, .values = b->values, .oracle = b->oracle, .size = SIZE, .prior = prior,
                                .labels = labels, .n_labels = n, .restarts = restarts};
    struct mi_recon out = {0};
    enum mi_status st = mi_attack_find("gmi")->invert(&job, &out);
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

/* ---- prior ------------------------------------------------------------------------------------------------------ */

static enum mi_status train(struct bench *b, char **path) {
    struct mi_attack_job job = {.ctx = &b->ctx, .values = b->values, .pub = &public_split, .size = SIZE};
    *path = mi_path_join(b->root, "trained.safetensors");
    mt_archive *out = mt_archive_create(*path);
    enum mi_status st = mi_attack_find("gmi")->train_prior(&job, out);
    if (st == MI_OK) assert_int_equal(mt_archive_close(out), MI_OK);
    else mt_archive_abort(out);
    return st;
}

static void assert_same_file(const char *a, const char *b) {
    char ha[65], hb[65];
    assert_int_equal(mi_file_sha256(a, ha), MI_OK);
    assert_int_equal(mi_file_sha256(b, hb), MI_OK);
    assert_string_equal(ha, hb);
}

static void training_is_reproducible_and_moves_both_networks(void **state) {
    (void)state;
    struct bench *a = bench_open(""), *b = bench_open(""), *c = bench_open("gan_steps=2");
    char *pa, *pb, *pc;
    assert_int_equal(train(a, &pa), MI_OK);
    assert_int_equal(train(b, &pb), MI_OK);
    assert_int_equal(train(c, &pc), MI_OK);
    assert_same_file(pa, pb);
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
    for (int i = 0; i < 20000; i++) {
        if (mi_exists(b->mark)) break;
        usleep(500);
    }
    mi_control_request(b->ctx.control, MI_REQ_STOP);
    return NULL;
}

static void training_resumes_exactly(void **state) {
    (void)state;
    struct bench *whole = bench_open("gan_steps=60"), *cut = bench_open("gan_steps=60");
    char *pa, *pb;
    assert_int_equal(train(whole, &pa), MI_OK);
    cut->ctx.control = mi_control_serve(cut->root);
    assert_non_null(cut->ctx.control);
    cut->ctx.checkpoint_every = 0;
    cut->mark = mi_product_work_file(&cut->product, "ckpt-gan-A.safetensors");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stopper, cut), 0);
    assert_int_equal(train(cut, &pb), MI_STOPPED);
    pthread_join(thread, NULL);
    free(pb);
    mi_control_close(cut->ctx.control);
    cut->ctx.control = NULL;
    assert_int_equal(train(cut, &pb), MI_OK);
    assert_same_file(pa, pb);
    free(pa);
    free(pb);
    bench_close(whole);
    bench_close(cut);
}

static void too_few_public_images_are_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("gan_batch=41");
    char *path;
    assert_int_equal(train(b, &path), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "40"));
    free(path);
    bench_close(b);
}

/* ---- inversion -------------------------------------------------------------------------------------------------- */

static const int all[K] = {0, 1, 2, 3, 4, 5};

/* The toy target's answer, computed apart from it. */
static double logit(const float *image, int k) {
    double sum = 0;
    for (int c = 0; c < 3; c++) sum += (double)weight[k * 3 + c] * image[c * SIZE * SIZE + 1];
    return sum;
}

/* Mean cross entropy of the toy target over two images of each identity after an inversion. */
static double identity_loss(const char *settings) {
    struct bench *b = bench_open(settings);
    static float x[K * 2 * PIXELS];
    assert_int_equal(invert(b, all, K, 2, x), MI_OK);
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
    assert_int_equal(invert(a, all, K, 3, xa), MI_OK);
    assert_int_equal(invert(b, all, K, 3, xb), MI_OK);
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
    assert_int_equal(invert(mean, all, K, 1, a), MI_OK);
    assert_int_equal(invert(six, all, K, 1, b), MI_OK);
    assert_int_equal(invert(sixty, all, K, 1, c), MI_OK);
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
    assert_int_equal(invert(whole, all, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 16;
    assert_int_equal(invert(cut, all, K, 2, NULL), MI_E_DEVICE);
    assert_non_null(strstr(mi_error_text(), "fails as asked"));
    mi_error_clear();
    int done = cut->toy->forwards;
    cut->toy->fail_at = 0;
    assert_int_equal(invert(cut, all, K, 2, b), MI_OK);
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
    char *path = prior_file(b);
    mt_archive *prior = mt_archive_open(path);
    struct mi_attack_job job = {.ctx = &b->ctx, .values = b->values, .oracle = b->oracle, .size = 64, .prior = prior,
                                .labels = all, .n_labels = K, .restarts = 1};
    struct mi_recon out = {0};
    assert_int_equal(mi_attack_find("gmi")->invert(&job, &out), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "32 px"));
    mt_archive_close(prior);
    free(path);
    bench_close(b);
}

static int group_setup(void **state) {
    (void)state;
    struct mi_rng r = mi_rng_make(3, "public", 0, 0);
    for (int i = 0; i < PUBLIC; i++) /* flat colours with a little noise */
        for (int p = 0; p < PIXELS; p++)
            public_rgb[i * PIXELS + p] = (uint8_t)((i * 37 + p % 3 * 80) % 200 + (int)mi_rng_below(&r, 50));
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
