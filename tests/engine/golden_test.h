/* golden_test.h - numbers of one forward and backward pass with synthetic weights (tests/golden/README.md), shared by
 * the tests of the networks. */
#ifndef MIDRE_GOLDEN_TEST_H
#define MIDRE_GOLDEN_TEST_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/model.h"

#define GOLDEN "tests/golden/"

/* Of NAME or NAME,SETTING=VALUE..., with what is random in training (dropout, stochastic depth) at the given share. */
static struct mi_values *values_of(const char *name, double drop, const struct mi_model_desc **desc) {
    char text[128], *setting = text;
    snprintf(text, sizeof text, "%s", name);
    const struct mi_model_desc *d = *desc = mi_model_find(strsep(&setting, ","));
    assert_non_null(d);
    struct mi_values *v = d->info.settings ? mi_values_new(d->info.name, d->info.settings) : NULL;
    for (const struct mi_setting *s = d->info.settings; s && s->name; s++) {
        char share[32];
        snprintf(share, sizeof share, "%g", drop);
        if (strncmp(s->name, "drop", 4) == 0) assert_int_equal(mi_values_set(v, s->name, share), MI_OK);
    }
    for (char *one; (one = strsep(&setting, ","));) {
        const char *key = strsep(&one, "=");
        assert_int_equal(mi_values_set(v, key, one), MI_OK);
    }
    return v;
}

static struct mi_model *model_new(const char *name, int classes, int size, double drop) {
    const struct mi_model_desc *d;
    struct mi_values *v = values_of(name, drop, &d);
    struct mi_model *m = mi_model_new(d->info.name, v, classes, size, MT_CPU, 7);
    if (!m) fail_msg("%s: %s", name, mi_error_text());
    mi_values_free(v);
    return m;
}

struct run {
    const char *name, *variant;
    int n, size, classes;
    struct mi_model *m;
    mt_tensor *x;
    struct mi_forward_out out;
    double loss, grad_all;
    float *logits;
};

static double l2(mt_tensor *t) {
    double v = NAN;
    assert_non_null(t);
    assert_ptr_not_equal(t, MT_NONE);
    /* In float64: summing millions of squares in float32 loses the fourth digit. */
    assert_int_equal(mt_item(mt_norm(mt_cast(t, MT_F64), 2.0, NULL, 0, false), &v), MI_OK);
    return v;
}

/* The tensor "input" of the recipe: rank 1, so a store of one bias-like tensor gives 0.1 u; ten times that is u. */
static mt_tensor *golden_input(int n, int size) {
    struct mi_params *ps = mi_params_new(MT_CPU, MT_NCHW);
    struct mi_builder b;
    mi_builder_init(&b, ps, 0);
    int64_t count = (int64_t)n * 3 * size * size;
    mt_tensor *flat = mi_param_new(&b, "input", &count, 1, MI_BUFFER);
    mi_params_golden(ps, 1.0);
    mt_tensor *x = mt_clone(mt_reshape(mt_affine(flat, 10.0, 0.0), MT_SHAPE(n, 3, size, size)));
    mi_params_free(ps);
    return x;
}

/* The BiDO form of VGG16 is the same network with block-wise names: rename, fill, name back. */
static void fill_weights(struct mi_params *ps, const char *name, double gain) {
    static const int start[6] = {0, 7, 14, 24, 34, 44};
    if (strcmp(name, "vgg16_bido") != 0) {
        mi_params_golden(ps, gain);
        return;
    }
    for (int i = 0; i < ps->n; i++) {
        struct mi_named one = ps->item[i];
        char renamed[128];
        int module, block = 0;
        if (sscanf(one.name, "feature.%d.", &module) == 1) {
            while (module >= start[block + 1]) block++;
            snprintf(renamed, sizeof renamed, "layer%d.%d%s", block + 1, module - start[block], strrchr(one.name, '.'));
            one.name = renamed;
        }
        struct mi_params single = {.item = &one, .n = 1, .cap = 1, .device = ps->device, .layout = ps->layout};
        mi_params_golden(&single, gain);
    }
}

static void run_network(struct run *r, double gain) {
    bool bido = strcmp(r->name, "vgg16_bido") == 0;
    r->m = model_new(bido ? "vgg16" : r->name, r->classes, r->size, 0.0);
    r->m->train = strcmp(r->variant, "train") == 0;
    fill_weights(r->m->params, r->name, gain);
    struct mi_params *ps = r->m->params;
    for (int i = 0; i < ps->n; i++)
        if (ps->item[i].role != MI_BUFFER) mt_requires_grad_(ps->item[i].t, true);
    r->x = golden_input(r->n, r->size);
    mt_requires_grad_(r->x, true);
    if (mi_model_forward(r->m, r->x, bido, &r->out) != MI_OK) fail_msg("%s: %s", r->name, mi_error_text());
    int64_t label[4];
    for (int i = 0; i < r->n; i++) label[i] = (37 * i + 11) % r->classes;
    mt_tensor *y = mt_from(label, MT_SHAPE(r->n), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    mt_tensor *loss = mt_cross_entropy(r->out.logits, y, 0.0, MT_RED_MEAN);
    if (r->out.aux_logits) loss = mt_add(loss, mt_cross_entropy(r->out.aux_logits, y, 0.0, MT_RED_MEAN));
    assert_int_equal(mt_backward(loss, false), MI_OK);
    assert_int_equal(mt_item(loss, &r->loss), MI_OK);
    double sum = 0.0;
    for (int i = 0; i < ps->n; i++) {
        if (ps->item[i].role == MI_BUFFER) continue;
        mt_tensor *g = mt_grad(ps->item[i].t);
        if (g == MT_NONE) continue;
        double v = l2(g);
        sum += v * v;
    }
    r->grad_all = sqrt(sum);
    size_t bytes = (size_t)r->n * (size_t)r->classes * sizeof(float);
    r->logits = malloc(bytes);
    assert_int_equal(mt_read(r->out.logits, r->logits, (int64_t)bytes, MT_F32, MT_NCHW), MI_OK);
}

/* "layer1.0.weight" of the BiDO rows is our feature.0.weight; BatchNorm rows likewise. */
static mt_tensor *tensor_of(const struct run *r, const char *key) {
    if (strcmp(r->name, "vgg16_bido") == 0 && strncmp(key, "layer1.", 7) == 0) {
        char own[128];
        snprintf(own, sizeof own, "feature.%s", key + 7);
        return mi_params_find(r->m->params, own);
    }
    return mi_params_find(r->m->params, key);
}

static double quantity(const struct run *r, const char *what) {
    int a, b;
    double sum = 0.0, square = 0.0;
    for (int i = 0; i < r->n * r->classes; i++) {
        sum += (double)r->logits[i];
        square += (double)r->logits[i] * (double)r->logits[i];
    }
    if (sscanf(what, "logits[%d][%d]", &a, &b) == 2) return (double)r->logits[a * r->classes + b];
    if (strcmp(what, "logits_sum") == 0) return sum;
    if (strcmp(what, "logits_l2") == 0) return sqrt(square);
    if (strcmp(what, "feature_dim") == 0) {
        assert_int_equal(mt_size(r->out.features, 1), r->m->feature_width);
        return (double)mt_size(r->out.features, 1);
    }
    if (strcmp(what, "feature_l2") == 0) return l2(r->out.features);
    if (sscanf(what, "hidden%d_l2", &a) == 1) return l2(r->out.tap[a]);
    if (strcmp(what, "aux_logits_l2") == 0) return l2(r->out.aux_logits);
    if (strcmp(what, "loss") == 0) return r->loss;
    if (strcmp(what, "grad_input_l2") == 0) return l2(mt_grad(r->x));
    if (strcmp(what, "grad_all_l2") == 0) return r->grad_all;
    if (strncmp(what, "grad_l2 ", 8) == 0) return l2(mt_grad(tensor_of(r, what + 8)));
    if (strncmp(what, "l2 ", 3) == 0) return l2(tensor_of(r, what + 3));
    fail_msg("unknown quantity %s", what);
    return NAN;
}

static void compare_numbers(const char *name, const char *variant, int expected_rows) {
    FILE *f = fopen(GOLDEN "forward.tsv", "r");
    assert_non_null(f);
    char line[512];
    int rows = 0, wrong = 0;
    struct run r = {.name = name, .variant = variant};
    mt_scope *s = mt_scope_begin("golden");
    while (fgets(line, sizeof line, f)) {
        char net[64], mode[16], what[128];
        double gain, value, spread;
        int n, size, classes;
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "%63[^\t]\t%15[^\t]\t%lf\t%d\t%d\t%d\t%127[^\t]\t%lf\t%lf", net, mode, &gain, &n,
                                &size, &classes, what, &value, &spread),
                         9);
        if (strcmp(net, name) != 0 || strcmp(mode, variant) != 0) continue;
        if (rows++ == 0) {
            r.n = n;
            r.size = size;
            r.classes = classes;
            run_network(&r, gain);
        }
        /* The Winograd kernels round differently from the three runs behind spread; where a ReLU or a maximum sits on
         * the fence, that moves a gradient by a few 1e-5, which ones depends on the release of libtorch. */
        double least = strncmp(what, "grad_", 5) == 0 ? 1e-4 : 1e-5;
        double got = quantity(&r, what), tolerance = fmax(20.0 * spread, least);
        double off = fabs(got - value) / fabs(value);
        if (off > tolerance || isnan(off)) {
            print_error("%s %s %s: %.9g, expected %.9g (off by %.2g, allowed %.2g)\n", name, variant, what, got, value,
                        off, tolerance);
            wrong++;
        }
    }
    fclose(f);
    assert_int_equal(mt_scope_end(s), MI_OK);
    mi_model_free(r.m);
    free(r.logits);
    assert_int_equal(rows, expected_rows);
    assert_int_equal(wrong, 0);
}

#define NUMBERS(test, name, variant, rows)                                                                             \
    static void test(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        compare_numbers(name, variant, rows);                                                                          \
    }

static int start(void **state) {
    (void)state;
    return mt_init(0);
}

static int no_leaks(void **state) {
    (void)state;
    return mt_live() == 0 ? 0 : -1;
}

#endif
