/* ui/scr_table.c - the privacy-utility table: measured rows beside published ones, and the trade-off as a picture.
 *
 * Rows come from mi_table_build; here they are only chosen (filter, published on or off), ordered and drawn.  In the
 * scatter plot lower right is better: accuracy kept, attack accuracy lost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ui/screen.h"
#include "ui/term.h"

struct tab {
    int at, top, column; /* focused row, first row shown, chosen column */
    int sort;            /* column sorted by, -1 = the table's own order */
    bool descending, no_published;
    char filter[128];
    int *rows; /* indices into the table, shown ones in order */
    int n;
    const struct mi_row *built_rows;
    size_t built_n;
    bool stale;
};

static const struct {
    const char *name;
    int width;
} columns[] = {{"defense", 15}, {"attack", 8}, {"model", 10}, {"data", 10},  {"Acc", 6}, {"AttAcc", 6},
               {"Δ", 7},        {"KNN", 8},    {"δ_eval", 8}, {"δ_face", 7}, {"FID", 7}, {"source", 8}};
#define N_COLUMNS ((int)(sizeof columns / sizeof *columns))

static struct tab *state(struct mi_ui *ui) {
    return ui->state[MI_SCR_TABLE];
}

static enum mi_status table_open(struct mi_ui *ui) {
    struct tab *s = mi_calloc(1, sizeof *s);
    if (!s) return MI_E_NOMEM;
    s->sort = -1;
    ui->state[MI_SCR_TABLE] = s;
    return MI_OK;
}

static void table_close(struct mi_ui *ui) {
    free(state(ui)->rows);
    free(state(ui));
}

static void table_enter(struct mi_ui *ui) {
    mi_ui_table_stale(ui);
    state(ui)->stale = true;
}

/* ---- cells -------------------------------------------------------------------------------------------- */

static double number(const struct mi_row *r, int column) {
    const struct mi_score_view *s = &r->s;
    const double v[] = {NAN,         NAN,    NAN,           NAN,           s->acc, s->attacc,
                        s->tradeoff, s->knn, s->delta_eval, s->delta_face, s->fid, NAN};
    return v[column];
}

static void cell_text(const struct mi_row *r, int column, char *out, size_t size) {
    const struct mi_score_view *s = &r->s;
    double v = number(r, column);
    if (column < 4)
        mi_table_cell(r, columns[column].name, out, size);
    else if (column == N_COLUMNS - 1 && r->mean_of)
        snprintf(out, size, "%dx%s", r->mean_of, s->synthetic ? " syn" : "");
    else if (column == N_COLUMNS - 1)
        snprintf(out, size, "%s%s", r->source ? r->source : "", s->synthetic ? " syn" : "");
    else if (column == 6 && s->overpriced)
        snprintf(out, size, "OP");
    else if (isnan(v))
        snprintf(out, size, "-");
    else
        snprintf(out, size, fabs(v) >= 1000 ? "%.1f" : "%.2f", v);
}

static bool shown(const struct tab *s, const struct mi_row *r) {
    char text[256];
    if (r->published && s->no_published) return false;
    if (!s->filter[0]) return true;
    for (int c = 0; c < N_COLUMNS; c++) {
        cell_text(r, c, text, sizeof text);
        if (mi_contains(text, s->filter)) return true;
    }
    return false;
}

static const struct mi_table *sorting;
static const struct tab *sorting_by;

static int compare(const void *pa, const void *pb) {
    int ia = *(const int *)pa, ib = *(const int *)pb, order;
    const struct mi_row *a = &sorting->rows[ia], *b = &sorting->rows[ib];
    double x = number(a, sorting_by->sort), y = number(b, sorting_by->sort);
    if (sorting_by->sort >= 4 && sorting_by->sort < N_COLUMNS - 1) {
        if (isnan(x) || isnan(y)) return isnan(x) && isnan(y) ? ia - ib : isnan(x) ? 1 : -1; /* unknown last, always */
        order = x < y ? -1 : x > y;
    } else {
        char ta[256], tb[256];
        cell_text(a, sorting_by->sort, ta, sizeof ta);
        cell_text(b, sorting_by->sort, tb, sizeof tb);
        order = strcasecmp(ta, tb);
    }
    if (!order) return ia - ib;
    return sorting_by->descending ? -order : order;
}

/* The list of rows to show, again when the table or what is asked of it changed. */
static const struct mi_table *chosen_rows(struct mi_ui *ui) {
    struct tab *s = state(ui);
    const struct mi_table *t = mi_ui_table(ui);
    if (!t) return NULL;
    if (!s->stale && s->built_rows == t->rows && s->built_n == t->n) return t;
    int *rows = realloc(s->rows, (t->n + 1) * sizeof *rows);
    if (!rows) return NULL;
    s->rows = rows, s->n = 0;
    for (size_t k = 0; k < t->n; k++)
        if (shown(s, &t->rows[k])) s->rows[s->n++] = (int)k;
    if (s->sort >= 0) {
        sorting = t, sorting_by = s;
        qsort(s->rows, (size_t)s->n, sizeof *s->rows, compare);
    }
    s->built_rows = t->rows, s->built_n = t->n, s->stale = false;
    if (s->at >= s->n) s->at = s->n ? s->n - 1 : 0;
    return t;
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

/* Columns that fit: text ones first, then numbers; always the source. Returns how many, widths spread. */
static int fitting(int width, int *out) {
    static const int order80[] = {0, 1, 2, 3, 4, 5, 6, 11}, small[] = {0, 1, 4, 5, 6};
    int n = 0;
    if (width >= 118)
        for (; n < N_COLUMNS; n++) out[n] = n;
    else if (width >= 78)
        for (; n < 8; n++) out[n] = order80[n];
    else
        for (; n < (width >= 50 ? 5 : 4); n++) out[n] = small[n >= 1 && width < 50 ? n + 1 : n];
    return n;
}

/* Text columns take what is left over on wide screens. */
static int width_of(int screen, int column) {
    int w = columns[column].width, spare = screen - 118;
    if (spare <= 0 || (column >= 4 && column < N_COLUMNS - 1)) return w;
    return w + (spare / 5 > 12 ? 12 : spare / 5);
}

static void draw_cells(struct mi_ui *ui, int y, struct mi_rect in, const struct mi_row *r, const int *col, int n,
                       bool here) {
    const struct mi_theme *t = &ui->theme;
    int x = in.x + 3;
    char blank[64];
    snprintf(blank, sizeof blank, "%63s", "");
    mi_put_attr(t, y, in.x, 1, MI_INK_TEXT, 0, here ? ">" : " ");
    mi_put_attr(t, y, in.x + 1, 1, r->published ? MI_INK_DIM : MI_INK_S1, 0, r->published ? "○" : "●");
    for (int k = 0; k < n; k++) {
        char text[256], clipped[256];
        int w = width_of(in.w, col[k]);
        bool num = col[k] >= 4 && col[k] < N_COLUMNS - 1;
        if (x + w > in.x + in.w) break;
        cell_text(r, col[k], text, sizeof text);
        bool prefixed = !strncmp(text, "run ", 4) && mi_text_width(text) > w; /* "0002 syn" says enough */
        if (!num) mi_table_cut(text, sizeof text, w, "..");
        mi_text_clip(clipped, sizeof clipped, text + (prefixed ? 4 : 0), w);
        int pad = num ? w - mi_text_width(clipped) : 0;
        if (here) mi_put_attr(t, y, x, w, MI_INK_TEXT, A_REVERSE, blank);
        if (here && k) mi_put_attr(t, y, x - 1, 1, MI_INK_TEXT, A_REVERSE, " ");
        mi_put_attr(t, y, x + pad, w - pad, MI_INK_TEXT, (here ? A_REVERSE : 0) | (r->published ? 0 : A_BOLD), clipped);
        x += w + 1;
    }
}

static void draw_list(struct mi_ui *ui, const struct mi_table *t) {
    struct tab *s = state(ui);
    struct mi_rect in = ui->layout.box[MI_TABLE_LIST];
    int col[N_COLUMNS], n = fitting(in.w, col), x = in.x + 3, list = in.h - 1;
    for (int k = 0; k < n; k++) {
        int c = col[k], w = width_of(in.w, c);
        bool num = c >= 4 && c < N_COLUMNS - 1;
        char head[32];
        snprintf(head, sizeof head, "%s%s", columns[c].name, s->sort == c ? s->descending ? "▼" : "▲" : "");
        int pad = num && mi_text_width(head) < w ? w - mi_text_width(head) : 0;
        mi_put_attr(&ui->theme, in.y, x + pad, w - pad, MI_INK_TITLE,
                    c == s->column ? A_UNDERLINE | A_REVERSE : A_UNDERLINE, head);
        x += w + 1;
    }
    if (s->at < s->top) s->top = s->at;
    if (s->at >= s->top + list) s->top = s->at - list + 1;
    for (int k = 0; k < list && s->top + k < s->n; k++) {
        bool here = s->top + k == s->at;
        draw_cells(ui, in.y + 1 + k, in, &t->rows[s->rows[s->top + k]], col, n, here);
        if (here) ui->cursor_y = in.y + 1 + k, ui->cursor_x = in.x;
    }
}

/* The scatter shows rows of the focused row's attack and model; there comparison makes sense. */
static bool comparable(const struct mi_row *a, const struct mi_row *b) {
    return a->s.attack && b->s.attack && a->s.model && b->s.model && !strcmp(a->s.attack, b->s.attack) &&
           !strcmp(a->s.model, b->s.model) && !isnan(b->s.acc) && !isnan(b->s.attacc);
}

static void draw_mark(struct mi_ui *ui, struct mi_rect in, const struct mi_plot *p, const struct mi_row *r, bool here) {
    int c, y;
    char label[128];
    if (!mi_plot_cell(p, r->s.acc, r->s.attacc, &c, &y)) return;
    cell_text(r, 0, label, sizeof label);
    int x = in.x + 5 + c, room = in.x + in.w - x - 2, w = mi_text_width(label);
    mi_put(&ui->theme, in.y + y, x, 1, r->published ? MI_INK_TEXT : MI_INK_S1, r->published ? "○" : "●");
    if (w <= room)
        mi_put_attr(&ui->theme, in.y + y, x + 2, w, MI_INK_TEXT, here ? A_REVERSE : 0, label);
    else
        mi_put_attr(&ui->theme, in.y + y, x - 1 - w, w, MI_INK_TEXT, here ? A_REVERSE : 0, label);
}

static void draw_scatter(struct mi_ui *ui, const struct mi_table *t) {
    struct tab *s = state(ui);
    struct mi_rect r = ui->layout.box[MI_TABLE_PLOT];
    char title[160];
    if (!r.h || !s->n) return;
    const struct mi_row *focus = &t->rows[s->rows[s->at]];
    snprintf(title, sizeof title, "%s on %s: x Acc, y AttAcc   ○ published ● ours   lower right is better",
             focus->s.attack ? focus->s.attack : "", focus->s.model ? focus->s.model : "");
    struct mi_rect in = mi_box(&ui->theme, r, title);
    struct mi_plot p = {.cols = in.w - 7, .rows = in.h - 1, .x0 = INFINITY, .x1 = -INFINITY, .y0 = 0, .y1 = 100};
    if (p.cols < 10 || p.rows < 2) return;
    for (size_t k = 0; k < t->n; k++)
        if (comparable(focus, &t->rows[k])) p.x0 = fmin(p.x0, t->rows[k].s.acc), p.x1 = fmax(p.x1, t->rows[k].s.acc);
    if (!(p.x0 <= p.x1)) return;
    p.x0 = floor(p.x0 - 1), p.x1 = ceil(p.x1 + 1);
    for (int y = 0; y < p.rows; y++) mi_put(&ui->theme, in.y + y, in.x + 4, 1, MI_INK_DIM, "│");
    mi_put(&ui->theme, in.y, in.x, 4, MI_INK_DIM, " 100");
    mi_put(&ui->theme, in.y + p.rows - 1, in.x, 4, MI_INK_DIM, "   0");
    mi_putf(&ui->theme, in.y + p.rows, in.x + 5, 10, MI_INK_DIM, "%.0f", p.x0);
    mi_putf(&ui->theme, in.y + p.rows, in.x + in.w - 4, 4, MI_INK_DIM, "%.0f", p.x1);
    for (int pass = 0; pass < 2; pass++) /* ours over the published ones */
        for (int k = 0; k < s->n; k++) {
            const struct mi_row *row = &t->rows[s->rows[k]];
            if (row->published == (pass == 0) && comparable(focus, row)) draw_mark(ui, in, &p, row, k == s->at);
        }
}

static void table_draw(struct mi_ui *ui) {
    struct tab *s = state(ui);
    const struct mi_table *t = chosen_rows(ui);
    struct mi_rect head = ui->layout.box[MI_BOX_HEAD];
    if (!t) return;
    mi_putf(&ui->theme, head.y, 1, head.w - 2, MI_INK_TEXT,
            "%d of %zu rows%s   sort: %s%s   filter: %s   ● measured ○ published%s", s->n, t->n,
            ui->table_mean ? ", means" : "", s->sort < 0 ? "as it comes" : columns[s->sort].name,
            s->sort >= 0 && s->descending ? " (falling)" : "", s->filter[0] ? s->filter : "(none)",
            s->no_published ? " (hidden)" : "");
    draw_list(ui, t);
    draw_scatter(ui, t);
    if (!s->n)
        mi_put(&ui->theme, ui->layout.box[MI_TABLE_LIST].y + 2, 4, 60, MI_INK_DIM,
               "No rows. Finished runs appear here.");
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static void filter_done(struct mi_ui *ui, int key, const char *text) {
    if (key != '\n') return;
    snprintf(state(ui)->filter, sizeof state(ui)->filter, "%s", text);
    state(ui)->stale = true;
}

static void export_done(struct mi_ui *ui, int key, const char *path) {
    static const struct {
        const char *end;
        enum mi_table_format f;
    } formats[] = {
        {".md", MI_TABLE_MARKDOWN}, {".csv", MI_TABLE_CSV}, {".tex", MI_TABLE_LATEX}, {".txt", MI_TABLE_TEXT}};
    enum mi_table_format f = MI_TABLE_TEXT;
    if (key != '\n' || !*path || !ui->table_ready) return;
    for (size_t k = 0; k < 4; k++)
        if (strlen(path) > 4 && mi_contains(path + strlen(path) - strlen(formats[k].end), formats[k].end))
            f = formats[k].f;
    char *full = mi_path_resolve(".", path), *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    enum mi_status st =
        full && out ? mi_table_print(&ui->table, f, out, 200) : mi_fail(MI_E_NOMEM, "no memory for the export");
    if (out && fclose(out) != 0 && st == MI_OK) st = mi_fail(MI_E_NOMEM, "no memory for the export");
    if (st == MI_OK) st = mi_write_file(full, bytes, n);
    if (st == MI_OK)
        mi_ui_say(ui, "all %zu rows saved to %s", ui->table.n, full);
    else
        mi_ui_say_error(ui);
    free(full);
    free(bytes);
}

static const struct mi_row *focused(struct mi_ui *ui) {
    struct tab *s = state(ui);
    return ui->table_ready && s->n && s->at < s->n && s->built_rows == ui->table.rows ? &ui->table.rows[s->rows[s->at]]
                                                                                      : NULL;
}

static void copy_row(struct mi_ui *ui) {
    const struct mi_row *r = focused(ui);
    char text[1024] = "", cell[256];
    size_t n = 0;
    for (int c = 0; r && c < N_COLUMNS; c++) {
        cell_text(r, c, cell, sizeof cell);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", c ? "\t" : "", cell);
        if (n >= sizeof text) break;
    }
    if (!r) return;
    mi_term_clipboard(text);
    mi_ui_say(ui, "row copied to the clipboard (where the terminal allows it)");
}

static void open_run(struct mi_ui *ui) {
    const struct mi_row *r = focused(ui);
    if (!r) return;
    if (r->published)
        mi_ui_say(ui, "a published row (%s): there is no run to watch", r->source ? r->source : "");
    else if (mi_ui_watch(ui, r->run)) {
        mi_ui_go(ui, MI_SCR_GALLERY);
        if (r->mean_of) mi_ui_say(ui, "run %04d, the newest of %d", r->run, r->mean_of);
    }
}

static unsigned table_act(struct mi_ui *ui, enum mi_act act) {
    struct tab *s = state(ui);
    if (mi_act_scroll(act, 10, s->n, &s->at)) return MI_UI_HANDLED | MI_UI_REDRAW;
    switch (act) {
    case MI_ACT_LEFT:
        s->column = (s->column + N_COLUMNS - 1) % N_COLUMNS;
        break;
    case MI_ACT_RIGHT:
        s->column = (s->column + 1) % N_COLUMNS;
        break;
    case MI_ACT_SORT:
        s->sort = s->sort == s->column ? -1 : s->column;
        s->stale = true;
        break;
    case MI_ACT_REVERSE:
        s->descending = !s->descending, s->stale = true;
        break;
    case MI_ACT_PUBLISHED:
        s->no_published = !s->no_published, s->stale = true;
        break;
    case MI_ACT_MEAN:
        ui->table_mean = !ui->table_mean;
        mi_ui_table_stale(ui);
        s->at = s->top = 0, s->stale = true;
        break;
    case MI_ACT_FILTER:
        mi_popup_line(ui, "Filter", "Rows that contain (empty shows all):", s->filter, filter_done);
        break;
    case MI_ACT_ENTER:
        open_run(ui);
        break;
    case MI_ACT_COPY:
        copy_row(ui);
        break;
    case MI_ACT_EXPORT:
        mi_popup_line(ui, "Save table", "File; the ending chooses the form (.md .csv .tex .txt):", "table.md",
                      export_done);
        break;
    default:
        return MI_UI_IGNORED;
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

const struct mi_screen_desc mi_screen_table = {.title = "Table",
                                               .open = table_open,
                                               .close = table_close,
                                               .enter = table_enter,
                                               .draw = table_draw,
                                               .act = table_act};
