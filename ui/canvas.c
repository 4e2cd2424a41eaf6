/* ui/canvas.c - clipped, sanitised text on the curses screen (see canvas.h). */
#include "ui/canvas.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

uint32_t mi_utf8_next(const char **s) {
    const unsigned char *p = (const unsigned char *)*s;
    if (!*p) return 0;
    uint32_t c = *p;
    int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
    if (more < 0) {
        (*s)++;
        return '?';
    }
    if (more) c &= 0x3fu >> more;
    for (int k = 1; k <= more; k++) {
        if ((p[k] & 0xc0) != 0x80) {
            *s += k;
            return '?';
        }
        c = c << 6 | (p[k] & 0x3f);
    }
    *s += more + 1;
    return c < 32 || (c >= 127 && c < 160) ? '?' : c;
}

static int code_width(uint32_t c) {
    int w = c < 127 ? 1 : wcwidth((wchar_t)c);
    return w < 0 ? 1 : w;
}

int mi_text_width(const char *s) {
    int w = 0;
    for (uint32_t c; (c = mi_utf8_next(&s));) w += code_width(c);
    return w;
}

void mi_text_clip(char *out, size_t size, const char *s, int cols) {
    bool cut = mi_text_width(s) > cols;
    int room = cut && cols > 4 ? cols - 2 : cols, w = 0;
    size_t n = 0;
    for (const char *p = s; *p;) {
        const char *start = p;
        w += code_width(mi_utf8_next(&p));
        size_t len = (size_t)(p - start);
        if (w > room || n + len + 3 > size) break;
        memcpy(out + n, start, len);
        n += len;
    }
    if (cut && cols > 4 && n + 3 <= size) out[n++] = '.', out[n++] = '.';
    if (size) out[n] = 0;
}

uint32_t mi_glyph_plain(const struct mi_theme *t, uint32_t c) {
    if (t->utf8 || c < 127) return c;
    static const struct {
        uint32_t from, to;
    } map[] = {{0x2500, '-'}, {0x2502, '|'}, {0x250c, '+'}, {0x2510, '+'}, {0x2514, '+'}, {0x2518, '+'}, {0x25a0, '#'},
               {0xb7, '.'},   {0x25cf, '*'}, {0x25cb, 'o'}, {0x25b2, '^'}, {0x25bc, 'v'}, {0x25aa, '*'}, {0x25ab, '+'},
               {0x2190, '<'}, {0x2192, '>'}, {0x2191, '^'}, {0x2193, 'v'}, {0x394, 'D'},  {0x3b4, 'd'},  {0xb1, '~'},
               {0x258f, '['}, {0x2595, ']'}, {0x25b6, '>'}, {0x2212, '-'}, {0xd7, 'x'},   {0x2013, '-'}};
    for (size_t k = 0; k < sizeof map / sizeof *map; k++)
        if (map[k].from == c) return map[k].to;
    if (c >= 0x2581 && c <= 0x2588) return '#';
    return '?';
}

static void use(const struct mi_theme *t, enum mi_ink ink, attr_t extra) {
    attr_set(t->attr[ink] | extra, t->pair[ink], NULL);
}

int mi_put_attr(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, attr_t extra, const char *text) {
    int w = 0;
    if (y < 0 || y >= LINES || x < 0 || x >= COLS || !text) return 0;
    if (cols > COLS - x) cols = COLS - x;
    use(t, ink, extra);
    move(y, x);
    for (uint32_t c; (c = mi_utf8_next(&text));) {
        c = mi_glyph_plain(t, c);
        int k = code_width(c);
        if (w + k > cols) break;
        wchar_t one[2] = {(wchar_t)c, 0};
        addnwstr(one, 1);
        w += k;
    }
    use(t, MI_INK_TEXT, 0);
    return w;
}

int mi_put(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, const char *text) {
    return mi_put_attr(t, y, x, cols, ink, 0, text);
}

int mi_putf(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return mi_put_attr(t, y, x, cols, ink, 0, text);
}

void mi_put_code(const struct mi_theme *t, int y, int x, enum mi_ink ink, uint32_t code) {
    if (y < 0 || y >= LINES || x < 0 || x >= COLS) return;
    wchar_t one[2] = {(wchar_t)mi_glyph_plain(t, code), 0};
    use(t, ink, 0);
    mvaddnwstr(y, x, one, 1);
    use(t, MI_INK_TEXT, 0);
}

void mi_fill(const struct mi_theme *t, struct mi_rect r, enum mi_ink ink, attr_t extra) {
    use(t, ink, extra);
    for (int y = r.y; y < r.y + r.h && y < LINES; y++)
        for (int x = r.x; x < r.x + r.w && x < COLS; x++) mvaddch(y, x, ' ');
    use(t, MI_INK_TEXT, 0);
}

struct mi_rect mi_box(const struct mi_theme *t, struct mi_rect r, const char *title) {
    if (r.h < 2 || r.w < 4) return (struct mi_rect){0};
    for (int x = r.x; x < r.x + r.w; x++) {
        mi_put_code(t, r.y, x, MI_INK_DIM, x == r.x ? 0x250c : x == r.x + r.w - 1 ? 0x2510 : 0x2500);
        mi_put_code(t, r.y + r.h - 1, x, MI_INK_DIM, x == r.x ? 0x2514 : x == r.x + r.w - 1 ? 0x2518 : 0x2500);
    }
    for (int y = r.y + 1; y < r.y + r.h - 1; y++) {
        mi_put_code(t, y, r.x, MI_INK_DIM, 0x2502);
        mi_put_code(t, y, r.x + r.w - 1, MI_INK_DIM, 0x2502);
    }
    if (title && *title) {
        char clipped[256];
        mi_text_clip(clipped, sizeof clipped, title, r.w - 4);
        mi_put(t, r.y, r.x + 1, 1, MI_INK_TEXT, " ");
        int w = mi_put(t, r.y, r.x + 2, r.w - 4, MI_INK_TITLE, clipped);
        if (r.x + 2 + w < r.x + r.w - 1) mi_put(t, r.y, r.x + 2 + w, 1, MI_INK_TEXT, " ");
    }
    return (struct mi_rect){r.y + 1, r.x + 1, r.h - 2, r.w - 2};
}

/* The longest prefix of whole words that fits `cols`; a word longer than that is cut.  Where it ends; NULL when not
 * even one character fits. */
static const char *wrap_end(const char *text, int cols) {
    const char *p = text, *cut = NULL;
    int w = 0;
    while (*p && *p != '\n') {
        if (*p == ' ') cut = p;
        const char *q = p;
        int k = code_width(mi_utf8_next(&q));
        if (w + k > cols) break;
        w += k, p = q;
    }
    const char *end = !*p || *p == '\n' || !cut || cut == text ? p : cut;
    return end == text && *end != '\n' ? NULL : end;
}

static const char *wrap_next(const char *end) {
    while (*end == ' ') end++;
    return *end == '\n' ? end + 1 : end;
}

int mi_wrap(const struct mi_theme *t, struct mi_rect r, enum mi_ink ink, const char *text) {
    int y = 0;
    for (const char *end; text && *text && y < r.h && (end = wrap_end(text, r.w)); text = wrap_next(end)) {
        char line[1024];
        size_t n = (size_t)(end - text) < sizeof line - 1 ? (size_t)(end - text) : sizeof line - 1;
        memcpy(line, text, n);
        line[n] = 0;
        mi_put(t, r.y + y++, r.x, r.w, ink, line);
    }
    return y;
}

int mi_wrap_rows(const char *text, int cols) {
    int y = 0;
    for (const char *end; text && *text && (end = wrap_end(text, cols)); text = wrap_next(end)) y++;
    return y;
}

void mi_put_plot(const struct mi_theme *t, int y, int x, const struct mi_plot *p) {
    for (int r = 0; r < p->rows; r++)
        for (int c = 0; c < p->cols; c++) {
            size_t k = (size_t)r * (size_t)p->cols + (size_t)c;
            if (p->ink[k]) mi_put_code(t, y + r, x + c, MI_INK_S1 + (p->ink[k] - 1u) % 4u, p->glyph[k]);
        }
}

void mi_duration(char *buf, size_t size, double s) {
    if (!(s >= 0) || s > 1e8)
        snprintf(buf, size, "-");
    else if (s < 100)
        snprintf(buf, size, "%.0fs", s);
    else if (s < 6000)
        snprintf(buf, size, "%dm%02ds", (int)s / 60, (int)s % 60);
    else
        snprintf(buf, size, "%dh%02dm", (int)(s / 3600), (int)fmod(s / 60, 60));
}
