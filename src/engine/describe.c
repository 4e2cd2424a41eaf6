/* src/engine/describe.c - `midre-engine describe MODEL`: what a network of given settings, size and classes costs.
 *
 * Parameters, keys and widths come from the network itself; multiply-accumulates from the shapes of one forward pass
 * (tensor_nn.h counts them).  Memory per image is measured: the peak of a forward (and backward) pass with twice the
 * images, less that with once, so that weights and libraries drop out. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Images in the smaller of the two passes: small ones need many to stand out from the allocator's grain. */
static int images(int size) {
    int n = 262144 / (size * size);
    return n < 2 ? 2 : n > 64 ? 64 : n;
}

/* Peak from now on, not from the start of the process: the kernel forgets the old one when asked. */
static bool forget_peak(mt_device d) {
    mt_mem_release(d);
    FILE *f = fopen("/proc/self/clear_refs", "we");
    bool ok = f && fputs("5", f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    return ok && d.type == 0;
}

static enum mi_status pass(struct mi_model *m, int n, bool train) {
    struct mi_forward_out out;
    mt_scope *scope = mt_scope_begin("describe");
    bool was = mt_grad_mode(train);
    m->train = train;
    mt_tensor *x = mt_zeros(MT_SHAPE(n, 3, m->size, m->size), (mt_spec){MT_F32, m->params->device, MT_NHWC});
    mt_tensor *y = mt_zeros(MT_SHAPE(n), (mt_spec){MT_I64, m->params->device, MT_NCHW});
    enum mi_status st = mi_model_forward(m, x, false, &out);
    if (st == MI_OK && train) st = mt_backward(mt_cross_entropy(out.logits, y, 0, MT_RED_MEAN), false);
    mt_grad_mode(was);
    enum mi_status end = mt_scope_end(scope);
    for (int i = 0; i < m->params->n; i++) mt_zero_grad(&m->params->item[i].t, 1, true);
    return st != MI_OK ? st : end;
}

/* Megabytes an image adds; < 0: cannot be measured here. */
static enum mi_status per_image(struct mi_model *m, bool train, double *mb) {
    uint64_t used, total, peak[2] = {0};
    int n = images(m->size);
    *mb = -1;
    MI_TRY(pass(m, n, train)); /* warm */
    for (int k = 0; k < 2; k++) {
        if (!forget_peak(m->params->device)) return MI_OK;
        MI_TRY(pass(m, n << k, train));
        MI_TRY(mt_mem_info(m->params->device, &used, &total, &peak[k]));
    }
    *mb = peak[1] > peak[0] ? (double)(peak[1] - peak[0]) / n / 1048576.0 : 0;
    return MI_OK;
}

static enum mi_status print(struct mi_model *m) {
    double eval = -1, train = -1;
    int buffers = 0;
    mt_macs_begin();
    enum mi_status st = pass(m, 1, false);
    double macs = mt_macs_end();
    if (st == MI_OK) st = per_image(m, false, &eval);
    if (st == MI_OK) st = per_image(m, true, &train);
    if (st != MI_OK) return st;
    for (int i = 0; i < m->params->n; i++) buffers += m->params->item[i].role == MI_BUFFER;
    printf("at %d px, %d classes\n", m->size, m->classes);
    printf("  parameters   %lld\n", (long long)mi_params_count(m->params, false));
    printf("  keys         %d (%d parameters, %d buffers)\n", m->params->n, m->params->n - buffers, buffers);
    printf("  feature      %d numbers; head %s\n", m->feature_width, m->desc->head);
    printf("  MACs         %.4g million an image\n", macs / 1e6);
    printf("  weights      %.1f MB in fp32\n", (double)mi_params_count(m->params, false) * 4 / 1048576.0);
    if (eval >= 0)
        printf("  memory       %.1f MB an image evaluating, %.1f MB training (measured, fp32)\n", eval, train);
    else
        printf("  memory       not measured: this kernel does not let a process forget its peak\n");
    printf("  taps        ");
    for (const char *const *t = m->desc->taps; t && *t; t++) printf(" %s", *t);
    printf("%s\n", m->desc->taps ? "" : " none");
    return MI_OK;
}

static int usage(void) {
    fprintf(stderr, "usage: midre-engine describe MODEL [--size PX] [--classes N] [key=value ...]\n");
    return mi_exit_code(MI_E_USAGE);
}

int describe_command(int argc, char **argv) {
    if (argc < 1) return usage();
    enum mi_status st = mt_init(0);
    const struct mi_model_desc *d = st == MI_OK ? mi_model_find(argv[0]) : NULL;
    struct mi_values *v = d && d->info.settings ? mi_values_new(d->info.name, d->info.settings) : NULL;
    int size = d ? d->native_size : 0, classes = 1000;
    if (!d || (d->info.settings && !v)) st = mi_error_status();
    for (int i = 1; i < argc && st == MI_OK; i++) {
        char *equals = strchr(argv[i], '=');
        if (strcmp(argv[i], "--size") == 0 && i + 1 < argc)
            size = atoi(argv[++i]);
        else if (strcmp(argv[i], "--classes") == 0 && i + 1 < argc)
            classes = atoi(argv[++i]);
        else if (equals && v) {
            *equals = '\0';
            st = mi_values_set(v, argv[i], equals + 1);
        } else
            st = mi_fail(MI_E_USAGE, "describe: %s is no setting of %s", argv[i], argv[0]);
    }
    struct mi_model *m = st == MI_OK ? mi_model_new(d->info.name, v, classes, size, MT_CPU, 0) : NULL;
    if (st == MI_OK) st = m ? print(m) : mi_error_status();
    mi_model_free(m);
    mi_values_free(v);
    if (st != MI_OK) fprintf(stderr, "midre-engine: %s\n", mi_error_text());
    return mi_exit_code(st);
}
