/* telea.c - inpainting by fast marching (A. Telea, "An image inpainting technique based on the fast marching method",
 * J. Graphics Tools 9(1), 2004), in the variant OpenCV computes.
 *
 * A front starts at the known pixels beside the hole and moves inwards in the order of its arrival time T, the solution
 * of |grad T| = 1 on the grid.  The pixel it reaches is coloured once and for all from the known pixels q within
 * `radius`, each weighted by nearness, by likeness of arrival time, and by how far q lies along the front's normal.
 * To the weighted mean one unit step along the mean image gradient is added (the paper adds grad I(q).r to each term
 * instead; the results differ little).  Outside the hole T is minus the distance to it, from a second march.
 *
 * Grids are padded by one cell that counts as known and infinitely late.  On the rim of the image the sample moves one
 * pixel inwards, so that differences have both their neighbours.  Equal times leave the heap in the order they came. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "midre/photo.h"

#define FAR        1.0e6f /* no time yet */
#define RADIUS_MAX 100

enum { KNOWN, BAND, INSIDE };

struct entry {
    float t;
    uint32_t order; /* of arrival in the heap */
    int32_t at;     /* cell of the padded grid */
};

struct tap {
    int dy, dx;
    float near; /* 1/|r|^3 */
};

struct march {
    int w, h, pitch; /* of the image; cells in a padded row */
    uint8_t *state;  /* [h+2][w+2] */
    float *t;        /* [h+2][w+2] */
    struct entry *heap;
    int n;
    uint32_t order;
    struct tap *tap; /* the disc around a pixel, in raster order */
    int taps;
};

/* ---- heap -------------------------------------------------------------------------------------------------------- */

static bool before(const struct entry *a, const struct entry *b) {
    return a->t < b->t || (a->t == b->t && a->order < b->order);
}

static void push(struct march *m, int at, float t) {
    struct entry e = {t, m->order++, at};
    int i = m->n++;
    while (i > 0 && before(&e, &m->heap[(i - 1) / 2])) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = e;
}

static int pop(struct march *m) {
    int at = m->heap[0].at, i = 0;
    struct entry last = m->heap[--m->n];
    for (int child; (child = 2 * i + 1) < m->n; i = child) {
        if (child + 1 < m->n && before(&m->heap[child + 1], &m->heap[child])) child++;
        if (!before(&m->heap[child], &last)) break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return at;
}

/* ---- arrival times -------------------------------------------------------------------------------------------------
 */

/* The upwind solution from one vertical and one horizontal neighbour. */
static float solve(const struct march *m, int a, int b) {
    double ta = m->t[a], tb = m->t[b], least = ta < tb ? ta : tb;
    if (m->state[a] == INSIDE) return (float)(1 + (m->state[b] == INSIDE ? least : tb));
    if (m->state[b] == INSIDE) return (float)(1 + ta);
    double d = ta - tb;
    return (float)(fabs(d) >= 1 ? 1 + least : (ta + tb + sqrt(2 - d * d)) * 0.5);
}

static float arrival(const struct march *m, int at) {
    int up = at - m->pitch, down = at + m->pitch;
    float a = fminf(solve(m, up, at - 1), solve(m, down, at - 1));
    return fminf(a, fminf(solve(m, up, at + 1), solve(m, down, at + 1)));
}

static bool on_image(const struct march *m, int at) {
    int y = at / m->pitch, x = at % m->pitch;
    return y > 0 && x > 0 && y <= m->h && x <= m->w;
}

/* Distances outside the hole, up to `radius` (as a square) from it, written as negative times. */
static void march_outside(struct march *m, const uint8_t *mask, int radius, const uint8_t *hole_state,
                          int32_t *reached) {
    size_t cells = (size_t)m->pitch * (size_t)(m->h + 2);
    memset(m->state, KNOWN, cells);
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            if (!mask[y * m->w + x]) continue;
            int y0 = y - radius > 0 ? y - radius : 0, y1 = y + radius < m->h - 1 ? y + radius : m->h - 1;
            int x0 = x - radius > 0 ? x - radius : 0, x1 = x + radius < m->w - 1 ? x + radius : m->w - 1;
            /* A pixel inside a run of the mask adds only the last column of its square. */
            if (x > 0 && mask[y * m->w + x - 1] && x0 < x1 && x + radius <= m->w - 1) x0 = x1;
            for (int k = y0; k <= y1; k++)
                memset(m->state + (k + 1) * m->pitch + x0 + 1, INSIDE, (size_t)(x1 - x0 + 1));
        }
    m->n = 0, m->order = 0;
    for (int at = 0; at < (int)cells; at++) {
        if (hole_state[at] != KNOWN) m->state[at] = KNOWN;
        if (hole_state[at] == BAND) push(m, at, 0);
    }
    const int step[4] = {-m->pitch, -1, m->pitch, 1};
    int count = 0;
    while (m->n > 0) {
        int at = pop(m);
        for (int k = 0; k < 4; k++) {
            int next = at + step[k];
            if (!on_image(m, next) || m->state[next] != INSIDE) continue;
            m->t[next] = arrival(m, next);
            m->state[next] = BAND;
            reached[count++] = next;
            push(m, next, m->t[next]);
        }
    }
    for (int i = 0; i < count; i++) m->t[reached[i]] = -m->t[reached[i]];
}

/* ---- colours -------------------------------------------------------------------------------------------------------
 */

/* Difference of the times (or of a colour) along one axis, over cells that are not inside; `both` scales the central
 * one. */
static float time_slope(const struct march *m, int at, int step) {
    bool plus = m->state[at + step] != INSIDE, minus = m->state[at - step] != INSIDE;
    if (plus && minus) return (m->t[at + step] - m->t[at - step]) * 0.5f;
    if (plus) return m->t[at + step] - m->t[at];
    return minus ? m->t[at] - m->t[at - step] : 0;
}

struct sample {
    const uint8_t *here, *xp, *xm, *yp, *ym; /* pixels whose differences are the slopes; NULL pairs: 0 */
    float x_factor, y_factor;
};

/* Pixels to read for known cell (y,x) of the padded grid. */
static struct sample sample_at(const struct march *m, const uint8_t *rgb, int y, int x) {
    int at = y * m->pitch + x;
    int ylo = y == 1 ? 1 : y - 1, yhi = y == m->h ? m->h - 2 : y - 1;
    int xlo = x == 1 ? 1 : x - 1, xhi = x == m->w ? m->w - 2 : x - 1;
    const uint8_t *row = rgb + (size_t)ylo * (size_t)m->w * 3, *col = rgb + (size_t)xlo * 3;
    size_t line = (size_t)m->w * 3;
    struct sample s = {.here = rgb + ((size_t)(y - 1) * (size_t)m->w + (size_t)(x - 1)) * 3};
    const uint8_t *low = row + (size_t)xlo * 3;
    bool right = m->state[at + 1] != INSIDE, left = m->state[at - 1] != INSIDE;
    bool down = m->state[at + m->pitch] != INSIDE, up = m->state[at - m->pitch] != INSIDE;
    s.x_factor = right && left ? 2 : right || left ? 1 : 0;
    s.y_factor = down && up ? 2 : down || up ? 1 : 0;
    s.xp = right ? row + (size_t)(xhi + 1) * 3 : left ? row + (size_t)xhi * 3 : low;
    s.xm = left ? row + (size_t)(xlo - 1) * 3 : low;
    s.yp = down ? col + (size_t)(yhi + 1) * line : up ? col + (size_t)yhi * line : low;
    s.ym = up ? col + (size_t)(ylo - 1) * line : low;
    return s;
}

/* Half a level is added before rounding, as OpenCV does: on the average the filled hole is half a level brighter. */
static uint8_t to_byte(float v) {
    v = rintf(v + 0.5f);
    return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

static void colour(const struct march *m, uint8_t *rgb, int at) {
    int y = at / m->pitch, x = at % m->pitch;
    float tx = time_slope(m, at, 1), ty = time_slope(m, at, m->pitch), here = m->t[at];
    float mean[3] = {0}, jx[3] = {0}, jy[3] = {0}, sum = 1e-20f;
    for (int i = 0; i < m->taps; i++) {
        int qy = y + m->tap[i].dy, qx = x + m->tap[i].dx, q = qy * m->pitch + qx;
        if (qy < 1 || qx < 1 || qy > m->h || qx > m->w || m->state[q] == INSIDE) continue;
        float ry = (float)-m->tap[i].dy, rx = (float)-m->tap[i].dx, along = rx * tx + ry * ty;
        if (fabsf(along) <= 0.01f) along = 0.000001f;
        float alike = (float)(1.0 / (1.0 + (double)fabsf(m->t[q] - here)));
        float w = fabsf(m->tap[i].near * alike * along);
        struct sample s = sample_at(m, rgb, qy, qx);
        float wx = w * s.x_factor * rx, wy = w * s.y_factor * ry;
        sum += w;
        for (int c = 0; c < 3; c++) {
            mean[c] += w * s.here[c];
            jx[c] -= wx * (float)(s.xp[c] - s.xm[c]);
            jy[c] -= wy * (float)(s.yp[c] - s.ym[c]);
        }
    }
    uint8_t *out = rgb + ((size_t)(y - 1) * (size_t)m->w + (size_t)(x - 1)) * 3;
    for (int c = 0; c < 3; c++)
        out[c] = to_byte(mean[c] / sum + (jx[c] + jy[c]) / (sqrtf(jx[c] * jx[c] + jy[c] * jy[c]) + 1e-20f));
}

static void march_inside(struct march *m, uint8_t *rgb) {
    const int step[4] = {-m->pitch, -1, m->pitch, 1};
    while (m->n > 0) {
        int at = pop(m);
        m->state[at] = KNOWN;
        for (int k = 0; k < 4; k++) {
            int next = at + step[k];
            if (!on_image(m, next) || m->state[next] != INSIDE) continue;
            m->t[next] = arrival(m, next);
            colour(m, rgb, next);
            m->state[next] = BAND;
            push(m, next, m->t[next]);
        }
    }
}

/* ---- the whole
 * ------------------------------------------------------------------------------------------------------- */

/* States of the hole's march: the hole inside, the known pixels 4-adjacent to it the band at time 0. */
static void mark_hole(const struct march *m, const uint8_t *mask, uint8_t *state) {
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++)
            if (mask[y * m->w + x]) state[(y + 1) * m->pitch + x + 1] = INSIDE;
    for (int y = 1; y <= m->h; y++)
        for (int x = 1; x <= m->w; x++) {
            int at = y * m->pitch + x;
            if (state[at] == INSIDE) continue;
            if (state[at - 1] == INSIDE || state[at + 1] == INSIDE || state[at - m->pitch] == INSIDE ||
                state[at + m->pitch] == INSIDE) {
                state[at] = BAND;
                m->t[at] = 0;
            }
        }
}

static void make_taps(struct march *m, int radius) {
    for (int dy = -radius; dy <= radius; dy++)
        for (int dx = -radius; dx <= radius; dx++) {
            int d2 = dy * dy + dx * dx;
            if (d2 == 0 || d2 > radius * radius) continue;
            m->tap[m->taps++] = (struct tap){dy, dx, (float)(1 / (d2 * sqrt(d2)))};
        }
}

static enum mi_status inpaint(struct march *m, uint8_t *rgb, const uint8_t *mask, int radius, uint8_t *hole,
                              int32_t *reached) {
    size_t cells = (size_t)m->pitch * (size_t)(m->h + 2);
    for (size_t i = 0; i < cells; i++) m->t[i] = FAR;
    make_taps(m, radius);
    mark_hole(m, mask, hole);
    march_outside(m, mask, radius, hole, reached);
    memcpy(m->state, hole, cells);
    m->n = 0, m->order = 0;
    bool any = false;
    for (int at = 0; at < (int)cells; at++) {
        if (hole[at] == BAND) push(m, at, 0);
        any |= hole[at] == INSIDE;
    }
    if (any && m->n == 0) return mi_fail(MI_E_INPUT, "inpainting: the mask leaves no pixel to continue from");
    march_inside(m, rgb);
    return MI_OK;
}

enum mi_status mi_inpaint_telea(uint8_t *rgb, const uint8_t *mask, int width, int height, int radius) {
    if (width < 3 || height < 3 || width > 16384 || height > 16384 || radius < 1 || radius > RADIUS_MAX)
        return mi_fail(MI_E_INPUT,
                       "inpainting takes pictures of 3 to 16384 px a side and a radius of 1 to %d px, not "
                       "%d x %d px and %d",
                       RADIUS_MAX, width, height, radius);
    struct march m = {.w = width, .h = height, .pitch = width + 2};
    size_t cells = (size_t)m.pitch * (size_t)(height + 2), disc = (size_t)(2 * radius + 1) * (size_t)(2 * radius + 1);
    uint8_t *hole = mi_calloc(cells, 1);
    int32_t *reached = mi_calloc(cells, sizeof *reached);
    m.state = mi_calloc(cells, 1);
    m.t = mi_calloc(cells, sizeof *m.t);
    m.heap = mi_calloc(cells, sizeof *m.heap);
    m.tap = mi_calloc(disc, sizeof *m.tap);
    bool ok = hole && reached && m.state && m.t && m.heap && m.tap;
    enum mi_status st = ok ? inpaint(&m, rgb, mask, radius, hole, reached) : MI_E_NOMEM;
    free(hole);
    free(reached);
    free(m.state);
    free(m.t);
    free(m.heap);
    free(m.tap);
    return st;
}
