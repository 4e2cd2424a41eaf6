/* spec_priv.h - what the three files of the spec (spec.c, spec_cells.c, spec_write.c) share. */
#ifndef MIDRE_RUN_SPEC_PRIV_H
#define MIDRE_RUN_SPEC_PRIV_H

#include "midre/spec.h"

#define MI_COMPOSED_MAX 4 /* defenses in one composition; the engine's hook list has as many places */
#define MI_CELLS_MAX    1000

struct mi_spec_private {
    struct mi_values **entry[MI_KIND_COUNT]; /* one per catalogue entry, in catalogue order */
    size_t n[MI_KIND_COUNT];
};

/* The cells of a run and, on failure, the setting to blame (static text, for the line number). */
struct mi_cells {
    struct mi_cell *cell;
    size_t n;
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
