/* ui/picture.h - pictures for terminals: what the terminal can do, and RGB pixels turned into bytes it understands.
 *
 * Two independent halves.  The probe (probe.c) asks the terminal once, all questions in one write, ending with a
 * device-attributes request that every terminal answers; late answers can be fed in afterwards.  The encoder
 * (picture.c) is pure: image in, bytes out, no terminal touched.  Sixel goes through libsixel; the fallbacks are half
 * blocks (two pixels a cell, 24-bit or 256 colours) and shaded ASCII.  `midre show` and the Gallery share both. */
#ifndef MIDRE_PICTURE_H
#define MIDRE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "midre/image.h"

enum mi_picture_mode { MI_PIC_OFF, MI_PIC_ASCII, MI_PIC_HALF256, MI_PIC_HALF24, MI_PIC_SIXEL, MI_PIC_COUNT };
/* "off" "ascii" "half256" "half" "sixel" */
const char *mi_picture_mode_name(enum mi_picture_mode m);

struct mi_probe {
    bool answered; /* the closing device-attributes reply came */
    bool sixel;    /* attribute 4 in it */
    bool sync;     /* synchronised output (mode 2026) understood */
    bool background_known, background_light;
    bool utf8, truecolor; /* from the locale and the environment, not asked */
    int registers;        /* sixel colour registers, 0 unknown */
    int max_w, max_h;     /* largest sixel picture in pixels, 0 unknown; a larger one is dropped without a trace */
    int area_w, area_h;   /* text area in pixels, 0 unknown */
    int cell_w, cell_h;   /* one cell in pixels; 10x20 assumed where nothing answers (cell_known false) */
    bool cell_known;
    char name[64]; /* "XTerm(379)", "tmux 3.3a", "" */
};

/* Asks the terminal on `fd` (raw mode is set and restored here) and waits at most `wait_ms` for the closing reply. */
void mi_probe_terminal(struct mi_probe *p, int fd, int wait_ms);
/* Takes in one complete control sequence (from its ESC to its last byte); false if it is no answer to our questions. */
bool mi_probe_feed(struct mi_probe *p, const char *seq, size_t n);
/* Cell size again after a resize (TIOCGWINSZ only, no question). */
void mi_probe_resize(struct mi_probe *p, int fd);
/* The mode for --images=WORD: "auto" or NULL picks the best the terminal can show. MI_E_USAGE for an unknown word. */
enum mi_status mi_picture_choose(const struct mi_probe *p, const char *word, int colours, enum mi_picture_mode *mode);

struct mi_picture {
    char *bytes; /* sixel: one DCS; text modes: lines ended by '\n', each reset with SGR 0 */
    size_t n;
    int cols, rows;    /* cells it covers */
    int width, height; /* pixels (sixel) or picture elements (text modes) */
};

struct mi_picture_box {
    int cols, rows;     /* room in cells */
    int cell_w, cell_h; /* pixels a cell */
    int colours;        /* sixel palette size 2..256; 0 = by size */
    bool light;         /* light background: ASCII shades inverted */
};

/* Makes a sixel picture's room no larger than the terminal takes. */
void mi_picture_limit(const struct mi_probe *p, struct mi_picture_box *box);
/* Encodes `img` as large as fits the box.  Small pictures grow by whole factors, nearest neighbour, undithered, so
 * that their pixels stay honest; large ones are reduced with the antialiased filter. */
enum mi_status mi_picture_encode(const struct mi_image *img, enum mi_picture_mode mode,
                                 const struct mi_picture_box *box, struct mi_picture *out);
void mi_picture_free(struct mi_picture *p);

#endif
