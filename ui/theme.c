/* ui/theme.c - six meanings and four series as terminal attributes.
 *
 * Colours are drawn on the terminal's own background (use_default_colors).  The series are blue, orange, teal and
 * magenta: apart for colour-blind readers, never red against green.  Plain blue on black is unreadable on many
 * terminals, so eight-colour terminals get cyan instead. */
#include "ui/theme.h"

#include <stdlib.h>
#include <string.h>

enum mi_status mi_theme_limit(const char *word, int *limit) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    if (!word || !strcmp(word, "auto")) {
        *limit = (no && *no) || !term || !*term || !strcmp(term, "dumb") ? 0 : 256;
        return MI_OK;
    }
    static const struct {
        const char *word;
        int limit;
    } words[] = {{"always", 256}, {"256", 256}, {"16", 16}, {"never", 0}, {"mono", 0}};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strcmp(word, words[k].word)) {
            *limit = words[k].limit;
            return MI_OK;
        }
    return mi_fail(MI_E_USAGE, "--color=%s: use auto, always, 256, 16, never or mono", word);
}

struct shade {
    short dark256, light256, dark8, light8;
    attr_t attr, mono;
};

static const struct shade shades[MI_INK_COUNT] = {
    [MI_INK_TEXT] = {-1, -1, -1, -1, 0, 0},
    [MI_INK_DIM] = {245, 243, -1, -1, 0, 0},
    [MI_INK_ACCENT] = {80, 24, COLOR_CYAN, COLOR_BLUE, 0, A_BOLD},
    [MI_INK_GOOD] = {79, 29, COLOR_GREEN, COLOR_GREEN, 0, A_BOLD},
    [MI_INK_WARN] = {221, 130, COLOR_YELLOW, COLOR_MAGENTA, 0, A_BOLD},
    [MI_INK_BAD] = {210, 160, COLOR_RED, COLOR_RED, A_BOLD, A_BOLD | A_UNDERLINE},
    [MI_INK_S1] = {75, 26, COLOR_CYAN, COLOR_BLUE, 0, 0},
    [MI_INK_S2] = {215, 166, COLOR_YELLOW, COLOR_MAGENTA, 0, A_BOLD},
    [MI_INK_S3] = {79, 30, COLOR_GREEN, COLOR_GREEN, 0, 0},
    [MI_INK_S4] = {213, 127, COLOR_MAGENTA, COLOR_RED, 0, A_BOLD},
    [MI_INK_TITLE] = {-1, -1, -1, -1, A_BOLD, A_BOLD},
    [MI_INK_SELECTED] = {-1, -1, -1, -1, A_REVERSE, A_REVERSE},
};

static void apply(struct mi_theme *t, int limit, bool background_light) {
    bool mono = t->kind == MI_THEME_MONO || limit == 0 || !has_colors();
    t->light = t->kind == MI_THEME_LIGHT || (t->kind != MI_THEME_DARK && background_light);
    t->colours = mono ? 0 : COLORS < limit ? COLORS : limit;
    for (int k = 0; k < MI_INK_COUNT; k++) {
        const struct shade *s = &shades[k];
        short fg = t->colours >= 256 ? (t->light ? s->light256 : s->dark256) : t->light ? s->light8 : s->dark8;
        t->attr[k] = mono ? s->mono : s->attr;
        t->pair[k] = 0;
        if (mono || fg < 0) continue;
        t->pair[k] = (short)(k + 1);
        init_pair(t->pair[k], fg, -1);
    }
}

void mi_theme_start(struct mi_theme *t, int limit, bool background_light, bool utf8) {
    memset(t, 0, sizeof *t);
    t->utf8 = utf8;
    t->glyphs = utf8 ? MI_GLYPH_BRAILLE : MI_GLYPH_ASCII;
    if (limit > 0 && has_colors()) {
        start_color();
        use_default_colors();
    }
    apply(t, limit, background_light);
}

void mi_theme_background(struct mi_theme *t, int limit, bool background_light) {
    apply(t, limit, background_light);
}

void mi_theme_cycle(struct mi_theme *t, int limit, bool background_light) {
    t->kind = (t->kind + 1) % MI_THEME_COUNT;
    apply(t, limit, background_light);
}

const char *mi_theme_name(const struct mi_theme *t) {
    static const char *const names[MI_THEME_COUNT] = {"auto", "light", "dark", "mono"};
    return names[t->kind];
}
