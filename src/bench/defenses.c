/* defenses.c - bench works "defense/COMPOSITION": what a training step with these defenses costs, in steps of a training
 * without any.
 *
 * The training loop runs as it does for a target (feeder, hooks, loss, backward, optimiser), a few steps at a time: none,
 * defended, defended, none, ...  The median of the quotients is the result, so a machine that slows down slows both.
 * Every turn builds its network anew; building and the first step are not timed.  1000 people; VGG16-BN at 64x64, batch
 * 64, the recipe of a plain [target], or what an experiment says.
 *
 * A composition is written as in a spec; settings follow a name after colons: "midre:fill=telea+nls". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/spec.h"
#include "midre/train.h"
#include "src/bench/works.h"

enum { SIZE = 64, BATCH = 64, CLASSES = 1000, PHOTOS = 4, TESTS = 64, STEPS = 4, MOST = 200 };

static const char prefix[] = "defense/";

/* Beside the single entries of the table: what the paper composes, and fills that cost. */
static const char *const also[] = {"midre:fill=telea", "midre+nls", "midre+bido", NULL};

struct cost {
    struct mi_spec *spec;
    const char *model; /* of the spec */
    char *composition; /* without the settings */
    struct mi_dataset data;
    uint8_t *pixels[MI_SPLIT_COUNT]; /* of data */
    int32_t *labels;
    struct mi_train_recipe recipe;
};

/* "midre:fill=telea+nls" -> "midre+nls", and defense.midre.fill = telea in the spec. */
static enum mi_status read_composition(struct cost *c, const char *text) {
    size_t n = 0, words = 0;
    char **item = mi_list_split(text, '+', &n), *out = mi_calloc(strlen(text) + 1, 1);
    enum mi_status st = item && out ? MI_OK : MI_E_NOMEM;
    for (size_t i = 0; i < n && st == MI_OK; i++) {
        char **word = mi_list_split(item[i], ':', &words), section[96];
        snprintf(section, sizeof section, "defense.%.80s", word && words ? word[0] : "");
        if (!word || !words) st = MI_E_NOMEM;
        for (size_t k = 1; k < words && st == MI_OK; k++) {
            char *eq = strchr(word[k], '=');
            if (eq) *eq = '\0';
            st = eq ? mi_spec_set(c->spec, section, word[k], eq + 1)
                    : mi_fail(MI_E_USAGE, "bench: \"%s\": write NAME or NAME:SETTING=VALUE:...", item[i]);
        }
        if (st == MI_OK) strcat(strcat(out, i ? "+" : ""), word[0]);
        mi_list_free(word, words);
    }
    mi_list_free(item, n);
    c->composition = out;
    return st;
}

/* Photos of noise: a handful of each person. */
static enum mi_status make_data(struct cost *c, int size) {
    const size_t n[MI_SPLIT_COUNT] = {[MI_TRAIN] = (size_t)CLASSES * PHOTOS, [MI_TEST] = TESTS};
    struct mi_rng r = mi_rng_make(1, "bench pixels", 0, 0);
    c->data = (struct mi_dataset){.desc = mi_data_table[0], .size = size, .classes = CLASSES};
    c->labels = mi_calloc(n[MI_TRAIN], sizeof *c->labels);
    if (!c->labels) return MI_E_NOMEM;
    for (size_t i = 0; i < n[MI_TRAIN]; i++) c->labels[i] = (int32_t)(i / PHOTOS);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        size_t bytes = n[s] * (size_t)size * (size_t)size * 3;
        if (!(c->pixels[s] = mi_calloc(bytes + 1, 1))) return MI_E_NOMEM;
        for (size_t i = 0; i < bytes; i++) c->pixels[s][i] = (uint8_t)mi_rng_below(&r, 256);
        c->data.split[s] = (struct mi_pack_split){.rgb = c->pixels[s], .labels = c->labels, .n = n[s]};
    }
    return MI_OK;
}

static enum mi_status read_names(struct cost *c, const struct bench_setup *setup) {
    memset(c, 0, sizeof *c);
    if (!(c->spec = mi_spec_load(setup->spec, NULL, 0))) return mi_error_status();
    return read_composition(c, setup->work + sizeof prefix - 1);
}

static enum mi_status cost_open(struct cost *c, const struct bench_setup *setup) {
    MI_TRY(read_names(c, setup));
    int size = setup->spec ? (int)mi_values_int(c->spec->section[MI_SEC_DATA], "size") : 0;
    c->model = setup->spec ? c->spec->cells[0].model : "vgg16";
    MI_TRY(make_data(c, size > 0 ? size : SIZE));
    MI_TRY(mi_train_recipe_read(c->spec->section[MI_SEC_TARGET], &c->recipe));
    if (!setup->spec) c->recipe.batch = BATCH;
    if (setup->batch) c->recipe.batch = setup->batch;
    c->recipe.keep = MI_KEEP_LAST;
    return MI_OK;
}

static void cost_close(struct cost *c) {
    mi_spec_free(c->spec);
    free(c->composition);
    free(c->labels);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) free(c->pixels[s]);
}

/* As if public weights had been loaded: defenses that freeze layers refuse untouched random ones. */
static void move_weights(struct mi_params *ps) {
    mt_scope *s = mt_scope_begin("bench weights");
    bool was = mt_grad_mode(false);
    for (int i = 0; i < ps->n; i++)
        if (ps->item[i].role != MI_BUFFER) mt_affine_(ps->item[i].t, 1.001, 0);
    mt_grad_mode(was);
    mt_scope_end(s);
}

/* Seconds of a training step under `composition`. */
static enum mi_status turn(struct cost *c, const struct bench_setup *setup, const char *composition, double *seconds) {
    struct mi_trial trial = {.phase = "train", .steps = STEPS};
    struct mi_ctx ctx = {.stage = "bench",
                         .device = setup->device,
                         .precision = setup->precision,
                         .seed = 1,
                         .checkpoint_every = 1e9,
                         .report_every = 1e9,
                         .trial = &trial};
    struct mi_defenses ds = {.n = 0};
    double acc = 0;
    const struct mi_values *v = mi_spec_entry(c->spec, MI_KIND_MODEL, c->model);
    struct mi_model *m = v ? mi_model_new(c->model, v, CLASSES, c->data.size, setup->device, 1) : NULL;
    enum mi_status st = m ? mi_defenses_open(&ds, composition, c->spec) : mi_error_status();
    if (st == MI_OK) st = mi_defenses_prepare(&ds, m);
    if (st == MI_OK) {
        m->precision = setup->precision;
        move_weights(m->params);
        st = mi_train(&ctx, m, &c->data, &c->recipe, &ds, &acc);
    }
    mi_defenses_close(&ds);
    mi_model_free(m);
    if (st == MI_STOPPED && trial.seconds > 0) {
        mi_error_clear();
        *seconds = trial.seconds;
        return MI_OK;
    }
    return st != MI_OK ? st : mi_fail(MI_E_INTERNAL, "bench: an epoch is shorter than %d steps", STEPS + 1);
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static enum mi_status pairs(struct cost *c, const struct bench_setup *setup, double seconds, double *value,
                            int64_t *steps) {
    double quotient[MOST], spent = 0;
    int n = 0;
    while (n < MOST && (spent < seconds || n < 3)) {
        double plain = 0, defended = 0;
        bool first = n % 2 == 0; /* none, defended, defended, none: what drifts evenly cancels */
        if (first) MI_TRY(turn(c, setup, "none", &plain));
        MI_TRY(turn(c, setup, c->composition, &defended));
        if (!first) MI_TRY(turn(c, setup, "none", &plain));
        quotient[n++] = defended / plain;
        spent += STEPS * (plain + defended);
    }
    qsort(quotient, (size_t)n, sizeof *quotient, by_size);
    *value = (quotient[n / 2] + quotient[(n - 1) / 2]) / 2;
    *steps = (int64_t)n * STEPS;
    return MI_OK;
}

static enum mi_status defense_run(const struct bench_setup *setup, double seconds, double *value, int64_t *steps) {
    struct cost c;
    enum mi_status st = cost_open(&c, setup);
    if (st == MI_OK) st = pairs(&c, setup, seconds, value, steps);
    cost_close(&c);
    return st;
}

static enum mi_status defense_check(const struct bench_setup *setup) {
    struct cost c;
    struct mi_defenses ds = {.n = 0};
    enum mi_status st = read_names(&c, setup);
    if (st == MI_OK) st = mi_defenses_open(&ds, c.composition, c.spec);
    mi_defenses_close(&ds);
    cost_close(&c);
    return st;
}

const struct bench_work *bench_defense_work(const char *name) {
    static char kept[160]; /* one work a process, or one after another */
    static struct bench_work work = {
        .name = kept, .unit = "x none", .help = "of the table of defenses", .run = defense_run, .check = defense_check};
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return NULL;
    snprintf(kept, sizeof kept, "%s", name);
    return &work;
}

bool bench_defense_next(size_t *at, char *name, size_t room) {
    size_t n = 0;
    while (mi_defense_table[n]) n++;
    const char *what = *at < n ? mi_defense_table[*at]->info.name
                       : *at - n < sizeof also / sizeof *also ? also[*at - n] : NULL;
    if (what) snprintf(name, room, "%s%s", prefix, what);
    ++*at;
    return what != NULL;
}
