/* test_view.c - a run rebuilt from its journal: every event, resuming, rewinding, replacing. */
#include "view_test.h"

static void an_empty_run_shows_nothing(void **state) {
    (void)state;
    assert_false(update());
    assert_int_equal(view->number, 7);
    assert_int_equal(view->current, -1);
    assert_true(isnan(view->started) && isnan(view->cpu));
    assert_true(mi_view_fraction(view) == 0);
    assert_null(mi_view_atlas(view, "recon", NULL));
    assert_null(mi_view_open("/nowhere/run", 1));
    assert_error(MI_E_MISSING, "/nowhere/run");
}

static void the_first_line_describes_the_run(void **state) {
    (void)state;
    say(RUN_LINE);
    assert_true(update());
    assert_string_equal(view->name, "demo");
    assert_string_equal(view->version, "0.1.0");
    assert_string_equal(view->torch, "1.13.1");
    assert_string_equal(view->device, "cpu");
    assert_string_equal(view->precision, "fp32");
    assert_string_equal(view->state, "running");
    assert_int_equal(view->pid, 4242);
    assert_int_equal(view->threads, 2);
    assert_int_equal(view->seed, 3);
    assert_true(view->synthetic);
    assert_true(view->started == 100.5 && view->updated == 100.5);
    assert_int_equal(view->n_cells, 2);
    assert_string_equal(view->cells[1].defense, "midre");
    assert_int_equal(view->n_stages, 2);
    assert_string_equal(view->stages[1].title, "Target");
    assert_int_equal(view->stages[1].state, MI_STAGE_WAITING);
    assert_true(view->stages[1].eta < 0);
    assert_false(update()); /* nothing new */
}

static void stages_go_through_their_states(void **state) {
    (void)state;
    say(RUN_LINE);
    say("\"t\":\"stage\",\"stage\":\"data\",\"kind\":\"data\",\"state\":\"cached\",\"fingerprint\":\"ab\",\"title\":"
        "\"Images\"");
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"start\"");
    say("\"t\":\"progress\",\"stage\":\"target.q.none\",\"phase\":\"train\",\"done\":50,\"total\":100,\"unit\":\"img\","
        "\"rate\":25.5,\"eta\":2,\"epoch\":1.5,\"epochs\":3");
    update();
    const struct mi_stage_view *s = &view->stages[1];
    assert_int_equal(view->stages[0].state, MI_STAGE_CACHED);
    assert_string_equal(view->stages[0].fingerprint, "ab");
    assert_int_equal(s->state, MI_STAGE_RUNNING);
    assert_int_equal(view->current, 1);
    assert_string_equal(s->phase, "train");
    assert_string_equal(s->unit, "img");
    assert_true(s->done == 50 && s->total == 100 && s->rate == 25.5 && s->eta == 2 && s->epoch == 1.5 &&
                s->epochs == 3);
    double half = mi_view_fraction(view);
    assert_true(half > 0.4 && half < 0.7);
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"failed\",\"error\":\"out of memory\"");
    say("\"t\":\"state\",\"state\":\"failed\",\"error\":\"out of memory\"");
    update();
    assert_int_equal(view->stages[1].state, MI_STAGE_FAILED);
    assert_string_equal(view->stages[1].error, "out of memory");
    assert_string_equal(view->state, "failed");
    assert_string_equal(view->error, "out of memory");
    assert_int_equal(view->current, -1);
    say(RUN_LINE); /* the next session tries again */
    update();
    assert_int_equal(view->stages[1].state, MI_STAGE_WAITING);
    assert_null(view->stages[1].error);
    assert_null(view->error);
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"resume\"");
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"done\",\"seconds\":12.5");
    update();
    assert_int_equal(view->stages[1].state, MI_STAGE_DONE);
    assert_true(view->stages[1].seconds == 12.5);
    assert_true(mi_view_fraction(view) == 1);
    say("\"t\":\"state\",\"state\":\"done\"");
    update();
    assert_string_equal(view->state, "done");
}

static void a_stopped_run_rests(void **state) {
    (void)state;
    say(RUN_LINE);
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"start\"");
    say("\"t\":\"state\",\"state\":\"paused\"");
    update();
    assert_string_equal(view->state, "paused");
    assert_int_equal(view->current, 1);
    say("\"t\":\"state\",\"state\":\"stopped\"");
    update();
    assert_int_equal(view->current, -1);
    assert_int_equal(view->stages[1].state, MI_STAGE_WAITING);
}

static void stages_keep_the_announced_order(void **state) {
    (void)state;
    say("\"t\":\"stage\",\"stage\":\"x\",\"state\":\"start\"");
    say("\"t\":\"stage\",\"stage\":\"target.q.none\",\"state\":\"start\"");
    say("\"t\":\"scalars\",\"stage\":\"target.q.none\",\"step\":1,\"x\":1,\"values\":{\"a\":5}");
    say(RUN_LINE);
    update();
    assert_int_equal(view->n_stages, 3);
    assert_string_equal(view->stages[0].id, "data");
    assert_string_equal(view->stages[1].id, "target.q.none");
    assert_string_equal(view->stages[2].id, "x");
    assert_int_equal(view->stages[1].n_series, 1);
    assert_int_equal(view->current, -1);
}

static void curves_grow_and_rewind(void **state) {
    (void)state;
    say(RUN_LINE);
    for (int i = 0; i < 10; i++) {
        char *body =
            mi_format("\"t\":\"scalars\",\"stage\":\"data\",\"step\":%d,\"x\":%g,\"values\":{\"loss/train\":%d,"
                      "\"acc/test\":null}",
                      i * 10, i * 0.5, 100 - i);
        say(body);
        free(body);
    }
    update();
    const struct mi_series *s = mi_stage_series(&view->stages[0], "loss/train");
    assert_non_null(s);
    assert_null(mi_stage_series(&view->stages[0], "acc/test"));
    assert_int_equal(s->n, 10);
    assert_true(s->points[9].x == 4.5 && s->points[9].y == 91 && s->points[9].step == 90);
    say("\"t\":\"rewind\",\"stage\":\"data\",\"step\":40");
    say("\"t\":\"scalars\",\"stage\":\"data\",\"step\":50,\"x\":2.5,\"values\":{\"loss/train\":7}");
    update();
    s = mi_stage_series(&view->stages[0], "loss/train");
    assert_int_equal(s->n, 6);
    assert_true(s->points[4].step == 40 && s->points[5].y == 7);
    say("\"t\":\"rewind\",\"stage\":\"data\",\"step\":-1");
    say("\"t\":\"rewind\",\"stage\":\"never heard of\",\"step\":3");
    update();
    assert_int_equal(mi_stage_series(&view->stages[0], "loss/train")->n, 0);
    assert_int_equal(view->skipped_lines, 0);
    assert_int_equal(view->n_stages, 2);
}

static void long_curves_thin_out(void **state) {
    (void)state;
    enum { POINTS = 50000 };
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    for (int i = 0; i < POINTS; i++)
        fprintf(f, "{\"v\":1,\"at\":1,\"t\":\"scalars\",\"stage\":\"s\",\"step\":%d,\"x\":%d,\"values\":{\"a\":%d}}\n",
                i, i, i);
    fclose(f);
    append(text);
    free(text);
    update();
    const struct mi_series *s = mi_stage_series(&view->stages[0], "a");
    assert_true(s->n > 8192 && s->n <= 16384);
    assert_int_equal(s->points[0].step, 0);
    assert_int_equal(s->points[s->n - 1].step, POINTS - 1);
    for (size_t i = 1; i < s->n; i++) assert_true(s->points[i].step > s->points[i - 1].step);
    for (size_t i = 0; i < s->n; i++) assert_true(s->points[i].y == (double)s->points[i].step);
}

static void pictures_are_replaced_by_name(void **state) {
    (void)state;
    say("\"t\":\"atlas\",\"name\":\"r\",\"kind\":\"recon\",\"cell\":\"c\",\"stage\":\"s\",\"file\":\"pictures/"
        "r.png\",\"tile\":64,"
        "\"cols\":5,\"rows\":3,\"labels\":[4,5,6],\"step\":10,\"final\":false");
    say("\"t\":\"atlas\",\"name\":\"other\",\"kind\":\"recon\",\"cell\":\"d\",\"file\":\"pictures/"
        "o.png\",\"tile\":64,\"cols\":1,"
        "\"rows\":1,\"labels\":[1,2],\"step\":10,\"final\":true");
    update();
    const struct mi_atlas_view *a = mi_view_atlas(view, "recon", "c");
    assert_non_null(a);
    assert_string_equal(a->file, "pictures/r.png");
    assert_true(a->tile == 64 && a->cols == 5 && a->rows == 3 && a->step == 10 && !a->final && a->labels[2] == 6);
    unsigned version = a->version;
    assert_null(mi_view_atlas(view, "recon", "d")->labels);                 /* a list of another length is none */
    assert_string_equal(mi_view_atlas(view, "recon", NULL)->name, "other"); /* the newest */
    say("\"t\":\"atlas\",\"name\":\"r\",\"kind\":\"recon\",\"cell\":\"c\",\"file\":\"pictures/"
        "r.png\",\"tile\":64,\"cols\":5,"
        "\"rows\":2,\"step\":20,\"final\":true");
    update();
    assert_int_equal(view->n_atlases, 2);
    a = mi_view_atlas(view, "recon", "c");
    assert_true(a->version > version && a->final && a->rows == 2 && !a->labels);
    assert_null(mi_view_atlas(view, "photo", "c"));
    assert_int_equal(view->skipped_lines, 0);
}

static void pictures_stay_inside_the_run(void **state) {
    (void)state;
    static const char *const files[] = {"/etc/passwd", "../x.png", "pictures/../../x.png", "",      "pictures//x",
                                        "pictures/",   ".hidden",  "pictures/.x.png",      "a/./b", "p\\u001b[2J"};
    size_t n = sizeof files / sizeof files[0];
    for (size_t i = 0; i < n; i++) {
        char *body = mi_format(
            "\"t\":\"atlas\",\"name\":\"r\",\"kind\":\"recon\",\"file\":\"%s\",\"tile\":64,\"cols\":1,\"rows\":1",
            files[i]);
        say(body);
        free(body);
    }
    static const char *const shapes[] = {"\"tile\":0,\"cols\":1,\"rows\":1", "\"tile\":64,\"cols\":-1,\"rows\":1",
                                         "\"tile\":64,\"cols\":1000,\"rows\":1",
                                         "\"tile\":64,\"cols\":1,\"rows\":99999999999",
                                         "\"tile\":\"64\",\"cols\":1,\"rows\":1"};
    for (size_t i = 0; i < 5; i++) {
        char *body =
            mi_format("\"t\":\"atlas\",\"name\":\"r\",\"kind\":\"recon\",\"file\":\"pictures/r.png\",%s", shapes[i]);
        say(body);
        free(body);
    }
    update();
    assert_int_equal(view->n_atlases, 0);
    assert_int_equal(view->skipped_lines, n + 5);
}

static void verdicts_are_kept_in_order_and_replaced(void **state) {
    (void)state;
    say(RUN_LINE);
    static const int places[][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 1}, {0, 2}};
    for (size_t i = 0; i < 6; i++) {
        char *body = mi_format("\"t\":\"recon\",\"cell\":\"q/none/gmi\",\"row\":%d,\"col\":%d,\"label\":9,\"judge\":%d,"
                               "\"confidence\":0.5,\"hit\":true,\"distance\":1.25",
                               places[i][0], places[i][1], (int)i);
        say(body);
        free(body);
    }
    say("\"t\":\"recon\",\"cell\":\"q/none/gmi\",\"row\":-1,\"col\":0");
    update();
    const struct mi_cell_view *c = &view->cells[0];
    static const int want[][3] = {{0, 0, 0}, {0, 1, 4}, {0, 2, 5}, {1, 0, 2}, {1, 1, 3}};
    assert_int_equal(c->n_recon, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(c->recon[i].row, want[i][0]);
        assert_int_equal(c->recon[i].col, want[i][1]);
        assert_int_equal(c->recon[i].judge, want[i][2]);
    }
    assert_true(c->recon[0].hit && c->recon[0].confidence == 0.5 && c->recon[0].distance == 1.25 &&
                c->recon[0].label == 9);
    assert_int_equal(view->skipped_lines, 1);
}

static void scores_become_rows(void **state) {
    (void)state;
    say("\"t\":\"score\",\"cell\":\"a\",\"model\":\"m\",\"defense\":\"d\",\"attack\":\"k\",\"data\":\"s\",\"judge\":"
        "\"j@64\","
        "\"precision\":\"fp32\",\"device\":\"cpu\",\"protocol\":\"p\",\"init\":\"random\",\"acc\":90.5,\"attacc\":40,"
        "\"attacc_std\":1.5,"
        "\"top5\":60,\"top5_std\":2,\"knn\":1200,\"tradeoff\":8.5,\"judge_acc\":95,\"target_judged\":80,\"overpriced\":"
        "true,"
        "\"seed\":3,\"identities\":20,\"images\":100,\"resolution\":64,\"synthetic\":true,\"queries\":60000");
    say("\"t\":\"score\",\"cell\":\"b\",\"acc\":null,\"attacc\":\"many\"");
    update();
    assert_int_equal(view->n_scores, 2);
    const struct mi_score_view *s = &view->scores[0];
    assert_string_equal(s->judge, "j@64");
    assert_string_equal(s->init, "random");
    assert_true(s->acc == 90.5 && s->attacc == 40 && s->attacc_std == 1.5 && s->top5 == 60 && s->top5_std == 2);
    assert_true(s->knn == 1200 && s->tradeoff == 8.5 && s->judge_acc == 95 && s->target_judged == 80 &&
                s->queries == 60000);
    assert_true(s->overpriced && s->synthetic && s->seed == 3 && s->identities == 20 && s->images == 100);
    assert_true(s->resolution == 64 && isnan(s->fid) && isnan(s->delta_eval) && isnan(s->delta_face));
    assert_true(isnan(view->scores[1].acc) && isnan(view->scores[1].attacc));
    say("\"t\":\"score\",\"cell\":\"a\",\"acc\":91");
    update();
    assert_int_equal(view->n_scores, 2);
    assert_true(view->scores[0].acc == 91 && isnan(view->scores[0].attacc));
    assert_null(view->scores[0].judge);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_empty_run_shows_nothing),
        T(the_first_line_describes_the_run),
        T(stages_go_through_their_states),
        T(a_stopped_run_rests),
        T(stages_keep_the_announced_order),
        T(curves_grow_and_rewind),
        T(long_curves_thin_out),
        T(pictures_are_replaced_by_name),
        T(pictures_stay_inside_the_run),
        T(verdicts_are_kept_in_order_and_replaced),
        T(scores_become_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
