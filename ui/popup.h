/* ui/popup.h - the one thing that can lie over a screen: a question, a line to type, a list, help, a picture.
 *
 * A popup is plain data plus a function called when it closes.  Esc always closes it without consequence. */
#ifndef MIDRE_POPUP_H
#define MIDRE_POPUP_H

#include <wchar.h>

#include "midre/image.h"
#include "ui/layout.h"

struct mi_ui;

#define MI_EDIT_MAX 1024
struct mi_edit {
    wchar_t text[MI_EDIT_MAX];
    int n, at;
};
void mi_edit_set(struct mi_edit *e, const char *utf8);
void mi_edit_get(const struct mi_edit *e, char *utf8, size_t size);
bool mi_edit_key(struct mi_edit *e, int code); /* true when the key was for editing */

struct mi_choice {
    int key;
    const char *cap, *words;
};
struct mi_pick {
    char *value, *title, *help;
    bool on;
};

enum mi_popup_kind { MI_POPUP_NONE, MI_POPUP_ASK, MI_POPUP_LINE, MI_POPUP_PICK, MI_POPUP_HELP, MI_POPUP_PICTURE };
/* key: the choice's key, '\n' for a finished line or list (text: the line, or picked values ", " joined), 27 for Esc.
 */
typedef void (*mi_popup_done)(struct mi_ui *ui, int key, const char *text);

struct mi_popup {
    enum mi_popup_kind kind;
    char title[160], text[1200];
    struct mi_choice choice[4];
    int n_choices;
    struct mi_edit edit;
    struct mi_pick *picks;
    int n_picks, at, top;
    bool many;             /* several picks may be on */
    struct mi_image image; /* of a picture */
    uint64_t image_key;    /* its name to the owner of the pictures */
    mi_popup_done done;
    int number; /* for the caller: which run, field ... */
};

void mi_popup_ask(struct mi_ui *ui, const char *title, const char *text, const struct mi_choice *c, int n,
                  mi_popup_done done);
void mi_popup_line(struct mi_ui *ui, const char *title, const char *text, const char *initial, mi_popup_done done);
/* Takes `picks` (n of them, strings too). */
void mi_popup_pick(struct mi_ui *ui, const char *title, const char *text, struct mi_pick *picks, int n, bool many,
                   mi_popup_done done);
void mi_popup_help(struct mi_ui *ui);
/* A picture as large as the screen allows, `text` under it.  Takes the image. */
void mi_popup_picture(struct mi_ui *ui, const char *title, const char *text, struct mi_image *image);
void mi_popup_close(struct mi_ui *ui); /* without calling done */
void mi_popup_key(struct mi_ui *ui, int code);
struct mi_rect mi_popup_rect(const struct mi_ui *ui);
void mi_popup_draw(struct mi_ui *ui);
void mi_help_draw(struct mi_ui *ui, struct mi_rect r); /* scr_help.c */
int mi_help_rows(const struct mi_ui *ui);
void mi_picture_draw(struct mi_ui *ui); /* popup_picture.c */

#endif
