/* winograd_priv.h - what the four files of the minimal-filtering convolution share: vector width, geometry, layouts.
 *
 * Three arrays lie between the phases, each as 36 planes (one a point of the 6x6 transform), floats:
 *     V [group of MR tiles][cin/VL][MR][VL]    transformed image
 *     U [cout/NR][cin rounded up to VL][NR]    transformed weight, or the sum of its gradient
 *     P [cout/NR][tiles of the block][NR]      products, or the transformed output gradient
 * They are laid so that the products walk forward through memory: a group of V is one run, so is a panel of U. */
#ifndef MIDRE_WINOGRAD_PRIV_H
#define MIDRE_WINOGRAD_PRIV_H

#include <string.h>

#include "src/tensor/winograd.h"

#ifdef __AVX512F__
#define VL 16 /* floats in a vector */
#define MR 12 /* tile rows of a register block */
#define KR 8  /* input channels of a register block of the weight gradient */
#else
#define VL 8
#define MR 6
#define KR 4
#endif
#define NR (2 * VL) /* output channels of a register block */
#define XI 36

typedef float vf __attribute__((vector_size(VL * sizeof(float)), aligned(4), may_alias));

struct wino_geometry {
    int n, h, w, cin, cout, th, tw; /* th x tw tiles an image */
    int cb, pb;                     /* channel blocks of V (cin/VL) and panels of P (cout/NR), rounded up */
    long tiles, block;              /* all tiles; tiles of a super-block, a multiple of MR */
    long vs, ps, us;                /* floats from one of the 36 planes of V, P, U to the next */
};

/* Some tiles of a layer: [first, first+count), count at most g->block. */
struct wino_span { long first, count; };

/* The functions below run on the OpenMP team of their caller; called inside a parallel region, on the one thread. */
void wino_weight_pack(const struct wino_weight *w, const struct wino_geometry *g, float *u);
void wino_weight_unpack(const struct wino_weight *dw, const struct wino_geometry *g, const float *du);
/* x [n,h,w,cin] -> V; the tiles that fill the last group are zero. */
void wino_input(const struct wino_geometry *g, const float *x, struct wino_span at, float *v);
/* P -> y [n,h,w,cout], plus bias [cout] or NULL. */
void wino_output(const struct wino_geometry *g, const float *p, const float *bias, struct wino_span at, float *y);
/* dy [n,h,w,cout] -> P. */
void wino_output_grad(const struct wino_geometry *g, const float *dy, struct wino_span at, float *p);
/* P = V U in each plane. */
void wino_products(const struct wino_geometry *g, const float *v, const float *u, long count, float *p);
/* U = V^T P in each plane, or U += V^T P.  count > 0. */
void wino_grad_products(const struct wino_geometry *g, const float *v, const float *p, long count, bool add, float *du);

static inline int wino_at_most(int n, int limit) { return n < limit ? n : limit; }

#endif
