/* midre/entry.h - what every extension (model, attack, defense, dataset, metric) says about itself.
 *
 * Each extension point is a `const struct mi_*_desc` whose first member is a struct mi_entry.  From the entry
 * alone derive: the ini reader, validation, `midre attacks show X`, the form of the Setup screen, --help.
 *
 * The terminal program does not link libtorch and hence not the extensions either; it links a catalogue that
 * the build prints from the engine's own tables (midre-engine catalogue).  Both programs reach entries through
 * mi_catalogue(), so no list is written twice. */
#ifndef MIDRE_ENTRY_H
#define MIDRE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "midre/status.h"

enum mi_type {
    MI_INT,    /* whole number in [min,max] */
    MI_REAL,   /* number in [min,max] */
    MI_BOOL,   /* yes/no, true/false, on/off, 1/0 */
    MI_CHOICE, /* one of `choices` */
    MI_TEXT,   /* any text */
    MI_PATH    /* file or folder; ~ and relative to the spec are resolved */
};

struct mi_setting {
    const char *name;    /* lower_case, unique in its entry; NULL ends the list */
    enum mi_type type;
    const char *def;     /* default, in the form a person types it */
    double min, max;     /* MI_INT and MI_REAL: inclusive range */
    const char *choices; /* MI_CHOICE: "a|b|c" */
    const char *unit;    /* "px", "%", "epochs", or NULL */
    const char *help;    /* one sentence, starts with a capital, no period */
    bool cosmetic;       /* does not change results: stays out of fingerprints (threads, report intervals) */
    bool later;          /* added when products existed: at its default it stays out of fingerprints */
    bool label;          /* its value stands in brackets behind the entry's name in tables: midre(0.1,0.4) */
    bool told;           /* of an attack: so does a value that is not the default: gmi(erase) */
};

#define MI_SETTING_END { .name = NULL }

struct mi_entry {
    const char *name;  /* what a person types: "vgg16", "gmi", "midre" */
    const char *title; /* "VGG16-BN", "GMI", "MIDRE (random erasing)" */
    const char *help;  /* one or a few sentences: the idea */
    const char *paper; /* citation: authors, year, venue; "" if none */
    const struct mi_setting *settings; /* ends with MI_SETTING_END; NULL = none */
    const char *tags;  /* space separated facts for people: "white-box 64px", "square 32..224" */
};

/* Kinds of entries; the ini section of an entry is "<kind word>.<name>": [defense.midre], [attack.gmi]. */
enum mi_kind { MI_KIND_MODEL, MI_KIND_DEFENSE, MI_KIND_ATTACK, MI_KIND_DATA, MI_KIND_METRIC, MI_KIND_COUNT };
const char *mi_kind_word(enum mi_kind kind); /* "model", "defense", "attack", "data", "metric" */

/* All entries of a kind, in table order; *n receives the count.  Static storage. */
const struct mi_entry *const *mi_catalogue(enum mi_kind kind, size_t *n);
/* NULL with MI_E_INPUT and a did-you-mean message when there is no such entry. */
const struct mi_entry *mi_catalogue_find(enum mi_kind kind, const char *name);
/* The nearest of `n` names by edit distance, or NULL if none is near enough to suggest. */
const char *mi_nearest(const char *word, const char *const *names, size_t n);

/* ---- values: the settings of one section after defaults and overrides, all validated ---------------------- */
struct mi_values;

/* Defaults of `settings` (`section` is used in messages only).  NULL on no memory. Free with mi_values_free. */
struct mi_values *mi_values_new(const char *section, const struct mi_setting *settings);
void mi_values_free(struct mi_values *v);
/* Sets one value from text.  Unknown name, wrong type, out of range: MI_E_INPUT naming section, key, value and range. */
enum mi_status mi_values_set(struct mi_values *v, const char *name, const char *text);
/* Getters; asking for a name that is not in the list is a defect of the caller and aborts in debug builds. */
int64_t mi_values_int(const struct mi_values *v, const char *name);
double mi_values_real(const struct mi_values *v, const char *name);
bool mi_values_bool(const struct mi_values *v, const char *name);
const char *mi_values_text(const struct mi_values *v, const char *name); /* canonical text of any type */
/* 0-based index of the choice in the setting's list. */
int mi_values_choice(const struct mi_values *v, const char *name);
bool mi_values_has(const struct mi_values *v, const char *name); /* is there a setting of that name? */
const struct mi_setting *mi_values_settings(const struct mi_values *v); /* NULL of NULL: no settings */
const char *mi_values_section(const struct mi_values *v);

#endif
