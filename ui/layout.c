/* ui/layout.c - the arithmetic behind layout.h.  No state, no terminal: tests run it over all sizes. */
#include "ui/layout.h"

#include <string.h>

enum mi_size mi_size_class(int rows, int cols) {
    if (rows >= 36 && cols >= 120) return MI_SIZE_FULL;
    if (rows >= 24 && cols >= 80) return MI_SIZE_STD;
    if (rows >= 16 && cols >= 60) return MI_SIZE_SMALL;
    if (rows >= 10 && cols >= 40) return MI_SIZE_TINY;
    return MI_SIZE_NONE;
}

static int clamp(int v, int lo, int hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

/* Cuts h rows off the top (or bottom) of *r; the piece never exceeds what is there. */
static struct mi_rect cut_top(struct mi_rect *r, int h) {
    h = clamp(h, 0, r->h);
    struct mi_rect piece = {r->y, r->x, h, r->w};
    r->y += h, r->h -= h;
    return piece;
}

static struct mi_rect cut_bottom(struct mi_rect *r, int h) {
    h = clamp(h, 0, r->h);
    r->h -= h;
    return (struct mi_rect){r->y + r->h, r->x, h, r->w};
}

static struct mi_rect cut_left(struct mi_rect *r, int w) {
    w = clamp(w, 0, r->w);
    struct mi_rect piece = {r->y, r->x, r->h, w};
    r->x += w, r->w -= w;
    return piece;
}

static void setup(struct mi_layout *l, const struct mi_layout_want *w) {
    struct mi_rect r = l->body;
    if (l->size <= MI_SIZE_SMALL) {
        l->box[w->focus_all ? MI_SETUP_ALL : MI_SETUP_FORM] = cut_top(&r, r.h - (l->size == MI_SIZE_SMALL ? 3 : 0));
        if (l->size == MI_SIZE_SMALL) l->box[MI_SETUP_HELP] = r;
        return;
    }
    bool full = l->size == MI_SIZE_FULL;
    l->box[MI_SETUP_PUBLISHED] = cut_bottom(&r, full ? 12 : clamp(r.h - 16, 6, 8));
    if (full) {
        l->box[MI_SETUP_FORM] = cut_left(&r, 54);
        l->box[MI_SETUP_HELP] = cut_left(&r, clamp(r.w - 54, 30, 52));
        l->box[MI_SETUP_ALL] = r;
    } else {
        l->box[w->focus_all ? MI_SETUP_ALL : MI_SETUP_FORM] = cut_left(&r, 46);
        l->box[MI_SETUP_HELP] = r;
    }
}

static void live(struct mi_layout *l, const struct mi_layout_want *w) {
    struct mi_rect r = l->body;
    l->box[MI_BOX_HEAD] = cut_top(&r, 2);
    if (l->size == MI_SIZE_TINY) {
        l->box[MI_LIVE_LATEST] = r;
        return;
    }
    if (l->size == MI_SIZE_SMALL) {
        static const int pane[] = {MI_LIVE_PLOT1, MI_LIVE_PLOT2, MI_LIVE_LATEST, MI_LIVE_STAGES, MI_LIVE_EVENTS};
        l->box[pane[((w->pane % 5) + 5) % 5]] = r;
        return;
    }
    if (l->size == MI_SIZE_STD) {
        l->box[MI_LIVE_EVENTS] = cut_bottom(&r, 4);
        l->box[MI_LIVE_LOAD] = cut_bottom(&r, 3);
        l->box[MI_LIVE_LATEST] = cut_bottom(&r, 4);
        l->box[MI_LIVE_PLOT1] = cut_left(&r, r.w / 2);
        l->box[MI_LIVE_PLOT2] = r;
        return;
    }
    l->box[MI_LIVE_EVENTS] = cut_bottom(&r, clamp(r.h / 4, 6, 14));
    struct mi_rect left = cut_left(&r, r.w - 58);
    l->box[MI_LIVE_PLOT1] = cut_top(&left, left.h / 2);
    l->box[MI_LIVE_PLOT2] = left;
    l->box[MI_LIVE_LOAD] = cut_bottom(&r, 5);
    l->box[MI_LIVE_STAGES] = cut_bottom(&r, r.h / 2);
    l->box[MI_LIVE_LATEST] = r;
}

enum { PIC_GAP = 2, PIC_W = 22, PIC_H = 8 }; /* between pictures; the least of one that is not alone in its column */

/* Pictures in `down` rows of r, each with `lines` of text below and *each columns: the text rows a square one has. */
static int pictures_rows(struct mi_rect r, int n, int down, int lines, int *each) {
    int across = (n + down - 1) / down;
    *each = (r.w - PIC_GAP * (across + 1)) / across;
    int tall = r.h / down - lines, wide = *each / 2 + 1; /* a square picture is about twice as many columns as rows */
    return tall < wide ? tall : wide;
}

/* As many of the wanted pictures as have room, in the number of rows that makes them largest. */
static int arrange(struct mi_rect r, int want, int lines, int *down) {
    for (int n = want; n > 3; n--) {
        int best = 0, each;
        for (int rows = 1; rows <= 4; rows++) {
            int tall = pictures_rows(r, n, rows, lines, &each);
            if (each >= PIC_W && (rows == 1 || tall >= PIC_H) && tall > best) best = tall, *down = rows;
        }
        if (best > 0) return n;
    }
    *down = 1;
    return want < 3 ? want : 3;
}

static void gallery(struct mi_layout *l, const struct mi_layout_want *w) {
    struct mi_rect r = l->body;
    l->box[MI_BOX_HEAD] = cut_top(&r, l->size == MI_SIZE_TINY ? 1 : 2);
    cut_bottom(&r, 1); /* keeps pictures away from the bottom rows */
    if (l->size >= MI_SIZE_STD) l->box[MI_GAL_STRIP] = cut_bottom(&r, clamp(w->strips, 1, 4) + 2);
    int lines = l->size == MI_SIZE_TINY ? 2 : 3, down = 1, each;
    int room = l->size >= MI_SIZE_STD ? MI_PICS_MAX : l->size == MI_SIZE_TINY ? 2 : 3;
    l->n_pics = clamp(w->pics, 1, room);
    if (l->size >= MI_SIZE_STD) l->n_pics = arrange(r, l->n_pics, lines, &down);
    int across = (l->n_pics + down - 1) / down, tall = r.h / down - lines;
    pictures_rows(r, l->n_pics, down, lines, &each);
    tall = tall > 0 ? tall : 0;
    each = clamp(each, 1, l->n_pics == 1 ? r.w - 2 * PIC_GAP : 2 * tall + 4);
    if (l->n_pics > 1) tall = clamp(tall, 0, each / 2 + 1); /* captions stay close to their pictures */
    int used = each * across + PIC_GAP * (across - 1), left = r.x + (r.w - used) / 2;
    for (int k = 0; k < l->n_pics; k++) {
        int x = left + k % across * (each + PIC_GAP), y = r.y + k / across * (tall + lines);
        l->pic[k] = (struct mi_rect){y, x, tall, each};
        l->caption[k] = (struct mi_rect){y + tall, x, lines, each};
    }
}

static void table(struct mi_layout *l) {
    struct mi_rect r = l->body;
    l->box[MI_BOX_HEAD] = cut_top(&r, 1);
    if (l->size == MI_SIZE_FULL)
        l->box[MI_TABLE_PLOT] = cut_bottom(&r, r.h * 2 / 5);
    else if (l->size == MI_SIZE_STD)
        l->box[MI_TABLE_PLOT] = cut_bottom(&r, clamp(r.h - 11, 6, 9));
    l->box[MI_TABLE_LIST] = r;
}

void mi_layout_make(enum mi_screen screen, int rows, int cols, const struct mi_layout_want *want,
                    struct mi_layout *out) {
    static const struct mi_layout_want none = {.pics = 3, .strips = 2};
    if (!want) want = &none;
    memset(out, 0, sizeof *out);
    out->rows = rows, out->cols = cols;
    out->size = mi_size_class(rows, cols);
    if (out->size == MI_SIZE_NONE) return;
    out->tabs = (struct mi_rect){0, 0, 1, cols};
    out->foot = (struct mi_rect){rows - 1, 0, 1, cols};
    out->body = (struct mi_rect){1, 0, rows - 2, cols};
    switch (screen) {
    case MI_SCR_SETUP:
        setup(out, want);
        break;
    case MI_SCR_LIVE:
        live(out, want);
        break;
    case MI_SCR_GALLERY:
        gallery(out, want);
        break;
    case MI_SCR_TABLE:
        table(out);
        break;
    default: {
        struct mi_rect r = out->body;
        out->box[MI_BOX_HEAD] = cut_top(&r, 1);
        if (screen == MI_SCR_RUNS && out->size >= MI_SIZE_STD)
            out->box[MI_BOX_B] = cut_bottom(&r, out->size == MI_SIZE_FULL ? 14 : 7);
        out->box[MI_BOX_A] = r;
    }
    }
}

void mi_layout_picture(int rows, int cols, int lines, struct mi_picture_page *out) {
    struct mi_rect r = {1, 0, rows - 2, cols};
    memset(out, 0, sizeof *out);
    if (mi_size_class(rows, cols) == MI_SIZE_NONE) return;
    out->frame = r;
    r = (struct mi_rect){r.y + 1, r.x + 2, r.h - 2, r.w - 4};
    out->keys = cut_bottom(&r, 1);
    out->text = cut_bottom(&r, clamp(lines, 0, r.h * 2 / 5)); /* the picture has the larger half in any case */
    out->picture = r;
}

void mi_layout_photos(struct mi_rect room, int cell_w, int cell_h, int tall, int tile, int *rows, int *cols) {
    if (cell_w < 1 || cell_h < 1) cell_w = 1, cell_h = 2;
    if (tile < 1) tile = 1;
    int w = room.w * cell_w, h = room.h * cell_h, most = clamp(room.h / tall, 1, 6);
    double best = 0;
    *rows = 1, *cols = 3;
    for (int k = most; k > most / 2; k--) { /* larger and fewer ones only where they fill clearly more of the room */
        int side = h / k > tile ? h / k / tile * tile : h / k;
        int down = clamp(side > 0 ? h / side : 0, 1, 6), across = clamp(side > 0 ? w / side : 0, 3, 10);
        double area = (double)down * across * side * side;
        if (area > 1.1 * best) best = area, *rows = down, *cols = across;
    }
}
