/* tests/engine/test_trial.c - a few steps of a loop to see how long they take: which loop, how many, and what is told. */
#include "tests/engine/loop_test.h"

#include <time.h>

static void a_trial_times_the_loop_it_names(void **state) {
    (void)state;
    struct phase p;
    double tally = 0;
    struct mi_trial t = {.phase = "invert", .steps = 2, .units = 12};
    phase_open(&p, "trial");
    p.ctx.trial = &t;
    p.ctx.tally = &tally;
    assert_int_equal(run(&p, "labels", STEPS, -1), MI_OK);
    assert_int_equal(p.steps, 1); /* a loop before it passes after one step */
    assert_true(t.seconds == 0);
    p.steps = 0;
    struct mi_loop l = loop_of(&p, "invert 1", STEPS);
    l.per_step = 4;
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) {
        step(&p, &l);
        tally += 5;
    }
    assert_int_equal(mi_loop_end(&l), MI_STOPPED);
    assert_int_equal(p.steps, 1 + 3); /* one to warm up, then 12 units of 4 a step */
    assert_int_equal(t.timed, 3);
    assert_int_equal(t.total, STEPS);
    assert_true(t.seconds > 0 && t.per_step == 4 && t.tallied == 15);
    mi_error_clear();
    phase_close(&p);
}

static void a_trial_takes_whole_groups_until_its_time_is_up(void **state) {
    (void)state;
    struct phase p;
    struct mi_trial t = {.steps = 3, .at_least = 0.05};
    struct timespec nap = {.tv_nsec = 4 * 1000 * 1000};
    phase_open(&p, "trial time");
    p.ctx.trial = &t;
    struct mi_loop l = loop_of(&p, "any", 1000);
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) {
        step(&p, &l);
        nanosleep(&nap, NULL);
    }
    assert_int_equal(mi_loop_end(&l), MI_STOPPED);
    assert_int_equal(t.timed % 3, 0);
    assert_true(t.seconds * (double)t.timed >= 0.05 && t.timed < 1000 - 3);
    mi_error_clear();
    phase_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_times_the_loop_it_names),
        cmocka_unit_test(a_trial_takes_whole_groups_until_its_time_is_up),
    };
    return cmocka_run_group_tests_name("trial", tests, setup, teardown);
}
