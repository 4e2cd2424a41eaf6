/* src/cli/draw.c - one picture where the cursor is, in the best form the terminal has (asked over /dev/tty). */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "ui/picture.h"

#define PROBE_MS 1000

static int terminal_colours(const struct mi_probe *p) {
    const char *term = getenv("TERM");
    if (p->truecolor || (term && strstr(term, "256color"))) return 256;
    return term && strcmp(term, "dumb") != 0 ? 8 : 0;
}

enum mi_status cli_draw(const struct mi_image *img, const char *word, int rows) {
    struct mi_probe p = {0};
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty >= 0) {
        mi_probe_terminal(&p, tty, PROBE_MS);
        close(tty);
    }
    enum mi_picture_mode mode;
    MI_TRY(mi_picture_choose(&p, word, terminal_colours(&p), &mode));
    if (mode == MI_PIC_OFF) return MI_OK;
    struct mi_picture_box box = {.cols = cli_width(stdout) - 1,
                                 .rows = rows,
                                 .cell_w = p.cell_w > 0 ? p.cell_w : 10,
                                 .cell_h = p.cell_h > 0 ? p.cell_h : 20,
                                 .light = p.background_known && p.background_light};
    if (mode == MI_PIC_SIXEL) mi_picture_limit(&p, &box);
    struct mi_picture pic = {0};
    MI_TRY(mi_picture_encode(img, mode, &box, &pic));
    fputc('\n', stdout);
    fwrite(pic.bytes, 1, pic.n, stdout);
    if (mode == MI_PIC_SIXEL) fputc('\n', stdout);
    mi_picture_free(&pic);
    return MI_OK;
}
