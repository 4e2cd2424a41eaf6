/* test_parts.c - a batch in parts: the gradient of the whole, and the decision when memory is short. */
#include "tests/engine/nn_test.h"

#include "src/train/train_priv.h"

static double gradients(struct mi_model *m, struct mi_batch *b, int parts, mt_tensor **grad, int *n) {
    struct mi_defenses none = {.n = 0};
    struct mi_forward_out out = {0};
    mt_tensor *loss = NULL, *ps[256];
    *n = mi_params_trainable(m->params, ps, 256);
    mt_zero_grad(ps, *n, true);
    if (mi_parts_gradients(&none, m, b, parts, &out, &loss) != MI_OK) fail_msg("%s", mi_error_text());
    assert_int_equal(mt_size(out.logits, 0), b->n);
    for (int i = 0; i < *n; i++) grad[i] = mt_clone(mt_grad(ps[i]));
    return number(loss);
}

/* BatchNorm in evaluation mode, so that a photo does not feel its neighbours. */
static void parts_add_up_to_the_whole(void **state) {
    (void)state;
    int32_t index[10] = {0};
    struct mi_model *m = quick("quick", 5, 32, 3);
    struct mi_batch b = {.x = images(10, 32, 1), .y = labels(10, 5), .index = index, .n = 10, .size = 32, .model = m};
    mt_tensor *whole[256], *sum[256];
    int n = 0;
    m->train = false;
    double loss = gradients(m, &b, 1, whole, &n);
    static const int parts[] = {2, 3, 4, 5}; /* also where ten is not divisible */
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        double again = gradients(m, &b, parts[k], sum, &n);
        assert_true(fabs(again - loss) < 1e-5 * loss);
        for (int i = 0; i < n; i++) assert_true(distance(sum[i], whole[i]) < 1e-4);
    }
    mi_model_free(m);
}

static void a_probe_leaves_no_trace_and_short_memory_means_parts(void **state) {
    (void)state;
    int32_t index[32] = {0};
    struct mi_model *m = quick("resnet18", 5, 64, 3);
    struct mi_defenses none = {.n = 0};
    struct mi_batch b = {.x = images(32, 64, 1), .y = labels(32, 5), .index = index, .n = 32, .size = 64, .model = m};
    uint64_t before[256];
    int parts = 0;
    m->train = true;
    assert_true(m->params->n < 256);
    for (int i = 0; i < m->params->n; i++) before[i] = mt_hash(m->params->item[i].t);
    struct mi_ctx ctx = {.stage = "test", .device = MT_CPU, .memory_mb = 100000000};
    assert_int_equal(mi_parts_fit(&ctx, &none, m, &b, &parts), MI_OK);
    assert_int_equal(parts, 1);
    ctx.memory_mb = 1; /* less than any photo needs */
    assert_int_equal(mi_parts_fit(&ctx, &none, m, &b, &parts), MI_OK);
    FILE *f = fopen("/proc/self/clear_refs", "we");
    if (f) {
        assert_int_equal(parts, 16);
        fclose(f);
    }
    for (int i = 0; i < m->params->n; i++) assert_true(mt_hash(m->params->item[i].t) == before[i]);
    mi_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(parts_add_up_to_the_whole),
                                       TEST(a_probe_leaves_no_trace_and_short_memory_means_parts)};
    return cmocka_run_group_tests_name("parts", tests, start, no_leaks);
}
