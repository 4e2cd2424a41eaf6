/* ui/scr_help.c - the help overlay: the key table as it stands, this screen first, searchable. */
#include <stdio.h>

#include "ui/screen.h"

/* Row `want` of the help text into cap and words; false past the end.  A NULL cap is a heading. */
static bool help_row(const struct mi_ui *ui, int want, char *cap, size_t cap_size, char *words, size_t words_size) {
    char search[256];
    size_t n;
    const struct mi_key *keys = mi_key_table(&n);
    int row = 0;
    mi_edit_get(&ui->popup.edit, search, sizeof search);
    for (int pass = 0; pass < 2; pass++) {
        int screen = pass ? MI_KEY_ANYWHERE : (int)ui->screen;
        if (row++ == want) {
            cap[0] = 0;
            snprintf(words, words_size, pass ? "Everywhere" : "%s screen", mi_screen_at(ui->screen)->title);
            return true;
        }
        for (size_t k = 0; k < n; k++) {
            if (keys[k].screen != screen || !keys[k].cap[0]) continue;
            if (!mi_contains(keys[k].words, search) && !mi_contains(keys[k].cap, search)) continue;
            if (row++ != want) continue;
            snprintf(cap, cap_size, "%s", keys[k].cap);
            snprintf(words, words_size, "%s", keys[k].words);
            return true;
        }
    }
    return false;
}

int mi_help_rows(const struct mi_ui *ui) {
    char cap[32], words[128];
    int n = 0;
    while (help_row(ui, n, cap, sizeof cap, words, sizeof words)) n++;
    return n;
}

void mi_help_draw(struct mi_ui *ui, struct mi_rect r) {
    const struct mi_theme *t = &ui->theme;
    char cap[32], words[128], search[256];
    int rows = mi_help_rows(ui), list = r.h - 1;
    for (int k = 0; k < list && help_row(ui, ui->popup.top + k, cap, sizeof cap, words, sizeof words); k++) {
        if (!cap[0]) {
            mi_put(t, r.y + k, r.x, r.w, MI_INK_TITLE, words);
            continue;
        }
        mi_put(t, r.y + k, r.x + 1, 11, MI_INK_ACCENT, cap);
        mi_put(t, r.y + k, r.x + 13, r.w - 13, MI_INK_TEXT, words);
    }
    mi_edit_get(&ui->popup.edit, search, sizeof search);
    if (ui->popup.number || search[0]) {
        int w = mi_putf(t, r.y + list, r.x, r.w, MI_INK_ACCENT, "/%s", search);
        ui->cursor_y = r.y + list, ui->cursor_x = r.x + w;
        ui->cursor_on = ui->popup.number != 0;
    } else {
        mi_putf(t, r.y + list, r.x, r.w, MI_INK_DIM, "? Esc close   / search%s",
                rows > list ? "   PgUp PgDn more" : "");
    }
}
