/* src/run/table_mean.c - one row for the repetitions of a measurement with other seeds.
 *
 * Rows belong together when everything a spec sets is equal but the seeds (spec_recipe.c), and so are network, defense,
 * attack, arithmetic and judge.  A seed counts once, with its newest row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "table_columns.h"

static bool repeats(const struct mi_row *a, const struct mi_row *b) {
    return !b->published && *b->recipe && mi_same_text(a->recipe, b->recipe) && mi_same_text(a->s.model, b->s.model) &&
           mi_same_text(a->s.defense, b->s.defense) && mi_same_text(a->variant, b->variant) &&
           mi_same_text(a->s.attack, b->s.attack) && mi_same_text(a->s.precision, b->s.precision) &&
           mi_same_text(a->s.judge, b->s.judge) && a->s.quick == b->s.quick;
}

/* What is told in brackets may differ between seeds, the judge's accuracy in the protocol, the hash of start weights.
 */
static void cut_brackets(char *text, const char *other) {
    char *at = text ? strstr(text, " (") : NULL;
    if (at && !mi_same_text(text, other)) *at = '\0';
}

static double mean_of(const struct mi_column *c, struct mi_row *const *row, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += mi_column_number(c, row[i]);
    return sum / (double)n;
}

static double deviation_of(const struct mi_column *c, struct mi_row *const *row, size_t n, double mean) {
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        double d = mi_column_number(c, row[i]) - mean;
        square += d * d;
    }
    return sqrt(square / (double)(n - 1));
}

static void put_real(const struct mi_column *c, struct mi_row *r, double v) {
    memcpy((char *)r + c->at, &v, sizeof v);
}

static int by_seeds(const void *a, const void *b) {
    const struct mi_row *x = *(struct mi_row *const *)a, *y = *(struct mi_row *const *)b;
    return x->s.seed != y->s.seed ? (x->s.seed > y->s.seed) - (x->s.seed < y->s.seed) : strcmp(x->seeds, y->seeds);
}

static enum mi_status join_seeds(struct mi_row *const *row, size_t n, char **seeds) {
    *seeds = mi_strdup(row[0]->seeds);
    for (size_t i = 1; i < n && *seeds; i++) {
        char *longer = mi_format("%s, %s", *seeds, row[i]->seeds);
        free(*seeds);
        *seeds = longer;
    }
    return *seeds ? MI_OK : MI_E_NOMEM;
}

static enum mi_status name_mean(struct mi_row *into, struct mi_row **row, size_t n) {
    for (size_t i = 1; i < n; i++) {
        cut_brackets(into->s.init, row[i]->s.init);
        cut_brackets(into->s.protocol, row[i]->s.protocol);
        cut_brackets(into->s.device, row[i]->s.device);
        if (into->s.device && !mi_same_text(into->s.device, row[i]->s.device)) strcpy(into->s.device, "");
        if (row[i]->run > into->run) into->run = row[i]->run;
    }
    qsort(row, n, sizeof(*row), by_seeds);
    char *seeds = NULL, *source = mi_format("%zu seeds", n);
    enum mi_status st = source ? join_seeds(row, n, &seeds) : MI_E_NOMEM;
    if (st != MI_OK) {
        free(source);
        return st;
    }
    free(into->source);
    free(into->seeds);
    into->source = source;
    into->seeds = seeds;
    into->s.seed = -1;
    into->mean_of = (int)n;
    return MI_OK;
}

/* Makes the first row the mean of all n. */
static enum mi_status average(struct mi_row **row, size_t n) {
    struct mi_row *into = row[0];
    double base_acc = 0, base_attacc = 0;
    for (size_t i = 0; i < n; i++) base_acc += row[i]->base_acc, base_attacc += row[i]->base_attacc;
    for (const struct mi_column *c = mi_columns; c->name; c++) {
        if (c->type != MI_COL_REAL || mi_column_is_spread(c)) continue;
        double mean = mean_of(c, row, n);
        if (c->spread) put_real(c->spread, into, deviation_of(c, row, n, mean));
        put_real(c, into, mean);
    }
    into->base_acc = base_acc / (double)n, into->base_attacc = base_attacc / (double)n;
    into->s.tradeoff = mi_tradeoff(into->base_acc, into->base_attacc, into->s.acc, into->s.attacc, &into->s.overpriced);
    return name_mean(into, row, n);
}

/* The repetitions of row i behind it, each seed once; `gone` marks all that the mean stands for. */
static size_t gather(struct mi_table *t, size_t i, bool *gone, struct mi_row **row) {
    size_t n = 0;
    row[n++] = &t->rows[i];
    for (size_t j = i + 1; j < t->n; j++) {
        struct mi_row *other = &t->rows[j];
        if (gone[j] || !repeats(row[0], other)) continue;
        gone[j] = true;
        size_t k = 0;
        while (k < n && !mi_same_text(row[k]->seeds, other->seeds)) k++;
        if (k == n)
            row[n++] = other;
        else if (k > 0 && other->run > row[k]->run)
            row[k] = other;
    }
    return n;
}

enum mi_status mi_table_mean(struct mi_table *t) {
    size_t all = t->n ? t->n : 1, kept = 0;
    bool *gone = mi_calloc(all, sizeof(*gone));
    struct mi_row **row = mi_calloc(all, sizeof(struct mi_row *));
    enum mi_status st = gone && row ? MI_OK : MI_E_NOMEM;
    for (size_t i = 0; i < t->n && st == MI_OK; i++) {
        if (gone[i] || t->rows[i].published || !*t->rows[i].recipe) continue;
        size_t n = gather(t, i, gone, row);
        if (n > 1) st = average(row, n);
    }
    for (size_t i = 0; i < t->n; i++) {
        if (st == MI_OK && gone[i])
            mi_row_free(&t->rows[i]);
        else
            t->rows[kept++] = t->rows[i];
    }
    t->n = kept;
    free(gone);
    free(row);
    return st;
}
