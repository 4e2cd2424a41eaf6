/* tool_parity.c - runs one network on weights, input and labels written by PyTorch and compares with its results.
 *
 *     tool_parity MODEL SIZE eval|train IN.safetensors OUT.safetensors [SETTING=VALUE ...]
 *
 * IN holds net.* (a state_dict), input [N,3,S,S], labels [N], expect.{logits,feature,loss,grad_input,grad.<name>,aux}
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

/* Defaults without what PyTorch draws otherwise than we do, then the settings of the command line; NULL on failure. */
static struct mi_values *settings_of(const struct mi_model_desc *d, char **text, int n) {
    static const char *const random[] = {"dropout", "drop_path"};
    struct mi_values *v = mi_values_new(d->info.name, d->info.settings);
    bool ok = v != NULL;
    for (int i = 0; ok && i < 2; i++)
        for (const struct mi_setting *s = d->info.settings; s->name; s++)
            if (strcmp(s->name, random[i]) == 0) ok = mi_values_set(v, s->name, "0") == MI_OK;
    for (int i = 0; ok && i < n; i++) {
        char name[64] = "";
        const char *value = strchr(text[i], '=');
        snprintf(name, sizeof name, "%.*s", value ? (int)(value - text[i]) : 0, text[i]);
        ok = value && mi_values_set(v, name, value + 1) == MI_OK;
    }
    if (ok) return v;
    mi_values_free(v);
    return NULL;
}

static bool run(struct mi_model *m, mt_archive *in) {
    mt_tensor *x = mt_clone(mt_archive_get(in, "input", MT_CPU));
    mt_requires_grad_(x, true);
    struct mi_forward_out out;
    if (mi_model_forward(m, x, false, &out) != MI_OK) return false;
    mt_tensor *y = mt_archive_get(in, "labels", MT_CPU), *loss = mt_cross_entropy(out.logits, y, 0.0, MT_RED_MEAN);
    if (out.aux_logits) loss = mt_add(loss, mt_cross_entropy(out.aux_logits, y, 0.0, MT_RED_MEAN));
    if (mt_backward(loss, false) != MI_OK) return false;
    bool ok = compare(in, "logits", out.logits);
    ok &= compare(in, "feature", out.features);
    ok &= compare(in, "loss", loss);
    if (out.aux_logits) ok &= compare(in, "aux", out.aux_logits);
    ok &= compare(in, "grad_input", mt_grad(x));
    for (int i = 0; i < mt_archive_count(in); i++) {
        const char *name = mt_archive_name(in, i);
        if (strncmp(name, "expect.grad.", 12) != 0) continue;
        mt_tensor *w = mi_params_find(m->params, name + 12);
        ok &= w && compare(in, name + 7, mt_grad(w));
    }
    return ok;
}

static bool work(int argc, char **argv) {
    const char *in_path = argv[4], *out_path = argv[5];
    bool train = strcmp(argv[3], "train") == 0;
    const struct mi_model_desc *d = mi_model_find(argv[1]);
    struct mi_values *v = d && d->info.settings ? settings_of(d, argv + 6, argc - 6) : NULL;
    if (!d || (d->info.settings && !v)) return false;
    mt_archive *in = mt_archive_open(in_path);
    if (!in) {
        mi_values_free(v);
        return false;
    }
    mt_scope *s = mt_scope_begin("parity");
    mt_tensor *logits = mt_archive_get(in, "expect.logits", MT_CPU);
    struct mi_model *m = logits ? mi_model_new(argv[1], v, (int)mt_size(logits, 1), atoi(argv[2]), MT_CPU, 1) : NULL;
    mi_values_free(v);
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
    if (argc < 6) {
        fprintf(stderr,
                "usage: tool_parity MODEL SIZE eval|train IN.safetensors OUT.safetensors [SETTING=VALUE ...]\n");
        return 2;
    }
    if (mt_init(0) == MI_OK && work(argc, argv)) return 0;
    printf("# %s\n", mi_error_status() ? mi_error_text() : "a deviation is beyond its limit");
    return 1;
}
