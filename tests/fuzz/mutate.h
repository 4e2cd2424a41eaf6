/* mutate.h - breaks files at random, reproducibly: mutation i of a seed number is always the same bytes. */
#ifndef MIDRE_TESTS_MUTATE_H
#define MIDRE_TESTS_MUTATE_H

#include "midre/rng.h"
#include "src/tensor/archive.h"
#include "tests/fuzz/forge.h"

static inline size_t mutate_below(struct mi_rng *r, size_t n) {
    return n ? (size_t)mi_rng_below(r, (int64_t)n) : 0;
}

/* Numbers at which sizes, counts and offsets go wrong. */
static inline uint64_t mutate_number(struct mi_rng *r) {
    static const uint64_t odd[] = {0,          1,          0x7f,       0x80,        0xff,       0x7fff,     0xffff,
                                   0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 1ull << 62, 1ull << 63, UINT64_MAX};
    return odd[mutate_below(r, sizeof odd / sizeof *odd)] + mutate_below(r, 3) - 1;
}

/* One change to f; `other` gives bytes to splice in. */
static inline void mutate_once(struct forge *f, const struct forge *other, struct mi_rng *r) {
    size_t at = mutate_below(r, f->n), n = 1 + mutate_below(r, 16);
    if (!f->n) return;
    if (n > f->n - at) n = f->n - at;
    switch (mutate_below(r, 8)) {
    case 0:
        f->b[at] ^= (uint8_t)(1u << mutate_below(r, 8));
        break;
    case 1:
        f->b[at] = (uint8_t)mutate_below(r, 256);
        break;
    case 2: { /* an odd number, 1 to 8 bytes */
        uint8_t b[8];
        size_t width = (size_t)1 << mutate_below(r, 4);
        zip_put(b, 8, mutate_number(r));
        memcpy(f->b + at, b, width < f->n - at ? width : f->n - at);
        break;
    }
    case 3: /* delete */
        memmove(f->b + at, f->b + at + n, f->n - at - n);
        f->n -= n;
        break;
    case 4: { /* insert a copy of what stands elsewhere */
        uint8_t b[16];
        size_t from = mutate_below(r, f->n - n + 1);
        memcpy(b, f->b + from, n);
        forge_add(f, b, n);
        memmove(f->b + at + n, f->b + at, f->n - at - n);
        memcpy(f->b + at, b, n);
        break;
    }
    case 5: { /* overwrite with a piece of another file */
        size_t m = 1 + mutate_below(r, 64), from = mutate_below(r, other->n);
        if (m > f->n - at) m = f->n - at;
        if (m > other->n - from) m = other->n - from;
        memcpy(f->b + at, other->b + from, m);
        break;
    }
    case 6: /* swap two bytes */ {
        size_t to = mutate_below(r, f->n);
        uint8_t b = f->b[at];
        f->b[at] = f->b[to];
        f->b[to] = b;
        break;
    }
    default:
        f->n = mutate_below(r, 4) ? f->n : at; /* now and then cut short */
    }
}

/* Opens and reads everything.  1 opened and read, 0 refused, -1 when a refusal is not as it must be. */
static inline int mutate_try(const struct forge *f) {
    mt_archive *a = archive_open_memory("forged", f->b, f->n);
    int good = a != NULL;
    for (int i = 0; a && i < mt_archive_count(a); i++) {
        uint64_t n = archive_bytes(a, i);
        void *out = malloc((size_t)n + 1);
        if (!out) abort();
        if (archive_copy(a, i, out) != MI_OK) good = 0;
        free(out);
    }
    if (a) archive_release(a);
    enum mi_status st = mi_error_status();
    if (good ? st != MI_OK : st != MI_E_INPUT || !strstr(mi_error_text(), "forged")) good = -1;
    mi_error_clear();
    return good;
}

#endif
