/* image.c - 8-bit RGB pictures: memory, reading by content, cropping, tile sheets.
 *
 * A picture owns its pixels (mi_image_free); every function that fails leaves its output empty, so freeing it is
 * always safe.  Files are read whole, told apart by their first bytes (never by their name) and handed to the JPEG
 * or PNG decoder.  Reading is thread-safe: packing decodes on every core at once. */
#include "midre/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "midre/workspace.h"
#include "src/data/image_priv.h"

enum mi_status mi_image_new(struct mi_image *out, int width, int height) {
    memset(out, 0, sizeof *out);
    if (width < 1 || height < 1 || (size_t)width > MI_IMAGE_MAX_PIXELS / (size_t)height)
        return mi_fail(MI_E_INPUT, "a picture of %d x %d px is outside 1 px .. 64 Mpx", width, height);
    out->rgb = mi_calloc((unsigned long)width * (unsigned long)height, 3);
    if (!out->rgb) return MI_E_NOMEM;
    out->width = width;
    out->height = height;
    return MI_OK;
}

void mi_image_free(struct mi_image *img) {
    if (!img) return;
    free(img->rgb);
    memset(img, 0, sizeof *img);
}

enum mi_status mi_image_alloc_checked(const char *path, unsigned long width, unsigned long height,
                                      struct mi_image *out) {
    if (width < 1 || height < 1 || width > MI_IMAGE_MAX_SIDE || height > MI_IMAGE_MAX_SIDE ||
        width * height > MI_IMAGE_MAX_PIXELS)
        return mi_fail(MI_E_INPUT, "%s: %lu x %lu px is beyond the limit (%d px a side, 64 Mpx)", path, width, height,
                       MI_IMAGE_MAX_SIDE);
    return mi_image_new(out, (int)width, (int)height);
}

enum mi_status mi_image_read(const char *path, struct mi_image *out) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff};
    memset(out, 0, sizeof *out);
    size_t n = 0;
    char *bytes = mi_read_file(path, MI_IMAGE_MAX_BYTES, &n);
    if (!bytes) return mi_error_status();
    enum mi_status st;
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        st = mi_png_decode(path, (const uint8_t *)bytes, n, out);
    else if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        st = mi_jpeg_decode(path, (const uint8_t *)bytes, n, out);
    else if (n == 0)
        st = mi_fail(MI_E_INPUT, "%s: the file is empty", path);
    else
        st = mi_fail(MI_E_INPUT, "%s: neither JPEG nor PNG (judged by its first bytes)", path);
    free(bytes);
    if (st != MI_OK) mi_image_free(out);
    return st;
}

enum mi_status mi_image_crop(const struct mi_image *in, int left, int top, int width, int height,
                             struct mi_image *out) {
    memset(out, 0, sizeof *out);
    if (left < 0 || top < 0 || width < 1 || height < 1 || left > in->width - width || top > in->height - height)
        return mi_fail(MI_E_INPUT, "a crop of %d x %d px at left %d, top %d does not fit into %d x %d px", width,
                       height, left, top, in->width, in->height);
    MI_TRY(mi_image_new(out, width, height));
    for (int y = 0; y < height; y++)
        memcpy(out->rgb + (size_t)y * (size_t)width * 3,
               in->rgb + ((size_t)(top + y) * (size_t)in->width + (size_t)left) * 3, (size_t)width * 3);
    return MI_OK;
}

enum mi_status mi_sheet_new(struct mi_image *sheet, int tile, int cols, int rows) {
    memset(sheet, 0, sizeof *sheet);
    if (tile < 1 || cols < 1 || rows < 1 || cols > 65536 / tile || rows > 65536 / tile)
        return mi_fail(MI_E_INPUT, "a sheet of %d x %d tiles of %d px is empty or beyond 65536 px a side", cols, rows,
                       tile);
    return mi_image_new(sheet, tile * cols, tile * rows);
}

void mi_sheet_put(struct mi_image *sheet, int tile, int col, int row, const uint8_t *rgb) {
    assert(col >= 0 && row >= 0 && (col + 1) * tile <= sheet->width && (row + 1) * tile <= sheet->height);
    for (int y = 0; y < tile; y++)
        memcpy(sheet->rgb + ((size_t)(row * tile + y) * (size_t)sheet->width + (size_t)(col * tile)) * 3,
               rgb + (size_t)y * (size_t)tile * 3, (size_t)tile * 3);
}

enum mi_status mi_sheet_get(const struct mi_image *sheet, int tile, int col, int row, struct mi_image *out) {
    memset(out, 0, sizeof *out);
    if (tile < 1 || col < 0 || row < 0 || col >= sheet->width / tile || row >= sheet->height / tile)
        return mi_fail(MI_E_INPUT, "no tile %d,%d of %d px in a sheet of %d x %d px", col, row, tile, sheet->width,
                       sheet->height);
    return mi_image_crop(sheet, col * tile, row * tile, tile, tile, out);
}
