/* src/run/table_print.c - the privacy-utility table as text, Markdown, CSV and LaTeX.
 *
 * All four walk mi_columns[].  Text is for a screen: columns nobody has a value for are left out, then the least
 * important ones until the width fits, and the last lines say which.  Markdown drops empty columns; CSV (RFC 4180)
 * and LaTeX keep a fixed set, so that a script or a paper can rely on it.  Rows from rendered faces carry the word
 * "synthetic" in every format.  Each writer escapes what its format gives a meaning to. */
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "table_columns.h"

#define MAX_COLUMNS 40
#define CELL        256
#define DEAR        3  /* columns up to this weight are worth narrower gaps */
#define SHORT       14 /* a word column is cut to this before another column is left out */

/* Columns a UTF-8 text takes: code points.  The table's words have no wide or combining characters. */
static int display_width(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static bool has_value(const struct mi_table *t, const struct mi_column *c) {
    char cell[CELL];
    for (size_t i = 0; i < t->n; i++) {
        mi_column_text(c, &t->rows[i], NULL, cell, sizeof cell);
        if (*cell) return true;
    }
    return false;
}

/* Whether measured rows differ in it. */
static bool varies(const struct mi_table *t, const struct mi_column *c) {
    const struct mi_row *first = NULL;
    for (size_t i = 0; i < t->n; i++) {
        if (t->rows[i].published) continue;
        if (first && !mi_column_equal(c, first, &t->rows[i])) return true;
        if (!first) first = &t->rows[i];
    }
    return false;
}

/* ---- text ---------------------------------------------------------------------------------------------------------
 */

struct layout {
    bool utf8;
    int gap;                /* blanks between columns */
    int width[MAX_COLUMNS]; /* of column i; 0 = not shown */
};

static const char *plus_minus(const struct layout *l) {
    return l->utf8 ? "±" : "+-";
}
static const char *heading(const struct layout *l, const struct mi_column *c) {
    return l->utf8 ? c->head : c->ascii;
}

static int column_width(const struct mi_table *t, const struct layout *l, const struct mi_column *c) {
    int w = display_width(heading(l, c));
    char cell[CELL];
    for (size_t i = 0; i < t->n; i++) {
        mi_column_text(c, &t->rows[i], plus_minus(l), cell, sizeof cell);
        int cw = display_width(cell);
        if (cw > w) w = cw;
    }
    return w;
}

static int total_width(const struct layout *l) {
    int sum = 0;
    for (int i = 0; mi_columns[i].name; i++) sum += l->width[i] ? l->width[i] + l->gap : 0;
    return sum > l->gap ? sum - l->gap : 0;
}

/* Gives what is left of the width to cut words, a column at a time to the one that lacks most. */
static void widen(const struct mi_table *t, int width, struct layout *l) {
    int whole[MAX_COLUMNS];
    for (int i = 0; mi_columns[i].name; i++) whole[i] = l->width[i] ? column_width(t, l, &mi_columns[i]) : 0;
    for (int room = width - total_width(l); room > 0; room--) {
        int most = 0;
        for (int i = 0; mi_columns[i].name; i++)
            if (whole[i] - l->width[i] > whole[most] - l->width[most]) most = i;
        if (l->width[most] >= whole[most]) return;
        l->width[most]++;
    }
}

/* Takes the least important columns out until the rest fits. */
static void drop(int width, struct layout *l) {
    while (total_width(l) > width) {
        int worst = -1;
        for (int i = 0; mi_columns[i].name; i++) {
            if (l->width[i] && mi_columns[i].weight > (worst < 0 ? 0 : mi_columns[worst].weight)) worst = i;
        }
        if (l->gap > 1 && (worst < 0 || mi_columns[worst].weight <= DEAR)) {
            l->gap = 1;
            continue;
        }
        if (worst < 0) return;
        l->width[worst] = 0;
    }
}

/* Brings back what a wide column had pushed out and fits beside the rest, dear ones first. */
static void bring_back(int width, struct layout *l, const int *wanted) {
    for (int weight = 1; weight <= DEAR; weight++) {
        for (int i = 0; mi_columns[i].name; i++) {
            if (l->width[i] || !wanted[i] || mi_columns[i].weight != weight) continue;
            l->width[i] = wanted[i];
            if (total_width(l) > width) l->width[i] = 0;
        }
    }
}

/* Chooses what fits; `left_out` receives the headings that do not. */
static void lay_out(const struct mi_table *t, int width, struct layout *l, char *left_out, size_t size) {
    int wanted[MAX_COLUMNS];
    for (int i = 0; mi_columns[i].name; i++) {
        const struct mi_column *c = &mi_columns[i];
        bool shown = c->weight == 0 || (c->weight > 0 && (c->varied ? varies(t, c) : has_value(t, c)));
        l->width[i] = shown ? column_width(t, l, c) : 0;
    }
    left_out[0] = '\0';
    if (width <= 0) return;
    bool cut = total_width(l) > width;
    for (int i = 0; mi_columns[i].name; i++) {
        if (cut && mi_columns[i].type == MI_COL_TEXT && l->width[i] > SHORT) l->width[i] = SHORT;
        wanted[i] = l->width[i];
    }
    drop(width, l);
    bring_back(width, l, wanted);
    widen(t, width, l);
    size_t used = 0;
    for (int i = 0; mi_columns[i].name && used < size; i++)
        if (wanted[i] && !l->width[i])
            used += (size_t)snprintf(left_out + used, size - used, "%s%s", used ? ", " : "", mi_columns[i].name);
}

/* Cuts UTF-8 text to `width` columns, the last one showing that something is missing. */
static void shorten(char *cell, size_t size, int width, const struct layout *l) {
    if (display_width(cell) <= width) return;
    char *p = cell;
    for (int n = 0; *p; p++) {
        if (((unsigned char)*p & 0xC0) != 0x80 && n++ == width - 1) break;
    }
    snprintf(p, size - (size_t)(p - cell), "%s", l->utf8 ? "…" : "~");
}

/* gap < 0: the last column of its line. */
static void put_cell(FILE *out, const char *text, int width, bool right, int gap) {
    int pad = width - display_width(text);
    if (right)
        fprintf(out, "%*s%s", pad > 0 ? pad : 0, "", text);
    else
        fprintf(out, "%s%*s", text, pad > 0 && gap >= 0 ? pad : 0, "");
    if (gap > 0) fprintf(out, "%*s", gap, "");
}

static void text_line(FILE *out, const struct layout *l, const struct mi_row *r) {
    int last = -1;
    for (int i = 0; mi_columns[i].name; i++) last = l->width[i] ? i : last;
    for (int i = 0; i <= last; i++) {
        const struct mi_column *c = &mi_columns[i];
        if (!l->width[i]) continue;
        char cell[CELL];
        if (r)
            mi_column_text(c, r, plus_minus(l), cell, sizeof cell);
        else
            snprintf(cell, sizeof cell, "%s", heading(l, c));
        if (r && !*cell && c->type != MI_COL_TEXT) snprintf(cell, sizeof cell, "%s", l->utf8 ? "–" : "-");
        if (c->type == MI_COL_TEXT) mi_table_cut(cell, sizeof cell, l->width[i], l->utf8 ? "…" : "~");
        shorten(cell, sizeof cell, l->width[i], l);
        put_cell(out, cell, l->width[i], c->type != MI_COL_TEXT, i == last ? -1 : l->gap);
    }
    fputc('\n', out);
}

static void rule(FILE *out, const struct layout *l, int width) {
    for (int i = 0; i < width; i++) fputs(l->utf8 ? "─" : "-", out);
    fputc('\n', out);
}

/* "Not shown at this width: a, b, c." in lines of at most `width`. */
static void left_out_note(const char *names, int width, FILE *out) {
    int col = fprintf(out, "Not shown at this width:");
    for (const char *p = names; *p;) {
        int n = (int)strcspn(p, ",");
        if (col + 2 + n > width) fputs("\n  ", out), col = 1;
        col += fprintf(out, " %.*s%c", n, p, p[n] ? ',' : '.');
        p += n + (p[n] ? 2 : 0);
    }
    fputc('\n', out);
}

static void text_notes(const struct mi_table *t, const struct layout *l, const char *left_out, int width, FILE *out) {
    bool synthetic = false, published = false, op = false, mean = false;
    for (size_t i = 0; i < t->n; i++) {
        synthetic |= t->rows[i].s.synthetic;
        published |= t->rows[i].published;
        op |= t->rows[i].s.overpriced;
        mean |= t->rows[i].mean_of > 0;
    }
    fprintf(out, "\n%s: attack accuracy lost per point of accuracy given up (against no defense).\n",
            l->utf8 ? "Δ" : "Delta");
    if (op) fputs("OP: accuracy did not fall, so there is no ratio.\n", out);
    if (mean)
        fprintf(out,
                "seeds: a mean; its %s is the spread between seeds, that of other rows the one between restarts.\n",
                plus_minus(l));
    if (synthetic) fputs("synthetic: rendered faces, not photographs of people.\n", out);
    if (published) fputs("Tab.: numbers printed in the paper; run: measured here.\n", out);
    if (*left_out) left_out_note(left_out, width, out);
}

static void print_text(const struct mi_table *t, FILE *out, int width) {
    if (t->n == 0) {
        fputs("No scores yet: `midre run SPEC.ini` measures them; --published shows the paper's.\n", out);
        return;
    }
    struct layout l = {.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8"), .gap = 2};
    char left_out[512];
    lay_out(t, width, &l, left_out, sizeof left_out);
    text_line(out, &l, NULL);
    rule(out, &l, total_width(&l));
    for (size_t i = 0; i < t->n; i++) {
        const struct mi_row *r = &t->rows[i];
        if (i == 0 || !mi_row_same_group(r, r - 1)) {
            fprintf(out, "%s%s", i ? "\n" : "", r->s.data && *r->s.data ? r->s.data : "unnamed data");
            if (r->s.resolution > 0) fprintf(out, ", %d px", r->s.resolution);
            fputs(r->s.synthetic ? " (synthetic)\n" : "\n", out);
        }
        text_line(out, &l, r);
    }
    text_notes(t, &l, left_out, width, out);
}

/* ---- escaping ------------------------------------------------------------------------------------------------------
 */

static void put_markdown(FILE *out, const char *s) {
    for (; *s; s++) {
        if (strchr("\\|*_`[]<>", *s)) fputc('\\', out);
        fputc(*s == '\n' ? ' ' : *s, out);
    }
}

static void put_csv(FILE *out, const char *s) {
    if (!strpbrk(s, ",\"\r\n")) {
        fputs(s, out);
        return;
    }
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"') fputc('"', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void put_latex(FILE *out, const char *s) {
    for (; *s; s++) {
        if (strchr("&%$#_{}", *s))
            fprintf(out, "\\%c", *s);
        else if (*s == '~')
            fputs("\\textasciitilde{}", out);
        else if (*s == '^')
            fputs("\\textasciicircum{}", out);
        else if (*s == '\\')
            fputs("\\textbackslash{}", out);
        else if (*s == '<' || *s == '>')
            fprintf(out, "$%c$", *s);
        else if (!strncmp(s, "±", strlen("±")))
            fputs("$\\pm$", out), s += strlen("±") - 1;
        else
            fputc(*s, out);
    }
}

/* ---- Markdown, CSV, LaTeX -------------------------------------------------------------------------------------------
 */

static void print_csv(const struct mi_table *t, FILE *out) {
    for (const struct mi_column *c = mi_columns; c->name; c++)
        fprintf(out, "%s%s", c == mi_columns ? "" : ",", c->name);
    fputs("\r\n", out);
    char cell[CELL];
    for (size_t i = 0; i < t->n; i++) {
        for (const struct mi_column *c = mi_columns; c->name; c++) {
            if (c != mi_columns) fputc(',', out);
            mi_column_text(c, &t->rows[i], NULL, cell, sizeof cell);
            put_csv(out, cell);
        }
        fputs("\r\n", out);
    }
}

static void print_markdown(const struct mi_table *t, FILE *out) {
    bool show[MAX_COLUMNS]; /* a spread stands beside its mean; only in CSV it has a column of its own */
    for (int i = 0; mi_columns[i].name; i++)
        show[i] = !mi_column_is_spread(&mi_columns[i]) && (mi_columns[i].weight == 0 || has_value(t, &mi_columns[i]));
    fputc('|', out);
    for (int i = 0; mi_columns[i].name; i++) {
        if (!show[i]) continue;
        fputc(' ', out);
        put_markdown(out, mi_columns[i].head);
        fputs(" |", out);
    }
    fputs("\n|", out);
    for (int i = 0; mi_columns[i].name; i++)
        if (show[i]) fputs(mi_columns[i].type == MI_COL_TEXT ? "---|" : "--:|", out);
    fputc('\n', out);
    char cell[CELL];
    for (size_t r = 0; r < t->n; r++) {
        fputc('|', out);
        for (int i = 0; mi_columns[i].name; i++) {
            if (!show[i]) continue;
            mi_column_text(&mi_columns[i], &t->rows[r], "±", cell, sizeof cell);
            fputc(' ', out);
            put_markdown(out, cell);
            fputs(" |", out);
        }
        fputc('\n', out);
    }
}

static const char *const latex_columns[] = {"data", "attack", "model",      "defense",    "acc", "attacc", "top5",
                                            "knn",  "delta",  "delta_eval", "delta_face", "fid", "source", NULL};

static void print_latex(const struct mi_table *t, FILE *out) {
    fputs("% \\usepackage{booktabs}\n\\begin{tabular}{", out);
    for (int i = 0; latex_columns[i]; i++) {
        const struct mi_column *c = mi_column_find(latex_columns[i]);
        fputc(c && c->type == MI_COL_TEXT ? 'l' : 'r', out);
    }
    fputs("}\n\\toprule\n", out);
    for (int i = 0; latex_columns[i]; i++) fprintf(out, "%s%s", i ? " & " : "", mi_column_find(latex_columns[i])->tex);
    fputs(" \\\\\n\\midrule\n", out);
    char cell[CELL];
    for (size_t r = 0; r < t->n; r++) {
        for (int i = 0; latex_columns[i]; i++) {
            mi_column_text(mi_column_find(latex_columns[i]), &t->rows[r], "±", cell, sizeof cell);
            if (i) fputs(" & ", out);
            put_latex(out, *cell ? cell : "--");
            if (i == 0 && t->rows[r].s.synthetic) fputs(" (synthetic)", out);
        }
        fputs(" \\\\\n", out);
    }
    fputs("\\bottomrule\n\\end{tabular}\n", out);
}

enum mi_status mi_table_print(const struct mi_table *t, enum mi_table_format f, FILE *out, int width) {
    switch (f) {
    case MI_TABLE_TEXT:
        print_text(t, out, width);
        break;
    case MI_TABLE_MARKDOWN:
        print_markdown(t, out);
        break;
    case MI_TABLE_CSV:
        print_csv(t, out);
        break;
    case MI_TABLE_LATEX:
        print_latex(t, out);
        break;
    }
    if (fflush(out) != 0 || ferror(out))
        return mi_fail(MI_E_DISK, "cannot write the table: the output is full or closed");
    return MI_OK;
}
