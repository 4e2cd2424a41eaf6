/* midre/table.h - the privacy-utility table: measured rows of a workspace beside published ones. */
#ifndef MIDRE_TABLE_H
#define MIDRE_TABLE_H

#include <stdio.h>

#include "midre/view.h"
#include "midre/workspace.h"

struct mi_row {
    struct mi_score_view s;  /* strings owned by the table */
    bool published;          /* from assets/published, else measured */
    int run;                 /* measured: run number */
    char *source;            /* "run 0007" or "Tab. B.9" */
    char *public_data;
};
struct mi_table { struct mi_row *rows; size_t n; };

/* All measured rows of the workspace's runs (newest first for equal cells) and, if wanted, the published rows.
 * The trade-off of a measured row uses the undefended row of the same model, data, attack, resolution and seed. */
enum mi_status mi_table_build(struct mi_table *t, const struct mi_workspace *ws, bool with_published);
void mi_table_free(struct mi_table *t);
/* Keeps rows whose field equals the text (field: attack model defense data source); unknown field: did-you-mean. */
enum mi_status mi_table_filter(struct mi_table *t, const char *field, const char *value);
enum mi_status mi_table_sort(struct mi_table *t, const char *column, bool descending);

enum mi_table_format { MI_TABLE_TEXT, MI_TABLE_MARKDOWN, MI_TABLE_CSV, MI_TABLE_LATEX };
enum mi_status mi_table_print(const struct mi_table *t, enum mi_table_format f, FILE *out, int width);

/* Delta = (AttAcc_NoDef - AttAcc) / (Acc_NoDef - Acc), paper A.1; *op set when accuracy did not fall (then NAN). */
double mi_tradeoff(double acc_nodef, double attacc_nodef, double acc, double attacc, bool *op);

#endif
