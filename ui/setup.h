/* ui/setup.h - what scr_setup.c (keys, values) and setup_panels.c (drawing) share.  Private to these two. */
#ifndef MIDRE_SETUP_H
#define MIDRE_SETUP_H

#include "ui/form.h"

struct mi_setup {
    struct mi_form short_form, long_form;
    int at, at_all, top, top_all; /* focus and first row shown, per form */
    bool all;                     /* the long form has the focus */
    const void *built_for;        /* the spec the forms were built from */
};
struct mi_ui;
struct mi_form *mi_setup_form(struct mi_setup *s); /* the one with the focus */
int *mi_setup_at(struct mi_setup *s);
void mi_setup_draw(struct mi_ui *ui);

#endif
