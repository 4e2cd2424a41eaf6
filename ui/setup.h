/* ui/setup.h - what scr_setup.c (keys, values), setup_panels.c (drawing) and setup_preview.c share.  Private. */
#ifndef MIDRE_SETUP_H
#define MIDRE_SETUP_H

#include "midre/image.h"
#include "midre/preview.h"
#include "ui/form.h"

struct mi_setup_preview {
    struct mi_preview engine; /* pid 0: none at work */
    struct mi_image picture;  /* made, not shown yet */
    char *defense, *text, title[160];
};

struct mi_setup {
    struct mi_form short_form, long_form;
    int at, at_all, top, top_all; /* focus and first row shown, per form */
    bool all;                     /* the long form has the focus */
    const void *built_for;        /* the spec the forms were built from */
    struct mi_setup_preview preview;
};
struct mi_ui;
struct mi_form *mi_setup_form(struct mi_setup *s); /* the one with the focus */
int *mi_setup_at(struct mi_setup *s);
void mi_setup_draw(struct mi_ui *ui);

/* Starts a preview, or stops the one at work, or shows the one that waits. */
void mi_setup_preview_act(struct mi_ui *ui, const struct mi_field *focus);
bool mi_setup_note(const struct mi_ui *ui, char *text, size_t size);
void mi_setup_ended(struct mi_ui *ui, int pid, int wait_status);
void mi_setup_preview_close(struct mi_ui *ui);

#endif
