/* tests/engine/tool_defense_parity.c - one training step under each loss defense, for comparison with PyTorch.
 *
 *     tool_defense_parity OUT.safetensors
 *
 * A small VGG-like network in training mode, 16 photos of 4 people, SGD with momentum and weight decay.  For every case
 * the file holds the weights before (CASE.w.NAME), loss, gradients and weights after; beside them the batch and the
 * bottleneck's noise.  scripts/parity/defense_reference.py does the same step with PyTorch alone.  Weights of the
 * regularisers are greater than in use, so that their gradients are not lost in those of the cross entropy. */
#include <stdio.h>
#include <string.h>

#include "midre/defense.h"
#include "midre/spec.h"

enum { SIZE = 32, N = 16, CLASSES = 4 };

static const struct {
    const char *name, *composition, *setting[3];
} cases[] = {
    {"none", "none", {0}},
    {"nls", "nls", {"defense.nls.alpha=-0.5", 0}},
    {"hsic", "bido", {"defense.bido.lambda_x=3", "defense.bido.lambda_y=2", 0}},
    {"coco", "bido_coco", {"defense.bido_coco.lambda_x=300", "defense.bido_coco.lambda_y=200", 0}},
    {"spectral",
     "bido_coco",
     {"defense.bido_coco.norm=spectral", "defense.bido_coco.lambda_x=300", "defense.bido_coco.lambda_y=0"}},
    {"mid", "mid", {"defense.mid.beta=0.01", 0}},
    {"nls_hsic", "nls+bido", {"defense.bido.lambda_x=3", "defense.bido.taps=stage2,feature", 0}},
};

static enum mi_status put_all(mt_archive *a, const char *what, const char *part, const struct mi_params *ps,
                              bool grad) {
    for (int i = 0; i < ps->n; i++) {
        char name[160];
        if (grad && !ps->item[i].trainable) continue;
        mt_tensor *t = grad ? mt_grad(ps->item[i].t) : ps->item[i].t;
        if (mt_dtype_of(ps->item[i].t) != MT_F32 || t == MT_NONE) continue;
        snprintf(name, sizeof name, "%s.%s.%s", what, part, ps->item[i].name);
        bool was = mt_grad_mode(false);
        enum mi_status st = mt_archive_put(a, name, mt_contig(mt_clone(t), MT_NCHW));
        mt_grad_mode(was);
        MI_TRY(st);
    }
    return MI_OK;
}

static enum mi_status step(mt_archive *a, const char *what, struct mi_model *m, struct mi_defenses *ds, mt_tensor *x,
                           mt_tensor *y) {
    mt_tensor *list[64], *loss = NULL;
    int n = mi_params_trainable(m->params, list, 64);
    mt_opt *o = mt_sgd_new(0.05, 0.9, 1e-3, false);
    struct mi_forward_out out = {0};
    struct mi_batch b = {.x = x, .y = y, .n = N, .size = SIZE, .epoch = 80, .epochs = 100, .model = m};
    char name[64];
    m->train = true;
    enum mi_status st = mt_opt_add(o, list, n, 1.0);
    if (st == MI_OK) st = put_all(a, what, "w", m->params, false);
    mi_model_reseed(m, "parity", 0);
    if (st == MI_OK) st = mi_defenses_gradients(ds, m, &b, &out, &loss);
    snprintf(name, sizeof name, "%s.loss", what);
    if (st == MI_OK) st = mt_archive_put(a, name, mt_detach(loss));
    if (st == MI_OK) st = put_all(a, what, "grad", m->params, true);
    if (st == MI_OK) st = mt_opt_step(o);
    if (st == MI_OK) st = put_all(a, what, "after", m->params, false);
    mt_tensor *bottleneck = mi_params_find(m->params, "st_layer.bias"); /* [2K] */
    if (st == MI_OK && bottleneck) {
        mi_model_reseed(m, "parity", 0); /* the noise of that step once more */
        st = mt_archive_put(a, "noise", mt_randn(MT_SHAPE(N, mt_size(bottleneck, 0) / 2), MT_SPEC_F32, m->rng));
    }
    mt_opt_free(o);
    return st;
}

static enum mi_status one(mt_archive *a, size_t k, mt_tensor *x, mt_tensor *y) {
    const char *set[5] = {"model.quick.width=8", "model.quick.feature=64"};
    size_t n = 2;
    for (size_t i = 0; i < 3 && cases[k].setting[i]; i++) set[n++] = cases[k].setting[i];
    struct mi_spec *spec = mi_spec_parse("", "parity", set, n);
    if (!spec) return mi_error_status();
    struct mi_defenses ds = {.n = 0};
    enum mi_status st = mi_defenses_open(&ds, cases[k].composition, spec);
    const struct mi_values *v = mi_spec_entry(spec, MI_KIND_MODEL, "quick");
    struct mi_model *m = st == MI_OK ? mi_model_new("quick", v, CLASSES, SIZE, MT_CPU, 7) : NULL;
    if (!m && st == MI_OK) st = mi_error_status();
    if (st == MI_OK) st = mi_defenses_prepare(&ds, m);
    if (st == MI_OK) st = step(a, cases[k].name, m, &ds, x, y);
    mi_model_free(m);
    mi_defenses_close(&ds);
    mi_spec_free(spec);
    return st;
}

static enum mi_status all(mt_archive *a) {
    int64_t label[N];
    for (int i = 0; i < N; i++) label[i] = i * CLASSES / N;
    mt_rng *r = mt_rng_new(MT_CPU, 5);
    mt_tensor *y = mt_from(label, MT_SHAPE(N), (mt_spec){MT_I64, MT_CPU, MT_NCHW});
    mt_tensor *x = mt_rand(MT_SHAPE(N, 3, SIZE, SIZE), 0, 1, MT_SPEC_F32, r);
    mt_rng_free(r);
    MI_TRY(mt_archive_put(a, "x", x));
    MI_TRY(mt_archive_put(a, "y", y));
    x = mt_contig(x, MT_NHWC);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) MI_TRY(one(a, k, x, y));
    return MI_OK;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s OUT.safetensors\n", argv[0]);
        return 2;
    }
    enum mi_status st = mt_init(0);
    mt_scope *s = mt_scope_begin("parity");
    mt_archive *a = st == MI_OK ? mt_archive_create(argv[1]) : NULL;
    if (a) st = all(a);
    enum mi_status end = mt_scope_end(s);
    if (st == MI_OK) st = end;
    if (a && st == MI_OK)
        st = mt_archive_close(a);
    else if (a)
        mt_archive_abort(a);
    if (st == MI_OK && a) return 0;
    fprintf(stderr, "%s\n", mi_error_text());
    return 1;
}
