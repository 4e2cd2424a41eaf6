/* tool_parity.c - runs one network on weights, input and labels written by PyTorch and compares with its results.
 *
 *     tool_parity MODEL SIZE eval|train IN.safetensors OUT.safetensors [SETTING=VALUE ...]
 *
 * IN holds net.* (a state_dict), input [N,3,S,S], labels [N] and PyTorch's float64 results: expect.{logits,feature,
 * loss,grad_input,grad.<name>,aux}, norms (of every parameter's gradient, in order) and state.<name> (running
 * statistics after the pass).  For each there is noise.<what>, how far PyTorch's own float32 is from it, and
 * limit.<what>, how far ours may be.  The pass is run in float32, and once more in float64, where rounding is out of
 * the way and hardly anything may be left.  Deviations are relative L2 norms.  OUT receives the state_dict after the
 * float32 pass as this program saves it.  Called by tests/e2e/parity_torch.sh.  Exit code 0 when every deviation is
 * within its limit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/model.h"

#define EXACT 1e-9 /* allowed in float64 */

static const char *const type_name[] = {[MT_F32] = "f32", [MT_F64] = "f64"};

static double number(mt_tensor *t) {
    double v = NAN;
    mt_item(t, &v);
    return v;
}

static double norm(mt_tensor *t) {
    return number(mt_norm(t, 2.0, NULL, 0, false));
}

static mt_tensor *entry(mt_archive *in, const char *group, const char *what) {
    char name[200];
    snprintf(name, sizeof name, "%s%s", group, what);
    return mt_archive_get(in, name, MT_CPU);
}

/* What `off` says of `what` in float32 or float64, in a line; whether it is allowed. */
static bool judge(mt_archive *in, const char *what, double off, mt_dtype type) {
    double most = EXACT, noise = 0.0;
    if (type == MT_F32) {
        most = number(entry(in, "limit.", what));
        noise = number(entry(in, "noise.", what));
    }
    bool ok = off <= most; /* false for a NaN */
    printf("# %s %-40s %.1e", type_name[type], what, off);
    if (type == MT_F32) printf("  PyTorch's own %.1e", noise);
    printf("  limit %.1e%s\n", most, ok ? "" : "  <-- too far");
    return ok;
}

static double deviation(mt_tensor *ours, mt_tensor *theirs /* f64 */) {
    double off = norm(mt_sub(mt_cast(ours, MT_F64), theirs)), size = norm(theirs);
    return off == 0.0 ? 0.0 : off / size;
}

static bool compare(mt_archive *in, const char *what, mt_tensor *ours, mt_dtype type) {
    mt_tensor *theirs = entry(in, "expect.", what);
    if (theirs && ours && ours != MT_NONE) return judge(in, what, deviation(ours, theirs), type);
    printf("# %s: absent\n", what);
    return false;
}

/* Running means and variances after the pass: the worst of them. */
static bool compare_state(mt_archive *in, const struct mi_params *ps, mt_dtype type) {
    double worst = 0.0;
    for (int i = 0; i < mt_archive_count(in); i++) {
        const char *name = mt_archive_name(in, i);
        if (strncmp(name, "state.", 6) != 0) continue;
        mt_tensor *ours = mi_params_find(ps, name + 6);
        if (!ours) {
            printf("# %s: absent\n", name);
            return false;
        }
        double off = deviation(ours, mt_archive_get(in, name, MT_CPU));
        if (!(off <= worst)) worst = off;
    }
    return judge(in, "statistics", worst, type);
}

/* The gradient of every parameter, by its norm: the worst.  Of a parameter without any influence (a bias in front of a
 * BatchNorm) only rounding is left, so one that is below a millionth of them all together on both sides is passed over.
 */
static bool compare_norms(mt_archive *in, const struct mi_params *ps) {
    mt_tensor *all = mt_archive_get(in, "norms", MT_CPU);
    if (!all) return false;
    int n = 0, theirs = (int)mt_size(all, 0);
    double worst = 0.0, least = 1e-6 * norm(all);
    for (int i = 0; i < ps->n; i++) {
        mt_tensor *g = ps->item[i].role == MI_BUFFER ? MT_NONE : mt_grad(ps->item[i].t);
        if (g == MT_NONE) continue;
        if (n == theirs) break;
        double size = number(mt_select(all, 0, n++)), own = norm(g), off = fabs(own - size) / size;
        bool idle = own < least && size < least;
        if (!idle && !(off <= worst)) worst = off;
    }
    if (n == theirs) return judge(in, "every gradient's norm", worst, MT_F64);
    printf("# gradients: %d, PyTorch has %d\n", n, theirs);
    return false;
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

static bool pass(struct mi_model *m, mt_archive *in, mt_dtype type) {
    if (mi_params_cast(m->params, type) != MI_OK || mi_params_load(m->params, in, "net.") != MI_OK) return false;
    mt_tensor *x = mt_clone(mt_cast(mt_archive_get(in, "input", MT_CPU), type));
    mt_requires_grad_(x, true);
    struct mi_forward_out out;
    if (mi_model_forward(m, x, false, &out) != MI_OK) return false;
    mt_tensor *y = mt_archive_get(in, "labels", MT_CPU), *loss = mt_cross_entropy(out.logits, y, 0.0, MT_RED_MEAN);
    if (out.aux_logits) loss = mt_add(loss, mt_cross_entropy(out.aux_logits, y, 0.0, MT_RED_MEAN));
    if (mt_backward(loss, false) != MI_OK) return false;
    bool ok = compare(in, "logits", out.logits, type);
    ok &= compare(in, "feature", out.features, type);
    ok &= compare(in, "loss", loss, type);
    if (out.aux_logits) ok &= compare(in, "aux", out.aux_logits, type);
    ok &= compare(in, "grad_input", mt_grad(x), type);
    for (int i = 0; i < mt_archive_count(in); i++) {
        const char *name = mt_archive_name(in, i);
        if (strncmp(name, "expect.grad.", 12) != 0) continue;
        mt_tensor *w = mi_params_find(m->params, name + 12);
        ok &= w && compare(in, name + 7, mt_grad(w), type);
    }
    if (type == MT_F64) ok &= compare_norms(in, m->params);
    return compare_state(in, m->params, type) && ok;
}

static bool save(const struct mi_params *ps, const char *path) {
    mt_archive *file = mt_archive_create(path);
    if (file && mi_params_save(ps, file, "") == MI_OK) return mt_archive_close(file) == MI_OK;
    if (file) mt_archive_abort(file);
    return false;
}

static bool work(int argc, char **argv) {
    const struct mi_model_desc *d = mi_model_find(argv[1]);
    struct mi_values *v = d && d->info.settings ? settings_of(d, argv + 6, argc - 6) : NULL;
    if (!d || (d->info.settings && !v)) return false;
    mt_archive *in = mt_archive_open(argv[4]);
    if (!in) {
        mi_values_free(v);
        return false;
    }
    mt_scope *s = mt_scope_begin("parity");
    mt_tensor *logits = mt_archive_get(in, "expect.logits", MT_CPU);
    struct mi_model *m = logits ? mi_model_new(argv[1], v, (int)mt_size(logits, 1), atoi(argv[2]), MT_CPU, 1) : NULL;
    mi_values_free(v);
    bool ok = m != NULL;
    if (ok) {
        m->train = strcmp(argv[3], "train") == 0;
        ok = pass(m, in, MT_F32);
        ok &= mi_error_status() == MI_OK && save(m->params, argv[5]);
        ok = mi_error_status() == MI_OK && pass(m, in, MT_F64) && ok;
    }
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
