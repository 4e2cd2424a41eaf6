/* image_priv.h - what image.c shares with its two decoders.
 *
 * Both decoders get the whole file in memory (at most MI_IMAGE_MAX_BYTES) and must treat it as hostile: sizes are
 * checked before anything is allocated for them, and every decoder error becomes MI_E_INPUT naming `path`. */
#ifndef MIDRE_IMAGE_PRIV_H
#define MIDRE_IMAGE_PRIV_H

#include "midre/image.h"

#define MI_IMAGE_MAX_BYTES  ((size_t)64 << 20)
#define MI_IMAGE_MAX_SIDE   16384
#define MI_IMAGE_MAX_PIXELS ((size_t)64 << 20)

/* MI_E_INPUT when width x height breaks the limits; otherwise allocates `out`. */
enum mi_status mi_image_alloc_checked(const char *path, unsigned long width, unsigned long height,
                                      struct mi_image *out);
/* `out` is empty on entry and stays empty on failure. */
enum mi_status mi_jpeg_decode(const char *path, const uint8_t *bytes, size_t n, struct mi_image *out);
enum mi_status mi_png_decode(const char *path, const uint8_t *bytes, size_t n, struct mi_image *out);

#endif
