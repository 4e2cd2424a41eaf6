/* midre/image.h - 8-bit RGB pictures: decoding untrusted files, PIL-equal resizing, PNG writing, tile sheets. */
#ifndef MIDRE_IMAGE_H
#define MIDRE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "midre/status.h"

struct mi_image {
    int width, height;
    uint8_t *rgb; /* height*width*3, rows top to bottom */
};

/* JPEG or PNG by content, not by name.  Limits: 64 MiB file, 16384 px a side, 64 Mpx.  Grey and palette become RGB,
 * alpha is dropped over black.  Truncated or non-image: MI_E_INPUT naming the file. */
enum mi_status mi_image_read(const char *path, struct mi_image *out);
enum mi_status mi_image_new(struct mi_image *out, int width, int height); /* black */
void mi_image_free(struct mi_image *img);
enum mi_status mi_image_crop(const struct mi_image *in, int left, int top, int width, int height, struct mi_image *out);
/* Antialiased triangle filter with PIL's fixed-point arithmetic (BILINEAR): equal to PIL within 1 grey level. */
enum mi_status mi_image_resize(const struct mi_image *in, int width, int height, struct mi_image *out);
/* Same kernel on packed pixels, destination given: used when judging reconstructions ("low2high"). */
enum mi_status mi_resize_rgb(const uint8_t *in, int w, int h, uint8_t *out, int ow, int oh);
/* Atomic PNG. */
enum mi_status mi_image_write_png(const char *path, const struct mi_image *img);

/* A sheet of cols x rows square tiles of `tile` px without gaps, for journal atlases. */
enum mi_status mi_sheet_new(struct mi_image *sheet, int tile, int cols, int rows);
void mi_sheet_put(struct mi_image *sheet, int tile, int col, int row, const uint8_t *rgb /* tile*tile*3 */);
enum mi_status mi_sheet_get(const struct mi_image *sheet, int tile, int col, int row, struct mi_image *out);

#endif
