/* test_models.c - the networks against the public PyTorch ones: key lists, then numbers of a forward and a backward
 * pass with synthetic weights (tests/golden/README.md).  Catches a wrong stride, padding, order, activation, epsilon,
 * BatchNorm momentum or initial shape; every one of these moves the numbers far beyond the tolerance. */
#include "tests/engine/golden_test.h"

#include <openssl/evp.h>

#define CLASSES 1000

static void shape_text(const mt_tensor *t, char out[80]) {
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape), len = 0;
    strcpy(out, nd ? "" : "scalar");
    for (int i = 0; i < nd; i++)
        len += snprintf(out + len, 80 - (size_t)len, "%s%lld", i ? "x" : "", (long long)shape[i]);
}

/* ---- key lists ------------------------------------------------------------------------------------------- */

static void compare_keys(const char *name, int size) {
    char path[128], line[512];
    snprintf(path, sizeof path, GOLDEN "%s.keys.tsv", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    struct mi_model *m = model_new(name, CLASSES, size, 0.5);
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        char kind[16], dtype[8], shape[80], key[256], ours[80];
        int index, trainable;
        assert_int_equal(sscanf(line, "%d %15s %d %7s %79s %255s", &index, kind, &trainable, dtype, shape, key), 6);
        assert_true(n < m->params->n);
        const struct mi_named *item = &m->params->item[n];
        shape_text(item->t, ours);
        assert_int_equal(index, n);
        assert_string_equal(item->name, key);
        assert_string_equal(ours, shape);
        assert_int_equal(item->role != MI_BUFFER, strcmp(kind, "param") == 0);
        assert_int_equal(item->trainable, trainable);
        assert_int_equal(item->role == MI_FROZEN_PARAM, item->role != MI_BUFFER && !trainable);
        assert_int_equal(mt_requires_grad(item->t), trainable);
        assert_string_equal(mt_dtype_of(item->t) == MT_I64 ? "i64" : "f32", dtype);
        n++;
    }
    fclose(f);
    assert_int_equal(n, m->params->n);
    mi_model_free(m);
}

static void keys_equal_public_lists(void **state) {
    (void)state;
    compare_keys("vgg16", 64);
    compare_keys("resnet18", 224);
    compare_keys("facenet112", 112);
}

static void digest_keys(const struct mi_params *ps, char hex[65]) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(c, EVP_sha256(), NULL), 1);
    for (int i = 0; i < ps->n; i++) {
        char shape[80], line[512];
        shape_text(ps->item[i].t, shape);
        int len = snprintf(line, sizeof line, "%s\t%s\t%s\n", ps->item[i].name,
                           mt_dtype_of(ps->item[i].t) == MT_I64 ? "i64" : "f32", shape);
        assert_int_equal(EVP_DigestUpdate(c, line, (size_t)len), 1);
    }
    unsigned char sum[32];
    unsigned n = 0;
    assert_int_equal(EVP_DigestFinal_ex(c, sum, &n), 1);
    EVP_MD_CTX_free(c);
    for (unsigned i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

static void every_listed_network_has_the_public_digest(void **state) {
    (void)state;
    FILE *f = fopen(GOLDEN "summary.tsv", "r");
    assert_non_null(f);
    char line[512];
    int seen = 0;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        char name[64], sha[80], ours[65];
        int classes, size, keys;
        long long elements;
        assert_int_equal(sscanf(line, "%63s %d %d %d %lld %79s", name, &classes, &size, &keys, &elements, sha), 6);
        const struct mi_model_desc *d;
        struct mi_values *v = values_of(name, 0.5, &d);
        struct mi_params *ps = mi_model_shapes(d, v, classes, size);
        if (!ps) fail_msg("%s: %s", name, mi_error_text());
        assert_int_equal(ps->n, keys);
        assert_int_equal(mi_params_count(ps, false), elements);
        digest_keys(ps, ours);
        assert_string_equal(ours, sha);
        mi_params_free(ps);
        mi_values_free(v);
        seen++;
    }
    fclose(f);
    assert_int_equal(seen, 20);
}

/* ---- numbers --------------------------------------------------------------------------------------------- */

NUMBERS(vgg16_eval, "vgg16", "eval", 13)
NUMBERS(vgg16_train, "vgg16", "train", 17)
NUMBERS(vgg16_taps_eval, "vgg16_bido", "eval", 18)
NUMBERS(vgg16_taps_train, "vgg16_bido", "train", 22)
NUMBERS(resnet18_eval, "resnet18", "eval", 13)
NUMBERS(resnet18_train, "resnet18", "train", 17)
NUMBERS(resnet50_eval, "resnet50", "eval", 13)
NUMBERS(facenet64_eval, "facenet64", "eval", 13)
NUMBERS(facenet64_train, "facenet64", "train", 17)
NUMBERS(facenet112_eval, "facenet112", "eval", 13)

/* test_models [PATTERN]: only the tests whose names fit, as "densenet*". */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_equal_public_lists),
        cmocka_unit_test(every_listed_network_has_the_public_digest),
        cmocka_unit_test(vgg16_eval),
        cmocka_unit_test(vgg16_train),
        cmocka_unit_test(vgg16_taps_eval),
        cmocka_unit_test(vgg16_taps_train),
        cmocka_unit_test(resnet18_eval),
        cmocka_unit_test(resnet18_train),
        cmocka_unit_test(resnet50_eval),
        cmocka_unit_test(facenet64_eval),
        cmocka_unit_test(facenet64_train),
        cmocka_unit_test(facenet112_eval),
    };
    return cmocka_run_group_tests(tests, start, no_leaks);
}
