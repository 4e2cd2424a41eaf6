/* ui/picture.c - RGB pixels into terminal bytes: sixel (through libsixel), half blocks, shaded ASCII.
 *
 * The idea: first fit the picture into a box of whole cells, then write it in one of four ways.  Fitting grows small
 * pictures by a whole factor with nearest neighbour (a 64-pixel reconstruction stays 64 honest pixels) and shrinks
 * large ones with the antialiased filter.  A sixel band is six pixels high, so the height is kept to what fits the
 * box when rounded up to a band: a picture never spills into the row below its box.
 * Half blocks show two pixels a cell with foreground and background colour; ASCII shows brightness only, one
 * character a cell, sampled on cells twice as high as wide.
 * Owns nothing beyond a call; the caller frees struct mi_picture.  Touches no terminal. */
#include "ui/picture.h"

#include <sixel/sixel.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[MI_PIC_COUNT] = {"off", "ascii", "half256", "half", "sixel"};

const char *mi_picture_mode_name(enum mi_picture_mode m) {
    return m >= 0 && m < MI_PIC_COUNT ? mode_names[m] : "?";
}

void mi_picture_free(struct mi_picture *p) {
    free(p->bytes);
    memset(p, 0, sizeof *p);
}

/* ---- growing byte buffer ------------------------------------------------------------------------------ */

struct bytes {
    char *p;
    size_t n, room;
    bool failed;
};

static void put(struct bytes *b, const char *data, size_t n) {
    if (b->failed) return;
    if (b->n + n + 1 > b->room) {
        size_t room = (b->n + n + 1) * 2;
        char *p = realloc(b->p, room);
        if (!p) {
            b->failed = true;
            return;
        }
        b->p = p, b->room = room;
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
    b->p[b->n] = 0;
}

static void putf(struct bytes *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void putf(struct bytes *b, const char *fmt, ...) {
    char text[96];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0) put(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ---- fitting ------------------------------------------------------------------------------------------ */

/* Whole-factor enlargement, nearest neighbour. */
static enum mi_status enlarge(const struct mi_image *in, int factor, struct mi_image *out) {
    MI_TRY(mi_image_new(out, in->width * factor, in->height * factor));
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++)
            memcpy(out->rgb + 3 * ((size_t)y * (size_t)out->width + (size_t)x),
                   in->rgb + 3 * ((size_t)(y / factor) * (size_t)in->width + (size_t)(x / factor)), 3);
    return MI_OK;
}

/* The largest copy of `in` within w x h; *grown tells that pixels were repeated (so: no dithering). */
static enum mi_status fit(const struct mi_image *in, int w, int h, struct mi_image *out, bool *grown) {
    int fx = w / in->width, fy = h / in->height;
    int factor = fx < fy ? fx : fy;
    *grown = factor >= 1;
    if (factor >= 1) return enlarge(in, factor, out);
    int ow = w, oh = (int)((double)in->height * w / in->width);
    if (oh > h) oh = h, ow = (int)((double)in->width * h / in->height);
    return mi_image_resize(in, ow < 1 ? 1 : ow, oh < 1 ? 1 : oh, out);
}

void mi_picture_limit(const struct mi_probe *p, struct mi_picture_box *box) {
    int cw = box->cell_w > 0 ? box->cell_w : 10, ch = box->cell_h > 0 ? box->cell_h : 20;
    if (p->max_w > 0 && box->cols > p->max_w / cw) box->cols = p->max_w / cw;
    if (p->max_h > 0 && box->rows > p->max_h / ch) box->rows = p->max_h / ch;
}

/* ---- sixel -------------------------------------------------------------------------------------------- */

static int sixel_sink(char *data, int size, void *user) {
    struct bytes *b = user;
    put(b, data, (size_t)size);
    return b->failed ? -1 : size;
}

static enum mi_status sixel_bytes(const struct mi_image *img, int colours, bool dither, struct bytes *b) {
    sixel_output_t *output = NULL;
    sixel_dither_t *palette = NULL;
    SIXELSTATUS s = sixel_output_new(&output, sixel_sink, b, NULL);
    if (SIXEL_SUCCEEDED(s)) s = sixel_dither_new(&palette, colours, NULL);
    if (SIXEL_SUCCEEDED(s))
        s = sixel_dither_initialize(palette, img->rgb, img->width, img->height, SIXEL_PIXELFORMAT_RGB888,
                                    SIXEL_LARGE_NORM, SIXEL_REP_CENTER_BOX, SIXEL_QUALITY_HIGH);
    if (SIXEL_SUCCEEDED(s)) {
        sixel_dither_set_diffusion_type(palette, dither ? SIXEL_DIFFUSE_FS : SIXEL_DIFFUSE_NONE);
        s = sixel_encode(img->rgb, img->width, img->height, 3, palette, output);
    }
    if (palette) sixel_dither_unref(palette);
    if (output) sixel_output_unref(output);
    if (b->failed) return mi_fail(MI_E_NOMEM, "no memory for a sixel picture of %dx%d", img->width, img->height);
    if (SIXEL_FAILED(s)) return mi_fail(MI_E_INTERNAL, "sixel encoder: %s", sixel_helper_format_error(s));
    return MI_OK;
}

/* Rounds the height so that whole bands stay inside `room` pixels. */
static int band_limit(int height, int room) {
    int up = (height + 5) / 6 * 6;
    return up <= room ? height : room / 6 * 6;
}

static enum mi_status encode_sixel(const struct mi_image *img, const struct mi_picture_box *box,
                                   struct mi_picture *out) {
    int cw = box->cell_w > 0 ? box->cell_w : 10, ch = box->cell_h > 0 ? box->cell_h : 20;
    int room_h = box->rows * ch / 6 * 6;
    if (room_h < 6) return mi_fail(MI_E_INPUT, "a picture box of %d rows is too small for sixel", box->rows);
    struct mi_image fitted = {0};
    bool grown;
    MI_TRY(fit(img, box->cols * cw, room_h, &fitted, &grown));
    fitted.height = band_limit(fitted.height, room_h);
    /* Defaults measured for reconstructions: repeated pixels need no dithering and few colours. */
    int colours = box->colours ? box->colours : grown && img->width < 128 ? 128 : fitted.width > 300 ? 256 : 128;
    struct bytes b = {0};
    enum mi_status s = sixel_bytes(&fitted, colours < 2 ? 2 : colours > 256 ? 256 : colours, !grown, &b);
    if (s == MI_OK)
        *out = (struct mi_picture){.bytes = b.p,
                                   .n = b.n,
                                   .width = fitted.width,
                                   .height = fitted.height,
                                   .cols = (fitted.width + cw - 1) / cw,
                                   .rows = (fitted.height + ch - 1) / ch};
    else
        free(b.p);
    mi_image_free(&fitted);
    return s;
}

/* ---- text modes --------------------------------------------------------------------------------------- */

/* Nearest entry of the 256-colour table: the 6x6x6 cube (16..231) or the grey ramp (232..255). */
static int colour256(const uint8_t *p) {
    static const int level[6] = {0, 95, 135, 175, 215, 255};
    int c[3], cube = 0, grey = (p[0] + p[1] + p[2]) / 3;
    for (int k = 0; k < 3; k++) {
        c[k] = p[k] < 48 ? 0 : p[k] < 115 ? 1 : (p[k] - 35) / 40;
        int d = p[k] - level[c[k]];
        cube += d * d;
    }
    int step = grey < 8 ? 0 : grey > 238 ? 23 : (grey - 8 + 5) / 10, shade = 8 + 10 * step, ramp = 0;
    for (int k = 0; k < 3; k++) ramp += (p[k] - shade) * (p[k] - shade);
    return ramp < cube ? 232 + step : 16 + 36 * c[0] + 6 * c[1] + c[2];
}

static void colour(struct bytes *b, bool deep, int layer, const uint8_t *p) {
    if (deep)
        putf(b, "\033[%d;2;%d;%d;%dm", layer, p[0], p[1], p[2]);
    else
        putf(b, "\033[%d;5;%dm", layer, colour256(p));
}

static void half_lines(const struct mi_image *img, bool deep, struct bytes *b) {
    size_t w = (size_t)img->width;
    for (int y = 0; y < img->height; y += 2) {
        const uint8_t *last_top = NULL, *last_low = NULL;
        for (size_t x = 0; x < w; x++) {
            const uint8_t *top = img->rgb + 3 * ((size_t)y * w + x);
            const uint8_t *low = y + 1 < img->height ? top + 3 * w : NULL;
            if (!last_top || memcmp(top, last_top, 3)) colour(b, deep, 38, top);
            if (low && (!last_low || memcmp(low, last_low, 3))) colour(b, deep, 48, low);
            put(b, "\xe2\x96\x80", 3); /* upper half block */
            last_top = top, last_low = low;
        }
        put(b, "\033[0m\n", 5);
    }
}

static void ascii_lines(const struct mi_image *img, bool light, struct bytes *b) {
    static const char ramp[] = " .:-=+*#%@";
    for (int y = 0; y < img->height; y++) {
        for (int x = 0; x < img->width; x++) {
            const uint8_t *p = img->rgb + 3 * ((size_t)y * (size_t)img->width + (size_t)x);
            int luma = (299 * p[0] + 587 * p[1] + 114 * p[2]) / 1000, k = luma * 10 / 256;
            put(b, ramp + (light ? 9 - k : k), 1);
        }
        put(b, "\n", 1);
    }
}

/* Text modes measure in picture elements: cols x 2*rows of them, square where a cell is twice as high as wide. */
static enum mi_status encode_text(const struct mi_image *img, enum mi_picture_mode mode,
                                  const struct mi_picture_box *box, struct mi_picture *out) {
    double cell = box->cell_w > 0 && box->cell_h > 0 ? (double)box->cell_h / box->cell_w : 2.0; /* height / width */
    bool ascii = mode == MI_PIC_ASCII;
    double per_row = ascii ? cell : cell / 2; /* element height in element widths */
    int room_h = ascii ? box->rows : 2 * box->rows, w = box->cols;
    int h = (int)((double)w * img->height / img->width / per_row + 0.5);
    if (h > room_h) h = room_h, w = (int)((double)h * per_row * img->width / img->height + 0.5);
    if (w > box->cols) w = box->cols;
    struct mi_image small = {0};
    MI_TRY(mi_image_resize(img, w < 1 ? 1 : w, h < 1 ? 1 : h, &small));
    struct bytes b = {0};
    if (ascii)
        ascii_lines(&small, box->light, &b);
    else
        half_lines(&small, mode == MI_PIC_HALF24, &b);
    *out = (struct mi_picture){.bytes = b.p,
                               .n = b.n,
                               .width = small.width,
                               .height = small.height,
                               .cols = small.width,
                               .rows = ascii ? small.height : (small.height + 1) / 2};
    mi_image_free(&small);
    if (!b.failed) return MI_OK;
    mi_picture_free(out);
    return mi_fail(MI_E_NOMEM, "no memory for a picture of %dx%d cells", box->cols, box->rows);
}

enum mi_status mi_picture_encode(const struct mi_image *img, enum mi_picture_mode mode,
                                 const struct mi_picture_box *box, struct mi_picture *out) {
    memset(out, 0, sizeof *out);
    if (img->width < 1 || img->height < 1 || box->cols < 1 || box->rows < 1)
        return mi_fail(MI_E_INPUT, "nothing to show: picture %dx%d in a box of %dx%d cells", img->width, img->height,
                       box->cols, box->rows);
    switch (mode) {
    case MI_PIC_SIXEL:
        return encode_sixel(img, box, out);
    case MI_PIC_ASCII:
    case MI_PIC_HALF256:
    case MI_PIC_HALF24:
        return encode_text(img, mode, box, out);
    default:
        return mi_fail(MI_E_INPUT, "pictures are off");
    }
}

enum mi_status mi_picture_choose(const struct mi_probe *p, const char *word, int colours, enum mi_picture_mode *mode) {
    if (!word || !strcmp(word, "auto")) {
        *mode = p->sixel                                  ? MI_PIC_SIXEL
                : p->utf8 && p->truecolor && colours >= 8 ? MI_PIC_HALF24
                : p->utf8 && colours >= 256               ? MI_PIC_HALF256
                                                          : MI_PIC_ASCII;
        return MI_OK;
    }
    for (int k = 0; k < MI_PIC_COUNT; k++)
        if (!strcmp(word, mode_names[k])) {
            *mode = (enum mi_picture_mode)k;
            return MI_OK;
        }
    return mi_fail(MI_E_USAGE, "--images=%s: use auto, sixel, half, half256, ascii or off", word);
}
