/* fuzz_image.c - any bytes as a JPEG and as a PNG: the decoders get them whatever the first bytes say. */
#include "src/data/image_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct mi_image img = {0};
    if (n < 2) return 0;
    enum mi_status (*decode)(const char *, const uint8_t *, size_t, struct mi_image *) =
        bytes[0] == 0xff ? mi_jpeg_decode : mi_png_decode;
    enum mi_status st = decode("fuzz", bytes, n, &img);
    if ((st == MI_OK) != (img.rgb != NULL)) __builtin_trap();
    mi_image_free(&img);
    mi_error_clear();
    return 0;
}
