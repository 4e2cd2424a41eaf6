/* ui/canvas.h - drawing onto the curses screen, clipped, in inks; nothing else writes to it.
 *
 * Text is UTF-8 from files nobody vouches for: control characters and broken sequences become '?', and where the
 * locale cannot show a glyph of ours it is replaced by a plain one of the same width. */
#ifndef MIDRE_CANVAS_H
#define MIDRE_CANVAS_H

#include "ui/layout.h"
#include "ui/theme.h"

/* Next code point of a UTF-8 text; advances *s; 0 at the end, '?' for a broken or unprintable one. */
uint32_t mi_utf8_next(const char **s);
int mi_text_width(const char *s); /* columns */
/* Copies at most `cols` columns of text, ending in ".." where it was cut. */
void mi_text_clip(char *out, size_t size, const char *s, int cols);
/* A code point as the theme can show it. */
uint32_t mi_glyph_plain(const struct mi_theme *t, uint32_t c);

/* Writes at most `cols` columns at (y, x); returns the columns used. */
int mi_put(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, const char *text);
int mi_putf(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Same with extra attributes (A_REVERSE for the focus). */
int mi_put_attr(const struct mi_theme *t, int y, int x, int cols, enum mi_ink ink, attr_t extra, const char *text);
void mi_put_code(const struct mi_theme *t, int y, int x, enum mi_ink ink, uint32_t code);
void mi_fill(const struct mi_theme *t, struct mi_rect r, enum mi_ink ink, attr_t extra); /* blanks */
/* Frame with a title; returns the room inside (empty when there is none). */
struct mi_rect mi_box(const struct mi_theme *t, struct mi_rect r, const char *title);
/* Paragraph wrapped at words; returns the rows used. */
int mi_wrap(const struct mi_theme *t, struct mi_rect r, enum mi_ink ink, const char *text);
/* The rows it would use. */
int mi_wrap_rows(const char *text, int cols);
void mi_put_plot(const struct mi_theme *t, int y, int x, const struct mi_plot *p); /* ink k -> MI_INK_S1+k-1 */

/* "35m20s", "1h17m", "-" when unknown (< 0). */
void mi_duration(char *buf, size_t size, double seconds);

#endif
