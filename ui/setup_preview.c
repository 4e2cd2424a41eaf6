/* ui/setup_preview.c - Setup's look at training photos under a defense: the engine makes it beside, a popup shows it.
 *
 * One at a time.  The engine is a child of this program (midre/preview.h) and ends with it; app.c reaps it and hands
 * its exit status to every screen.  A picture that comes while a person is busy elsewhere waits to be asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/screen.h"
#include "ui/setup.h"

#define TEXT_ROWS 4 /* lines a picture usually has under it, before they are known */

static struct mi_setup_preview *state(const struct mi_ui *ui) {
    struct mi_setup *s = ui->state[MI_SCR_SETUP];
    return &s->preview;
}

static void forget(struct mi_setup_preview *p) {
    mi_preview_close(&p->engine);
    mi_image_free(&p->picture);
    free(p->defense);
    free(p->text);
    *p = (struct mi_setup_preview){0};
}

void mi_setup_preview_close(struct mi_ui *ui) {
    forget(state(ui));
}

/* As many photos as fill the picture's room.  Four text rows show a face in sixel, but not in half blocks. */
static void count_photos(const struct mi_ui *ui, int *rows, int *cols) {
    struct mi_picture_page page;
    mi_layout_picture(ui->layout.rows, ui->layout.cols, TEXT_ROWS, &page);
    struct mi_rect r = page.picture;
    struct mi_picture_box box = {.cols = r.w, .rows = r.h, .cell_w = ui->probe.cell_w, .cell_h = ui->probe.cell_h};
    int tall = 6, tile = 1;
    if (mi_pics_mode(ui->pics) == MI_PIC_SIXEL) {
        mi_picture_limit(&ui->probe, &box);
        tall = 4, tile = (int)mi_values_int(ui->spec->section[MI_SEC_DATA], "size");
    }
    r.w = box.cols, r.h = box.rows;
    mi_layout_photos(r, box.cell_w, box.cell_h, tall, tile, rows, cols);
}

static void start(struct mi_ui *ui, const struct mi_field *focus) {
    struct mi_setup_preview *p = state(ui);
    struct mi_preview_want want = {
        .spec = ui->spec, .workspace = ui->ws->root, .defense = mi_form_defense(ui->spec, focus), .quiet = true};
    count_photos(ui, &want.rows, &want.cols);
    const char *all = mi_values_text(ui->spec->section[MI_SEC_DEFENSE], "name");
    bool none = !strcmp(want.defense, "none"), one = !strcmp(want.defense, all);
    if (strlen(want.defense) + strlen(all) > 40) all = "several"; /* fits 80 columns */
    snprintf(p->title, sizeof p->title, "Training photos %s%s%s%s%s", none ? "without a defense" : "under ",
             none ? "" : want.defense, one ? "" : " (one of ", one ? "" : all, one ? "" : ")");
    p->defense = mi_strdup(want.defense);
    if (!p->defense || mi_preview_start(&p->engine, &want) != MI_OK) {
        mi_ui_say_error(ui);
        forget(p);
    }
}

static void show(struct mi_ui *ui) {
    struct mi_setup_preview *p = state(ui);
    mi_popup_picture(ui, p->title, p->text, &p->picture);
    forget(p);
}

void mi_setup_preview_act(struct mi_ui *ui, const struct mi_field *focus) {
    struct mi_setup_preview *p = state(ui);
    ui->message[0] = 0; /* the note below takes its place */
    if (p->picture.rgb)
        show(ui);
    else if (p->engine.pid)
        mi_preview_stop(&p->engine);
    else
        start(ui, focus);
}

bool mi_setup_note(const struct mi_ui *ui, char *text, size_t size) {
    const struct mi_setup_preview *p = state(ui);
    if (p->picture.rgb)
        snprintf(text, size, "the preview of %s is ready (p shows it)", p->defense);
    else if (p->engine.pid && p->engine.stopped)
        snprintf(text, size, "stopping the preview of %s ...", p->defense);
    else if (p->engine.pid)
        snprintf(text, size, "making the preview of %s ... (p again stops it)", p->defense);
    else
        return false;
    return true;
}

void mi_setup_ended(struct mi_ui *ui, int pid, int wait_status) {
    struct mi_setup_preview *p = state(ui);
    bool here = ui->screen == MI_SCR_SETUP && ui->popup.kind == MI_POPUP_NONE;
    if (!p->engine.pid || pid != p->engine.pid) return;
    p->engine.pid = 0;
    if (p->engine.stopped) {
        mi_ui_say(ui, "the preview of %s was stopped", p->defense);
        forget(p);
    } else if (mi_preview_outcome(&p->engine, wait_status, &p->text) != MI_OK ||
               mi_image_read(p->engine.picture, &p->picture) != MI_OK) {
        if (ui->screen != MI_SCR_SETUP) mi_fail_context("preview of %s", p->defense);
        mi_ui_say_error(ui);
        forget(p);
    } else if (here) {
        show(ui);
    } else {
        mi_preview_close(&p->engine);
        mi_ui_say(ui, "the preview of %s is ready: p on Setup shows it", p->defense);
    }
}
