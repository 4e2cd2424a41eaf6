/* agents.c - bench works: RLB-MI's agents after their warm-up, when every episode also learns.
 *
 *   rlbmi/queries  60 learners in step: images the target answers for a second
 *   rlbmi/alone    one learner, as the published program goes about it
 *
 * The replay starts with random steps instead of episodes nobody wants to wait for; then the attack's own episodes run. */
#include <stdlib.h>

#include "attacks/rlb_agents.h"
#include "src/bench/scene.h"
#include "src/bench/works.h"

struct agents {
    struct bench_scene s;
    struct mi_rlb r;
    struct mi_loop l;
};

static void agents_close(void *work) {
    struct agents *w = work;
    if (!w) return;
    mi_rlb_close(&w->r);
    bench_scene_close(&w->s);
    free(w);
}

static enum mi_status remember(struct agents *w) {
    static const struct bench_set settings[] = {{"episodes", "3000"}, {NULL, NULL}};
    MI_TRY(bench_scene_set(&w->s, settings));
    MI_TRY(bench_scene_ready(&w->s));
    MI_TRY(mi_rlb_open(&w->r, &w->s.job));
    MI_TRY(mi_rlb_group_open(&w->r, 0));
    w->l = (struct mi_loop){.ctx = &w->s.ctx, .phase = "agents", .total = w->r.episodes, .step = w->r.warmup};
    mt_scope *scope = mt_scope_begin("bench replay");
    mt_rng *rng = mt_rng_new(w->s.ctx.device, 3);
    mt_fill_(w->r.replay, 0);
    mt_tensor *first = mt_narrow(w->r.replay, 1, 0, w->r.warmup); /* [n,warmup,2 dim+1] */
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(first, shape);
    mt_copy_(first, mt_act(mt_randn(shape, nd, (mt_spec){MT_F32, w->s.ctx.device, MT_NCHW}, rng), MT_TANH, 0));
    mt_rng_free(rng);
    return mt_scope_end(scope);
}

static void *agents_open(const struct bench_setup *setup, bool alone, double *per_step) {
    const struct mi_attack_desc *a = mi_attack_find("rlbmi");
    struct agents *w = mi_calloc(1, sizeof *w);
    if (!a || !w || bench_scene_open(&w->s, a, setup, alone) != MI_OK) {
        free(w);
        return NULL;
    }
    if (remember(w) != MI_OK) {
        agents_close(w);
        return NULL;
    }
    *per_step = w->r.n * (w->r.steps * (w->r.twice ? 2 : 1) + (w->r.candidates == MI_RLB_FRESH));
    return w;
}

static void *together_open(const struct bench_setup *setup, double *per_step) {
    return agents_open(setup, false, per_step);
}

static void *alone_open(const struct bench_setup *setup, double *per_step) {
    return agents_open(setup, true, per_step);
}

static enum mi_status agents_step(void *work) {
    struct agents *w = work;
    enum mi_status st = mi_rlb_episode(&w->r, &w->l);
    w->l.step = w->l.step + 1 < w->l.total ? w->l.step + 1 : w->r.warmup;
    return st;
}

const struct bench_work bench_rlbmi_queries = {.name = "rlbmi/queries",
                                               .unit = "queries/s",
                                               .help = "RLB-MI's agents of 60 identities",
                                               .open = together_open,
                                               .step = agents_step,
                                               .close = agents_close};
const struct bench_work bench_rlbmi_alone = {.name = "rlbmi/alone",
                                             .unit = "queries/s",
                                             .help = "RLB-MI's agent of one identity",
                                             .open = alone_open,
                                             .step = agents_step,
                                             .close = agents_close};
