/* test_image.c - pictures: resizing equals PIL byte for byte, decoders survive hostile files, sheets keep their tiles.
 *
 * The hashes are FNV-1a 64 of what PIL 9.4 makes of the same input (Image.resize, BILINEAR). */
#include "tests/unit/run_test.h"

#include <jpeglib.h>

#include "midre/image.h"
#include "midre/workspace.h"

static uint64_t fnv(const uint8_t *bytes, size_t n) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* The same pseudo-random bytes the reference was made from. */
static void pattern(struct mi_image *img, int w, int h) {
    assert_ok(mi_image_new(img, w, h));
    for (size_t i = 0; i < (size_t)w * (size_t)h * 3; i++) {
        uint32_t z = (uint32_t)i * 0x9e3779b1u + 12345u;
        z = (z ^ (z >> 15)) * 0x2c1b3c6du;
        img->rgb[i] = (uint8_t)(z >> 16);
    }
}

static void resizing_equals_pil(void **state) {
    (void)state;
    static const struct {
        int w, h, ow, oh;
        uint64_t hash;
    } cases[] = {
        {108, 108, 64, 64, UINT64_C(0x5ea373345572e773)}, {108, 108, 112, 112, UINT64_C(0x541fd6796a64f967)},
        {64, 64, 112, 112, UINT64_C(0xe30ed0124d149e92)}, {178, 218, 64, 64, UINT64_C(0x268afede78f52022)},
        {37, 91, 64, 53, UINT64_C(0x66e5def17dffa352)},   {5, 3, 17, 19, UINT64_C(0xa0cebe9031e737a1)},
        {200, 150, 7, 9, UINT64_C(0xe34268c4b7a71dd8)},   {64, 64, 64, 64, UINT64_C(0x0d8346dc4905d4d1)},
        {1, 1, 8, 8, UINT64_C(0xbab2912ab08714a5)},       {88, 88, 64, 64, UINT64_C(0xcfa425029adf6a2b)},
        {64, 64, 31, 64, UINT64_C(0x3c44851d5fd03156)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mi_image in, out;
        pattern(&in, cases[i].w, cases[i].h);
        assert_ok(mi_image_resize(&in, cases[i].ow, cases[i].oh, &out));
        assert_int_equal(out.width, cases[i].ow);
        if (fnv(out.rgb, (size_t)out.width * (size_t)out.height * 3) != cases[i].hash)
            fail_msg("%d x %d to %d x %d differs from PIL", cases[i].w, cases[i].h, cases[i].ow, cases[i].oh);
        mi_image_free(&in);
        mi_image_free(&out);
    }
}

static void resizing_refuses_nothing(void **state) {
    (void)state;
    uint8_t in[3] = {1, 2, 3}, out[3];
    assert_int_equal(mi_resize_rgb(in, 1, 1, out, 0, 1), MI_E_INPUT);
    assert_error(MI_E_INPUT, "cannot resize");
}

static void png_comes_back_as_written(void **state) {
    (void)state;
    char *dir = scratch(), *path = mi_path_join(dir, "a.jpg"); /* content counts, not the name */
    struct mi_image in, out;
    pattern(&in, 31, 17);
    assert_ok(mi_image_write_png(path, &in));
    assert_ok(mi_image_read(path, &out));
    assert_int_equal(out.width, 31);
    assert_int_equal(out.height, 17);
    assert_memory_equal(in.rgb, out.rgb, 31 * 17 * 3);
    mi_image_free(&in);
    mi_image_free(&out);
    free(path);
    free(dir);
}

/* A JPEG of the pattern in memory, malloc'd. */
static uint8_t *make_jpeg(int w, int h, size_t *n) {
    struct mi_image img;
    pattern(&img, w, h);
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr err;
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    c.err = jpeg_std_error(&err);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &length);
    c.image_width = (JDIMENSION)w;
    c.image_height = (JDIMENSION)h;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 95, TRUE);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = img.rgb + (size_t)c.next_scanline * (size_t)w * 3;
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    mi_image_free(&img);
    *n = length;
    return bytes;
}

/* Reads bytes as a file; a failure must be MI_E_INPUT, name the file and leave nothing behind. */
static bool readable(const char *path, const void *bytes, size_t n) {
    struct mi_image img;
    assert_ok(mi_write_file(path, bytes, n));
    enum mi_status st = mi_image_read(path, &img);
    if (st == MI_OK) {
        assert_true(img.width >= 1 && img.height >= 1 && img.rgb);
        mi_image_free(&img);
        return true;
    }
    assert_null(img.rgb);
    assert_error(MI_E_INPUT, path);
    return false;
}

static void jpeg_is_decoded_and_cut_ones_refused(void **state) {
    (void)state;
    char *dir = scratch(), *path = mi_path_join(dir, "x");
    size_t n;
    uint8_t *jpeg = make_jpeg(40, 30, &n);
    struct mi_image img;
    assert_true(readable(path, jpeg, n));
    assert_ok(mi_image_read(path, &img));
    assert_int_equal(img.width, 40);
    assert_int_equal(img.height, 30);
    mi_image_free(&img);
    for (size_t cut = 0; cut + 2 < n; cut += cut < 64 ? 1 : 97) assert_false(readable(path, jpeg, cut));
    free(jpeg);
    free(path);
    free(dir);
}

static void damaged_bytes_never_crash(void **state) {
    (void)state;
    char *dir = scratch(), *path = mi_path_join(dir, "x");
    size_t n[2];
    uint8_t *file[2] = {make_jpeg(24, 24, &n[0]), NULL};
    struct mi_image img;
    pattern(&img, 24, 24);
    assert_ok(mi_image_write_png(path, &img));
    mi_image_free(&img);
    file[1] = (uint8_t *)mi_read_file(path, 1 << 20, &n[1]);
    assert_non_null(file[1]);
    int refused = 0;
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t round = 0; round < 300; round++) {
            size_t at = (round * 2654435761u) % n[kind];
            uint8_t was = file[kind][at];
            file[kind][at] ^= (uint8_t)(1u << (round % 8));
            refused += !readable(path, file[kind], n[kind]);
            file[kind][at] = was;
        }
    assert_true(refused > 250); /* every PNG bit is covered by a checksum */
    free(file[0]);
    free(file[1]);
    free(path);
    free(dir);
}

static void limits_hold(void **state) {
    (void)state;
    char *dir = scratch(), *path = mi_path_join(dir, "x");
    /* A PNG head asking for 20000 x 20000 px, checksum right. */
    static const uint8_t huge[] = {0x89, 'P',  'N',  'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I',  'H',  'D',  'R', 0,
                                   0,    0x4e, 0x20, 0,   0,    0x4e, 0x20, 8,    2, 0, 0, 0,  0x6c, 0x12, 0xd1, 0x6e};
    assert_false(readable(path, huge, sizeof huge));
    assert_false(readable(path, "GIF89a", 6));
    assert_false(readable(path, "", 0));
    struct mi_image img;
    assert_int_equal(mi_image_new(&img, 0, 5), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_image_new(&img, 1 << 15, 1 << 15), MI_E_INPUT);
    mi_error_clear();
    free(path);
    path = mi_path_join(dir, "absent.png");
    assert_int_equal(mi_image_read(path, &img), MI_E_MISSING);
    assert_error(MI_E_MISSING, "absent.png");
    free(path);
    free(dir);
}

static void crops_and_sheets_move_the_right_pixels(void **state) {
    (void)state;
    struct mi_image img, cut, sheet, tile;
    pattern(&img, 20, 10);
    assert_ok(mi_image_crop(&img, 3, 2, 5, 5, &cut));
    assert_memory_equal(cut.rgb + 3, img.rgb + (2 * 20 + 4) * 3, 12);
    assert_memory_equal(cut.rgb + 4 * 15, img.rgb + (6 * 20 + 3) * 3, 15);
    assert_ok(mi_sheet_new(&sheet, 5, 4, 3));
    mi_sheet_put(&sheet, 5, 3, 2, cut.rgb);
    assert_ok(mi_sheet_get(&sheet, 5, 3, 2, &tile));
    assert_memory_equal(tile.rgb, cut.rgb, 75);
    mi_image_free(&tile);
    assert_ok(mi_sheet_get(&sheet, 5, 2, 2, &tile));
    for (int i = 0; i < 75; i++) assert_int_equal(tile.rgb[i], 0);
    mi_image_free(&tile);
    assert_int_equal(mi_sheet_get(&sheet, 5, 4, 0, &tile), MI_E_INPUT);
    mi_error_clear();
    assert_int_equal(mi_image_crop(&img, 16, 0, 5, 5, &tile), MI_E_INPUT);
    assert_error(MI_E_INPUT, "does not fit");
    mi_image_free(&sheet);
    mi_image_free(&cut);
    mi_image_free(&img);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizing_equals_pil),
        cmocka_unit_test(resizing_refuses_nothing),
        cmocka_unit_test(png_comes_back_as_written),
        cmocka_unit_test(jpeg_is_decoded_and_cut_ones_refused),
        cmocka_unit_test(damaged_bytes_never_crash),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(crops_and_sheets_move_the_right_pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
