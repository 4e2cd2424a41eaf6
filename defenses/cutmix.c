/* defenses/cutmix.c - CutMix (Yun et al., ICCV 2019) as if it were a defense (Tran et al., TMLR 2025, Sec. 4.3): a box
 * of every image of a batch is replaced by the same box of another one, and the labels are mixed by area.
 *
 * One draw a batch, as published: share ~ Beta(alpha, alpha), a box with sides sqrt(1 - share) of the image's around a
 * uniform centre, cut off at the borders; share becomes what is really left of the image.  The loss is share CE(z, y) +
 * (1 - share) CE(z, y of the other).  Everything comes from (seed, "cutmix", step). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "defenses/cutmix.h"

/* Gamma(a, 1) by Marsaglia and Tsang (2000); for a < 1 by the power of one of a + 1. */
static double gamma_draw(struct mi_rng *r, double a) {
    if (a < 1) return gamma_draw(r, a + 1) * pow(1 - mi_rng_uniform(r), 1 / a);
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = mi_rng_normal(r), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(1 - mi_rng_uniform(r)) < 0.5 * x * x + d * (1 - v + log(v))) return d * v;
    }
}

struct mi_box mi_cutmix_draw(struct mi_rng *r, double alpha, int size, double *share) {
    double a = gamma_draw(r, alpha), b = gamma_draw(r, alpha), left = a + b > 0 ? a / (a + b) : 0.5;
    int side = (int)(size * sqrt(1 - left)), half = side / 2;
    int y = (int)mi_rng_below(r, size), x = (int)mi_rng_below(r, size);
    int top = y - half < 0 ? 0 : y - half, bottom = y + half > size ? size : y + half;
    int first = x - half < 0 ? 0 : x - half, last = x + half > size ? size : x + half;
    *share = 1 - (double)(bottom - top) * (last - first) / ((double)size * size);
    return (struct mi_box){(int16_t)top, (int16_t)first, (int16_t)(bottom - top), (int16_t)(last - first)};
}

static mt_tensor *box_of(mt_tensor *x /* [N,3,S,S] */, struct mi_box b) {
    return mt_narrow(mt_narrow(x, 2, b.top, b.height), 3, b.left, b.width); /* [N,3,h,w] */
}

static enum mi_status mix(struct mi_batch *b, const int32_t *order, struct mi_box box, double share) {
    int64_t *pick = mi_calloc((size_t)b->n, sizeof *pick);
    if (!pick) return MI_E_NOMEM;
    for (int i = 0; i < b->n; i++) pick[i] = order[i];
    mt_tensor *other = mt_to(mt_from(pick, MT_SHAPE(b->n), (mt_spec){MT_I64, MT_CPU, MT_NCHW}), mt_device_of(b->y));
    free(pick);
    bool grad = mt_grad_mode(false);
    if (box.height > 0 && box.width > 0) mt_copy_(box_of(b->x, box), mt_index_select(box_of(b->x, box), 0, other));
    b->y2 = mt_index_select(b->y, 0, other); /* [N] */
    b->share = mt_full(MT_SHAPE(b->n), share, (mt_spec){MT_F32, mt_device_of(b->y), MT_NCHW});
    mt_grad_mode(grad);
    return b->y2 && b->share ? MI_OK : mt_status();
}

static enum mi_status batch(struct mi_defense *d, struct mi_batch *b) {
    struct mi_rng r = mi_rng_make(b->seed, "cutmix", (uint64_t)b->step, 0);
    if (b->n < 2 || mi_rng_uniform(&r) >= mi_values_real(d->values, "probability")) return MI_OK;
    double share;
    struct mi_box box = mi_cutmix_draw(&r, mi_values_real(d->values, "alpha"), b->size, &share);
    int32_t *order = mi_calloc((size_t)b->n, sizeof *order);
    if (!order) return MI_E_NOMEM;
    for (int i = 0; i < b->n; i++) order[i] = i;
    mi_rng_shuffle(&r, order, (size_t)b->n);
    enum mi_status st = mix(b, order, box, share);
    free(order);
    return st;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    enum { DRAWS = 4096 };
    struct mi_rng r = mi_rng_make(0, "cutmix note", 0, 0);
    double sum = 0, share;
    for (int i = 0; i < DRAWS; i++) {
        mi_cutmix_draw(&r, mi_values_real(d->values, "alpha"), size, &share);
        sum += (1 - share) / DRAWS;
    }
    snprintf(text, room, "%.1f %% of an image comes from another one on the average",
             100 * sum * mi_values_real(d->values, "probability"));
}

static const struct mi_setting settings[] = {
    {.name = "alpha",
     .label = true,
     .type = MI_REAL,
     .def = "1",
     .min = 0.01,
     .max = 100,
     .help = "Share of the image that stays is drawn from Beta(alpha, alpha); 1 is uniform"},
    {.name = "probability",
     .type = MI_REAL,
     .def = "1",
     .min = 0,
     .max = 1,
     .help = "Share of the batches that are mixed (not published for this comparison)"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_cutmix = {
    .info = {.name = "cutmix",
             .title = "CutMix",
             .help = "A random box of every image is replaced by the same box of another image of the batch, and the "
                     "network learns both labels by their areas. Like MIDRE it hides a part of each face, but fills "
                     "the hole with a part of somebody else's. The paper finds a higher accuracy and less protection.",
             .paper = "Yun et al.: CutMix, ICCV 2019; as in Tran, Nguyen et al., TMLR 2025, Sec. 4.3 and Tab. 4",
             .settings = settings,
             .tags = "ablation augmentation labels"},
    .batch = batch,
    .note = note,
    .couples_images = true};
