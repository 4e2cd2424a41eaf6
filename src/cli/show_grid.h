/* src/cli/show_grid.h - the comparison sheet of a run: private photo | one reconstruction per cell, a row a person. */
#ifndef MIDRE_CLI_SHOW_GRID_H
#define MIDRE_CLI_SHOW_GRID_H

#include <stdio.h>

#include "midre/image.h"
#include "midre/view.h"

struct show_grid {
    struct mi_image sheet;
    int rows, cols; /* tiles; column 0 holds the photos when has_photos */
    int tile;       /* px */
    bool has_photos;
    int *label;                         /* [rows] */
    const struct mi_cell_view **cell;   /* [cols - has_photos], borrowed from the view */
    const struct mi_recon_view **recon; /* [rows][cols - has_photos], borrowed, NULL = not judged */
};

/* At most `max_rows` people.  `best`: of the restarts the one the judge trusts most, else the first.
 * A run without reconstructions yet gives an empty grid (cols 0). */
enum mi_status show_grid_make(struct show_grid *g, const struct mi_run_view *v, int max_rows, bool best);
void show_grid_free(struct show_grid *g);
/* The numbers under the pictures, one line a person and cell. */
void show_grid_captions(const struct show_grid *g, FILE *out);

#endif
