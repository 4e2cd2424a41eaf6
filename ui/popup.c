/* ui/popup.c - questions, one-line editing, lists to pick from; the frame around help and pictures (see popup.h). */
#include "ui/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one line of text --------------------------------------------------------------------------------- */

void mi_edit_set(struct mi_edit *e, const char *utf8) {
    e->n = 0;
    for (uint32_t c; e->n < MI_EDIT_MAX - 1 && (c = mi_utf8_next(&utf8));) e->text[e->n++] = (wchar_t)c;
    e->at = e->n;
}

void mi_edit_get(const struct mi_edit *e, char *out, size_t size) {
    size_t n = 0;
    for (int k = 0; k < e->n; k++) {
        uint32_t c = (uint32_t)e->text[k];
        char u[4];
        size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (size_t j = len - 1; j > 0; j--, c >>= 6) u[j] = (char)(0x80 | (c & 0x3f));
        u[0] = (char)(len == 1 ? c : (0xf0u << (4 - len) & 0xffu) | c);
        if (n + len + 1 > size) break;
        memcpy(out + n, u, len);
        n += len;
    }
    if (size) out[n] = 0;
}

static void edit_delete(struct mi_edit *e, int at) {
    if (at < 0 || at >= e->n) return;
    memmove(e->text + at, e->text + at + 1, (size_t)(e->n - at - 1) * sizeof *e->text);
    e->n--;
    if (e->at > at) e->at--;
}

bool mi_edit_key(struct mi_edit *e, int code) {
    switch (code) {
    case KEY_LEFT:
        e->at -= e->at > 0;
        return true;
    case KEY_RIGHT:
        e->at += e->at < e->n;
        return true;
    case KEY_HOME:
    case MI_CTRL('a'):
        e->at = 0;
        return true;
    case KEY_END:
    case MI_CTRL('e'):
        e->at = e->n;
        return true;
    case KEY_BACKSPACE:
    case 127:
    case 8:
        edit_delete(e, e->at - 1);
        return true;
    case KEY_DC:
        edit_delete(e, e->at);
        return true;
    case MI_CTRL('u'):
        e->n = e->at = 0;
        return true;
    default:
        break;
    }
    if (code >= MI_KEY_WIDE)
        code -= MI_KEY_WIDE;
    else if (code < 32 || code > 255)
        return false;
    if (e->n >= MI_EDIT_MAX - 1) return true;
    memmove(e->text + e->at + 1, e->text + e->at, (size_t)(e->n - e->at) * sizeof *e->text);
    e->text[e->at++] = (wchar_t)code;
    e->n++;
    return true;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

void mi_popup_close(struct mi_ui *ui) {
    struct mi_popup *p = &ui->popup;
    for (int k = 0; k < p->n_picks; k++) {
        free(p->picks[k].value);
        free(p->picks[k].title);
        free(p->picks[k].help);
    }
    free(p->picks);
    mi_image_free(&p->image);
    memset(p, 0, sizeof *p);
    ui->dirty = true;
}

static struct mi_popup *begin(struct mi_ui *ui, enum mi_popup_kind kind, const char *title, const char *text,
                              mi_popup_done done) {
    mi_popup_close(ui);
    struct mi_popup *p = &ui->popup;
    p->kind = kind;
    snprintf(p->title, sizeof p->title, "%s", title);
    snprintf(p->text, sizeof p->text, "%s", text);
    p->done = done;
    return p;
}

void mi_popup_ask(struct mi_ui *ui, const char *title, const char *text, const struct mi_choice *c, int n,
                  mi_popup_done done) {
    struct mi_popup *p = begin(ui, MI_POPUP_ASK, title, text, done);
    for (int k = 0; k < n && k < 4; k++) p->choice[p->n_choices++] = c[k];
}

void mi_popup_line(struct mi_ui *ui, const char *title, const char *text, const char *initial, mi_popup_done done) {
    struct mi_popup *p = begin(ui, MI_POPUP_LINE, title, text, done);
    mi_edit_set(&p->edit, initial);
}

void mi_popup_pick(struct mi_ui *ui, const char *title, const char *text, struct mi_pick *picks, int n, bool many,
                   mi_popup_done done) {
    struct mi_popup *p = begin(ui, MI_POPUP_PICK, title, text, done);
    p->picks = picks, p->n_picks = n, p->many = many;
    for (int k = n - 1; k >= 0; k--)
        if (picks[k].on) p->at = k;
}

void mi_popup_help(struct mi_ui *ui) {
    begin(ui, MI_POPUP_HELP, "Keys", "", NULL);
}

void mi_popup_picture(struct mi_ui *ui, const char *title, const char *text, struct mi_image *image) {
    static uint64_t shown;
    struct mi_popup *p = begin(ui, MI_POPUP_PICTURE, title, text, NULL);
    p->image = *image;
    p->image_key = ++shown; /* the Gallery's keys are hashes of file names: they do not come near */
    *image = (struct mi_image){0};
}

/* Closes, then tells the owner: the owner may open another popup from there. */
static void finish(struct mi_ui *ui, int key, const char *text) {
    mi_popup_done done = ui->popup.done;
    int number = ui->popup.number;
    mi_popup_close(ui);
    ui->popup.number = number;
    if (done) done(ui, key, text);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static bool is_enter(int code) {
    return code == '\n' || code == '\r' || code == KEY_ENTER;
}

static void pick_finish(struct mi_ui *ui) {
    struct mi_popup *p = &ui->popup;
    char text[2048] = "";
    size_t n = 0;
    for (int k = 0; k < p->n_picks; k++) {
        if (p->many ? !p->picks[k].on : k != p->at) continue;
        int more = snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", p->picks[k].value);
        if (more < 0 || n + (size_t)more >= sizeof text) break;
        n += (size_t)more;
    }
    finish(ui, '\n', text);
}

static void pick_key(struct mi_ui *ui, int code) {
    struct mi_popup *p = &ui->popup;
    if (code == KEY_DOWN || code == 'j')
        p->at += p->at + 1 < p->n_picks;
    else if (code == KEY_UP || code == 'k')
        p->at -= p->at > 0;
    else if (code == KEY_HOME || code == 'g')
        p->at = 0;
    else if (code == KEY_END || code == 'G')
        p->at = p->n_picks - 1;
    else if (code == ' ' && p->many)
        p->picks[p->at].on = !p->picks[p->at].on;
    else if (code == 'e' && p->many)
        finish(ui, 'e', "");
    else if (is_enter(code))
        pick_finish(ui);
}

static void help_key(struct mi_ui *ui, int code) {
    struct mi_popup *p = &ui->popup;
    int rows = mi_help_rows(ui), page = mi_popup_rect(ui).h - 3;
    if (p->number) { /* typing a search */
        if (is_enter(code))
            p->number = 0;
        else
            mi_edit_key(&p->edit, code);
        p->top = 0;
        return;
    }
    if (code == 'q' || code == '?' || code == KEY_F(1))
        mi_popup_close(ui);
    else if (code == '/')
        p->number = 1;
    else if (code == KEY_DOWN || code == 'j')
        p->top++;
    else if (code == KEY_UP || code == 'k')
        p->top--;
    else if (code == KEY_NPAGE || code == MI_CTRL('d') || code == ' ')
        p->top += page;
    else if (code == KEY_PPAGE || code == MI_CTRL('u'))
        p->top -= page;
    if (p->top > rows - page) p->top = rows - page;
    if (p->top < 0) p->top = 0;
}

void mi_popup_key(struct mi_ui *ui, int code) {
    struct mi_popup *p = &ui->popup;
    ui->dirty = true;
    if (code == 27) {
        finish(ui, 27, "");
        return;
    }
    char text[4 * MI_EDIT_MAX];
    switch (p->kind) {
    case MI_POPUP_ASK:
        for (int k = 0; k < p->n_choices; k++)
            if (p->choice[k].key == code || (p->choice[k].key == '\n' && is_enter(code))) {
                finish(ui, p->choice[k].key, "");
                return;
            }
        break;
    case MI_POPUP_LINE:
        if (is_enter(code)) {
            mi_edit_get(&p->edit, text, sizeof text);
            finish(ui, '\n', text);
        } else {
            mi_edit_key(&p->edit, code);
        }
        break;
    case MI_POPUP_PICK:
        pick_key(ui, code);
        break;
    case MI_POPUP_HELP:
        help_key(ui, code);
        break;
    case MI_POPUP_PICTURE:
        if (code == 'i')
            mi_ui_next_images(ui);
        else if (is_enter(code) || code == 'q' || code == 'p')
            mi_popup_close(ui);
        break;
    default:
        break;
    }
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

struct mi_rect mi_popup_rect(const struct mi_ui *ui) {
    const struct mi_popup *p = &ui->popup;
    int rows = ui->layout.rows, cols = ui->layout.cols, w = cols - 4 < 66 ? cols - 4 : 66, h = 8;
    if (p->kind == MI_POPUP_NONE) return (struct mi_rect){0};
    if (p->kind == MI_POPUP_PICTURE) return ui->layout.body;
    if (p->kind == MI_POPUP_ASK) h = 5 + p->n_choices + mi_text_width(p->text) / (w - 4);
    if (p->kind == MI_POPUP_PICK) h = p->n_picks + 8;
    if (p->kind == MI_POPUP_HELP) h = mi_help_rows(ui) + 3;
    if (h > rows - 2) h = rows - 2;
    return (struct mi_rect){(rows - h) / 2, (cols - w) / 2, h, w};
}

static void draw_line(struct mi_ui *ui, struct mi_rect in) {
    const struct mi_edit *e = &ui->popup.edit;
    char text[4 * MI_EDIT_MAX];
    struct mi_edit tail = {0};
    int from = e->at > in.w - 2 ? e->at - (in.w - 2) : 0; /* scrolls so that the cursor stays visible */
    tail.n = e->n - from;
    memcpy(tail.text, e->text + from, (size_t)tail.n * sizeof *tail.text);
    mi_edit_get(&tail, text, sizeof text);
    struct mi_rect row = {in.y, in.x, 1, in.w};
    mi_fill(&ui->theme, row, MI_INK_TEXT, A_UNDERLINE);
    mi_put_attr(&ui->theme, in.y, in.x, in.w, MI_INK_TEXT, A_UNDERLINE, text);
    ui->cursor_y = in.y, ui->cursor_x = in.x + e->at - from;
    ui->cursor_on = true;
}

static void draw_picks(struct mi_ui *ui, struct mi_rect in) {
    struct mi_popup *p = &ui->popup;
    const struct mi_theme *t = &ui->theme;
    int list = in.h - 4 < 1 ? in.h : in.h - 4;
    if (p->at < p->top) p->top = p->at;
    if (p->at >= p->top + list) p->top = p->at - list + 1;
    for (int k = 0; k < list && p->top + k < p->n_picks; k++) {
        const struct mi_pick *q = &p->picks[p->top + k];
        bool here = p->top + k == p->at;
        char line[256];
        snprintf(line, sizeof line, "%s %s%-14s %s", here ? ">" : " ", p->many ? q->on ? "[x] " : "[ ] " : "", q->value,
                 q->title);
        mi_put_attr(t, in.y + k, in.x, in.w, MI_INK_TEXT, here ? A_REVERSE : 0, line);
        if (here) ui->cursor_y = in.y + k, ui->cursor_x = in.x;
    }
    if (list == in.h) return;
    mi_wrap(t, (struct mi_rect){in.y + list, in.x, 3, in.w}, MI_INK_DIM, p->n_picks ? p->picks[p->at].help : "");
    mi_put(t, in.y + in.h - 1, in.x, in.w, MI_INK_ACCENT,
           !p->many     ? "Enter take  Esc back"
           : in.w >= 55 ? "Space pick  Enter take  e type (a+b, a:key=1)  Esc back"
                        : "Space pick  Enter take  Esc back");
}

void mi_popup_draw(struct mi_ui *ui) {
    struct mi_popup *p = &ui->popup;
    const struct mi_theme *t = &ui->theme;
    if (p->kind == MI_POPUP_NONE) return;
    struct mi_rect r = mi_popup_rect(ui);
    mi_fill(t, r, MI_INK_TEXT, 0);
    struct mi_rect in = mi_box(t, r, p->title);
    in.x++, in.w -= 2;
    ui->cursor_y = in.y, ui->cursor_x = in.x;
    if (p->kind == MI_POPUP_PICTURE) {
        mi_picture_draw(ui);
        return;
    }
    if (p->kind == MI_POPUP_HELP) {
        mi_help_draw(ui, in);
        return;
    }
    if (p->kind == MI_POPUP_PICK) {
        draw_picks(ui, in);
        return;
    }
    int keep = p->kind == MI_POPUP_LINE && in.h > 2 ? 2 : 0; /* the line and its keys stay inside a low box */
    int used = mi_wrap(t, (struct mi_rect){in.y, in.x, in.h - keep, in.w}, MI_INK_TEXT, p->text);
    if (!keep || in.h - used >= 3) used++;
    in.y += used, in.h -= used;
    if (p->kind == MI_POPUP_LINE) {
        draw_line(ui, in);
        mi_put(t, in.y + (in.h >= 3 ? 2 : 1), in.x, in.w, MI_INK_ACCENT, "Enter take  Esc back");
        return;
    }
    for (int k = 0; k < p->n_choices && k < in.h; k++) {
        mi_put(t, in.y + k, in.x, 8, MI_INK_ACCENT, p->choice[k].cap);
        mi_put(t, in.y + k, in.x + 8, in.w - 8, MI_INK_TEXT, p->choice[k].words);
    }
}
