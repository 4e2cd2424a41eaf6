/* attacks/plg_augment.c - the augmentations through which PLG-MI shows images to the target (Yuan et al. 2023; exact
 * meaning of the parameters: kornia 0.6.6, which the publication pins).
 *
 *   square    side round(sqrt(U(0.8,1) S^2)), drawn again (10 times) while it is S; integer place; scaled back with
 *             the corner pixels kept (align_corners)
 *   colours   brightness x b and contrast x c + m (1-c), b, c ~ U(0.8,1.2), m the mean of the grey image; each followed
 *             by a clamp to [0,1]; order drawn for the whole batch
 *   mirror    p = 0.5
 *   rotation  U(-5,5) degrees with p = 0.5 about the centre, bilinear, black outside
 *
 * Square and mirror are one resampling (a mirror moves whole pixels), rotation is a second one, so interpolation equals
 * the original's.  Sampling positions are affine in the pixel index: a 2x3 matrix an image.  The clamps stop gradients
 * of pixels outside [0,1], as published. */
#include "attacks/plg_augment.h"

#include <math.h>
#include <stdlib.h>

enum { TRIES = 10 };
static const double MIN_AREA = 0.8, JITTER = 0.2, FLIP_P = 0.5, TURN_P = 0.5, TURN = 5;

struct mi_plg_view mi_plg_view_draw(uint64_t seed, const char *purpose, uint64_t key, int64_t step, int size,
                                    double jitter_p) {
    struct mi_rng r = mi_rng_make(seed, purpose, key, (uint64_t)step);
    struct mi_plg_view v = {.side = size};
    for (int t = 0; t < TRIES && v.side >= size; t++)
        v.side = (int)lround(sqrt(mi_rng_range(&r, MIN_AREA, 1) * size * size));
    v.left = (int)mi_rng_below(&r, size - v.side + 1);
    v.top = (int)mi_rng_below(&r, size - v.side + 1);
    v.jitter = mi_rng_uniform(&r) < jitter_p;
    v.brightness = mi_rng_range(&r, 1 - JITTER, 1 + JITTER);
    v.contrast = mi_rng_range(&r, 1 - JITTER, 1 + JITTER);
    v.flip = mi_rng_uniform(&r) < FLIP_P;
    bool turn = mi_rng_uniform(&r) < TURN_P;
    double angle = mi_rng_range(&r, -TURN, TURN) * M_PI / 180;
    v.angle = turn ? angle : 0;
    return v;
}

/* x sampled at the pixels theta [N,2,3] says, in coordinates where the image spans [-1,1] edge to edge. */
static mt_tensor *sample(mt_tensor *x, const float *theta) {
    int64_t shape[MT_MAXDIM];
    mt_shape(x, shape);
    mt_tensor *t = mt_to(mt_from(theta, MT_SHAPE(shape[0], 2, 3), MT_SPEC_F32), mt_device_of(x));
    return mt_grid_sample(x, mt_affine_grid(t, shape), MT_BILINEAR, MT_PAD_ZERO);
}

/* One line of theta for pixel(j) = a j + c. */
static void line(float *row, int axis, double a, double c, int size) {
    row[axis] = (float)a;
    row[1 - axis] = 0;
    row[2] = (float)(a * (1 - 1.0 / size) + (2 * c + 1) / size - 1);
}

static mt_tensor *column(const float *v, int64_t n, mt_device d) {
    return mt_to(mt_from(v, MT_SHAPE(n, 1, 1, 1), MT_SPEC_F32), d);
}

/* x*c + m*(1-c) with m the mean of 0.299 R + 0.587 G + 0.114 B of each image. */
static mt_tensor *contrast(mt_tensor *x, mt_tensor *c) {
    static const float grey[3] = {0.299f, 0.587f, 0.114f};
    mt_tensor *w = mt_to(mt_from(grey, MT_SHAPE(1, 3, 1, 1), MT_SPEC_F32), mt_device_of(x));
    mt_tensor *m = mt_sum(mt_mul(mt_mean(x, MT_DIMS(2, 3), true), w), MT_DIMS(1), true); /* [N,1,1,1] */
    return mt_clamp(mt_add(mt_mul(x, c), mt_mul(m, mt_affine(c, -1, 1))), 0, 1);
}

static mt_tensor *colours(mt_tensor *x, const struct mi_plg_view *view, bool contrast_first, float *room) {
    int64_t n = mt_size(x, 0);
    mt_device d = mt_device_of(x);
    float *b = room, *c = room + n, *on = room + 2 * n, any = 0;
    for (int64_t i = 0; i < n; i++) {
        b[i] = (float)view[i].brightness;
        c[i] = (float)view[i].contrast;
        any += on[i] = view[i].jitter;
    }
    if (any == 0) return x;
    mt_tensor *tb = column(b, n, d), *tc = column(c, n, d), *y = x;
    if (contrast_first) y = contrast(y, tc);
    y = mt_clamp(mt_mul(y, tb), 0, 1);
    if (!contrast_first) y = contrast(y, tc);
    if (any == (float)n) return y;
    return mt_where(mt_compare_scalar(column(on, n, d), 0.5, MT_GT), y, x);
}

mt_tensor *mi_plg_view_apply(mt_tensor *x, const struct mi_plg_view *view, bool contrast_first) {
    if (!x) return NULL;
    int64_t n = mt_size(x, 0);
    int size = (int)mt_size(x, 3);
    float *room = mi_calloc((size_t)n * 12, sizeof *room), *turn = room + 6 * n;
    if (!room) {
        mt_raise(MI_E_NOMEM, "no memory for %d views", (int)n);
        return NULL;
    }
    bool turned = false;
    for (int64_t i = 0; i < n; i++) {
        const struct mi_plg_view *v = &view[i];
        double a = (double)(v->side - 1) / (size - 1); /* corner pixels onto corner pixels */
        if (v->flip)
            line(room + 6 * i, 0, -a, v->left + v->side - 1, size);
        else
            line(room + 6 * i, 0, a, v->left, size);
        line(room + 6 * i + 3, 1, a, v->top, size);
        float c = (float)cos(v->angle), s = (float)sin(v->angle);
        const float m[6] = {c, -s, 0, s, c, 0};
        for (int k = 0; k < 6; k++) turn[6 * i + k] = m[k];
        turned |= v->angle != 0;
    }
    mt_tensor *y = sample(x, room);
    y = colours(y, view, contrast_first, room); /* the colours of a mirrored image are those of the image */
    if (turned) y = sample(y, turn);
    free(room);
    return y;
}

mt_tensor *mi_plg_augment(mt_tensor *x, uint64_t seed, const char *purpose, const uint64_t *key, int64_t step,
                          double jitter_p) {
    if (!x) return NULL;
    int64_t n = mt_size(x, 0);
    struct mi_plg_view *view = mi_calloc((size_t)n, sizeof *view);
    if (!view) {
        mt_raise(MI_E_NOMEM, "no memory for %d views", (int)n);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        view[i] = mi_plg_view_draw(seed, purpose, key[i], step, (int)mt_size(x, 3), jitter_p);
    struct mi_rng order = mi_rng_make(seed, purpose, UINT64_MAX, (uint64_t)step);
    mt_tensor *y = mi_plg_view_apply(x, view, mi_rng_uniform(&order) < 0.5);
    free(view);
    return y;
}
