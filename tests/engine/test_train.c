/* tests/engine/test_train.c - schedules, recipes, composed defenses, and training that learns and resumes exactly.
 *
 * The data are four colours with noise, made here: a small network separates them in a few epochs, so "it learns" is a
 * statement about the loop.  A second session continues a training that was stopped in the middle of an epoch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "midre/spec.h"
#include "src/engine/loop_priv.h"
#include "src/train/train_priv.h"

#define SIDE    32
#define CLASSES 4
#define TRAIN   48
#define TEST    16

static struct mi_workspace ws;
static char root[256];
static struct mi_dataset data;

static void paint(struct mi_pack_split *s, size_t n, const char *purpose) {
    static const int colour[CLASSES][3] = {{220, 40, 40}, {40, 200, 60}, {50, 60, 230}, {200, 190, 40}};
    uint8_t *rgb = test_calloc(n, (size_t)SIDE * SIDE * 3);
    int32_t *labels = test_calloc(n, sizeof(*labels));
    for (size_t i = 0; i < n; i++) {
        struct mi_rng r = mi_rng_make(1, purpose, i, 0);
        labels[i] = (int32_t)(i % CLASSES);
        for (size_t k = 0; k < (size_t)SIDE * SIDE * 3; k++) {
            double v = colour[labels[i]][k % 3] + 40 * mi_rng_normal(&r);
            rgb[i * SIDE * SIDE * 3 + k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    *s = (struct mi_pack_split){.rgb = rgb, .labels = labels, .n = n};
}

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TEST_TMP");
    snprintf(root, sizeof(root), "%s/train-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(root) || mt_init(1) != MI_OK || mi_workspace_open(&ws, root) != MI_OK) return -1;
    data.desc = mi_data_find("synthfaces");
    data.size = SIDE;
    data.classes = CLASSES;
    paint(&data.split[MI_TRAIN], TRAIN, "train");
    paint(&data.split[MI_TEST], TEST, "test");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        test_free((void *)(uintptr_t)data.split[i].rgb);
        test_free((void *)(uintptr_t)data.split[i].labels);
    }
    mi_workspace_close(&ws);
    mi_remove_tree(root);
    return 0;
}

/* ---- schedules ---- */

static void near(double a, double b) {
    assert_true(fabs(a - b) < 1e-9 * (1 + fabs(b)));
}

static void rates_follow_their_schedule(void **state) {
    (void)state;
    struct mi_train_recipe r = {.lr = 0.1, .schedule = MI_LR_CONSTANT};
    near(mi_schedule_lr(&r, 57, 10, 100), 0.1);
    r.schedule = MI_LR_COSINE;
    near(mi_schedule_lr(&r, 0, 10, 100), 0.1);
    near(mi_schedule_lr(&r, 50, 10, 100), 0.05);
    near(mi_schedule_lr(&r, 25, 10, 100), 0.05 * (1 + sqrt(0.5)));
    r = (struct mi_train_recipe){
        .lr = 0.1, .schedule = MI_LR_STEP, .milestones = {2, 5}, .n_milestones = 2, .gamma = 0.1};
    near(mi_schedule_lr(&r, 19, 10, 100), 0.1);
    near(mi_schedule_lr(&r, 20, 10, 100), 0.01);
    near(mi_schedule_lr(&r, 99, 10, 100), 0.001);
    r = (struct mi_train_recipe){.lr = 0.1, .schedule = MI_LR_ONECYCLE};
    near(mi_schedule_lr(&r, 0, 10, 101), 0.004);
    near(mi_schedule_lr(&r, 30, 10, 101), 0.1);
    near(mi_schedule_lr(&r, 100, 10, 101), 0.004e-4);
    r = (struct mi_train_recipe){.lr = 0.1, .schedule = MI_LR_CONSTANT, .warmup = 1};
    near(mi_schedule_lr(&r, 0, 9, 90), 0.01);
    near(mi_schedule_lr(&r, 4, 9, 90), 0.05);
    near(mi_schedule_lr(&r, 9, 9, 90), 0.1);
}

static void recipes_refuse_contradictions(void **state) {
    (void)state;
    struct mi_train_recipe r;
    struct mi_values *v = mi_values_new("target", mi_section_settings(MI_SEC_TARGET));
    assert_int_equal(mi_train_recipe_read(v, &r), MI_OK);
    assert_int_equal(r.optimiser, MI_OPT_SGD);
    assert_int_equal(mi_values_set(v, "schedule", "step"), MI_OK);
    assert_int_equal(mi_train_recipe_read(v, &r), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "milestones"));
    mi_error_clear();
    assert_int_equal(mi_values_set(v, "milestones", "30, 20"), MI_OK);
    assert_int_equal(mi_train_recipe_read(v, &r), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_values_set(v, "milestones", "20, 30.5"), MI_OK);
    assert_int_equal(mi_values_set(v, "optimiser", "adam"), MI_OK);
    assert_int_equal(mi_values_set(v, "keep", "best"), MI_OK);
    assert_int_equal(mi_train_recipe_read(v, &r), MI_OK);
    assert_int_equal(r.n_milestones, 2);
    near(r.milestones[1], 30.5);
    assert_int_equal(r.optimiser, MI_OPT_ADAM);
    assert_int_equal(r.keep, MI_KEEP_BEST);
    mi_values_free(v);
}

/* ---- batches ---- */

static void every_photo_comes_once_an_epoch(void **state) {
    (void)state;
    struct mi_train_recipe r = {.batch = 7, .flip = true};
    const float mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};
    int batch = 0, seen[TRAIN] = {0};
    assert_int_equal(mi_steps_per_epoch(&data, &r, &batch), 6); /* the last 6 of 48 are dropped */
    struct mi_feeder *here = mi_feeder_open(&data, &r, mean, std, 3, 12, false);
    struct mi_feeder *ahead = mi_feeder_open(&data, &r, mean, std, 3, 12, true);
    for (int64_t step = 0; step < 12; step++) {
        float *x, *x2;
        int64_t *y, *y2;
        int32_t *at, *at2;
        mi_feeder_get(here, step, &x, &y, &at);
        mi_feeder_get(ahead, step, &x2, &y2, &at2);
        assert_memory_equal(x, x2, 7 * SIDE * SIDE * 3 * sizeof(*x)); /* the helper changes nothing */
        for (int i = 0; i < 7; i++) {
            assert_int_equal(y[i], data.split[MI_TRAIN].labels[at[i]]);
            assert_int_equal(at[i], at2[i]);
            if (step < 6) seen[at[i]]++;
        }
    }
    int once = 0;
    for (int i = 0; i < TRAIN; i++) once += seen[i] == 1;
    assert_int_equal(once, 42);
    mi_feeder_close(here);
    mi_feeder_close(ahead);
}

/* ---- defenses ---- */

static void compositions_are_opened_in_order(void **state) {
    (void)state;
    struct mi_spec *spec = mi_spec_parse("", "test", NULL, 0);
    struct mi_defenses ds;
    assert_int_equal(mi_defenses_open(&ds, "none+midre", spec), MI_OK);
    assert_int_equal(ds.n, 2);
    assert_string_equal(ds.item[1].desc->info.name, "midre");
    mi_defenses_close(&ds);
    assert_int_equal(mi_defenses_open(&ds, "midre+midre", spec), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_defenses_open(&ds, "midrr", spec), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "midre"));
    mi_error_clear();
    mi_spec_free(spec);
}

static void without_a_loss_hook_the_loss_is_cross_entropy(void **state) {
    (void)state;
    struct mi_defenses none = {.n = 0};
    mt_scope *s = mt_scope_begin("test");
    const float logits[6] = {1, 2, 3, 0, -1, 0.5f};
    const int64_t labels[2] = {2, 0};
    struct mi_batch b = {.y = mt_from(labels, MT_SHAPE(2), (mt_spec){MT_I64, MT_CPU, MT_NCHW})};
    struct mi_forward_out out = {.logits = mt_from(logits, MT_SHAPE(2, 3), MT_SPEC_F32)};
    mt_tensor *loss = NULL;
    assert_int_equal(mi_defenses_loss(&none, &b, &out, &loss), MI_OK);
    double got, want = 0.5 * (log(exp(1) + exp(2) + exp(3)) - 3 + log(1 + exp(-1) + exp(0.5)));
    assert_int_equal(mt_item(loss, &got), MI_OK);
    assert_true(fabs(got - want) < 1e-6);
    out.aux_logits = out.logits;
    assert_int_equal(mi_defenses_loss(&none, &b, &out, &loss), MI_OK);
    assert_int_equal(mt_item(loss, &got), MI_OK);
    assert_true(fabs(got - 2.0 * want) < 1e-6);
    assert_int_equal(mt_scope_end(s), MI_OK);
}

/* ---- training ---- */

struct session {
    struct mi_ctx ctx;
    struct mi_product product;
    struct mi_spec *spec;
    struct mi_defenses defenses;
    struct mi_model *m;
};

static void session_open(struct session *s, const char *key, const char *defense) {
    memset(s, 0, sizeof(*s));
    struct mi_hasher *h = mi_hasher_new("train");
    mi_hasher_text(h, "key", key);
    struct mi_fingerprint fp = mi_hasher_done(h);
    assert_int_equal(mi_product_open(&ws, "target", &fp, &s->product), MI_OK);
    assert_int_equal(mi_product_begin(&s->product), MI_OK);
    static const char *const settings[] = {"defense.bido.per_identity=2", "defense.tldmi.random_start=yes",
                                           "defense.nls.start=0.4"};
    s->spec = mi_spec_parse("", "test", settings, sizeof(settings) / sizeof(settings[0]));
    assert_non_null(s->spec);
    assert_int_equal(mi_defenses_open(&s->defenses, defense, s->spec), MI_OK);
    const char *net = strstr(defense, "tts") ? "quickres" : "quick"; /* the one with skip connections */
    s->m = mi_model_new(net, mi_spec_entry(s->spec, MI_KIND_MODEL, net), CLASSES, SIDE, MT_CPU, 5);
    assert_non_null(s->m);
    assert_int_equal(mi_defenses_prepare(&s->defenses, s->m), MI_OK);
    s->ctx = (struct mi_ctx){.product = &s->product,
                             .stage = "target",
                             .device = MT_CPU,
                             .seed = 11,
                             .checkpoint_every = 0,
                             .report_every = 1e9,
                             .curves = mi_curves_new()};
}

static void session_close(struct session *s) {
    mi_model_free(s->m);
    mi_defenses_close(&s->defenses);
    mi_spec_free(s->spec);
    mi_curves_free(s->ctx.curves);
    mi_product_close(&s->product);
}

static uint64_t weights_of(const struct mi_model *m) {
    uint64_t h = 0;
    for (int i = 0; i < m->params->n; i++) h = mi_mix(h, mt_hash(m->params->item[i].t));
    return h;
}

static struct mi_train_recipe recipe(int epochs) {
    return (struct mi_train_recipe){.epochs = epochs,
                                    .batch = 8,
                                    .optimiser = MI_OPT_SGD,
                                    .lr = 0.02,
                                    .momentum = 0.9,
                                    .weight_decay = 1e-4,
                                    .nesterov = true,
                                    .schedule = MI_LR_COSINE,
                                    .flip = true,
                                    .keep = MI_KEEP_BEST,
                                    .eval_every = 1};
}

static void training_learns(void **state) {
    (void)state;
    int64_t before = mt_live();
    struct session s;
    struct mi_train_recipe r = recipe(8);
    double acc = 0;
    session_open(&s, "learns", "none");
    s.ctx.checkpoint_every = 1e9;
    assert_int_equal(mi_train(&s.ctx, s.m, &data, &r, &s.defenses, &acc), MI_OK);
    assert_true(acc >= 90);
    const struct mi_curve *loss = NULL, *test = NULL;
    for (size_t i = 0; i < s.ctx.curves->n; i++) {
        const struct mi_curve *c = &s.ctx.curves->item[i];
        if (strcmp(c->name, "loss/train") == 0) loss = c;
        if (strcmp(c->name, "acc/test") == 0) test = c;
    }
    assert_non_null(loss);
    assert_int_equal(loss->n, 48);
    assert_true(loss->p[47].y < 0.5 * loss->p[0].y);
    assert_int_equal(test->n, 8);
    assert_true(test->p[7].x == 8);
    double best = 0;
    for (size_t i = 0; i < test->n; i++) best = test->p[i].y > best ? test->p[i].y : best;
    assert_true(best == acc); /* keep = best */
    session_close(&s);
    assert_int_equal(mt_live(), before);
}

/* A person's stop arrives while step `stop_at` is being done. */
static struct mi_control *control;
static int64_t stop_at;
static enum mi_status stop_here(struct mi_defense *d, struct mi_batch *b) {
    (void)d;
    if (b->step == stop_at) mi_control_request(control, MI_REQ_STOP);
    return MI_OK;
}
static const struct mi_defense_desc stopper = {.info = {.name = "stopper"}, .batch = stop_here};

static void continues_exactly(const char *defense) {
    struct mi_train_recipe r = recipe(3); /* 6 steps an epoch */
    struct session s;
    double want_acc = 0, acc = -1;
    char whole[64], pieces[64];
    snprintf(whole, sizeof whole, "whole %s", defense);
    snprintf(pieces, sizeof pieces, "pieces %s", defense);
    session_open(&s, whole, defense);
    s.ctx.checkpoint_every = 1e9;
    assert_int_equal(mi_train(&s.ctx, s.m, &data, &r, &s.defenses, &want_acc), MI_OK);
    uint64_t want = weights_of(s.m);
    session_close(&s);
    int number = 0;
    assert_int_equal(mi_run_create(&ws, "", &number), MI_OK);
    char *dir = mi_run_dir(&ws, number);
    static const int64_t stops[] = {2, 8, 11, -1}; /* in an epoch, at its second step, at its very end, never */
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        stop_at = stops[i];
        control = mi_control_serve(dir);
        session_open(&s, pieces, defense);
        s.ctx.control = control;
        s.ctx.checkpoint_every = 1e9; /* only the stop itself saves */
        s.defenses.item[s.defenses.n++] = (struct mi_defense){.desc = &stopper};
        assert_int_equal(mi_train(&s.ctx, s.m, &data, &r, &s.defenses, &acc), stop_at < 0 ? MI_OK : MI_STOPPED);
        if (stop_at < 0 && weights_of(s.m) != want) fail_msg("%s: other weights after resuming", defense);
        session_close(&s);
        mi_control_close(control);
    }
    assert_true(acc == want_acc);
    free(dir);
}

static void stopped_training_continues_exactly(void **state) {
    (void)state;
    static const char *const defenses[] = {"midre",          "nls", "bido",       "bido_coco", "mid", "tldmi",
                                           "midre+bido+mid", "dp",  "dp+nls+mid", "tts"};
    for (size_t i = 0; i < sizeof(defenses) / sizeof(defenses[0]); i++) continues_exactly(defenses[i]);
}

static void divergence_is_told_in_words_of_the_settings(void **state) {
    (void)state;
    struct mi_train_recipe r = recipe(4);
    struct session s;
    double acc = 0;
    r.lr = 1e30;
    r.schedule = MI_LR_CONSTANT;
    session_open(&s, "diverges", "none");
    assert_int_equal(mi_train(&s.ctx, s.m, &data, &r, &s.defenses, &acc), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "lower lr"));
    mi_error_clear();
    session_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_follow_their_schedule),
        cmocka_unit_test(recipes_refuse_contradictions),
        cmocka_unit_test(every_photo_comes_once_an_epoch),
        cmocka_unit_test(compositions_are_opened_in_order),
        cmocka_unit_test(without_a_loss_hook_the_loss_is_cross_entropy),
        cmocka_unit_test(training_learns),
        cmocka_unit_test(stopped_training_continues_exactly),
        cmocka_unit_test(divergence_is_told_in_words_of_the_settings),
    };
    return cmocka_run_group_tests_name("train", tests, setup, teardown);
}
