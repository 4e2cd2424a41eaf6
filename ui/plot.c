/* ui/plot.c - the dot canvas behind every curve (see plot.h).
 *
 * A line is drawn from point to point in dot space, so a thousand points in one column become its min-max band by
 * themselves and no extreme is lost to sampling.  Smoothing is an exponential mean divided by (1 - a^k), which
 * removes its pull towards zero at the start: a constant curve stays constant. */
#include "ui/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int dots_x[MI_GLYPH_COUNT] = {2, 1, 1}, dots_y[MI_GLYPH_COUNT] = {4, 8, 2};

enum mi_status mi_plot_new(struct mi_plot *p, int cols, int rows, enum mi_glyphs glyphs) {
    memset(p, 0, sizeof *p);
    if (cols < 1 || rows < 1) return mi_fail(MI_E_INPUT, "a plot of %dx%d cells has no room", cols, rows);
    size_t n = (size_t)cols * (size_t)rows;
    p->cols = cols, p->rows = rows, p->glyphs = glyphs;
    p->x1 = p->y1 = 1;
    p->glyph = mi_calloc(n, sizeof *p->glyph);
    p->ink = mi_calloc(n, 1);
    p->mask = mi_calloc(n, 1);
    if (p->glyph && p->ink && p->mask) return MI_OK;
    mi_plot_free(p);
    return MI_E_NOMEM;
}

void mi_plot_free(struct mi_plot *p) {
    free(p->glyph);
    free(p->ink);
    free(p->mask);
    memset(p, 0, sizeof *p);
}

double mi_nice_ceil(double v) {
    static const double step[] = {1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10};
    if (!(v > 0) || !isfinite(v)) return 0;
    double base = pow(10, floor(log10(v)));
    for (size_t k = 0; k < sizeof step / sizeof *step; k++)
        if (step[k] * base >= v * (1 - 1e-12)) return step[k] * base;
    return 10 * base;
}

static bool usable(const struct mi_point *q, bool logy) {
    return isfinite(q->x) && isfinite(q->y) && (!logy || q->y > 0);
}

void mi_plot_range(struct mi_plot *p, const struct mi_plot_line *lines, int n, double x_end, bool logy) {
    double xl = INFINITY, xh = -INFINITY, yl = INFINITY, yh = -INFINITY;
    for (int k = 0; k < n; k++)
        for (size_t i = 0; i < lines[k].n; i++) {
            const struct mi_point *q = &lines[k].points[i];
            if (!usable(q, logy)) continue;
            xl = fmin(xl, q->x), xh = fmax(xh, q->x);
            yl = fmin(yl, q->y), yh = fmax(yh, q->y);
        }
    p->logy = logy;
    if (!(xl <= xh)) xl = 0, xh = 1, yl = logy ? 0.1 : 0, yh = 1;
    p->x0 = xl > 0 && xl < 0.2 * (x_end > xh ? x_end : xh) ? 0 : xl;
    p->x1 = x_end >= xh ? x_end : xh > 0 ? mi_nice_ceil(xh) : xh;
    if (!(p->x1 > p->x0)) p->x1 = p->x0 + 1;
    if (logy) {
        p->y0 = pow(10, floor(log10(yl))), p->y1 = pow(10, ceil(log10(yh)));
        if (!(p->y1 > p->y0)) p->y1 = 10 * p->y0;
        return;
    }
    p->y1 = yh > 0 ? mi_nice_ceil(yh) : 0;
    p->y0 = yl < 0 ? -mi_nice_ceil(-yl) : 0;
    if (!(p->y1 > p->y0)) p->y1 = p->y0 + 1;
}

/* Data to the unit square, y upwards. */
static void unit(const struct mi_plot *p, double x, double y, double *u, double *v) {
    *u = (x - p->x0) / (p->x1 - p->x0);
    *v = p->logy ? (log10(y) - log10(p->y0)) / (log10(p->y1) - log10(p->y0)) : (y - p->y0) / (p->y1 - p->y0);
}

bool mi_plot_cell(const struct mi_plot *p, double x, double y, int *col, int *row) {
    double u, v;
    if (!isfinite(x) || !isfinite(y) || (p->logy && y <= 0)) return false;
    unit(p, x, y, &u, &v);
    if (u < 0 || u > 1 || v < 0 || v > 1) return false;
    *col = (int)lround(u * (p->cols - 1));
    *row = (int)lround((1 - v) * (p->rows - 1));
    return true;
}

static void dot(struct mi_plot *p, long x, long y, uint8_t ink) {
    static const uint8_t braille[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
    int dx = dots_x[p->glyphs], dy = dots_y[p->glyphs];
    if (x < 0 || y < 0 || x >= (long)p->cols * dx || y >= (long)p->rows * dy) return;
    size_t cell = (size_t)(y / dy) * (size_t)p->cols + (size_t)(x / dx);
    p->mask[cell] |= p->glyphs == MI_GLYPH_BRAILLE ? braille[y % 4][x % 2] : (uint8_t)(1u << (y % dy));
    p->ink[cell] = ink;
}

struct pen {
    long x, y, step;
    bool down;
};

/* Bresenham from the pen to (x, y); a dotted line sets every other dot, counted along the whole line. */
static void stroke(struct mi_plot *p, struct pen *pen, long x, long y, const struct mi_plot_line *line) {
    if (!pen->down) {
        dot(p, x, y, line->ink);
        *pen = (struct pen){x, y, 0, true};
        return;
    }
    long dx = labs(x - pen->x), dy = -labs(y - pen->y), err = dx + dy;
    long sx = pen->x < x ? 1 : -1, sy = pen->y < y ? 1 : -1;
    while (pen->x != x || pen->y != y) {
        long e2 = 2 * err;
        if (e2 >= dy) err += dy, pen->x += sx;
        if (e2 <= dx) err += dx, pen->y += sy;
        pen->step++;
        if (!line->dotted || pen->step % 2 == 0) dot(p, pen->x, pen->y, line->ink);
    }
}

size_t mi_plot_line(struct mi_plot *p, const struct mi_plot_line *line) {
    struct pen pen = {0};
    double mean = 0, weight = 1;
    size_t skipped = 0;
    long w = (long)p->cols * dots_x[p->glyphs] - 1, h = (long)p->rows * dots_y[p->glyphs] - 1;
    for (size_t i = 0; i < line->n; i++) {
        const struct mi_point *q = &line->points[i];
        double y = q->y, u, v;
        if (!usable(q, p->logy)) {
            skipped++;
            pen.down = false;
            continue;
        }
        if (line->ema > 0) {
            mean = line->ema * mean + (1 - line->ema) * y;
            weight *= line->ema;
            y = mean / (1 - weight);
        }
        unit(p, q->x, y, &u, &v);
        if (u < -1 || u > 2) continue;
        v = fmin(fmax(v, 0), 1);
        stroke(p, &pen, lround(u * (double)w), lround((1 - v) * (double)h), line);
    }
    return skipped;
}

static uint32_t glyph_of(enum mi_glyphs g, uint8_t mask, uint8_t ink) {
    if (!mask) return ' ';
    if (g == MI_GLYPH_BRAILLE) return 0x2800u + mask;
    if (g == MI_GLYPH_BLOCKS) {
        int top = 0;
        while (!(mask & (1u << top))) top++;
        return 0x2588u - (uint32_t)top; /* full block down to the lowest eighth */
    }
    if (ink % 2 == 0) return '+'; /* second series */
    return mask == 3 ? ':' : mask == 1 ? '\'' : '.';
}

void mi_plot_finish(struct mi_plot *p) {
    for (size_t k = 0; k < (size_t)p->cols * (size_t)p->rows; k++)
        p->glyph[k] = glyph_of(p->glyphs, p->mask[k], p->ink[k]);
}

/* ---- bars --------------------------------------------------------------------------------------------- */

void mi_bar_text(char *buf, size_t size, int cols, double fraction, bool ascii) {
    static const char *const eighth[9] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    if (!(fraction > 0)) fraction = 0;
    if (fraction > 1) fraction = 1;
    long full = lround(fraction * cols * 8);
    size_t n = 0;
    for (int k = 0; k < cols; k++) {
        long here = full - 8L * k;
        const char *g = ascii ? here >= 4 ? "#" : "." : eighth[here >= 8 ? 8 : here <= 0 ? 0 : here];
        size_t len = strlen(g);
        if (n + len + 1 > size) break;
        memcpy(buf + n, g, len);
        n += len;
    }
    if (size) buf[n] = 0;
}

void mi_spark_text(char *buf, size_t size, const double *v, int n, bool ascii) {
    static const char *const level[8] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t at = 0;
    for (int k = 0; k < n; k++) {
        double f = isfinite(v[k]) ? fmin(fmax(v[k], 0), 1) : 0;
        char digit[2] = {(char)('0' + (int)(f * 9 + 0.5)), 0};
        const char *g = ascii ? digit : level[(int)(f * 7 + 0.5)];
        size_t len = strlen(g);
        if (at + len + 1 > size) break;
        memcpy(buf + at, g, len);
        at += len;
    }
    if (size) buf[at] = 0;
}
