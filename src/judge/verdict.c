/* src/judge/verdict.c - shows reconstructions to the judge exactly as the published evaluations do ("low2high").
 *
 * A float image in [0,1] is multiplied by 255 and truncated to 8 bit (not rounded), enlarged with PIL's bilinear
 * filter when the judge is larger, and divided by 255 again.  At equal sizes only the truncation remains.  No
 * gradient passes here.  A success is the judge's first answer being the wanted identity; a top-5 success is the
 * identity among its five best.  Confidence is the judge's probability for its first answer. */
#include <math.h>
#include <stdlib.h>

#include "midre/image.h"
#include "src/judge/judge_priv.h"

struct look { /* one batch on its way to the judge */
    float *raw;          /* [batch,S,S,3] as reconstructed */
    uint8_t *small, *big; /* one image, before and after resizing */
    float *seen;         /* [batch,J,J,3] normalised */
};

static void look_close(struct look *k) {
    free(k->raw);
    free(k->small);
    free(k->big);
    free(k->seen);
}

static enum mi_status look_open(struct look *k, int batch, int size, int judge_size) {
    size_t px = (size_t)size * (size_t)size * 3, jpx = (size_t)judge_size * (size_t)judge_size * 3;
    *k = (struct look){.raw = mi_calloc((size_t)batch, px * sizeof(float)),
                       .small = mi_calloc(px, 1),
                       .big = mi_calloc(jpx, 1),
                       .seen = mi_calloc((size_t)batch, jpx * sizeof(float))};
    return k->raw && k->small && k->big && k->seen ? MI_OK : MI_E_NOMEM;
}

static uint8_t truncate8(float v) { return !(v > 0) ? 0 : v >= 1 ? 255 : (uint8_t)(v * 255.0f); }

/* x [n,3,S,S] -> [n,3,J,J] in the judge's input domain, on its device. */
static mt_tensor *prepare(const struct mi_model *judge, mt_tensor *x, struct look *k) {
    int64_t n = mt_size(x, 0);
    int size = (int)mt_size(x, 2), js = judge->size;
    size_t px = (size_t)size * (size_t)size * 3, jpx = (size_t)js * (size_t)js * 3;
    if (mt_read(x, k->raw, n * (int64_t)(px * sizeof(float)), MT_F32, MT_NHWC) != MI_OK) return NULL;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *shown = k->small;
        for (size_t p = 0; p < px; p++) k->small[p] = truncate8(k->raw[(size_t)i * px + p]);
        if (js != size) {
            enum mi_status st = mi_resize_rgb(k->small, size, size, k->big, js, js);
            if (st != MI_OK) {
                mt_raise(st, "a reconstruction could not be enlarged for the judge");
                return NULL;
            }
            shown = k->big;
        }
        for (size_t p = 0; p < jpx; p++) {
            float std = judge->desc->std[p % 3], v = (float)shown[p] / 255.0f;
            k->seen[(size_t)i * jpx + p] = (v - judge->desc->mean[p % 3]) / (std != 0 ? std : 1);
        }
    }
    mt_tensor *seen = mt_from(k->seen, MT_SHAPE(n, 3, js, js), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
    return mt_to(seen, judge->params->device);
}

/* Reads the judge's five best answers of a batch into verdicts. prob [n,K]. */
static enum mi_status answers(mt_tensor *prob, const int *labels, int n, struct mi_verdict *out) {
    int64_t k = mt_size(prob, 1) < 5 ? mt_size(prob, 1) : 5;
    mt_tensor *val, *idx; /* [n,k] */
    MI_TRY(mt_topk(prob, k, 1, &val, &idx));
    float p[5];
    int64_t c[5];
    for (int i = 0; i < n; i++) {
        mt_tensor *row = mt_narrow(val, 0, i, 1), *cls = mt_narrow(idx, 0, i, 1);
        MI_TRY(mt_read(row, p, k * (int64_t)sizeof *p, MT_F32, MT_NCHW));
        MI_TRY(mt_read(cls, c, k * (int64_t)sizeof *c, MT_I64, MT_NCHW));
        struct mi_verdict *v = &out[i];
        *v = (struct mi_verdict){.label = labels[i], .judge = (int)c[0], .confidence = p[0], .hit = c[0] == labels[i],
                                 .distance = NAN, .nearest = -1};
        for (int j = 0; j < k; j++) v->hit5 |= c[j] == labels[i];
        mt_drop(row);
        mt_drop(cls);
    }
    return MI_OK;
}

static enum mi_status judge_batch(struct mi_model *judge, mt_tensor *x, const int *labels, int n, struct look *k,
                                  struct mi_verdict *out, mt_tensor *features /* [n,width] or NULL */) {
    mt_scope *scope = mt_scope_begin("judge");
    struct mi_forward_out fwd = {0};
    mt_tensor *seen = prepare(judge, x, k);
    enum mi_status st = seen ? mi_model_forward(judge, seen, false, &fwd) : MI_OK;
    if (st == MI_OK && fwd.logits) st = answers(mt_to(mt_softmax(fwd.logits, 1), MT_CPU), labels, n, out);
    if (st == MI_OK && features) mt_copy_(features, fwd.features);
    enum mi_status end = mt_scope_end(scope);
    return end != MI_OK ? end : st;
}

enum mi_status mi_judge_images(struct mi_model *judge, mt_tensor *x, const int *labels, int batch,
                               struct mi_verdict *out, mt_tensor **features) {
    if (features) *features = NULL;
    if (!x || mt_ndim(x) != 4 || mt_size(x, 1) != 3 || mt_size(x, 2) != mt_size(x, 3))
        return mi_fail(MI_E_INTERNAL, "the judge needs reconstructions [N,3,S,S]");
    int n = (int)mt_size(x, 0);
    if (batch < 1) batch = 1;
    struct look k;
    enum mi_status st = look_open(&k, batch, (int)mt_size(x, 2), judge->size);
    mt_tensor *all = features ? mt_empty(MT_SHAPE(n, judge->feature_width), MT_SPEC_F32) : NULL; /* [N,width] */
    struct mi_eval_mode mode = mi_eval_enter(judge);
    for (int at = 0; st == MI_OK && at < n; at += batch) {
        int now = n - at < batch ? n - at : batch;
        mt_scope *scope = mt_scope_begin("judge slice");
        mt_tensor *part = mt_narrow(x, 0, at, now), *into = all ? mt_narrow(all, 0, at, now) : NULL;
        st = judge_batch(judge, part, labels + at, now, &k, out + at, into);
        enum mi_status end = mt_scope_end(scope);
        if (st == MI_OK) st = end;
    }
    mi_eval_leave(judge, mode);
    look_close(&k);
    if (st != MI_OK) return st;
    for (int i = 0; i < n; i++) /* images of an identity stand together, restart by restart */
        out[i].restart = i > 0 && out[i].label == out[i - 1].label ? out[i - 1].restart + 1 : 0;
    if (features) *features = all;
    return features && !all ? mt_status() : MI_OK;
}
