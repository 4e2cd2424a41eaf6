/* tests/engine/tool_gmi_parity.c - writes one of everything GMI computes, for comparison with PyTorch.
 *
 *     tool_gmi_parity OUT.safetensors
 *
 * The file holds the weights of generator, critic and a VGG16 target, the inputs, and what this program made of them:
 * critic loss with gradient penalty and its weight gradients, generator loss and its weight gradients, and three
 * inversion steps.  scripts/parity/gmi_reference.py does the same sums with PyTorch alone. */
#include <stdio.h>
#include <string.h>

#include "attacks/gmi.h"
#include "attacks/wgan.h"

enum { SIZE = 64, WIDTH = 16, Z = 20, N = 5, CLASSES = 10, STEPS = 3 };

static struct mi_dcgan_g g;
static struct mi_dcgan_d d;

static enum mi_status put_grads(mt_archive *a, const char *prefix, struct mi_params *ps, mt_tensor *loss) {
    mt_tensor *list[64], *grads[64];
    int n = mi_params_trainable(ps, list, 64);
    MI_TRY(mt_grad_of(loss, list, n, false, false, grads));
    for (int i = 0, k = 0; i < ps->n && k < n; i++) {
        if (ps->item[i].t != list[k]) continue;
        char name[160];
        snprintf(name, sizeof name, "%s%s", prefix, ps->item[i].name);
        MI_TRY(mt_archive_put(a, name, mt_contig(grads[k++], MT_NCHW)));
    }
    return MI_OK;
}

static enum mi_status losses(mt_archive *a, mt_rng *r) {
    mt_tensor *real = mt_rand(MT_SHAPE(N, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    mt_tensor *fake = mt_rand(MT_SHAPE(N, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    mt_tensor *mix = mt_rand(MT_SHAPE(N, 1, 1, 1), 0, 1, MT_SPEC_F32, r), *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, r);
    MI_TRY(mt_archive_put(a, "real", real));
    MI_TRY(mt_archive_put(a, "fake", fake));
    MI_TRY(mt_archive_put(a, "mix", mix));
    MI_TRY(mt_archive_put(a, "z", z));
    struct mi_wgan_terms t;
    MI_TRY(mi_wgan_critic_loss(&d, real, fake, mix, 10, &t));
    MI_TRY(mt_archive_put(a, "critic.loss", t.loss));
    MI_TRY(mt_archive_put(a, "critic.penalty", t.penalty));
    MI_TRY(put_grads(a, "critic.grad.", d.ps, t.loss));
    mi_params_freeze(d.ps, true);
    mt_tensor *loss = mi_wgan_generator_loss(&g, &d, z); /* moves G's running statistics */
    MI_TRY(mt_archive_put(a, "generator.loss", loss));
    MI_TRY(put_grads(a, "generator.grad.", g.ps, loss));
    return mt_archive_put(a, "generator.running_var", mi_params_find(g.ps, "l2_5.0.1.running_var"));
}

static enum mi_status inversion(mt_archive *a, struct mi_oracle *o, mt_rng *r) {
    int64_t label[N];
    float weight[N];
    for (int i = 0; i < N; i++) label[i] = (i * 3) % CLASSES, weight[i] = 1.0f / 60;
    mt_tensor *y = mt_from(label, MT_SHAPE(N), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    mt_tensor *w = mt_from(weight, MT_SHAPE(N), MT_SPEC_F32);
    mt_tensor *z = mt_randn(MT_SHAPE(N, Z), MT_SPEC_F32, r), *v = mt_zeros(MT_SHAPE(N, Z), MT_SPEC_F32);
    MI_TRY(mt_archive_put(a, "invert.y", y));
    MI_TRY(mt_archive_put(a, "invert.z0", z));
    MI_TRY(mi_dcgan_g_freeze(&g));
    for (int i = 1; i <= STEPS; i++) {
        mt_tensor *leaf = mt_detach(z), *grad = NULL;
        struct mi_descent_terms t = {0};
        char name[32];
        MI_TRY(mt_requires_grad_(leaf, true));
        MI_TRY(mi_gmi_loss(&g, &d, o, leaf, y, w, 100, &t));
        MI_TRY(mt_grad_of(t.loss, &leaf, 1, false, false, &grad));
        snprintf(name, sizeof name, "invert.loss%d", i);
        MI_TRY(mt_archive_put(a, name, t.loss));
        snprintf(name, sizeof name, "invert.grad%d", i);
        MI_TRY(mt_archive_put(a, name, grad));
        mi_gmi_update(z, v, grad, 0.02, 0.9, true);
        snprintf(name, sizeof name, "invert.z%d", i);
        MI_TRY(mt_archive_put(a, name, z));
    }
    return MI_OK;
}

static enum mi_status everything(mt_archive *a, struct mi_model *target, struct mi_oracle *o) {
    MI_TRY(mi_dcgan_save(&g, &d, a)); /* the weights before anything moves */
    MI_TRY(mi_params_save(target->params, a, "T."));
    mt_scope *s = mt_scope_begin("parity");
    mt_rng *r = mt_rng_new(MT_CPU, 17);
    enum mi_status st = losses(a, r);
    if (st == MI_OK) st = inversion(a, o, r);
    mt_rng_free(r);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s OUT.safetensors\n", argv[0]);
        return 2;
    }
    enum mi_status st = mt_init(1);
    if (st == MI_OK) st = mi_dcgan_g_open(&g, SIZE, WIDTH, Z, MT_CPU, MT_F32, 1);
    if (st == MI_OK) st = mi_dcgan_d_open(&d, SIZE, WIDTH, MT_CPU, MT_F32, 2);
    struct mi_model *target = mi_model_new("vgg16", NULL, CLASSES, SIZE, MT_CPU, 3);
    /* Synthetic weights keep every layer's signal alive: with fresh ones the target's gradient is rounding noise. */
    if (st == MI_OK && target) {
        mt_scope *s = mt_scope_begin("weights");
        mi_params_golden(target->params, 1.4);
        mi_params_golden(g.ps, 1.4);
        mi_params_golden(d.ps, 1.4);
        st = mt_scope_end(s);
    }
    struct mi_oracle *o = target ? mi_oracle_new(target, MI_ACCESS_WHITE, "parity") : NULL;
    mt_archive *a = o ? mt_archive_create(argv[1]) : NULL;
    if (st == MI_OK && !a) st = mi_error_status();
    if (st == MI_OK) st = everything(a, target, o);
    if (st == MI_OK) st = mt_archive_close(a);
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    mi_oracle_free(o);
    mi_model_free(target);
    mi_dcgan_g_close(&g);
    mi_dcgan_d_close(&d);
    return st == MI_OK ? 0 : 1;
}
