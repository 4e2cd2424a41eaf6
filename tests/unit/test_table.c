/* tests/unit/test_table.c - the privacy-utility table: arithmetic against the paper's own printed trade-offs, published
 * rows, filters, sorting, and the four output formats read back. */
#include "table_test.h"

static char *print(const struct mi_table *t, enum mi_table_format f, int width) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    assert_int_equal(mi_table_print(t, f, out, width), MI_OK);
    fclose(out);
    return text;
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

static void tradeoff_is_the_ratio(void **state) {
    (void)state;
    bool op;
    /* Table B.2, LOMMA + KedMI, MIDRE: printed 5.49. */
    assert_float_equal(mi_tradeoff(86.90, 81.80, 79.85, 43.07, &op), 5.49, 0.006);
    assert_false(op);
    /* An attack that got stronger gives a negative trade-off (Table 3, PLGMI, NLS: -0.17). */
    assert_float_equal(mi_tradeoff(85.74, 71.00, 80.02, 72.00, &op), -0.17, 0.006);
    assert_true(isnan(mi_tradeoff(94.22, 88.67, 97.28, 48.16, &op)));
    assert_true(op);
    assert_true(isnan(mi_tradeoff(90, 80, 90, 40, &op)));
    assert_true(op);
    assert_true(isnan(mi_tradeoff(NAN, 80, 90, 40, &op)));
    assert_false(op);
}

static const struct mi_row *find(const struct mi_table *t, const char *source, const char *attack, const char *model,
                                 const char *defense, const char *variant) {
    for (size_t i = 0; i < t->n; i++) {
        const struct mi_row *r = &t->rows[i];
        if (!strcmp(r->source, source) && !strcmp(r->s.attack, attack) && !strcmp(r->s.model, model) &&
            !strcmp(r->s.defense, defense) && !strcmp(r->variant, variant))
            return r;
    }
    return NULL;
}

static void published_tradeoffs_agree_with_ours(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    int compared = 0;
    for (size_t i = 0; i < t.n; i++) {
        const struct mi_row *r = &t.rows[i];
        if (strcmp(r->source, "Tab. B.2") != 0 || isnan(r->s.tradeoff)) continue;
        const struct mi_row *base = find(&t, r->source, r->s.attack, r->s.model, "none", "");
        bool op;
        assert_non_null(base);
        assert_float_equal(mi_tradeoff(base->s.acc, base->s.attacc, r->s.acc, r->s.attacc, &op), r->s.tradeoff, 0.006);
        compared++;
    }
    assert_int_equal(compared, 18); /* six attacks, three defenses each */
    mi_table_free(&t);
}

/* ---- published rows ------------------------------------------------------------------------------------------------
 */

static void published_rows_are_all_there_under_our_names(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    size_t of_paper = 0;
    for (size_t i = 0; i < t.n; i++) {
        assert_true(t.rows[i].published);
        assert_false(t.rows[i].s.synthetic);
        of_paper += !strncmp(t.rows[i].source, "Tab. ", 5);
    }
    assert_int_equal(of_paper, 203);
    assert_int_equal(t.n, 203 + 12);
    const struct mi_row *r = find(&t, "Tab. B.9", "ppa", "resnet18", "midre", "0.1,0.8");
    assert_non_null(r);
    assert_float_equal(r->s.attacc, 13.89, 1e-9);
    assert_float_equal(r->s.tradeoff, 84.02, 1e-9);
    assert_string_equal(r->s.data, "facescrub");
    assert_string_equal(r->public_data, "ffhq");
    assert_int_equal(r->s.resolution, 224);
    assert_string_equal(r->s.judge, "inception_v3");
    assert_float_equal(r->s.judge_acc, 96.20, 1e-9);
    r = find(&t, "Tab. B.9", "ppa", "resnet18", "midre", "0.1,0.4");
    assert_true(r && r->s.overpriced && isnan(r->s.tradeoff));
    r = find(&t, "Tab. B.9", "ppa", "resnet18", "tldmi", "");
    assert_true(r && isnan(r->s.delta_eval) && !isnan(r->s.attacc)); /* NA is not zero */
    assert_non_null(find(&t, "Tab. D.17/2", "lomma_kedmi", "vgg16", "midre", "0.1,0.4 adaptive attack"));
    assert_non_null(find(&t, "Tab. 5/1", "ppa", "resnet152", "midre+nls", "")   ? t.rows
                    : find(&t, "Tab. 5/1", "ppa", "resnet101", "midre+nls", "") ? t.rows
                                                                                : NULL);
    mi_table_free(&t);
}

/* ---- choosing and ordering -----------------------------------------------------------------------------------------
 */

static void filters_and_their_mistakes(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    assert_int_equal(mi_table_filter(&t, "atack", "gmi"), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "did you mean \"attack\""));
    mi_error_clear();
    assert_int_equal(mi_table_filter(&t, "attack", "GMI, kedmi"), MI_OK);
    for (size_t i = 0; i < t.n; i++)
        assert_true(!strcmp(t.rows[i].s.attack, "gmi") || !strcmp(t.rows[i].s.attack, "kedmi"));
    assert_int_equal(t.n, 28);
    assert_int_equal(mi_table_filter(&t, "run", "1"), MI_OK);
    assert_int_equal(t.n, 0); /* published rows belong to no run */
    mi_table_free(&t);
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    assert_int_equal(mi_table_filter(&t, "defense", "midre(0.1,0.8)"), MI_OK);
    assert_int_equal(t.n, 10);
    mi_table_free(&t);
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    assert_int_equal(mi_table_filter(&t, "defense", "midre"), MI_OK);
    assert_true(t.n > 50);
    mi_table_free(&t);
}

static void sorting_stays_inside_a_dataset_and_puts_gaps_last(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    assert_int_equal(mi_table_sort(&t, "atacc", false), MI_E_INPUT);
    assert_non_null(strstr(mi_error_text(), "attacc"));
    mi_error_clear();
    for (int down = 0; down < 2; down++) {
        assert_int_equal(mi_table_sort(&t, "knn", down), MI_OK);
        int groups = 1;
        for (size_t i = 1; i < t.n; i++) {
            const struct mi_score_view *a = &t.rows[i - 1].s, *b = &t.rows[i].s;
            if (strcmp(a->data, b->data) != 0 || a->resolution != b->resolution) {
                groups++;
                continue;
            }
            if (isnan(a->knn))
                assert_true(isnan(b->knn));
            else if (!isnan(b->knn))
                assert_true(down ? a->knn >= b->knn : a->knn <= b->knn);
        }
        assert_int_equal(groups, 2);
    }
    mi_table_free(&t);
}

/* ---- formats
 * --------------------------------------------------------------------------------------------------------- */

static int longest_line(const char *text) {
    int longest = 0, n = 0;
    for (; *text; text++) {
        if (*text == '\n')
            n = 0;
        else if (((unsigned char)*text & 0xC0) != 0x80 && ++n > longest)
            longest = n;
    }
    return longest;
}

static void text_fits_and_says_what_it_left_out(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, NULL, true), MI_OK);
    assert_int_equal(mi_table_filter(&t, "attack", "gmi,kedmi"), MI_OK);
    for (int utf8 = 0; utf8 < 2; utf8++) {
        setlocale(LC_CTYPE, utf8 ? "C.UTF-8" : "C");
        char *narrow = print(&t, MI_TABLE_TEXT, 80), *wide = print(&t, MI_TABLE_TEXT, 0);
        assert_true(longest_line(narrow) <= 80);
        assert_non_null(strstr(narrow, "Not shown at this width:"));
        assert_null(strstr(wide, "Not shown"));
        assert_non_null(strstr(wide, "facenet112"));
        assert_non_null(strstr(narrow, utf8 ? "20.07 ±5.46" : "20.07 +-5.46"));
        for (const char *p = narrow; !utf8 && *p; p++) assert_true((unsigned char)*p < 128);
        free(narrow);
        free(wide);
    }
    setlocale(LC_CTYPE, "C");
    mi_table_free(&t);
}

/* Cuts the next CSV field off *p in place, quotes undone. */
static char *csv_field(char **p) {
    char *out = *p, *w = *p, *r = *p;
    bool quoted = *r == '"';
    r += quoted;
    while (*r && (quoted || (*r != ',' && *r != '\r'))) {
        if (quoted && *r == '"') {
            if (r[1] != '"') break;
            r++;
        }
        *w++ = *r++;
    }
    if (quoted) r++;
    *p = r + 1 + (*r == '\r');
    *w = '\0';
    return out;
}

static void every_format_escapes_and_marks_synthetic(void **state) {
    (void)state;
    char *line[] = {score("we_ird&|net", "none", 12.5, 99.25, 7, "\"attacc_std\":1.5"),
                    score("a, \\\"b\\\" 50%", "none", 1, 2, 7, "")};
    int run = make_run("[run]\nname = odd\n", line, 2);
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(t.n, 2);

    char *csv = print(&t, MI_TABLE_CSV, 0), *p = csv;
    const char *const *names = mi_table_columns();
    for (int i = 0; names[i]; i++) assert_string_equal(csv_field(&p), names[i]);
    for (int i = 0; names[i]; i++) {
        char *f = csv_field(&p);
        if (!strcmp(names[i], "model")) assert_string_equal(f, "a, \"b\" 50%");
        if (!strcmp(names[i], "synthetic")) assert_string_equal(f, "synthetic");
        if (!strcmp(names[i], "acc")) assert_string_equal(f, "1.00");
        if (!strcmp(names[i], "knn")) assert_string_equal(f, "");
        if (!strcmp(names[i], "seed")) assert_string_equal(f, "7");
    }
    free(csv);

    char *md = print(&t, MI_TABLE_MARKDOWN, 0);
    assert_non_null(strstr(md, "we\\_ird&\\|net"));
    assert_non_null(strstr(md, "99.25 ±1.50"));
    assert_non_null(strstr(md, "synthetic"));
    int bars = 0;
    for (const char *c = md; *c && *c != '\n'; c++) bars += *c == '|';
    int row = 0;
    for (const char *c = strstr(md, "we\\_ird"); *c && *c != '\n'; c++) row += *c == '|' && c[-1] != '\\';
    assert_true(row > 2 && row < bars);
    free(md);

    char *tex = print(&t, MI_TABLE_LATEX, 0);
    assert_non_null(strstr(tex, "we\\_ird\\&|net"));
    assert_non_null(strstr(tex, "50\\%"));
    assert_non_null(strstr(tex, "99.25 $\\pm$1.50"));
    assert_non_null(strstr(tex, "(synthetic)"));
    assert_non_null(strstr(tex, "\\end{tabular}"));
    free(tex);

    char *text = print(&t, MI_TABLE_TEXT, 80);
    assert_non_null(strstr(text, "synthfaces, 64 px (synthetic)"));
    free(text);
    mi_table_free(&t);
    free(line[0]), free(line[1]);
    assert_int_equal(mi_run_delete(&ws, run), MI_OK);
}

static void an_empty_workspace_is_no_error(void **state) {
    (void)state;
    struct mi_table t;
    assert_int_equal(mi_table_build(&t, &ws, false), MI_OK);
    assert_int_equal(t.n, 0);
    char *text = print(&t, MI_TABLE_TEXT, 80), *csv = print(&t, MI_TABLE_CSV, 80);
    assert_non_null(strstr(text, "midre run"));
    assert_int_equal(strncmp(csv, "data,resolution,attack,model,defense,acc,", 41), 0);
    free(text);
    free(csv);
    mi_table_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tradeoff_is_the_ratio),
        cmocka_unit_test(published_tradeoffs_agree_with_ours),
        cmocka_unit_test(published_rows_are_all_there_under_our_names),
        cmocka_unit_test(filters_and_their_mistakes),
        cmocka_unit_test(sorting_stays_inside_a_dataset_and_puts_gaps_last),
        cmocka_unit_test(text_fits_and_says_what_it_left_out),
        cmocka_unit_test(every_format_escapes_and_marks_synthetic),
        cmocka_unit_test(an_empty_workspace_is_no_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
