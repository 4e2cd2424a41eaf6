/* midre/rng.h - the counter-based random numbers of the project (plain C, identical on every machine).
 *
 * Every random decision outside libtorch (order of samples, flips, erased boxes, first latents, synthetic
 * faces) is a pure function of a key and a counter.  Resuming therefore needs no generator state: a step that
 * is done again draws the same numbers.  The mixer is splitmix64 (Steele, Lea, Flood 2014). */
#ifndef MIDRE_RNG_H
#define MIDRE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct mi_rng {
    uint64_t key, counter;
};

/* Mixes a 64-bit word; hash of (a, b) for deriving keys: mi_mix(seed, mi_hash_text("flip")). */
uint64_t mi_mix(uint64_t a, uint64_t b);
/* FNV-1a 64 of a text: names of purposes. */
uint64_t mi_hash_text(const char *text);

/* A stream for one purpose: (run seed, purpose, a, b), e.g. ("order", epoch, 0) or ("erase", step, index). */
struct mi_rng mi_rng_make(uint64_t seed, const char *purpose, uint64_t a, uint64_t b);

uint64_t mi_rng_u64(struct mi_rng *r);
double mi_rng_uniform(struct mi_rng *r);                    /* [0,1), 53 bits */
double mi_rng_range(struct mi_rng *r, double lo, double hi); /* [lo,hi) */
int64_t mi_rng_below(struct mi_rng *r, int64_t n);          /* 0..n-1, unbiased; n > 0 */
double mi_rng_normal(struct mi_rng *r);                     /* N(0,1), Box-Muller, two draws a value */
void mi_rng_fill_normal(struct mi_rng *r, float *out, size_t n);
void mi_rng_shuffle(struct mi_rng *r, int32_t *items, size_t n); /* Fisher-Yates */

#endif
