/* tests/engine/test_kedmi.c - KedMI, LOMMA and the adaptive attacker as resumable stages on a toy target: GAN training,
 * distilled students, recovery, independence of chunks.  Formulas against PyTorch are in e2e/parity_lowres.sh. */
#include "attacks/kedmi.h"
#include "attacks/students.h"
#include "prior_test.h"

enum { PUBLIC = 48 };

static uint8_t public_rgb[PUBLIC * PIXELS];
static int32_t public_labels[PUBLIC];
static struct mi_pack_split public_split = {public_rgb, public_labels, PUBLIC};

static struct bench *bench_open(const char *attack, const char *settings) {
    struct bench *b = bench_new(attack);
    b->pub = &public_split;
    bench_set(b, "gan_width=4 z_dim=8 gan_batch=8 gan_steps=12 n_critic=3");
    bench_set(b, settings);
    bench_target(b, K, six_colours);
    return b;
}

static mt_archive *prior(struct bench *b) {
    char *path = mi_path_join(b->root, "prior.safetensors");
    struct mi_dcgan_g g;
    struct mi_kedmi_d d;
    assert_int_equal(mi_dcgan_g_open(&g, SIZE, 4, Z, MT_CPU, MT_F32, 1), MI_OK);
    assert_int_equal(mi_kedmi_d_open(&d, SIZE, 4, K, 4, 3, MT_CPU, MT_F32, 2), MI_OK);
    colourful(g.ps);
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
    return bench_invert(b, prior(b), students, labels, n, restarts, x);
}

/* The toy target's answer, computed apart from it; share of images it takes for their label. */
static double recognised(const float *x, int restarts) {
    int right = 0;
    for (int i = 0; i < K * restarts; i++) {
        double best = -1e9;
        int who = -1;
        for (int k = 0; k < K; k++) {
            double sum = 0;
            for (int c = 0; c < 3; c++) sum += (double)six_colours[k * 3 + c] * x[i * PIXELS + c * SIZE * SIZE + 1];
            if (sum > best) best = sum, who = k;
        }
        right += who == i / restarts;
    }
    return right / (double)(K * restarts);
}

/* ---- GAN ------------------------------------------------------------------------------------------------------ */

/* Two runs agree; one whose target fails in the middle agrees after it has gone on; another target gives another prior.
 */
static void training_reads_the_target_and_resumes(void **state) {
    (void)state;
    struct bench *a = bench_open("kedmi", ""), *b = bench_open("kedmi", ""), *c = bench_open("kedmi", "");
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 8;
    char *pa = bench_train(a, MI_OK, false), *pb = bench_train(b, MI_E_DEVICE, false);
    free(pb);
    mend(b);
    pb = bench_train(b, MI_OK, false);
    assert_same_file(pa, pb, true);
    assert_int_equal((int)b->tally, 12 * 8); /* as many as without the interruption */
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
    assert_int_equal(invert(b, NULL, all_labels, K, 4, x), MI_OK);
    double found = recognised(x, 4);
    assert_int_equal(invert(idle, NULL, all_labels, K, 4, x), MI_OK);
    double chance = recognised(x, 4);
    assert_true(found > chance + 0.25);
    assert_int_equal((int)b->tally, K * 150);
    bench_close(b);
    bench_close(idle);
}

/* A target that answers for other people's labels is descended for the wrong ones. */
static void shuffled_answers_give_nothing_away(void **state) {
    (void)state;
    static float x[K * 4 * PIXELS];
    struct bench *b = bench_open("kedmi", "iterations=150 lr=0.1 logvar=-2");
    float other[K * 3];
    for (int i = 0; i < K * 3; i++) other[i] = six_colours[(i + 3) % (K * 3)];
    bool grad = mt_grad_mode(false);
    mt_scope *s = mt_scope_begin("shuffle");
    mt_copy_(b->toy->head.w, mt_from(other, MT_SHAPE(K, 3), MT_SPEC_F32));
    assert_int_equal(mt_scope_end(s), MI_OK);
    mt_grad_mode(grad);
    assert_int_equal(invert(b, NULL, all_labels, K, 4, x), MI_OK);
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
    assert_int_equal(invert(a, NULL, all_labels, K, 3, xa), MI_OK);
    assert_int_equal(invert(b, NULL, all_labels, K, 3, xb), MI_OK);
    assert_true(farthest(xa, xb, K * 3 * PIXELS) < 1e-4);
    assert_true(farthest(xb, xb + PIXELS, PIXELS) > 1e-3); /* samples differ */
    assert_int_equal(invert(c, NULL, all_labels, K, 3, xa), MI_OK);
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
    assert_int_equal(invert(whole, NULL, all_labels, K, 2, a), MI_OK);
    cut->ctx.checkpoint_every = 0;
    cut->toy->fail_at = 16;
    assert_int_equal(invert(cut, NULL, all_labels, K, 2, NULL), MI_E_DEVICE);
    mend(cut);
    assert_int_equal(invert(cut, NULL, all_labels, K, 2, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal((int)cut->tally, (int)whole->tally);
    bench_close(whole);
    bench_close(cut);
}

static void a_prior_for_another_target_is_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("kedmi", "iterations=1");
    bench_target(b, K - 1, six_colours);
    assert_int_equal(invert(b, NULL, all_labels, 1, 1, NULL), MI_E_INPUT);
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
    char *pa = bench_train(a, MI_OK, true);
    b->ctx.checkpoint_every = 0;
    b->toy->fail_at = 14; /* in the second student */
    free(bench_train(b, MI_E_DEVICE, true));
    mend(b);
    char *pb = bench_train(b, MI_OK, true);
    assert_same_file(pa, pb, true);
    const char *run = STUDENTS " iterations=5 preg_images=20";
    char logit[512];
    snprintf(logit, sizeof logit, "%s variant=L_logit", run);
    struct bench *ours = bench_open("lomma_kedmi", run), *one = bench_open("lomma_kedmi", logit);
    assert_true(ours->attack->wants_students(ours->values));
    assert_false(one->attack->wants_students(one->values));
    mt_archive *students = mt_archive_open(pa);
    assert_non_null(students);
    assert_int_equal(invert(ours, students, all_labels, K, 2, x), MI_OK);
    assert_int_equal(invert(one, NULL, all_labels, K, 2, y), MI_OK);
    assert_true(farthest(x, y, K * 2 * PIXELS) > 1e-4);
    assert_int_equal((int)one->tally, 20 + K * 5); /* public features, then the descent */
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
    assert_int_equal(invert(a, NULL, all_labels, K, 2, x), MI_OK);
    assert_int_equal(invert(b, NULL, all_labels, K, 2, y), MI_OK);
    assert_memory_equal(x, y, sizeof x);
    bench_close(a);
    bench_close(b);
}

static void wrong_students_are_named(void **state) {
    (void)state;
    struct bench *a = bench_open("lomma_gmi", "students=quik"), *b = bench_open("lomma_gmi", "students=quick:width=3");
    free(bench_train(a, MI_E_INPUT, true));
    assert_non_null(strstr(mi_error_text(), "did you mean \"quick\""));
    mi_error_clear();
    free(bench_train(b, MI_E_INPUT, true));
    assert_non_null(strstr(mi_error_text(), "width"));
    bench_close(a);
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
