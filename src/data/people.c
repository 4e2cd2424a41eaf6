/* people.c - the public people of a dataset as a labelled set of their own.
 *
 * Targets of the published experiments do not start from nothing but from weights that already know faces or pictures.
 * Where none can be had, a network can learn to tell the public people apart first: they are nobody's secret, and no
 * private person is among them.  Which photos are theirs every dataset says in its listing (the label of a public
 * item); this file turns that into train and test lists with classes 0..n-1. */
#include <stdlib.h>

#include "midre/spec.h"
#include "src/data/data_priv.h"

#define TEST_SHARE 10 /* %, rounded up: one of four photos, two of twenty */

struct mi_people mi_data_people(const struct mi_spec *spec) {
    const struct mi_values *v = spec->section[MI_SEC_PRETRAIN];
    return (struct mi_people){(int)mi_values_int(v, "people"), (int)mi_values_int(v, "min_images")};
}

static int by_person(const void *a, const void *b) {
    const struct mi_item *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

/* Photos of one person become train and test. */
static enum mi_status add_person(struct mi_listing *out, const struct mi_item *photo, size_t n, uint64_t seed) {
    uint32_t *sources = mi_calloc(n, sizeof *sources);
    if (!sources) return MI_E_NOMEM;
    for (size_t i = 0; i < n; i++) sources[i] = photo[i].source;
    enum mi_status st = mi_listing_class(out, mi_format("public person %d", photo->label));
    if (st == MI_OK)
        st = mi_listing_split(out, out->classes - 1, sources, n, TEST_SHARE, seed, (uint64_t)photo->label);
    free(sources);
    return st;
}

/* Of photos sorted by person; *enough counts those who own enough photos, also beyond `want->people`. */
static enum mi_status add_people(struct mi_listing *out, const struct mi_item *photo, size_t n,
                                 const struct mi_people *want, uint64_t seed, int *enough) {
    *enough = 0;
    for (size_t at = 0, end; at < n; at = end) {
        for (end = at; end < n && photo[end].label == photo[at].label;) end++;
        if (photo[at].label < 0 || end - at < (size_t)want->min_images) continue;
        ++*enough;
        if (want->people == 0 || out->classes < want->people) MI_TRY(add_person(out, photo + at, end - at, seed));
    }
    return MI_OK;
}

enum mi_status mi_listing_people(struct mi_listing *l, const struct mi_people *want, uint64_t seed, const char *name) {
    size_t n = l->n[MI_PUBLIC], named = 0;
    struct mi_item *photo = l->items[MI_PUBLIC];
    struct mi_listing out = {.of_public = true};
    int enough = 0;
    for (size_t i = 0; i < n; i++) named += photo[i].label >= 0;
    if (want->people == 1) return mi_fail(MI_E_INPUT, "[pretrain] people = 1: there is nobody to tell the one from");
    if (!named)
        return mi_fail(MI_E_INPUT,
                       "dataset %s does not say who is on its public images, so start weights cannot be learnt on "
                       "them: set pretrained = no, or choose another for [data] public",
                       name);
    if (n > 1) qsort(photo, n, sizeof *photo, by_person);
    enum mi_status st = add_people(&out, photo, n, want, seed, &enough);
    if (st == MI_OK && enough < 2)
        st = mi_fail(MI_E_INPUT, "%d of the public people of %s have at least %d public photos, 2 are needed: lower "
                                 "[pretrain] min_images", enough, name, want->min_images);
    if (st == MI_OK && enough < want->people) {
        out.note = mi_format("%d public people with %d photos asked for, all %d there are taken", want->people,
                             want->min_images, enough);
        if (!out.note) st = MI_E_NOMEM;
    }
    if (st != MI_OK) {
        mi_listing_free(&out);
        return st;
    }
    out.state = l->state;
    mi_listing_free(l);
    *l = out;
    return MI_OK;
}
