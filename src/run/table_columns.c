/* src/run/table_columns.c - the columns of the privacy-utility table, each written down once.
 *
 * A column knows its names, where its value lies in a row, how many digits it deserves and how dear it is when the
 * screen is narrow.  Printing in every format, sorting and the CSV header walk this list; a new metric is one line
 * here.  Numbers are formatted digit by digit through snprintf and a fixed '.', whatever the locale says. */
#include "table_columns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define S(field) offsetof(struct mi_row, s.field)
#define R(field) offsetof(struct mi_row, field)
#define WHERE(h) .head = h, .ascii = h, .tex = h

enum { ATTACC_STD = 6, TOP5_STD = 8 };

/* clang-format off */
const struct mi_column mi_columns[] = {
    {"data",        WHERE("Data"),     MI_COL_TEXT, S(data), .weight = -1},
    {"resolution",  WHERE("Px"),       MI_COL_COUNT, S(resolution), .weight = -1},
    {"attack",      WHERE("Attack"),   MI_COL_TEXT, S(attack)},
    {"model",       WHERE("Model"),    MI_COL_TEXT, S(model)},
    {"defense",     WHERE("Defense"),  MI_COL_TEXT, S(defense)},
    {"acc",         "Acc", "Acc", "Acc $\\uparrow$", MI_COL_REAL, S(acc), .digits = 2},
    [ATTACC_STD] = {"attacc_std", "±", "+-", "$\\pm$", MI_COL_REAL, S(attacc_std), .digits = 2, .weight = -1},
    {"attacc",      "AttAcc", "AttAcc", "AttAcc $\\downarrow$",
     MI_COL_REAL, S(attacc), .digits = 2, .spread = &mi_columns[ATTACC_STD]},
    [TOP5_STD] = {"top5_std", "±", "+-", "$\\pm$", MI_COL_REAL, S(top5_std), .digits = 2, .weight = -1},
    {"top5",        "Top-5", "Top-5", "Top-5 $\\downarrow$",
     MI_COL_REAL, S(top5), .digits = 2, .weight = 4, .spread = &mi_columns[TOP5_STD]},
    {"knn",         "KNN", "KNN", "KNN $\\uparrow$", MI_COL_REAL, S(knn), .digits = 2, .weight = 3},
    {"delta",       "Δ", "Delta", "$\\Delta$ $\\uparrow$",
     MI_COL_REAL, S(tradeoff), .digits = 2, .weight = 2, .origin = true},
    {"delta_eval",  "δ_eval", "d_eval", "$\\delta_{eval}$ $\\uparrow$",
     MI_COL_REAL, S(delta_eval), .digits = 2, .weight = 5},
    {"delta_face",  "δ_face", "d_face", "$\\delta_{face}$ $\\uparrow$",
     MI_COL_REAL, S(delta_face), .digits = 3, .weight = 6},
    {"fid",         "FID", "FID", "FID $\\uparrow$", MI_COL_REAL, S(fid), .digits = 2, .weight = 7},
    {"fid_features", WHERE("FID of"),  MI_COL_TEXT, S(fid_features), .weight = -1},
    {"queries",     "Queries", "Queries", "Queries", MI_COL_REAL, S(queries), .digits = 0, .weight = 12},
    {"seed",        WHERE("Seed"),      MI_COL_SEED, S(seed), .weight = 9},
    {"seeds",       WHERE("Seeds"),     MI_COL_TEXT, R(seeds), .weight = -1},
    {"identities",  WHERE("Ids"),       MI_COL_COUNT, S(identities), .weight = 11},
    {"images",      WHERE("Images"),    MI_COL_COUNT, S(images), .weight = 13},
    {"precision",   WHERE("Precision"), MI_COL_TEXT, S(precision), .weight = 10},
    {"device",      WHERE("Device"),    MI_COL_TEXT, S(device), .weight = 14},
    {"judge",       WHERE("Judge"),     MI_COL_TEXT, S(judge), .weight = 8},
    {"judge_acc",   WHERE("Judge acc"), MI_COL_REAL, S(judge_acc), .digits = 2, .weight = 15},
    {"target_acc_by_judge", WHERE("Target sees itself"), MI_COL_REAL, S(target_judged), .digits = 2, .weight = -1},
    {"init",        WHERE("Init"),      MI_COL_TEXT, S(init), .weight = 3, .varied = true},
    {"protocol",    WHERE("Protocol"),  MI_COL_TEXT, S(protocol), .weight = -1},
    {"public_data", WHERE("Public"),    MI_COL_TEXT, R(public_data), .weight = -1},
    {"synthetic",   WHERE("Synthetic"), MI_COL_FLAG, S(synthetic), .weight = -1},
    {"note",        WHERE("Note"),      MI_COL_TEXT, S(note), .weight = -1},
    {"source",      WHERE("Source"),    MI_COL_TEXT, R(source), .weight = 1, .origin = true},
    {.name = NULL},
};
/* clang-format on */

const char *const *mi_table_columns(void) {
    static const char *names[sizeof mi_columns / sizeof *mi_columns];
    for (size_t i = 0; mi_columns[i].name; i++) names[i] = mi_columns[i].name;
    return names;
}

const struct mi_column *mi_column_find(const char *name) {
    size_t n = 0;
    for (; mi_columns[n].name; n++) {
        if (!strcmp(mi_columns[n].name, name)) return &mi_columns[n];
    }
    const char *near = mi_nearest(name, mi_table_columns(), n);
    mi_fail(MI_E_INPUT, "the table has no column \"%s\"%s%s%s", name, near ? ", did you mean \"" : "", near ? near : "",
            near ? "\"?" : "; `midre help table` lists them");
    return NULL;
}

bool mi_same_text(const char *a, const char *b) {
    return !strcmp(a ? a : "", b ? b : "");
}

bool mi_column_is_spread(const struct mi_column *c) {
    for (const struct mi_column *m = mi_columns; m->name; m++)
        if (m->spread == c) return true;
    return false;
}

static const char *text_at(const struct mi_column *c, const struct mi_row *r) {
    const char *t;
    memcpy(&t, (const char *)r + c->at, sizeof t);
    return t ? t : "";
}

double mi_column_number(const struct mi_column *c, const struct mi_row *r) {
    const char *p = (const char *)r + c->at;
    double d;
    int i;
    int64_t wide;
    bool flag;
    switch (c->type) {
    case MI_COL_REAL:
        memcpy(&d, p, sizeof d);
        return d;
    case MI_COL_COUNT:
        memcpy(&i, p, sizeof i);
        return i > 0 ? i : NAN;
    case MI_COL_SEED:
        memcpy(&wide, p, sizeof wide);
        return wide >= 0 ? (double)wide : NAN;
    case MI_COL_FLAG:
        memcpy(&flag, p, sizeof flag);
        return flag;
    case MI_COL_TEXT:
        break;
    }
    return NAN;
}

/* What stands in brackets behind the name. */
static const char *variant_at(const struct mi_column *c, const struct mi_row *r) {
    const char *v = c->at == S(defense) ? r->variant : c->at == S(attack) ? r->attack_variant : NULL;
    return v ? v : "";
}

bool mi_column_equal(const struct mi_column *c, const struct mi_row *a, const struct mi_row *b) {
    if (c->type == MI_COL_TEXT)
        return !strcmp(text_at(c, a), text_at(c, b)) && !strcmp(variant_at(c, a), variant_at(c, b));
    double x = mi_column_number(c, a), y = mi_column_number(c, b);
    return isnan(x) ? isnan(y) : x == y;
}

/* %.*f with '.' in every locale. */
static void plain_real(char *out, size_t size, double v, int digits) {
    snprintf(out, size, "%.*f", digits, v);
    for (char *p = out; *p; p++) {
        if (*p == ',') *p = '.';
    }
}

void mi_column_text(const struct mi_column *c, const struct mi_row *r, const char *plus_minus, char *out, size_t size) {
    double v = mi_column_number(c, r);
    out[0] = '\0';
    if (c->type == MI_COL_TEXT) {
        const char *variant = variant_at(c, r);
        snprintf(out, size, "%s%s%s%s", text_at(c, r), *variant ? "(" : "", variant, *variant ? ")" : "");
    } else if (c->type == MI_COL_FLAG) {
        snprintf(out, size, "%s", v != 0 ? "synthetic" : "");
    } else if (c->at == S(tradeoff) && r->s.overpriced) {
        snprintf(out, size, "OP");
    } else if (!isnan(v)) {
        plain_real(out, size, v, c->type == MI_COL_REAL ? c->digits : 0);
        double spread = c->spread && plus_minus ? mi_column_number(c->spread, r) : NAN;
        if (!isnan(spread)) {
            char tail[32];
            plain_real(tail, sizeof tail, spread, c->spread->digits);
            size_t used = strlen(out);
            snprintf(out + used, size - used, " %s%s", plus_minus, tail);
        }
    }
}

static size_t dots_width(const char *dots) {
    return (unsigned char)*dots < 0x80 ? strlen(dots) : 1;
}

void mi_table_cut(char *cell, size_t size, int width, const char *dots) {
    size_t n = strlen(cell), name = strcspn(cell, "(") + 1;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)cell[i] >= 0x80) return; /* not a name of ours */
    if (n <= (size_t)width || cell[n - 1] != ')' || (size_t)width < name + dots_width(dots) + 4) return;
    const char *tail = cell + n - ((size_t)width - name - dots_width(dots)), *comma = strchr(tail, ',');
    char cut[256];
    int length = snprintf(cut, sizeof cut, "%.*s%s%s", (int)name, cell, dots, comma ? comma : tail);
    if (length > 0 && (size_t)length < sizeof cut && (size_t)length < size) memcpy(cell, cut, (size_t)length + 1);
}

enum mi_status mi_table_cell(const struct mi_row *r, const char *column, char *out, size_t size) {
    const struct mi_column *c = mi_column_find(column);
    if (!c) return MI_E_INPUT;
    mi_column_text(c, r, "±", out, size);
    return MI_OK;
}

/* ---- sorting by a column ------------------------------------------------------------------------------------------
 */

static int compare_column(const struct mi_row *a, const struct mi_row *b, const struct mi_row_order *o) {
    const struct mi_column *c = o->column;
    if (c->type == MI_COL_TEXT) {
        int d = strcasecmp(text_at(c, a), text_at(c, b));
        return o->descending ? -d : d;
    }
    double x = mi_column_number(c, a), y = mi_column_number(c, b);
    if (isnan(x) || isnan(y)) return isnan(x) - isnan(y); /* rows without the number last, either way */
    return o->descending ? (x < y) - (x > y) : (x > y) - (x < y);
}

enum mi_status mi_table_sort(struct mi_table *t, const char *column, bool descending) {
    struct mi_row_order o = {.compare = compare_column, .column = mi_column_find(column), .descending = descending};
    if (!o.column) return MI_E_INPUT;
    for (size_t i = 0, end; i < t->n; i = end) {
        for (end = i + 1; end < t->n && mi_row_same_group(&t->rows[i], &t->rows[end]); end++) {
        }
        MI_TRY(mi_rows_sort(t->rows + i, end - i, &o));
    }
    return MI_OK;
}
