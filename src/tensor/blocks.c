/* blocks.c - see blocks.h.
 *
 * One table of all mapped blocks, found by address through open addressing; those that wait carry the time they were
 * freed.  There are tens to a few hundred of them, so looking for the best fit by walking the table is nothing beside
 * the work on a block of megabytes. */
#include "src/tensor/blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define GRAIN ((size_t)64 << 10) /* sizes are multiples of this */
#define SLACK 16                 /* a sixteenth more than the peak is allowed: sizes never fit exactly */

struct block { char *at; size_t size; uint64_t freed; /* 0: in use */ };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *table; /* a power of two of them, at most half filled; at == NULL: empty */
static size_t slots, filled, used, waiting, peak;
static uint64_t clock_now;

static size_t slot_of(const void *at) {
    size_t i = ((uintptr_t)at / MT_BLOCK_ALIGN * 0x9E3779B97F4A7C15u) >> 20 & (slots - 1);
    while (table[i].at && table[i].at != at) i = (i + 1) & (slots - 1);
    return i;
}

static bool grow(void) {
    if (2 * (filled + 1) <= slots) return true;
    size_t old_slots = slots;
    struct block *old = table, *bigger = calloc(slots ? 2 * slots : 256, sizeof *bigger);
    if (!bigger) return false;
    table = bigger, slots = slots ? 2 * slots : 256;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].at) table[slot_of(old[i].at)] = old[i];
    free(old);
    return true;
}

/* Takes a block that waits out of the table and gives it back to the kernel. */
static void unmap(size_t i) {
    waiting -= table[i].size;
    munmap(table[i].at, table[i].size);
    table[i].at = NULL, filled--;
    for (size_t j = (i + 1) & (slots - 1); table[j].at; j = (j + 1) & (slots - 1)) { /* close the gap */
        struct block b = table[j];
        table[j].at = NULL;
        table[slot_of(b.at)] = b;
    }
}

/* Unmaps the longest waiting until `room` bytes more would stay within `limit`. */
static void make_room(size_t room, size_t limit) {
    while (waiting > 0 && used + waiting + room > limit) {
        size_t oldest = slots;
        for (size_t i = 0; i < slots; i++)
            if (table[i].at && table[i].freed && (oldest == slots || table[i].freed < table[oldest].freed)) oldest = i;
        unmap(oldest);
    }
}

/* The smallest waiting block that holds `size` and wastes at most an eighth; `slots` when there is none. */
static size_t best_fit(size_t size) {
    size_t best = slots;
    for (size_t i = 0; i < slots; i++)
        if (table[i].at && table[i].freed && table[i].size >= size && table[i].size - size <= size / 8 &&
            (best == slots || table[i].size < table[best].size))
            best = i;
    return best;
}

/* `size` bytes at a multiple of MT_BLOCK_ALIGN: mapped with room to spare, the rest unmapped. */
static char *map(size_t size) {
    size_t wide = size + MT_BLOCK_ALIGN;
    char *p = mmap(NULL, wide, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t before = (MT_BLOCK_ALIGN - (uintptr_t)p % MT_BLOCK_ALIGN) % MT_BLOCK_ALIGN, after = wide - size - before;
    if (before) munmap(p, before);
    if (after) munmap(p + before + size, after);
    /* The tail stays on small pages: a huge one there would count whole.  No huge pages: slower, not wrong. */
    madvise(p + before, size / MT_BLOCK_ALIGN * MT_BLOCK_ALIGN, MADV_HUGEPAGE);
    return p + before;
}

static void *get(size_t size) {
    size_t i = slots ? best_fit(size) : 0;
    if (i < slots) {
        waiting -= table[i].size, used += table[i].size;
        table[i].freed = 0;
        if (used > peak) peak = used;
        return table[i].at;
    }
    if (!grow()) return NULL;
    if (used + size > peak) peak = used + size;
    make_room(size, peak + peak / SLACK);
    char *at = map(size);
    if (!at) {
        make_room(SIZE_MAX / 2, 0);
        at = map(size);
    }
    if (!at) return NULL;
    table[slot_of(at)] = (struct block){at, size, 0};
    filled++, used += size;
    return at;
}

void *mt_block_get(size_t bytes) {
    if (bytes > SIZE_MAX / 4) return NULL;
    size_t size = (bytes + GRAIN - 1) / GRAIN * GRAIN;
    pthread_mutex_lock(&lock);
    void *p = get(size < MT_BLOCK_ALIGN ? MT_BLOCK_ALIGN : size);
    pthread_mutex_unlock(&lock);
    return p;
}

bool mt_block_put(void *p) {
    if (!p || (uintptr_t)p % MT_BLOCK_ALIGN) return false;
    pthread_mutex_lock(&lock);
    size_t i = slots ? slot_of(p) : 0;
    bool ours = slots && table[i].at && !table[i].freed;
    if (ours) {
        used -= table[i].size, waiting += table[i].size;
        table[i].freed = ++clock_now;
    }
    pthread_mutex_unlock(&lock);
    return ours;
}

void mt_blocks_release(void) {
    pthread_mutex_lock(&lock);
    make_room(SIZE_MAX / 2, 0);
    peak = used;
    pthread_mutex_unlock(&lock);
}

void mt_blocks_count(size_t *in_use, size_t *free_now) {
    pthread_mutex_lock(&lock);
    *in_use = used, *free_now = waiting;
    pthread_mutex_unlock(&lock);
}
