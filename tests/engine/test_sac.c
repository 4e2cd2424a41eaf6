/* tests/engine/test_sac.c - stacked soft actor-critics: sizes, first weights, temperature, twins, stacking, learning.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "attacks/sac.h"

static const uint64_t seeds[3] = {11, 22, 33};

static struct mi_sac_config small(int learners) {
    return (struct mi_sac_config){.learners = learners,
                                  .dim = 5,
                                  .hidden = 16,
                                  .critics = 1,
                                  .lr = 5e-4,
                                  .lr_temperature = 5e-4,
                                  .gamma = 0.99,
                                  .tau = 0.01,
                                  .box = 1,
                                  .entropy = -5};
}

static mt_tensor *value(const struct mi_params *ps, const char *name) {
    mt_tensor *t = mi_params_find(ps, name);
    assert_non_null(t);
    return mt_detach(t);
}

static double most(const struct mi_params *ps, const char *name) {
    double v = 0;
    assert_int_equal(mt_item(mt_norm(value(ps, name), INFINITY, NULL, 0, false), &v), MI_OK);
    return v;
}

static double difference(mt_tensor *a, mt_tensor *b) {
    double v = 0;
    assert_int_equal(mt_item(mt_norm(mt_sub(a, b), INFINITY, NULL, 0, false), &v), MI_OK);
    return v;
}

/* Batch number `step` for learners first..first+n-1: its own numbers for each learner. */
static struct mi_sac_batch batch_of(int first, int n, int rows, int dim, int step) {
    int64_t each = (int64_t)rows * dim;
    float *p = malloc((size_t)(n * each * 3 + n * rows) * sizeof *p);
    for (int i = 0; i < n; i++) {
        struct mi_rng r = mi_rng_make(9, "batch", (uint64_t)(first + i), (uint64_t)step);
        mi_rng_fill_normal(&r, p + i * each, (size_t)each);
        for (int64_t k = 0; k < each; k++) p[n * each + i * each + k] = (float)mi_rng_range(&r, -1, 1);
        mi_rng_fill_normal(&r, p + 2 * n * each + i * rows, (size_t)rows);
    }
    struct mi_sac_batch b = {.s = mt_from(p, MT_SHAPE(n, rows, dim), MT_SPEC_F32),
                             .a = mt_from(p + n * each, MT_SHAPE(n, rows, dim), MT_SPEC_F32),
                             .r = mt_from(p + 2 * n * each, MT_SHAPE(n, rows), MT_SPEC_F32)};
    b.next = b.a;
    b.done = mt_full(MT_SHAPE(rows), 1, MT_SPEC_F32);
    free(p);
    return b;
}

static mt_tensor *noise_of(int rows, int dim, int step) {
    float p[1024];
    struct mi_rng r = mi_rng_make(9, "noise", (uint64_t)step, 0);
    mi_rng_fill_normal(&r, p, (size_t)(rows * dim));
    return mt_from(p, MT_SHAPE(1, rows, dim), MT_SPEC_F32);
}

static void learn(struct mi_sac *m, int first, int steps) {
    for (int i = 0; i < steps; i++) {
        mt_scope *s = mt_scope_begin("step");
        struct mi_sac_batch b = batch_of(first, m->c.learners, 8, m->c.dim, i);
        mt_tensor *e = noise_of(1, 1, i);
        assert_int_equal(mi_sac_learn(m, &b, noise_of(8, m->c.dim, i), e, NULL), MI_OK);
        assert_int_equal(mt_scope_end(s), MI_OK);
    }
}

static void sizes_and_first_weights_are_the_published_ones(void **state) {
    (void)state;
    struct mi_sac m;
    struct mi_sac_config c = small(1);
    c.dim = 100;
    c.hidden = 256;
    assert_int_equal(mi_sac_open(&m, &c, seeds, MT_CPU), MI_OK);
    assert_int_equal(mi_params_count(m.actor, true), 143048);
    assert_int_equal(mi_params_count(m.critic, true), 117505);
    mt_scope *s = mt_scope_begin("test");
    const struct {
        const struct mi_params *ps;
        const char *name;
        double bound;
    } known[] = {{m.actor, "fc1.weight", 0.1},        {m.actor, "fc1.bias", 0.1},
                 {m.actor, "mu.weight", 0.0625},      {m.actor, "log_sigma.weight", 0.0625},
                 {m.critic, "q1.fc1.weight", 0.0625}, {m.critic, "q1.fc1.bias", 0.0707107},
                 {m.critic, "q1.fc2.weight", 0.0625}, {m.critic, "q1.fc3.weight", 0.003},
                 {m.critic, "q1.fc3.bias", 0.0625}};
    for (int i = 0; i < 9; i++) {
        double v = most(known[i].ps, known[i].name);
        assert_true(v <= known[i].bound * (1 + 1e-6));
        if (i != 8) assert_true(v > 0.9 * known[i].bound); /* a single bias may be small */
    }
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_sac_close(&m);
}

static void temperature_falls_as_published(void **state) {
    (void)state;
    struct mi_sac m;
    struct mi_sac_config c = small(2);
    assert_int_equal(mi_sac_open(&m, &c, seeds, MT_CPU), MI_OK);
    learn(&m, 0, 400);
    mt_scope *s = mt_scope_begin("test");
    float t[2];
    assert_int_equal(mt_read(value(m.temperature, "log"), t, sizeof t, MT_F32, MT_NCHW), MI_OK);
    for (int i = 0; i < 2; i++) assert_true(fabs(exp((double)t[i]) / exp(-5e-4 * 400) - 1) < 0.003);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_sac_close(&m);
}

static void equal_twins_stay_equal_and_the_bandit_form_is_exact(void **state) {
    (void)state;
    struct mi_sac two, one;
    struct mi_sac_config c = small(2);
    assert_int_equal(mi_sac_open(&one, &c, seeds, MT_CPU), MI_OK);
    c.critics = 2;
    c.twins = c.bootstrap = true; /* all machinery on, though every step is the last */
    assert_int_equal(mi_sac_open(&two, &c, seeds, MT_CPU), MI_OK);
    learn(&two, 0, 60);
    learn(&one, 0, 60);
    mt_scope *s = mt_scope_begin("test");
    static const char *const names[] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc3.weight", "fc3.bias"};
    for (int i = 0; i < 5; i++) {
        char a[32], b[32];
        snprintf(a, sizeof a, "q1.%s", names[i]);
        snprintf(b, sizeof b, "q2.%s", names[i]);
        assert_true(mt_hash(value(two.critic, a)) == mt_hash(value(two.critic, b)));
        assert_true(difference(value(two.critic, a), value(one.critic, a)) < 1e-6);
    }
    for (int i = 0; i < one.actor->n; i++)
        assert_true(difference(mt_detach(one.actor->item[i].t), mt_detach(two.actor->item[i].t)) < 1e-6);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_sac_close(&one);
    mi_sac_close(&two);
}

static void stacked_learners_walk_as_they_would_alone(void **state) {
    (void)state;
    struct mi_sac all;
    struct mi_sac_config c = small(3);
    assert_int_equal(mi_sac_open(&all, &c, seeds, MT_CPU), MI_OK);
    learn(&all, 0, 50);
    for (int k = 0; k < 3; k++) {
        struct mi_sac alone;
        c = small(1);
        assert_int_equal(mi_sac_open(&alone, &c, seeds + k, MT_CPU), MI_OK);
        learn(&alone, k, 50);
        mt_scope *s = mt_scope_begin("test");
        for (int i = 0; i < all.actor->n; i++) {
            mt_tensor *mine = mt_narrow(mt_detach(all.actor->item[i].t), 0, k, 1);
            assert_true(difference(mine, mt_detach(alone.actor->item[i].t)) < 1e-5);
        }
        for (int i = 0; i < all.critic->n; i++) {
            mt_tensor *mine = mt_narrow(mt_detach(all.critic->item[i].t), 0, k, 1);
            assert_true(difference(mine, mt_detach(alone.critic->item[i].t)) < 1e-5);
        }
        assert_int_equal(mt_scope_end(s), MI_OK);
        mi_sac_close(&alone);
    }
    mi_sac_close(&all);
}

/* Reward -|a - a0|: the mean action of each learner approaches its own a0. */
static void the_mean_action_finds_the_optimum(void **state) {
    (void)state;
    enum { L = 2, B = 32, D = 2, HORIZON = 900 };
    static const float goal[L * D] = {0.5f, -0.4f, -0.6f, 0.2f};
    struct mi_sac m;
    struct mi_sac_config c = {.learners = L,
                              .dim = D,
                              .hidden = 32,
                              .critics = 1,
                              .lr = 3e-3,
                              .lr_temperature = 3e-3,
                              .gamma = 0.99,
                              .tau = 0.01,
                              .box = 1,
                              .entropy = -D};
    assert_int_equal(mi_sac_open(&m, &c, seeds, MT_CPU), MI_OK);
    double miss[2] = {0};
    for (int i = 0; i < HORIZON; i++) {
        mt_scope *s = mt_scope_begin("step");
        struct mi_sac_batch b = batch_of(0, L, B, D, i);
        mt_tensor *a0 = mt_from(goal, MT_SHAPE(L, 1, D), MT_SPEC_F32);
        b.r = mt_affine(mt_norm(mt_sub(b.a, a0), 2, MT_DIMS(2), false), -1, 0); /* [L,B] */
        if (i == 0 || i == HORIZON - 1) {
            struct mi_sac_policy p;
            assert_int_equal(mi_sac_policy(&m, b.s, mt_zeros(MT_SHAPE(1, 1, 1), MT_SPEC_F32), &p), MI_OK);
            mt_tensor *off = mt_norm(mt_sub(mt_mean(mt_detach(p.a), MT_DIMS(1), true), a0), 2, MT_DIMS(2), false);
            assert_int_equal(mt_item(mt_amax(mt_flatten(off, 0), 0, false), &miss[i > 0]), MI_OK);
        }
        assert_int_equal(mi_sac_learn(&m, &b, MT_NONE, noise_of(B, D, i), NULL), MI_OK);
        assert_int_equal(mt_scope_end(s), MI_OK);
    }
    assert_true(miss[0] > 0.3);
    assert_true(miss[1] < 0.15);
    mi_sac_close(&m);
}

static void nothing_is_left_alive(void **state) {
    (void)state;
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_first_weights_are_the_published_ones),
        cmocka_unit_test(temperature_falls_as_published),
        cmocka_unit_test(equal_twins_stay_equal_and_the_bandit_form_is_exact),
        cmocka_unit_test(stacked_learners_walk_as_they_would_alone),
        cmocka_unit_test(the_mean_action_finds_the_optimum),
        cmocka_unit_test(nothing_is_left_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
