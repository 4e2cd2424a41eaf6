/* ui/layout.h - where everything is: a pure function from screen size to rectangles.
 *
 * Sizes come in five classes: 160x48 shows everything, 80x24 the standard page, 60x16 one pane at a time, 40x10 only
 * progress, and below that one line asks for room.  Every box lies inside the body (between the tab row and the
 * status row), boxes of one screen never overlap, and picture boxes stay clear of the last two rows because a
 * sixel that touches the bottom row scrolls the terminal.  A box with h or w of 0 is not shown. */
#ifndef MIDRE_LAYOUT_H
#define MIDRE_LAYOUT_H

#include <stdbool.h>

struct mi_rect {
    int y, x, h, w;
};

enum mi_size { MI_SIZE_NONE, MI_SIZE_TINY, MI_SIZE_SMALL, MI_SIZE_STD, MI_SIZE_FULL };
enum mi_screen { MI_SCR_SETUP, MI_SCR_LIVE, MI_SCR_GALLERY, MI_SCR_TABLE, MI_SCR_RUNS, MI_SCR_LOG, MI_SCR_COUNT };

/* Boxes by screen; each screen uses its own names. */
enum { MI_BOX_HEAD, MI_BOX_A, MI_BOX_B, MI_BOX_C, MI_BOX_D, MI_BOX_E, MI_BOX_F, MI_BOX_COUNT };
enum { MI_SETUP_FORM = MI_BOX_A, MI_SETUP_HELP, MI_SETUP_ALL, MI_SETUP_PUBLISHED };
enum { MI_LIVE_PLOT1 = MI_BOX_A, MI_LIVE_PLOT2, MI_LIVE_LATEST, MI_LIVE_LOAD, MI_LIVE_STAGES, MI_LIVE_EVENTS };
enum { MI_TABLE_LIST = MI_BOX_A, MI_TABLE_PLOT };
enum { MI_GAL_STRIP = MI_BOX_A };

#define MI_PICS_MAX 16
struct mi_layout {
    enum mi_size size;
    int rows, cols;
    struct mi_rect tabs, body, foot;
    struct mi_rect box[MI_BOX_COUNT];
    int n_pics;                          /* Gallery: picture boxes, row by row */
    struct mi_rect pic[MI_PICS_MAX];     /* room for the picture itself */
    struct mi_rect caption[MI_PICS_MAX]; /* text below it */
};

struct mi_layout_want {
    int pics;       /* Gallery: pictures wanted (photo and cells) */
    int strips;     /* Gallery: rows of the success strip */
    bool focus_all; /* Setup: the list of all settings has the place of the form */
    int pane;       /* small sizes: which pane is shown */
};

/* A picture over a whole screen: in its frame the picture, `lines` rows of text as far as there is room, and keys. */
struct mi_picture_page {
    struct mi_rect frame, picture, text, keys;
};

enum mi_size mi_size_class(int rows, int cols);
void mi_layout_make(enum mi_screen screen, int rows, int cols, const struct mi_layout_want *want,
                    struct mi_layout *out);
void mi_layout_picture(int rows, int cols, int lines, struct mi_picture_page *out);
/* How many square photos make good use of a picture's room: 1..6 rows, 3..10 columns.  A photo should be at least
 * `tall` text rows high; those of `tile` px are shown at a whole multiple of it where they grow (1: at any size). */
void mi_layout_photos(struct mi_rect room, int cell_w, int cell_h, int tall, int tile, int *rows, int *cols);

#endif
