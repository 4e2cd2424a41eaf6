/* attacks/rlb_agents.c - one group of RLB-MI's agents: what they see, remember, learn and deliver.
 *
 * An episode: state s from N(0,I), action a, next state s' = alpha s + (1-alpha) a; the target's probabilities for the
 * image of s' (and of a, where that is another image) give the reward; the step is remembered; one update follows. Then
 * a candidate for delivery.  Only s, a and the reward are stored: s' follows from them, the last step of an episode
 * from its number.
 *
 * What a learner draws is a function of (seed, label, restart, step); the steps a batch takes and the noise of an
 * update are functions of (seed, step), the same for all.  Either way company does not matter.  The replay is appended
 * to disk in segments, written once; a checkpoint needs only the segment begun.  Owns the group's tensors and networks.
 */
#include "attacks/rlb_agents.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- formulas ---------------------------------------------------------------------------------------------------- */

static mt_tensor *log_of(mt_tensor *p) {
    return mt_clamp(mt_unary(p, MT_LOG), -100, 0);
}

enum mi_status mi_rlb_reward(mt_tensor *p, mt_tensor *q, mt_tensor *y, const double w[3], struct mi_rlb_reward *out) {
    mt_tensor *own = mt_gather(p, 1, y); /* [N,1] */
    mt_tensor *rest = mt_scatter_(mt_clone(p), 1, y,
                                  mt_full(MT_SHAPE(p ? mt_size(p, 0) : 0, 1), -1,
                                          (mt_spec){MT_F32, p ? mt_device_of(p) : MT_CPU, MT_NCHW})); /* [N,K] */
    out->own = mt_squeeze(own, 1);
    out->margin = mt_sub(out->own, mt_amax(rest, 1, false));
    mt_tensor *far = mt_unary(mt_clamp(out->margin, 1e-7, 1), MT_LOG);
    mt_tensor *r1 = log_of(out->own), *r2 = q == p ? r1 : log_of(mt_squeeze(mt_gather(q, 1, y), 1));
    mt_tensor *sum = mt_add(mt_affine(r1, w[0], 0), mt_affine(r2, w[1], 0));
    out->reward = mt_add(sum, mt_affine(far, w[2], 0)); /* [N] */
    if (out->reward) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "RLB-MI's reward could not be formed");
}

/* Floyd's sampling: each of the last `count` numbers draws a place up to itself and takes its own if that is taken. */
void mi_rlb_choose(struct mi_rng *r, int64_t n, int count, unsigned char *taken, int64_t *out) {
    int got = 0;
    for (int64_t j = n - count; j < n; j++) {
        int64_t pick = mi_rng_below(r, j + 1);
        if (taken[pick]) pick = j;
        taken[pick] = 1;
        out[got++] = pick;
    }
    for (int i = 0; i < got; i++) taken[out[i]] = 0;
}

/* ---- a group ------------------------------------------------------------------------------------------------------
 */

static mt_spec f32(const struct mi_rlb *r) {
    return (mt_spec){MT_F32, r->q.job->ctx->device, MT_NCHW};
}

void mi_rlb_group_close(struct mi_rlb *r) {
    mt_tensor **own[] = {&r->y, &r->replay, &r->tail, &r->best, &r->score};
    for (int i = 0; i < 5; i++) {
        mt_free(*own[i]);
        *own[i] = NULL;
    }
    mi_sac_close(&r->m);
}

enum mi_status mi_rlb_group_open(struct mi_rlb *r, int group) {
    r->first = group * r->group;
    r->n = r->q.rows - r->first < r->group ? r->q.rows - r->first : r->group;
    int64_t n = r->n, record = 2 * r->dim + 1;
    int64_t *y = mi_calloc((size_t)n, sizeof *y);
    uint64_t *seed = mi_calloc((size_t)n, sizeof *seed);
    enum mi_status st = y && seed ? MI_OK : MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < n; i++) {
        struct mi_rng key = mi_query_rng(&r->q, "rlbmi agent", r->first + i, 0);
        y[i] = mi_query_label(&r->q, r->first + i);
        seed[i] = mi_rng_u64(&key);
    }
    r->sac.learners = r->n;
    if (st == MI_OK && !r->random) st = mi_sac_open(&r->m, &r->sac, seed, r->q.job->ctx->device);
    if (st == MI_OK) {
        mt_scope *s = mt_scope_begin("group");
        mt_spec i64 = {MT_I64, MT_CPU, MT_NCHW};
        r->y = mt_keep(mt_to(mt_from(y, MT_SHAPE(n, 1), i64), r->q.job->ctx->device));
        r->best = mt_keep(mt_zeros(MT_SHAPE(n, r->dim), f32(r)));
        r->score = mt_keep(mt_zeros(MT_SHAPE(n), f32(r)));
        int64_t all = (int64_t)r->episodes * r->steps;
        if (!r->random) r->replay = mt_keep(mt_empty(MT_SHAPE(n, all, record), f32(r)));
        if (!r->random) r->tail = mt_keep(mt_zeros(MT_SHAPE(n, r->segment, record), f32(r)));
        st = mt_scope_end(s);
    }
    free(y);
    free(seed);
    return st;
}

/* After a resume: the replay from its segments on disk and the one begun, which the checkpoint holds. */
enum mi_status mi_rlb_recall(struct mi_rlb *r, int64_t size) {
    mt_scope *s = mt_scope_begin("recall");
    enum mi_status st = MI_OK;
    for (int64_t i = 0; st == MI_OK && i < size / r->segment; i++) {
        char part[64];
        mt_tensor *t = NULL;
        snprintf(part, sizeof part, "replay-%04d-%05lld", r->first / r->group, (long long)i);
        st = mi_ctx_part_load(r->q.job->ctx, part, &t, (const char *const[]){"replay"}, 1);
        if (st == MI_E_MISSING)
            mi_fail(st,
                    "RLB-MI cannot continue: %s of its memory is gone from the work folder; remove the folder to "
                    "start this attack afresh",
                    part);
        if (st == MI_OK) mt_copy_(mt_narrow(r->replay, 1, i * r->segment, r->segment), t);
        mt_drop(t);
    }
    int64_t rest = size % r->segment;
    if (st == MI_OK && rest > 0) mt_copy_(mt_narrow(r->replay, 1, size - rest, rest), mt_narrow(r->tail, 1, 0, rest));
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

/* ---- random numbers ---------------------------------------------------------------------------------------------- */

/* [n,1,width]: each learner's own. */
static mt_tensor *own_normal(struct mi_rlb *r, const char *purpose, int64_t step, int width) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (r->n > 1)
#endif
    for (int i = 0; i < r->n; i++) {
        struct mi_rng rng = mi_query_rng(&r->q, purpose, r->first + i, step);
        mi_rng_fill_normal(&rng, r->host + (size_t)i * (size_t)width, (size_t)width);
    }
    return mt_to(mt_from(r->host, MT_SHAPE(r->n, 1, width), MT_SPEC_F32), r->q.job->ctx->device);
}

static mt_tensor *agent_noise(struct mi_rlb *r, const char *purpose, int64_t step) {
    return own_normal(r, purpose, step, r->noise == MI_RLB_COORDINATE ? r->dim : 1);
}

/* [1,1,1], [1,batch,1] or [1,batch,dim]: of an update, the same for all learners. */
static mt_tensor *update_noise(struct mi_rlb *r, const char *purpose, int64_t step) {
    int rows = r->noise == MI_RLB_SCALAR ? 1 : r->batch, width = r->noise == MI_RLB_COORDINATE ? r->dim : 1;
    struct mi_rng rng = mi_rng_make(r->q.job->ctx->seed, purpose, (uint64_t)step, 0);
    mi_rng_fill_normal(&rng, r->host, (size_t)rows * (size_t)width);
    return mt_to(mt_from(r->host, MT_SHAPE(1, rows, width), MT_SPEC_F32), r->q.job->ctx->device);
}

/* ---- one episode ------------------------------------------------------------------------------------------------- */

/* What the agents answer to s [n,1,dim], without a graph. */
static enum mi_status act(struct mi_rlb *r, mt_tensor *s, mt_tensor *e, mt_tensor **a) {
    bool grad = mt_grad_mode(false);
    struct mi_sac_policy p = {0};
    enum mi_status st = mi_sac_policy(&r->m, s, e, &p);
    *a = p.a;
    mt_grad_mode(grad);
    return st;
}

static mt_tensor *next_state(const struct mi_rlb *r, mt_tensor *s, mt_tensor *a) {
    return r->alpha == 0 ? a : mt_add(mt_affine(s, r->alpha, 0), mt_affine(a, 1 - r->alpha, 0));
}

static mt_tensor *flat(const struct mi_rlb *r, mt_tensor *z) {
    return mt_reshape(z, MT_SHAPE(-1, r->dim));
}

/* A candidate that is at least as sure as the best so far takes its place. */
static void consider(struct mi_rlb *r, mt_tensor *z, mt_tensor *own) {
    mt_tensor *better = mt_compare(own, r->score, MT_GE); /* [n] */
    mt_copy_(r->best, mt_where(mt_unsqueeze(better, 1), flat(r, z), r->best));
    mt_copy_(r->score, mt_where(better, own, r->score));
}

static mt_tensor *own_column(const struct mi_rlb *r, mt_tensor *p) {
    return mt_squeeze(mt_gather(p, 1, r->y), 1); /* [n] */
}

/* Shows the images of s' (and of a) and rewards; `tried`, if any, is shown with them and considered. */
static enum mi_status judge(struct mi_rlb *r, mt_tensor *next, mt_tensor *a, mt_tensor *tried,
                            struct mi_rlb_reward *out) {
    mt_tensor *z[3] = {flat(r, next)}, *p = NULL;
    int parts = 1, n = r->n;
    if (r->twice) z[parts++] = flat(r, a);
    if (tried) z[parts++] = flat(r, tried);
    MI_TRY(mi_query_probs(&r->q, parts > 1 ? mt_cat(z, parts, 0) : z[0], &p)); /* [parts n,K] */
    if (tried) consider(r, tried, own_column(r, mt_narrow(p, 0, (int64_t)(parts - 1) * n, n)));
    mt_tensor *of_next = parts > 1 ? mt_narrow(p, 0, 0, n) : p;
    return mi_rlb_reward(of_next, r->twice ? mt_narrow(p, 0, n, n) : of_next, r->y, r->weight, out);
}

/* Appends step k to the replay; a full segment goes to disk. */
static enum mi_status remember(struct mi_rlb *r, int64_t k, mt_tensor *s, mt_tensor *a, mt_tensor *reward) {
    mt_tensor *scaled = mt_reshape(mt_affine(reward, r->scale, 0), MT_SHAPE(r->n, 1, 1));
    mt_tensor *record = mt_cat(MT_LIST(s, a, scaled), 2); /* [n,1,2 dim+1] */
    mt_copy_(mt_narrow(r->replay, 1, k, 1), record);
    mt_copy_(mt_narrow(r->tail, 1, k % r->segment, 1), record);
    if ((k + 1) % r->segment != 0) return MI_OK;
    char part[64];
    snprintf(part, sizeof part, "replay-%04d-%05lld", r->first / r->group, (long long)(k / r->segment));
    return mi_ctx_part_save(r->q.job->ctx, part, (mt_tensor *const[]){r->tail}, (const char *const[]){"replay"}, 1);
}

/* A uniform batch of the first `size` steps. */
static enum mi_status draw_batch(struct mi_rlb *r, int64_t k, int64_t size, struct mi_sac_batch *b) {
    mt_device dev = r->q.job->ctx->device;
    struct mi_rng rng = mi_rng_make(r->q.job->ctx->seed, "rlbmi replay", (uint64_t)k, 0);
    mi_rlb_choose(&rng, size, r->batch, r->taken, r->index);
    mt_spec i64 = {MT_I64, MT_CPU, MT_NCHW};
    mt_tensor *at = mt_to(mt_from(r->index, MT_SHAPE(r->batch), i64), dev);
    mt_tensor *rows = mt_index_select(r->replay, 1, at); /* [n,batch,2 dim+1] */
    b->s = mt_narrow(rows, 2, 0, r->dim);
    b->a = mt_narrow(rows, 2, r->dim, r->dim);
    b->r = mt_select(rows, 2, 2 * r->dim); /* [n,batch] */
    if (r->steps == 1) return MI_OK;
    for (int i = 0; i < r->batch; i++) r->host[i] = r->index[i] % r->steps == r->steps - 1;
    b->next = next_state(r, b->s, b->a);
    b->done = mt_to(mt_from(r->host, MT_SHAPE(r->batch), MT_SPEC_F32), dev);
    return MI_OK;
}

static enum mi_status learn(struct mi_rlb *r, struct mi_loop *l, int64_t k) {
    struct mi_sac_batch b = {0};
    struct mi_sac_losses loss;
    MI_TRY(draw_batch(r, k, k + 1, &b));
    mt_tensor *next = r->steps > 1 ? update_noise(r, "rlbmi next", k) : MT_NONE;
    MI_TRY(mi_sac_learn(&r->m, &b, next, update_noise(r, "rlbmi update", k), &loss));
    mi_loop_scalar_tensor(l, "loss/critic", loss.critic);
    mi_loop_scalar_tensor(l, "loss/actor", loss.actor);
    return MI_OK;
}

static void curves(struct mi_rlb *r, struct mi_loop *l, const struct mi_rlb_reward *w) {
    mt_tensor *right = mt_cast(mt_compare_scalar(w->margin, 0, MT_GT), MT_F32);
    mi_loop_scalar_tensor(l, "attack/reward", mt_mean(w->reward, NULL, 0, false));
    mi_loop_scalar_tensor(l, "attack/best", mt_mean(r->score, NULL, 0, false));
    mi_loop_scalar_tensor(l, "acc/target", mt_affine(mt_mean(right, NULL, 0, false), 100, 0));
    if (r->random) return;
    mt_tensor *heat = mt_unary(mt_detach(mi_params_find(r->m.temperature, "log")), MT_EXP);
    mi_loop_scalar_tensor(l, "attack/temperature", mt_mean(heat, NULL, 0, false));
}

/* A run of the agents from fresh states that is not learned from, the one after `episode`: *z [n,1,dim]. */
static enum mi_status run_fresh(struct mi_rlb *r, int64_t episode, mt_tensor **z) {
    mt_tensor *s = own_normal(r, "rlbmi try state", episode, r->dim), *a = NULL;
    for (int t = 0; t < r->steps; t++) {
        MI_TRY(act(r, s, agent_noise(r, "rlbmi try", episode * r->steps + t), &a));
        s = next_state(r, s, a);
    }
    *z = s;
    return MI_OK;
}

/* The run that follows the last episode has nobody to be shown with. */
static enum mi_status try_last(struct mi_rlb *r, int64_t episode) {
    mt_tensor *z = NULL, *p = NULL;
    MI_TRY(run_fresh(r, episode, &z));
    MI_TRY(mi_query_probs(&r->q, flat(r, z), &p));
    consider(r, z, own_column(r, p));
    return MI_OK;
}

/* Between the fresh run after an episode and the next episode nothing is learned, so they are shown together. */
static enum mi_status play(struct mi_rlb *r, struct mi_loop *l) {
    bool fresh = r->candidates == MI_RLB_FRESH;
    mt_tensor *s = own_normal(r, "rlbmi state", l->step, r->dim), *a = NULL, *tried = NULL; /* [n,1,dim] */
    struct mi_rlb_reward w = {0};
    if (fresh && l->step > 0) MI_TRY(run_fresh(r, l->step - 1, &tried));
    for (int t = 0; t < r->steps; t++, tried = NULL) {
        int64_t k = l->step * r->steps + t;
        MI_TRY(act(r, s, agent_noise(r, "rlbmi explore", k), &a));
        mt_tensor *next = next_state(r, s, a);
        MI_TRY(judge(r, next, a, tried, &w));
        MI_TRY(remember(r, k, s, a, w.reward));
        if (k + 1 > r->warmup) MI_TRY(learn(r, l, k));
        s = next;
    }
    if (!fresh)
        consider(r, s, w.own);
    else if (l->step == l->total - 1)
        MI_TRY(try_last(r, l->step));
    curves(r, l, &w);
    return MI_OK;
}

/* The baseline: a standard normal latent each. */
static enum mi_status guess(struct mi_rlb *r, struct mi_loop *l) {
    mt_tensor *z = own_normal(r, "rlbmi guess", l->step, r->dim), *p = NULL;
    struct mi_rlb_reward w = {0};
    MI_TRY(mi_query_probs(&r->q, flat(r, z), &p));
    MI_TRY(mi_rlb_reward(p, p, r->y, r->weight, &w));
    consider(r, z, w.own);
    curves(r, l, &w);
    return MI_OK;
}

enum mi_status mi_rlb_episode(struct mi_rlb *r, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("episode");
    enum mi_status st = r->random ? guess(r, l) : play(r, l);
    if (st == MI_OK && mi_loop_report_due(l)) st = mi_query_show(&r->q, r->first, r->best, l->step);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}
