/* image_jpeg.c - JPEG decoding of untrusted bytes with libjpeg.
 *
 * libjpeg reports fatal errors by calling error_exit, which must not return: ours formats the message and jumps back.
 * Everything the jump must find again lives in one struct, not in locals, so no value is lost in registers.
 * libjpeg only warns about files cut short and fills the rest with grey; for training data that is damage, so those
 * warnings are made fatal.  A progressive file may ask for endless scans over few bytes; the scan count is limited.
 * The defaults (accurate integer DCT, smooth chroma upsampling) are those of PIL, so pixels agree with Python's. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "src/data/image_priv.h"

#define MAX_SCANS 200

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    const char *path;
    char text[JMSG_LENGTH_MAX];
    struct mi_image *out;
    JSAMPARRAY cmyk; /* one row, owned by libjpeg's pool */
};

static void on_error(j_common_ptr c) {
    struct decoder *d = c->client_data;
    c->err->format_message(c, d->text);
    longjmp(d->back, 1);
}

static void on_message(j_common_ptr c, int level) {
    if (level >= 0) return; /* traces */
    int code = c->err->msg_code;
    if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) on_error(c);
    c->err->num_warnings++;
}

static void on_progress(j_common_ptr c) {
    struct decoder *d = c->client_data;
    if (d->jpeg.input_scan_number > MAX_SCANS) {
        snprintf(d->text, sizeof d->text, "more than %d scans", MAX_SCANS);
        longjmp(d->back, 1);
    }
}

/* Four-ink pictures: Adobe stores the inks inverted (255 = no ink). */
static void cmyk_row(const JSAMPLE *in, uint8_t *out, unsigned width, bool inverted) {
    for (unsigned x = 0; x < width; x++, in += 4, out += 3) {
        unsigned k = inverted ? in[3] : 255u - in[3];
        for (int c = 0; c < 3; c++) {
            unsigned v = inverted ? in[c] : 255u - in[c];
            out[c] = (uint8_t)((v * k + 127) / 255);
        }
    }
}

/* Everything that may jump. Returns MI_OK or the status of an allocation that failed. */
static enum mi_status decode(struct decoder *d, const uint8_t *bytes, size_t n) {
    struct jpeg_decompress_struct *j = &d->jpeg;
    jpeg_mem_src(j, bytes, (unsigned long)n);
    jpeg_read_header(j, TRUE);
    MI_TRY(mi_image_alloc_checked(d->path, j->image_width, j->image_height, d->out));
    bool four = j->jpeg_color_space == JCS_CMYK || j->jpeg_color_space == JCS_YCCK;
    j->out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(j);
    if (four) d->cmyk = j->mem->alloc_sarray((j_common_ptr)j, JPOOL_IMAGE, j->output_width * 4, 1);
    while (j->output_scanline < j->output_height) {
        uint8_t *row = d->out->rgb + (size_t)j->output_scanline * (size_t)d->out->width * 3;
        if (four) {
            jpeg_read_scanlines(j, d->cmyk, 1);
            cmyk_row(d->cmyk[0], row, j->output_width, j->saw_Adobe_marker);
        } else {
            jpeg_read_scanlines(j, &row, 1);
        }
    }
    jpeg_finish_decompress(j);
    return MI_OK;
}

enum mi_status mi_jpeg_decode(const char *path, const uint8_t *bytes, size_t n, struct mi_image *out) {
    struct decoder d;
    memset(&d, 0, sizeof d);
    d.path = path;
    d.out = out;
    d.jpeg.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    d.progress.progress_monitor = on_progress;
    d.jpeg.client_data = &d;
    enum mi_status st;
    if (setjmp(d.back) == 0) {
        jpeg_create_decompress(&d.jpeg);
        d.jpeg.client_data = &d;
        d.jpeg.progress = &d.progress;
        st = decode(&d, bytes, n);
    } else {
        st = mi_fail(MI_E_INPUT, "%s: damaged JPEG (%s)", path, d.text);
    }
    jpeg_destroy_decompress(&d.jpeg);
    if (st != MI_OK) mi_image_free(out);
    return st;
}
