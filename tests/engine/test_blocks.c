/* Memory of large tensors: reuse, a peak no higher than what was in use at once, and that libtorch's tensors use it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "midre/tensor.h"
#include "src/tensor/blocks.h"

#define MB ((size_t)1 << 20)

static size_t used(void) {
    size_t in_use, free_now;
    mt_blocks_count(&in_use, &free_now);
    return in_use;
}

static size_t waiting(void) {
    size_t in_use, free_now;
    mt_blocks_count(&in_use, &free_now);
    return free_now;
}

static void a_freed_block_serves_the_next_request(void **state) {
    (void)state;
    mt_blocks_release();
    char *a = mt_block_get(5 * MB);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % MT_BLOCK_ALIGN, 0);
    memset(a, 1, 5 * MB);
    assert_true(mt_block_put(a));
    assert_false(mt_block_put(a)); /* not twice */
    assert_int_equal(waiting(), 5 * MB);
    assert_ptr_equal(mt_block_get(5 * MB - 100), a); /* a little smaller fits as well */
    assert_int_equal(waiting(), 0);
    char *b = mt_block_get(3 * MB);
    assert_ptr_not_equal(b, a);
    mt_block_put(a);
    assert_ptr_not_equal(mt_block_get(3 * MB), a); /* far smaller would waste it */
    mt_blocks_release();
}

static void the_peak_is_what_was_in_use_at_once(void **state) {
    (void)state;
    mt_blocks_release();
    size_t before = used(), most = 0;
    for (int round = 0; round < 50; round++) { /* ever other sizes, 16 MB at most at a time */
        size_t size = (size_t)(4 + round % 12) * MB;
        char *p = mt_block_get(size);
        assert_non_null(p);
        p[0] = p[size - 1] = 1;
        assert_true(mt_block_put(p));
        if (used() + waiting() > most) most = used() + waiting();
    }
    assert_true(most - before <= 17 * MB);
    mt_blocks_release();
    assert_int_equal(waiting(), 0);
    assert_int_equal(used(), before);
}

static void many_blocks_are_told_apart(void **state) {
    (void)state;
    enum { N = 400 };
    static char *p[N];
    size_t before = used();
    for (int i = 0; i < N; i++) {
        p[i] = mt_block_get(2 * MB);
        assert_non_null(p[i]);
        *(int *)p[i] = i;
    }
    for (int i = 0; i < N; i += 2) assert_true(mt_block_put(p[i]));
    mt_blocks_release(); /* takes every other one out of the table */
    for (int i = 1; i < N; i += 2) {
        assert_int_equal(*(int *)p[i], i);
        assert_true(mt_block_put(p[i]));
    }
    mt_blocks_release();
    assert_int_equal(used(), before);
}

static void what_is_not_ours_is_refused(void **state) {
    (void)state;
    char here;
    assert_false(mt_block_put(&here));
    assert_false(mt_block_put(NULL));
    assert_false(mt_block_put((void *)(uintptr_t)(64 * MB)));
    assert_null(mt_block_get(SIZE_MAX / 2));
}

static void large_tensors_live_in_blocks(void **state) {
    (void)state;
    if (!mt_blocks_install()) skip(); /* AddressSanitizer watches malloc's memory instead */
    size_t before = used();
    mt_scope *s = mt_scope_begin("blocks");
    mt_tensor *small = mt_zeros(MT_SHAPE(1000), MT_SPEC_F32), *large = mt_zeros(MT_SHAPE(1 << 20), MT_SPEC_F32);
    assert_non_null(small);
    assert_non_null(large);
    assert_int_equal(used() - before, 4 * MB);
    assert_int_equal(mt_scope_end(s), MI_OK);
    assert_int_equal(used(), before);
}

int main(void) {
    if (mt_init(1) != MI_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_freed_block_serves_the_next_request), cmocka_unit_test(the_peak_is_what_was_in_use_at_once),
        cmocka_unit_test(many_blocks_are_told_apart),            cmocka_unit_test(what_is_not_ours_is_refused),
        cmocka_unit_test(large_tensors_live_in_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
