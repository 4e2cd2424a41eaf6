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
    int mean_of;             /* rows it is the mean of (mi_table_mean); 0 = a single measurement */
    char *source;            /* "run 0007" or "Tab. B.9" */
    char *public_data;       /* the attacker's data, "" when not told */
    char *variant;           /* the defense's settings that tell rows apart: "0.1,0.4"; "" for the defaults */
    char *attack_variant;    /* likewise: "erase" for adaptive = erase */
    double base_acc, base_attacc; /* of the undefended row its trade-off is taken against; NAN without one */
    char *recipe, *seeds;    /* mi_spec_recipe, "" when the spec is lost; of a mean row all its seeds: "0/0, 1/0" */
};
struct mi_table { struct mi_row *rows; size_t n; };

/* All measured rows of the workspace's runs (newest first for equal cells) and, if wanted, the published rows.
 * The trade-off of a measured row uses the undefended row of equal recipe and seeds (mi_spec_recipe; on which machine
 * is not asked): the one of its own run when there is one, else the newest.  Runs whose journal cannot be read are left
 * out.  ws NULL: published rows only. */
enum mi_status mi_table_build(struct mi_table *t, const struct mi_workspace *ws, bool with_published);
void mi_table_free(struct mi_table *t);
/* Runs find finished products in the cache: of rows that are the same measurement, to the last digit of everything but
 * their origin, leaves the newest.  After mi_table_filter, for a row may be asked for by an older run. */
void mi_table_merge(struct mi_table *t);
/* One row for measured rows that differ only in their seeds (table_mean.c): means, the sample standard deviation
 * between seeds instead of that between restarts, the trade-off against the mean of each seed's undefended row; source
 * "3 seeds", run the newest.  A seed counts once, with its newest row. */
enum mi_status mi_table_mean(struct mi_table *t);
/* Keeps rows whose field equals one of a comma separated list, in any case; "midre" keeps every variant of midre, "gmi"
 * of gmi.  Fields: attack model defense data source run; unknown field: did-you-mean. */
enum mi_status mi_table_filter(struct mi_table *t, const char *field, const char *value);
/* Sorts within each group of equal data set and resolution (numbers of different data are not comparable); rows
 * without the number come last.  Columns: any name of mi_table_columns(). */
enum mi_status mi_table_sort(struct mi_table *t, const char *column, bool descending);
/* NULL-terminated names of all columns, as --sort and the CSV header spell them. */
const char *const *mi_table_columns(void);
/* One cell as the text table shows it ("74.53 ±5.65", "OP", "" when not measured). MI_E_INPUT: unknown column. */
enum mi_status mi_table_cell(const struct mi_row *r, const char *column, char *out, size_t size);

/* Cuts settings out of a cell longer than `width` columns, first ones first, for the last tell rows apart:
 * "midre(…,fill=one)".  Leaves alone what is not name(settings) or would lose its name. */
void mi_table_cut(char *cell, size_t size, int width, const char *dots);

enum mi_table_format { MI_TABLE_TEXT, MI_TABLE_MARKDOWN, MI_TABLE_CSV, MI_TABLE_LATEX };
/* Text is fitted into `width` columns (0: no limit), leaving out the least important ones and saying which.
 * The other formats hold every column. */
enum mi_status mi_table_print(const struct mi_table *t, enum mi_table_format f, FILE *out, int width);

/* Delta = (AttAcc_NoDef - AttAcc) / (Acc_NoDef - Acc), paper A.1; *op set when accuracy did not fall (then NAN). */
double mi_tradeoff(double acc_nodef, double attacc_nodef, double acc, double attacc, bool *op);

/* ---- published numbers (published.c) --------------------------------------------------------------------- */
/* Appends the result rows of assets/published (*.tsv), names mapped to ours by assets/published/names.tsv. */
enum mi_status mi_published_append(struct mi_table *t);
/* Appends a zeroed row whose numbers are NAN; NULL on no memory. */
struct mi_row *mi_table_add(struct mi_table *t);

#endif
