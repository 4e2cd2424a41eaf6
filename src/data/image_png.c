/* image_png.c - PNG decoding of untrusted bytes and PNG writing, both with libpng.
 *
 * libpng reports errors by a long jump; all state the jump needs lives in a struct.  Chunk sizes and counts are
 * limited, so that a small file cannot ask for much memory.  Grey and palette pictures become RGB, 16 bit become 8,
 * alpha is laid over black.  Gamma chunks are ignored, as PIL does: training pixels are the stored ones.
 * Writing encodes into memory and hands the bytes to mi_write_file, so the file is the old one or the new one. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "midre/workspace.h"
#include "src/data/image_priv.h"

#define WRITE_LEVEL 4 /* zlib level: pictures of a running attack are rewritten often */

struct bytes {
    uint8_t *data;
    size_t n, room, at;
};

struct codec {
    png_structp png;
    png_infop info;
    const char *path;
    char text[256];
    struct mi_image *out;
    uint8_t *rgba; /* decoded pixels with alpha */
    png_bytep *rows;
    struct bytes buf; /* borrowed when reading, owned when writing */
};

static void on_error(png_structp png, png_const_charp message) {
    struct codec *c = png_get_error_ptr(png);
    snprintf(c->text, sizeof c->text, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png; /* a warning means the pixels are still good */
    (void)message;
}

static void take(png_structp png, png_bytep to, size_t n) {
    struct bytes *b = png_get_io_ptr(png);
    if (n > b->n - b->at) png_error(png, "the file ends too early");
    memcpy(to, b->data + b->at, n);
    b->at += n;
}

static void give(png_structp png, png_bytep from, size_t n) {
    struct bytes *b = png_get_io_ptr(png);
    if (n > b->room - b->n) {
        size_t room = (b->room + n) * 2;
        uint8_t *data = realloc(b->data, room);
        if (!data) png_error(png, "out of memory");
        b->data = data;
        b->room = room;
    }
    memcpy(b->data + b->n, from, n);
    b->n += n;
}

static void flush(png_structp png) {
    (void)png;
}

/* Asks libpng for 8-bit RGBA whatever the file holds. */
static void ask_rgba(struct codec *c) {
    png_set_expand(c->png); /* palette, low bit depths, transparent colour */
    png_set_strip_16(c->png);
    png_set_gray_to_rgb(c->png);
    png_set_add_alpha(c->png, 0xff, PNG_FILLER_AFTER);
    png_set_interlace_handling(c->png);
    png_read_update_info(c->png, c->info);
}

static enum mi_status decode(struct codec *c) {
    png_set_read_fn(c->png, &c->buf, take);
    png_set_user_limits(c->png, MI_IMAGE_MAX_SIDE, MI_IMAGE_MAX_SIDE);
    png_set_chunk_cache_max(c->png, 64);
    png_set_chunk_malloc_max(c->png, (png_alloc_size_t)4 << 20);
    png_set_crc_action(c->png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
    png_read_info(c->png, c->info);
    png_uint_32 w = png_get_image_width(c->png, c->info), h = png_get_image_height(c->png, c->info);
    MI_TRY(mi_image_alloc_checked(c->path, w, h, c->out));
    ask_rgba(c);
    if (png_get_rowbytes(c->png, c->info) != (size_t)w * 4) png_error(c->png, "unexpected row length");
    c->rgba = mi_calloc((unsigned long)w * h, 4);
    c->rows = mi_calloc(h, sizeof *c->rows);
    if (!c->rgba || !c->rows) return MI_E_NOMEM;
    for (png_uint_32 y = 0; y < h; y++) c->rows[y] = c->rgba + (size_t)y * w * 4;
    png_read_image(c->png, c->rows);
    png_read_end(c->png, NULL);
    for (size_t i = 0; i < (size_t)w * h; i++)
        for (int k = 0; k < 3; k++)
            c->out->rgb[i * 3 + (size_t)k] = (uint8_t)((c->rgba[i * 4 + (size_t)k] * c->rgba[i * 4 + 3] + 127) / 255);
    return MI_OK;
}

enum mi_status mi_png_decode(const char *path, const uint8_t *bytes, size_t n, struct mi_image *out) {
    struct codec c;
    memset(&c, 0, sizeof c);
    c.path = path;
    c.out = out;
    c.buf.data = (uint8_t *)(uintptr_t)bytes; /* only ever read */
    c.buf.n = n;
    c.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &c, on_error, on_warning);
    if (c.png) c.info = png_create_info_struct(c.png);
    enum mi_status st;
    if (!c.info)
        st = mi_fail(MI_E_NOMEM, "%s: out of memory for the PNG decoder", path);
    else if (setjmp(png_jmpbuf(c.png)) == 0)
        st = decode(&c);
    else
        st = mi_fail(MI_E_INPUT, "%s: damaged PNG (%s)", path, c.text);
    png_destroy_read_struct(&c.png, &c.info, NULL);
    free(c.rgba);
    free(c.rows);
    if (st != MI_OK) mi_image_free(out);
    return st;
}

static void encode(struct codec *c, const struct mi_image *img) {
    png_set_write_fn(c->png, &c->buf, give, flush);
    png_set_compression_level(c->png, WRITE_LEVEL);
    png_set_IHDR(c->png, c->info, (png_uint_32)img->width, (png_uint_32)img->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(c->png, c->info);
    for (int y = 0; y < img->height; y++) png_write_row(c->png, img->rgb + (size_t)y * (size_t)img->width * 3);
    png_write_end(c->png, NULL);
}

enum mi_status mi_image_write_png(const char *path, const struct mi_image *img) {
    struct codec c;
    memset(&c, 0, sizeof c);
    c.path = path;
    c.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &c, on_error, on_warning);
    if (c.png) c.info = png_create_info_struct(c.png);
    enum mi_status st = MI_OK;
    if (!c.info)
        st = mi_fail(MI_E_NOMEM, "%s: out of memory for the PNG encoder", path);
    else if (setjmp(png_jmpbuf(c.png)) == 0)
        encode(&c, img);
    else
        st = mi_fail(MI_E_INTERNAL, "%s: cannot encode %d x %d px as PNG (%s)", path, img->width, img->height, c.text);
    png_destroy_write_struct(&c.png, &c.info);
    if (st == MI_OK) st = mi_write_file(path, c.buf.data, c.buf.n);
    free(c.buf.data);
    return st;
}
