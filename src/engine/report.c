/* src/engine/report.c - events outside a loop: log lines, explicit points of curves, pictures.
 *
 * A picture is a sheet of square tiles written atomically to runs/NNNN/pictures/ and announced by an atlas event, so a
 * reader never finds half a file.  Reporting must never end a run: when the journal or a picture cannot be written the
 * trouble goes to stderr (engine.log) and the work goes on. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loop_priv.h"

#define SHEET_SIDE 16384 /* px; the reader of pictures refuses more */

static void drop_error(const char *what) {
    if (mi_error_status() == MI_OK) return;
    fprintf(stderr, "midre-engine: %s: %s\n", what, mi_error_text());
    mi_error_clear();
}

void mi_ctx_log(struct mi_ctx *c, const char *level, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char text[1024];
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!c->journal) {
        fprintf(stderr, "%s: %s\n", level, text);
        return;
    }
    /* An error may be waiting while it is being logged: keep it. */
    if (mi_journal_log(c->journal, level, "%s", text) != MI_OK) fprintf(stderr, "%s: %s\n", level, text);
}

void mi_ctx_scalar(struct mi_ctx *c, const char *series, int64_t step, double x, double value) {
    if (c->curves) {
        step += c->curves->base_step;
        x += c->curves->base_x;
        mi_curves_point(c->curves, series, step, x, value);
    }
    if (!c->journal || !isfinite(value)) return;
    json_t *e = json_pack("{s:s, s:s, s:I, s:f, s:{s:f}}", "t", "scalars", "stage", c->stage, "step", (json_int_t)step,
                          "x", x, "values", series, value);
    if (!e || mi_journal_write(c->journal, e) != MI_OK) drop_error("journal");
}

bool mi_ctx_stop_wanted(const struct mi_ctx *c) {
    return c->control && mi_control_stop_wanted(c->control);
}

/* [N,3,S,S] in [0,1] -> N packed 8-bit tiles; caller frees. */
static uint8_t *tiles_of(mt_tensor *x, int64_t n, int side) {
    size_t values = (size_t)n * (size_t)side * (size_t)side * 3;
    float *f = mi_calloc(values, sizeof(*f));
    uint8_t *u = mi_calloc(values, 1);
    bool was = mt_grad_mode(false);
    mt_scope *scope = mt_scope_begin("picture");
    enum mi_status st = f && u ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) {
        mt_tensor *part = mt_narrow(mt_detach(x), 0, 0, n);
        st = part ? mt_read(part, f, (int64_t)(values * sizeof(*f)), MT_F32, MT_NHWC) : MI_E_INTERNAL;
    }
    enum mi_status end = mt_scope_end(scope);
    mt_grad_mode(was);
    if (st != MI_OK || end != MI_OK) {
        free(f);
        free(u);
        return NULL;
    }
    for (size_t i = 0; i < values; i++) {
        float v = f[i] < 0 || isnan(f[i]) ? 0 : f[i] > 1 ? 1 : f[i];
        u[i] = (uint8_t)(v * 255.0f + 0.5f);
    }
    free(f);
    return u;
}

static void announce(struct mi_ctx *c, const char *name, const char *kind, const char *file, int tile, int cols,
                     int rows, const int *labels, int64_t step, bool final) {
    json_t *e =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:b}", "t", "atlas", "name", name, "kind", kind, "file",
                  file, "tile", tile, "cols", cols, "rows", rows, "step", (json_int_t)step, "final", (int) final);
    if (!e) return;
    if (c->cell) json_object_set_new(e, "cell", json_string(c->cell));
    if (c->stage) json_object_set_new(e, "stage", json_string(c->stage));
    if (labels) {
        json_t *list = json_array();
        for (int i = 0; i < rows; i++) json_array_append_new(list, json_integer(labels[i]));
        json_object_set_new(e, "labels", list);
    }
    if (mi_journal_write(c->journal, e) != MI_OK) drop_error("journal");
}

/* Writes the tiles; *path_out is relative to the run folder. */
static enum mi_status write_sheet(struct mi_ctx *c, const char *file, const uint8_t *tiles, int64_t n, int side,
                                  int cols, int rows) {
    struct mi_image sheet = {0};
    MI_TRY(mi_sheet_new(&sheet, side, cols, rows));
    size_t bytes = (size_t)side * (size_t)side * 3;
    for (int64_t i = 0; i < n; i++)
        mi_sheet_put(&sheet, side, (int)(i % cols), (int)(i / cols), tiles + (size_t)i * bytes);
    char *folder = mi_path_join(c->run_dir, "pictures");
    char *path = mi_path_join(c->run_dir, file);
    enum mi_status st = folder && path ? mi_make_dirs(folder) : MI_E_NOMEM;
    if (st == MI_OK) st = mi_image_write_png(path, &sheet);
    free(folder);
    free(path);
    mi_image_free(&sheet);
    return st;
}

enum mi_status mi_ctx_atlas(struct mi_ctx *c, const char *name, const char *kind, mt_tensor *x, int cols,
                            const int *labels, int64_t step, bool final) {
    if (!c->journal || !c->run_dir || !x) return MI_OK;
    if (mt_ndim(x) != 4 || mt_size(x, 1) != 3 || mt_size(x, 2) != mt_size(x, 3) || cols < 1)
        return mi_fail(MI_E_INTERNAL, "atlas %s: images must be [N,3,S,S]", name);
    int side = (int)mt_size(x, 2);
    int64_t n = mt_size(x, 0), most = (int64_t)(SHEET_SIDE / side) * cols;
    if (n > most) n = most; /* a sheet of the first rows; the numbers still cover all */
    if (n < 1 || cols * side > SHEET_SIDE) return MI_OK;
    int rows = (int)((n + cols - 1) / cols);
    uint8_t *tiles = tiles_of(x, n, side);
    if (!tiles) return mi_error_status() != MI_OK ? mi_error_status() : MI_E_NOMEM;
    char word[160], file[192];
    mi_file_word(name, word, sizeof(word));
    snprintf(file, sizeof(file), "pictures/%s.png", word);
    enum mi_status st = write_sheet(c, file, tiles, n, side, cols, rows);
    free(tiles);
    if (st == MI_OK)
        announce(c, name, kind, file, side, cols, rows, labels, step, final);
    else
        drop_error("picture");
    return MI_OK;
}
