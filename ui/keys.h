/* ui/keys.h - actions and the one table of keys: dispatch, the footer and the help overlay all read it.
 *
 * A row binds a key on one screen or everywhere.  Every action can be reached without function keys, Alt or a mouse. */
#ifndef MIDRE_KEYS_H
#define MIDRE_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "ui/layout.h"

#define MI_KEY_ANYWHERE (-1)
#define MI_CTRL(c)      ((c)&0x1f)
#define MI_KEY_WIDE     0x200000 /* added to characters above 255, so that they never equal a KEY_ code */

enum mi_act {
    MI_ACT_NONE,
    /* everywhere */
    MI_ACT_SCREEN, /* digit 1.. */
    MI_ACT_NEXT,
    MI_ACT_PREV,
    MI_ACT_UP,
    MI_ACT_DOWN,
    MI_ACT_LEFT,
    MI_ACT_RIGHT,
    MI_ACT_PGUP,
    MI_ACT_PGDN,
    MI_ACT_HOME,
    MI_ACT_END,
    MI_ACT_ENTER,
    MI_ACT_BACK,
    MI_ACT_HELP,
    MI_ACT_QUIT,
    MI_ACT_INTERRUPT,
    MI_ACT_REPAINT,
    MI_ACT_SUSPEND,
    MI_ACT_THEME,
    MI_ACT_GLYPHS,
    MI_ACT_FILTER,
    MI_ACT_FIND_NEXT,
    MI_ACT_FIND_PREV,
    MI_ACT_IMAGES,
    /* screens */
    MI_ACT_START,
    MI_ACT_SAVE,
    MI_ACT_OPEN,
    MI_ACT_ALL,
    MI_ACT_TYPE,
    MI_ACT_TOGGLE,
    MI_ACT_RESET,
    MI_ACT_PREVIEW,
    MI_ACT_SMOOTH,
    MI_ACT_LOG_AXIS,
    MI_ACT_FREEZE,
    MI_ACT_CHECKPOINT,
    MI_ACT_CHECK,
    MI_ACT_STOP,
    MI_ACT_LEAVE,
    MI_ACT_PAUSE,
    MI_ACT_STAGE_PREV,
    MI_ACT_STAGE_NEXT,
    MI_ACT_FLIP,
    MI_ACT_CELL_LEFT,
    MI_ACT_CELL_RIGHT,
    MI_ACT_PHOTO,
    MI_ACT_SHEETS,
    MI_ACT_SORT,
    MI_ACT_REVERSE,
    MI_ACT_PUBLISHED,
    MI_ACT_MEAN,
    MI_ACT_COPY,
    MI_ACT_EXPORT,
    MI_ACT_RESUME,
    MI_ACT_DELETE,
    MI_ACT_LEVEL,
    MI_ACT_FOLLOW
};

struct mi_key {
    int screen; /* enum mi_screen or MI_KEY_ANYWHERE */
    enum mi_act act;
    int code[3];       /* characters or KEY_ codes; 0 = unused */
    const char *cap;   /* as printed: "PgUp" */
    const char *words; /* what it does, in help */
    const char *foot;  /* short word in the status row; NULL = not there */
};

const struct mi_key *mi_key_table(size_t *n);
/* The action of a key on a screen: the screen's own binding first, then the one for everywhere. */
enum mi_act mi_key_action(enum mi_screen screen, int code);
/* Up, down, page, home and end in a list of `n` rows, `page` of them visible; *at stays inside.  false: another act. */
bool mi_act_scroll(enum mi_act act, int page, int n, int *at);

#endif
