/* listing.c - building the three lists of a dataset and the two random choices of the published protocol.
 *
 * Which photos of a person are test, and which public photos are used, is drawn from (seed, person) with the
 * project's own generator: the same seed gives the same split on every machine, and adding a person changes nobody
 * else's split.  Chosen items keep their file order; shuffling is the training loop's business. */
#include <stdlib.h>
#include <string.h>

#include "src/data/data_priv.h"

/* Grows an array of n items to hold one more; capacities are powers of two, so they need not be stored. */
static void *room_for_one(void *items, size_t n, size_t item_size) {
    if (n != 0 && (n & (n - 1)) != 0) return items;
    size_t room = n ? n * 2 : 1;
    void *grown = realloc(items, room * item_size);
    if (!grown) mi_fail(MI_E_NOMEM, "out of memory for a list of %zu images", room);
    return grown;
}

enum mi_status mi_listing_add(struct mi_listing *l, enum mi_split split, int label, size_t source) {
    struct mi_item *items = room_for_one(l->items[split], l->n[split], sizeof *items);
    if (!items) return MI_E_NOMEM;
    l->items[split] = items;
    items[l->n[split]++] = (struct mi_item){.label = label, .source = (uint32_t)source};
    return MI_OK;
}

enum mi_status mi_listing_class(struct mi_listing *l, char *name) {
    if (!name) return MI_E_NOMEM;
    char **names = room_for_one(l->class_names, (size_t)l->classes, sizeof *names);
    if (!names) {
        free(name);
        return MI_E_NOMEM;
    }
    l->class_names = names;
    names[l->classes++] = name;
    return MI_OK;
}

void mi_listing_free(struct mi_listing *l) {
    for (int s = 0; s < MI_SPLIT_COUNT; s++) free(l->items[s]);
    for (int k = 0; k < l->classes; k++) free(l->class_names[k]);
    free(l->class_names);
    free(l->note);
    memset(l, 0, sizeof *l);
}

/* picked[i] = 1 for `want` of n positions, uniformly. NULL on no memory; the caller frees. */
static uint8_t *draw(size_t n, size_t want, struct mi_rng rng) {
    uint8_t *picked = mi_calloc(n, 1);
    int32_t *order = mi_calloc(n, sizeof *order);
    if (picked && order) {
        for (size_t i = 0; i < n; i++) order[i] = (int32_t)i;
        mi_rng_shuffle(&rng, order, n);
        for (size_t i = 0; i < want; i++) picked[order[i]] = 1;
    } else {
        free(picked);
        picked = NULL;
    }
    free(order);
    return picked;
}

enum mi_status mi_listing_split(struct mi_listing *l, int label, const uint32_t *sources, size_t n, int percent,
                                uint64_t seed, uint64_t tag) {
    size_t tests = (n * (size_t)percent + 99) / 100;
    if (tests >= n) tests = n - 1; /* at least one photo stays for training */
    uint8_t *test = draw(n, tests, mi_rng_make(seed, "test photos", tag, 0));
    if (!test) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < n && st == MI_OK; i++)
        st = mi_listing_add(l, test[i] ? MI_TEST : MI_TRAIN, label, sources[i]);
    free(test);
    return st;
}

enum mi_status mi_listing_public(struct mi_listing *l, const struct mi_item *pool, size_t n, size_t want,
                                 uint64_t seed) {
    if (n == 0) return MI_OK;
    if (want > n) {
        l->note = mi_format("%zu public images asked for, all %zu there are taken", want, n);
        if (!l->note) return MI_E_NOMEM;
    }
    if (want == 0 || want > n) want = n;
    uint8_t *picked = draw(n, want, mi_rng_make(seed, "public photos", 0, 0));
    if (!picked) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < n && st == MI_OK; i++)
        if (picked[i]) st = mi_listing_add(l, MI_PUBLIC, pool[i].label, pool[i].source);
    free(picked);
    return st;
}
