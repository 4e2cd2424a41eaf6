/* tests/engine/photos_test.h - rendered photos of a few people, a toy network and a composition of defenses, for tests
 * of what happens to photos before they are learned. */
#ifndef MIDRE_TESTS_PHOTOS_TEST_H
#define MIDRE_TESTS_PHOTOS_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "defenses/erasing.h"
#include "midre/spec.h"
#include "src/train/train_priv.h"
#include "tests/engine/toy_model.h"

enum { S = 32, PEOPLE = 5, PHOTOS = 60 };
static const float no_mean[3] = {0, 0, 0}, unit_std[3] = {1, 1, 1};
static struct toy *toy;
static struct mi_dataset data;

static inline int setup(void **state) {
    (void)state;
    static const float weight[PEOPLE * 3] = {1, 0, 0, 0, 1, 0};
    uint8_t *rgb = test_malloc((size_t)PHOTOS * S * S * 3);
    int32_t *labels = test_malloc(PHOTOS * sizeof *labels);
    toy = toy_new(PEOPLE, S, weight);
    for (int i = 0; i < PHOTOS; i++) {
        labels[i] = i % 12 % PEOPLE; /* 15, 15, 10, 10, 10 photos */
        mi_synthface_render(3, (uint32_t)labels[i], (uint32_t)i, S, 0.5, rgb + (size_t)i * S * S * 3);
    }
    data.desc = mi_data_find("synthfaces");
    data.size = S;
    data.classes = PEOPLE;
    data.split[MI_TRAIN] = (struct mi_pack_split){.rgb = rgb, .labels = labels, .n = PHOTOS};
    return mt_init(2) == MI_OK ? 0 : -1;
}

static inline int teardown(void **state) {
    (void)state;
    test_free((void *)(uintptr_t)data.split[MI_TRAIN].rgb);
    test_free((void *)(uintptr_t)data.split[MI_TRAIN].labels);
    toy_free(toy);
    mi_error_clear();
    return 0;
}

/* A composition with overrides "defense.fe.area=0.3 ...", prepared for the toy network. */
struct list { struct mi_spec *spec; struct mi_defenses ds; };

static inline struct list open_list(const char *composition, const char *overrides) {
    struct list l = {0};
    const char *words[16];
    char copy[400], *at = copy, *word;
    size_t n = 0;
    snprintf(copy, sizeof copy, "%s", overrides);
    while ((word = strsep(&at, " ")))
        if (*word) words[n++] = word;
    l.spec = mi_spec_parse("", "test", words, n);
    assert_non_null(l.spec);
    assert_int_equal(mi_defenses_open(&l.ds, composition, l.spec), MI_OK);
    assert_int_equal(mi_defenses_prepare(&l.ds, &toy->model), MI_OK);
    return l;
}

static inline void close_list(struct list *l) {
    mi_defenses_close(&l->ds);
    mi_spec_free(l->spec);
}

#endif
