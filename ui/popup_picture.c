/* ui/popup_picture.c - a picture over the whole screen: its room and its text (see popup.h).
 *
 * Which pixels go to the terminal how is the business of pics.c; here is only said where.  The frame calls this after
 * it has taken away the pictures under the popup, so that this one stays. */
#include "ui/screen.h"

void mi_picture_draw(struct mi_ui *ui) {
    const struct mi_popup *p = &ui->popup;
    const struct mi_theme *t = &ui->theme;
    struct mi_picture_page page;
    mi_layout_picture(ui->layout.rows, ui->layout.cols, mi_wrap_rows(p->text, ui->layout.cols - 4), &page);
    enum mi_picture_mode mode = mi_pics_mode(ui->pics);
    if (mode == MI_PIC_OFF)
        mi_put(t, page.picture.y, page.picture.x, page.picture.w, MI_INK_DIM, "Pictures are off; i shows them.");
    else
        mi_pics_want(ui->pics, page.picture, p->image_key, &p->image);
    mi_wrap(t, page.text, MI_INK_TEXT, p->text);
    mi_putf(t, page.keys.y, page.keys.x, page.keys.w, MI_INK_ACCENT, "Esc close  i images: %s",
            mi_picture_mode_name(mode));
}
