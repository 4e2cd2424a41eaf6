/* tests/engine/test_rlbmi.c - RLB-MI: reward by hand, batches, counting, company, resuming, learning. */
#include "attacks/rlb_agents.h"
#include "blackbox_test.h"

static const double published[3] = {2, 2, 8};

static void rewards_are_the_published_ones(void **state) {
    (void)state;
    static const float p[4 * 3] = {0.7f, 0.2f, 0.1f, 0.7f, 0.2f, 0.1f, 1, 0, 0, 1, 0, 0};
    static const int64_t y[4] = {0, 1, 0, 2};
    static const double known[4] = {-6.97188, -135.38252, 0, -2 * 100 - 2 * 100 - 128.94476};
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *t = mt_from(p, MT_SHAPE(4, 3), MT_SPEC_F32);
    mt_tensor *want = mt_from(y, MT_SHAPE(4, 1), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    struct mi_rlb_reward w;
    float r[4], own[4], margin[4];
    assert_int_equal(mi_rlb_reward(t, t, want, published, &w), MI_OK);
    assert_int_equal(mt_read(w.reward, r, sizeof r, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_read(w.own, own, sizeof own, MT_F32, MT_NCHW), MI_OK);
    assert_int_equal(mt_read(w.margin, margin, sizeof margin, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < 4; i++) assert_float_equal(r[i], known[i], 1e-4 + 1e-6 * fabs(known[i]));
    assert_float_equal(own[1], 0.2, 1e-7);
    assert_float_equal(margin[0], 0.5, 1e-6);
    assert_float_equal(margin[3], -1, 1e-6);
    mt_tensor *other = mt_flip(t, 1); /* another image for the action: 2 ln 0.7 + 2 ln 0.1 + 8 ln 0.5 */
    assert_int_equal(mi_rlb_reward(t, other, want, published, &w), MI_OK);
    assert_int_equal(mt_read(w.reward, r, sizeof r, MT_F32, MT_NCHW), MI_OK);
    assert_float_equal(r[0], 2 * log(0.7) + 2 * log(0.1) + 8 * log(0.5), 1e-4);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

static void batches_are_drawn_without_replacement_and_evenly(void **state) {
    (void)state;
    enum { N = 10, COUNT = 4, DRAWS = 4000 };
    unsigned char taken[N] = {0};
    int seen[N] = {0};
    for (int i = 0; i < DRAWS; i++) {
        struct mi_rng r = mi_rng_make(1, "choose", (uint64_t)i, 0);
        int64_t out[COUNT];
        unsigned char mine[N] = {0};
        mi_rlb_choose(&r, N, COUNT, taken, out);
        for (int k = 0; k < COUNT; k++) {
            assert_true(out[k] >= 0 && out[k] < N && !mine[out[k]]);
            mine[out[k]] = 1;
            seen[out[k]]++;
        }
    }
    for (int i = 0; i < N; i++) assert_true(abs(seen[i] - DRAWS * COUNT / N) < 150); /* five standard deviations */
    for (int i = 0; i < N; i++) assert_int_equal(taken[i], 0);
}

#define QUICK "episodes=20 hidden=12 batch=8 warmup=8 lr=0.002 "

static void queries_are_counted_by_mode(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        int each;
    } mode[] = {{QUICK "candidates=training", 1}, {QUICK, 2},
                {QUICK "ask_twice=yes", 3},       {QUICK "alpha=0.5", 3},
                {QUICK "search=random", 1},       {QUICK "steps=3 alpha=0.5", 7}};
    const int two[2] = {1, 4};
    for (int i = 0; i < 6; i++) {
        struct bench *b = bench_open("rlbmi", mode[i].settings);
        assert_int_equal(invert(b, two, 2, 2, NULL), MI_OK);
        assert_int_equal((int)b->tally, 4 * 20 * mode[i].each);
        bench_close(b);
    }
}

/* Company, groups and batches do not change what a learner finds. */
static void alone_and_together_are_the_same(void **state) {
    (void)state;
    static const char *const noise[] = {"noise=scalar ", "noise=row ", "noise=coordinate steps=2 alpha=0.3 "};
    for (int i = 0; i < 3; i++) {
        char together[256], apart[256];
        snprintf(together, sizeof together, QUICK "%s", noise[i]);
        snprintf(apart, sizeof apart, QUICK "%s learners=5 stack=3", noise[i]);
        struct bench *a = bench_open("rlbmi", together), *b = bench_open("rlbmi", apart),
                     *c = bench_open("rlbmi", together);
        static float xa[K * 2 * PIXELS], xb[K * 2 * PIXELS], xc[2 * PIXELS];
        const int alone[1] = {4};
        assert_int_equal(invert(a, all_labels, K, 2, xa), MI_OK);
        assert_int_equal(invert(b, all_labels, K, 2, xb), MI_OK);
        assert_int_equal(invert(c, alone, 1, 2, xc), MI_OK);
        assert_true(farthest(xa, xb, K * 2 * PIXELS) < 1e-4);
        assert_true(farthest(xa + 4 * 2 * PIXELS, xc, 2 * PIXELS) < 1e-4);
        assert_true(farthest(xa, xa + PIXELS, PIXELS) > 1e-4);
        assert_true(a->tally == b->tally);
        bench_close(a);
        bench_close(b);
        bench_close(c);
    }
}

/* Mean probability of the wanted class in the delivered images. */
static double sureness(const char *settings) {
    struct bench *b = bench_open("rlbmi", settings);
    static float x[K * PIXELS];
    assert_int_equal(invert(b, all_labels, K, 1, x), MI_OK);
    double sum = 0;
    for (int i = 0; i < K; i++) sum += sure_of(x + i * PIXELS, i) / K;
    bench_close(b);
    return sum;
}

static void more_episodes_deliver_surer_images(void **state) {
    (void)state;
    double one = sureness(QUICK "episodes=1"),
           some = sureness(QUICK "episodes=150 noise=coordinate reward_scale=0.025 box=2");
    assert_true(some > one + 0.2);
    assert_true(some > 0.7);
}

/* The target fails in the middle; replay segments, networks, optimisers and the best candidates come back. */
static void resumes_exactly(void **state) {
    (void)state;
    static const char *const settings =
        "episodes=300 hidden=4 batch=4 warmup=4 lr=0.002 candidates=training learners=2";
    struct bench *whole = bench_open("rlbmi", settings), *cut = bench_open("rlbmi", settings);
    static float a[3 * PIXELS], b[3 * PIXELS];
    const int three[3] = {0, 2, 5};
    assert_int_equal(invert(whole, three, 3, 1, a), MI_OK);
    cut->ctx.checkpoint_every = 0.01;
    const int fails[4] = {80, 190, 60, 250}; /* both groups, before and after their first segment of 256 */
    for (int i = 0; i < 4; i++) {
        cut->toy->forwards = 0;
        cut->tally = 0;
        cut->toy->fail_at = fails[i];
        enum mi_status st = invert(cut, three, 3, 1, b);
        if (st == MI_OK) break;
        assert_int_equal(st, MI_E_DEVICE);
        mi_error_clear();
    }
    cut->toy->fail_at = 0;
    cut->tally = 0;
    assert_int_equal(invert(cut, three, 3, 1, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(cut->tally == whole->tally);
    bench_close(whole);
    bench_close(cut);
}

static void probabilities_are_all_it_may_see(void **state) {
    (void)state;
    struct bench *b = bench_open("rlbmi", QUICK);
    assert_int_equal(b->attack->access, MI_ACCESS_BLACK);
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *r = NULL, *x = mt_zeros(MT_SHAPE(2, 3, SIZE, SIZE), MT_SPEC_F32);
    assert_int_equal(mt_requires_grad_(x, true), MI_OK);
    assert_int_equal(mi_oracle_logits(b->oracle, x, &r, NULL), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_oracle_probs(b->oracle, x, &r), MI_OK);
    assert_false(mt_requires_grad(r));
    assert_int_equal(mt_scope_end(s), MI_OK);
    bench_close(b);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    struct bench *b = bench_open("rlbmi", QUICK "batch=10");
    assert_int_equal(invert(b, all_labels, 1, 1, NULL), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "warmup"));
    bench_close(b);
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewards_are_the_published_ones),
        cmocka_unit_test(batches_are_drawn_without_replacement_and_evenly),
        cmocka_unit_test(queries_are_counted_by_mode),
        cmocka_unit_test(alone_and_together_are_the_same),
        cmocka_unit_test(more_episodes_deliver_surer_images),
        cmocka_unit_test(resumes_exactly),
        cmocka_unit_test(probabilities_are_all_it_may_see),
        cmocka_unit_test(impossible_settings_are_refused),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
