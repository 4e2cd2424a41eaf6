/* rng.c - counter-based random numbers: splitmix64 as a pure function of (key, counter).
 *
 * Steele, Lea and Flood (OOPSLA 2014): draw i of a stream is the finaliser (David Stafford's "variant 13" of the
 * MurmurHash3 mixer) applied to key + i*GOLDEN.  There is no state beyond the counter, so any draw of any step can be
 * repeated after a crash, and two threads can draw from two streams without talking to each other.
 *
 * Integers and uniforms are exact on every machine; normals go through log and cos of the C library. */
#include "midre/rng.h"

#include <assert.h>
#include <math.h>

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define TWO_PI 6.283185307179586476925286766559

static uint64_t finalise(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Not symmetric on purpose: mix(seed, epoch) and mix(epoch, seed) are different streams. */
uint64_t mi_mix(uint64_t a, uint64_t b) {
    return finalise(finalise(a + GOLDEN) + GOLDEN * (b + 1));
}

uint64_t mi_hash_text(const char *text) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) h = (h ^ *c) * UINT64_C(0x100000001b3);
    return h;
}

struct mi_rng mi_rng_make(uint64_t seed, const char *purpose, uint64_t a, uint64_t b) {
    uint64_t key = mi_mix(mi_mix(mi_mix(seed, mi_hash_text(purpose)), a), b);
    return (struct mi_rng){.key = key, .counter = 0};
}

uint64_t mi_rng_u64(struct mi_rng *r) {
    r->counter++;
    return finalise(r->key + GOLDEN * r->counter);
}

double mi_rng_uniform(struct mi_rng *r) {
    return (double)(mi_rng_u64(r) >> 11) * 0x1p-53;
}

double mi_rng_range(struct mi_rng *r, double lo, double hi) {
    double x = lo + (hi - lo) * mi_rng_uniform(r);
    /* lo + (hi-lo)*u can round up to hi for u just below 1; the interval is half open. */
    return x < hi || hi <= lo ? x : nextafter(hi, lo);
}

/* Lemire (2019): the high word of draw*n is uniform once draws from the short first interval are thrown away. */
int64_t mi_rng_below(struct mi_rng *r, int64_t n) {
    assert(n > 0);
    uint64_t range = (uint64_t)n, reject_below = (0 - range) % range;
    for (;;) {
        unsigned __int128 product = (unsigned __int128)mi_rng_u64(r) * range;
        if ((uint64_t)product >= reject_below) return (int64_t)(uint64_t)(product >> 64);
    }
}

double mi_rng_normal(struct mi_rng *r) {
    double u = 1.0 - mi_rng_uniform(r); /* (0,1]: log stays finite */
    double v = mi_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

void mi_rng_fill_normal(struct mi_rng *r, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = (float)mi_rng_normal(r);
}

void mi_rng_shuffle(struct mi_rng *r, int32_t *items, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)mi_rng_below(r, (int64_t)i);
        int32_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
