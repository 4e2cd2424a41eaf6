/* ui/setup_panels.c - drawing of the Setup screen: the form, help of the focused field, published rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen.h"
#include "ui/setup.h"

static const char *blank_word(const struct mi_field *f) {
    return f->kind == MI_FIELD_ENTRY ? "(same)" : "-";
}

/* What a 0 means where the help says so: "attacks all" of "...; 0 attacks all"; "" elsewhere. */
static void zero_word(const struct mi_setting *s, const char *value, char *out, size_t size) {
    const char *at = !strcmp(value, "0") && s->help ? strstr(s->help, "; 0 ") : NULL;
    snprintf(out, size, "%.*s", at ? (int)strcspn(at + 4, ";,") : 0, at ? at + 4 : "");
}

static void draw_field(struct mi_ui *ui, struct mi_rect row, const struct mi_field *f, bool here, int label_w) {
    const struct mi_theme *t = &ui->theme;
    char line[512], bar[64], value[400];
    const char *v = mi_field_value(ui->spec, f);
    double fraction = mi_field_fraction(ui->spec, f);
    const struct mi_setting *s = f->set;
    if (f->kind == MI_FIELD_HEADER) {
        mi_putf(t, row.y, row.x, row.w, MI_INK_TITLE, "[%s]", f->label);
        return;
    }
    mi_text_clip(value, sizeof value, *v ? v : blank_word(f), row.w - label_w - 6);
    if (fraction >= 0) {
        int room = row.w - label_w - 14;
        mi_bar_text(bar, sizeof bar, room < 1 ? 1 : room > 16 ? 16 : room, fraction, !t->utf8);
        snprintf(line, sizeof line, "%-6s %s%s%s", value, t->utf8 ? "▕" : "[", bar, t->utf8 ? "▏" : "]");
    } else if (f->kind != MI_FIELD_SETTING || s->type == MI_CHOICE) {
        snprintf(line, sizeof line, "< %s >", value);
    } else if (s->type == MI_BOOL) {
        snprintf(line, sizeof line, "[%s] %s", !strcmp(v, "yes") || !strcmp(v, "true") ? "x" : " ", value);
    } else {
        zero_word(s, v, bar, sizeof bar);
        snprintf(line, sizeof line, "%s%s %s", value, *bar ? ":" : "", *bar ? bar : *v && s->unit ? s->unit : "");
    }
    mi_putf(t, row.y, row.x, label_w + 2, MI_INK_TEXT, "%s%s", here ? ">" : " ", f->label);
    int x = row.x + label_w + 2;
    bool changed = s && strcmp(v, s->def ? s->def : "");
    mi_put_attr(t, row.y, x, row.x + row.w - x, MI_INK_TEXT, (here ? A_REVERSE : 0) | (changed && !here ? A_BOLD : 0),
                line);
    if (here) ui->cursor_y = row.y, ui->cursor_x = x;
}

static void draw_buttons(struct mi_ui *ui, struct mi_rect row, const struct mi_form *form, int at) {
    int x = row.x + 1;
    for (int k = 0; k < form->n; k++) {
        if (form->f[k].kind != MI_FIELD_BUTTON) continue;
        char label[64];
        snprintf(label, sizeof label, "[ %s ]", form->f[k].label);
        int w = mi_put_attr(&ui->theme, row.y, x, row.x + row.w - x, MI_INK_ACCENT, k == at ? A_REVERSE | A_BOLD : 0,
                            label);
        if (k == at) ui->cursor_y = row.y, ui->cursor_x = x;
        x += w + 2;
    }
}

static void draw_form(struct mi_ui *ui, struct mi_rect r, struct mi_form *form, int at, int *top, bool focus,
                      const char *title) {
    struct mi_rect in = mi_box(&ui->theme, r, title);
    int rows = form->n, list = in.h, label_w = in.w > 60 ? 22 : 16;
    bool buttons = rows && form->f[rows - 1].kind == MI_FIELD_BUTTON;
    if (in.h < 1) return;
    while (rows > 0 && form->f[rows - 1].kind == MI_FIELD_BUTTON) rows--;
    if (buttons) list--;
    int keep = at < rows ? at : *top;
    if (keep < *top) *top = keep;
    if (keep > 0 && form->f[keep - 1].kind == MI_FIELD_HEADER && keep - 1 < *top) *top = keep - 1;
    if (keep >= *top + list) *top = keep - list + 1;
    if (*top > 0 && rows - *top < list) *top = rows > list ? rows - list : 0;
    for (int k = 0; k < list && *top + k < rows; k++)
        draw_field(ui, (struct mi_rect){in.y + k, in.x, 1, in.w}, &form->f[*top + k], focus && *top + k == at, label_w);
    if (*top + list < rows) mi_put(&ui->theme, r.y + r.h - 1, r.x + r.w - 9, 7, MI_INK_DIM, "more ↓");
    if (*top > 0) mi_put(&ui->theme, r.y, r.x + r.w - 9, 7, MI_INK_DIM, "more ↑");
    int below = rows + 1 < in.h - 1 ? rows + 1 : in.h - 1; /* a blank line above the buttons where there is room */
    if (buttons) draw_buttons(ui, (struct mi_rect){in.y + below, in.x, 1, in.w}, form, at);
}

/* ---- help of the focus -------------------------------------------------------------------------------- */

static void help_entry(struct mi_ui *ui, struct mi_rect *in, const struct mi_field *f) {
    size_t n = 0;
    char **name = mi_composition_distinct(mi_field_value(ui->spec, f), &n);
    for (size_t k = 0; k < n && in->h > 0; k++) {
        const struct mi_entry *e = mi_catalogue_find(f->catalogue, name[k]);
        if (!e) {
            mi_error_clear();
            continue;
        }
        char text[1200];
        mi_put(&ui->theme, in->y, in->x, in->w, MI_INK_TITLE, e->title);
        in->y++, in->h--;
        snprintf(text, sizeof text, "%s%s%s%s%s%s", e->help, *e->paper ? " " : "", e->paper,
                 e->tags && *e->tags ? " [" : "", e->tags ? e->tags : "", e->tags && *e->tags ? "]" : "");
        int used = mi_wrap(&ui->theme, *in, MI_INK_TEXT, text);
        in->y += used, in->h -= used;
    }
    mi_list_free(name, n);
}

static void help_setting(struct mi_ui *ui, struct mi_rect *in, const struct mi_field *f) {
    const struct mi_setting *s = f->set;
    char text[512];
    snprintf(text, sizeof text, "%s.", s->help);
    int used = mi_wrap(&ui->theme, *in, MI_INK_TEXT, text);
    in->y += used, in->h -= used;
    if (s->type == MI_INT || s->type == MI_REAL)
        snprintf(text, sizeof text, "%g to %g%s%s, default %s", s->min, s->max, s->unit ? " " : "",
                 s->unit ? s->unit : "", s->def);
    else if (s->type == MI_CHOICE)
        snprintf(text, sizeof text, "one of %s, default %s", s->choices, s->def);
    else
        snprintf(text, sizeof text, "default %s", s->def && *s->def ? s->def : "empty");
    used = mi_wrap(&ui->theme, *in, MI_INK_DIM, text);
    in->y += used, in->h -= used;
    snprintf(text, sizeof text, "in a file: [%s] %s = %s", f->section, s->name, mi_field_value(ui->spec, f));
    if (in->h > 0) mi_wrap(&ui->theme, *in, MI_INK_DIM, text);
}

static void help_start(struct mi_ui *ui, struct mi_rect *in) {
    const struct mi_spec *s = ui->spec;
    char text[160];
    snprintf(text, sizeof text, "Enter starts the experiment: %zu row%s of the table.", s->n_cells,
             s->n_cells == 1 ? "" : "s");
    int used = mi_wrap(&ui->theme, *in, MI_INK_TEXT, text) + 1;
    in->y += used, in->h -= used;
    for (size_t k = 0; k < s->n_cells && in->h > 3; k++, in->y++, in->h--) {
        snprintf(text, sizeof text, "%s, %s, %s", s->cells[k].model, s->cells[k].label, s->cells[k].attack);
        mi_putf(&ui->theme, in->y, in->x, in->w, MI_INK_ACCENT, "· %s", text);
    }
    in->y++, in->h--;
    mi_wrap(
        &ui->theme, *in, MI_INK_DIM,
        "The run is its own process: it goes on when this screen is closed. Stages that are in the cache already cost "
        "nothing.");
}

static void draw_help(struct mi_ui *ui, struct mi_rect r, const struct mi_field *f) {
    struct mi_rect in = r;
    if (!f || f->kind == MI_FIELD_HEADER) return;
    if (r.h > 4) {
        in = mi_box(&ui->theme, r, f->label[0] == ' ' ? f->label + 1 : f->label);
        in.x++, in.w -= 2;
    } else {
        in.x += 2, in.w -= 3;
    }
    if (f->kind == MI_FIELD_BUTTON && strcmp(f->label, "Start"))
        mi_wrap(&ui->theme, in, MI_INK_TEXT,
                "Every setting of every section and of the chosen entries. Esc or a comes back.");
    else if (f->kind == MI_FIELD_BUTTON)
        help_start(ui, &in);
    else {
        if (f->kind != MI_FIELD_SETTING) help_entry(ui, &in, f);
        if (in.h > 0) help_setting(ui, &in, f);
    }
}

/* ---- published rows ----------------------------------------------------------------------------------- */

static void number(char *out, size_t size, double v, const char *none) {
    if (isnan(v))
        snprintf(out, size, "%s", none);
    else
        snprintf(out, size, "%.2f", v);
}

static bool of_this_choice(const struct mi_ui *ui, const struct mi_row *row) {
    for (size_t k = 0; k < ui->spec->n_cells; k++) {
        const struct mi_cell *c = &ui->spec->cells[k];
        if (row->s.attack && row->s.model && !strcmp(row->s.attack, c->attack) && !strcmp(row->s.model, c->model))
            return true;
    }
    return false;
}

static void draw_published(struct mi_ui *ui, struct mi_rect r) {
    const struct mi_theme *t = &ui->theme;
    struct mi_rect in = mi_box(t, r, "Published for this choice of architecture and attack");
    const struct mi_table *table = mi_ui_table(ui);
    int y = in.y + 1, shown = 0;
    if (!table || in.h < 2) return;
    mi_putf(t, in.y, in.x + 1, in.w - 1, MI_INK_DIM, "%-18s %-10s %8s %8s %9s  %s", "defense", "model", "Acc", "AttAcc",
            "trade-off", "source");
    for (size_t k = 0; k < table->n && y < in.y + in.h; k++) {
        const struct mi_row *row = &table->rows[k];
        char acc[24], att[24], delta[24];
        if (!row->published || !of_this_choice(ui, row)) continue;
        number(acc, sizeof acc, row->s.acc, "-");
        number(att, sizeof att, row->s.attacc, "-");
        number(delta, sizeof delta, row->s.tradeoff, row->s.overpriced ? "OP" : "-");
        mi_putf(t, y++, in.x + 1, in.w - 1, MI_INK_TEXT, "%-18.18s %-10.10s %8s %8s %9s  %s %s",
                row->s.defense ? row->s.defense : "", row->s.model, acc, att, delta, row->source ? row->source : "",
                row->s.data ? row->s.data : "");
        shown++;
    }
    if (!shown)
        mi_put(t, y, in.x + 1, in.w - 1, MI_INK_DIM,
               "The paper has no rows for it; screen 4 shows all published rows.");
}

void mi_setup_draw(struct mi_ui *ui) {
    struct mi_setup *s = ui->state[MI_SCR_SETUP];
    const struct mi_layout *l = &ui->layout;
    struct mi_form *form = mi_setup_form(s);
    int at = *mi_setup_at(s);
    if (l->box[MI_SETUP_FORM].h)
        draw_form(ui, l->box[MI_SETUP_FORM], &s->short_form, s->at, &s->top, !s->all, "Experiment");
    if (l->box[MI_SETUP_ALL].h)
        draw_form(ui, l->box[MI_SETUP_ALL], &s->long_form, s->at_all, &s->top_all, s->all,
                  s->all ? "All settings" : "All settings (a)");
    if (l->box[MI_SETUP_HELP].h) draw_help(ui, l->box[MI_SETUP_HELP], at < form->n ? &form->f[at] : NULL);
    if (l->box[MI_SETUP_PUBLISHED].h) draw_published(ui, l->box[MI_SETUP_PUBLISHED]);
}
