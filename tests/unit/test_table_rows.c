/* tests/unit/test_table_rows.c - measured rows of the privacy-utility table, from fabricated journals: their baselines,
 * and that one measurement is one row. */
#include "table_test.h"

static void measured_rows_get_their_own_baseline(void **state) {
    (void)state;
    char *a[] = {score("quick", "none", 90, 60, 0, ""), score("quick", "midre", 85, 20, 0, ""),
                 mi_strdup("{\"v\":1,\"at\":3,\"t\":\"score\",\"cell\":\"torn")};
    char *b = score("quick", "midre:area_high=0.8 + nls:alpha=-0.1", 80, 10, 1, "");
    char *c = score("quick", "midre", 92, 30, 0, "");
    char *d = score("quick", "none", 99, 99, 0, "\"init\":\"s.pth\""); /* began otherwise: nobody's baseline here */
    int first = make_run("[defense.midre]\narea_low = 0.2\narea_high = 0.8\nfill = zero\n", a, 3),
        second = make_run("[run]\nname = b\n[defense]\nname = midre:area_high=0.8 + nls:alpha=-0.1\n", &b, 1);
    int third = make_run("[run]\nname = c\n", &c, 1), fourth = make_run("[run]\nname = d\n", &d, 1);
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(t.n, 5);
    assert_true(t.rows[0].run == fourth && t.rows[1].run == first);
    assert_string_equal(t.rows[1].s.defense, "none");
    assert_true(isnan(t.rows[0].s.tradeoff) && isnan(t.rows[1].s.tradeoff));
    int seen = 0;
    for (size_t i = 2; i < t.n; i++) {
        const struct mi_row *r = &t.rows[i];
        assert_true(r->s.synthetic && !r->published);
        if (r->run == first)
            seen |= 1, assert_float_equal(r->s.tradeoff, 8.0, 1e-12);
        else if (r->run == second)
            seen |= 2, assert_true(isnan(r->s.tradeoff) && !r->s.overpriced); /* no row of seed 1 */
        else
            seen |= 4, assert_true(r->run == third && r->s.overpriced); /* the first run's row; accuracy rose */
    }
    assert_int_equal(seen, 7);
    assert_true(t.rows[2].run == third && t.rows[3].run == first); /* newest first among equals */
    char cell[64];
    assert_int_equal(mi_table_cell(&t.rows[3], "defense", cell, sizeof cell), MI_OK);
    assert_string_equal(cell, "midre(0.2,0.8,fill=zero)");
    assert_int_equal(mi_table_cell(&t.rows[2], "defense", cell, sizeof cell), MI_OK);
    assert_string_equal(cell, "midre(0.1,0.4)");
    assert_int_equal(mi_table_cell(&t.rows[4], "defense", cell, sizeof cell), MI_OK);
    assert_string_equal(cell, "midre+nls(0.1,0.8,-0.1)"); /* settings of its own, said as any others */
    assert_int_equal(mi_table_cell(&t.rows[1], "source", cell, sizeof cell), MI_OK);
    char want[32];
    snprintf(want, sizeof want, "run %04d", first);
    assert_string_equal(cell, want);
    mi_table_free(&t);
    for (int i = 0; i < 3; i++) free(a[i]);
    free(b);
    free(c);
    free(d);
    remove_runs();
}

/* A product found in the cache by later runs is one measurement; so many rows say it only if they are asked for. */
static void a_measurement_is_one_row(void **state) {
    (void)state;
    char *a[] = {score("quick", "none", 90, 60, 0, "\"knn\":3.25"), score("quick", "midre", 85, 20, 0, "")};
    char *other = score("quick", "none", 90, 60, 0, "\"knn\":3.250001");
    int first = make_run("[run]\nname = a\n", a, 2), second = make_run("[run]\nname = b\n", a, 1);
    int third = make_run("[run]\nname = c\n", &other, 1);
    int fourth = make_run("[attack.gmi]\nadaptive = erase\n", &a[1], 1);
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, true), MI_OK);
    size_t all = t.n;
    mi_table_merge(&t);
    assert_int_equal(t.n, all - 1);
    assert_true(t.rows[0].run == third && t.rows[1].run == second); /* the newest stays; another KNN is another row */
    assert_true(t.rows[2].run == first && t.rows[3].run == fourth);
    mi_table_free(&t);
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    char number[16], cell[64];
    snprintf(number, sizeof number, "%d", first);
    assert_int_equal(mi_table_filter(&t, "run", number), MI_OK);
    mi_table_merge(&t);
    assert_true(t.n == 2 && t.rows[0].run == first && t.rows[1].run == first);
    mi_table_free(&t);
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(mi_table_filter(&t, "attack", "gmi"), MI_OK); /* with whatever settings */
    assert_int_equal(t.n, 5);
    assert_int_equal(mi_table_filter(&t, "attack", "GMI(erase)"), MI_OK);
    assert_int_equal(t.n, 1);
    assert_int_equal(mi_table_cell(&t.rows[0], "attack", cell, sizeof cell), MI_OK);
    assert_string_equal(cell, "gmi(erase)");
    assert_true(isnan(t.rows[0].s.tradeoff)); /* no undefended target was attacked so */
    mi_table_free(&t);
    for (int i = 0; i < 2; i++) free(a[i]);
    free(other);
    remove_runs();
}

static void a_cut_name_keeps_what_tells_rows_apart(void **state) {
    (void)state;
    static const struct {
        const char *cell;
        int width;
        const char *want;
    } c[] = {
        {"midre(0.1,0.4)", 14, "midre(0.1,0.4)"},
        {"midre(0.2,0.2,fill=one)", 18, "midre(…,fill=one)"},
        {"midre(0.2,0.2,fill=one)", 12, "midre(…=one)"},
        {"midre+bido(0.1,0.4,0.05,0.5)", 18, "midre+bido(…,0.5)"},
        {"midre+bido(0.1,0.4,0.05,0.5)", 14, "midre+bido(0.1,0.4,0.05,0.5)"}, /* would lose its name: not cut here */
        {"gmi(erase)", 8, "gmi(erase)"},                                      /* nothing that tells would be left */
        {"synthfaces-photographs", 10, "synthfaces-photographs"},
        {"größe(0.1,0.2,0.3)", 12, "größe(0.1,0.2,0.3)"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char cell[64];
        snprintf(cell, sizeof cell, "%s", c[i].cell);
        mi_table_cut(cell, sizeof cell, c[i].width, "…");
        assert_string_equal(cell, c[i].want);
    }
}

/* Repetitions with other seeds: means, the deviation between them, Delta of the means. */
static void seeds_become_a_mean(void **state) {
    (void)state;
    static const double acc[3] = {90, 92, 91}, attacc[3] = {60, 66, 63}, defended[3] = {30, 24, 27};
    static const char *const init[3] = {"\"init\":\"20 public people (aa)\"", "\"init\":\"20 public people (bb)\"",
                                        "\"init\":\"20 public people (cc)\""};
    int run[4];
    for (int k = 0; k < 3; k++) {
        char *lines[] = {score("quick", "none", acc[k], attacc[k], k, init[k]),
                         score("quick", "midre", 90, defended[k], k, init[k])};
        char spec[64];
        snprintf(spec, sizeof spec, "[run]\nseed = %d\n[data.synthfaces]\nseed = %d\n", k, 3 * k);
        run[k] = make_run(spec, lines, 2);
        free(lines[0]);
        free(lines[1]);
    }
    char *longer = score("quick", "none", 95, 70, 3, init[0]);
    run[3] = make_run("[run]\nseed = 3\n[target]\nepochs = 99\n", &longer, 1); /* not the same recipe */
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(t.n, 7);
    assert_int_equal(mi_table_mean(&t), MI_OK);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.rows[0].run, run[3]);
    const struct mi_row *none = &t.rows[1], *midre = &t.rows[2];
    assert_string_equal(none->source, "3 seeds");
    assert_string_equal(none->seeds, "0/0, 1/3, 2/6");
    assert_string_equal(none->s.init, "20 public people");
    assert_true(none->run == run[2] && none->s.seed == -1 && none->mean_of == 3);
    assert_float_equal(none->s.acc, 91, 1e-12);
    assert_float_equal(none->s.attacc, 63, 1e-12);
    assert_float_equal(none->s.attacc_std, 3, 1e-12);
    assert_true(isnan(none->s.knn) && isnan(none->s.tradeoff));
    assert_float_equal(midre->s.attacc, 27, 1e-12);
    assert_float_equal(midre->s.tradeoff, 36, 1e-12); /* (63 - 27) / (91 - 90) */
    assert_true(isnan(t.rows[0].s.attacc_std) && t.rows[0].s.seed == 3);
    mi_table_free(&t);
    free(longer);
    remove_runs();
}

/* A seed measured twice counts once, with its newest row.  A mean is compared with the undefended rows of its own
 * seeds, shown or not. */
static void a_seed_counts_once(void **state) {
    (void)state;
    char *a = score("quick", "none", 90, 60, 0, ""), *again = score("quick", "none", 92, 50, 0, "");
    char *b = score("quick", "none", 90, 70, 1, ""), *midre = score("quick", "midre", 80, 20, 0, "");
    make_run("[run]\nseed = 0\n", &a, 1);
    make_run("[run]\nseed = 1\n", &b, 1);
    make_run("[run]\nseed = 0\n", &again, 1);
    make_run("[run]\nseed = 0\n", &midre, 1);
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_float_equal(t.rows[t.n - 1].s.tradeoff, 2.5, 1e-12); /* (50 - 20) / (92 - 80) */
    assert_int_equal(mi_table_mean(&t), MI_OK);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.rows[0].seeds, "0/1, 1/1");
    assert_float_equal(t.rows[0].s.attacc, 60, 1e-12);
    assert_float_equal(t.rows[1].s.tradeoff, 2.5, 1e-12);
    mi_table_free(&t);
    char *other = score("quick", "midre", 70, 10, 1, "");
    make_run("[run]\nseed = 1\n", &other, 1);
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(mi_table_filter(&t, "defense", "midre"), MI_OK);
    assert_int_equal(mi_table_mean(&t), MI_OK);
    assert_int_equal(t.n, 1);
    assert_float_equal(t.rows[0].s.tradeoff, (60. - 15) / (91 - 75), 1e-12); /* (50 + 70) / 2, (92 + 90) / 2 */
    mi_table_free(&t);
    free(other);
    free(a);
    free(again);
    free(b);
    free(midre);
    remove_runs();
}

/* Numbers may agree where measurements do not: an attack that fails gets 0 % however long it runs. */
static void equal_numbers_are_not_one_measurement(void **state) {
    (void)state;
    char *line = score("quick", "none", 90, 0, 0, "");
    make_run("[attack.gmi]\niterations = 2000\n", &line, 1);
    make_run("[attack.gmi]\niterations = 3000\n", &line, 1);
    make_run("[data]\nname = folder\n[data.folder]\nroot = /a/photos\n", &line, 1);
    make_run("[data]\nname = folder\n[data.folder]\nroot = /b/photos\n", &line, 1);
    int lost = make_run("[run]\n", &line, 1), lost_too = make_run("[run]\n", &line, 1);
    char *one = mi_run_file(&ws, lost, "spec.ini"), *two = mi_run_file(&ws, lost_too, "spec.ini");
    assert_int_equal(unlink(one), 0);
    assert_int_equal(mi_write_file(two, "?", 1), MI_OK);
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    mi_table_merge(&t);
    assert_int_equal(t.n, 6);
    assert_int_equal(mi_table_mean(&t), MI_OK);
    assert_int_equal(t.n, 6);
    mi_table_free(&t);
    free(line);
    free(one);
    free(two);
    remove_runs();
}

/* A row without its spec is compared within its run alone. */
static void a_lost_spec_compares_within_the_run(void **state) {
    (void)state;
    char *lines[] = {score("quick", "none", 90, 60, 0, ""), score("quick", "midre", 80, 20, 0, "")};
    for (int apart = 0; apart < 2; apart++) {
        int run[2] = {make_run("[run]\n", lines, apart ? 1 : 2), apart ? make_run("[run]\n", lines + 1, 1) : 0};
        for (int k = 0; k <= apart; k++) {
            char *path = mi_run_file(&ws, run[k], "spec.ini");
            assert_int_equal(unlink(path), 0);
            free(path);
        }
        struct mi_table t;
        assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
        assert_int_equal(t.n, 2);
        assert_true(isnan(t.rows[1].s.tradeoff) == (apart == 1));
        mi_table_free(&t);
        remove_runs();
    }
    free(lines[0]);
    free(lines[1]);
}

/* Rows measured in another way are nobody's baseline. */
static void a_baseline_has_the_same_protocol(void **state) {
    (void)state;
    static const char *const more[] = {"\"protocol\":\"20 ids x 5 restarts\"", "\"protocol\":\"20 ids x 3 restarts\""};
    for (int k = 0; k < 2; k++) {
        char *none = score("quick", "none", 90, 60, 0, more[0]), *midre = score("quick", "midre", 85, 20, 0, more[k]);
        make_run("[run]\nname = a\n", &none, 1);
        make_run("[run]\nname = b\n", &midre, 1);
        struct mi_table t;
        assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
        assert_int_equal(t.n, 2);
        assert_true(isnan(t.rows[1].s.tradeoff) == (k == 1));
        mi_table_free(&t);
        free(none);
        free(midre);
        remove_runs();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measured_rows_get_their_own_baseline),
        cmocka_unit_test(a_measurement_is_one_row),
        cmocka_unit_test(equal_numbers_are_not_one_measurement),
        cmocka_unit_test(a_lost_spec_compares_within_the_run),
        cmocka_unit_test(seeds_become_a_mean),
        cmocka_unit_test(a_seed_counts_once),
        cmocka_unit_test(a_cut_name_keeps_what_tells_rows_apart),
        cmocka_unit_test(a_baseline_has_the_same_protocol),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
