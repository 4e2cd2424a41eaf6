/* ui/gallery_tiles.c - pixels of a run's pictures: sheets decoded once per version, tiles cut out of them.
 *
 * A sheet may be rewritten at any moment by the engine; the journal then raises its version and it is read again.  A
 * file that cannot be read is named on screen and tried again later; nothing else takes its place.  A sheet whose size
 * does not match its announced tiles is refused, not guessed at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/rng.h"
#include "ui/gallery.h"
#include "ui/screen.h"

static void sheet_free(struct mi_gallery_sheet *s) {
    free(s->file);
    mi_image_free(&s->img);
    memset(s, 0, sizeof *s);
}

void mi_gallery_forget(struct mi_gallery *g) {
    for (int k = 0; k < MI_GALLERY_SHEETS; k++) sheet_free(&g->sheet[k]);
}

static bool valid(const struct mi_atlas_view *a, const struct mi_image *img) {
    return a->tile > 0 && a->cols > 0 && a->rows > 0 && (long)a->tile * a->cols <= img->width &&
           (long)a->tile * a->rows <= img->height;
}

/* The decoded sheet of an atlas, NULL while it cannot be read. Owned by the gallery, valid until the next call. */
static struct mi_gallery_sheet *sheet_of(struct mi_gallery *g, const struct mi_run_view *v,
                                         const struct mi_atlas_view *a) {
    struct mi_gallery_sheet *s = &g->sheet[0];
    if (!a->file || strstr(a->file, "..") || a->file[0] == '/') return NULL; /* a journal may not point elsewhere */
    for (int k = 0; k < MI_GALLERY_SHEETS; k++) {
        if (g->sheet[k].file && !strcmp(g->sheet[k].file, a->file)) {
            s = &g->sheet[k];
            break;
        }
        if (g->sheet[k].used < s->used) s = &g->sheet[k];
    }
    bool same = s->file && !strcmp(s->file, a->file) && s->version == a->version;
    s->used = ++g->clock;
    if (same && s->img.rgb) return s;
    if (same && s->wait-- > 0) return NULL;
    char *path = mi_path_join(v->dir, a->file);
    sheet_free(s);
    s->used = g->clock;
    s->version = a->version;
    s->file = mi_strdup(a->file);
    s->wait = 5;
    g->problem[0] = 0;
    if (!path || !s->file || mi_image_read(path, &s->img) != MI_OK) {
        snprintf(g->problem, sizeof g->problem, "%s", mi_error_text());
        mi_error_clear();
    } else if (!valid(a, &s->img)) {
        snprintf(g->problem, sizeof g->problem, "%s is %dx%d px, not %dx%d tiles of %d", a->file, s->img.width,
                 s->img.height, a->cols, a->rows, a->tile);
        mi_image_free(&s->img);
    }
    free(path);
    return s->img.rgb ? s : NULL;
}

static uint64_t content_key(const struct mi_run_view *v, const struct mi_atlas_view *a, int col, int row) {
    uint64_t k = mi_mix(mi_hash_text(v->dir), mi_hash_text(a->file));
    return mi_mix(mi_mix(k, a->version), (uint64_t)(uint32_t)row << 32 | (uint32_t)col);
}

bool mi_gallery_tile(struct mi_gallery *g, const struct mi_run_view *v, const struct mi_atlas_view *a, int col, int row,
                     struct mi_image *out, uint64_t *key) {
    struct mi_gallery_sheet *s = sheet_of(g, v, a);
    if (!s || col < 0 || row < 0 || col >= a->cols || row >= a->rows) return false;
    *key = content_key(v, a, col, row);
    if (mi_sheet_get(&s->img, a->tile, col, row, out) == MI_OK) return true;
    mi_error_clear();
    return false;
}

bool mi_gallery_sheet(struct mi_gallery *g, const struct mi_run_view *v, const struct mi_atlas_view *a,
                      struct mi_image *out, uint64_t *key) {
    struct mi_gallery_sheet *s = sheet_of(g, v, a);
    if (!s) return false;
    *key = content_key(v, a, -1, -1);
    int w = a->tile * a->cols, h = a->tile * a->rows, most = 512 / a->tile * a->tile;
    if (most < a->tile) most = a->tile;
    if (mi_image_crop(&s->img, 0, 0, w < most ? w : most, h < most ? h : most, out) == MI_OK) return true;
    mi_error_clear();
    return false;
}

int mi_gallery_sheets(const struct mi_run_view *v, const struct mi_atlas_view **out, int from) {
    int n = 0, total = (int)v->n_atlases;
    if (total == 0) return 0;
    for (int k = 0; k < total && n < MI_PICS_MAX; k++) {
        if (out) out[n] = &v->atlases[(size_t)((total - 1 - k + from % total + total) % total)]; /* newest first */
        n++;
    }
    return n;
}

/* ---- export ------------------------------------------------------------------------------------------- */

static void export_done(struct mi_ui *ui, int key, const char *dir) {
    struct mi_gallery *g = ui->state[MI_SCR_GALLERY];
    int n = 0;
    if (key != '\n' || !*dir || !ui->view) return;
    char *full = mi_path_resolve(".", dir);
    enum mi_status st = full ? mi_make_dirs(full) : mi_error_status();
    for (size_t k = 0; st == MI_OK && k < ui->view->n_atlases; k++) {
        const struct mi_atlas_view *a = &ui->view->atlases[k];
        struct mi_gallery_sheet *s = sheet_of(g, ui->view, a);
        if (!s) continue;
        char *name = mi_format("%s/run%04d_%s.png", full, ui->run, a->name);
        for (char *c = name ? name + strlen(full) + 1 : NULL; c && *c; c++)
            if (*c == '/') *c = '_';
        st = name ? mi_image_write_png(name, &s->img) : mi_error_status();
        n += st == MI_OK;
        free(name);
    }
    if (st == MI_OK)
        mi_ui_say(ui, "%d pictures saved in %s", n, full);
    else
        mi_ui_say_error(ui);
    free(full);
}

void mi_gallery_export(struct mi_ui *ui) {
    if (!ui->view) return;
    mi_popup_line(ui, "Save pictures", "Folder for this run's picture sheets (PNG):", "pictures", export_done);
}
