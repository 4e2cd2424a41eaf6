/* src/judge/knn.c - KNN distance: how near a reconstruction comes to a real private photo of the same person.
 *
 * For every reconstruction (successful or not) the squared L2 distance, in the judge's penultimate features, to the
 * nearest private training photo of the identity that was attacked; the metric is the mean.  Features of the private
 * photos are always computed with the judge in use: distances of different judges have different units. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "src/judge/judge_priv.h"

int32_t *mi_photos_of(const struct mi_verdict *v, int n_v, const struct mi_pack_split *s, size_t *n) {
    int32_t top = 0;
    for (int i = 0; i < n_v; i++)
        if (v[i].label > top) top = v[i].label;
    bool *wanted = mi_calloc((size_t)top + 1, sizeof *wanted);
    int32_t *index = mi_calloc(s->n + 1, sizeof *index);
    *n = 0;
    for (int i = 0; wanted && i < n_v; i++)
        if (v[i].label >= 0) wanted[v[i].label] = true;
    for (size_t i = 0; wanted && index && i < s->n; i++)
        if (s->labels[i] >= 0 && s->labels[i] <= top && wanted[s->labels[i]]) index[(*n)++] = (int32_t)i;
    if (!wanted) {
        free(index);
        index = NULL;
    }
    free(wanted);
    return index;
}

static double squared(const float *a, const float *b, int width) {
    double sum = 0;
    for (int i = 0; i < width; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sum;
}

static enum mi_status nearest(struct mi_verdict *v, const float *own, const float *photos, const int32_t *index,
                              size_t n, const struct mi_pack_split *s, int width) {
    v->distance = DBL_MAX;
    v->nearest = -1;
    for (size_t j = 0; j < n; j++) {
        if (s->labels[index[j]] != v->label) continue;
        double d = squared(own, photos + j * (size_t)width, width);
        if (d >= v->distance) continue;
        v->distance = d;
        v->nearest = index[j];
    }
    if (v->nearest >= 0) return MI_OK;
    v->distance = NAN;
    return mi_fail(MI_E_INPUT, "identity %d was attacked but the private training set has no photo of it", v->label);
}

enum mi_status mi_score_knn_among(mt_tensor *recon_features, struct mi_verdict *v, int n,
                                  const struct mi_pack_split *private_train, const int32_t *index, mt_tensor *photos,
                                  double *knn) {
    if (!recon_features || !photos || mt_ndim(recon_features) != 2 || mt_size(recon_features, 0) != n || n < 1 ||
        mt_ndim(photos) != 2 || mt_size(photos, 1) != mt_size(recon_features, 1))
        return mi_fail(MI_E_INTERNAL, "KNN needs features of %d reconstructions and of photos, of one width", n);
    size_t m = (size_t)mt_size(photos, 0);
    int width = (int)mt_size(photos, 1);
    int64_t row = (int64_t)width * (int64_t)sizeof(float);
    float *own = mi_calloc((size_t)n, (size_t)row), *theirs = mi_calloc(m, (size_t)row);
    enum mi_status st = own && theirs ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) st = mt_read(photos, theirs, (int64_t)m * row, MT_F32, MT_NCHW);
    if (st == MI_OK) st = mt_read(recon_features, own, n * row, MT_F32, MT_NCHW);
    double sum = 0;
    for (int i = 0; st == MI_OK && i < n; i++) {
        st = nearest(&v[i], own + (size_t)i * (size_t)width, theirs, index, m, private_train, width);
        sum += v[i].distance;
    }
    free(own);
    free(theirs);
    if (st == MI_OK) *knn = sum / n;
    return st;
}

enum mi_status mi_score_knn(struct mi_model *judge, mt_tensor *recon_features, struct mi_verdict *v, int n,
                            const struct mi_pack_split *private_train, int batch, double *knn) {
    size_t photos = 0;
    mt_tensor *features = NULL;
    int32_t *index = mi_photos_of(v, n, private_train, &photos);
    mt_scope *scope = mt_scope_begin("knn");
    enum mi_status st = index ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK && photos == 0)
        st = mi_fail(MI_E_INPUT, "the private training set has no photo of any attacked identity");
    if (st == MI_OK) st = mi_eval_features(judge, private_train, index, photos, batch, &features);
    if (st == MI_OK) st = mi_score_knn_among(recon_features, v, n, private_train, index, features, knn);
    enum mi_status end = mt_scope_end(scope);
    free(index);
    return end != MI_OK ? end : st;
}
