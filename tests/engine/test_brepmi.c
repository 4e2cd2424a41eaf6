/* tests/engine/test_brepmi.c - BREPMI: one round by hand, then whole attacks on a target known in closed form. */
#include "attacks/repulse.h"
#include "blackbox_test.h"

/* ---- one round by hand ---------------------------------------------------------------------------------------- */

static const struct mi_brep_rule published = {.points = 32,
                                              .radius = 2,
                                              .growth = 1.3,
                                              .growth_share = 0.75,
                                              .step_divisor = 3,
                                              .step_cap = 3,
                                              .clamp = 1.5,
                                              .reject = true,
                                              .max_iters = 1000,
                                              .max_rejected = 50,
                                              .max_radius = 1000};

static void unit_axes(float *u, int n, int dim) { /* point i along axis i, wrapping round */
    memset(u, 0, (size_t)(n * dim) * sizeof *u);
    for (int i = 0; i < n; i++) u[i * dim + i % dim] = 1;
}

static void all_points_inside_grow_and_stand_still(void **state) {
    (void)state;
    struct mi_brep_row row = {.radius = 2, .count = 7};
    float u[32 * 4], z[4] = {0.1f, -0.2f, 0.3f, 1.4f}, was[4], next[4], best[4] = {0};
    bool inside[32];
    memcpy(was, z, sizeof z);
    unit_axes(u, 32, 4);
    for (int i = 0; i < 32; i++) inside[i] = true;
    assert_true(mi_brep_propose(&published, &row, z, u, inside, 4, next));
    assert_memory_equal(next, z, sizeof z);
    mi_brep_settle(&published, &row, true, true, next, z, best, 4);
    assert_memory_equal(z, was, sizeof z);
    assert_memory_equal(best, was, sizeof z);
    assert_float_equal(row.radius, 2.6, 1e-12);
    assert_int_equal((int)row.count, 0);
    assert_int_equal((int)row.kept, 1);
}

static void growth_needs_29_of_32(void **state) {
    (void)state;
    static const struct { int n, least; } known[] = {{32, 29}, {16, 15}, {8, 8}, {64, 57}};
    for (int c = 0; c < 4; c++)
        for (int k = 0; k <= known[c].n; k++) {
            struct mi_brep_rule rule = published;
            struct mi_brep_row row = {.radius = 2};
            float u[64 * 2] = {0}, z[2] = {0}, next[2];
            bool inside[64] = {false};
            rule.points = known[c].n;
            for (int i = 0; i < k; i++) inside[i] = true;
            assert_int_equal(mi_brep_propose(&rule, &row, z, u, inside, 2, next), k >= known[c].least);
        }
}

static void radii_and_steps_follow_the_published_table(void **state) {
    (void)state;
    static const double radii[10] = {2, 2.6, 3.38, 4.39, 5.71, 7.43, 9.65, 12.55, 16.31, 21.21};
    static const double steps[7] = {0.667, 0.867, 1.127, 1.465, 1.904, 2.475, 3};
    struct mi_brep_row row = {.radius = 2};
    struct mi_brep_rule one = published;
    one.points = 1;
    one.clamp = 0;
    for (int i = 0; i < 10; i++) {
        float u[1] = {1}, z[1] = {0}, next[1];
        assert_float_equal(row.radius, radii[i], 0.006);
        struct mi_brep_row before = row;
        assert_false(mi_brep_propose(&one, &before, z, u, (bool[]){false}, 1, next)); /* outside: a whole step back */
        assert_float_equal(next[0], -(i < 7 ? steps[i] : 3), 0.0006);
        assert_true(mi_brep_propose(&one, &row, z, u, (bool[]){true}, 1, next));
    }
}

/* One point of four outside along +x: a quarter of a step, whatever the number outside; growth divides by 1.3. */
static void the_move_is_a_mean_over_all_points(void **state) {
    (void)state;
    struct mi_brep_rule rule = published;
    rule.points = 4;
    rule.clamp = 0;
    float u[8] = {1, 0, 0, 1, -1, 0, 0, -1}, z[2] = {0.5f, 0.25f}, next[2];
    struct mi_brep_row row = {.radius = 3};
    assert_false(mi_brep_propose(&rule, &row, z, u, (bool[]){false, true, true, true}, 2, next));
    assert_float_equal(next[0], 0.5 - 0.25, 1e-6);
    assert_float_equal(next[1], 0.25, 1e-6);
    rule.signed_votes = true; /* points inside pull: -x once, and +-y cancel */
    assert_false(mi_brep_propose(&rule, &row, z, u, (bool[]){false, true, true, true}, 2, next));
    assert_float_equal(next[0], 0.5 - 0.5, 1e-6);
    rule.signed_votes = false;
    rule.growth_share = 0.4; /* 2 of 4 votes exceed 0.4 * 4: the sphere grows, the move shrinks */
    assert_true(mi_brep_propose(&rule, &row, z, u, (bool[]){false, true, true, true}, 2, next));
    assert_float_equal(next[0], 0.5 - 0.25 / 1.3, 1e-6);
    assert_float_equal(row.radius, 3.9, 1e-12);
}

static void rejection_keeps_the_centre_and_growth_stays(void **state) {
    (void)state;
    struct mi_brep_row row = {.radius = 2, .count = 5};
    float z[2] = {0.1f, 0.2f}, next[2] = {9, 9}, best[2] = {7, 7};
    mi_brep_settle(&published, &row, false, false, next, z, best, 2);
    assert_float_equal(z[0], 0.1, 1e-7);
    assert_int_equal((int)row.count, 5);
    assert_int_equal((int)row.rejected, 1);
    float u[64] = {0};
    bool inside[32];
    for (int i = 0; i < 32; i++) inside[i] = i < 29;
    assert_true(mi_brep_propose(&published, &row, z, u, inside, 2, next));
    mi_brep_settle(&published, &row, true, false, next, z, best, 2);
    assert_float_equal(row.radius, 2.6, 1e-12);
    assert_int_equal((int)row.count, 0);
    assert_float_equal(best[0], 7, 0);
    assert_int_equal((int)row.kept, 0);
    for (int i = 0; i < 48; i++) mi_brep_settle(&published, &row, false, false, next, z, best, 2);
    assert_int_equal((int)row.done, MI_BREP_FINISHED); /* 50 in a row */
}

/* The wanted class is the half-space z_0 > -0.5: the centre drifts along +z_0 until the box stops it. */
static void a_half_space_is_entered_up_to_the_box(void **state) {
    (void)state;
    struct mi_brep_rule rule = published;
    rule.max_iters = 100000;
    rule.max_radius = 0;
    struct mi_brep_row row = {.radius = 2};
    enum { DIM = 4 };
    float z[DIM] = {-0.4f, 0, 0, 0}, u[32 * DIM], next[DIM], best[DIM];
    for (int round = 0; round < 3000; round++) {
        struct mi_rng r = mi_rng_make(1, "half space", (uint64_t)round, 0);
        bool inside[32];
        for (int i = 0; i < 32; i++) {
            double square = 0;
            for (int j = 0; j < DIM; j++) {
                double v = mi_rng_normal(&r);
                square += v * v;
                u[i * DIM + j] = (float)v;
            }
            for (int j = 0; j < DIM; j++) u[i * DIM + j] /= (float)sqrt(square);
            inside[i] = (double)z[0] + row.radius * (double)u[i * DIM] > -0.5;
        }
        bool grew = mi_brep_propose(&rule, &row, z, u, inside, DIM, next);
        mi_brep_settle(&rule, &row, grew, next[0] > -0.5f, next, z, best, DIM);
    }
    assert_float_equal(z[0], 1.5, 1e-6);
}

/* ---- whole attacks -------------------------------------------------------------------------------------------- */

#define QUICK "points=8 radius=0.4 max_iters=12 max_radius=3 init_batch=64 init_rounds=40 "

static int label_of(const float *image) {
    int best = 0;
    for (int k = 1; k < K; k++)
        if (sure_of(image, k) > sure_of(image, best)) best = k;
    return best;
}

static void images_are_labelled_as_wanted(void **state) {
    (void)state;
    struct bench *b = bench_open("brepmi", QUICK);
    static float x[K * 2 * PIXELS];
    assert_int_equal(invert(b, all_labels, K, 2, x), MI_OK);
    for (int i = 0; i < K * 2; i++) assert_int_equal(label_of(x + i * PIXELS), i / 2);
    assert_true(farthest(x, x + PIXELS, PIXELS) > 1e-3); /* restarts have starts of their own */
    bench_close(b);
}

/* Company, batches and order do not change an identity's path. */
static void alone_and_together_are_the_same(void **state) {
    (void)state;
    struct bench *a = bench_open("brepmi", QUICK), *b = bench_open("brepmi", QUICK "stack=3"),
                 *c = bench_open("brepmi", QUICK);
    static float xa[K * 2 * PIXELS], xb[K * 2 * PIXELS], xc[2 * PIXELS];
    const int alone[1] = {4};
    assert_int_equal(invert(a, all_labels, K, 2, xa), MI_OK);
    assert_int_equal(invert(b, all_labels, K, 2, xb), MI_OK);
    assert_int_equal(invert(c, alone, 1, 2, xc), MI_OK);
    assert_true(farthest(xa, xb, K * 2 * PIXELS) < 1e-5);
    assert_true(farthest(xa + 4 * 2 * PIXELS, xc, 2 * PIXELS) < 1e-5);
    assert_true(a->tally == b->tally);
    bench_close(a);
    bench_close(b);
    bench_close(c);
}

/* A target with one answer for everything: all points are inside, so every round grows until max_radius, and the count
 * is exact: one round of starts, then N + 1 a round. */
static void queries_are_counted_exactly(void **state) {
    (void)state;
    struct bench *b = bench_open("brepmi", "points=8 max_radius=6 init_batch=64 init_rounds=3");
    bool grad = mt_grad_mode(false);
    mt_fill_(b->toy->head.w, 0); /* ties: the lowest class wins */
    mt_grad_mode(grad);
    const int zero[1] = {0}, one[1] = {1};
    static float x[PIXELS];
    assert_int_equal(invert(b, zero, 1, 1, x), MI_OK);
    assert_int_equal((int)b->tally, 64 + 5 * 9); /* 2, 2.6, 3.38, 4.39, 5.71 grow; 7.43 exceeds 6 */
    bench_close(b);
    b = bench_open("brepmi", "points=8 max_radius=6 init_batch=64 init_rounds=3");
    grad = mt_grad_mode(false);
    mt_fill_(b->toy->head.w, 0);
    mt_grad_mode(grad);
    assert_int_equal(invert(b, one, 1, 1, x), MI_OK); /* a class that never shows */
    assert_int_equal((int)b->tally, 3 * 64);
    for (int i = 0; i < PIXELS; i++) assert_true(x[i] == 0);
    bench_close(b);
}

/* The target fails in the middle; the next attempt continues from the checkpoint and ends with the same images. */
static void resumes_exactly(void **state) {
    (void)state;
    struct bench *whole = bench_open("brepmi", QUICK), *cut = bench_open("brepmi", QUICK);
    static float a[K * PIXELS], b[K * PIXELS];
    assert_int_equal(invert(whole, all_labels, K, 1, a), MI_OK);
    assert_true(whole->toy->forwards > 24);
    cut->ctx.checkpoint_every = 0;
    const int fails[3] = {2, 9, 20};
    for (int i = 0; i < 3; i++) {
        cut->toy->forwards = 0;
        cut->tally = 0; /* as in a new process */
        cut->toy->fail_at = fails[i];
        if (i == 2) cut->toy->fail_at = whole->toy->forwards / 3;
        assert_int_equal(invert(cut, all_labels, K, 1, NULL), MI_E_DEVICE);
        mi_error_clear();
    }
    cut->toy->fail_at = 0;
    cut->tally = 0;
    assert_int_equal(invert(cut, all_labels, K, 1, b), MI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(whole->tally == cut->tally);
    bench_close(whole);
    bench_close(cut);
}

static void labels_are_all_it_may_see(void **state) {
    (void)state;
    struct bench *b = bench_open("brepmi", QUICK);
    assert_int_equal(b->attack->access, MI_ACCESS_LABEL);
    mt_scope *s = mt_scope_begin("test");
    mt_tensor *r = NULL, *x = mt_zeros(MT_SHAPE(2, 3, SIZE, SIZE), MT_SPEC_F32);
    assert_int_equal(mi_oracle_probs(b->oracle, x, &r), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_oracle_logits(b->oracle, x, &r, NULL), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_oracle_labels(b->oracle, x, &r), MI_OK);
    assert_false(mt_requires_grad(r));
    assert_int_equal(mt_scope_end(s), MI_OK);
    bench_close(b);
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_points_inside_grow_and_stand_still),
        cmocka_unit_test(growth_needs_29_of_32),
        cmocka_unit_test(radii_and_steps_follow_the_published_table),
        cmocka_unit_test(the_move_is_a_mean_over_all_points),
        cmocka_unit_test(rejection_keeps_the_centre_and_growth_stays),
        cmocka_unit_test(a_half_space_is_entered_up_to_the_box),
        cmocka_unit_test(images_are_labelled_as_wanted),
        cmocka_unit_test(alone_and_together_are_the_same),
        cmocka_unit_test(queries_are_counted_exactly),
        cmocka_unit_test(resumes_exactly),
        cmocka_unit_test(labels_are_all_it_may_see),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
