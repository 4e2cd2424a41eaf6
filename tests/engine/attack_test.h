/* tests/engine/attack_test.h - a stage to run an attack in: workspace, settings, a toy target that can be computed by
 * hand, an oracle that counts.  What differs between attacks (priors, public images) stays in their tests. */
#ifndef MIDRE_TESTS_ATTACK_TEST_H
#define MIDRE_TESTS_ATTACK_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "midre/attack.h"
#include "toy_model.h"

enum { SIZE = 32, K = 6, Z = 8, PIXELS = 3 * SIZE * SIZE };

static const int all_labels[K] = {0, 1, 2, 3, 4, 5};
/* Logits of six colours an image can have, linear in the colour. */
static const float six_colours[K * 3] = {9, -4, -4, -4, 9, -4, -4, -4, 9, 5, 5, -9, -9, 5, 5, 5, -9, 5};

struct bench {
    struct mi_workspace ws;
    struct mi_product product;
    struct mi_ctx ctx;
    struct mi_values *values;
    const struct mi_attack_desc *attack;
    const struct mi_pack_split *pub; /* borrowed; NULL: none */
    struct toy *toy;
    struct mi_oracle *oracle;
    char root[512];
    double tally; /* queries */
};

/* The target the attack sees from now on. */
static inline void bench_target(struct bench *b, int classes, const float *colours) {
    mi_oracle_free(b->oracle);
    if (b->toy) toy_free(b->toy);
    b->toy = toy_new(classes, SIZE, colours);
    b->toy->pixel = true;
    b->oracle = mi_oracle_new(&b->toy->model, b->attack->access, b->attack->info.name);
    mi_oracle_tally(b->oracle, &b->tally);
}

/* `settings`: name=value pairs apart by spaces; later ones win. */
static inline void bench_set(struct bench *b, const char *settings) {
    char copy[512], *at = copy, *word;
    snprintf(copy, sizeof copy, "%s", settings);
    while ((word = strsep(&at, " "))) {
        if (!*word) continue;
        char *eq = strchr(word, '=');
        *eq = '\0';
        assert_int_equal(mi_values_set(b->values, word, eq + 1), MI_OK);
    }
}

/* Without a target yet. */
static inline struct bench *bench_new(const char *attack) {
    static int benches;
    struct bench *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TEST_TMP");
    snprintf(b->root, sizeof b->root, "%s/%s-%d-%d", tmp ? tmp : "/tmp", attack, (int)getpid(), benches++);
    assert_int_equal(mi_workspace_open(&b->ws, b->root), MI_OK);
    struct mi_fingerprint fp;
    memset(fp.hex, 'a', 64);
    fp.hex[64] = '\0';
    assert_int_equal(mi_product_open(&b->ws, "attack", &fp, &b->product), MI_OK);
    assert_int_equal(mi_product_begin(&b->product), MI_OK);
    b->ctx = (struct mi_ctx){.product = &b->product,
                             .stage = "test",
                             .run_dir = b->root,
                             .device = MT_CPU,
                             .precision = MT_F32,
                             .seed = 5,
                             .checkpoint_every = 3600,
                             .report_every = 3600,
                             .tally = &b->tally};
    b->attack = mi_attack_find(attack);
    assert_non_null(b->attack);
    b->values = mi_values_new(attack, b->attack->info.settings);
    return b;
}

static inline void bench_close(struct bench *b) {
    mi_oracle_free(b->oracle);
    toy_free(b->toy);
    mi_values_free(b->values);
    mi_product_close(&b->product);
    mi_workspace_close(&b->ws);
    mi_remove_tree(b->root);
    mi_error_clear();
    free(b);
}

/* After a failure: the target answers again, the process is a new one whose checkpoint knows the queries. */
static inline void mend(struct bench *b) {
    b->toy->fail_at = 0;
    b->tally = 0;
    mi_error_clear();
}

static inline struct mi_attack_job job_of(struct bench *b) {
    return (struct mi_attack_job){
        .ctx = &b->ctx, .values = b->values, .oracle = b->oracle, .pub = b->pub, .size = SIZE};
}

#endif
