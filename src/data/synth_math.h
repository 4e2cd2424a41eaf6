/* synth_math.h - the small arithmetic of the rendered faces: blending, soft edges, hills, noise.
 *
 * Exact IEEE operations only (see synth_priv.h), so that every machine renders the same bytes. */
#ifndef MIDRE_SYNTH_MATH_H
#define MIDRE_SYNTH_MATH_H

#include <math.h>
#include <stdint.h>

struct mi_rgb {
    float r, g, b; /* display values 0..1 */
};

static inline float mi_clamp(float x, float lo, float hi) {
    return x < lo ? lo : x > hi ? hi : x;
}
static inline float mi_mixf(float a, float b, float t) {
    return a + (b - a) * t;
}
static inline float mi_absf(float x) {
    return x < 0 ? -x : x;
}
static inline float mi_maxf(float a, float b) {
    return a > b ? a : b;
}
static inline float mi_minf(float a, float b) {
    return a < b ? a : b;
}
/* 0 below a, 1 above b, smooth between. */
static inline float mi_ramp(float a, float b, float x) {
    float t = mi_clamp((x - a) / (b - a), 0, 1);
    return t * t * (3 - 2 * t);
}
/* How much of a pixel of width w lies where the distance d is negative. */
static inline float mi_cover(float d, float w) {
    return mi_clamp(0.5f - d / w, 0, 1);
}
/* Hill of height 1 at 0, reaching 0 with zero slope at r2 = 1. */
static inline float mi_hill(float r2) {
    float t = 1 - r2;
    return t > 0 ? t * t * t : 0;
}
static inline struct mi_rgb mi_mix3(struct mi_rgb a, struct mi_rgb b, float t) {
    return (struct mi_rgb){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}
static inline struct mi_rgb mi_scale3(struct mi_rgb a, float k) {
    return (struct mi_rgb){a.r * k, a.g * k, a.b * k};
}
static inline void mi_over(struct mi_rgb *c, struct mi_rgb top, float alpha) {
    *c = mi_mix3(*c, top, alpha);
}
/* Whole-number hash to 0..1. */
static inline float mi_speck(uint32_t x, uint32_t y, uint32_t key) {
    uint32_t h = x * 0x9e3779b1u ^ (y * 0x85ebca77u + key * 0xc2b2ae3du);
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return (float)((h ^ (h >> 15)) >> 8) * (1.0f / 16777216.0f);
}
/* Smooth noise 0..1 with cells of size 1. */
static inline float mi_noise(float x, float y, uint32_t key) {
    float sx = x + 4096.0f, sy = y + 4096.0f; /* positive, so that truncation is floor */
    uint32_t ix = (uint32_t)sx, iy = (uint32_t)sy;
    float fx = sx - (float)ix, fy = sy - (float)iy;
    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    float top = mi_mixf(mi_speck(ix, iy, key), mi_speck(ix + 1, iy, key), fx);
    float low = mi_mixf(mi_speck(ix, iy + 1, key), mi_speck(ix + 1, iy + 1, key), fx);
    return mi_mixf(top, low, fy);
}

#endif
