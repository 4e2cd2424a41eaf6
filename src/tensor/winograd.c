/* winograd.c - 3x3 convolution by minimal filtering, F(4x4,3x3) (Lavin and Gray, 2016), for CPUs without fast bf16.
 *
 * Each 4x4 block of outputs costs 36 multiplications per channel pair instead of 144, in three phases:
 *     1. input transform   x -> V       (winograd_images.c)
 *     2. 36 matrix products P = V U     (winograd_products.c; U comes from winograd_weights.c)
 *     3. output transform  P -> y plus bias
 * The weight gradient uses the same V: dU = V^T (A dy A^T), then G^T dU G.  Tiles go through the phases in blocks, so
 * that what lies between them stays in a cache.  A layer of few channels is cut into blocks so small that they fit the
 * second-level cache of one core, and each thread takes whole blocks; one of many channels would read its large U too
 * often that way, so its blocks fill the last-level cache and all threads share every phase.
 * Scratch memory belongs to the calling thread (wino_release frees it). */
#include <omp.h>
#include <unistd.h>

#include "src/tensor/blocks.h"
#include "src/tensor/winograd_priv.h"

#define SHARED_BYTES ((size_t)12 << 20) /* what V and P of a shared block may take of the last-level cache */
#define OWN_U_BYTES ((size_t)3 << 20)   /* the largest U that every thread may read for itself, block by block */

/* A transform touches all 36 planes at once: an odd number of cache lines between them keeps them in different sets. */
static long plane_of(long floats) { return ((floats + 15) / 16 | 1) * 16; }

static size_t second_level_bytes(void) {
    static _Atomic size_t bytes; /* asked once; the same whoever writes it first */
    if (!bytes) {
        long said = sysconf(_SC_LEVEL2_CACHE_SIZE);
        bytes = said > 0 ? (size_t)said : (size_t)512 << 10;
    }
    return bytes;
}

/* `own` is set when the blocks belong to single threads. */
static struct wino_geometry geometry_of(int n, int h, int w, int cin, int cout, bool *own) {
    struct wino_geometry g = {.n = n, .h = h, .w = w, .cin = cin, .cout = cout, .th = (h + 3) / 4, .tw = (w + 3) / 4};
    g.cb = (cin + VL - 1) / VL, g.pb = (cout + NR - 1) / NR;
    g.tiles = (long)n * g.th * g.tw;
    g.us = plane_of((long)g.pb * g.cb * VL * NR);
    size_t tile = XI * sizeof(float) * ((size_t)g.cb * VL + (size_t)g.pb * NR);
    long small = (long)(second_level_bytes() * 7 / 8 / tile) / MR * MR;
    if (small < 2 * MR) small = 2 * MR;
    *own = XI * sizeof(float) * (size_t)g.us <= OWN_U_BYTES && g.tiles >= 2 * small * omp_get_max_threads();
    long fit = *own ? small : (long)(SHARED_BYTES / tile);
    g.block = fit < g.tiles ? fit : g.tiles;
    if (g.block < 16 * MR && g.tiles > 16 * MR && !*own) g.block = 16 * MR;
    g.block = g.tiles > 0 ? (g.block + MR - 1) / MR * MR : MR;
    g.vs = plane_of(g.cb * g.block * VL), g.ps = plane_of(g.pb * g.block * NR);
    return g;
}

bool wino_wanted(int h, int w, int cin, int cout) {
    int th = (h + 3) / 4, tw = (w + 3) / 4;
    return cin >= 12 && cout >= 12 && 5L * h * w >= 2L * 16 * th * tw; /* at least 40 % of the tiles' outputs real */
}

/* ---- scratch -------------------------------------------------------------------------------------------------- */
static _Thread_local float *scratch;
static _Thread_local size_t scratch_floats;

static float *scratch_get(size_t floats) {
    if (floats <= scratch_floats) return scratch;
    wino_release();
    scratch = mt_block_get(floats * sizeof(float));
    if (scratch) scratch_floats = floats;
    return scratch;
}

void wino_release(void) {
    mt_block_put(scratch);
    scratch = NULL, scratch_floats = 0;
}

/* ---- layers --------------------------------------------------------------------------------------------------- */
/* Scratch of a layer: `us` copies of U, then V and P of each of `teams` blocks at work at once. */
struct work { float *u, *v; long u_floats, block_floats; };

static bool work_get(const struct wino_geometry *g, int us, int teams, struct work *k) {
    k->u_floats = XI * g->us, k->block_floats = XI * (g->vs + g->ps);
    k->u = scratch_get((size_t)us * (size_t)k->u_floats + (size_t)teams * (size_t)k->block_floats);
    k->v = k->u + us * k->u_floats;
    return k->u != NULL;
}

static struct wino_span block_at(const struct wino_geometry *g, long first) {
    return (struct wino_span){first, g->tiles - first < g->block ? g->tiles - first : g->block};
}

bool wino_conv(const float *x, const struct wino_weight *w, const float *bias, float *y, int n, int h, int wd) {
    bool own;
    struct wino_geometry g = geometry_of(n, h, wd, w->cin, w->cout, &own);
    int teams = own ? omp_get_max_threads() : 1;
    struct work k;
    if (!work_get(&g, 1, teams, &k)) return false;
    wino_weight_pack(w, &g, k.u);
    /* Where blocks are shared, this loop has one thread and the phases inside have the team. */
#pragma omp parallel for schedule(static) num_threads(teams) if (own)
    for (long first = 0; first < g.tiles; first += g.block) {
        struct wino_span at = block_at(&g, first);
        float *v = k.v + (own ? omp_get_thread_num() : 0) * k.block_floats, *p = v + XI * g.vs;
        wino_input(&g, x, at, v);
        wino_products(&g, v, k.u, at.count, p);
        wino_output(&g, p, bias, at, y);
    }
    return true;
}

/* The first sum becomes the total of all, in the order of the threads. */
static void add_sums(float *u, long floats, int sums) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < floats; i += VL) {
        vf total = *(vf *)(u + i);
        for (int s = 1; s < sums; s++) total += *(vf *)(u + s * floats + i);
        *(vf *)(u + i) = total;
    }
}

bool wino_weight_grad(const float *x, const float *dy, const struct wino_weight *dw, int n, int h, int wd) {
    bool own;
    struct wino_geometry g = geometry_of(n, h, wd, dw->cin, dw->cout, &own);
    int teams = own ? omp_get_max_threads() : 1;
    struct work k;
    if (!work_get(&g, teams, teams, &k)) return false;
    if (g.tiles == 0) memset(k.u, 0, (size_t)k.u_floats * sizeof(float));
    /* Blocks are handed out in runs, one run a thread (at least two blocks each, see geometry_of): its first block
     * writes its sum, the others add. */
    int sums = 1;
#pragma omp parallel num_threads(teams) if (own)
    {
        int team = own ? omp_get_thread_num() : 0, in_all = own ? omp_get_num_threads() : 1;
        if (team == 0) sums = in_all; /* a thread limit may have kept some away */
        float *v = k.v + team * k.block_floats, *p = v + XI * g.vs, *u = k.u + team * k.u_floats;
        bool add = false;
        long blocks = (g.tiles + g.block - 1) / g.block, end = blocks * (team + 1) / in_all;
        for (long i = blocks * team / in_all; i < end; i++, add = true) {
            struct wino_span at = block_at(&g, i * g.block);
            wino_input(&g, x, at, v);
            wino_output_grad(&g, dy, at, p);
            wino_grad_products(&g, v, p, at.count, add, u);
        }
    }
    if (sums > 1) add_sums(k.u, k.u_floats, sums);
    wino_weight_unpack(dw, &g, k.u);
    return true;
}
