/* src/train/parts.c - a batch that does not fit into memory, computed in parts whose gradients add up.
 *
 * Every photo keeps the weight it has in the whole batch (1/N, or its own), so losses that are sums over photos have
 * the gradient of the whole batch.  Two things see the part only, and the caller says so: BatchNorm's statistics, and
 * losses over a whole batch (a dependence measure).  A defense with its own way to gradients is left alone.
 *
 * Whether a batch fits is measured before the first step: on a CPU the peak of a forward and backward pass over few
 * photos and over twice as many tells what a photo costs; on a GPU the whole batch is tried, and halved while the
 * device has no room.  The probe puts BatchNorm's statistics back and drops its gradients, so nothing of it stays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train_priv.h"

#define PROBE 4    /* photos of the smaller pass */
#define ROOM  0.85 /* of the free memory that may be taken */

static mt_tensor *cut(mt_tensor *t, int64_t first, int64_t n) {
    return t && t != MT_NONE ? mt_narrow(t, 0, first, n) : t;
}

static struct mi_batch part_of(const struct mi_batch *b, mt_tensor *weight, int first, int n) {
    struct mi_batch p = *b;
    p.x = cut(b->x, first, n);
    p.y = cut(b->y, first, n);
    p.y2 = cut(b->y2, first, n);
    p.share = cut(b->share, first, n);
    p.weight = cut(weight, first, n);
    p.index = b->index + first;
    p.n = n;
    return p;
}

enum mi_status mi_parts_gradients(struct mi_defenses *ds, struct mi_model *m, struct mi_batch *b, int parts,
                                  struct mi_forward_out *out, mt_tensor **loss) {
    if (parts <= 1 || b->n < 2 * parts) return mi_defenses_gradients(ds, m, b, out, loss);
    mt_tensor **logits = mi_calloc((size_t)parts, sizeof(mt_tensor *)), *sum = NULL;
    if (!logits) return MI_E_NOMEM;
    mt_spec sp = {MT_F32, mt_device_of(b->x), MT_NCHW};
    mt_tensor *weight = b->weight ? b->weight : mt_full(MT_SHAPE(b->n), 1.0 / b->n, sp); /* [N] */
    enum mi_status st = MI_OK;
    for (int i = 0; i < parts && st == MI_OK; i++) {
        int first = b->n * i / parts, n = b->n * (i + 1) / parts - first;
        mt_scope *scope = mt_scope_begin("part"); /* a part's activations go before the next one's come */
        struct mi_batch p = part_of(b, weight, first, n);
        struct mi_forward_out o = {0};
        mt_tensor *l = NULL;
        st = mi_defenses_gradients(ds, m, &p, &o, &l);
        mt_tensor *seen = st == MI_OK ? mt_pass(mt_detach(o.logits)) : NULL, *part = NULL;
        if (st == MI_OK) part = mt_pass(mt_detach(l));
        enum mi_status end = mt_scope_end(scope);
        if (st == MI_OK) st = end;
        logits[i] = seen;
        if (st == MI_OK) sum = sum ? mt_add(sum, part) : part;
    }
    if (st == MI_OK) *out = (struct mi_forward_out){.logits = mt_cat(logits, parts, 0)};
    *loss = sum;
    free(logits);
    return st;
}

/* ---- does it fit? ---------------------------------------------------------------------------------------------- */

static double number_in(const char *path, const char *key) {
    char line[256];
    double v = -1;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        size_t n = strlen(key);
        if (strncmp(line, key, n) != 0) continue;
        char *end, *at = line + n;
        v = strtod(at, &end);
        if (end == at) v = -1; /* "max" */
        break;
    }
    if (f) fclose(f);
    return v;
}

/* Bytes a training may take: the person's limit, else what machine and container leave; < 0 unknown. */
static double room(const struct mi_ctx *ctx) {
    if (ctx->memory_mb > 0) return ctx->memory_mb * 1048576.0;
    double free_kb = number_in("/proc/meminfo", "MemAvailable:"), bytes = free_kb < 0 ? -1 : free_kb * 1024;
    double most = number_in("/sys/fs/cgroup/memory.max", ""), used = number_in("/sys/fs/cgroup/memory.current", "");
    if (most > 0 && used >= 0 && (bytes < 0 || most - used < bytes)) bytes = most - used;
    return bytes < 0 ? -1 : ROOM * bytes;
}

static bool forget_peak(mt_device d) {
    mt_mem_release(d);
    FILE *f = fopen("/proc/self/clear_refs", "we");
    bool ok = f && fputs("5", f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    return ok;
}

static enum mi_status probe(struct mi_defenses *ds, struct mi_model *m, const struct mi_batch *b, int n, int parts) {
    mt_scope *scope = mt_scope_begin("probe");
    struct mi_batch p = part_of(b, b->weight, 0, n);
    struct mi_forward_out out = {0};
    mt_tensor *loss = NULL;
    enum mi_status st = mi_parts_gradients(ds, m, &p, parts, &out, &loss);
    enum mi_status end = mt_scope_end(scope);
    for (int i = 0; i < m->params->n; i++) mt_zero_grad(&m->params->item[i].t, 1, true);
    return st != MI_OK ? st : end;
}

/* Parts by what a photo costs; 0: cannot be measured. */
static enum mi_status by_measure(struct mi_ctx *ctx, struct mi_defenses *ds, struct mi_model *m,
                                 const struct mi_batch *b, int *parts) {
    double may = room(ctx);
    uint64_t used, total, peak[2] = {0};
    int n = b->n / 2 < PROBE ? b->n / 2 : PROBE;
    if (may <= 0 || n < 1) return MI_OK;
    MI_TRY(probe(ds, m, b, n, 1)); /* kernels are loaded, gradients have their memory */
    for (int k = 0; k < 2; k++) {
        if (!forget_peak(ctx->device)) return MI_OK;
        MI_TRY(probe(ds, m, b, n << k, 1));
        MI_TRY(mt_mem_info(ctx->device, &used, &total, &peak[k]));
    }
    double each = peak[1] > peak[0] ? (double)(peak[1] - peak[0]) / n : 0;
    while (*parts * 2 * 2 <= b->n && each * b->n / *parts > may) *parts *= 2;
    if (*parts > 1)
        mi_ctx_log(
            ctx, "warn",
            "%s: a batch of %d needs %.1f GB and %.1f GB may be used: computed in %d parts.  BatchNorm and losses "
            "over a batch see a part only, all else is equal",
            ctx->stage, b->n, each * b->n / 1e9, may / 1e9, *parts);
    return MI_OK;
}

static enum mi_status by_trying(struct mi_ctx *ctx, struct mi_defenses *ds, struct mi_model *m,
                                const struct mi_batch *b, int *parts) {
    for (;;) {
        enum mi_status st = probe(ds, m, b, b->n, *parts);
        bool full = st == MI_E_NOMEM || (st == MI_E_DEVICE && strstr(mi_error_text(), "memory"));
        if (!full || *parts * 2 * 2 > b->n) return st;
        mi_error_clear();
        mt_mem_release(ctx->device);
        *parts *= 2;
        mi_ctx_log(
            ctx, "warn",
            "%s: a batch of %d does not fit into the device's memory: computed in %d parts.  BatchNorm and losses "
            "over a batch see a part only, all else is equal",
            ctx->stage, b->n, *parts);
    }
}

/* A generous bound, so that small networks are not probed at all. */
static bool surely_fits(const struct mi_ctx *ctx, const struct mi_model *m, const struct mi_batch *b) {
    double pixels = (double)b->n * m->size * m->size,
           bound = pixels * 8192 + 40.0 * (double)mi_params_count(m->params, false);
    return ctx->device.type == 0 && ctx->memory_mb <= 0 && bound < 0.3 * room(ctx);
}

enum mi_status mi_parts_fit(struct mi_ctx *ctx, struct mi_defenses *ds, struct mi_model *m, const struct mi_batch *b,
                            int *parts) {
    *parts = 1;
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->gradients) return MI_OK; /* its memory is its own affair */
    if (b->n < 4 || surely_fits(ctx, m, b)) return MI_OK;
    mt_scope *scope = mt_scope_begin("fit");
    bool was = mt_grad_mode(false);
    mt_tensor **held = mi_calloc((size_t)m->params->n + 1, sizeof(mt_tensor *));
    for (int i = 0; held && i < m->params->n; i++)
        if (m->params->item[i].role == MI_BUFFER) held[i] = mt_clone(m->params->item[i].t);
    mt_grad_mode(was);
    enum mi_status st = !held                   ? MI_E_NOMEM
                        : ctx->device.type == 0 ? by_measure(ctx, ds, m, b, parts)
                                                : by_trying(ctx, ds, m, b, parts);
    mt_grad_mode(false);
    for (int i = 0; held && i < m->params->n; i++)
        if (held[i]) mt_copy_(m->params->item[i].t, held[i]);
    mt_grad_mode(was);
    free(held);
    enum mi_status end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}
