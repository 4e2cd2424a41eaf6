/* src/engine/score_fid.c - FID as a score: all reconstructions of an attack against the private training photos of the
 * attacked people.
 *
 * [score] fid says in whose features: the run's judge (the default; BiDO's definition, there with five photos of each
 * person), or the network made for it, whose published weights the person names in fid_weights.  Images go to that
 * network as to a judge: 8 bit, PIL-bilinear to its size; photos at the side of the reconstructions, so that both lose
 * the same detail.  The numbers of different networks have different units. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "score.h"
#include "midre/recognise.h"

enum { BATCH = 64, OFF = 0, JUDGE = 1 }; /* order of the choices of [score] fid */

enum mi_status fid_check(const struct engine *e) {
    const struct mi_values *score = e->spec->section[MI_SEC_SCORE];
    if (mi_values_choice(score, "fid") <= JUDGE || *mi_values_text(score, "fid_weights")) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "[score] fid = %s needs fid_weights, the file with the network's published weights; "
                   "fid = judge does without",
                   mi_values_text(score, "fid"));
}

/* The network of the table that is there to measure with. */
static const struct mi_model_desc *metric_net(void) {
    for (int i = 0; mi_model_table[i]; i++) {
        const char *tags = mi_model_table[i]->info.tags;
        if (tags && strncmp(tags, "metric", 6) == 0) return mi_model_table[i];
    }
    return NULL;
}

static struct mi_model *open_net(const struct engine *e, const char *path) {
    const struct mi_model_desc *desc = metric_net();
    if (!desc) {
        mi_fail(MI_E_INTERNAL, "no network of the table is marked as one to measure with");
        return NULL;
    }
    struct mi_model *m = mi_model_new(desc->info.name, NULL, 2, desc->native_size, e->device, 0);
    mt_archive *a = m ? mt_archive_open(path) : NULL;
    bool head = false; /* unused: features come before it */
    enum mi_status st = a ? mi_params_load_found(m->params, a, desc->head, &head) : MI_E_INPUT;
    if (a) mt_archive_close(a);
    if (m && st != MI_OK) {
        mi_fail_context("[score] fid_weights %s", path);
        mi_model_free(m);
        return NULL;
    }
    if (m) mi_params_freeze(m->params, true);
    return m;
}

/* Features of x [n,3,S,S] in [0,1]; of the current scope. */
static enum mi_status features_of(struct mi_model *m, mt_tensor *x, mt_tensor **features) {
    int n = (int)mt_size(x, 0);
    struct mi_verdict *v = mi_calloc((size_t)n + 1, sizeof *v);
    int *label = mi_calloc((size_t)n + 1, sizeof *label);
    enum mi_status st = v && label ? mi_judge_images(m, x, label, BATCH, v, features) : MI_E_NOMEM;
    free(v);
    free(label);
    return st;
}

/* Features of packed photos, [n,width]; of the current scope. */
static enum mi_status photo_features(struct mi_model *m, const struct mi_dataset *d, const int32_t *index, size_t n,
                                     mt_tensor **features) {
    static const float mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};
    size_t px = (size_t)d->size * (size_t)d->size * 3;
    float *pixels = mi_calloc(BATCH, px * sizeof *pixels);
    enum mi_status st = pixels ? MI_OK : MI_E_NOMEM;
    *features = mt_empty(MT_SHAPE((int64_t)n, m->feature_width), MT_SPEC_F32);
    for (size_t at = 0; st == MI_OK && at < n; at += BATCH) {
        size_t now = n - at < BATCH ? n - at : BATCH;
        mt_scope *s = mt_scope_begin("photos");
        mt_tensor *f = NULL;
        mi_batch_fill(pixels, &d->split[MI_TRAIN], index + at, NULL, now, d->size, mean, std);
        mt_tensor *x = mt_from(pixels, MT_SHAPE((int64_t)now, 3, d->size, d->size), (mt_spec){MT_F32, MT_CPU, MT_NHWC});
        x = mt_affine(x, 1, 0.25 / 255); /* the cut to 8 bit must find the level again */
        st = x ? features_of(m, x, &f) : MI_OK;
        mt_copy_(mt_narrow(*features, 0, (int64_t)at, (int64_t)now), f);
        enum mi_status end = mt_scope_end(s);
        if (st == MI_OK) st = end;
    }
    free(pixels);
    return st;
}

static enum mi_status in_net(const struct engine *e, const struct stage *s, mt_tensor *x, const struct mi_verdict *v,
                             int n, struct fid_score *out) {
    const struct mi_dataset *d = &s->data->images;
    size_t photos = 0;
    int32_t *index = mi_photos_of(v, n, &d->split[MI_TRAIN], &photos);
    struct mi_model *m = index ? open_net(e, mi_values_text(e->spec->section[MI_SEC_SCORE], "fid_weights")) : NULL;
    enum mi_status st = m ? MI_OK : index ? mi_error_status() : MI_E_NOMEM;
    mt_tensor *fake = NULL, *real = NULL;
    if (st == MI_OK) st = features_of(m, x, &fake);
    if (st == MI_OK) st = photo_features(m, d, index, photos, &real);
    if (st == MI_OK) {
        snprintf(out->features, sizeof out->features, "%s@%d", m->desc->info.name, m->size);
        out->few = n <= m->feature_width || photos <= (size_t)m->feature_width;
        st = mi_frechet(fake, real, &out->value);
    }
    mi_model_free(m);
    free(index);
    return st;
}

enum mi_status fid_measure(const struct engine *e, const struct stage *s, mt_tensor *x, const struct mi_verdict *v,
                           int n, mt_tensor *fake, mt_tensor *real, struct fid_score *out) {
    *out = (struct fid_score){.value = NAN};
    int how = mi_values_choice(e->spec->section[MI_SEC_SCORE], "fid");
    if (how == OFF || n < 2) return MI_OK;
    if (how != JUDGE) return in_net(e, s, x, v, n, out);
    if (!real || mt_size(real, 0) < 2) return MI_OK;
    snprintf(out->features, sizeof out->features, "%s@%d", s->judge->model, s->judge->size);
    out->few = n <= mt_size(fake, 1) || mt_size(real, 0) <= mt_size(fake, 1);
    return mi_frechet(fake, real, &out->value);
}
