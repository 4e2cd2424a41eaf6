/* src/run/table_columns.h - what the files of the table share: the list of columns and how rows are put in order.
 * Private to src/run. */
#ifndef MIDRE_TABLE_COLUMNS_H
#define MIDRE_TABLE_COLUMNS_H

#include "midre/table.h"

#define MI_NO_DEFENSE "none" /* the catalogue's name of "no defense" */

enum mi_col_type { MI_COL_TEXT, MI_COL_REAL, MI_COL_COUNT /* int, 0 = not told */, MI_COL_SEED, MI_COL_FLAG };

struct mi_column {
    const char *name;               /* --sort and CSV header */
    const char *head, *ascii, *tex; /* headings: UTF-8, plain, LaTeX */
    enum mi_col_type type;
    size_t at;                      /* offset in struct mi_row */
    int digits;                     /* MI_COL_REAL: digits after the point */
    int weight;                     /* text: 0 always shown, larger leaves first, -1 never (CSV and Markdown only) */
    const struct mi_column *spread; /* text: "mean ±spread" in one column */
    bool varied;                    /* text: shown only where rows differ in it */
    bool origin;                    /* not of the measurement: where it is from and what it is compared with */
};
extern const struct mi_column mi_columns[]; /* ends with name NULL */

const struct mi_column *mi_column_find(const char *name); /* NULL with a did-you-mean */
/* The number of a cell (NAN: none, or a text column) and its text in the C locale; plus_minus is "±" or "+-". */
double mi_column_number(const struct mi_column *c, const struct mi_row *r);
bool mi_column_equal(const struct mi_column *c, const struct mi_row *a, const struct mi_row *b); /* to the last digit */
void mi_column_text(const struct mi_column *c, const struct mi_row *r, const char *plus_minus, char *out, size_t size);

void mi_row_free(struct mi_row *r);                     /* what it owns */
bool mi_same_text(const char *a, const char *b);        /* NULL is "" */
bool mi_column_is_spread(const struct mi_column *c);    /* of another column */

struct mi_row_order {
    int (*compare)(const struct mi_row *a, const struct mi_row *b, const struct mi_row_order *o);
    const struct mi_column *column;
    bool descending;
};
enum mi_status mi_rows_sort(struct mi_row *rows, size_t n, const struct mi_row_order *o); /* stable */
bool mi_row_same_group(const struct mi_row *a, const struct mi_row *b); /* equal data set and resolution */

#endif
