/* tests/engine/test_plgmi.c - PLG-MI as resumable stages on a toy target: pseudo labels against a plain search, GAN
 * training, inversion, independence of chunks.  Its networks, losses and views are in test_plg_parts.c, everything
 * against PyTorch in e2e/parity_plg.sh. */
#include "attacks/plgmi.h"
#include "prior_test.h"

enum { PUBLIC = 150, TOP = 20 };

static uint8_t public_rgb[PUBLIC * PIXELS];
static int32_t public_labels[PUBLIC];
static struct mi_pack_split public_split = {public_rgb, public_labels, PUBLIC};

static struct bench *bench_open(const char *settings) {
    struct bench *b = bench_new("plgmi");
    b->pub = &public_split;
    bench_set(b, "per_class=7 gan_width=4 z_dim=8 gan_batch=8 gan_steps=4 n_critic=2");
    bench_set(b, settings);
    bench_target(b, K, six_colours);
    b->toy->pixel = false;
    return b;
}

static mt_archive *prior(struct bench *b) {
    char *path = mi_path_join(b->root, "prior.safetensors");
    struct mi_plg_g g;
    struct mi_plg_d d;
    assert_int_equal(mi_plg_g_open(&g, SIZE, 4, Z, K, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_plg_d_open(&d, SIZE, 4, K, MT_CPU, MT_F32, 2), MI_OK);
    colourful(g.ps);
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
    return bench_invert(b, prior(b), NULL, labels, n, restarts, x);
}

/* The toy target's answer, computed apart from it: logits of one image's mean colours. */
static void answer(const double mean[3], double logit[K]) {
    for (int k = 0; k < K; k++) {
        logit[k] = 0;
        for (int c = 0; c < 3; c++) logit[k] += (double)six_colours[k * 3 + c] * mean[c];
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
    assert_int_equal((int)whole->tally, PUBLIC);
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
    assert_int_equal((int)cut->tally, PUBLIC);
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

/* ---- GAN --------------------------------------------------------------------------------------------------- */

/* Interrupted in both phases and gone on with, the same prior; another target gives another one. */
static void training_reads_the_target_and_resumes(void **state) {
    (void)state;
    struct bench *a = bench_open(""), *b = bench_open(""), *c = bench_open("");
    char *pa = bench_train(a, MI_OK, false);
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 2; /* while it labels */
    free(bench_train(b, MI_E_DEVICE, false));
    mend(b);
    b->toy->fail_at = b->toy->forwards + 5; /* while the GAN trains */
    free(bench_train(b, MI_E_DEVICE, false));
    mend(b);
    char *pb = bench_train(b, MI_OK, false);
    assert_same_file(pa, pb, true);
    assert_int_equal((int)a->tally, PUBLIC + 4 * 8);
    assert_int_equal((int)b->tally, PUBLIC + 4 * 8);
    bool grad = mt_grad_mode(false);
    mt_affine_(c->toy->head.w, -1, 0);
    mt_grad_mode(grad);
    char *pc = bench_train(c, MI_OK, false);
    assert_same_file(pa, pc, false);
    free(pa);
    free(pb);
    free(pc);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

/* ---- inversion --------------------------------------------------------------------------------------------------- */

static void inversion_finds_the_people(void **state) {
    (void)state;
    static float x[K * 3 * PIXELS];
    struct bench *b = bench_open("iterations=40"), *idle = bench_open("iterations=1 lr=0");
    assert_int_equal(invert(b, all_labels, K, 3, x), MI_OK);
    double found = recognised(x, 3);
    assert_int_equal(invert(idle, all_labels, K, 3, x), MI_OK);
    assert_true(found > recognised(x, 3) + 0.25);
    assert_int_equal((int)b->tally, K * 3 * 40 * 2); /* two views a step */
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
    for (int i = 0; i < K * 3; i++) other[i] = six_colours[(i + 3) % (K * 3)];
    bool grad = mt_grad_mode(false);
    mt_scope *s = mt_scope_begin("shuffle");
    mt_copy_(b->toy->head.w, mt_from(other, MT_SHAPE(K, 3), MT_SPEC_F32));
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_grad_mode(grad);
    assert_int_equal(invert(b, all_labels, K, 3, x), MI_OK);
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
    assert_int_equal(invert(a, all_labels, K, 2, xa), MI_OK);
    assert_int_equal(invert(b, all_labels, K, 2, xb), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) < 1e-3);
    assert_true(farthest(xb, xb + PIXELS, PIXELS) > 1e-2); /* restarts differ */
    assert_int_equal(invert(c, all_labels, K, 2, xa), MI_OK);
    assert_int_equal(invert(d, alone, 1, 2, xc), MI_OK);
    assert_true(farthest(xc, xa + 4 * 2 * PIXELS, 2 * PIXELS) < 1e-3); /* the masks too */
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);              /* and every setting does something */
    assert_int_equal(invert(e, all_labels, K, 2, xa), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);
    assert_int_equal(invert(f, all_labels, K, 2, xa), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) > 1e-3);
    struct bench *opened[] = {a, b, c, d, e, f};
    for (int i = 0; i < 6; i++) bench_close(opened[i]);
}

static void inversion_resumes_exactly(void **state) {
    (void)state;
    static float a[K * 2 * PIXELS], b[K * 2 * PIXELS];
    struct bench *whole = bench_open("iterations=4 stack=4"), *cut = bench_open("iterations=4 stack=4");
    assert_int_equal(invert(whole, all_labels, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 14; /* the second view of a step of the second chunk */
    assert_int_equal(invert(cut, all_labels, K, 2, NULL), MI_E_DEVICE);
    mend(cut);
    assert_int_equal(invert(cut, all_labels, K, 2, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal((int)cut->tally, (int)whole->tally);
    bench_close(whole);
    bench_close(cut);
}

static void a_prior_for_another_target_is_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("iterations=1");
    bench_target(b, K - 1, six_colours);
    assert_int_equal(invert(b, all_labels, 1, 1, NULL), MI_E_INPUT);
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
