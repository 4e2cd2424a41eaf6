/* tests/engine/test_loop.c - the resumable loop: an interrupted phase ends with the same bits as one that was not.
 *
 * A kill is a loop that is simply abandoned between two steps: nothing but its files is left.  Every comparison is of
 * exact bits. */
#include "tests/engine/loop_test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct result {
    uint64_t w, z, m;
    double sum;
    char *curves;
};

static struct result result_of(struct phase *p) {
    struct result r = {.w = mt_hash(p->ps->item[0].t), .z = mt_hash(p->z), .sum = p->sum};
    char *path = mi_product_work_file(&p->product, "curves.json");
    assert_int_equal(mi_curves_write(p->ctx.curves, path), MI_OK);
    r.curves = mi_read_file(path, 1 << 20, NULL);
    free(path);
    return r;
}

static void assert_same(const struct result *a, const struct result *b) {
    assert_true(a->w == b->w);
    assert_true(a->z == b->z);
    assert_memory_equal(&a->sum, &b->sum, sizeof(a->sum));
    assert_string_equal(a->curves, b->curves);
}

static struct result uninterrupted(void) {
    static struct result r;
    if (r.curves) return r;
    struct phase p;
    phase_open(&p, "reference");
    assert_int_equal(run(&p, "a", STEPS, -1), MI_OK);
    assert_int_equal(p.steps, STEPS);
    r = result_of(&p);
    phase_close(&p);
    return r;
}

static void a_killed_loop_ends_with_the_same_bits(void **state) {
    (void)state;
    struct result want = uninterrupted();
    for (int64_t kill = 0; kill < STEPS; kill += 5) {
        char key[32];
        snprintf(key, sizeof(key), "kill %d", (int)kill);
        struct phase p;
        phase_open(&p, key);
        assert_int_equal(run(&p, "a", STEPS, kill), MI_STOPPED);
        phase_close(&p);
        phase_open(&p, key);
        assert_int_equal(run(&p, "a", STEPS, -1), MI_OK);
        assert_int_equal(p.first, kill);
        struct result got = result_of(&p);
        assert_same(&got, &want);
        free(got.curves);
        phase_close(&p);
    }
}

/* The newest checkpoint loses its tail, as a disk may do to it: the one before is used. */
static void a_torn_checkpoint_is_passed_over(void **state) {
    (void)state;
    struct result want = uninterrupted();
    struct phase p;
    phase_open(&p, "torn");
    assert_int_equal(run(&p, "a", STEPS, 10), MI_STOPPED);
    char *a = mi_product_work_file(&p.product, "ckpt-a-A.safetensors");
    char *b = mi_product_work_file(&p.product, "ckpt-a-B.safetensors");
    struct stat sa, sb;
    assert_int_equal(stat(a, &sa), 0);
    assert_int_equal(stat(b, &sb), 0);
    bool a_newer = sa.st_mtim.tv_sec != sb.st_mtim.tv_sec ? sa.st_mtim.tv_sec > sb.st_mtim.tv_sec
                                                          : sa.st_mtim.tv_nsec > sb.st_mtim.tv_nsec;
    assert_int_equal(truncate(a_newer ? a : b, 100), 0);
    phase_close(&p);
    phase_open(&p, "torn");
    assert_int_equal(run(&p, "a", STEPS, -1), MI_OK);
    assert_int_equal(p.first, 9);
    struct result got = result_of(&p);
    assert_same(&got, &want);
    free(got.curves);
    free(a);
    free(b);
    phase_close(&p);
}

static void a_finished_phase_is_not_done_again(void **state) {
    (void)state;
    struct phase p;
    phase_open(&p, "phases");
    assert_int_equal(run(&p, "a", 6, -1), MI_OK);
    assert_int_equal(run(&p, "b", 8, 3), MI_STOPPED); /* killed early in the second phase */
    phase_close(&p);
    phase_open(&p, "phases");
    assert_int_equal(run(&p, "a", 6, -1), MI_OK);
    assert_int_equal(p.steps, 0);
    assert_int_equal(run(&p, "b", 8, -1), MI_OK);
    assert_int_equal(p.first, 3);
    struct result got = result_of(&p);
    phase_close(&p);
    phase_open(&p, "phases in one go");
    assert_int_equal(run(&p, "a", 6, -1), MI_OK);
    assert_int_equal(run(&p, "b", 8, -1), MI_OK);
    struct result want = result_of(&p);
    assert_same(&got, &want);
    assert_int_equal(p.ctx.curves->base_step, 14);
    free(got.curves);
    free(want.curves);
    phase_close(&p);
}

static void curves_do_not_repeat_or_lose_points(void **state) {
    (void)state;
    struct result want = uninterrupted();
    json_t *all = json_loads(want.curves, 0, NULL);
    json_t *points = json_object_get(all, "loss");
    assert_int_equal(json_array_size(points), STEPS);
    for (size_t i = 0; i < STEPS; i++)
        assert_int_equal(json_integer_value(json_array_get(json_array_get(points, i), 0)), i + 1);
    json_decref(all);
}

static void long_phases_get_means_of_buckets(void **state) {
    (void)state;
    struct phase p;
    phase_open(&p, "long");
    p.ctx.checkpoint_every = 1e9;
    p.ctx.product = NULL; /* and a loop without a product works, it just keeps nothing */
    struct mi_loop l = {.ctx = &p.ctx, .phase = "long", .total = 1500, .steps_per_epoch = 100};
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) mi_loop_scalar(&l, "step", (double)l.step);
    assert_int_equal(mi_loop_end(&l), MI_OK);
    assert_int_equal(p.ctx.curves->n, 1);
    assert_int_equal(p.ctx.curves->item[0].n, 500); /* buckets of 3 */
    struct mi_curve_point *at = &p.ctx.curves->item[0].p[10];
    assert_int_equal(at->step, 33);
    assert_true(at->x > 0.3299 && at->x < 0.3301);
    assert_true(at->y == 31.0);
    phase_close(&p);
}

static void a_failing_step_ends_the_loop(void **state) {
    (void)state;
    struct phase p;
    phase_open(&p, "failing");
    struct mi_loop l = loop_of(&p, "a", STEPS);
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) {
        if (l.step < 4)
            step(&p, &l);
        else
            mt_scope_end(mt_scope_begin("x")), mt_raise(MI_E_DEVICE, "the device is gone");
    }
    assert_int_equal(mi_loop_end(&l), MI_E_DEVICE);
    assert_non_null(strstr(mi_error_text(), "the device is gone"));
    mi_error_clear();
    assert_int_equal(p.steps, 4);
    phase_close(&p);
}

static void parts_come_back_exactly(void **state) {
    (void)state;
    struct phase p;
    phase_open(&p, "parts");
    double tally = 12;
    p.ctx.tally = &tally;
    const char *const names[] = {"x"};
    mt_scope *s = mt_scope_begin("parts");
    mt_tensor *x = mt_arange(0, 12, MT_SPEC_F32), *back = NULL;
    assert_int_equal(mi_ctx_part_load(&p.ctx, "group 1/2", &back, names, 1), MI_E_MISSING);
    assert_int_equal(mi_error_status(), MI_OK);
    assert_int_equal(mi_ctx_part_save(&p.ctx, "group 1/2", &x, names, 1), MI_OK);
    tally = 0;
    assert_int_equal(mi_ctx_part_load(&p.ctx, "group 1/2", &back, names, 1), MI_OK);
    assert_true(mt_hash(back) == mt_hash(x));
    assert_true(tally == 12);
    assert_int_equal(mt_scope_end(s), MI_OK);
    phase_close(&p);
}

/* A person stops a run: the step is finished, saved, and the journal knows where it goes on. */
static void stop_and_snapshot_are_obeyed(void **state) {
    (void)state;
    struct result want = uninterrupted();
    struct phase p;
    int number = 0;
    assert_int_equal(mi_run_create(&ws, "", &number), MI_OK);
    char *dir = mi_run_dir(&ws, number), *path = mi_run_file(&ws, number, "journal.jsonl");
    phase_open(&p, "stop");
    p.ctx.checkpoint_every = 1e9;
    p.ctx.run_dir = dir;
    p.ctx.journal = mi_journal_open(path);
    p.ctx.control = mi_control_serve(dir);
    assert_non_null(p.ctx.control);
    struct mi_loop l = loop_of(&p, "a", STEPS);
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) {
        step(&p, &l);
        if (l.step == 4) mi_control_request(p.ctx.control, MI_REQ_SNAPSHOT);
        if (l.step == 5) {
            char *ckpt = mi_product_work_file(&p.product, "ckpt-a-A.safetensors");
            assert_true(mi_exists(ckpt));
            free(ckpt);
        }
        if (l.step == 8) mi_control_request(p.ctx.control, MI_REQ_STOP);
    }
    assert_int_equal(l.step, 9);
    assert_int_equal(mi_loop_end(&l), MI_STOPPED);
    mi_control_close(p.ctx.control);
    phase_close(&p); /* the journal goes on in the next session */
    struct mi_journal *journal = p.ctx.journal;
    phase_open(&p, "stop");
    p.ctx.journal = journal;
    assert_int_equal(run(&p, "a", STEPS, -1), MI_OK);
    assert_int_equal(p.first, 9);
    struct result got = result_of(&p);
    assert_same(&got, &want);
    mi_journal_close(journal);
    char *text = mi_read_file(path, 1 << 20, NULL);
    assert_non_null(strstr(text, "\"rewind\""));
    assert_non_null(strstr(text, "\"progress\""));
    free(text);
    free(got.curves);
    free(dir);
    free(path);
    phase_close(&p);
}

/* Somebody else lets the paused engine go on; only then does another step happen. */
static void *let_go(void *control) {
    usleep(150 * 1000);
    mi_control_request(control, MI_REQ_RESUME);
    return NULL;
}

static void a_pause_saves_waits_and_goes_on(void **state) {
    (void)state;
    struct result want = uninterrupted();
    struct phase p;
    int number = 0;
    pthread_t other;
    assert_int_equal(mi_run_create(&ws, "", &number), MI_OK);
    char *dir = mi_run_dir(&ws, number), *path = mi_run_file(&ws, number, "journal.jsonl");
    phase_open(&p, "pause");
    p.ctx.checkpoint_every = 1e9;
    p.ctx.run_dir = dir;
    p.ctx.journal = mi_journal_open(path);
    p.ctx.control = mi_control_serve(dir);
    struct mi_loop l = loop_of(&p, "a", STEPS);
    assert_int_equal(mi_loop_begin(&l), MI_OK);
    while (mi_loop_next(&l)) {
        if (l.step == 7) {
            assert_false(mi_control_paused(p.ctx.control));
            char *ckpt = mi_product_work_file(&p.product, "ckpt-a-A.safetensors");
            assert_true(mi_exists(ckpt));
            free(ckpt);
        }
        step(&p, &l);
        if (l.step == 6) {
            mi_control_request(p.ctx.control, MI_REQ_PAUSE);
            assert_int_equal(pthread_create(&other, NULL, let_go, p.ctx.control), 0);
        }
    }
    assert_int_equal(mi_loop_end(&l), MI_OK);
    pthread_join(other, NULL);
    struct result got = result_of(&p);
    assert_same(&got, &want);
    mi_control_close(p.ctx.control);
    mi_journal_close(p.ctx.journal);
    char *text = mi_read_file(path, 1 << 20, NULL);
    char *paused = strstr(text, "\"state\":\"paused\"");
    assert_non_null(paused);
    assert_non_null(strstr(paused, "\"state\":\"running\""));
    free(text);
    free(got.curves);
    free(dir);
    free(path);
    phase_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_loop_ends_with_the_same_bits),
        cmocka_unit_test(a_torn_checkpoint_is_passed_over),
        cmocka_unit_test(a_finished_phase_is_not_done_again),
        cmocka_unit_test(curves_do_not_repeat_or_lose_points),
        cmocka_unit_test(long_phases_get_means_of_buckets),
        cmocka_unit_test(a_failing_step_ends_the_loop),
        cmocka_unit_test(parts_come_back_exactly),
        cmocka_unit_test(stop_and_snapshot_are_obeyed),
        cmocka_unit_test(a_pause_saves_waits_and_goes_on),
    };
    return cmocka_run_group_tests_name("loop", tests, setup, teardown);
}
