/* attacks.c - bench works made from the table of attacks, each the attack's own stage cut short (a trial of its loop):
 *
 *   NAME/prior    a GAN's training, images/s: D's real images; its generator steps are part of the time
 *   NAME/invert   white-box attacks: iterations/s, 60 identities side by side
 *   NAME/queries  attacks that only ask: images the target answers for a second, 60 identities side by side
 *   NAME/alone    the same with one identity, as the published programs go about it
 *
 * By default the target is a VGG16-BN at 64x64 that knows 1000 people (scene.c).  Whole cycles of a GAN are timed
 * (n_critic steps of D and one of G), never a part of one.  Who asks only and learns while asking has a file of its own
 * (agents.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/bench/scene.h"
#include "src/bench/works.h"

struct act {
    const char *word, *unit;
    bool asks_only; /* for attacks that may not see gradients; else for the others; either way for a prior */
    bool prior, alone;
    const char *phase; /* whose steps are timed */
};

static const struct act acts[] = {
    {"prior", "images/s", false, true, false, "gan"},
    {"invert", "iterations/s", false, false, false, "invert"},
    {"queries", "queries/s", true, false, false, "repulsion"},
    {"alone", "queries/s", true, false, true, "repulsion"},
};

/* Searches go on as long as they are timed, at spheres that hardly grow. */
static const struct bench_set settings[] = {
    {"gan_steps", "1000000"}, {"iterations", "1000000"}, {"stack", "0"},        {"growth", "1.001"},
    {"max_radius", "1000000"}, {"max_iters", "1000000"}, {"max_rejected", "0"}, {NULL, NULL}};

static bool does(const struct mi_attack_desc *a, const struct act *act) {
    if (act->prior) return a->train_prior != NULL;
    return act->asks_only == (a->access < MI_ACCESS_WHITE);
}

static const struct mi_attack_desc *attack_of(const char *work, const struct act **act) {
    const char *slash = strchr(work, '/');
    for (size_t i = 0; slash && mi_attack_table[i]; i++) {
        const struct mi_attack_desc *a = mi_attack_table[i];
        size_t n = (size_t)(slash - work);
        if (strlen(a->info.name) != n || strncmp(work, a->info.name, n) != 0) continue;
        for (size_t k = 0; k < sizeof acts / sizeof *acts; k++)
            if (strcmp(slash + 1, acts[k].word) == 0 && does(a, &acts[k])) {
                *act = &acts[k];
                return a;
            }
    }
    return NULL;
}

/* A stage ends with MI_STOPPED when the trial has seen enough. */
static enum mi_status timed(struct bench_scene *s, enum mi_status st) {
    if (st == MI_STOPPED && s->trial.seconds > 0) {
        mi_error_clear();
        return MI_OK;
    }
    if (st != MI_OK) return st;
    return mi_fail(MI_E_INTERNAL, "bench: %s has no loop \"%s\"", s->attack->info.name, s->trial.phase);
}

static enum mi_status train_prior(struct bench_scene *s) {
    char *path = mi_path_join(s->root, "prior.safetensors");
    mt_archive *out = path ? mt_archive_create(path) : NULL;
    free(path);
    if (!out) return mi_error_status();
    enum mi_status st = s->attack->train_prior(&s->job, out);
    mt_archive_abort(out);
    return timed(s, st);
}

static enum mi_status invert(struct bench_scene *s) {
    struct mi_recon recon = {0};
    enum mi_status st = s->attack->invert(&s->job, &recon);
    mt_free(recon.x);
    return timed(s, st);
}

static double per_second(const struct bench_scene *s, const struct act *act) {
    const struct mi_trial *t = &s->trial;
    if (act->prior) return t->per_step / t->seconds;
    return (act->asks_only ? t->tallied / (double)t->timed : 1) / t->seconds;
}

static enum mi_status attack_run(const struct bench_setup *setup, double seconds, double *value, int64_t *steps) {
    const struct act *act = NULL;
    const struct mi_attack_desc *a = attack_of(setup->work, &act);
    struct bench_scene s;
    if (!a) return mi_fail(MI_E_USAGE, "bench: no work named '%s'", setup->work);
    char batch[16];
    MI_TRY(bench_scene_open(&s, a, setup, act->alone));
    snprintf(batch, sizeof batch, "%d", setup->batch ? setup->batch : (int)bench_whole(s.values, "gan_batch", 64));
    enum mi_status st = bench_scene_set(&s, settings);
    if (st == MI_OK && !act->prior) st = bench_scene_ready(&s);
    const struct bench_set wide[] = {{"gan_batch", batch}, {NULL, NULL}};
    if (st == MI_OK && act->prior) st = bench_scene_set(&s, wide);
    if (st == MI_OK && act->asks_only) st = bench_scene_one_class(&s);
    s.trial = (struct mi_trial){.phase = act->phase, .steps = 1, .at_least = seconds};
    if (st == MI_OK && act->prior) s.trial.units = atof(batch) * (double)bench_whole(s.values, "n_critic", 1);
    s.ctx.trial = &s.trial;
    if (st == MI_OK) st = act->prior ? train_prior(&s) : invert(&s);
    if (st == MI_OK) *value = per_second(&s, act);
    *steps = s.trial.timed;
    bench_scene_close(&s);
    return st;
}

const struct bench_work *bench_attack_work(const char *name) {
    static char kept[80]; /* one work a process, or one after another */
    static struct bench_work work = {.name = kept, .help = "of the table of attacks", .run = attack_run};
    const struct act *act;
    if (!attack_of(name, &act)) return NULL;
    snprintf(kept, sizeof kept, "%s", name);
    work.unit = act->unit;
    return &work;
}

/* A prior that an attack before it in the table trains the same way. */
static bool shared(size_t i) {
    for (size_t k = 0; k < i; k++)
        if (mi_attack_table[k]->train_prior == mi_attack_table[i]->train_prior) return true;
    return false;
}

bool bench_attack_next(size_t *at, char *name, size_t room) {
    enum { ACTS = sizeof acts / sizeof *acts };
    for (; mi_attack_table[*at / ACTS]; ++*at) {
        const struct mi_attack_desc *a = mi_attack_table[*at / ACTS];
        const struct act *act = &acts[*at % ACTS];
        if (!does(a, act) || (act->prior && shared(*at / ACTS))) continue;
        snprintf(name, room, "%s/%s", a->info.name, act->word);
        ++*at;
        return true;
    }
    return false;
}
