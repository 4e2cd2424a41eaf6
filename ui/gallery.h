/* ui/gallery.h - what scr_gallery.c (columns, keys) and gallery_tiles.c (pixels) share.  Private to these two. */
#ifndef MIDRE_GALLERY_H
#define MIDRE_GALLERY_H

#include <stdint.h>

#include "midre/image.h"
#include "midre/view.h"
#include "ui/layout.h"

#define MI_GALLERY_SHEETS (MI_PICS_MAX + 1) /* every picture of a screen can be of another one */
struct mi_gallery_sheet { /* a decoded picture file */
    char *file;
    unsigned version;
    unsigned long used;
    struct mi_image img;
    int wait; /* draws to go before a file that could not be read is tried again */
};

struct mi_gallery {
    int identity, restart, photo, left, right, run;
    bool flip, sheets;
    struct mi_gallery_sheet sheet[MI_GALLERY_SHEETS];
    unsigned long clock;
    char problem[200]; /* last file that could not be read */
};

struct mi_ui;
/* One tile, fresh pixels; false when there is none (yet). `key` names its content. */
bool mi_gallery_tile(struct mi_gallery *g, const struct mi_run_view *v, const struct mi_atlas_view *a, int col, int row,
                     struct mi_image *out, uint64_t *key);
/* A whole sheet, at most 512 px a side. */
bool mi_gallery_sheet(struct mi_gallery *g, const struct mi_run_view *v, const struct mi_atlas_view *a,
                      struct mi_image *out, uint64_t *key);
/* The sheets to show, `from` on; returns how many (at most MI_PICS_MAX), with out = NULL only the count. */
int mi_gallery_sheets(const struct mi_run_view *v, const struct mi_atlas_view **out, int from);
void mi_gallery_forget(struct mi_gallery *g);
const struct mi_recon_view *mi_gallery_verdict(const struct mi_cell_view *c, int row, int col);
/* Writes every atlas of the run as PNG into a folder the person names. */
void mi_gallery_export(struct mi_ui *ui);

#endif
