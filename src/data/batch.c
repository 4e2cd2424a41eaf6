/* batch.c - from packed bytes to a training batch in one pass, and the order of an epoch.
 *
 * The batch is NHWC floats (channels_last for the network): picture index[i], mirrored where flip[i], every byte x
 * becoming (x/255 - mean)/std as x*scale + shift with scale and shift computed in double.  Within a mirrored row
 * whole pixels swap places, channels stay in order.  Threads split the pictures; outputs do not overlap. */
#include <stddef.h>

#include "midre/data.h"

#define PERIOD 48 /* whole pixels and whole vectors of 4, 8 and 16 floats: lcm(3, 16) */
/* Below this many floats waking the team costs more than it saves, most of all on a busy machine. */
#define WORTH_THREADS ((size_t)1 << 22)

struct map {
    float scale[PERIOD], shift[PERIOD];
};

static void straight(float *restrict out, const uint8_t *restrict in, size_t n, const struct map *m) {
    size_t i = 0;
    for (; i + PERIOD <= n; i += PERIOD)
        for (size_t k = 0; k < PERIOD; k++) out[i + k] = (float)in[i + k] * m->scale[k] + m->shift[k];
    for (size_t k = 0; i < n; i++, k++) out[i] = (float)in[i] * m->scale[k] + m->shift[k];
}

static void mirrored(float *restrict out, const uint8_t *restrict in, size_t size, const struct map *m) {
    for (size_t y = 0; y < size; y++, in += size * 3, out += size * 3)
        for (size_t x = 0; x < size; x++)
            for (size_t c = 0; c < 3; c++)
                out[x * 3 + c] = (float)in[(size - 1 - x) * 3 + c] * m->scale[c] + m->shift[c];
}

void mi_batch_fill(float *out, const struct mi_pack_split *s, const int32_t *index, const uint8_t *flip, size_t n,
                   int size, const float mean[3], const float std[3]) {
    struct map m;
    for (int k = 0; k < PERIOD; k++) {
        m.scale[k] = (float)(1.0 / (255.0 * (double)std[k % 3]));
        m.shift[k] = (float)(-(double)mean[k % 3] / (double)std[k % 3]);
    }
    size_t pixels = (size_t)size * (size_t)size * 3;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (n * pixels > WORTH_THREADS)
#endif
    for (size_t i = 0; i < n; i++) {
        const uint8_t *in = s->rgb + (size_t)index[i] * pixels;
        if (flip && flip[i])
            mirrored(out + i * pixels, in, (size_t)size, &m);
        else
            straight(out + i * pixels, in, pixels, &m);
    }
}

void mi_epoch_order(int32_t *order, size_t n, uint64_t seed, int64_t epoch) {
    struct mi_rng rng = mi_rng_make(seed, "order", (uint64_t)epoch, 0);
    for (size_t i = 0; i < n; i++) order[i] = (int32_t)i;
    mi_rng_shuffle(&rng, order, n);
}
