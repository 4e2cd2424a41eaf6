/* tests/engine/test_plgmi.c - PLG-MI as resumable stages on a toy target: pseudo labels against a plain search, GAN
 * training, inversion, independence of chunks.  Its networks, losses and views are in test_plg_parts.c, everything
 * against PyTorch in e2e/parity_plg.sh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attacks/plgmi.h"
#include "toy_model.h"

enum { SIZE = 32, PUBLIC = 150, K = 6, PIXELS = 3 * SIZE * SIZE, Z = 8, TOP = 20 };

/* Six colours an image can have. */
static const float weight[K * 3] = {9, -4, -4, -4, 9, -4, -4, -4, 9, 5, 5, -9, -9, 5, 5, 5, -9, 5};
static const int all[K] = {0, 1, 2, 3, 4, 5};
static uint8_t public_rgb[PUBLIC * PIXELS];
static int32_t public_labels[PUBLIC];
static struct mi_pack_split public_split = {public_rgb, public_labels, PUBLIC};
static int benches;

struct bench {
    struct mi_workspace ws;
    struct mi_product product;
    struct mi_ctx ctx;
    const struct mi_attack_desc *desc;
    struct mi_values *values;
    struct toy *toy;
    struct mi_oracle *oracle;
    double queries;
    char root[512];
};

static struct bench *bench_open(const char *settings) {
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TEST_TMP");
    snprintf(b->root, sizeof b->root, "%s/plgmi-%d-%d", tmp ? tmp : "/tmp", (int)getpid(), benches++);
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
                             .report_every = 3600};
    b->desc = mi_attack_find("plgmi");
    assert_non_null(b->desc);
    b->values = mi_values_new("plgmi", b->desc->info.settings);
    char copy[512], *at = copy, *word;
    snprintf(copy, sizeof copy, "per_class=7 gan_width=4 z_dim=8 gan_batch=8 gan_steps=4 n_critic=2 %s", settings);
    while ((word = strsep(&at, " "))) {
        if (!*word) continue;
        char *eq = strchr(word, '=');
        *eq = '\0';
        assert_int_equal(mi_values_set(b->values, word, eq + 1), MI_OK);
    }
    b->toy = toy_new(K, SIZE, weight);
    b->oracle = mi_oracle_new(&b->toy->model, MI_ACCESS_WHITE, "plgmi");
    b->ctx.tally = &b->queries;
    mi_oracle_tally(b->oracle, &b->queries);
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

static struct mi_attack_job job_of(struct bench *b) {
    return (struct mi_attack_job){
        .ctx = &b->ctx, .values = b->values, .oracle = b->oracle, .pub = &public_split, .size = SIZE};
}

/* After a failure: the target answers again, the process is a new one whose checkpoint knows the queries. */
static void mend(struct bench *b) {
    b->toy->fail_at = 0;
    b->queries = 0;
    mi_error_clear();
}

/* A prior with synthetic weights: its colours vary with z and class, which is all an inversion needs. */
static mt_archive *prior(struct bench *b) {
    char *path = mi_path_join(b->root, "prior.safetensors");
    struct mi_plg_g g;
    struct mi_plg_d d;
    assert_int_equal(mi_plg_g_open(&g, SIZE, 4, Z, K, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_plg_d_open(&d, SIZE, 4, K, MT_CPU, MT_F32, 2), MI_OK);
    mt_scope *s = mt_scope_begin("prior");
    mi_params_golden(g.ps, 2);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_plg_save(&g, &d, a), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    mi_plg_g_close(&g);
    mi_plg_d_close(&d);
    a = mt_archive_open(path);
    free(path);
    assert_non_null(a);
    return a;
}

static enum mi_status invert(struct bench *b, const int *labels, int n, int restarts, float *x) {
    struct mi_attack_job job = job_of(b);
    job.prior = prior(b);
    job.labels = labels;
    job.n_labels = n;
    job.restarts = restarts;
    struct mi_recon out = {0};
    enum mi_status st = b->desc->invert(&job, &out);
    if (st == MI_OK) assert_int_equal(mt_size(out.x, 0), n * restarts);
    int64_t bytes = (int64_t)n * restarts * PIXELS * (int64_t)sizeof(float);
    if (st == MI_OK && x) assert_int_equal(mt_read(out.x, x, bytes, MT_F32, MT_NCHW), MI_OK);
    mt_free(out.x);
    mt_archive_close(job.prior);
    return st;
}

static double farthest(const float *a, const float *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* The toy target's answer, computed apart from it: logits of one image's mean colours. */
static void answer(const double mean[3], double logit[K]) {
    for (int k = 0; k < K; k++) {
        logit[k] = 0;
        for (int c = 0; c < 3; c++) logit[k] += (double)weight[k * 3 + c] * mean[c];
    }
}

static double recognised(const float *x, int restarts) {
    int right = 0;
    for (int i = 0; i < K * restarts; i++) {
        double mean[3] = {0}, logit[K];
        int who = 0;
        for (int p = 0; p < PIXELS; p++) mean[p / (SIZE * SIZE)] += (double)x[i * PIXELS + p] / (SIZE * SIZE);
        answer(mean, logit);
        for (int k = 1; k < K; k++)
            if (logit[k] > logit[who]) who = k;
        right += who == i / restarts;
    }
    return right / (double)(K * restarts);
}

/* ---- pseudo labels ----------------------------------------------------------------------------------------------- */

static double probability[PUBLIC][K];

static void ask_about_all(void) {
    for (int i = 0; i < PUBLIC; i++) {
        double mean[3] = {0}, logit[K], sum = 0;
        for (int p = 0; p < PIXELS; p++) mean[p % 3] += public_rgb[i * PIXELS + p] / 255.0 / (SIZE * SIZE);
        answer(mean, logit);
        for (int k = 0; k < K; k++) sum += exp(logit[k]);
        for (int k = 0; k < K; k++) probability[i][k] = exp(logit[k]) / sum;
    }
}

/* Ranks below TOP of a class, found by counting who is better, are exactly the images it was given; also when the
 * target fails after the first batches and the search goes on later. */
static void labels_are_the_top_of_each_class(void **state) {
    (void)state;
    struct bench *whole = bench_open(""), *cut = bench_open("");
    struct mi_attack_job jw = job_of(whole), jc = job_of(cut);
    int32_t *image = NULL, *again = NULL;
    assert_int_equal(mi_plg_labels(&jw, TOP, &image), MI_OK);
    assert_int_equal((int)whole->queries, PUBLIC);
    ask_about_all();
    for (int k = 0; k < K; k++)
        for (int j = 0; j < TOP; j++) {
            int chosen = image[k * TOP + j], better = 0;
            for (int i = 0; i < PUBLIC; i++) better += probability[i][k] > probability[chosen][k] * (1 + 1e-4);
            assert_true(better < TOP);
            for (int o = 0; o < j; o++) assert_int_not_equal(image[k * TOP + o], chosen);
        }
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 3;
    assert_int_equal(mi_plg_labels(&jc, TOP, &again), MI_E_DEVICE);
    assert_null(again);
    mend(cut);
    assert_int_equal(mi_plg_labels(&jc, TOP, &again), MI_OK);
    assert_memory_equal(image, again, K * TOP * sizeof *image);
    assert_int_equal((int)cut->queries, PUBLIC);
    free(image);
    free(again);
    bench_close(whole);
    bench_close(cut);
}

static void too_few_public_images_are_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("");
    struct mi_attack_job job = job_of(b);
    int32_t *image = NULL;
    assert_int_equal(mi_plg_labels(&job, PUBLIC + 1, &image), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "per_class"));
    assert_null(image);
    bench_close(b);
}

/* ---- GAN -----------------------------------------------------------------------------------------------------------
 */

static char *train(struct bench *b, enum mi_status want) {
    struct mi_attack_job job = job_of(b);
    char *path = mi_path_join(b->root, "trained.safetensors");
    mt_archive *out = mt_archive_create(path);
    assert_int_equal(b->desc->train_prior(&job, out), want);
    if (want == MI_OK)
        assert_int_equal(mt_archive_close(out), MI_OK);
    else
        mt_archive_abort(out);
    return path;
}

static void assert_same_file(const char *a, const char *b, bool same) {
    char ha[65], hb[65];
    assert_int_equal(mi_file_sha256(a, ha), MI_OK);
    assert_int_equal(mi_file_sha256(b, hb), MI_OK);
    assert_int_equal(strcmp(ha, hb) == 0, same);
}

/* Interrupted in both phases and gone on with, the same prior; another target gives another one. */
static void training_reads_the_target_and_resumes(void **state) {
    (void)state;
    struct bench *a = bench_open(""), *b = bench_open(""), *c = bench_open("");
    char *pa = train(a, MI_OK);
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 2; /* while it labels */
    free(train(b, MI_E_DEVICE));
    mend(b);
    b->toy->fail_at = b->toy->forwards + 5; /* while the GAN trains */
    free(train(b, MI_E_DEVICE));
    mend(b);
    char *pb = train(b, MI_OK);
    assert_same_file(pa, pb, true);
    assert_int_equal((int)a->queries, PUBLIC + 4 * 8);
    assert_int_equal((int)b->queries, PUBLIC + 4 * 8);
    bool grad = mt_grad_mode(false);
    mt_affine_(c->toy->head.w, -1, 0);
    mt_grad_mode(grad);
    char *pc = train(c, MI_OK);
    assert_same_file(pa, pc, false);
    free(pa);
    free(pb);
    free(pc);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

/* ---- inversion ------------------------------------------------------------------------------------------------------
 */

static void inversion_finds_the_people(void **state) {
    (void)state;
    static float x[K * 3 * PIXELS];
    struct bench *b = bench_open("iterations=40"), *idle = bench_open("iterations=1 lr=0");
    assert_int_equal(invert(b, all, K, 3, x), MI_OK);
    double found = recognised(x, 3);
    assert_int_equal(invert(idle, all, K, 3, x), MI_OK);
    assert_true(found > recognised(x, 3) + 0.25);
    assert_int_equal((int)b->queries, K * 3 * 40 * 2); /* two views a step */
    for (int i = 0; i < K * 3 * PIXELS; i++) assert_true(x[i] >= 0 && x[i] <= 1);
    bench_close(b);
    bench_close(idle);
}

/* A target that answers for other people's labels is descended for the wrong ones. */
static void shuffled_answers_give_nothing_away(void **state) {
    (void)state;
    static float x[K * 3 * PIXELS];
    struct bench *b = bench_open("iterations=40");
    float other[K * 3];
    for (int i = 0; i < K * 3; i++) other[i] = weight[(i + 3) % (K * 3)];
    bool grad = mt_grad_mode(false);
    mt_scope *s = mt_scope_begin("shuffle");
    mt_copy_(b->toy->head.w, mt_from(other, MT_SHAPE(K, 3), MT_SPEC_F32));
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_grad_mode(grad);
    assert_int_equal(invert(b, all, K, 3, x), MI_OK);
    assert_true(recognised(x, 3) <= 1.5 / K);
    bench_close(b);
}

static void chunks_and_company_do_not_matter(void **state) {
    (void)state;
    static float xa[K * 2 * PIXELS], xb[K * 2 * PIXELS], xc[2 * PIXELS];
    struct bench *a = bench_open("iterations=3 stack=1"), *b = bench_open("iterations=3 stack=0"),
                 *c = bench_open("iterations=3 adaptive=erase"), *d = bench_open("iterations=3 adaptive=erase"),
                 *e = bench_open("iterations=3 augment=none"), *f = bench_open("iterations=3 loss=ce");
    const int alone[1] = {4};
    assert_int_equal(invert(a, all, K, 2, xa), MI_OK);
    assert_int_equal(invert(b, all, K, 2, xb), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) < 1e-3);
    assert_true(farthest(xb, xb + PIXELS, PIXELS) > 1e-2); /* restarts differ */
    assert_int_equal(invert(c, all, K, 2, xa), MI_OK);
    assert_int_equal(invert(d, alone, 1, 2, xc), MI_OK);
    assert_true(farthest(xc, xa + 4 * 2 * PIXELS, 2 * PIXELS) < 1e-3); /* the masks too */
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);              /* and every setting does something */
    assert_int_equal(invert(e, all, K, 2, xa), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);
    assert_int_equal(invert(f, all, K, 2, xa), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);
    struct bench *opened[] = {a, b, c, d, e, f};
    for (int i = 0; i < 6; i++) bench_close(opened[i]);
}

static void inversion_resumes_exactly(void **state) {
    (void)state;
    static float a[K * 2 * PIXELS], b[K * 2 * PIXELS];
    struct bench *whole = bench_open("iterations=4 stack=4"), *cut = bench_open("iterations=4 stack=4");
    assert_int_equal(invert(whole, all, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 14; /* the second view of a step of the second chunk */
    assert_int_equal(invert(cut, all, K, 2, NULL), MI_E_DEVICE);
    mend(cut);
    assert_int_equal(invert(cut, all, K, 2, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal((int)cut->queries, (int)whole->queries);
    bench_close(whole);
    bench_close(cut);
}

static void a_prior_for_another_target_is_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("iterations=1");
    mi_oracle_free(b->oracle);
    toy_free(b->toy);
    b->toy = toy_new(K - 1, SIZE, weight);
    b->oracle = mi_oracle_new(&b->toy->model, MI_ACCESS_WHITE, "plgmi");
    assert_int_equal(invert(b, all, 1, 1, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "6 classes"));
    bench_close(b);
}

static int group_setup(void **state) {
    (void)state;
    struct mi_rng r = mi_rng_make(3, "public", 0, 0);
    for (int i = 0; i < PUBLIC; i++) { /* flat colours with a little noise */
        int base[3];
        for (int c = 0; c < 3; c++) base[c] = (int)mi_rng_below(&r, 200);
        for (int p = 0; p < PIXELS; p++)
            public_rgb[i * PIXELS + p] = (uint8_t)(base[p % 3] + (int)mi_rng_below(&r, 50));
    }
    return 0;
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_the_top_of_each_class),
        cmocka_unit_test(too_few_public_images_are_refused),
        cmocka_unit_test(training_reads_the_target_and_resumes),
        cmocka_unit_test(inversion_finds_the_people),
        cmocka_unit_test(shuffled_answers_give_nothing_away),
        cmocka_unit_test(chunks_and_company_do_not_matter),
        cmocka_unit_test(inversion_resumes_exactly),
        cmocka_unit_test(a_prior_for_another_target_is_refused),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
