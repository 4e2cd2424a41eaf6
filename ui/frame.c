/* ui/frame.c - composes a frame (see app.c for when).  The tab row and the status row belong to it, the body to the
 * screen.  The status row takes its words from the key table, or shows the message of the moment. */
#include "ui/frame.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ui/screen.h"
#include "ui/term.h"

static void draw_tabs(struct mi_ui *ui) {
    const struct mi_theme *t = &ui->theme;
    struct mi_rect r = ui->layout.tabs;
    int x = 1;
    if (ui->layout.size <= MI_SIZE_SMALL) {
        char tab[64];
        snprintf(tab, sizeof tab, "[%d %s]", ui->screen + 1, mi_screen_at(ui->screen)->title);
        x += mi_put(t, 0, x, r.w, MI_INK_ACCENT, "midre ");
        x += mi_put(t, 0, x, r.w, MI_INK_TITLE, tab);
        mi_put(t, 0, x + 1, r.w, MI_INK_DIM, "1-6 screens");
    } else {
        x += mi_put(t, 0, x, 8, MI_INK_ACCENT, "midre ");
        for (int k = 0; k < MI_SCR_COUNT; k++) {
            char tab[64];
            bool here = k == (int)ui->screen;
            snprintf(tab, sizeof tab, here ? "[%d %s]" : " %d %s ", k + 1, mi_screen_at((enum mi_screen)k)->title);
            x += mi_put(t, 0, x, r.w, here ? MI_INK_TITLE : MI_INK_DIM, tab);
        }
    }
    mi_put(t, 0, r.w - 7, 7, MI_INK_ACCENT, "? help");
}

/* "● run 7 attack 38%": what a glance should tell.  Returns the columns it used; none where the `taken` ones at the
 * left, if any, leave too few. */
static int draw_run_state(struct mi_ui *ui, int taken) {
    char text[96];
    enum mi_ink ink;
    const char *word = mi_ui_state_word(ui, &ink);
    struct mi_rect r = ui->layout.foot;
    if (!ui->view)
        snprintf(text, sizeof text, "no run");
    else if (ui->view->current >= 0 && (size_t)ui->view->current < ui->view->n_stages)
        snprintf(text, sizeof text, "● run %d %s %.0f%% %s", ui->run, ui->view->stages[ui->view->current].kind,
                 100 * mi_view_fraction(ui->view), ui->frozen ? "FROZEN" : word);
    else
        snprintf(text, sizeof text, "● run %d %s", ui->run, ui->frozen ? "FROZEN" : word);
    int w = mi_text_width(text);
    if (w + 2 > r.w - taken) {
        if (taken) return 0;
        w = r.w - 2;
    }
    mi_put(&ui->theme, r.y, r.w - w - 1, w, ink, text);
    return w + 2;
}

static void draw_foot(struct mi_ui *ui) {
    const struct mi_theme *t = &ui->theme;
    struct mi_rect r = ui->layout.foot;
    char clipped[512], note[256];
    if (ui->message[0]) {
        mi_text_clip(clipped, sizeof clipped, ui->message, r.w - 2);
        mi_put(t, r.y, 1, r.w - 2, ui->message_bad ? MI_INK_BAD : MI_INK_GOOD, clipped);
        return;
    }
    const struct mi_screen_desc *s = mi_screen_at(ui->screen);
    if (s->note && s->note(ui, note, sizeof note)) {
        int left = r.w - draw_run_state(ui, mi_text_width(note) + 1);
        mi_text_clip(clipped, sizeof clipped, note, left - 2);
        mi_put(t, r.y, 1, left - 2, MI_INK_ACCENT, clipped);
        return;
    }
    int room = r.w - draw_run_state(ui, 0), x = 1;
    size_t n;
    const struct mi_key *keys = mi_key_table(&n);
    for (size_t k = 0; k < n; k++) {
        if (keys[k].screen != (int)ui->screen || !keys[k].foot) continue;
        int w = mi_text_width(keys[k].cap) + 1 + mi_text_width(keys[k].foot) + 2;
        if (x + w > room) break;
        int at = x + mi_put(t, r.y, x, w, MI_INK_ACCENT, keys[k].cap) + 1;
        mi_put(t, r.y, at, w, MI_INK_TEXT, keys[k].foot);
        x += w;
    }
}

static void draw_screen(struct mi_ui *ui) {
    struct mi_layout_want want = {.pics = 3, .strips = 2};
    const struct mi_screen_desc *s = mi_screen_at(ui->screen);
    if (s->want) s->want(ui, &want);
    mi_layout_make(ui->screen, LINES, COLS, &want, &ui->layout);
    if (ui->layout.size == MI_SIZE_NONE) {
        mi_put(&ui->theme, 0, 0, COLS, MI_INK_TEXT, "need 40x10");
        return;
    }
    draw_tabs(ui);
    s->draw(ui);
    draw_foot(ui);
    if (ui->popup.kind == MI_POPUP_NONE) return;
    mi_pics_hide(ui->pics, mi_popup_rect(ui));
    mi_popup_draw(ui);
}

static void draw_title(struct mi_ui *ui) {
    char title[64] = "midre";
    enum mi_ink ink;
    if (ui->view && ui->engine_alive)
        snprintf(title, sizeof title, "%.0f%% run %d - midre", 100 * mi_view_fraction(ui->view), ui->run);
    else if (ui->view)
        snprintf(title, sizeof title, "run %d %s - midre", ui->run, mi_ui_state_word(ui, &ink));
    mi_term_title(title);
}

void mi_frame_draw(struct mi_ui *ui) {
    ui->dirty = false;
    ui->frames++;
    ui->last_draw = ui->now;
    ui->cursor_on = false;
    ui->cursor_y = LINES - 1, ui->cursor_x = 0;
    erase();
    mi_pics_begin(ui->pics);
    draw_screen(ui);
    move(ui->cursor_y < LINES ? ui->cursor_y : 0, ui->cursor_x < COLS ? ui->cursor_x : 0);
    wnoutrefresh(stdscr);
    mi_term_sync(ui, true);
    mi_pics_erase(ui->pics, ui->theme.light);
    curs_set(ui->cursor_on ? 1 : 0);
    doupdate();
    mi_term_sync(ui, false);
    draw_title(ui);
}
