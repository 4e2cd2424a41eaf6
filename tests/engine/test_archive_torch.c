/* test_archive_torch.c - torch.save files of both formats, built byte by byte: what is read, by which name, and that
 * everything else is refused with the entry's name; .pth files come back as they went out. */
#include <unistd.h>

#include "tests/engine/tensor_test.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/seeds.h"

static char folder[] = "/tmp/midre-torch-XXXXXX", path[64];

static int setup(void **state) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/a.pth", folder);
    return tensor_setup(state);
}

static int teardown(void **state) {
    unlink(path);
    rmdir(folder);
    return tensor_teardown(state);
}

/* ---- reading what is right ---- */

/* Rows 1, 5, 9 and 2, 6, 10 of the numbers 0..15: the view of the seeds. */
static void check_seed(mt_archive *a, bool wrapped) {
    static const float view[] = {1, 5, 9, 2, 6, 10};
    float got[6];
    int64_t shape[MT_MAXDIM];
    assert_non_null(a);
    assert_int_equal(mt_archive_count(a), 4);
    assert_string_equal(mt_archive_name(a, 0), "conv.weight");
    assert_int_equal(mt_archive_shape(a, 0, shape), 4);
    assert_int_equal(shape[0], 2);
    assert_int_equal(mt_archive_dtype(a, 0), MT_F32);
    assert_int_equal(mt_archive_index(a, "view"), 1);
    assert_int_equal(archive_bytes(a, 1), sizeof view);
    assert_int_equal(archive_copy(a, 1, got), MI_OK);
    assert_memory_equal(got, view, sizeof view);
    assert_int_equal(mt_archive_shape(a, 2, shape), 0);
    if (wrapped) {
        assert_string_equal(mt_archive_meta(a, "epoch"), "3");
        assert_string_equal(mt_archive_meta(a, "lr"), "0.5");
        assert_string_equal(mt_archive_meta(a, "args.arch"), "vgg16");
    }
}

static void both_formats_and_layouts_are_read(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct forge f = {0};
        seed(&f, i);
        mt_archive *a = archive_open_memory("forged", f.b, f.n);
        if (!a) fail_msg("seed %d: %s", i, mi_error_text());
        check_seed(a, i % 2);
        assert_string_equal(mt_archive_format(a), i < 4 ? "torch" : "torch (before 1.6)");
        archive_release(a);
        forge_free(&f);
    }
}

/* ---- a state dict of one tensor, described by `t`; NULL when it opens and reads, else the refusal ---- */

static const char *refusal(struct forge *file) {
    static char text[512];
    mt_archive *a = archive_open_memory("forged", file->b, file->n);
    bool good = a != NULL;
    for (int i = 0; a && i < mt_archive_count(a); i++) {
        void *out = malloc((size_t)archive_bytes(a, i) + 1);
        good = archive_copy(a, i, out) == MI_OK && good;
        free(out);
    }
    if (a) archive_release(a);
    forge_free(file);
    if (good) return NULL;
    assert_int_equal(mi_error_status(), MI_E_INPUT);
    snprintf(text, sizeof text, "%s", mi_error_text());
    mi_error_clear();
    return text;
}

static const char *refusal_of_pickle(struct forge *pickle) {
    struct forge file = {0};
    forge_zip(&file, pickle, 1);
    forge_free(pickle);
    return refusal(&file);
}

static const char *refusal_of(struct forged t) {
    struct forge p = {0};
    forge_begin(&p);
    forge_op(&p, "}");
    forge_text(&p, "w");
    forge_tensor(&p, t);
    forge_op(&p, "s.");
    return refusal_of_pickle(&p);
}

static void expect(const char *got, const char *part) {
    if (!part) {
        if (got) fail_msg("refused: %s", got);
        return;
    }
    if (!got) fail_msg("accepted, expected: %s", part);
    if (!strstr(got, part)) fail_msg("says \"%s\", expected \"%s\"", got, part);
    assert_non_null(strstr(got, "forged"));
}

static void tensors_outside_their_storage_are_refused(void **state) {
    (void)state;
    const int64_t big = INT64_C(1) << 62;
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {16}, .stride = {1}}), NULL);
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {4}, .stride = {0}}), NULL);
    expect(refusal_of((struct forged){.count = 16, .offset = 16, .nd = 1, .shape = {0}, .stride = {1}}), NULL);
    static const char beyond[] = "tensor 'w' (byte ", *reach = "reaches beyond its storage";
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {17}, .stride = {1}}), reach);
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {17}, .stride = {1}}), beyond);
    expect(refusal_of((struct forged){.count = 16, .offset = 1, .nd = 1, .shape = {16}, .stride = {1}}), reach);
    expect(refusal_of((struct forged){.count = 16, .nd = 2, .shape = {2, 2}, .stride = {15, 1}}), reach);
    expect(refusal_of((struct forged){.count = 16, .offset = 16}), reach);
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {2}, .stride = {big}}), reach);
    expect(refusal_of((struct forged){.count = 16, .nd = 2, .shape = {5, 2}, .stride = {big, 1}}),
           "strides are absurd");
    expect(refusal_of((struct forged){.count = 16, .offset = 17, .nd = 1, .shape = {0}, .stride = {1}}), "offset");
    expect(refusal_of((struct forged){.count = 16, .offset = -1, .nd = 1, .shape = {1}, .stride = {1}}), "offset");
    expect(refusal_of((struct forged){.count = 16, .offset = INT64_MIN, .nd = 0}), "offset");
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {4}, .stride = {-1}}), "negative");
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {-4}, .stride = {1}}), "negative");
    expect(refusal_of((struct forged){.count = 16, .nd = 2, .shape = {big, big}, .stride = {0, 0}}), "absurd");
    expect(refusal_of((struct forged){.count = 16, .nd = 3, .shape = {0, big, big}, .stride = {1, 1, 1}}), "absurd");
    expect(refusal_of((struct forged){.count = 16, .nd = 1, .shape = {big}, .stride = {0}}), "far more elements");
    expect(refusal_of((struct forged){.count = 17, .nd = 1, .shape = {1}, .stride = {1}}), "storage claims more");
    expect(refusal_of((struct forged){.count = INT32_MAX, .nd = 1, .shape = {1}, .stride = {1}}),
           "storage claims more");
    expect(refusal_of((struct forged){.count = INT64_MAX, .nd = 1, .shape = {1}, .stride = {1}}),
           "storage claims more");
    expect(refusal_of((struct forged){.count = -1, .nd = 0}), "storage claims more");
    expect(refusal_of((struct forged){.count = 1, .nd = 9, .shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}}), "dimensions");
    expect(refusal_of((struct forged){.count = 1, .key = "9"}), "record 'data/9' is missing");
    expect(refusal_of((struct forged){.count = 1, .key = "../data/0"}), "not a plain word");
    expect(refusal_of((struct forged){.count = 1, .class = "ComplexFloatStorage"}), "ComplexFloatStorage");
    expect(refusal_of((struct forged){.count = 16, .class = "CharStorage", .nd = 1, .shape = {3}, .stride = {5}}),
           NULL);
}

/* Every instruction on an empty stack, and what else a machine can be made to do. */
static void the_machine_has_limits(void **state) {
    (void)state;
    struct forge p = {0};
    for (int op = 0; op < 256; op++) {
        char text[2] = {(char)op, 0};
        forge_begin(&p);
        forge_add(&p, text, 1);
        forge_op(&p, ".");
        assert_non_null(refusal_of_pickle(&p));
    }
    forge_begin(&p); /* towers */
    forge_op(&p, "]");
    for (int i = 0; i < 100000; i++) forge_op(&p, "\x85");
    forge_op(&p, ".");
    expect(refusal_of_pickle(&p), "nested more than 64 deep");
    forge_begin(&p);
    for (int i = 0; i < 1000; i++) forge_op(&p, "(");
    expect(refusal_of_pickle(&p), "groups are open");
    forge_begin(&p);
    for (int i = 0; i < 300000; i++) forge_op(&p, "]");
    expect(refusal_of_pickle(&p), "wait on the stack");
    forge_begin(&p);
    forge_op(&p, "]r\xff\xff\xff\x7f.");
    expect(refusal_of_pickle(&p), "memo number 2147483647 is absurd");
    forge_begin(&p);
    forge_op(&p, "h\x05.");
    expect(refusal_of_pickle(&p), "never given");
    forge_begin(&p);
    forge_op(&p, "X\xff\xff\xff\x7f");
    expect(refusal_of_pickle(&p), "a text of 2147483647 bytes");
    forge_begin(&p);
    forge_op(&p, "\x8b\xff\xff\xff\x7f.");
    expect(refusal_of_pickle(&p), "ends inside an instruction");
    forge_op(&p, "\x80\x07N.");
    expect(refusal_of_pickle(&p), "protocol 7");
    forge_begin(&p); /* a dictionary that holds itself, and a state dict beside it */
    forge_op(&p, "}q\x01X\x04");
    forge_uint(&p, 3, 0);
    forge_op(&p, "selfh\x01s");
    forge_text(&p, "w");
    forge_tensor(&p, (struct forged){.count = 16, .nd = 1, .shape = {16}, .stride = {1}});
    forge_op(&p, "s.");
    expect(refusal_of_pickle(&p), NULL);
}

/* A class that would run a command when Python calls it: never run, and only in the way where a tensor is needed. */
static void nothing_is_executed(void **state) {
    (void)state;
    char command[128], witness[96];
    snprintf(witness, sizeof witness, "%s/witness", folder);
    snprintf(command, sizeof command, "touch %s", witness);
    for (int needed = 0; needed < 2; needed++) {
        struct forge p = {0};
        forge_begin(&p);
        forge_op(&p, "}(");
        forge_text(&p, "w");
        forge_tensor(&p, (struct forged){.count = 16, .nd = 1, .shape = {16}, .stride = {1}});
        forge_text(&p, "evil");
        forge_op(&p, needed ? "cposix\nsystem\n(" : "cposix\nsystem\n");
        if (!needed)
            forge_text(&p, command);
        else
            forge_tensor(&p, (struct forged){.count = 16, .nd = 0});
        forge_op(&p, needed ? "tRu." : "\x85Ru.");
        expect(refusal_of_pickle(&p), needed ? "tensor 'evil'" : NULL);
    }
    assert_int_not_equal(access(witness, F_OK), 0);
}

/* ---- containers ---- */

static void damaged_containers_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < SEEDS; i++) {
        struct forge f = {0};
        seed(&f, i);
        for (size_t cut = 0; cut < f.n; cut++) {
            struct forge part = {0};
            forge_add(&part, f.b, cut);
            if (!refusal(&part)) fail_msg("seed %d opens when cut to %zu of %zu bytes", i, cut, f.n);
        }
        forge_free(&f);
    }
    struct forge p = {0}, f = {0};
    seed_pickle(&p, 0, 0);
    struct forged_record twice[] = {
        {"x/data.pkl", p.b, p.n, 0}, {"x/data.pkl", p.b, p.n, 0}, {"x/version", "3\n", 2, 0}};
    forge_zip_of(&f, twice, 3, 1);
    expect(refusal(&f), "record 'x/data.pkl': it is there twice");
    struct forged_record big[] = {
        {"x/data.pkl", p.b, p.n, 0}, {"x/version", "3\n", 2, 0}, {"x/byteorder", "big", 3, 0}};
    forge_zip_of(&f, big, 3, 1);
    expect(refusal(&f), "byteorder");
    struct forged_record new[] = {{"x/data.pkl", p.b, p.n, 0}, {"x/version", "999", 3, 0}};
    forge_zip_of(&f, new, 2, 1);
    expect(refusal(&f), "version");
    struct forged_record script[] = {
        {"x/data.pkl", p.b, p.n, 0}, {"x/version", "3\n", 2, 0}, {"x/constants.pkl", "", 0, 0}};
    forge_zip_of(&f, script, 3, 1);
    expect(refusal(&f), "TorchScript");
    forge_zip(&f, &p, 1); /* one bit of a tensor */
    uint8_t *at = memmem(f.b, f.n, "x/data/0", 8);
    assert_non_null(at);
    at[8 + 20] ^= 1;
    expect(refusal(&f), "tensor 'conv.weight'");
    forge_zip(&f, &p, 1); /* method 8 in the directory */
    at = memmem(f.b, f.n, "PK\1\2", 4);
    at[10] = 8;
    expect(refusal(&f), "compressed");
    forge_zip(&f, &p, 1); /* sizes that lie */
    zip_put(at = (uint8_t *)memmem(f.b, f.n, "PK\1\2", 4) + 20, 4, UINT32_MAX - 1);
    zip_put(at + 4, 4, UINT32_MAX - 1);
    expect(refusal(&f), "record 'x/data.pkl'");
    forge_free(&p);
}

static void mutations_never_crash(void **state) {
    (void)state;
    struct forge corpus[SEEDS] = {0};
    int opened = 0;
    for (int i = 0; i < SEEDS; i++) {
        seed(&corpus[i], i);
        assert_int_equal(mutate_try(&corpus[i]), 1);
    }
    for (uint64_t i = 0; i < 2000; i++) {
        struct mi_rng r = mi_rng_make(2, "mutate", i, 0);
        const struct forge *from = &corpus[i % SEEDS], *other = &corpus[mutate_below(&r, SEEDS)];
        struct forge f = {0};
        forge_add(&f, from->b, from->n);
        for (size_t k = 1 + mutate_below(&r, 6); k > 0; k--) mutate_once(&f, other, &r);
        int got = mutate_try(&f);
        if (got < 0) fail_msg("mutation %d: the refusal does not name the file", (int)i);
        opened += got;
        forge_free(&f);
    }
    assert_true(opened > 0 && opened < 1000);
    for (int i = 0; i < SEEDS; i++) forge_free(&corpus[i]);
}

/* ---- writing ---- */

static void a_pth_file_comes_back(void **state) {
    (void)state;
    static const mt_dtype type[] = {MT_F32, MT_F64, MT_BF16, MT_F16, MT_I64, MT_I32, MT_U8, MT_BOOL};
    char name[32];
    mt_scope *s = mt_scope_begin("pth");
    mt_tensor *t[8];
    mt_archive *a = mt_archive_create(path);
    for (int i = 0; i < 8; i++) {
        t[i] = mt_cast(mt_arange(0, 7 + i, MT_SPEC_F32), type[i]);
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(mt_archive_put(a, name, t[i]), MI_OK);
    }
    mt_tensor *grid = mt_reshape(mt_arange(0, 6, MT_SPEC_F32), MT_SHAPE(2, 3));
    mt_archive_put(a, "turned", mt_transpose(grid, 0, 1));
    mt_archive_put(a, "scalar", mt_full(NULL, 0, 4.5, MT_SPEC_F32));
    mt_archive_put(a, "empty", mt_zeros(MT_SHAPE(0, 3), MT_SPEC_F32));
    for (int i = 0; i < 1200; i++) { /* more than one batch of the pickle */
        snprintf(name, sizeof name, "many.%d", i);
        mt_archive_put(a, name, mt_full(NULL, 0, i, MT_SPEC_F32));
    }
    mt_archive_meta_put(a, "model", "vgg16 \"x\"");
    assert_int_equal(mt_archive_close(a), MI_OK);
    assert_non_null(a = mt_archive_open(path));
    assert_string_equal(mt_archive_format(a), "torch");
    assert_int_equal(mt_archive_count(a), 1211);
    assert_string_equal(mt_archive_meta(a, "model"), "vgg16 \"x\"");
    assert_string_equal(mt_archive_meta_key(a, 0), "model");
    assert_null(mt_archive_meta_key(a, 1));
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "t%d", i);
        mt_tensor *back = mt_archive_get(a, name, MT_CPU);
        assert_int_equal(mt_dtype_of(back), type[i]);
        assert_true(mt_hash(back) == mt_hash(t[i]));
    }
    assert_true(mt_hash(mt_archive_get(a, "turned", MT_CPU)) == mt_hash(mt_transpose(grid, 0, 1)));
    assert_true(item(mt_archive_get(a, "scalar", MT_CPU)) == 4.5);
    assert_true(item(mt_archive_get(a, "many.1199", MT_CPU)) == 1199);
    assert_int_equal(mt_size(mt_archive_get(a, "empty", MT_CPU), 1), 3);
    mt_archive_close(a);
    ends_well(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_and_layouts_are_read),
        cmocka_unit_test(tensors_outside_their_storage_are_refused),
        cmocka_unit_test(the_machine_has_limits),
        cmocka_unit_test(nothing_is_executed),
        cmocka_unit_test(damaged_containers_are_refused),
        cmocka_unit_test(mutations_never_crash),
        cmocka_unit_test(a_pth_file_comes_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
