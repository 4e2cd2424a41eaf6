/* spec_priv.h - what the files of the spec (spec.c, spec_cells.c, spec_variants.c, spec_write.c) share. */
#ifndef MIDRE_RUN_SPEC_PRIV_H
#define MIDRE_RUN_SPEC_PRIV_H

#include "midre/spec.h"

#define MI_COMPOSED_MAX 4 /* defenses in one composition; the engine's hook list has as many places */
#define MI_CELLS_MAX    1000
#define MI_DEFENSE_MAX  96 /* bytes of one with its settings: ids and names of pictures are made of it */

/* Settings of defenses that are written in the list: text as there ("midre:fill=zero"), all values of that defense. */
struct mi_variants {
    struct mi_variant {
        char *text;
        struct mi_values *values;
    } * item;
    size_t n;
};
/* Adds one part of a composition, if it has settings of its own and is not there yet; the catalogue knows its name. */
enum mi_status mi_variants_add(struct mi_variants *list, const struct mi_spec *spec, const char *part);
/* How titles say a composition whose variants are in the list; caller frees. */
char *mi_variants_label(const struct mi_variants *list, const struct mi_spec *spec, const char *composition);
const struct mi_values *mi_variants_find(const struct mi_variants *list, const char *part); /* NULL: none */
void mi_variants_free(struct mi_variants *list);

struct mi_spec_private {
    struct mi_values **entry[MI_KIND_COUNT]; /* one per catalogue entry, in catalogue order */
    size_t n[MI_KIND_COUNT];
    struct mi_variants variants; /* of the cells */
};

/* The cells of a run and, on failure, the setting to blame (static text, for the line number). */
struct mi_cells {
    struct mi_cell *cell;
    size_t n;
    struct mi_variants variants;
    enum mi_section bad_section;
    const char *bad_key;
};

/* Sets what the section's recipe says ("custom": nothing). */
enum mi_status mi_recipe_apply(struct mi_values *section);
/* Checks every name and builds the product models x defenses x attacks.  *out is empty on failure. */
enum mi_status mi_cells_build(const struct mi_spec *spec, struct mi_cells *out);
void mi_cells_free(struct mi_cells *cells);
/* True when a cell, the data or the judge uses the catalogue entry. */
bool mi_spec_uses(const struct mi_spec *spec, enum mi_kind kind, const char *name);

#endif
