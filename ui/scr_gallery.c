/* ui/scr_gallery.c - the private photo beside what attacks made of it: undefended left, defended right.
 *
 * The pictures come from the run's cells, whatever they are: the private photo, then the chosen undefended cell, then
 * the chosen defended one, then, where there is room, the others, in several rows if need be.  Pixels come from the
 * run's atlases (sheets of tiles), verdicts from its recon events; nothing is computed here.  Before there are
 * reconstructions, or on `f`, whole sheets are shown (training batches, samples of the prior).  Pixels are read in
 * gallery_tiles.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/gallery.h"
#include "ui/screen.h"

static struct mi_gallery *state(struct mi_ui *ui) {
    return ui->state[MI_SCR_GALLERY];
}

static enum mi_status gallery_open(struct mi_ui *ui) {
    ui->state[MI_SCR_GALLERY] = mi_calloc(1, sizeof(struct mi_gallery));
    return ui->state[MI_SCR_GALLERY] ? MI_OK : MI_E_NOMEM;
}

static void gallery_close(struct mi_ui *ui) {
    mi_gallery_forget(state(ui));
    free(state(ui));
}

static bool undefended(const struct mi_cell_view *c) {
    return !c->defense || !strcmp(c->defense, "none");
}

enum { NAME_W = 18 }; /* columns of a defense beside its hits */

/* What the pictures of a cell are called. */
static const char *shield(const struct mi_cell_view *c) {
    return undefended(c) ? "no defense" : c->label ? c->label : c->defense;
}

/* The which-th cell (counted round) that is, or is not, defended; NULL if there is none. */
static const struct mi_cell_view *pick_cell(const struct mi_run_view *v, bool defended, int which) {
    int n = 0;
    for (size_t k = 0; k < v->n_cells; k++) n += undefended(&v->cells[k]) != defended;
    if (!n) return NULL;
    which = ((which % n) + n) % n;
    for (size_t k = 0; k < v->n_cells; k++)
        if (undefended(&v->cells[k]) != defended && which-- == 0) return &v->cells[k];
    return NULL;
}

/* Adds a cell to those shown, once. */
static int show_cell(const struct mi_cell_view **out, int n, const struct mi_cell_view *c) {
    for (int k = 0; k < n; k++)
        if (out[k] == c) return n;
    if (c && n < MI_PICS_MAX - 1) out[n++] = c;
    return n;
}

/* Cells in the order they are shown: the chosen undefended and the chosen defended one, then the next of each in turn,
 * so that an attack without and with the defense stand side by side. */
static int columns(struct mi_ui *ui, const struct mi_cell_view **out) {
    struct mi_gallery *g = state(ui);
    const struct mi_run_view *v = ui->view;
    int n = 0;
    for (int k = 0; k < (int)v->n_cells; k++) {
        const struct mi_cell_view *a = pick_cell(v, false, g->left + k), *b = pick_cell(v, true, g->right + k);
        n = show_cell(out, n, g->flip && b ? b : a);
        n = show_cell(out, n, g->flip && b ? a : b);
    }
    return n;
}

static bool one_attack(const struct mi_run_view *v) {
    for (size_t k = 1; k < v->n_cells; k++)
        if (v->cells[0].attack && v->cells[k].attack && strcmp(v->cells[0].attack, v->cells[k].attack)) return false;
    return true;
}

/* The atlas whose rows are the identities being looked at. */
static const struct mi_atlas_view *guide(struct mi_ui *ui) {
    const struct mi_cell_view *cell[MI_PICS_MAX];
    int n = columns(ui, cell);
    for (int k = 0; k < n; k++) {
        const struct mi_atlas_view *a = mi_view_atlas(ui->view, "recon", cell[k]->id);
        if (a) return a;
    }
    return NULL;
}

static bool sheets_mode(struct mi_ui *ui) {
    return state(ui)->sheets || !guide(ui);
}

static int label_at(const struct mi_atlas_view *a, int row) {
    return a && a->labels && row >= 0 && row < a->rows ? a->labels[row] : row;
}

/* The row of an atlas that shows a label; -1 if it has none. */
static int row_of(const struct mi_atlas_view *a, int label) {
    if (!a->labels) return label < a->rows ? label : -1;
    for (int r = 0; r < a->rows; r++)
        if (a->labels[r] == label) return r;
    return -1;
}

static void gallery_want(struct mi_ui *ui, struct mi_layout_want *w) {
    const struct mi_cell_view *cell[MI_PICS_MAX];
    w->strips = 1;
    w->pics = 3;
    if (!ui->view) return;
    if (sheets_mode(ui)) {
        w->pics = mi_gallery_sheets(ui->view, NULL, 0);
        return;
    }
    int n = columns(ui, cell);
    w->pics = n + 1;
    w->strips = n;
}

/* ---- captions ----------------------------------------------------------------------------------------- */

const struct mi_recon_view *mi_gallery_verdict(const struct mi_cell_view *c, int row, int col) {
    for (size_t k = 0; k < c->n_recon; k++)
        if (c->recon[k].row == row && c->recon[k].col == col) return &c->recon[k];
    return NULL;
}

static void caption(struct mi_ui *ui, struct mi_rect r, enum mi_ink ink, int line, const char *text) {
    char clipped[256];
    if (line >= r.h) return;
    mi_text_clip(clipped, sizeof clipped, text, r.w);
    mi_put(&ui->theme, r.y + line, r.x, r.w, ink, clipped);
}

static void caption_cell(struct mi_ui *ui, struct mi_rect r, const struct mi_cell_view *c,
                         const struct mi_atlas_view *a, int row) {
    char text[256];
    const char *attack = c->attack ? c->attack : "attack"; /* first comes what tells pictures apart */
    bool one = one_attack(ui->view);
    snprintf(text, sizeof text, "%s: %s on %s", one ? shield(c) : attack, one ? attack : shield(c),
             c->model ? c->model : "");
    caption(ui, r, undefended(c) ? MI_INK_S2 : MI_INK_S1, 0, text);
    if (!a) {
        caption(ui, r, MI_INK_DIM, 1, "not attacked yet");
        return;
    }
    const struct mi_recon_view *v = mi_gallery_verdict(c, row, state(ui)->restart % (a->cols ? a->cols : 1));
    if (!v) {
        snprintf(text, sizeof text, a->final ? "not judged yet" : "running, step %lld", (long long)a->step);
        caption(ui, r, MI_INK_DIM, 1, text);
        return;
    }
    snprintf(text, sizeof text, "judge: %d %.0f%% %s", v->judge, 100 * v->confidence, v->hit ? "HIT" : "miss");
    caption(ui, r, v->hit ? MI_INK_BAD : MI_INK_GOOD, 1, text);
    if (!isnan(v->distance))
        snprintf(text, sizeof text, "feat dist %.2f%s", v->distance, ui->view->synthetic ? " synthetic" : "");
    else
        snprintf(text, sizeof text, "%s", ui->view->synthetic ? "synthetic" : "");
    caption(ui, r, MI_INK_DIM, 2, text);
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

static void show_tile(struct mi_ui *ui, struct mi_rect r, const struct mi_atlas_view *a, int col, int row) {
    struct mi_image tile = {0};
    uint64_t key;
    if (mi_gallery_tile(state(ui), ui->view, a, col, row, &tile, &key)) mi_pics_want(ui->pics, r, key, &tile);
    mi_image_free(&tile);
}

static void draw_compare(struct mi_ui *ui) {
    struct mi_gallery *g = state(ui);
    const struct mi_layout *l = &ui->layout;
    const struct mi_cell_view *cell[MI_PICS_MAX];
    const struct mi_atlas_view *g0 = guide(ui), *photo = mi_view_atlas(ui->view, "photo", NULL);
    int n = columns(ui, cell), label = label_at(g0, g->identity), photo_row = photo ? row_of(photo, label) : -1;
    char text[128];
    if (photo && photo_row >= 0) {
        int col = g->photo % (photo->cols ? photo->cols : 1);
        show_tile(ui, l->pic[0], photo, col, photo_row);
        snprintf(text, sizeof text, "photo %d of %d", col + 1, photo->cols);
    } else {
        snprintf(text, sizeof text, "no photo in this run");
    }
    caption(ui, l->caption[0], MI_INK_TITLE, 0, "private photo");
    caption(ui, l->caption[0], MI_INK_TEXT, 1, text);
    for (int k = 0; k < n && k + 1 < l->n_pics; k++) {
        const struct mi_atlas_view *a = mi_view_atlas(ui->view, "recon", cell[k]->id);
        int row = a ? row_of(a, label) : -1;
        if (a && row >= 0) show_tile(ui, l->pic[k + 1], a, g->restart % (a->cols ? a->cols : 1), row);
        caption_cell(ui, l->caption[k + 1], cell[k], a, row);
    }
    snprintf(text, sizeof text, "identity %d  (%d of %d)   candidate %d of %d   images: %s", label, g->identity + 1,
             g0->rows, g->restart % (g0->cols ? g0->cols : 1) + 1, g0->cols,
             mi_picture_mode_name(mi_pics_mode(ui->pics)));
    mi_put(&ui->theme, l->box[MI_BOX_HEAD].y, 1, l->cols - 2, MI_INK_TEXT, text);
}

static void draw_strip(struct mi_ui *ui) {
    struct mi_gallery *g = state(ui);
    struct mi_rect r = ui->layout.box[MI_GAL_STRIP];
    const struct mi_cell_view *cell[MI_PICS_MAX];
    if (!r.h) return;
    struct mi_rect in = mi_box(&ui->theme, r,
                               ui->theme.utf8 ? "hits over identities, this candidate (■ hit  · miss)"
                                              : "hits over identities, this candidate (# hit  . miss)");
    int n = columns(ui, cell);
    for (int k = 0; k < n && k < in.h; k++) {
        const struct mi_atlas_view *a = mi_view_atlas(ui->view, "recon", cell[k]->id);
        char name[4 * NAME_W];
        int hits = 0, room = in.w - NAME_W - 14, from = 0;
        for (size_t j = 0; j < cell[k]->n_recon; j++) hits += cell[k]->recon[j].hit;
        if (one_attack(ui->view))
            mi_text_clip(name, sizeof name, shield(cell[k]), NAME_W - 1);
        else {
            char both[160];
            snprintf(both, sizeof both, "%s %s", cell[k]->attack ? cell[k]->attack : "", shield(cell[k]));
            mi_text_clip(name, sizeof name, both, NAME_W - 1);
        }
        mi_put(&ui->theme, in.y + k, in.x + 1, NAME_W, undefended(cell[k]) ? MI_INK_S2 : MI_INK_S1, name);
        if (a && g->identity >= room) from = g->identity - room + 1;
        for (int row = from; a && row < a->rows && row - from < room; row++) {
            const struct mi_recon_view *v = mi_gallery_verdict(cell[k], row, g->restart % (a->cols ? a->cols : 1));
            const char *mark = !v ? " " : v->hit ? "■" : "·";
            mi_put_attr(&ui->theme, in.y + k, in.x + 1 + NAME_W + row - from, 1, MI_INK_TEXT,
                        row == g->identity ? A_REVERSE : 0, mark);
        }
        if (cell[k]->n_recon)
            mi_putf(&ui->theme, in.y + k, in.x + in.w - 12, 12, MI_INK_TEXT, "%5d/%-5zu", hits, cell[k]->n_recon);
    }
}

/* What a sheet holds, in words; a kind this program does not know keeps its own. */
static const char *sheet_title(const char *kind) {
    static const char *const words[][2] = {{"train", "training batch"},
                                           {"samples", "samples of the prior"},
                                           {"photo", "private photos"},
                                           {"recon", "reconstructions"}};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strcmp(kind, words[k][0])) return words[k][1];
    return kind;
}

static void draw_sheets(struct mi_ui *ui) {
    const struct mi_atlas_view *sheet[MI_PICS_MAX];
    struct mi_gallery *g = state(ui);
    const struct mi_layout *l = &ui->layout;
    int n = mi_gallery_sheets(ui->view, sheet, g->identity);
    mi_putf(&ui->theme, l->box[MI_BOX_HEAD].y, 1, l->cols - 2, MI_INK_TEXT, "%s   images: %s",
            n ? guide(ui) ? "Whole sheets (f: back to people)" : "Whole sheets, until an attack has reconstructions"
              : "No pictures in this run yet",
            mi_picture_mode_name(mi_pics_mode(ui->pics)));
    for (int k = 0; k < n && k < l->n_pics; k++) {
        struct mi_image img = {0};
        uint64_t key;
        char text[160];
        if (mi_gallery_sheet(g, ui->view, sheet[k], &img, &key)) mi_pics_want(ui->pics, l->pic[k], key, &img);
        mi_image_free(&img);
        caption(ui, l->caption[k], MI_INK_TITLE, 0, sheet_title(sheet[k]->kind ? sheet[k]->kind : ""));
        snprintf(text, sizeof text, "%s", sheet[k]->cell ? sheet[k]->cell : sheet[k]->name);
        caption(ui, l->caption[k], MI_INK_TEXT, 1, text);
        snprintf(text, sizeof text, "step %lld%s", (long long)sheet[k]->step, sheet[k]->final ? ", final" : "");
        caption(ui, l->caption[k], MI_INK_DIM, 2, text);
    }
}

static void gallery_draw(struct mi_ui *ui) {
    struct mi_gallery *g = state(ui);
    if (!ui->view) {
        mi_wrap(&ui->theme, (struct mi_rect){3, 4, 6, ui->layout.cols - 8}, MI_INK_TEXT,
                "No run is being watched. Start an experiment on screen 1 (Setup), or open a run on screen 5 (Runs).");
        return;
    }
    const struct mi_atlas_view *a = guide(ui);
    if (a && g->identity >= a->rows) g->identity = a->rows - 1;
    if (g->identity < 0) g->identity = 0;
    if (sheets_mode(ui)) {
        draw_sheets(ui);
    } else {
        draw_compare(ui);
        draw_strip(ui);
    }
    if (g->problem[0])
        mi_put(&ui->theme, ui->layout.box[MI_BOX_HEAD].y + 1, 1, ui->layout.cols - 2, MI_INK_BAD, g->problem);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static unsigned find_hit(struct mi_ui *ui, int by) {
    struct mi_gallery *g = state(ui);
    const struct mi_cell_view *cell[MI_PICS_MAX];
    const struct mi_atlas_view *a = guide(ui);
    int n = columns(ui, cell);
    for (int step = 1; a && step <= a->rows; step++) {
        int row = ((g->identity + by * step) % a->rows + a->rows) % a->rows;
        for (int k = 0; k < n && k < 2; k++) {
            const struct mi_recon_view *v = mi_gallery_verdict(cell[k], row, g->restart % (a->cols ? a->cols : 1));
            if (!v || !v->hit) continue;
            g->identity = row;
            return MI_UI_HANDLED | MI_UI_REDRAW;
        }
    }
    mi_ui_say(ui, "no hit for this candidate");
    return MI_UI_HANDLED;
}

static unsigned gallery_act(struct mi_ui *ui, enum mi_act act) {
    struct mi_gallery *g = state(ui);
    const struct mi_atlas_view *a = ui->view ? guide(ui) : NULL;
    int rows = a ? a->rows : 1 << 20, cols = a && a->cols ? a->cols : 1;
    switch (act) {
    case MI_ACT_LEFT:
        g->identity -= g->identity > 0;
        break;
    case MI_ACT_RIGHT:
        g->identity += g->identity + 1 < rows;
        break;
    case MI_ACT_PGUP:
        g->identity = g->identity < 10 ? 0 : g->identity - 10;
        break;
    case MI_ACT_PGDN:
        g->identity = g->identity + 10 < rows ? g->identity + 10 : a ? rows - 1 : g->identity;
        break;
    case MI_ACT_HOME:
        g->identity = 0;
        break;
    case MI_ACT_END:
        g->identity = a ? rows - 1 : 0;
        break;
    case MI_ACT_UP:
        g->restart = (g->restart + cols - 1) % cols;
        break;
    case MI_ACT_DOWN:
        g->restart = (g->restart + 1) % cols;
        break;
    case MI_ACT_FIND_NEXT:
        return ui->view ? find_hit(ui, 1) : MI_UI_HANDLED;
    case MI_ACT_FIND_PREV:
        return ui->view ? find_hit(ui, -1) : MI_UI_HANDLED;
    case MI_ACT_FLIP:
        g->flip = !g->flip;
        break;
    case MI_ACT_CELL_LEFT:
        g->left++;
        break;
    case MI_ACT_CELL_RIGHT:
        g->right++;
        break;
    case MI_ACT_PHOTO:
        g->photo++;
        break;
    case MI_ACT_SHEETS:
        g->sheets = !g->sheets, g->identity = 0;
        break;
    case MI_ACT_EXPORT:
        mi_gallery_export(ui);
        break;
    default:
        return MI_UI_IGNORED;
    }
    return MI_UI_HANDLED | MI_UI_REDRAW;
}

static void gallery_tick(struct mi_ui *ui) {
    struct mi_gallery *g = state(ui);
    if (g && g->run != ui->run) {
        mi_gallery_forget(g);
        memset(g, 0, sizeof *g);
        g->run = ui->run;
    }
}

const struct mi_screen_desc mi_screen_gallery = {.title = "Gallery",
                                                 .open = gallery_open,
                                                 .close = gallery_close,
                                                 .tick = gallery_tick,
                                                 .want = gallery_want,
                                                 .draw = gallery_draw,
                                                 .act = gallery_act};
