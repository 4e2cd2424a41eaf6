/* tests/engine/test_kedmi.c - KedMI, LOMMA and the adaptive attacker as resumable stages on a toy target: GAN training,
 * distilled students, recovery, independence of chunks.  Formulas against PyTorch are in e2e/parity_lowres.sh. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attacks/kedmi.h"
#include "attacks/students.h"
#include "toy_model.h"

enum { SIZE = 32, PUBLIC = 48, K = 6, PIXELS = 3 * SIZE * SIZE, Z = 8 };

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

static struct bench *bench_open(const char *attack, const char *settings) {
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TEST_TMP");
    snprintf(b->root, sizeof b->root, "%s/kedmi-%d-%d", tmp ? tmp : "/tmp", (int)getpid(), benches++);
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
    b->desc = mi_attack_find(attack);
    assert_non_null(b->desc);
    b->values = mi_values_new(attack, b->desc->info.settings);
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
    b->oracle = mi_oracle_new(&b->toy->model, MI_ACCESS_WHITE, attack);
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

/* A prior with synthetic weights: its colours vary with z, which is all a recovery needs. */
static mt_archive *prior(struct bench *b) {
    char *path = mi_path_join(b->root, "prior.safetensors");
    struct mi_dcgan_g g;
    struct mi_kedmi_d d;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, Z, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_kedmi_d_open(&d, SIZE, 4, K, 4, 3, MT_CPU, MT_F32, 2), MI_OK);
    mt_scope *s = mt_scope_begin("prior");
    mi_params_golden(g.ps, 2);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_kedmi_save(&g, &d, a), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    mi_dcgan_g_close(&g);
    mi_kedmi_d_close(&d);
    a = mt_archive_open(path);
    free(path);
    assert_non_null(a);
    return a;
}

static enum mi_status invert(struct bench *b, mt_archive *students, const int *labels, int n, int restarts, float *x) {
    struct mi_attack_job job = job_of(b);
    job.prior = prior(b);
    job.students = students;
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

/* The toy target's answer, computed apart from it; share of images it takes for their label. */
static double recognised(const float *x, int restarts) {
    int right = 0;
    for (int i = 0; i < K * restarts; i++) {
        double best = -1e9;
        int who = -1;
        for (int k = 0; k < K; k++) {
            double sum = 0;
            for (int c = 0; c < 3; c++) sum += (double)weight[k * 3 + c] * x[i * PIXELS + c * SIZE * SIZE + 1];
            if (sum > best) best = sum, who = k;
        }
        right += who == i / restarts;
    }
    return right / (double)(K * restarts);
}

/* ---- GAN ------------------------------------------------------------------------------------------------------ */

static char *train(struct bench *b, enum mi_status want, bool students) {
    struct mi_attack_job job = job_of(b);
    char *path = mi_path_join(b->root, "trained.safetensors");
    mt_archive *out = mt_archive_create(path);
    enum mi_status st = students ? b->desc->train_students(&job, out) : b->desc->train_prior(&job, out);
    assert_int_equal(st, want);
    if (st == MI_OK)
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

/* Two runs agree; one whose target fails in the middle agrees after it has gone on; another target gives another prior.
 */
static void training_reads_the_target_and_resumes(void **state) {
    (void)state;
    struct bench *a = bench_open("kedmi", ""), *b = bench_open("kedmi", ""), *c = bench_open("kedmi", "");
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 8;
    char *pa = train(a, MI_OK, false), *pb = train(b, MI_E_DEVICE, false);
    free(pb);
    b->toy->fail_at = 0;
    b->queries = 0; /* as in a new process: the checkpoint knows */
    mi_error_clear();
    pb = train(b, MI_OK, false);
    assert_same_file(pa, pb, true);
    assert_int_equal((int)b->queries, 12 * 8); /* as many as without the interruption */
    bool grad = mt_grad_mode(false);
    mt_affine_(c->toy->head.w, -1, 0);
    mt_grad_mode(grad);
    char *pc = train(c, MI_OK, false);
    assert_same_file(pa, pc, false);
    free(pa);
    free(pb);
    free(pc);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

/* Published sizes: distinct images have no company, coinciding ones all of it, and the short cut changes no bit. */
static void company_is_for_images_that_coincide(void **state) {
    (void)state;
    struct mi_kedmi_d d;
    assert_int_equal(mi_kedmi_d_open(&d, SIZE, 8, K, 6, 50, MT_CPU, MT_F32, 2), MI_OK);
    mt_scope *s = mt_scope_begin("test");
    mt_rng *r = mt_rng_new(MT_CPU, 1);
    mt_tensor *x = mt_rand(MT_SHAPE(3, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    mt_tensor *phi = mi_kedmi_phi(&d, x),
              *same = mi_kedmi_phi(&d, mt_repeat(mt_narrow(x, 0, 0, 1), MT_SHAPE(3, 1, 1, 1)));
    float together[3 * K], alone[3 * K];
    assert_int_equal(mt_read(mi_kedmi_logits(&d, phi, true), together, sizeof together, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_read(mi_kedmi_logits(&d, phi, false), alone, sizeof alone, MT_F32, MT_NCHW), MI_OK);
    assert_memory_equal(together, alone, sizeof alone);
    assert_int_equal(mt_read(mi_kedmi_logits(&d, same, true), together, sizeof together, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_read(mi_kedmi_logits(&d, same, false), alone, sizeof alone, MT_F32, MT_NCHW), MI_OK);
    float w[6]; /* weights of the company: two others in each kernel add twice their sum */
    for (int k = 0; k < K; k++) {
        mt_tensor *row = mt_narrow(mt_narrow(d.fc.w, 0, k, 1), 1, d.flat, 6);
        assert_int_equal(mt_read(mt_detach(row), w, sizeof w, MT_F32, MT_NCHW), MI_OK);
        double sum = 0;
        for (int i = 0; i < 6; i++) sum += 2 * (double)w[i];
        assert_float_equal(together[k] - alone[k], sum, 1e-4);
    }
    mt_rng_free(r);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_kedmi_d_close(&d);
}

/* ---- recovery --------------------------------------------------------------------------------------------------- */

static void recovery_finds_the_people(void **state) {
    (void)state;
    static float x[K * 4 * PIXELS];
    struct bench *b = bench_open("kedmi", "iterations=150 lr=0.1 logvar=-2"),
                 *idle = bench_open("kedmi", "iterations=1 lr=0");
    assert_int_equal(invert(b, NULL, all, K, 4, x), MI_OK);
    double found = recognised(x, 4);
    assert_int_equal(invert(idle, NULL, all, K, 4, x), MI_OK);
    double chance = recognised(x, 4);
    assert_true(found > chance + 0.25);
    assert_int_equal((int)b->queries, K * 150);
    bench_close(b);
    bench_close(idle);
}

/* A target that answers for other people's labels is descended for the wrong ones. */
static void shuffled_answers_give_nothing_away(void **state) {
    (void)state;
    static float x[K * 4 * PIXELS];
    struct bench *b = bench_open("kedmi", "iterations=150 lr=0.1 logvar=-2");
    float other[K * 3];
    for (int i = 0; i < K * 3; i++) other[i] = weight[(i + 3) % (K * 3)];
    bool grad = mt_grad_mode(false);
    mt_scope *s = mt_scope_begin("shuffle");
    mt_copy_(b->toy->head.w, mt_from(other, MT_SHAPE(K, 3), MT_SPEC_F32));
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_grad_mode(grad);
    assert_int_equal(invert(b, NULL, all, K, 4, x), MI_OK);
    assert_true(recognised(x, 4) <= 1.5 / K);
    bench_close(b);
}

static struct bench *bench_of_means(const char *settings) {
    struct bench *b = bench_open("kedmi", settings);
    b->toy->pixel = false; /* the target looks at whole images, so masks matter */
    return b;
}

static void chunks_and_company_do_not_matter(void **state) {
    (void)state;
    static float xa[K * 3 * PIXELS], xb[K * 3 * PIXELS], xc[3 * PIXELS];
    const char *masked = "iterations=6 lr=0.1 stack=4 adaptive=erase";
    struct bench *a = bench_of_means("iterations=6 lr=0.1 stack=1"), *b = bench_of_means("iterations=6 lr=0.1 stack=0"),
                 *c = bench_of_means(masked), *d = bench_of_means(masked);
    const int alone[1] = {4};
    assert_int_equal(invert(a, NULL, all, K, 3, xa), MI_OK);
    assert_int_equal(invert(b, NULL, all, K, 3, xb), MI_OK);
    assert_true(farthest(xa, xb, K * 3 * PIXELS) < 1e-4);
    assert_true(farthest(xb, xb + PIXELS, PIXELS) > 1e-3); /* samples differ */
    assert_int_equal(invert(c, NULL, all, K, 3, xa), MI_OK);
    assert_int_equal(invert(d, NULL, alone, 1, 3, xc), MI_OK);
    assert_true(farthest(xc, xa + 4 * 3 * PIXELS, 3 * PIXELS) < 1e-4); /* the masks too */
    assert_true(farthest(xa, xb, K * 3 * PIXELS) > 1e-3);              /* and they do something */
    bench_close(a);
    bench_close(b);
    bench_close(c);
    bench_close(d);
}

static void recovery_resumes_exactly(void **state) {
    (void)state;
    static float a[K * 2 * PIXELS], b[K * 2 * PIXELS];
    struct bench *whole = bench_open("kedmi", "iterations=6 stack=2"),
                 *cut = bench_open("kedmi", "iterations=6 stack=2");
    assert_int_equal(invert(whole, NULL, all, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 16;
    assert_int_equal(invert(cut, NULL, all, K, 2, NULL), MI_E_DEVICE);
    mi_error_clear();
    cut->queries = 0;
    cut->toy->fail_at = 0;
    assert_int_equal(invert(cut, NULL, all, K, 2, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal((int)cut->queries, (int)whole->queries);
    bench_close(whole);
    bench_close(cut);
}

static void a_prior_for_another_target_is_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("kedmi", "iterations=1");
    toy_free(b->toy);
    mi_oracle_free(b->oracle);
    b->toy = toy_new(K - 1, SIZE, weight);
    b->oracle = mi_oracle_new(&b->toy->model, MI_ACCESS_WHITE, "kedmi");
    assert_int_equal(invert(b, NULL, all, 1, 1, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "6 classes"));
    bench_close(b);
}

/* ---- LOMMA ------------------------------------------------------------------------------------------------------ */

#define STUDENTS                                                                                                       \
    "students=quick:width=8:feature=16,quickres:width=8:feature=16 student_batch=8 student_steps=9 student_lr=0.01"

/* Distilled in one go or after an interruption; used by the attack; the other variants do without. */
static void students_resume_and_serve(void **state) {
    (void)state;
    static float x[K * 2 * PIXELS], y[K * 2 * PIXELS];
    struct bench *a = bench_open("lomma_kedmi", STUDENTS), *b = bench_open("lomma_kedmi", STUDENTS);
    char *pa = train(a, MI_OK, true);
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 14; /* in the second student */
    free(train(b, MI_E_DEVICE, true));
    b->toy->fail_at = 0;
    mi_error_clear();
    char *pb = train(b, MI_OK, true);
    assert_same_file(pa, pb, true);
    const char *run = STUDENTS " iterations=5 preg_images=20";
    char logit[512];
    snprintf(logit, sizeof logit, "%s variant=L_logit", run);
    struct bench *ours = bench_open("lomma_kedmi", run), *one = bench_open("lomma_kedmi", logit);
    assert_true(ours->desc->wants_students(ours->values));
    assert_false(one->desc->wants_students(one->values));
    mt_archive *students = mt_archive_open(pa);
    assert_non_null(students);
    assert_int_equal(invert(ours, students, all, K, 2, x), MI_OK);
    assert_int_equal(invert(one, NULL, all, K, 2, y), MI_OK);
    assert_true(farthest(x, y, K * 2 * PIXELS) > 1e-4);
    assert_int_equal((int)one->queries, 20 + K * 5); /* public features, then the descent */
    mt_archive_close(students);
    free(pa);
    free(pb);
    bench_close(a);
    bench_close(b);
    bench_close(ours);
    bench_close(one);
}

static void baseline_is_the_base_attack(void **state) {
    (void)state;
    static float x[K * 2 * PIXELS], y[K * 2 * PIXELS];
    struct bench *a = bench_open("lomma_kedmi", "variant=baseline iterations=4 logvar=0 clamp=no"),
                 *b = bench_open("kedmi", "iterations=4");
    assert_int_equal(invert(a, NULL, all, K, 2, x), MI_OK);
    assert_int_equal(invert(b, NULL, all, K, 2, y), MI_OK);
    assert_memory_equal(x, y, sizeof x);
    bench_close(a);
    bench_close(b);
}

static void wrong_students_are_named(void **state) {
    (void)state;
    struct bench *a = bench_open("lomma_gmi", "students=quik"), *b = bench_open("lomma_gmi", "students=quick:width=3");
    free(train(a, MI_E_INPUT, true));
    assert_non_null(strstr(mi_error_text(), "did you mean \"quick\""));
    mi_error_clear();
    free(train(b, MI_E_INPUT, true));
    assert_non_null(strstr(mi_error_text(), "width"));
    bench_close(a);
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
        cmocka_unit_test(training_reads_the_target_and_resumes),
        cmocka_unit_test(company_is_for_images_that_coincide),
        cmocka_unit_test(recovery_finds_the_people),
        cmocka_unit_test(shuffled_answers_give_nothing_away),
        cmocka_unit_test(chunks_and_company_do_not_matter),
        cmocka_unit_test(recovery_resumes_exactly),
        cmocka_unit_test(a_prior_for_another_target_is_refused),
        cmocka_unit_test(students_resume_and_serve),
        cmocka_unit_test(baseline_is_the_base_attack),
        cmocka_unit_test(wrong_students_are_named),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
