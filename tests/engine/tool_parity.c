/* tool_parity.c - runs one network on weights, input and labels written by PyTorch and compares with its results.
 *
 *     tool_parity MODEL SIZE eval|train IN.safetensors OUT.safetensors
 *
 * IN holds net.* (a state_dict), input [N,3,S,S], labels [N], expect.{logits,feature,loss,grad_input,grad.<name>}
 * and for each a limit.<same> of the deviation as relative L2 norm; OUT receives the state_dict after the pass as this
 * program saves it.  Called by tests/e2e/parity_torch.sh. Exit code 0 when every deviation is within its limit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/model.h"

static bool compare(mt_archive *in, const char *what, mt_tensor *ours) {
    char expect[160], limit[160];
    snprintf(expect, sizeof expect, "expect.%s", what);
    snprintf(limit, sizeof limit, "limit.%s", what);
    mt_tensor *theirs = mt_archive_get(in, expect, MT_CPU);
    double off = NAN, size = NAN, most = NAN;
    if (!theirs || !ours || ours == MT_NONE) {
        printf("# %s: absent\n", what);
        return false;
    }
    if (mt_item(mt_norm(mt_sub(ours, theirs), 2.0, NULL, 0, false), &off) != MI_OK) return false;
    if (mt_item(mt_norm(theirs, 2.0, NULL, 0, false), &size) != MI_OK) return false;
    if (mt_item(mt_archive_get(in, limit, MT_CPU), &most) != MI_OK) return false;
    bool ok = off <= most * size;
    printf("# %-40s relative deviation %.1e, limit %.1e%s\n", what, off / size, most, ok ? "" : "  <-- too far");
    return ok;
}

static bool run(struct mi_model *m, mt_archive *in) {
    mt_tensor *x = mt_clone(mt_archive_get(in, "input", MT_CPU));
    mt_requires_grad_(x, true);
    struct mi_forward_out out;
    if (mi_model_forward(m, x, false, &out) != MI_OK) return false;
    mt_tensor *loss = mt_cross_entropy(out.logits, mt_archive_get(in, "labels", MT_CPU), 0.0, MT_RED_MEAN);
    if (mt_backward(loss, false) != MI_OK) return false;
    bool ok = compare(in, "logits", out.logits);
    ok &= compare(in, "feature", out.features);
    ok &= compare(in, "loss", loss);
    ok &= compare(in, "grad_input", mt_grad(x));
    for (int i = 0; i < mt_archive_count(in); i++) {
        const char *name = mt_archive_name(in, i);
        if (strncmp(name, "expect.grad.", 12) != 0) continue;
        mt_tensor *w = mi_params_find(m->params, name + 12);
        ok &= w && compare(in, name + 7, mt_grad(w));
    }
    return ok;
}

static bool work(const char *model, int size, bool train, const char *in_path, const char *out_path) {
    mt_archive *in = mt_archive_open(in_path);
    if (!in) return false;
    mt_scope *s = mt_scope_begin("parity");
    mt_tensor *logits = mt_archive_get(in, "expect.logits", MT_CPU);
    struct mi_model *m = logits ? mi_model_new(model, NULL, (int)mt_size(logits, 1), size, MT_CPU, 1) : NULL;
    bool ok = m && mi_params_load(m->params, in, "net.") == MI_OK;
    if (ok) {
        m->train = train;
        ok = run(m, in);
    }
    mt_archive *file = ok ? mt_archive_create(out_path) : NULL;
    ok = file && mi_params_save(m->params, file, "") == MI_OK;
    if (file && ok)
        ok = mt_archive_close(file) == MI_OK;
    else if (file)
        mt_archive_abort(file);
    mi_model_free(m);
    mt_archive_close(in);
    return mt_scope_end(s) == MI_OK && ok;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: tool_parity MODEL SIZE eval|train IN.safetensors OUT.safetensors\n");
        return 2;
    }
    if (mt_init(0) == MI_OK && work(argv[1], atoi(argv[2]), strcmp(argv[3], "train") == 0, argv[4], argv[5])) return 0;
    printf("# %s\n", mi_error_status() ? mi_error_text() : "a deviation is beyond its limit");
    return 1;
}
