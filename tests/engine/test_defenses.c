/* tests/engine/test_defenses.c - losses and structure of NLS and MID against numbers known without the code, gradients
 * in f64, and what composes with what. */
#include "nn_test.h"

#include "defenses/mid.h"
#include "defenses/nls.h"
#include "midre/judge.h"
#include "midre/oracle.h"
#include "midre/spec.h"

#define F64 ((mt_spec){MT_F64, MT_CPU, MT_NCHW})

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("got %.9g, want %.9g", got, want);
}

static struct mi_values *values_of(const struct mi_defense_desc *d) {
    struct mi_values *v = mi_values_new(d->info.name, d->info.settings);
    assert_non_null(v);
    return v;
}

/* ---- NLS ---- */

/* One image of four classes in the epoch where smoothing is whole. */
static mt_tensor *nls_loss(mt_tensor *logits, int64_t epoch) {
    struct mi_values *v = values_of(&mi_defense_nls);
    struct mi_defense d = {.desc = &mi_defense_nls, .values = v};
    struct mi_batch b = {.y = labels((int)mt_size(logits, 0), 4), .epoch = epoch, .epochs = 100};
    struct mi_forward_out out = {.logits = logits};
    mt_tensor *loss = NULL;
    assert_int_equal(mi_defense_nls.main_loss(&d, &b, &out, &loss), MI_OK);
    mi_values_free(v);
    return loss;
}

static void nls_has_its_published_numbers(void **state) {
    (void)state;
    const double margin[] = {2, 8, 40}, want[] = {0.265753, -0.298994, -1.5};
    for (int i = 0; i < 3; i++) {
        const float row[4] = {(float)margin[i], 0, 0, 0};
        near(number(nls_loss(mt_from(row, MT_SHAPE(1, 4), MT_SPEC_F32), 80)), want[i], 1e-6);
    }
    const float row[4] = {2, 0, 0, 0};
    mt_tensor *z = mt_from(row, MT_SHAPE(1, 4), MT_SPEC_F32), *g[1];
    mt_requires_grad_(z, true);
    assert_int_equal(mt_grad_of(nls_loss(z, 80), &z, 1, false, false, g), MI_OK);
    float dz[4];
    assert_int_equal(mt_read(g[0], dz, sizeof dz, MT_F32, MT_NCHW), MI_OK);
    near(dz[0], -0.326265, 1e-6);
    for (int i = 1; i < 4; i++) near(dz[i], 0.108755, 1e-6);
    /* before the schedule begins it is cross entropy */
    near(number(nls_loss(z, 10)), log(exp(2) + 3) - 2, 1e-6);
}

static void nls_follows_the_released_schedule(void **state) {
    (void)state;
    struct mi_values *v = values_of(&mi_defense_nls);
    near(mi_nls_alpha(v, 49, 100), 0, 0);
    near(mi_nls_alpha(v, 50, 100), -0.05 / 50, 1e-12);
    near(mi_nls_alpha(v, 74, 100), -0.025, 1e-12); /* half, and then a jump */
    near(mi_nls_alpha(v, 75, 100), -0.05, 1e-12);
    near(mi_nls_alpha(v, 0, 1), -0.05, 1e-12); /* a run of one epoch is defended too */
    assert_int_equal(mi_values_set(v, "ramp", "smooth"), MI_OK);
    near(mi_nls_alpha(v, 74, 100), -0.05, 1e-12);
    near(mi_nls_alpha(v, 50, 100), -0.05 / 25, 1e-12);
    assert_int_equal(mi_values_set(v, "ramp", "none"), MI_OK);
    near(mi_nls_alpha(v, 0, 100), -0.05, 1e-12);
    assert_int_equal(mi_values_set(v, "ramp", "released"), MI_OK);
    assert_int_equal(mi_values_set(v, "alpha", "0.1"), MI_OK);
    near(mi_nls_alpha(v, 0, 100), 0.1, 1e-12); /* the schedule is for negative factors */
    assert_int_equal(mi_values_set(v, "start", "0.9"), MI_OK);
    assert_int_equal(mi_defense_nls.validate(v), MI_E_INPUT);
    mi_error_clear();
    mi_values_free(v);
}

/* Mixed labels and weights: sum_i w_i (s_i CE(z_i,a_i) + (1-s_i) CE(z_i,b_i)), an auxiliary head as much again. */
static void mixed_and_weighted_losses(void **state) {
    (void)state;
    const double z[2][3] = {{1, 2, 3}, {0.5, -1, 0}};
    const float flat[6] = {1, 2, 3, 0.5f, -1, 0}, share[2] = {0.75f, 0.5f}, weight[2] = {2, 0.25f};
    const int64_t a[2] = {0, 1}, c[2] = {2, 2};
    mt_spec i64 = {MT_I64, MT_CPU, MT_NCHW};
    struct mi_batch b = {.y = mt_from(a, MT_SHAPE(2), i64),
                         .y2 = mt_from(c, MT_SHAPE(2), i64),
                         .share = mt_from(share, MT_SHAPE(2), MT_SPEC_F32)};
    struct mi_forward_out out = {.logits = mt_from(flat, MT_SHAPE(2, 3), MT_SPEC_F32)};
    double each[2];
    for (int i = 0; i < 2; i++) {
        double lse = log(exp(z[i][0]) + exp(z[i][1]) + exp(z[i][2]));
        each[i] = (double)share[i] * (lse - z[i][a[i]]) + (1 - (double)share[i]) * (lse - z[i][c[i]]);
    }
    near(number(mi_main_loss(&b, &out, 0)), (each[0] + each[1]) / 2, 1e-6);
    b.weight = mt_from(weight, MT_SHAPE(2), MT_SPEC_F32);
    near(number(mi_main_loss(&b, &out, 0)), 2 * each[0] + 0.25 * each[1], 1e-6);
    out.aux_logits = out.logits;
    near(number(mi_main_loss(&b, &out, 0)), 2 * (2 * each[0] + 0.25 * each[1]), 1e-6);
    b.y2 = b.share = b.weight = NULL;
    out.aux_logits = NULL;
    mt_tensor *rows[2];
    for (int i = 0; i < 2; i++) {
        struct mi_batch one = {.y = mt_narrow(b.y, 0, i, 1)};
        struct mi_forward_out alone = {.logits = mt_narrow(out.logits, 0, i, 1)};
        rows[i] = mi_main_loss(&one, &alone, -0.05);
    }
    near(number(mi_main_loss(&b, &out, -0.05)), (number(rows[0]) + number(rows[1])) / 2, 1e-6);
}

/* ---- MID ---- */

static void kl_has_its_published_number(void **state) {
    (void)state;
    const double h[] = {1, 0, 2, 0}; /* mu = (1,0), pre-activations (2,0) */
    mt_tensor *mu, *sigma;
    mi_mid_split(mt_from(h, MT_SHAPE(1, 4), F64), &mu, &sigma);
    near(number(mi_mid_kl(mu, sigma)), 7.528955, 1e-6);
    /* at the start: sigma 0.0067, 4.50 nats a value; far below, still finite */
    mi_mid_split(mt_zeros(MT_SHAPE(1, 2), F64), &mu, &sigma);
    near(number(sigma), log1p(exp(-5)), 1e-12);
    near(number(mi_mid_kl(mu, sigma)), 4.50, 0.01);
    mi_mid_split(mt_affine(mt_full(MT_SHAPE(1, 2), 1, MT_SPEC_F32), -1000, 0), &mu, &sigma);
    assert_true(isfinite(number(mi_mid_kl(mt_affine(mu, 0, 0), sigma))));
}

static void kl_gradients_equal_finite_differences(void **state) {
    (void)state;
    enum { N = 3, K = 4 };
    double values[N * 2 * K], h = 1e-6;
    struct mi_rng r = mi_rng_make(2, "kl", 0, 0);
    for (int i = 0; i < N * 2 * K; i++) values[i] = 2 * mi_rng_normal(&r);
    mt_tensor *z = mt_from(values, MT_SHAPE(N, 2 * K), F64), *g[1], *mu, *sigma;
    mt_requires_grad_(z, true);
    mi_mid_split(z, &mu, &sigma);
    assert_int_equal(mt_grad_of(mt_sum(mi_mid_kl(mu, sigma), NULL, 0, false), &z, 1, false, false, g), MI_OK);
    double got[N * 2 * K], worst = 0;
    assert_int_equal(mt_read(g[0], got, sizeof got, MT_F64, MT_NCHW), MI_OK);
    for (int i = 0; i < N * 2 * K; i++) {
        double side[2];
        for (int s = 0; s < 2; s++) {
            double keep = values[i];
            values[i] += s ? h : -h;
            mi_mid_split(mt_from(values, MT_SHAPE(N, 2 * K), F64), &mu, &sigma);
            side[s] = number(mt_sum(mi_mid_kl(mu, sigma), NULL, 0, false));
            values[i] = keep;
        }
        double off = fabs((side[1] - side[0]) / (2 * h) - got[i]);
        worst = off > worst ? off : worst;
    }
    assert_true(worst < 1e-7);
}

static void open_list(const char *composition, const char *setting, struct mi_spec **spec, struct mi_defenses *ds) {
    const char *overrides[] = {"defense.tldmi.random_start=yes", setting};
    *spec = mi_spec_parse("", "test", overrides, setting ? 2 : 1);
    if (!*spec || mi_defenses_open(ds, composition, *spec) != MI_OK) fail_msg("%s: %s", composition, mi_error_text());
}

static mt_tensor *answer(struct mi_model *m, mt_tensor *x) {
    struct mi_forward_out out;
    assert_int_equal(mi_model_forward(m, x, false, &out), MI_OK);
    return out.logits;
}

static void the_bottleneck_replaces_head_and_norm(void **state) {
    (void)state;
    struct mi_spec *spec;
    struct mi_defenses ds;
    open_list("mid", NULL, &spec, &ds);
    static const char *const gone[] = {"bn.weight", "bn.running_mean", "bn.num_batches_tracked"};
    struct {
        const char *name;
        int size, features;
        bool norm;
    } net[] = {{"vgg16", 64, 2048, true}, {"quick", 32, 256, true}, {"resnet18", 32, 512, false}};
    for (size_t i = 0; i < sizeof net / sizeof *net; i++) {
        struct mi_model *m = quick(net[i].name, 6, net[i].size, 1);
        char head[64];
        snprintf(head, sizeof head, "%s.weight", m->desc->head);
        assert_int_equal(mi_defenses_prepare(&ds, m), MI_OK);
        mt_tensor *st = mi_params_find(m->params, "st_layer.weight"), *fc = mi_params_find(m->params, head);
        assert_int_equal(mt_size(st, 0), net[i].features); /* 2K = F */
        assert_int_equal(mt_size(st, 1), net[i].features);
        assert_int_equal(mt_size(fc, 0), 6);
        assert_int_equal(mt_size(fc, 1), net[i].features / 2);
        for (int k = 0; k < 3; k++) assert_null(net[i].norm ? mi_params_find(m->params, gone[k]) : NULL);
        m->train = false;
        assert_int_equal(mt_size(answer(m, images(2, net[i].size, 1)), 1), 6);
        mi_model_free(m);
    }
    mi_defenses_close(&ds);
    mi_spec_free(spec);
}

/* Answers vary from call to call, but not from one seeding to the next; a target from its file answers alike. */
static void noise_is_on_at_test_and_seeded(void **state) {
    (void)state;
    struct mi_spec *spec;
    struct mi_defenses ds, again;
    open_list("mid", NULL, &spec, &ds);
    struct mi_model *m = quick("quick", 6, 32, 1);
    assert_int_equal(mi_defenses_prepare(&ds, m), MI_OK);
    assert_int_equal(m->passes, 3);
    mt_tensor *st = mi_params_find(m->params, "st_layer.bias"), *x = images(4, 32, 1), *logits, *other;
    bool grad = mt_grad_mode(false);
    mt_fill_(st, 5); /* sigma about 0.7: noise worth noticing */
    struct mi_oracle *o = mi_oracle_new(m, MI_ACCESS_WHITE, "test"), *resumed;
    double tally = 0;
    mi_oracle_tally(o, &tally);
    assert_int_equal(mi_oracle_logits(o, x, &logits, NULL), MI_OK);
    assert_int_equal(mi_oracle_logits(o, x, &other, NULL), MI_OK);
    assert_true(distance(logits, other) > 1e-3);
    /* the file, opened as for an attack that continues after its first four images */
    char *path = temp_file("mid");
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mi_params_save(m->params, a, ""), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    assert_int_equal(mi_defenses_open(&again, "mid", spec), MI_OK);
    struct mi_model *loaded = quick("quick", 6, 32, 1);
    assert_int_equal(mi_defenses_prepare(&again, loaded), MI_OK);
    a = mt_archive_open(path);
    assert_int_equal(mi_params_load(loaded->params, a, ""), MI_OK);
    mt_archive_close(a);
    resumed = mi_oracle_new(loaded, MI_ACCESS_WHITE, "test");
    tally = 4;
    mi_oracle_tally(resumed, &tally);
    assert_int_equal(mi_oracle_logits(resumed, x, &logits, NULL), MI_OK);
    assert_true(mt_hash(logits) == mt_hash(other));
    mt_grad_mode(grad);
    mi_oracle_free(o);
    mi_oracle_free(resumed);
    mi_model_free(m);
    mi_model_free(loaded);
    mi_defenses_close(&ds);
    mi_defenses_close(&again);
    unlink(path);
    free(path);
    mi_spec_free(spec);
}

static void without_test_noise_answers_are_one(void **state) {
    (void)state;
    struct mi_spec *spec;
    struct mi_defenses ds;
    open_list("mid", "defense.mid.test_noise=no", &spec, &ds);
    struct mi_model *m = quick("quick", 6, 32, 1);
    assert_int_equal(mi_defenses_prepare(&ds, m), MI_OK);
    m->train = false;
    mt_tensor *x = images(4, 32, 1);
    assert_true(mt_hash(answer(m, x)) == mt_hash(answer(m, x)));
    /* in training it is on: the loss holds beta times the KL of this very pass */
    m->train = true;
    struct mi_forward_out out = {0};
    struct mi_batch b = {.x = x, .y = labels(4, 6), .n = 4};
    mt_tensor *loss = NULL;
    assert_int_equal(mi_model_forward(m, x, false, &out), MI_OK);
    assert_int_equal(mi_defenses_loss(&ds, &b, &out, &loss), MI_OK);
    double extra = number(loss) - number(mi_main_loss(&b, &out, 0));
    near(extra, 0.003 * 128 * 4.5, 0.2); /* 4.50 nats for each of 128 values, and a little from mu */
    mi_model_free(m);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
}

/* ---- what composes ---- */

static void compositions(void **state) {
    (void)state;
    static const char *const good[] = {"midre+nls", "nls+midre", "midre+bido",  "midre+mid",    "bido_coco+nls",
                                       "tldmi+mid", "mid+nls",   "midre+tldmi", "mid+bido+nls", "nls+tldmi"};
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"bido+bido_coco", "chooses the photos of every batch"},
        {"midre+bido+nls+bido_coco", "bido and bido_coco do not compose"},
        {"nls+nls", "named twice"},
        {"nls+bidu", "bido"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct mi_spec *spec;
        struct mi_defenses ds;
        open_list(good[i], NULL, &spec, &ds);
        struct mi_model *m = quick("quick", 4, 32, 1);
        if (mi_defenses_prepare(&ds, m) != MI_OK) fail_msg("%s: %s", good[i], mi_error_text());
        struct mi_forward_out out = {0};
        struct mi_batch b = {.x = images(8, 32, 2), .y = labels(8, 4), .n = 8, .size = 32, .epochs = 1, .model = m};
        int32_t index[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        b.index = index;
        mt_tensor *loss = NULL;
        m->train = true;
        assert_int_equal(mi_defenses_batch(&ds, &b), MI_OK);
        assert_int_equal(mi_defenses_gradients(&ds, m, &b, &out, &loss), MI_OK);
        assert_true(isfinite(number(loss)));
        mi_model_free(m);
        mi_defenses_close(&ds);
        mi_spec_free(spec);
    }
    struct mi_spec *spec = mi_spec_parse("", "test", NULL, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mi_defenses ds;
        assert_int_equal(mi_defenses_open(&ds, bad[i].text, spec), MI_E_INPUT);
        if (!strstr(mi_error_text(), bad[i].why)) fail_msg("%s: %s", bad[i].text, mi_error_text());
        mi_error_clear();
    }
    mi_spec_free(spec);
}

/* The total does not depend on the order of the list. */
static void order_does_not_matter_to_the_loss(void **state) {
    (void)state;
    static const char *const lists[] = {"nls+bido", "bido+nls"};
    double got[2];
    for (int i = 0; i < 2; i++) {
        struct mi_spec *spec;
        struct mi_defenses ds;
        open_list(lists[i], "defense.nls.ramp=none", &spec, &ds);
        struct mi_model *m = quick("quick", 4, 32, 1);
        assert_int_equal(mi_defenses_prepare(&ds, m), MI_OK);
        struct mi_forward_out out = {0};
        struct mi_batch b = {.x = images(8, 32, 2), .y = labels(8, 4), .n = 8, .size = 32, .epochs = 1};
        mt_tensor *loss = NULL;
        assert_int_equal(mi_model_forward(m, b.x, true, &out), MI_OK);
        assert_int_equal(mi_defenses_loss(&ds, &b, &out, &loss), MI_OK);
        got[i] = number(loss);
        mi_model_free(m);
        mi_defenses_close(&ds);
        mi_spec_free(spec);
    }
    near(got[0], got[1], 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nls_has_its_published_numbers),
        TEST(nls_follows_the_released_schedule),
        TEST(mixed_and_weighted_losses),
        TEST(kl_has_its_published_number),
        TEST(kl_gradients_equal_finite_differences),
        TEST(the_bottleneck_replaces_head_and_norm),
        TEST(noise_is_on_at_test_and_seeded),
        TEST(without_test_noise_answers_are_one),
        TEST(compositions),
        TEST(order_does_not_matter_to_the_loss),
    };
    return cmocka_run_group_tests_name("defenses", tests, start, no_leaks);
}
