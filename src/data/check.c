/* check.c - the report on a dataset: what it tells of its files itself, what the split rule yields, and with `deep`,
 * every file decoded.
 *
 * Nothing is written but the report.  A deep check decodes on all cores, goes on after damaged files and names them
 * in listing order; it fails (MI_E_INPUT) when there are any, so that scripts can rely on the exit code. */
#include <stdlib.h>
#include <string.h>

#include "midre/spec.h"
#include "src/data/data_priv.h"

#define NAMED     20
#define DEEP_SIZE 64 /* resolution pictures are resized to while only their decoding is of interest */

struct deep {
    const struct mi_data_desc *desc;
    const struct mi_values *values;
    const struct mi_listing *l;
    char **message; /* [total] what is wrong with an item, NULL = good */
};

static enum mi_status try_item(void *user, size_t i) {
    struct deep *d = user;
    int split = 0;
    size_t k = i;
    while (k >= d->l->n[split]) k -= d->l->n[split++];
    uint8_t rgb[DEEP_SIZE * DEEP_SIZE * 3];
    enum mi_status st = d->desc->pixels(d->values, d->l, (enum mi_split)split, &d->l->items[split][k], DEEP_SIZE, rgb);
    if (st != MI_E_INPUT) return st;
    d->message[i] = mi_strdup(mi_error_text());
    mi_error_clear();
    return d->message[i] ? MI_OK : mi_fail(MI_E_NOMEM, "out of memory");
}

static enum mi_status decode_all(const struct mi_data_desc *desc, const struct mi_values *v, const struct mi_listing *l,
                                 FILE *out) {
    size_t total = l->n[MI_TRAIN] + l->n[MI_TEST] + l->n[MI_PUBLIC], bad = 0;
    struct deep d = {.desc = desc, .values = v, .l = l, .message = mi_calloc(total, sizeof(char *))};
    if (!d.message) return MI_E_NOMEM;
    enum mi_status st = mi_parallel(total, try_item, &d, NULL, NULL);
    for (size_t i = 0; i < total; i++) {
        if (!d.message[i]) continue;
        if (st == MI_OK && bad++ < NAMED) fprintf(out, "damaged      %s\n", d.message[i]);
        free(d.message[i]);
    }
    free(d.message);
    if (st != MI_OK) return st;
    if (bad > NAMED) fprintf(out, "damaged      ... and %zu more\n", bad - NAMED);
    fprintf(out, "decoded      %zu of %zu images\n", total - bad, total);
    return bad ? mi_fail(MI_E_INPUT, "%zu of %zu images cannot be decoded", bad, total) : MI_OK;
}

enum mi_status mi_data_check(const struct mi_data_desc *desc, const struct mi_values *v, bool deep, FILE *out) {
    if (desc->describe) MI_TRY(desc->describe(v, out));
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    enum mi_status st = desc->list(v, 0, &l); /* the counts do not depend on the seed */
    if (st == MI_OK) {
        fprintf(out, "private      %d people%s\n", l.classes, desc->synthetic ? " (synthetic)" : "");
        if (l.classes) fprintf(out, "first, last  %s, %s\n", l.class_names[0], l.class_names[l.classes - 1]);
        fprintf(out, "train        %zu images\n", l.n[MI_TRAIN]);
        fprintf(out, "test         %zu images\n", l.n[MI_TEST]);
        fprintf(out, "public       %zu images\n", l.n[MI_PUBLIC]);
        if (l.note) fprintf(out, "note         %s\n", l.note);
        if (deep) st = decode_all(desc, v, &l, out);
    }
    desc->close(&l);
    return st;
}

/* ---- the datasets of an experiment ----------------------------------------------------------------------------- */

static enum mi_status check_named(const struct mi_spec *spec, const char *name, FILE *out) {
    const struct mi_data_desc *d = mi_data_find(name);
    const struct mi_values *v = d ? mi_spec_entry(spec, MI_KIND_DATA, name) : NULL;
    if (!v) return mi_error_status();
    char *report = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&report, &n);
    if (!memory) return mi_fail(MI_E_NOMEM, "no memory to check the dataset %s", name);
    enum mi_status st = mi_data_check(d, v, false, memory);
    fclose(memory);
    if (st != MI_OK && out && report) fputs(report, out);
    free(report);
    return st;
}

static enum mi_status check_people(const struct mi_spec *spec, const char *name) {
    const struct mi_data_desc *d = mi_data_find(name);
    const struct mi_values *v = d ? mi_spec_entry(spec, MI_KIND_DATA, name) : NULL;
    uint64_t seed = (uint64_t)mi_values_int(spec->section[MI_SEC_RUN], "seed");
    struct mi_people want = mi_data_people(spec);
    struct mi_listing l;
    memset(&l, 0, sizeof l);
    if (!v) return mi_error_status();
    MI_TRY(d->list(v, seed, &l));
    enum mi_status st = mi_listing_people(&l, &want, seed, name);
    d->close(&l);
    return st;
}

enum mi_status mi_data_check_spec(const struct mi_spec *spec, FILE *out) {
    const struct mi_values *data = spec->section[MI_SEC_DATA];
    const char *pub = mi_values_text(data, "public");
    MI_TRY(check_named(spec, mi_values_text(data, "name"), out));
    if (*pub) MI_TRY(check_named(spec, pub, out));
    bool people = mi_values_bool(spec->section[MI_SEC_TARGET], "pretrained") ||
                  mi_values_bool(spec->section[MI_SEC_JUDGE], "pretrained");
    return people ? check_people(spec, *pub ? pub : mi_values_text(data, "name")) : MI_OK;
}
