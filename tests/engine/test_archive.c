/* test_archive.c - archives keep every bit, replace files whole or not at all, and refuse whatever is not exactly
 * right: hand-made bad headers, every truncation, and thousands of random mutations. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/engine/tensor_test.h"

static char folder[] = "/tmp/midre-archive-XXXXXX", path[64], tmp_path[80];

static int setup(void **state) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    snprintf(tmp_path, sizeof tmp_path, "%s.tmp", path);
    return tensor_setup(state);
}

static int teardown(void **state) {
    unlink(path);
    unlink(tmp_path);
    rmdir(folder);
    return tensor_teardown(state);
}

/* Tests that write thousands of files do it in memory. */
static int in_memory(void **state) {
    (void)state;
    int fd = memfd_create("archive", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return fd < 0;
}

static int on_disk(void **state) {
    (void)state;
    close(atoi(strrchr(path, '/') + 1));
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    return 0;
}

static void write_file(const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static unsigned char *read_file(size_t *n) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    unsigned char *bytes = malloc((size_t)st.st_size + 1);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *n = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    return bytes;
}

static bool exists(const char *p) { return access(p, F_OK) == 0; }

static void every_type_comes_back(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("types");
    mt_archive *a = mt_archive_create(path);
    assert_non_null(a);
    const mt_dtype types[] = {MT_F32, MT_F64, MT_BF16, MT_F16, MT_I64, MT_I32, MT_U8, MT_BOOL};
    mt_tensor *t[8];
    char name[16];
    for (int i = 0; i < 8; i++) {
        t[i] = mt_cast(mt_rand(MT_SHAPE(3, 5), 0, 5, MT_SPEC_F32, rng), types[i]);
        snprintf(name, sizeof name, "t%d", 7 - i);
        assert_int_equal(mt_archive_put(a, name, t[i]), MI_OK);
    }
    mt_tensor *scalar = mt_full(NULL, 0, 4.5, MT_SPEC_F32), *none = mt_zeros(MT_SHAPE(0, 3), MT_SPEC_F32);
    mt_archive_put(a, "scalar", scalar);
    mt_archive_put(a, "empty", none);
    mt_archive_put(a, "view", mt_transpose(t[0], 0, 1));
    mt_archive_meta_put(a, "format", "pt");
    mt_archive_meta_put(a, "note", "line\n\"quoted\" \xc3\xa9");
    assert_true(exists(tmp_path) && !exists(path));
    assert_int_equal(mt_archive_close(a), MI_OK);
    assert_true(exists(path) && !exists(tmp_path));

    assert_non_null(a = mt_archive_open(path));
    assert_int_equal(mt_archive_count(a), 11);
    assert_string_equal(mt_archive_name(a, 0), "t7");
    assert_null(mt_archive_name(a, 11));
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "t%d", 7 - i);
        mt_tensor *back = mt_archive_get(a, name, MT_CPU);
        assert_int_equal(mt_dtype_of(back), types[i]);
        assert_true(mt_hash(back) == mt_hash(t[i]));
    }
    assert_int_equal(mt_ndim(mt_archive_get(a, "scalar", MT_CPU)), 0);
    assert_true(item(mt_archive_get(a, "scalar", MT_CPU)) == 4.5);
    assert_int_equal(mt_size(mt_archive_get(a, "empty", MT_CPU), 1), 3);
    assert_true(mt_hash(mt_archive_get(a, "view", MT_CPU)) == mt_hash(mt_transpose(t[0], 0, 1)));
    assert_string_equal(mt_archive_meta(a, "format"), "pt");
    assert_string_equal(mt_archive_meta(a, "note"), "line\n\"quoted\" \xc3\xa9");
    assert_null(mt_archive_meta(a, "absent"));
    assert_false(mt_archive_has(a, "absent"));
    assert_null(mt_archive_get(a, "absent", MT_CPU));
    expect_error(mt_status(), MI_E_INPUT, "'absent'");
    assert_int_equal(mt_archive_close(a), MI_OK);
    ends_well(s);
}

static void channels_last_is_stored_as_state_dicts_are(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("layout");
    mt_tensor *w = mt_randn(MT_SHAPE(4, 3, 2, 5), F32_NHWC, rng);
    float want[120];
    assert_int_equal(mt_read(w, want, sizeof want, MT_F32, MT_NCHW), MI_OK);
    mt_archive *a = mt_archive_create(path);
    mt_archive_put(a, "w", w);
    assert_int_equal(mt_archive_close(a), MI_OK);
    size_t n;
    unsigned char *bytes = read_file(&n);
    assert_true(n > sizeof want);
    assert_memory_equal(bytes + n - sizeof want, want, sizeof want);
    assert_int_equal(bytes[8], '{');
    free(bytes);
    ends_well(s);
}

static void many_tensors_outgrow_the_room(void **state) {
    (void)state;
    mt_scope *s = mt_scope_begin("many");
    mt_archive *a = mt_archive_create(path);
    char name[64];
    for (int i = 0; i < 700; i++) {
        mt_tensor *t = mt_full(MT_SHAPE(1, 7), i, MT_SPEC_F32);
        snprintf(name, sizeof name, "features.block_%d.convolution.weight", i);
        mt_archive_put(a, name, t);
        mt_drop(t);
    }
    assert_int_equal(mt_archive_put(a, "big", mt_full(MT_SHAPE(1200000), 3, MT_SPEC_F32)), MI_OK);
    assert_int_equal(mt_archive_close(a), MI_OK);
    assert_non_null(a = mt_archive_open(path));
    assert_int_equal(mt_archive_count(a), 701);
    for (int i = 0; i < 700; i += 33) {
        snprintf(name, sizeof name, "features.block_%d.convolution.weight", i);
        assert_true(item(mt_sum(mt_archive_get(a, name, MT_CPU), NULL, 0, false)) == 7.0 * i);
    }
    assert_true(item(mt_sum(mt_cast(mt_archive_get(a, "big", MT_CPU), MT_F64), NULL, 0, false)) == 3600000);
    mt_archive_close(a);
    ends_well(s);
}

static void a_failed_archive_leaves_the_old_file(void **state) {
    (void)state;
    write_file("old", 3);
    mt_scope *s = mt_scope_begin("fail");
    mt_tensor *t = mt_full(MT_SHAPE(2), 1, MT_SPEC_F32);
    char longest[600];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    mt_archive *a = mt_archive_create(path);
    assert_int_equal(mt_archive_put(a, "twice", t), MI_OK);
    expect_error(mt_archive_put(a, "twice", t), MI_E_INPUT, "twice");
    assert_int_equal(mt_archive_put(a, "later", t), MI_E_INPUT);
    assert_int_equal(mt_archive_close(a), MI_E_INPUT);
    a = mt_archive_create(path);
    expect_error(mt_archive_put(a, longest, t), MI_E_INPUT, "599 characters");
    mt_archive_abort(a);
    a = mt_archive_create(path);
    expect_error(mt_archive_put(a, "null", NULL), MI_E_INTERNAL, "NULL");
    mt_status();
    mi_error_clear();
    assert_int_equal(mt_archive_close(a), MI_E_INTERNAL);
    assert_true(exists(path) && !exists(tmp_path));
    size_t n;
    unsigned char *bytes = read_file(&n);
    assert_int_equal(n, 3);
    assert_memory_equal(bytes, "old", 3);
    free(bytes);
    assert_null(mt_archive_create("/nonexistent-folder/a"));
    expect_error(mi_error_status(), MI_E_DISK, "/nonexistent-folder/a");
    unlink(path);
    assert_null(mt_archive_open(path));
    expect_error(mi_error_status(), MI_E_MISSING, path);
    ends_well(s);
}

/* A file with this header and `data` zero bytes; length overridden when >= 0. */
static bool opens(const char *header, size_t data, long long length) {
    size_t n = strlen(header);
    unsigned char *bytes = calloc(1, n + data + 8);
    uint64_t len = length >= 0 ? (uint64_t)length : n;
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(len >> (8 * i));
    memcpy(bytes + 8, header, n);
    write_file(bytes, n + data + 8);
    free(bytes);
    mt_archive *a = mt_archive_open(path);
    if (!a) {
        assert_int_equal(mi_error_status(), MI_E_INPUT);
        assert_non_null(strstr(mi_error_text(), path));
        mi_error_clear();
        return false;
    }
    mt_archive_close(a);
    return true;
}

#define T(dtype, shape, lo, hi) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" lo "," hi "]}"

static void bad_headers_are_refused(void **state) {
    (void)state;
    assert_true(opens("{}", 0, -1));
    assert_true(opens("{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("U8", "[1,0]", "8", "8") "}  ", 8, -1));
    assert_true(opens("{\"b\":" T("U8", "[3]", "8", "11") ",\"a\":" T("F32", "[2]", "0", "8") "}", 11, -1));
    const struct { const char *header; size_t data; long long length; } bad[] = {
        {"{}", 0, 1}, {"{}", 0, 3}, {"{}", 0, 1ll << 40}, {"{}", 0, INT64_MAX}, {"{}", 4, -1}, {"[]", 0, -1},
        {"{\"a\"}", 0, -1}, {"{\"a\":1}", 0, -1}, {"{\"a\":{}}", 0, -1},
        {"{\"a\":" T("F32", "[2]", "0", "4") "}", 4, -1},                                     /* shape against bytes */
        {"{\"a\":" T("F32", "[2]", "0", "8") "}", 4, -1},                                     /* outside */
        {"{\"a\":" T("F32", "[1]", "4", "8") "}", 8, -1},                                     /* gap */
        {"{\"a\":" T("F32", "[1]", "4", "0") "}", 8, -1},                                     /* backwards */
        {"{\"a\":" T("F32", "[1]", "-4", "0") "}", 8, -1},
        {"{\"a\":" T("F32", "[-1]", "0", "4") "}", 4, -1},
        {"{\"a\":" T("F32", "[1.0]", "0", "4") "}", 4, -1},
        {"{\"a\":" T("F32", "\"1\"", "0", "4") "}", 4, -1},
        {"{\"a\":" T("F99", "[1]", "0", "4") "}", 4, -1},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, -1},                     /* too many dimensions */
        {"{\"a\":" T("F32", "[4294967296,4294967297]", "0", "16") "}", 16, -1},               /* product wraps to 16 */
        {"{\"a\":" T("F32", "[9223372036854775807,9223372036854775807,0]", "0", "0") "}", 0, -1},
        {"{\"a\":" T("F32", "[99999999999999999999]", "0", "4") "}", 4, -1},
        {"{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "4", "12") "}", 12, -1}, /* overlap */
        {"{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "0", "8") "}", 8, -1},
        {"{\"a\":" T("F32", "[1]", "0", "4") ",\"a\":" T("F32", "[1]", "4", "8") "}", 8, -1}, /* repeated name */
        {"{\"\":" T("F32", "[1]", "0", "4") "}", 4, -1},
        {"{\"a\\u0000b\":" T("F32", "[1]", "0", "4") "}", 4, -1},
        {"{\"__metadata__\":1}", 0, -1}, {"{\"__metadata__\":{\"a\":1}}", 0, -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (opens(bad[i].header, bad[i].data, bad[i].length)) fail_msg("accepted case %zu: %s", i, bad[i].header);
}

/* Opens whatever is at `path`; reads all of it if it opens.  True when it opened. */
static bool try_everything(void) {
    mt_archive *a = mt_archive_open(path);
    if (!a) {
        enum mi_status st = mi_error_status();
        assert_true(st == MI_E_INPUT || st == MI_E_NOMEM);
        mi_error_clear();
        return false;
    }
    mt_scope *s = mt_scope_begin("all");
    for (int i = 0; i < mt_archive_count(a); i++) {
        mt_tensor *t = mt_archive_get(a, mt_archive_name(a, i), MT_CPU);
        assert_non_null(t);
        mt_hash(t);
    }
    ends_well(s);
    mt_archive_close(a);
    return true;
}

/* A compact valid file: no room, so that mutations hit something that matters. */
static size_t compact_file(unsigned char *out) {
    const char *h = "{\"__metadata__\":{\"format\":\"pt\"},\"conv.weight\":" T("F32", "[2,1,2,2]", "0", "32")
                    ",\"flag\":" T("BOOL", "[3]", "32", "35") ",\"steps\":" T("I64", "[1]", "35", "43") "}";
    size_t n = strlen(h);
    memset(out, 0, 8);
    out[0] = (unsigned char)n;
    out[1] = (unsigned char)(n >> 8);
    memcpy(out + 8, h, n);
    for (int i = 0; i < 43; i++) out[8 + n + (size_t)i] = (unsigned char)(i * 37 + 1);
    return n + 8 + 43;
}

static void mutations_never_crash(void **state) {
    (void)state;
    unsigned char good[1024], m[1024];
    size_t n = compact_file(good);
    int opened = 0;
    write_file(good, n);
    assert_true(try_everything());
    for (size_t cut = 0; cut < n; cut++) {
        write_file(good, cut);
        assert_false(try_everything()); /* no shorter file is whole */
    }
    uint64_t r = 88172645463325252ull;
    for (int i = 0; i < 2000; i++) {
        memcpy(m, good, n);
        for (int k = 0; k <= i % 4; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            m[r % n] = i % 2 ? (unsigned char)(r >> 32) : (unsigned char)(m[r % n] ^ (1u << (r >> 61)));
        }
        write_file(m, n);
        opened += try_everything();
    }
    assert_true(opened > 0 && opened < 1500); /* some only change data or names */
    assert_int_equal(mt_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(channels_last_is_stored_as_state_dicts_are),
        cmocka_unit_test(many_tensors_outgrow_the_room),
        cmocka_unit_test(a_failed_archive_leaves_the_old_file),
        cmocka_unit_test_setup_teardown(bad_headers_are_refused, in_memory, on_disk),
        cmocka_unit_test_setup_teardown(mutations_never_crash, in_memory, on_disk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
