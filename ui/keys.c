/* ui/keys.c - the key table.  Order matters twice: help lists rows as they stand, and the status row takes those
 * with a short word from the top until it is full. */
#include "ui/keys.h"

#include <ncurses.h>

#define ALL MI_KEY_ANYWHERE

static const struct mi_key table[] = {
    /* Setup */
    {MI_SCR_SETUP, MI_ACT_NEXT, {'\t'}, "Tab", "next field", "next"},
    {MI_SCR_SETUP, MI_ACT_ENTER, {'\n', '\r', KEY_ENTER}, "Enter", "edit the field, press the button", "edit"},
    {MI_SCR_SETUP, MI_ACT_LEFT, {KEY_LEFT, 'h'}, "←→", "change the value", "change"},
    {MI_SCR_SETUP, MI_ACT_START, {KEY_F(9), 'S'}, "S F9", "start the experiment", "start"},
    {MI_SCR_SETUP, MI_ACT_ALL, {'a'}, "a", "all settings / back to the short form", "all"},
    {MI_SCR_SETUP, MI_ACT_PREVIEW, {'p'}, "p", "show training photos under the defense", "preview"},
    {MI_SCR_SETUP, MI_ACT_TOGGLE, {' '}, "Space", "switch yes and no", NULL},
    {MI_SCR_SETUP, MI_ACT_TYPE, {'e'}, "e", "type the value as text", NULL},
    {MI_SCR_SETUP, MI_ACT_RESET, {'d', KEY_DC}, "d", "back to the default value", NULL},
    {MI_SCR_SETUP, MI_ACT_SAVE, {'w'}, "w", "save the experiment to a file", "save"},
    {MI_SCR_SETUP, MI_ACT_OPEN, {'o'}, "o", "open an experiment file", "open"},
    /* Live */
    {MI_SCR_LIVE, MI_ACT_STAGE_NEXT, {KEY_DOWN, 'j', ']'}, "↑↓ [ ]", "look at another stage", "stage"},
    {MI_SCR_LIVE, MI_ACT_STAGE_PREV, {KEY_UP, 'k', '['}, "", "", NULL},
    {MI_SCR_LIVE, MI_ACT_SMOOTH, {'s'}, "s", "smoothing off, 0.6, 0.9", "smooth"},
    {MI_SCR_LIVE, MI_ACT_LOG_AXIS, {'y'}, "y", "logarithmic loss axis", "log"},
    {MI_SCR_LIVE, MI_ACT_FREEZE, {' '}, "Space", "freeze the display", "freeze"},
    {MI_SCR_LIVE, MI_ACT_PAUSE, {'p'}, "p", "pause or go on", "pause"},
    {MI_SCR_LIVE, MI_ACT_CHECKPOINT, {'c'}, "c", "checkpoint and pictures now", "ckpt"},
    {MI_SCR_LIVE, MI_ACT_STOP, {'x'}, "x", "stop the run (asks)", "stop"},
    {MI_SCR_LIVE, MI_ACT_LEAVE, {'d'}, "d", "leave; the run goes on", "leave"},
    /* Gallery */
    {MI_SCR_GALLERY, MI_ACT_LEFT, {KEY_LEFT, 'h'}, "←→", "identity", "who"},
    {MI_SCR_GALLERY, MI_ACT_UP, {KEY_UP, 'k'}, "↑↓", "candidate (restart)", "restart"},
    {MI_SCR_GALLERY, MI_ACT_FIND_NEXT, {'n'}, "n N", "next, previous identity that was hit", "hit"},
    {MI_SCR_GALLERY, MI_ACT_FIND_PREV, {'N'}, "", "", NULL},
    {MI_SCR_GALLERY, MI_ACT_IMAGES, {'i'}, "i", "image mode: sixel, half blocks, ascii, off", "image"},
    {MI_SCR_GALLERY, MI_ACT_FLIP, {'b'}, "b", "swap before and after in place", "swap"},
    {MI_SCR_GALLERY, MI_ACT_CELL_RIGHT, {'c'}, "c", "next defended cell to compare", "cell"},
    {MI_SCR_GALLERY, MI_ACT_CELL_LEFT, {'C'}, "C", "next undefended cell to compare", NULL},
    {MI_SCR_GALLERY, MI_ACT_PHOTO, {'v'}, "v", "another private photo", NULL},
    {MI_SCR_GALLERY, MI_ACT_SHEETS, {'f'}, "f", "whole sheets: training batches, prior samples", "sheets"},
    {MI_SCR_GALLERY, MI_ACT_EXPORT, {'e'}, "e", "save what is shown as PNG files", NULL},
    /* Table */
    {MI_SCR_TABLE, MI_ACT_LEFT, {KEY_LEFT, 'h'}, "←→", "choose a column", "column"},
    {MI_SCR_TABLE, MI_ACT_SORT, {'s'}, "s", "sort by the chosen column", "sort"},
    {MI_SCR_TABLE, MI_ACT_REVERSE, {'r'}, "r", "reverse the order", "reverse"},
    {MI_SCR_TABLE, MI_ACT_FILTER, {'/'}, "/", "show rows that contain a text", "filter"},
    {MI_SCR_TABLE, MI_ACT_PUBLISHED, {'p'}, "p", "published rows on, off", "published"},
    {MI_SCR_TABLE, MI_ACT_MEAN, {'m'}, "m", "runs that differ only in their seeds as one row (3x: of 3)", "mean"},
    {MI_SCR_TABLE, MI_ACT_ENTER, {'\n', '\r', KEY_ENTER}, "Enter", "watch the row's run", "run"},
    {MI_SCR_TABLE, MI_ACT_COPY, {'y'}, "y", "copy the row to the clipboard", NULL},
    {MI_SCR_TABLE, MI_ACT_EXPORT, {'e'}, "e", "save the table (.md .csv .tex .txt)", "export"},
    /* Runs */
    {MI_SCR_RUNS, MI_ACT_ENTER, {'\n', '\r', KEY_ENTER}, "Enter", "watch the run", "open"},
    {MI_SCR_RUNS, MI_ACT_RESUME, {'r'}, "r", "resume a stopped or broken run", "resume"},
    {MI_SCR_RUNS, MI_ACT_STOP, {'x'}, "x", "stop the run (asks)", "stop"},
    {MI_SCR_RUNS, MI_ACT_OPEN, {'o'}, "o", "edit its experiment in Setup", "setup"},
    {MI_SCR_RUNS, MI_ACT_CHECK, {'c'}, "c", "check a checkpoint file (on the data of Setup)", "check"},
    {MI_SCR_RUNS, MI_ACT_DELETE, {'D'}, "D", "delete the run's folder (type its number)", "delete"},
    /* Log */
    {MI_SCR_LOG, MI_ACT_FOLLOW, {' '}, "Space", "follow the newest line", "follow"},
    {MI_SCR_LOG, MI_ACT_LEVEL, {'L'}, "L", "level: all, warnings, errors", "level"},
    {MI_SCR_LOG, MI_ACT_FILTER, {'/'}, "/", "show lines that contain a text", "filter"},
    {MI_SCR_LOG, MI_ACT_FIND_NEXT, {'n'}, "n N", "next, previous warning or error", "problem"},
    {MI_SCR_LOG, MI_ACT_FIND_PREV, {'N'}, "", "", NULL},
    /* everywhere */
    {ALL, MI_ACT_UP, {KEY_UP, 'k'}, "↑↓←→ hjkl", "move", NULL},
    {ALL, MI_ACT_DOWN, {KEY_DOWN, 'j'}, "", "", NULL},
    {ALL, MI_ACT_LEFT, {KEY_LEFT, 'h'}, "", "", NULL},
    {ALL, MI_ACT_RIGHT, {KEY_RIGHT, 'l'}, "", "", NULL},
    {ALL, MI_ACT_PGUP, {KEY_PPAGE, MI_CTRL('u')}, "PgUp PgDn", "page (Ctrl-U Ctrl-D)", NULL},
    {ALL, MI_ACT_PGDN, {KEY_NPAGE, MI_CTRL('d')}, "", "", NULL},
    {ALL, MI_ACT_HOME, {KEY_HOME, 'g'}, "g G", "first, last", NULL},
    {ALL, MI_ACT_END, {KEY_END, 'G'}, "", "", NULL},
    {ALL, MI_ACT_ENTER, {'\n', '\r', KEY_ENTER}, "Enter", "open", NULL},
    {ALL, MI_ACT_BACK, {27}, "Esc", "back; never quits", NULL},
    {ALL, MI_ACT_SCREEN, {'1', '2', '3'}, "1..6 Tab", "go to a screen", NULL},
    {ALL, MI_ACT_SCREEN, {'4', '5', '6'}, "", "", NULL},
    {ALL, MI_ACT_NEXT, {'\t'}, "", "", NULL},
    {ALL, MI_ACT_PREV, {KEY_BTAB}, "Shift-Tab", "previous field or screen", NULL},
    {ALL, MI_ACT_HELP, {'?', KEY_F(1)}, "? F1", "this help", NULL},
    {ALL, MI_ACT_THEME, {'t'}, "t", "theme: auto, light, dark, mono", NULL},
    {ALL, MI_ACT_GLYPHS, {'u'}, "u", "curves in braille, blocks, ascii", NULL},
    {ALL, MI_ACT_REPAINT, {MI_CTRL('l')}, "Ctrl-L", "repaint everything", NULL},
    {ALL, MI_ACT_SUSPEND, {MI_CTRL('z')}, "Ctrl-Z", "suspend the screen; runs go on", NULL},
    {ALL, MI_ACT_QUIT, {'q', KEY_F(10)}, "q F10", "quit (asks while a run is going)", NULL},
    {ALL, MI_ACT_INTERRUPT, {MI_CTRL('c')}, "Ctrl-C", "quit question; twice leaves the run running", NULL},
};

const struct mi_key *mi_key_table(size_t *n) {
    *n = sizeof table / sizeof *table;
    return table;
}

enum mi_act mi_key_action(enum mi_screen screen, int code) {
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
            if (table[k].screen != (pass ? MI_KEY_ANYWHERE : (int)screen)) continue;
            for (int j = 0; j < 3; j++)
                if (table[k].code[j] == code && code != 0) return table[k].act;
        }
    return MI_ACT_NONE;
}

bool mi_act_scroll(enum mi_act act, int page, int n, int *at) {
    int to = *at;
    switch (act) {
    case MI_ACT_UP:
        to--;
        break;
    case MI_ACT_DOWN:
        to++;
        break;
    case MI_ACT_PGUP:
        to -= page;
        break;
    case MI_ACT_PGDN:
        to += page;
        break;
    case MI_ACT_HOME:
        to = 0;
        break;
    case MI_ACT_END:
        to = n - 1;
        break;
    default:
        return false;
    }
    if (to >= n) to = n - 1;
    *at = to < 0 ? 0 : to;
    return true;
}
