/* attacks/sac.c - stacked soft actor-critics (Haarnoja et al. 2018) with the conventions of RLB-MI (Han et al. 2023).
 *
 * Actor: two hidden layers, a mean and a log-sigma head (clamped to [-20,2]);  u = mu + e sigma,  t = tanh u,
 * a = box t.  Log-density per coordinate  -e^2/2 - ln sigma - ln(2 pi)/2 - ln(1 - t^2 + 1e-6),  AVERAGED over the
 * coordinates, not summed: that is what the published numbers were made with.  Critic: (s,a) -> Q.
 *
 * One learning step, in this order: critics to  Y = r + gamma (1-done)(min Q_target(s',a') - T logp');  temperature
 * T = exp(lt), read before its own step, loss -mean lt (logp + entropy);  actor, loss mean(T logp - Q_1), with critic 1
 * after its step;  target critics by Polyak averaging.  Episodes of one step have Y = r: no targets, no next action.
 *
 * First weights are uniform: PyTorch's default for the actor and all biases; for the critics' hidden layers the bound
 * 1/sqrt(width of the OUTPUT), for their last layer 0.003.  Owns its networks and optimisers. */
#include "attacks/sac.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALF_LOG_2PI 0.91893853320467274178

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* One stacked tensor: learner i uniform in +-bound from its own stream. */
static void fill(mt_tensor *t, const struct mi_sac_config *c, const uint64_t *seed, const char *name, double bound) {
    int64_t each = mt_numel(t) / c->learners;
    float *w = mi_calloc((size_t)mt_numel(t), sizeof *w), *at = w;
    if (!w) {
        mt_raise(MI_E_NOMEM, "no memory for the first weights of %d learners", c->learners);
        return;
    }
    for (int i = 0; i < c->learners; i++) {
        struct mi_rng r = mi_rng_make(seed[i], name, 0, 0);
        for (int64_t k = 0; k < each; k++) *at++ = (float)mi_rng_range(&r, -bound, bound);
    }
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape);
    bool grad = mt_grad_mode(false);
    mt_copy_(t, mt_from(w, shape, nd, MT_SPEC_F32));
    mt_grad_mode(grad);
    free(w);
}

struct layer {
    const char *name;
    int in, out;
    double bound;
};

/* `stream` names the random numbers: equal for critics that start as twins. */
static void layer_new(struct mi_builder *b, const struct mi_sac_config *c, const uint64_t *seed, const char *stream,
                      const struct layer *l) {
    char key[64];
    mi_builder_push(b, l->name);
    mt_tensor *w = mi_param_new(b, "weight", MT_SHAPE(c->learners, l->in, l->out), MI_PARAM);
    mt_tensor *bias = mi_param_new(b, "bias", MT_SHAPE(c->learners, 1, l->out), MI_PARAM);
    mi_builder_pop(b);
    if (!w || !bias) return;
    snprintf(key, sizeof key, "%s %s weight", stream, l->name);
    fill(w, c, seed, key, l->bound);
    snprintf(key, sizeof key, "%s %s bias", stream, l->name);
    fill(bias, c, seed, key, 1 / sqrt(l->in));
}

static void actor_new(struct mi_sac *m, const uint64_t *seed) {
    const struct mi_sac_config *c = &m->c;
    int d = c->dim, h = c->hidden;
    const struct layer layers[] = {{"fc1", d, h, 1 / sqrt(d)},
                                   {"fc2", h, h, 1 / sqrt(h)},
                                   {"mu", h, d, 1 / sqrt(h)},
                                   {"log_sigma", h, d, 1 / sqrt(h)}};
    struct mi_builder b;
    mi_builder_init(&b, m->actor, 0);
    for (int i = 0; i < 4; i++) layer_new(&b, c, seed, "actor", &layers[i]);
}

static void critics_new(struct mi_sac *m, struct mi_params *ps, const uint64_t *seed) {
    const struct mi_sac_config *c = &m->c;
    int d = c->dim, h = c->hidden;
    const struct layer layers[] = {{"fc1", 2 * d, h, 1 / sqrt(h)}, {"fc2", h, h, 1 / sqrt(h)}, {"fc3", h, 1, 0.003}};
    struct mi_builder b;
    mi_builder_init(&b, ps, 0);
    for (int q = 0; q < c->critics; q++) {
        mi_builder_push(&b, q == 0 ? "q1" : "q2");
        for (int i = 0; i < 3; i++) layer_new(&b, c, seed, q == 0 || c->twins ? "critic" : "critic 2", &layers[i]);
        mi_builder_pop(&b);
    }
}

static enum mi_status adam(mt_opt **opt, struct mi_params *ps, double lr) {
    mt_tensor *list[16];
    int n = mi_params_trainable(ps, list, 16);
    *opt = mt_adam_new(lr, 0.9, 0.999, 1e-8, 0, false);
    return *opt ? mt_opt_add(*opt, list, n, 1) : mi_error_status();
}

static enum mi_status build(struct mi_sac *m, const uint64_t *seed, mt_device dev) {
    struct mi_params **all[] = {&m->actor, &m->critic, &m->target, &m->temperature};
    for (int i = 0; i < 4; i++)
        if (!(*all[i] = mi_params_new(dev, MT_NCHW))) return mi_error_status();
    mt_scope *s = mt_scope_begin("learners");
    struct mi_builder b;
    actor_new(m, seed);
    critics_new(m, m->critic, seed);
    if (m->c.bootstrap) critics_new(m, m->target, seed); /* the same streams: an exact copy */
    mi_params_freeze(m->target, true);
    mi_builder_init(&b, m->temperature, 0);
    mi_param_new(&b, "log", MT_SHAPE(m->c.learners, 1), MI_PARAM); /* T starts at 1 */
    MI_TRY(mt_scope_end(s));
    MI_TRY(adam(&m->opt_actor, m->actor, m->c.lr));
    MI_TRY(adam(&m->opt_critic, m->critic, m->c.lr));
    return adam(&m->opt_temperature, m->temperature, m->c.lr_temperature);
}

enum mi_status mi_sac_open(struct mi_sac *m, const struct mi_sac_config *c, const uint64_t *seed, mt_device dev) {
    *m = (struct mi_sac){.c = *c};
    enum mi_status st = build(m, seed, dev);
    if (st != MI_OK) mi_sac_close(m);
    return st;
}

void mi_sac_close(struct mi_sac *m) {
    mt_opt_free(m->opt_actor);
    mt_opt_free(m->opt_critic);
    mt_opt_free(m->opt_temperature);
    mi_params_free(m->actor);
    mi_params_free(m->critic);
    mi_params_free(m->target);
    mi_params_free(m->temperature);
    memset(m, 0, sizeof *m);
}

int64_t mi_sac_bytes(const struct mi_sac_config *c, int batch) {
    int64_t d = c->dim, h = c->hidden;
    int64_t actor = d * h + h * h + 2 * h * d + 2 * h + 2 * d, critic = 2 * d * h + h * h + 3 * h + 1;
    int64_t weights = 4 * (actor + critic * c->critics) + (c->bootstrap ? critic * c->critics : 0); /* w, grad, Adam */
    return 4 * (weights + (int64_t)batch * (8 * h + 16 * d));
}

/* ---- networks ---------------------------------------------------------------------------------------------------- */

static mt_tensor *weight(const struct mi_params *ps, const char *prefix, const char *name, const char *what) {
    char full[64];
    snprintf(full, sizeof full, "%s%s.%s", prefix, name, what);
    mt_tensor *t = mi_params_find(ps, full);
    if (!t) mt_raise(MI_E_INTERNAL, "actor-critic: no parameter %s", full);
    return t;
}

/* x [L,B,in] -> [L,B,out] */
static mt_tensor *dense(const struct mi_params *ps, const char *prefix, const char *name, mt_tensor *x) {
    mt_tensor *y = mt_matmul(x, weight(ps, prefix, name, "weight"));
    return mt_add(y, weight(ps, prefix, name, "bias"));
}

static mt_tensor *hidden(const struct mi_params *ps, const char *prefix, mt_tensor *x) {
    x = mt_act(dense(ps, prefix, "fc1", x), MT_RELU, 0);
    return mt_act(dense(ps, prefix, "fc2", x), MT_RELU, 0);
}

static enum mi_status formed(const mt_tensor *t, const char *what) {
    if (t) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "actor-critic: %s could not be formed", what);
}

enum mi_status mi_sac_policy(const struct mi_sac *m, mt_tensor *s, mt_tensor *e, struct mi_sac_policy *out) {
    mt_tensor *h = hidden(m->actor, "", s);                                       /* [L,B,h] */
    mt_tensor *log_sigma = mt_clamp(dense(m->actor, "", "log_sigma", h), -20, 2); /* [L,B,dim] */
    mt_tensor *u = mt_add(dense(m->actor, "", "mu", h), mt_mul(mt_unary(log_sigma, MT_EXP), e));
    mt_tensor *t = mt_act(u, MT_TANH, 0);
    mt_tensor *squash = mt_unary(mt_affine(mt_unary(t, MT_SQUARE), -1, 1 + 1e-6), MT_LOG);
    mt_tensor *normal = mt_sub(mt_affine(mt_unary(e, MT_SQUARE), -0.5, -HALF_LOG_2PI), log_sigma);
    out->a = m->c.box == 1 ? t : mt_affine(t, m->c.box, 0);
    out->logp = mt_mean(mt_sub(normal, squash), MT_DIMS(2), false); /* [L,B] */
    return formed(out->logp, "the policy");
}

mt_tensor *mi_sac_q(const struct mi_sac *m, const struct mi_params *ps, int which, mt_tensor *s, mt_tensor *a) {
    const char *prefix = which == 0 ? "q1." : "q2.";
    (void)m;
    return mt_squeeze(dense(ps, prefix, "fc3", hidden(ps, prefix, mt_cat(MT_LIST(s, a), 2))), 2); /* [L,B] */
}

/* ---- learning ---------------------------------------------------------------------------------------------------- */

/* Sum over learners of the mean over the batch; x [L,B] or [L,1]. */
static mt_tensor *total(mt_tensor *x) {
    return mt_sum(mt_mean(x, MT_DIMS(1), false), NULL, 0, false);
}

static mt_tensor *temperature(const struct mi_sac *m) {
    return mt_detach(mt_unary(mi_params_find(m->temperature, "log"), MT_EXP)); /* [L,1] */
}

static enum mi_status descend(mt_opt *o, mt_tensor *loss, const char *what) {
    MI_TRY(formed(loss, what));
    mt_opt_zero_grad(o);
    MI_TRY(mt_backward(loss, false));
    MI_TRY(mt_opt_step(o));
    mt_opt_zero_grad(o);
    return MI_OK;
}

/* What the critics should say, [L,B]; no gradient. */
static enum mi_status target_value(struct mi_sac *m, const struct mi_sac_batch *b, mt_tensor *e_next, mt_tensor **y) {
    *y = b->r;
    if (!m->c.bootstrap) return MI_OK;
    bool grad = mt_grad_mode(false);
    struct mi_sac_policy p = {0};
    enum mi_status st = mi_sac_policy(m, b->next, e_next, &p);
    if (st == MI_OK) {
        mt_tensor *q = mi_sac_q(m, m->target, 0, b->next, p.a);
        if (m->c.critics == 2) q = mt_min2(q, mi_sac_q(m, m->target, 1, b->next, p.a));
        mt_tensor *value = mt_sub(q, mt_mul(temperature(m), p.logp));
        *y = mt_add(b->r, mt_mul(mt_affine(b->done, -m->c.gamma, m->c.gamma), value));
        st = formed(*y, "the critics' target");
    }
    mt_grad_mode(grad);
    return st;
}

static enum mi_status critics_step(struct mi_sac *m, const struct mi_sac_batch *b, mt_tensor *e_next,
                                   mt_tensor **told) {
    mt_tensor *y = NULL, *loss = NULL;
    MI_TRY(target_value(m, b, e_next, &y));
    for (int q = 0; q < m->c.critics; q++) { /* their weights are apart: one step on the sum is a step on each */
        mt_tensor *error = mt_unary(mt_sub(mi_sac_q(m, m->critic, q, b->s, b->a), y), MT_SQUARE);
        mt_tensor *own = mt_affine(total(error), 0.5, 0);
        loss = q == 0 ? own : mt_add(loss, own);
    }
    *told = loss;
    return descend(m->opt_critic, loss, "the critics' loss");
}

/* Target critics move a little towards the critics. */
static void polyak(struct mi_sac *m) {
    bool grad = mt_grad_mode(false);
    for (int i = 0; i < m->target->n; i++) mt_lerp_(m->target->item[i].t, m->critic->item[i].t, m->c.tau);
    mt_grad_mode(grad);
}

static mt_tensor *per_learner(const struct mi_sac *m, mt_tensor *loss) {
    return mt_pass(mt_affine(mt_detach(loss), 1.0 / m->c.learners, 0));
}

enum mi_status mi_sac_learn(struct mi_sac *m, const struct mi_sac_batch *b, mt_tensor *e_next, mt_tensor *e,
                            struct mi_sac_losses *out) {
    mt_scope *s = mt_scope_begin("learn");
    struct mi_sac_policy p = {0};
    mt_tensor *critic = NULL, *heat = NULL, *actor = NULL;
    enum mi_status st = critics_step(m, b, e_next, &critic);
    mt_tensor *t = temperature(m); /* before its own step */
    if (st == MI_OK) st = mi_sac_policy(m, b->s, e, &p);
    if (st == MI_OK) {
        mt_tensor *gap = mt_affine(mt_detach(p.logp), 1, m->c.entropy); /* [L,B] */
        heat = mt_affine(total(mt_mul(mi_params_find(m->temperature, "log"), gap)), -1, 0);
        st = descend(m->opt_temperature, heat, "the temperature's loss");
    }
    if (st == MI_OK) {
        mi_params_freeze(m->critic, true);
        actor = total(mt_sub(mt_mul(t, p.logp), mi_sac_q(m, m->critic, 0, b->s, p.a)));
        st = descend(m->opt_actor, actor, "the actor's loss");
        mi_params_freeze(m->critic, false);
    }
    if (st == MI_OK && m->c.bootstrap) polyak(m);
    if (st == MI_OK && out)
        *out = (struct mi_sac_losses){per_learner(m, critic), per_learner(m, actor), per_learner(m, heat)};
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}
