/* defenses/mid.c - MID, mutual information regularisation by a variational bottleneck (Wang, Zhang, Jia, AAAI 2021).
 *
 * Between the features f [N,F] and the classifier stands a noisy channel of K = F/2 values,
 *
 *     mu, s = halves of Linear(F, 2K)(f),  sigma = softplus(s - 5),  r = mu + sigma eps,  eps ~ N(0, I),
 *     logits = Linear(K, C)(r),   loss = cross entropy + beta mean_i sum_k (mu^2 + sigma^2 - 1 - 2 ln sigma)/2,
 *
 * the last term an upper bound of the information the prediction carries about the image.  The noise stays on when the
 * target is tested and attacked, as in the released models; it comes from the model's own stream, which the loop, the
 * evaluation and the oracle seed, so every answer can be repeated.
 *
 * The bottleneck is put into any network through its last linear layer: that layer is made anew with K inputs and gets
 * an `enter` function; "st_layer" holds the new weights in the target's file.  A BatchNorm1d directly before the
 * classifier gives way, as published for VGG16.  Owns the st_layer struct; the store owns all tensors. */
#include "defenses/mid.h"

#include <stdlib.h>

struct mid {
    struct mi_linear st; /* [2K,F] */
    struct mi_model *model;
    mt_tensor *kl; /* [N] of the last forward pass in training mode; belongs to that pass's scope */
    int64_t width; /* K */
    bool quiet;    /* no noise outside training */
};

void mi_mid_split(mt_tensor *h /* [N,2K] */, mt_tensor **mu, mt_tensor **sigma) {
    *mu = *sigma = NULL;
    if (!h) return;
    int64_t k = mt_size(h, 1) / 2;
    *mu = mt_narrow(h, 1, 0, k);
    /* Below -80 softplus would leave f32, and its logarithm be infinite. */
    mt_tensor *s = mt_clamp(mt_affine(mt_narrow(h, 1, k, k), 1, -5), -80, 1e30);
    *sigma = mt_act(s, MT_SOFTPLUS, 0);
}

mt_tensor *mi_mid_kl(mt_tensor *mu, mt_tensor *sigma) {
    mt_tensor *second = mt_add(mt_unary(mu, MT_SQUARE), mt_unary(sigma, MT_SQUARE));
    mt_tensor *each = mt_sub(mt_affine(second, 1, -1), mt_affine(mt_unary(sigma, MT_LOG), 2, 0)); /* [N,K] */
    return mt_affine(mt_sum(each, MT_DIMS(1), false), 0.5, 0);
}

/* What the classifier sees instead of the features x [N,F]. */
static mt_tensor *bottleneck(void *ctx, mt_tensor *x) {
    struct mid *s = ctx;
    mt_tensor *h = mi_linear(&s->st, x), *mu, *sigma;
    if (h && mt_dtype_of(h) != MT_F32) h = mt_cast(h, MT_F32);
    mi_mid_split(h, &mu, &sigma);
    if (s->model->train) s->kl = mi_mid_kl(mu, sigma);
    if (!mu || (s->quiet && !s->model->train)) return mu;
    mt_spec sp = {MT_F32, mt_device_of(mu), MT_NCHW};
    return mt_add(mu, mt_mul(sigma, mt_randn(MT_SHAPE(mt_size(mu, 0), s->width), sp, s->model->rng)));
}

/* The BatchNorm1d that makes the feature does nothing from here on, and its tensors leave the file. */
static enum mi_status remove_norm(struct mi_model *m) {
    static const char *const part[] = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};
    struct mi_bn *bn = mi_params_layer(m->params, MI_LAYER_BN, m->desc->head_norm);
    if (!bn) return mi_fail(MI_E_INTERNAL, "model %s has no BatchNorm %s", m->desc->info.name, m->desc->head_norm);
    bn->off = true;
    bn->g = bn->b = bn->rm = bn->rv = bn->count = MT_NONE;
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < sizeof part / sizeof *part && st == MI_OK; i++) {
        char *name = mi_format("%s.%s", m->desc->head_norm, part[i]);
        st = name ? mi_params_remove(m->params, name) : MI_E_NOMEM;
        free(name);
    }
    return st;
}

static enum mi_status remove_head(struct mi_model *m, const struct mi_linear *head) {
    char *weight = mi_format("%s.weight", m->desc->head), *bias = mi_format("%s.bias", m->desc->head);
    enum mi_status st = weight && bias ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) st = mi_params_remove(m->params, weight);
    if (st == MI_OK && head->b != MT_NONE) st = mi_params_remove(m->params, bias);
    free(weight);
    free(bias);
    return st;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct mid *s = d->state;
    struct mi_linear *head = mi_params_layer(m->params, MI_LAYER_LINEAR, m->desc->head);
    if (!head)
        return mi_fail(MI_E_INPUT, "%s stands before the last linear layer, and model %s has none", d->desc->info.name,
                       m->desc->info.name);
    bool bias = head->b != MT_NONE;
    int64_t features = mt_size(head->w, 1), width = mi_values_int(d->values, "width");
    s->width = width > 0 ? width : features / 2;
    s->quiet = !mi_values_bool(d->values, "test_noise");
    s->model = m;
    m->passes = s->quiet ? 1 : (int)mi_values_int(d->values, "passes");
    MI_TRY(remove_head(m, head));
    if (m->desc->head_norm && mi_values_bool(d->values, "replace_norm")) MI_TRY(remove_norm(m));
    mt_scope *scope = mt_scope_begin("bottleneck");
    struct mi_builder b;
    mi_builder_init(&b, m->params, mi_mix(m->seed, mi_hash_text("bottleneck")));
    mi_linear_new(&b, &s->st, "st_layer", (int)features, (int)(2 * s->width), true, MI_INIT_DEFAULT);
    mi_linear_new(&b, head, m->desc->head, (int)s->width, m->classes, bias, MI_INIT_DEFAULT);
    head->enter = bottleneck;
    head->ctx = s;
    return mt_scope_end(scope);
}

static enum mi_status loss(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **total) {
    struct mid *s = d->state;
    (void)out;
    if (!s->kl)
        return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "no forward pass went through the bottleneck");
    mt_tensor *kl = mi_batch_mean(b, s->kl);
    s->kl = NULL;
    *total = mt_add(*total, mt_affine(kl, mi_values_real(d->values, "beta"), 0));
    return *total ? MI_OK : mt_status();
}

static const struct mi_setting settings[] = {
    {.name = "beta",
     .label = true,
     .type = MI_REAL,
     .def = "0.003",
     .min = 0,
     .max = 100,
     .help =
         "Weight of the information term (published: vgg16 0.003, with 0.01 and 0.02 in the same table; ir152 0.01; "
         "not published at 224 px: search)"},
    {.name = "width",
     .type = MI_INT,
     .def = "0",
     .min = 0,
     .max = 8192,
     .help = "Values of the bottleneck; 0 = half the width of the features, as published"},
    {.name = "test_noise",
     .type = MI_BOOL,
     .def = "yes",
     .help = "Noise also when the target is tested and attacked, as in the released models; no passes the mean on"},
    {.name = "passes",
     .type = MI_INT,
     .def = "3",
     .min = 1,
     .max = 100,
     .help = "Passes over the test photos that the natural accuracy is a mean of, as answers are random"},
    {.name = "replace_norm",
     .type = MI_BOOL,
     .def = "yes",
     .help = "A BatchNorm directly before the classifier gives way to the bottleneck, as published for vgg16"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_mid = {
    .info = {.name = "mid",
             .title = "MID",
             .help =
                 "Mutual information regularisation: features pass a noisy bottleneck before they are classified. "
                 "Each value of it is a Gaussian whose mean and width the network chooses, and the loss charges for "
                 "every bit by which they differ from plain noise, so only what tells people apart gets through. "
                 "The noise stays on when the target is tested and attacked. Trains as without a defense; the first "
                 "steps mostly widen the noise. Published with SGD, rate 0.01, batch 64, 50 epochs.",
             .paper = "Wang, Zhang, Jia: Improving Robustness to Model Inversion Attacks via Mutual Information "
                      "Regularization, AAAI 2021",
             .settings = settings,
             .tags = "loss head stochastic"},
    .state_size = sizeof(struct mid),
    .prepare = prepare,
    .loss = loss,
    .replaces_head = true};
