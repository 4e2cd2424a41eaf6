/* src/nn/erase.c - writes a constant colour into one box of every image of a batch, in place.
 *
 * Three forms of the same write: a loop over the box's memory on the CPU (a few microseconds, it touches only erased
 * pixels), the CUDA kernel where the build has one, and plain tensor operations for everything else.  All three leave
 * the erased pixels equal to the fill to the bit and every other pixel untouched.
 * The batch is data, not a parameter: it must not require a gradient. */
#include <stdlib.h>
#include <string.h>

#include "src/nn/erase_priv.h"
#ifdef MT_WITH_CUDA_KERNELS
#include "midre/cuda_kernels.h"
#endif

static enum mi_status check(mt_tensor *x, const struct mi_box *boxes, int n) {
    if (!x) return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "erasing needs a batch of images");
    if (mt_ndim(x) != 4 || mt_size(x, 1) != 3 || mt_dtype_of(x) != MT_F32 || mt_size(x, 0) != n)
        return mi_fail(MI_E_INTERNAL, "erasing takes a float batch [%d,3,H,W], one box an image", n);
    if (mt_requires_grad(x))
        return mi_fail(MI_E_INTERNAL, "erasing writes in place: the batch must not require a gradient");
    int64_t h = mt_size(x, 2), w = mt_size(x, 3);
    for (int i = 0; i < n; i++) {
        const struct mi_box *b = &boxes[i];
        if (b->height == 0 || b->width == 0) continue;
        if (b->top < 0 || b->left < 0 || b->height < 0 || b->width < 0 || b->top + b->height > h ||
            b->left + b->width > w)
            return mi_fail(MI_E_INTERNAL, "box %d (top %d, left %d, %dx%d) leaves the %dx%d image", i, b->top, b->left,
                           b->height, b->width, (int)h, (int)w);
    }
    return MI_OK;
}

static void erase_nhwc(float *x, int64_t h, int64_t w, const struct mi_box *boxes, int n, const float fill[3]) {
    for (int i = 0; i < n; i++) {
        const struct mi_box *b = &boxes[i];
        for (int r = 0; r < b->height; r++) {
            float *p = x + ((i * h + b->top + r) * w + b->left) * 3;
            for (int c = 0; c < b->width; c++, p += 3) memcpy(p, fill, 3 * sizeof *p);
        }
    }
}

static void erase_nchw(float *x, int64_t h, int64_t w, const struct mi_box *boxes, int n, const float fill[3]) {
    for (int i = 0; i < n; i++) {
        const struct mi_box *b = &boxes[i];
        for (int k = 0; k < 3; k++) {
            for (int r = 0; r < b->height; r++) {
                float *p = x + ((i * 3 + k) * h + b->top + r) * w + b->left;
                for (int c = 0; c < b->width; c++) p[c] = fill[k];
            }
        }
    }
}

/* [N,1,1,1] f32 on x's device, one number a box. */
static mt_tensor *per_box(mt_tensor *x, const float *values, int n) {
    return mt_to(mt_from(values, MT_SHAPE(n, 1, 1, 1), MT_SPEC_F32), mt_device_of(x));
}

enum mi_status mi_erase_boxes_ops(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]) {
    MI_TRY(check(x, boxes, n));
    if (n == 0) return MI_OK;
    float *edge = mi_calloc((unsigned long)n * 4, sizeof *edge); /* tops, bottoms, lefts, rights */
    if (!edge) return MI_E_NOMEM;
    for (int i = 0; i < n; i++) {
        edge[i] = boxes[i].top;
        edge[n + i] = (float)(boxes[i].top + boxes[i].height);
        edge[2 * n + i] = boxes[i].left;
        edge[3 * n + i] = (float)(boxes[i].left + boxes[i].width);
    }
    mt_scope *s = mt_scope_begin("erase");
    bool grad = mt_grad_mode(false);
    mt_device d = mt_device_of(x);
    mt_spec f32 = {MT_F32, d, MT_NCHW};
    int64_t h = mt_size(x, 2), w = mt_size(x, 3);
    mt_tensor *row = mt_reshape(mt_arange(0, h, f32), MT_SHAPE(1, 1, h, 1));
    mt_tensor *col = mt_reshape(mt_arange(0, w, f32), MT_SHAPE(1, 1, 1, w));
    mt_tensor *in_rows = mt_logical_and(mt_compare(row, per_box(x, edge, n), MT_GE),
                                        mt_compare(row, per_box(x, edge + n, n), MT_LT)); /* [N,1,H,1] */
    mt_tensor *in_cols = mt_logical_and(mt_compare(col, per_box(x, edge + 2 * n, n), MT_GE),
                                        mt_compare(col, per_box(x, edge + 3 * n, n), MT_LT)); /* [N,1,1,W] */
    mt_tensor *colour = mt_to(mt_from(fill, MT_SHAPE(1, 3, 1, 1), MT_SPEC_F32), d);
    mt_copy_(x, mt_where(mt_logical_and(in_rows, in_cols), colour, x));
    mt_grad_mode(grad);
    free(edge);
    return mt_scope_end(s);
}

/* The floats of x when they lie densely in one of the two layouts, else NULL (a view into something larger). */
static float *dense(mt_tensor *x, mt_layout_t layout) {
    mt_tensor *c = mt_contig(x, layout);
    float *p = c && mt_data(c) == mt_data(x) ? mt_data(x) : NULL;
    if (c != x) mt_drop(c);
    return p;
}

enum mi_status mi_erase_boxes(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]) {
    MI_TRY(check(x, boxes, n));
    if (n == 0) return MI_OK;
    mt_layout_t layout = mt_layout(x);
#ifdef MT_WITH_CUDA_KERNELS
    if (mt_device_of(x).type == 1) return mi_cuda_erase_boxes(x, boxes, n, fill);
#endif
    float *p = mt_device_of(x).type == 0 ? dense(x, layout) : NULL;
    if (!p) return mi_erase_boxes_ops(x, boxes, n, fill);
    (layout == MT_NHWC ? erase_nhwc : erase_nchw)(p, mt_size(x, 2), mt_size(x, 3), boxes, n, fill);
    return MI_OK;
}
