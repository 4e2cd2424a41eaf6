/* ui/theme.h - what the terminal can show, and the few inks everything is drawn in.
 *
 * Inks have meanings, not colours; the theme maps them to attributes for 256, 8 or no colours.  Meaning never rests on
 * colour alone: states are words, series differ by shape.  Order of decision (auto): --color, NO_COLOR, TERM=dumb or no
 * colours, what ncurses reports. */
#ifndef MIDRE_THEME_H
#define MIDRE_THEME_H

#include <ncurses.h>
#include <stdbool.h>

#include "midre/status.h"
#include "ui/plot.h"

enum mi_ink {
    MI_INK_TEXT,
    MI_INK_DIM,
    MI_INK_ACCENT,
    MI_INK_GOOD,
    MI_INK_WARN,
    MI_INK_BAD,
    MI_INK_S1,
    MI_INK_S2,
    MI_INK_S3,
    MI_INK_S4, /* series */
    MI_INK_TITLE,
    MI_INK_SELECTED,
    MI_INK_COUNT
};

enum mi_theme_kind { MI_THEME_AUTO, MI_THEME_LIGHT, MI_THEME_DARK, MI_THEME_MONO, MI_THEME_COUNT };

struct mi_theme {
    int colours; /* in use: 0, 8/16 or 256 */
    enum mi_theme_kind kind;
    bool light; /* resolved background */
    bool utf8;
    enum mi_glyphs glyphs; /* what curves are made of */
    attr_t attr[MI_INK_COUNT];
    short pair[MI_INK_COUNT];
};

/* Before initscr: does --color=WORD allow colours? *limit = most colours to use (0 none). MI_E_USAGE if unknown. */
enum mi_status mi_theme_limit(const char *word, int *limit);
/* After initscr.  `limit` from above; background as found by the probe. */
void mi_theme_start(struct mi_theme *t, int limit, bool background_light, bool utf8);
/* The probe learned the background only now. */
void mi_theme_background(struct mi_theme *t, int limit, bool background_light);
/* Next theme: auto, light, dark, mono. */
void mi_theme_cycle(struct mi_theme *t, int limit, bool background_light);
const char *mi_theme_name(const struct mi_theme *t);

#endif
