/* tests/engine/tool_lowres_parity.c - writes one of everything KedMI and LOMMA compute, for comparison with PyTorch.
 *
 *     tool_lowres_parity OUT.safetensors [SEED]      SEED chooses the inputs
 *
 * The file holds the weights of generator, KedMI's discriminator, GMI's critic, a VGG16 target and three small
 * students, the inputs, and what this program made of them: both GAN losses with their weight gradients and weights
 * after one step, the recovery of distributions, the logit loss with students, the distillation loss, the adaptive
 * attack. scripts/parity/kedmi_reference.py and lomma_reference.py do the same sums with PyTorch alone. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "attacks/gmi.h"
#include "attacks/kedmi.h"

enum { SIZE = 64, WIDTH = 16, Z = 20, N = 5, CLASSES = 10, STEPS = 3, KERNELS = 5, DIM = 3, PUBLIC = 12, MASKS = 3 };

static struct mi_dcgan_g g;
static struct mi_kedmi_d d;
static struct mi_dcgan_d critic;
static struct mi_model *target;
static struct mi_students students;
static struct mi_oracle *oracle;
static mt_archive *out;
static mt_rng *rng;
static uint64_t seed = 17;

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

static mt_tensor *images(int n) {
    return mt_rand(MT_SHAPE(n, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, rng);
}

/* Weight gradients of a loss, then the weights after one step of the published Adam. */
static enum mi_status step(const char *word, struct mi_params *ps, mt_tensor *loss) {
    mt_tensor *list[64];
    int n = mi_params_trainable(ps, list, 64);
    mt_opt *opt = mt_adam_new(2e-4, 0.5, 0.999, 1e-8, 0, false);
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

static enum mi_status gan(void) {
    mt_tensor *labelled = images(N), *unlabelled = images(N), *fake = images(N), *matched = images(N), *soft = NULL;
    mt_tensor *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, rng);
    struct mi_kedmi_terms t = {0};
    MI_TRY(put(labelled, "labelled"));
    MI_TRY(put(unlabelled, "unlabelled"));
    MI_TRY(put(fake, "fake"));
    MI_TRY(put(matched, "matched"));
    MI_TRY(put(z, "z"));
    MI_TRY(mi_oracle_probs(oracle, labelled, &soft));
    MI_TRY(put(soft, "soft"));
    mt_tensor *near = mt_add(mt_repeat(images(1), MT_SHAPE(3, 1, 1, 1)),
                             mt_affine(mt_rand(MT_SHAPE(3, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, rng), 2e-2, 0));
    MI_TRY(put(near, "near"));
    mt_tensor *logits = mi_kedmi_logits(&d, mi_kedmi_phi(&d, near), true), *slope = NULL;
    MI_TRY(put(logits, "near.logits"));
    MI_TRY(mt_grad_of(mt_sum(mt_unary(logits, MT_SQUARE), NULL, 0, false), &d.mbd, 1, false, false, &slope));
    MI_TRY(put(slope, "near.grad"));

    mi_params_freeze(d.ps, true);
    mt_tensor *loss = mi_kedmi_g_loss(&g, &d, z, matched, 1e-4); /* moves G's running statistics */
    MI_TRY(put(loss, "generator.loss"));
    MI_TRY(step("generator", g.ps, loss));
    mi_params_freeze(d.ps, false);
    MI_TRY(mi_params_save(d.ps, out, "D."));
    MI_TRY(mi_kedmi_d_loss(&d, labelled, soft, unlabelled, fake, &t));
    MI_TRY(put(t.supervised, "discriminator.supervised"));
    MI_TRY(put(t.unsupervised, "discriminator.unsupervised"));
    return step("discriminator", d.ps, t.loss);
}

static mt_tensor *labels(void) {
    int64_t y[N];
    for (int i = 0; i < N; i++) y[i] = (i * 3) % CLASSES;
    return mt_from(y, MT_SHAPE(N), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
}

static enum mi_status recovery(bool clamp) {
    struct mi_idloss id = {.oracle = oracle, .adaptive.masks = 1};
    mt_tensor *y = labels(), *p = mt_randn(MT_SHAPE(N, 2 * Z), MT_SPEC_F32, rng);
    mt_tensor *m = mt_zeros_like(p), *v = mt_zeros_like(p);
    MI_TRY(put(y, "recover.y"));
    MI_TRY(put(mt_full(MT_SHAPE(1), clamp, MT_SPEC_F32), "recover.clamp"));
    MI_TRY(put(p, "recover.p0"));
    for (int i = 1; i <= STEPS; i++) {
        mt_tensor *leaf = mt_detach(p), *grad = NULL, *noise = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, rng);
        struct mi_descent_terms t = {0};
        MI_TRY(mt_requires_grad_(leaf, true));
        MI_TRY(mi_kedmi_loss(&g, &d, &id, leaf, noise, y, NULL, i, 100, 60, clamp, &t));
        MI_TRY(mt_grad_of(t.loss, &leaf, 1, false, false, &grad));
        MI_TRY(put(noise, "recover.noise%d", i));
        MI_TRY(put(t.prior, "recover.prior%d", i));
        MI_TRY(put(t.loss, "recover.loss%d", i));
        MI_TRY(put(grad, "recover.grad%d", i));
        mi_descent_adam(p, m, v, grad, 0.02, i);
        MI_TRY(put(p, "recover.p%d", i));
    }
    return MI_OK;
}

static enum mi_status public_features(struct mi_idloss *id) {
    mt_tensor *x = images(PUBLIC), *logits = NULL, *f = NULL;
    MI_TRY(put(x, "public"));
    MI_TRY(mi_oracle_logits(oracle, x, &logits, &f));
    mt_tensor *var = NULL, *mean = NULL;
    MI_TRY(mt_var_mean(f, MT_DIMS(0), true, &var, &mean));
    MI_TRY(put(mean, "lomma.mean"));
    MI_TRY(put(mt_unary(var, MT_SQRT), "lomma.std"));
    id->mean = mt_keep(mt_clone(mean));
    return MI_OK;
}

static enum mi_status lomma(struct mi_idloss *id) {
    float w[N];
    for (int i = 0; i < N; i++) w[i] = 1.0f / 60;
    mt_tensor *y = labels(), *weight = mt_from(w, MT_SHAPE(N), MT_SPEC_F32), *grad = NULL;
    mt_tensor *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, rng), *leaf = mt_detach(z), *v = mt_zeros_like(z);
    struct mi_descent_terms t = {0};
    struct mi_idloss_terms ce = {0};
    MI_TRY(put(mt_clone(z), "lomma.z"));
    MI_TRY(mt_requires_grad_(leaf, true));
    MI_TRY(mi_gmi_loss_of(&g, &critic, id, leaf, y, NULL, 0, weight, 100, &t));
    MI_TRY(mt_grad_of(t.loss, &leaf, 1, false, true, &grad));
    MI_TRY(put(t.identity, "lomma.identity"));
    MI_TRY(put(t.loss, "lomma.loss"));
    MI_TRY(put(grad, "lomma.grad"));
    struct mi_idloss aug = {.oracle = oracle, .students = &students, .adaptive.masks = 1};
    MI_TRY(mi_idloss_loss(&aug, mt_detach(t.x), y, NULL, 0, &ce));
    MI_TRY(put(ce.loss, "lomma.ce"));
    mi_gmi_update(z, v, grad, 0.02, 0.9, true);
    return put(z, "lomma.after");
}

static enum mi_status distillation(void) {
    mt_tensor *teacher = mt_randn(MT_SHAPE(N, CLASSES), MT_SPEC_F32, rng), *grad = NULL;
    mt_tensor *student = mt_randn(MT_SHAPE(N, CLASSES), MT_SPEC_F32, rng);
    MI_TRY(mt_requires_grad_(student, true));
    mt_tensor *loss = mi_students_loss(teacher, student, 2.5);
    MI_TRY(put(teacher, "distil.teacher"));
    MI_TRY(put(mt_detach(student), "distil.student"));
    MI_TRY(put(loss, "distil.loss"));
    MI_TRY(mt_grad_of(loss, &student, 1, false, false, &grad));
    return put(grad, "distil.grad");
}

static enum mi_status adaptive(struct mi_idloss *id) {
    uint64_t key[N];
    for (int i = 0; i < N; i++) key[i] = (uint64_t)i;
    id->adaptive = (struct mi_adaptive){.on = true,
                                        .masks = MASKS,
                                        .area_low = 0.1,
                                        .area_high = 0.4,
                                        .size = SIZE,
                                        .fill = {0.485f, 0.456f, 0.406f},
                                        .seed = 3};
    mt_tensor *x = images(N), *views = NULL, *grad = NULL;
    struct mi_idloss_terms t = {0};
    MI_TRY(mt_requires_grad_(x, true));
    MI_TRY(put(mt_detach(x), "adaptive.x"));
    MI_TRY(mi_adaptive_views(&id->adaptive, x, key, 7, &views));
    MI_TRY(put(mt_detach(views), "adaptive.views"));
    MI_TRY(mi_idloss_loss(id, x, labels(), key, 7, &t));
    MI_TRY(put(t.loss, "adaptive.identity"));
    MI_TRY(mt_grad_of(mt_sum(t.loss, NULL, 0, false), &x, 1, false, false, &grad));
    return put(grad, "adaptive.grad");
}

static enum mi_status everything(void) {
    struct mi_idloss id = {.oracle = oracle, .kind = MI_IDLOSS_LOGIT, .reg = 1, .adaptive.masks = 1};
    id.students = &students;
    mt_scope *s = mt_scope_begin("parity");
    rng = mt_rng_new(MT_CPU, seed);
    enum mi_status st = mi_params_save(g.ps, out, "G."); /* before anything moves */
    if (st == MI_OK) st = mi_params_save(target->params, out, "T.");
    if (st == MI_OK) st = mi_params_save(critic.ps, out, "C.");
    for (int i = 0; st == MI_OK && i < students.n; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "S%d.", i + 1);
        st = mi_params_save(students.model[i]->params, out, prefix);
    }
    if (st == MI_OK) st = gan();
    if (st == MI_OK) st = mi_params_save(g.ps, out, "G2.");
    if (st == MI_OK) st = mi_params_save(d.ps, out, "D2.");
    mi_params_freeze(d.ps, true);
    if (st == MI_OK) st = mi_dcgan_g_freeze(&g);
    if (st == MI_OK) st = recovery(true);
    if (st == MI_OK) st = public_features(&id);
    if (st == MI_OK) st = lomma(&id);
    if (st == MI_OK) st = distillation();
    if (st == MI_OK) st = adaptive(&id);
    mi_idloss_close(&id);
    mt_rng_free(rng);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

/* Synthetic weights keep every layer's signal alive: with fresh ones the target's gradient is rounding noise. */
static enum mi_status nets(void) {
    static const char *const widths[] = {"8", "12", "16"};
    MI_TRY(mi_dcgan_g_open(&g, SIZE, WIDTH, Z, MT_CPU, MT_F32, 1));
    MI_TRY(mi_kedmi_d_open(&d, SIZE, WIDTH, CLASSES, KERNELS, DIM, MT_CPU, MT_F32, 2));
    MI_TRY(mi_dcgan_d_open(&critic, SIZE, WIDTH, MT_CPU, MT_F32, 4));
    target = mi_model_new("vgg16", NULL, CLASSES, SIZE, MT_CPU, 3);
    if (!target) return mi_error_status();
    for (int i = 0; i < MI_STUDENTS_MAX; i++) {
        struct mi_values *v = mi_values_new("model.quick", mi_model_find("quick")->info.settings);
        enum mi_status st = v ? mi_values_set(v, "width", widths[i]) : MI_E_NOMEM;
        struct mi_model *m = st == MI_OK ? mi_model_new("quick", v, CLASSES, SIZE, MT_CPU, 5 + (uint64_t)i) : NULL;
        mi_values_free(v);
        if (!m) return mi_error_status();
        students.model[students.n++] = m;
    }
    mt_scope *s = mt_scope_begin("weights");
    mi_params_golden(target->params, 1.4);
    mi_params_golden(g.ps, 1.4);
    mi_params_golden(d.ps, 1.4);
    mi_params_golden(critic.ps, 1.4);
    for (int i = 0; i < students.n; i++) mi_params_golden(students.model[i]->params, 1.4);
    for (int i = 0; i < students.n; i++) mi_params_freeze(students.model[i]->params, true);
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
    if (st == MI_OK && !(oracle = mi_oracle_new(target, MI_ACCESS_WHITE, "parity"))) st = mi_error_status();
    if (st == MI_OK && !(out = mt_archive_create(argv[1]))) st = mi_error_status();
    if (st == MI_OK) st = everything();
    if (st == MI_OK) {
        st = mt_archive_close(out);
    } else if (out) {
        mt_archive_abort(out);
    }
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    mi_oracle_free(oracle);
    mi_model_free(target);
    mi_students_close(&students);
    mi_dcgan_g_close(&g);
    mi_kedmi_d_close(&d);
    mi_dcgan_d_close(&critic);
    return st == MI_OK ? 0 : 1;
}
