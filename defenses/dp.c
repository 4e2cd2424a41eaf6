/* defenses/dp.c - DP-SGD (Abadi et al. 2016): no photo moves the weights by more than a bound, and noise covers that.
 *
 *     G = (sum_i g_i min(1, C/||g_i||) + N(0, sigma^2 C^2 I)) / B,
 *
 * one norm over all parameters that learn; then the usual optimiser.  Clipping is exact: one forward pass, a backward
 * pass that yields every layer's output gradients and from them each image's norm (ghost.c), a second one of
 * sum_i c_i loss_i.  The images' losses are taken from the composed loss as its derivative with respect to the images'
 * weights, so any loss that is a sum over images goes; others are refused.  Networks with parameters outside the
 * layers ghost.c knows are done image by image, and the journal says so.
 *
 * Batches are Poisson samples: each photo with probability q = B/N, on its own in every step.  BatchNorm lets images
 * see each other, which no bound survives: GroupNorm in its place, or running statistics that do not move.
 * What all this guarantees is counted by Renyi divergences (rdp.c) and told as it is, however large. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "defenses/ghost.h"
#include "defenses/rdp.h"
#include "midre/train.h"

enum { NORM_GROUP, NORM_FROZEN, NORM_REFUSE };

struct dp {
    struct mi_ghost ghost;
    const struct mi_train_recipe *recipe; /* while training */
    const char *uncovered;                /* a parameter whose norms ghost.c cannot tell, or NULL; the store's */
    mt_rng *rng;
    double q, steps; /* 0 before the plan */
    int expected;    /* B */
    bool checked;
};

/* ---- the network ------------------------------------------------------------------------------------------------- */

/* Opacus' choice of groups.  In a feature without places a group of few values would lose what it holds. */
static int groups_of(const struct mi_bn *bn, bool feature) {
    int64_t channels = mt_numel(bn->g);
    int groups = 32;
    while (channels % groups != 0 || (feature && groups > 1 && channels / groups < 8)) groups /= 2;
    return groups;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    int how = mi_values_choice(d->values, "norm");
    void *feature = m->desc->head_norm ? mi_params_layer(m->params, MI_LAYER_BN, m->desc->head_norm) : NULL;
    for (int i = 0; i < m->params->n_layers; i++) {
        struct mi_bn *bn = m->params->layer[i].at;
        if (m->params->layer[i].kind != MI_LAYER_BN || bn->off) continue;
        if (how == NORM_REFUSE)
            return mi_fail(MI_E_INPUT,
                           "dp: model %s has BatchNorm, whose statistics let the photos of a batch see each other: "
                           "one photo changes the gradients of all, so clipping bounds nothing.  norm = group puts "
                           "GroupNorm in its place, norm = frozen holds its statistics",
                           m->desc->info.name);
        if (how == NORM_FROZEN)
            bn->fixed = true;
        else
            bn->groups = groups_of(bn, bn == feature);
    }
    return MI_OK;
}

static enum mi_status compose(const struct mi_defense *d, const struct mi_defenses *all, const struct mi_spec *spec) {
    (void)spec;
    for (int i = 0; i < all->n; i++) {
        const struct mi_defense_desc *other = all->item[i].desc;
        if (other == d->desc || !other->couples_images) continue;
        return mi_fail(MI_E_INPUT,
                       "dp and %s do not compose: %s ties the photos of a batch together, so one photo changes the "
                       "gradients of others and clipping each photo's own bounds nothing",
                       other->info.name, other->info.name);
    }
    return MI_OK;
}

/* ---- batches and accounting -------------------------------------------------------------------------------------- */

static enum mi_status start(struct mi_defense *d, struct mi_model *m, struct mi_train_recipe *r) {
    struct dp *s = d->state;
    s->recipe = r;
    s->uncovered = mi_ghost_uncovered(m->params);
    return MI_OK;
}

static enum mi_status plan(struct mi_defense *d, struct mi_sampling *s) {
    struct dp *p = d->state;
    bool poisson = mi_values_choice(d->values, "sampling") == 0;
    if (s->n < 1 || s->batch < 1) return MI_OK; /* the loop says what is missing */
    p->expected = s->batch < (int)s->n ? s->batch : (int)s->n;
    p->q = (double)p->expected / (double)s->n;
    int64_t per_epoch = poisson ? llround(1 / p->q) : (int64_t)s->n / p->expected;
    p->steps = (double)per_epoch * (p->recipe ? p->recipe->epochs : 1);
    p->recipe = NULL; /* every defense has changed it by now */
    if (!poisson) return MI_OK;
    s->per_epoch = per_epoch;
    /* A greater sample than this has a probability below 1e-14. */
    double most = p->expected + 8 * sqrt((double)p->expected) + 16;
    s->most = most < (double)s->n ? (int)most : (int)s->n;
    return MI_OK;
}

static int sample(struct mi_defense *d, const struct mi_sampling *s, int64_t step, int32_t *index) {
    const struct dp *p = d->state;
    struct mi_rng r = mi_rng_make(s->seed, "poisson", (uint64_t)step, 0);
    int n = 0;
    for (size_t i = 0; i < s->n && n < s->most; i++)
        if (mi_rng_uniform(&r) < p->q) index[n++] = (int32_t)i;
    return n;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    const struct dp *p = d->state;
    (void)size;
    double clip = mi_values_real(d->values, "clip"), sigma = mi_values_real(d->values, "noise"), order;
    double delta = mi_values_real(d->values, "delta");
    int used = snprintf(text, room, "clips each photo's gradient at %g, noise %g times that", clip, sigma);
    size_t at = used > 0 && (size_t)used < room ? (size_t)used : room;
    if (p->steps <= 0) {
        snprintf(text + at, room - at, "; epsilon follows from photos, batch and epochs when the training starts");
        return;
    }
    double eps = mi_rdp_epsilon(p->q, sigma, p->steps, delta, false, &order);
    bool poisson = mi_values_choice(d->values, "sampling") == 0;
    if (isinf(eps))
        used = snprintf(text + at, room - at, "; epsilon is infinite: without noise nothing is guaranteed");
    else
        used = snprintf(text + at, room - at,
                        "; epsilon = %.3g at delta = %g (RDP order %g, %.0f steps, each photo taken with probability "
                        "%.4g)%s%s",
                        eps, delta, order, p->steps, p->q, eps > 20 ? ": formally no protection to speak of" : "",
                        poisson ? "" : "; shuffled batches are not the Poisson samples this epsilon is proved for");
    at += used > 0 && (size_t)used < room - at ? (size_t)used : room - at;
    if (p->uncovered)
        snprintf(text + at, room - at, "; gradients photo by photo, slowly: %s lies outside the known layers",
                 p->uncovered);
}

/* ---- clipped gradients ------------------------------------------------------------------------------------------- */

static mt_tensor *cut(mt_tensor *t, int64_t first, int64_t n) {
    return t && t != MT_NONE ? mt_narrow(t, 0, first, n) : t;
}

/* Losses of the single images, [n], in the graph of the composed loss: what it is multiplied with in it. */
static enum mi_status image_losses(struct dp *s, struct mi_defenses *all, struct mi_batch *b,
                                   struct mi_forward_out *out, mt_tensor **each) {
    mt_tensor *total = NULL;
    b->weight = mt_full(MT_SHAPE(b->n), 1, (mt_spec){MT_F32, mt_device_of(b->x), MT_NCHW});
    MI_TRY(mt_requires_grad_(b->weight, true));
    MI_TRY(mi_defenses_loss(all, b, out, &total));
    MI_TRY(mt_grad_of(total, &b->weight, 1, true, true, each));
    if (s->checked && *each != MT_NONE) return MI_OK;
    double sum = 0, whole = 0;
    if (*each != MT_NONE) {
        MI_TRY(mt_item(mt_sum(*each, NULL, 0, false), &sum));
        MI_TRY(mt_item(total, &whole));
    }
    s->checked = true;
    if (*each != MT_NONE && !(fabs(sum - whole) > 1e-3 * (1 + fabs(whole)))) return MI_OK;
    return mi_fail(MI_E_INTERNAL, "the composed loss is no sum over photos (%g, its parts %g): dp cannot clip it",
                   whole, sum);
}

/* Of the one image of the batch, over all parameters that learn, [1]. */
static enum mi_status single_square(const struct mi_params *ps, mt_tensor *total, mt_tensor **square) {
    int n = mi_params_trainable(ps, NULL, 0);
    mt_tensor **p = mi_calloc((size_t)n * 2 + 1, sizeof(mt_tensor *)), *sum = NULL;
    if (!p) return MI_E_NOMEM;
    mi_params_trainable(ps, p, n);
    enum mi_status st = mt_grad_of(total, p, n, false, true, p + n);
    bool was = mt_grad_mode(false);
    for (int i = 0; i < n && st == MI_OK; i++) {
        if (p[n + i] == MT_NONE) continue;
        mt_tensor *e = mt_sum(mt_unary(mt_cast(p[n + i], MT_F32), MT_SQUARE), NULL, 0, false);
        sum = sum ? mt_add(sum, e) : e;
    }
    if (st == MI_OK) *square = sum ? mt_reshape(sum, MT_SHAPE(1)) : mt_zeros(MT_SHAPE(1), MT_SPEC_F32);
    mt_grad_mode(was);
    free(p);
    return st;
}

/* Adds the clipped gradients of a part of the batch to the parameters'; logits and losses go to the parent's scope. */
static enum mi_status part(struct mi_defense *d, struct mi_defenses *all, struct mi_model *m, struct mi_batch *b,
                           mt_tensor **logits, mt_tensor **losses) {
    struct dp *s = d->state;
    struct mi_forward_out out = {0};
    mt_tensor *each = NULL, *square = NULL;
    double clip = mi_values_real(d->values, "clip");
    bool ghost = !s->uncovered;
    if (ghost) mi_ghost_begin(&s->ghost, b->n);
    enum mi_status st = mi_model_forward(m, b->x, mi_defenses_want_taps(all), &out);
    if (ghost) mi_ghost_end(&s->ghost);
    MI_TRY(st);
    MI_TRY(image_losses(s, all, b, &out, &each));
    mt_tensor *total = mt_sum(each, NULL, 0, false);
    MI_TRY(ghost ? mi_ghost_squares(&s->ghost, total, &square) : single_square(m->params, total, &square));
    bool was = mt_grad_mode(false);
    mt_tensor *norm = mt_clamp(mt_unary(square, MT_SQRT), clip, INFINITY);
    mt_tensor *share = mt_affine(mt_unary(norm, MT_RECIP), clip, 0); /* [n] min(1, C/norm) */
    mt_grad_mode(was);
    MI_TRY(mt_backward(mt_sum(mt_mul(each, share), NULL, 0, false), false));
    *logits = mt_pass(mt_detach(out.logits));
    *losses = mt_pass(mt_detach(each));
    return ghost ? mi_ghost_check(&s->ghost, m->params) : MI_OK;
}

static enum mi_status parts(struct mi_defense *d, struct mi_defenses *all, struct mi_model *m, struct mi_batch *b,
                            mt_tensor **logits, mt_tensor **losses, int n_parts) {
    enum mi_status st = MI_OK;
    for (int i = 0; i < n_parts && st == MI_OK; i++) {
        int first = b->n * i / n_parts, n = b->n * (i + 1) / n_parts - first;
        mt_scope *scope = mt_scope_begin("clipped");
        struct mi_batch p = *b;
        p.x = cut(b->x, first, n);
        p.y = cut(b->y, first, n);
        p.y2 = cut(b->y2, first, n);
        p.share = cut(b->share, first, n);
        p.index = b->index ? b->index + first : NULL;
        p.n = n;
        st = part(d, all, m, &p, &logits[i], &losses[i]);
        enum mi_status end = mt_scope_end(scope);
        if (st == MI_OK) st = end;
    }
    return st;
}

/* ---- noise ------------------------------------------------------------------------------------------------------- */

/* Parameters without a gradient get one of zeros: noise covers them all, also in a step without photos. */
static enum mi_status zeros_where_none(const struct mi_params *ps) {
    mt_tensor *sum = NULL;
    for (int i = 0; i < ps->n; i++) {
        if (!ps->item[i].trainable || mt_grad(ps->item[i].t) != MT_NONE) continue;
        mt_tensor *zero = mt_affine(mt_sum(ps->item[i].t, NULL, 0, false), 0, 0);
        sum = sum ? mt_add(sum, zero) : zero;
    }
    return sum ? mt_backward(sum, false) : MI_OK;
}

static enum mi_status add_noise(struct mi_defense *d, struct mi_model *m, const struct mi_batch *b) {
    struct dp *s = d->state;
    double bound = mi_values_real(d->values, "clip") * mi_values_real(d->values, "noise");
    int expected = s->expected > 0 ? s->expected : b->n; /* without a plan: the batch at hand */
    MI_TRY(zeros_where_none(m->params));
    if (!s->rng && !(s->rng = mt_rng_new(m->params->device, 0))) return mt_status();
    mt_rng_seed(s->rng, mi_mix(mi_mix(b->seed, mi_hash_text("dp noise")), (uint64_t)b->step));
    bool was = mt_grad_mode(false);
    for (int i = 0; i < m->params->n; i++) {
        if (!m->params->item[i].trainable) continue;
        mt_tensor *g = mt_grad(m->params->item[i].t);
        int64_t shape[MT_MAXDIM];
        int nd = g ? mt_shape(g, shape) : 0;
        mt_tensor *noise =
            bound > 0 ? mt_randn(shape, nd, (mt_spec){MT_F32, m->params->device, MT_NCHW}, s->rng) : NULL;
        if (bound > 0) mt_add_(g, noise, bound);
        mt_affine_(g, expected > 0 ? 1.0 / expected : 1, 0);
        mt_drop(noise);
        mt_drop(g);
    }
    mt_grad_mode(was);
    return mt_status();
}

static enum mi_status gradients(struct mi_defense *d, struct mi_defenses *all, struct mi_model *m, struct mi_batch *b,
                                struct mi_forward_out *out, mt_tensor **loss) {
    struct dp *s = d->state;
    int most = s->uncovered ? 1 : (int)mi_values_int(d->values, "at_once");
    int n_parts = b->n > 0 ? (b->n + most - 1) / most : 0;
    *out = (struct mi_forward_out){0};
    if (n_parts > 0) {
        mt_tensor **list = mi_calloc((size_t)n_parts * 2, sizeof(mt_tensor *));
        if (!list) return MI_E_NOMEM;
        enum mi_status st = parts(d, all, m, b, list, list + n_parts, n_parts);
        if (st == MI_OK) {
            out->logits = mt_cat(list, n_parts, 0); /* [N,C] */
            *loss = mt_mean(mt_cat(list + n_parts, n_parts, 0), NULL, 0, false);
        }
        free(list);
        MI_TRY(st);
    }
    return add_noise(d, m, b);
}

static void release(struct mi_defense *d) {
    struct dp *s = d->state;
    mi_ghost_free(&s->ghost);
    if (s->rng) mt_rng_free(s->rng);
}

static const struct mi_setting settings[] = {
    {.name = "noise",
     .label = true,
     .type = MI_REAL,
     .def = "0.01",
     .min = 0,
     .max = 1000,
     .help = "Standard deviation of the noise in clipping bounds. 0.01, as in the published comparisons, guarantees "
             "nothing; single-digit epsilons need about 0.5 to 1"},
    {.name = "clip",
     .label = true,
     .type = MI_REAL,
     .def = "1",
     .min = 1e-6,
     .max = 1e6,
     .help = "Greatest norm of a photo's gradient over all layers together (published: 1)"},
    {.name = "delta",
     .type = MI_REAL,
     .def = "1e-5",
     .min = 1e-12,
     .max = 0.1,
     .help = "Probability with which the guarantee may fail; below one over the number of photos"},
    {.name = "sampling",
     .type = MI_CHOICE,
     .def = "poisson",
     .choices = "poisson|shuffled",
     .help = "Each photo in each step with the same probability, as epsilon is proved for; shuffled batches of equal "
             "size are what the published attack papers' code used"},
    {.name = "norm",
     .type = MI_CHOICE,
     .def = "group",
     .choices = "group|frozen|refuse",
     .help = "BatchNorm ties the photos of a batch together: group puts GroupNorm with up to 32 groups in its place, "
             "frozen holds its running statistics as they start, refuse stops and says why"},
    {.name = "at_once",
     .type = MI_INT,
     .def = "64",
     .min = 1,
     .max = 4096,
     .help = "Photos computed together; memory, not the result, depends on it"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_dp = {
    .info = {.name = "dp",
             .title = "DP-SGD",
             .help =
                 "Differentially private training: no single photo can move the weights by much. The gradient of "
                 "every photo is clipped to the same norm, noise is added to their sum, and batches are drawn so that "
                 "a guarantee (epsilon, delta) can be computed and is printed, however large it is. Clipping is exact "
                 "and costs one backward pass more. BatchNorm gives way to GroupNorm. The setting published against "
                 "model inversion, noise 0.01, is clipping with faint noise and guarantees nothing.",
             .paper = "Abadi et al.: Deep Learning with Differential Privacy, CCS 2016",
             .settings = settings,
             .tags = "gradient privacy"},
    .state_size = sizeof(struct dp),
    .compose = compose,
    .prepare = prepare,
    .start = start,
    .plan = plan,
    .sample = sample,
    .gradients = gradients,
    .note = note,
    .free = release};
