/* ui/plot.h - curves as characters: points in, a grid of glyphs and inks out.  Pure: touches no terminal.
 *
 * A plot is a canvas of dots, several to a cell: 2x4 in braille, 1x8 in eighth blocks, 1x2 in ASCII.  Axes are chosen
 * to change rarely (rounded limits, the whole planned x range), because a curve that only grows at its end costs a
 * few dozen bytes a frame and one that rescales costs a thousand. */
#ifndef MIDRE_PLOT_H
#define MIDRE_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "midre/view.h"

enum mi_glyphs { MI_GLYPH_BRAILLE, MI_GLYPH_BLOCKS, MI_GLYPH_ASCII, MI_GLYPH_COUNT };

struct mi_plot {
    int cols, rows;
    double x0, x1, y0, y1; /* data ranges; y in data units also when logy */
    bool logy;
    enum mi_glyphs glyphs;
    uint32_t *glyph; /* rows*cols code points, ' ' where empty; filled by mi_plot_finish */
    uint8_t *ink;    /* rows*cols: 0 none, else the ink of the last line drawn there */
    uint8_t *mask;   /* rows*cols dot bits */
};

struct mi_plot_line {
    const struct mi_point *points;
    size_t n;
    uint8_t ink; /* 1.. */
    bool dotted; /* every other dot: the second series differs by shape, not by colour alone */
    double ema;  /* 0 = raw; 0 < ema < 1 smooths with bias correction */
};

/* Empty plot of cols x rows cells (each at least 1).  Free with mi_plot_free. */
enum mi_status mi_plot_new(struct mi_plot *p, int cols, int rows, enum mi_glyphs glyphs);
void mi_plot_free(struct mi_plot *p);
/* Rounded ranges that hold all finite points.  x_end: the planned end of the x axis, <= 0 if unknown. */
void mi_plot_range(struct mi_plot *p, const struct mi_plot_line *lines, int n, double x_end, bool logy);
/* Draws a line; points that are not finite (or not positive on a log axis) break it.  Returns how many were left out.
 */
size_t mi_plot_line(struct mi_plot *p, const struct mi_plot_line *line);
void mi_plot_finish(struct mi_plot *p);
/* The cell of a data point, false if outside: for scatter plots that put their own marks. */
bool mi_plot_cell(const struct mi_plot *p, double x, double y, int *col, int *row);
/* Smallest round number (1 1.5 2 2.5 3 4 5 6 8 10 times a power of ten) >= v; 0 for v <= 0. */
double mi_nice_ceil(double v);

/* Horizontal bar of `cols` cells filled to `fraction` in eighths: UTF-8 (or '#' and '.') into buf. */
void mi_bar_text(char *buf, size_t size, int cols, double fraction, bool ascii);
/* Sparkline of n values in [0,1] into buf, UTF-8 (or digits 0..9). */
void mi_spark_text(char *buf, size_t size, const double *v, int n, bool ascii);

#endif
