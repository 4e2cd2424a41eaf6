/* tests/engine/tool_plg_parity.c - writes one of everything PLG-MI computes, for comparison with PyTorch.
 *
 *     tool_plg_parity OUT.safetensors [SEED]      SEED chooses the inputs
 *
 * The file holds the weights of the conditional generator and discriminator and of a linear target (a deep one has a
 * kink near every point, which would hide a wrong formula behind a loose limit), the inputs, the
 * parameters of all random views, and what this program made of them: the discriminator's hinge loss and the
 * generator's loss through augmented views with their weight gradients and weights after one step, views of chosen
 * parameters with their gradient, and steps of the inversion.  scripts/parity/plg_reference.py does the same sums with
 * PyTorch alone. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "attacks/plgmi.h"
#include "toy_model.h"

enum { SIZE = 64, WIDTH = 8, Z = 20, N = 5, CLASSES = 10, STEPS = 3, SIDE = SIZE / 4 };

static struct mi_plg_g g;
static struct mi_plg_d d;
static struct toy *target;
static struct mi_linear head;
static struct mi_oracle *oracle;
static mt_archive *out;
static mt_rng *rng;
static uint64_t seed = 17, key[N];

static enum mi_status put(mt_tensor *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static enum mi_status put(mt_tensor *t, const char *fmt, ...) {
    char name[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (!t) return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "%s was not computed", name);
    return mt_archive_put(out, name, mt_ndim(t) == 4 ? mt_contig(t, MT_NCHW) : t);
}

static mt_tensor *images(double lo, double hi) {
    return mt_rand(MT_SHAPE(N, 3, SIZE, SIZE), lo, hi, MT_SPEC_F32, rng);
}

/* Five images of different brightness, so that their scores differ. */
static mt_tensor *exposure(void) {
    static const float by[N] = {0.2f, 0.9f, 0.4f, 1, 0.6f};
    return mt_from(by, MT_SHAPE(N, 1, 1, 1), MT_SPEC_F32);
}

static mt_tensor *labels(int by) {
    int64_t y[N];
    for (int i = 0; i < N; i++) y[i] = (i * by + 1) % CLASSES;
    return mt_from(y, MT_SHAPE(N), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
}

/* Weight gradients of a loss, then the weights after one step of the published Adam. */
static enum mi_status step(const char *word, struct mi_params *ps, mt_tensor *loss) {
    mt_tensor *list[96];
    int n = mi_params_trainable(ps, list, 96);
    mt_opt *opt = mt_adam_new(2e-4, 0, 0.9, 1e-8, 0, false);
    enum mi_status st = opt ? mt_opt_add(opt, list, n, 1) : mi_error_status();
    if (st == MI_OK) st = mt_backward(loss, false);
    for (int i = 0; st == MI_OK && i < ps->n; i++) {
        mt_tensor *grad = ps->item[i].trainable ? mt_grad(ps->item[i].t) : MT_NONE;
        if (grad != MT_NONE) st = put(grad, "%s.grad.%s", word, ps->item[i].name);
    }
    if (st == MI_OK) st = mt_opt_step(opt);
    mt_opt_zero_grad(opt);
    for (int i = 0; st == MI_OK && i < ps->n; i++)
        if (ps->item[i].trainable) st = put(mt_detach(ps->item[i].t), "%s.after.%s", word, ps->item[i].name);
    mt_opt_free(opt);
    return st;
}

/* side, left, top, jitter, flip, brightness, contrast, angle, contrast first: one row a view. */
static enum mi_status put_views(const char *name, const struct mi_plg_view *v, bool contrast_first) {
    float row[N * 9];
    for (int i = 0; i < N; i++) {
        float *r = row + 9 * i;
        r[0] = (float)v[i].side;
        r[1] = (float)v[i].left;
        r[2] = (float)v[i].top;
        r[3] = v[i].jitter;
        r[4] = v[i].flip;
        r[5] = (float)v[i].brightness;
        r[6] = (float)v[i].contrast;
        r[7] = (float)v[i].angle;
        r[8] = contrast_first;
    }
    return put(mt_from(row, MT_SHAPE(N, 9), MT_SPEC_F32), "%s", name);
}

/* What mi_plg_augment draws. */
static enum mi_status put_drawn(const char *name, const char *purpose, int64_t at, double jitter_p) {
    struct mi_plg_view v[N];
    for (int i = 0; i < N; i++) v[i] = mi_plg_view_draw(seed, purpose, key[i], at, SIZE, jitter_p);
    struct mi_rng order = mi_rng_make(seed, purpose, UINT64_MAX, (uint64_t)at);
    return put_views(name, v, mi_rng_uniform(&order) < 0.5);
}

/* Moves the discriminator's bias so that some real scores are within their hinge and some beyond it. */
static enum mi_status straddle(mt_tensor *x, mt_tensor *y) {
    double mean = 0;
    bool grad = mt_grad_mode(false);
    enum mi_status st = mt_item(mt_mean(mi_plg_d(&d, x, y, 5), NULL, 0, false), &mean);
    if (st == MI_OK) mt_affine_(d.head.bias, 1, 1 - mean);
    mt_grad_mode(grad);
    return st;
}

static enum mi_status gan(void) {
    mt_tensor *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, rng), *real = mt_mul(images(0, 1), exposure()), *fake = images(-0.2, 1.2);
    mt_tensor *y = labels(3), *real_y = labels(7), *adversarial = NULL, *identity = NULL;
    MI_TRY(put(z, "z"));
    MI_TRY(put(y, "y"));
    MI_TRY(put(real, "real"));
    MI_TRY(put(real_y, "real_y"));
    MI_TRY(put(fake, "fake"));
    mi_params_freeze(d.ps, true);
    MI_TRY(mi_plg_g_loss(&g, &d, oracle, z, y, key, seed, 2, &adversarial, &identity));
    mi_params_freeze(d.ps, false);
    MI_TRY(put_drawn("generator.views", "plg gan view", 2, 0.5));
    MI_TRY(put(adversarial, "generator.adversarial"));
    MI_TRY(put(identity, "generator.identity"));
    MI_TRY(step("generator", g.ps, mt_add(adversarial, mt_affine(identity, 0.2, 0))));
    MI_TRY(mi_params_save(g.ps, out, "G2."));
    MI_TRY(mi_params_save(d.ps, out, "D1."));
    MI_TRY(straddle(real, real_y));
    MI_TRY(mi_params_save(d.ps, out, "DS."));

    mt_tensor *score = mi_plg_d(&d, mt_cat(MT_LIST(real, fake), 0), mt_cat(MT_LIST(real_y, y), 0), 2);
    mt_tensor *loss = mi_plg_hinge(mt_narrow(score, 0, 0, N), mt_narrow(score, 0, N, N));
    MI_TRY(put(score, "discriminator.score"));
    MI_TRY(put(loss, "discriminator.loss"));
    MI_TRY(step("discriminator", d.ps, loss));
    return mi_params_save(d.ps, out, "D2.");
}

/* Every combination: whole or part, mirrored, turned, coloured, both orders of colours; pixels outside [0,1]. */
static enum mi_status chosen_views(bool contrast_first) {
    static const struct mi_plg_view v[N] = {{64, 0, 0, true, false, 1.2, 0.8, 0},
                                            {57, 3, 7, true, true, 0.85, 1.15, 0},
                                            {60, 4, 0, false, false, 1.1, 1.1, 0.08},
                                            {63, 1, 1, true, true, 1.05, 0.9, -0.05},
                                            {64, 0, 0, false, true, 1, 1, 0}};
    const char *word = contrast_first ? "views.contrast" : "views.brightness";
    mt_tensor *x = images(-0.4, 1.4), *w = mt_randn(MT_SHAPE(N, 3, SIZE, SIZE), MT_SPEC_F32, rng), *grad = NULL;
    char name[64];
    snprintf(name, sizeof name, "%s.parameters", word);
    MI_TRY(put_views(name, v, contrast_first));
    MI_TRY(put(x, "%s.x", word));
    MI_TRY(put(w, "%s.w", word));
    MI_TRY(mt_requires_grad_(x, true));
    mt_tensor *y = mi_plg_view_apply(x, v, contrast_first);
    MI_TRY(put(mt_detach(y), "%s.y", word));
    MI_TRY(mt_grad_of(mt_sum(mt_mul(y, w), NULL, 0, false), &x, 1, false, false, &grad));
    return put(grad, "%s.grad", word);
}

static enum mi_status inversion(void) {
    const struct mi_plg_look look = {
        .oracle = oracle, .adaptive.masks = 1, .kind = MI_PLG_MARGIN, .views = 2, .augment = true, .seed = seed};
    mt_tensor *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, rng), *m = mt_zeros_like(z), *v = mt_zeros_like(z);
    mt_tensor *y = labels(3);
    MI_TRY(put(mt_clone(z), "invert.z0"));
    MI_TRY(put(mt_clamp(mi_plg_g(&g, z, y, false), -1, 1), "invert.x0"));
    for (int i = 1; i <= STEPS; i++) {
        mt_tensor *leaf = mt_detach(z), *grad = NULL, *loss = NULL, *logits = NULL;
        char name[48];
        MI_TRY(mt_requires_grad_(leaf, true));
        MI_TRY(mi_plg_identity(&look, mi_plg_g(&g, leaf, y, false), y, key, i, &loss, &logits));
        MI_TRY(mt_grad_of(mt_affine(mt_sum(loss, NULL, 0, false), 1.0 / 60, 0), &leaf, 1, false, false, &grad));
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "invert.views%d.%d", i, k);
            MI_TRY(put_drawn(name, "plg view", 2 * i + k, 1));
        }
        MI_TRY(put(mt_detach(loss), "invert.loss%d", i));
        MI_TRY(put(grad, "invert.grad%d", i));
        mi_descent_adam(z, m, v, grad, 0.1, i);
        MI_TRY(put(mt_clone(z), "invert.z%d", i));
    }
    return MI_OK;
}

/* Logits are a linear map of the image a quarter as wide. */
static enum mi_status look(struct mi_model *m, mt_tensor *x, bool want_taps, struct mi_forward_out *o) {
    (void)m, (void)want_taps;
    o->features = mt_flatten(mt_contig(mt_avg_pool2d(x, 4, 4, 0, false, true), MT_NCHW), 1);
    o->logits = mi_linear(&head, o->features);
    return MI_OK;
}

static enum mi_status everything(void) {
    mt_scope *s = mt_scope_begin("parity");
    rng = mt_rng_new(MT_CPU, seed);
    enum mi_status st = mi_params_save(g.ps, out, "G."); /* before anything moves */
    if (st == MI_OK) st = mi_params_save(d.ps, out, "D.");
    if (st == MI_OK) st = mi_params_save(target->model.params, out, "T.");
    if (st == MI_OK) st = gan();
    if (st == MI_OK) st = chosen_views(false);
    if (st == MI_OK) st = chosen_views(true);
    mi_params_freeze(g.ps, true);
    if (st == MI_OK) st = inversion();
    mt_rng_free(rng);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

/* Synthetic weights keep every layer's signal alive; the discriminator's norms see to that by themselves. */
static enum mi_status nets(void) {
    for (int i = 0; i < N; i++) key[i] = mi_mix(7, (uint64_t)i);
    MI_TRY(mi_plg_g_open(&g, SIZE, WIDTH, Z, CLASSES, MT_CPU, MT_F32, 1));
    MI_TRY(mi_plg_d_open(&d, SIZE, WIDTH, CLASSES, MT_CPU, MT_F32, 2));
    const float unused[CLASSES * 3] = {0};
    target = toy_new(CLASSES, SIZE, unused);
    target->desc.forward = look;
    mt_scope *s = mt_scope_begin("weights");
    struct mi_builder b;
    mi_builder_init(&b, target->model.params, 3);
    mi_linear_new(&b, &head, "linear", 3 * SIDE * SIDE, CLASSES, true, MI_INIT_DEFAULT);
    mi_params_golden(target->model.params, 4);
    mi_params_golden(g.ps, 1.4);
    return mt_scope_end(s);
}

int main(int argc, char **argv) {
    if (argc == 3) seed = strtoull(argv[2], NULL, 10);
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s OUT.safetensors [SEED]\n", argv[0]);
        return 2;
    }
    enum mi_status st = mt_init(1);
    if (st == MI_OK) st = nets();
    if (st == MI_OK && !(oracle = mi_oracle_new(&target->model, MI_ACCESS_WHITE, "parity"))) st = mi_error_status();
    if (st == MI_OK && !(out = mt_archive_create(argv[1]))) st = mi_error_status();
    if (st == MI_OK) st = everything();
    if (st == MI_OK) {
        st = mt_archive_close(out);
    } else if (out) {
        mt_archive_abort(out);
    }
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    mi_oracle_free(oracle);
    if (target) toy_free(target);
    mi_plg_g_close(&g);
    mi_plg_d_close(&d);
    return st == MI_OK ? 0 : 1;
}
