/* defenses.c - bench works "defense/COMPOSITION": what a training step with these defenses costs, in steps of a training
 * without any.
 *
 * The training loop runs as it does for a target (feeder, hooks, loss, backward, optimiser), twice: two threads hold one
 * training each and take turns after every step, so both see the same machine.  The fastest defended step over the fastest
 * other one is the result: on a shared machine single steps of equal work differ by a third, always upwards.  (DP-SGD's
 * own batches vary in size; dp:sampling=shuffled compares equal ones.)  1000 people; VGG16-BN at 64x64, batch 64, the
 * recipe of a plain [target], or what an experiment says.
 *
 * A composition is written as in a spec: "midre:fill=telea+nls". */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/spec.h"
#include "midre/train.h"
#include "src/bench/works.h"

enum { SIZE = 64, BATCH = 64, CLASSES = 1000, PHOTOS = 4, TESTS = 64, MOST = 400 };

static const char prefix[] = "defense/";

/* Beside the single entries of the table: what the paper composes, and fills that cost. */
static const char *const also[] = {"midre:fill=telea", "dp:sampling=shuffled", "midre+nls", "midre+bido", NULL};

struct cost {
    struct mi_spec *spec;
    const char *model; /* of the spec */
    const char *composition; /* as the spec has it */
    struct mi_dataset data;
    uint8_t *pixels[MI_SPLIT_COUNT]; /* of data */
    int32_t *labels;
    struct mi_train_recipe recipe;
};

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
    MI_TRY(mi_spec_set(c->spec, mi_section_word(MI_SEC_DEFENSE), "name", setup->work + sizeof prefix - 1));
    c->composition = c->spec->cells[0].defense;
    if (!strchr(setup->work, ',')) return MI_OK;
    return mi_fail(MI_E_USAGE, "bench: \"%.80s\" is a list; measure one composition after another", setup->work);
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

/* ---- two trainings in step ------------------------------------------------------------------------------------- */

/* One of them runs at a time: side 0 without defense, side 1 with. */
struct race {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int whose;
    bool over;
    double wanted, spent; /* seconds */
    int most, n[2];       /* steps at most, steps timed */
    double seconds[2][MOST];
};

struct side {
    struct race *race;
    struct cost *cost;
    const struct bench_setup *setup;
    const char *composition;
    int number, threads;
    enum mi_status status;
    char *message; /* of a failure; owned */
};

static void wait_for_turn(struct race *r, int number) {
    while (r->whose != number && !r->over) pthread_cond_wait(&r->changed, &r->lock);
}

static void hand_over(struct race *r, int number) {
    r->whose = 1 - number;
    pthread_cond_broadcast(&r->changed);
}

/* After a step of one side: the other one goes on. */
static bool after_step(void *user, double seconds) {
    struct side *s = user;
    struct race *r = s->race;
    pthread_mutex_lock(&r->lock);
    if (seconds > 0 && r->n[s->number] < r->most) {
        r->seconds[s->number][r->n[s->number]++] = seconds;
        r->spent += seconds;
    }
    if (r->n[1] >= r->most || (r->n[1] >= 3 && r->spent >= r->wanted)) r->over = true;
    hand_over(r, s->number);
    wait_for_turn(r, s->number);
    bool over = r->over;
    pthread_mutex_unlock(&r->lock);
    return over;
}

/* Trains under a side's composition until the race is over. */
static enum mi_status train(struct side *s) {
    struct cost *c = s->cost;
    struct mi_trial trial = {.phase = "train", .steps = MOST, .after = after_step, .user = s};
    struct mi_ctx ctx = {.stage = "bench",
                         .device = s->setup->device,
                         .precision = s->setup->precision,
                         .seed = 1,
                         .checkpoint_every = 1e9,
                         .report_every = 1e9,
                         .trial = &trial};
    struct mi_defenses ds = {.n = 0};
    double acc = 0;
    const struct mi_values *v = mi_spec_entry(c->spec, MI_KIND_MODEL, c->model);
    struct mi_model *m = v ? mi_model_new(c->model, v, CLASSES, c->data.size, ctx.device, 1) : NULL;
    enum mi_status st = m ? mi_defenses_open(&ds, s->composition, c->spec) : mi_error_status();
    if (st == MI_OK) st = mi_defenses_prepare(&ds, m);
    if (st == MI_OK) {
        m->precision = ctx.precision;
        move_weights(m->params);
        st = mi_train(&ctx, m, &c->data, &c->recipe, &ds, &acc);
    }
    mi_defenses_close(&ds);
    mi_model_free(m);
    return st == MI_STOPPED && s->race->over ? MI_OK : st;
}

static void *run_side(void *arg) {
    struct side *s = arg;
    struct race *r = s->race;
    pthread_mutex_lock(&r->lock);
    wait_for_turn(r, s->number);
    bool over = r->over;
    pthread_mutex_unlock(&r->lock);
    if (over) return NULL;
    s->status = mt_init(s->threads); /* how many threads compute is known to each thread for itself */
    if (s->status == MI_OK) s->status = train(s);
    if (s->status != MI_OK) s->message = mi_strdup(mi_error_text());
    mi_error_clear();
    mt_mem_release(s->setup->device); /* what is kept for a thread goes before it does */
    pthread_mutex_lock(&r->lock);
    r->over = true;
    hand_over(r, s->number);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static double fastest(const double *seconds, int n) {
    double least = seconds[0];
    for (int i = 1; i < n; i++)
        if (seconds[i] < least) least = seconds[i];
    return least;
}

static enum mi_status race(struct cost *c, const struct bench_setup *setup, double seconds, double *value,
                           int64_t *steps) {
    struct race r = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .wanted = seconds};
    struct side side[2];
    pthread_t thread[2];
    int started = 0, epoch = (int)(c->data.split[MI_TRAIN].n / (size_t)c->recipe.batch);
    r.most = epoch * 3 / 4 - 2 < MOST ? epoch * 3 / 4 - 2 : MOST; /* the end of an epoch tests, which is no step */
    if (r.most < 3) return mi_fail(MI_E_USAGE, "bench: --batch is too large for %d photos", CLASSES * PHOTOS);
    mallopt(M_ARENA_MAX, 1); /* both trainings allocate as one in the main thread does */
    for (int i = 0; i < 2; i++) {
        side[i] = (struct side){&r, c, setup, i == 0 ? "none" : c->composition, i, mt_threads(), MI_OK, NULL};
        if (pthread_create(&thread[i], NULL, run_side, &side[i]) != 0) break;
        started++;
    }
    if (started < 2) {
        pthread_mutex_lock(&r.lock);
        r.over = true;
        pthread_cond_broadcast(&r.changed);
        pthread_mutex_unlock(&r.lock);
    }
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    enum mi_status st = started < 2 ? mi_fail(MI_E_INTERNAL, "bench: no thread for a training") : MI_OK;
    for (int i = 0; i < started; i++) {
        if (side[i].status != MI_OK && st == MI_OK)
            st = mi_fail(side[i].status, "%s", side[i].message ? side[i].message : "a training failed");
        free(side[i].message);
    }
    if (st == MI_OK && (r.n[0] < 1 || r.n[1] < 1))
        st = mi_fail(MI_E_INTERNAL, "bench: the trainings ended before a step could be timed");
    if (st != MI_OK) return st;
    *value = fastest(r.seconds[1], r.n[1]) / fastest(r.seconds[0], r.n[0]);
    *steps = r.n[1];
    return MI_OK;
}

static enum mi_status defense_run(const struct bench_setup *setup, double seconds, double *value, int64_t *steps) {
    struct cost c;
    enum mi_status st = cost_open(&c, setup);
    if (st == MI_OK) st = race(&c, setup, seconds, value, steps);
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
