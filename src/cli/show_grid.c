/* src/cli/show_grid.c - puts a run's tile sheets side by side: the photo that leaks beside what the attack made of it.
 *
 * The journal names the sheets (photos of the people, reconstructions per cell) and what the judge said about every
 * tile; here they are only rearranged, resized to one tile size and captioned in text.  Which restart is shown is
 * a choice that flatters the attack or not, so the caption says it. */
#include "show_grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum mi_status read_sheet(const struct mi_run_view *v, const struct mi_atlas_view *a, struct mi_image *out) {
    char *path = mi_format("%s/%s", v->dir, a->file);
    enum mi_status st = path ? mi_image_read(path, out) : MI_E_NOMEM;
    if (st == MI_OK && (a->tile < 1 || a->tile > 4096 || a->cols < 1 || a->rows < 1 || out->width < a->tile * a->cols ||
                        out->height < a->tile * a->rows)) {
        mi_image_free(out);
        st = mi_fail(MI_E_INPUT, "%s is smaller than the journal says; the run's pictures are damaged", path);
    }
    free(path);
    return st;
}

static int row_of(const struct mi_atlas_view *a, int label) {
    for (int r = 0; a->labels && r < a->rows; r++) {
        if (a->labels[r] == label) return r;
    }
    return -1;
}

static const struct mi_recon_view *verdict(const struct mi_cell_view *cell, int row, int col) {
    for (size_t i = 0; i < cell->n_recon; i++) {
        if (cell->recon[i].row == row && cell->recon[i].col == col) return &cell->recon[i];
    }
    return NULL;
}

/* The restart to show: the judge's favourite hit, else its favourite, or simply the first. */
static int pick_restart(const struct mi_cell_view *cell, const struct mi_atlas_view *a, int row, bool best) {
    int pick = 0;
    double worth = -1;
    for (int c = 0; best && c < a->cols; c++) {
        const struct mi_recon_view *r = verdict(cell, row, c);
        double w = r ? r->confidence + (r->hit ? 1 : 0) : -1;
        if (w > worth) worth = w, pick = c;
    }
    return pick;
}

/* Copies tile (col,row) of a sheet into the grid, resized if the sheets differ. */
static enum mi_status put_tile(struct show_grid *g, int gcol, int grow, const struct mi_image *sheet, int tile, int col,
                               int row) {
    struct mi_image t = {0}, fit = {0};
    MI_TRY(mi_sheet_get(sheet, tile, col, row, &t));
    enum mi_status st = tile == g->tile ? MI_OK : mi_image_resize(&t, g->tile, g->tile, &fit);
    if (st == MI_OK) mi_sheet_put(&g->sheet, g->tile, gcol, grow, fit.rgb ? fit.rgb : t.rgb);
    mi_image_free(&t);
    mi_image_free(&fit);
    return st;
}

/* Private photos in the places of the first cell's reconstructions: to each, the photo it comes nearest to. */
static const struct mi_atlas_view *photos_of(const struct show_grid *g, const struct mi_run_view *v) {
    const struct mi_atlas_view *a = mi_view_atlas(v, "photo", g->cell[0]->id);
    return a && a->labels ? a : NULL;
}

/* The cells that have reconstructions, in the run's order. */
static int cells_with_pictures(const struct mi_run_view *v, const struct mi_cell_view **cell) {
    int n = 0;
    for (size_t i = 0; i < v->n_cells; i++) {
        const struct mi_atlas_view *a = mi_view_atlas(v, "recon", v->cells[i].id);
        if (a && a->labels) cell[n++] = &v->cells[i];
    }
    return n;
}

static enum mi_status fill_photos(struct show_grid *g, const struct mi_run_view *v, const struct mi_atlas_view *a,
                                  bool best) {
    struct mi_image sheet = {0};
    MI_TRY(read_sheet(v, a, &sheet));
    enum mi_status st = MI_OK;
    for (int r = 0; r < g->rows && st == MI_OK; r++) {
        int from = row_of(a, g->label[r]);
        int col = from >= 0 ? pick_restart(g->cell[0], a, from, best) : 0;
        if (from >= 0) st = put_tile(g, 0, r, &sheet, a->tile, col, from);
    }
    mi_image_free(&sheet);
    return st;
}

static enum mi_status fill_cell(struct show_grid *g, const struct mi_run_view *v, int k, bool best) {
    int cells = g->cols - g->has_photos;
    const struct mi_atlas_view *a = mi_view_atlas(v, "recon", g->cell[k]->id);
    struct mi_image sheet = {0};
    MI_TRY(read_sheet(v, a, &sheet));
    enum mi_status st = MI_OK;
    for (int r = 0; r < g->rows && st == MI_OK; r++) {
        int from = row_of(a, g->label[r]);
        if (from < 0) continue;
        int restart = pick_restart(g->cell[k], a, from, best);
        g->recon[r * cells + k] = verdict(g->cell[k], from, restart);
        st = put_tile(g, k + g->has_photos, r, &sheet, a->tile, restart, from);
    }
    mi_image_free(&sheet);
    return st;
}

enum mi_status show_grid_make(struct show_grid *g, const struct mi_run_view *v, int max_rows, bool best) {
    *g = (struct show_grid){0};
    g->cell = mi_calloc(v->n_cells + 1, sizeof *g->cell);
    if (!g->cell) return MI_E_NOMEM;
    int cells = cells_with_pictures(v, g->cell);
    if (cells == 0) {
        show_grid_free(g);
        return MI_OK;
    }
    const struct mi_atlas_view *first = mi_view_atlas(v, "recon", g->cell[0]->id), *photos = photos_of(g, v);
    g->has_photos = photos != NULL;
    g->cols = cells + g->has_photos;
    g->rows = first->rows < max_rows ? first->rows : max_rows;
    g->tile = first->tile;
    g->label = mi_calloc((size_t)g->rows, sizeof *g->label);
    g->recon = mi_calloc((size_t)g->rows * (size_t)cells, sizeof *g->recon);
    enum mi_status st = g->label && g->recon ? mi_sheet_new(&g->sheet, g->tile, g->cols, g->rows) : MI_E_NOMEM;
    for (int r = 0; st == MI_OK && r < g->rows; r++) g->label[r] = first->labels[r];
    if (st == MI_OK && photos) st = fill_photos(g, v, photos, best);
    for (int k = 0; k < cells && st == MI_OK; k++) st = fill_cell(g, v, k, best);
    if (st != MI_OK) show_grid_free(g);
    return st;
}

void show_grid_free(struct show_grid *g) {
    mi_image_free(&g->sheet);
    free(g->label);
    free(g->cell);
    free(g->recon);
    *g = (struct show_grid){0};
}

void show_grid_captions(const struct show_grid *g, FILE *out) {
    int cells = g->cols - g->has_photos;
    fprintf(out, "columns: %s", g->has_photos ? "nearest private photo" : "");
    for (int k = 0; k < cells; k++) fprintf(out, "%s%s", k || g->has_photos ? " | " : "", g->cell[k]->id);
    fputc('\n', out);
    for (int r = 0; r < g->rows; r++) {
        fprintf(out, "person %d", g->label[r]);
        for (int k = 0; k < cells; k++) {
            const struct mi_recon_view *v = g->recon[r * cells + k];
            if (!v)
                fprintf(out, " | not judged");
            else
                fprintf(out, " | %s: judge says %d, %.0f %%", v->hit ? "LEAKED" : "missed", v->judge,
                        100 * v->confidence);
            if (v && !isnan(v->distance)) fprintf(out, ", distance %.4g", v->distance);
        }
        fputc('\n', out);
    }
}
