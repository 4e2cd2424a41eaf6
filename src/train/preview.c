/* src/train/preview.c - what training photos look like under a recipe and its defenses, as one sheet.
 *
 * The photos go through the very feeder and hooks of a training: only the choice of photos is ours, the same ones in
 * every column.  A step of the preview stands for an epoch, so what is fixed over a training (FE's mask) stays equal
 * along a row and what is drawn anew differs.  A defense that chooses the photos of its batches is asked which of them
 * an epoch has; the others are darkened.  Nothing is learnt and no weight changes. */
#include <stdlib.h>
#include <string.h>

#include "train_priv.h"

struct preview {
    struct mi_model *m;
    const struct mi_dataset *d;
    struct mi_defenses *defenses;
    uint64_t seed;
    const int32_t *index;
    int rows;
    float mean[3], std[3];
    struct mi_sampling sampling;
    struct mi_defense *sampler; /* NULL: every epoch has every photo */
};

static int pick(void *user, int64_t step, int32_t *index) {
    const struct preview *p = user;
    (void)step;
    memcpy(index, p->index, (size_t)p->rows * sizeof *index);
    return p->rows;
}

/* absent[k]: photo k is in no batch of the epoch. */
static enum mi_status find_absent(struct preview *p, int64_t epoch, bool *absent) {
    for (int k = 0; k < p->rows; k++) absent[k] = p->sampler != NULL;
    if (!p->sampler) return MI_OK;
    int32_t *batch = mi_calloc((size_t)p->sampling.most, sizeof *batch);
    if (!batch) return MI_E_NOMEM;
    for (int64_t s = 0; s < p->sampling.per_epoch; s++) {
        int n = p->sampler->desc->sample(p->sampler, &p->sampling, epoch * p->sampling.per_epoch + s, batch);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < p->rows; k++)
                if (batch[i] == p->index[k]) absent[k] = false;
    }
    free(batch);
    return MI_OK;
}

static void to_tile(const struct preview *p, const float *px, bool dark, uint8_t *rgb) {
    size_t n = (size_t)p->d->size * (size_t)p->d->size;
    for (size_t i = 0; i < n * 3; i++) {
        float v = (px[i] * p->std[i % 3] + p->mean[i % 3]) * 255 + 0.5f;
        v = v < 0 ? 0 : v > 255 ? 255 : v;
        rgb[i] = (uint8_t)(dark ? v / 5 : v);
    }
}

/* One epoch's photos after all hooks: px [rows,S,S,3]. */
static enum mi_status make_epoch(struct preview *p, struct mi_feeder *f, int64_t epoch, int epochs, float *px) {
    float *pixels;
    int64_t *labels, s = p->d->size, n = p->rows;
    int32_t *index;
    if (mi_feeder_get(f, epoch, &pixels, &labels, &index) < 0) return mi_error_status();
    mt_spec image = {MT_F32, MT_CPU, MT_NHWC}, label = {MT_I64, MT_CPU, MT_NCHW};
    mt_scope *scope = mt_scope_begin("preview");
    bool was = mt_grad_mode(false);
    struct mi_batch b = {.x = mt_wrap(pixels, MT_SHAPE(n, 3, s, s), image), /* [N,3,S,S], the feeder's memory */
                         .y = mt_wrap(labels, MT_SHAPE(n), label),          /* [N] */
                         .index = index,
                         .n = p->rows,
                         .size = p->d->size,
                         .step = epoch,
                         .epoch = epoch,
                         .epochs = epochs,
                         .seed = p->seed,
                         .model = p->m};
    enum mi_status st = mi_defenses_batch(p->defenses, &b);
    if (st == MI_OK) st = mt_read(b.x, px, n * s * s * 3 * (int64_t)sizeof *px, MT_F32, MT_NHWC);
    mt_grad_mode(was);
    enum mi_status end = mt_scope_end(scope);
    return st != MI_OK ? st : end;
}

static enum mi_status fill_sheet(struct preview *p, const struct mi_train_recipe *r, int cols, struct mi_image *sheet) {
    size_t tile = (size_t)p->d->size * (size_t)p->d->size * 3;
    struct mi_picker picker = {.pick = pick, .user = p, .per_epoch = 1, .most = p->rows};
    struct mi_feeder *f = mi_feeder_open_picked(p->d, r, p->mean, p->std, p->seed, cols, false, &picker);
    float *px = mi_calloc(tile * (size_t)p->rows, sizeof *px);
    uint8_t *rgb = mi_calloc(tile, 1);
    bool *absent = mi_calloc((size_t)p->rows, sizeof *absent);
    enum mi_status st = f && px && rgb && absent ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) mi_feeder_defend(f, p->defenses);
    for (int k = 0; k < p->rows && st == MI_OK; k++)
        mi_sheet_put(sheet, p->d->size, 0, k, p->d->split[MI_TRAIN].rgb + (size_t)p->index[k] * tile);
    for (int c = 1; c < cols && st == MI_OK; c++) {
        st = find_absent(p, c - 1, absent);
        if (st == MI_OK) st = make_epoch(p, f, c - 1, cols, px);
        for (int k = 0; k < p->rows && st == MI_OK; k++) {
            to_tile(p, px + (size_t)k * tile, absent[k], rgb);
            mi_sheet_put(sheet, p->d->size, c, k, rgb);
        }
    }
    mi_feeder_close(f);
    free(px);
    free(rgb);
    free(absent);
    return st;
}

enum mi_status mi_preview(struct mi_model *m, const struct mi_dataset *d, const struct mi_train_recipe *r,
                          struct mi_defenses *defenses, uint64_t seed, const int32_t *index, int rows, int cols,
                          struct mi_image *sheet) {
    struct preview p = {.m = m, .d = d, .defenses = defenses, .seed = seed, .index = index, .rows = rows};
    const struct mi_pack_split *train = &d->split[MI_TRAIN];
    for (int k = 0; k < rows; k++)
        if (index[k] < 0 || (size_t)index[k] >= train->n)
            return mi_fail(MI_E_INPUT, "there is no training photo %d; %s has %zu", index[k], d->desc->info.name,
                           train->n);
    for (int c = 0; c < 3; c++) {
        bool plain = m->desc->std[c] <= 0;
        p.mean[c] = plain ? 0 : m->desc->mean[c];
        p.std[c] = plain ? 1 : m->desc->std[c];
    }
    p.sampling = (struct mi_sampling){
        .labels = train->labels, .n = train->n, .classes = d->classes, .batch = r->batch, .seed = seed};
    MI_TRY(mi_defenses_plan(defenses, &p.sampling, &p.sampler));
    MI_TRY(mi_sheet_new(sheet, d->size, cols, rows));
    enum mi_status st = fill_sheet(&p, r, cols, sheet);
    if (st != MI_OK) mi_image_free(sheet);
    return st;
}
