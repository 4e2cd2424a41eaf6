/* defenses/identity.c - batches of P different people with K photos each (published: 16 x 4).
 *
 * A loss that compares the images of a batch by their labels learns nothing from a batch in which everybody is alone.
 * In every epoch each person's photos are shuffled and cut into groups of K; what does not fill a group is left out of
 * this epoch, and a person with fewer than K photos fills one group by repeating them.  A batch takes one group of each
 * of the P people who have most groups left, ties broken at random: no other rule makes more batches of the same
 * groups.  The batches are then shuffled, for people with many photos would all come first.
 *
 * The number of batches depends on the labels alone, the epoch's photos on (seed, epoch): a step is a pure function,
 * and nothing needs to be saved.  Plain C; runs on the feeder's thread. */
#include "defenses/identity.h"

#include <stdlib.h>
#include <string.h>

static int groups_of(const struct mi_identity_batches *ib, int person) {
    int n = ib->first[person + 1] - ib->first[person];
    return n == 0 ? 0 : n < ib->per ? 1 : n / ib->per;
}

/* Greatest number of batches of P different people: the largest B with sum_i min(groups_i, B) >= P*B. */
static int64_t count_batches(const struct mi_identity_batches *ib, int classes) {
    int64_t all = 0;
    for (int c = 0; c < classes; c++) all += groups_of(ib, c);
    int64_t lo = 0, hi = all / ib->people;
    while (lo < hi) {
        int64_t b = (lo + hi + 1) / 2, usable = 0;
        for (int c = 0; c < classes; c++) usable += groups_of(ib, c) < b ? groups_of(ib, c) : b;
        if (usable >= ib->people * b)
            lo = b;
        else
            hi = b - 1;
    }
    return lo;
}

static enum mi_status sort_by_person(struct mi_identity_batches *ib, const struct mi_sampling *s) {
    ib->photo = mi_calloc(s->n + 1, sizeof *ib->photo);
    ib->first = mi_calloc((size_t)s->classes + 2, sizeof *ib->first);
    ib->left = mi_calloc((size_t)s->classes + 1, sizeof *ib->left);
    ib->rank = mi_calloc((size_t)s->classes + 1, sizeof *ib->rank);
    if (!ib->photo || !ib->first || !ib->left || !ib->rank) return MI_E_NOMEM;
    for (size_t i = 0; i < s->n; i++) {
        if (s->labels[i] < 0 || s->labels[i] >= s->classes)
            return mi_fail(MI_E_INTERNAL, "photo %zu belongs to person %d of %d", i, s->labels[i], s->classes);
        ib->first[s->labels[i] + 1]++;
    }
    for (int c = 0; c < s->classes; c++) ib->first[c + 1] += ib->first[c];
    for (size_t i = 0; i < s->n; i++) ib->photo[ib->first[s->labels[i]] + ib->left[s->labels[i]]++] = (int32_t)i;
    return MI_OK;
}

static enum mi_status plan(struct mi_identity_batches *ib, struct mi_sampling *s, const char *who) {
    ib->people = s->batch / ib->per;
    if (ib->people < 2)
        return mi_fail(MI_E_INPUT,
                       "%s compares people: a batch of %d with %d photos each holds fewer than two; raise "
                       "[target] batch or lower per_identity",
                       who, s->batch, ib->per);
    MI_TRY(sort_by_person(ib, s));
    int seen = 0;
    for (int c = 0; c < s->classes; c++) seen += ib->first[c + 1] > ib->first[c];
    if (ib->people > seen)
        return mi_fail(MI_E_INPUT,
                       "%s takes %d people a batch (batch %d, %d photos each), but the private set has %d; "
                       "lower [target] batch or raise per_identity",
                       who, ib->people, s->batch, ib->per, seen);
    s->per_epoch = count_batches(ib, s->classes);
    s->most = ib->people * ib->per;
    ib->order = mi_calloc((size_t)s->per_epoch * (size_t)s->most, sizeof *ib->order);
    ib->epoch = -1;
    return ib->order ? MI_OK : MI_E_NOMEM;
}

enum mi_status mi_identity_plan(struct mi_identity_batches *ib, struct mi_sampling *s, int per, const char *who) {
    mi_identity_close(ib);
    ib->per = per;
    enum mi_status st = plan(ib, s, who);
    if (st != MI_OK) mi_identity_close(ib);
    return st;
}

static int by_key(const void *a, const void *b) {
    double x = ((const struct mi_rank *)a)->key, y = ((const struct mi_rank *)b)->key;
    return x < y ? 1 : x > y ? -1 : 0; /* most first */
}

/* The next group of a person: K of the shuffled photos, from the front; a small album is gone round. */
static void take_group(struct mi_identity_batches *ib, int person, int32_t *out) {
    int from = ib->first[person], n = ib->first[person + 1] - from;
    int start = (groups_of(ib, person) - ib->left[person]) * ib->per;
    for (int i = 0; i < ib->per; i++) out[i] = ib->photo[from + (start + i) % n];
    ib->left[person]--;
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void draw_epoch(struct mi_identity_batches *ib, const struct mi_sampling *s, int64_t epoch) {
    struct mi_rng r = mi_rng_make(s->seed, "identities", (uint64_t)epoch, 0);
    for (int c = 0; c < s->classes; c++) {
        size_t n = (size_t)(ib->first[c + 1] - ib->first[c]);
        qsort(ib->photo + ib->first[c], n, sizeof *ib->photo, ascending); /* forget the epoch before */
        mi_rng_shuffle(&r, ib->photo + ib->first[c], n);
        ib->left[c] = groups_of(ib, c);
    }
    for (int64_t b = 0; b < s->per_epoch; b++) {
        for (int c = 0; c < s->classes; c++)
            ib->rank[c] = (struct mi_rank){.key = ib->left[c] + mi_rng_uniform(&r), .person = c};
        qsort(ib->rank, (size_t)s->classes, sizeof *ib->rank, by_key);
        for (int p = 0; p < ib->people; p++) take_group(ib, ib->rank[p].person, ib->order + b * s->most + p * ib->per);
    }
    for (int64_t b = s->per_epoch - 1; b > 0; b--) { /* Fisher-Yates over whole batches */
        int32_t *x = ib->order + b * s->most, *y = ib->order + mi_rng_below(&r, b + 1) * s->most;
        for (int i = 0; x != y && i < s->most; i++) {
            int32_t keep = x[i];
            x[i] = y[i];
            y[i] = keep;
        }
    }
    ib->epoch = epoch;
}

int mi_identity_sample(struct mi_identity_batches *ib, const struct mi_sampling *s, int64_t step, int32_t *index) {
    int64_t epoch = step / s->per_epoch;
    if (epoch != ib->epoch) draw_epoch(ib, s, epoch);
    memcpy(index, ib->order + step % s->per_epoch * s->most, (size_t)s->most * sizeof *index);
    return s->most;
}

void mi_identity_close(struct mi_identity_batches *ib) {
    free(ib->photo);
    free(ib->first);
    free(ib->order);
    free(ib->left);
    free(ib->rank);
    *ib = (struct mi_identity_batches){.epoch = -1};
}
