/* midre/spec.h - an experiment as a person writes it (ini), resolved and validated.
 *
 *   [run]        name seed device precision threads           [data]   name size private... (see spec_sections.c)
 *   [target]     model (list) epochs batch lr ... init         [judge]  model size epochs ... init
 *   [pretrain]   people min_images epochs ...: start weights learnt on public people, for target and judge
 *   [defense]    name (list; an item may compose and carry settings: midre:fill=zero+nls)
 *   [attack]     name (list) identities restarts
 *   [score]      ...                                           [prior]  ...
 *   [model.X] [defense.X] [attack.X] [data.X]   the settings of one catalogue entry
 *
 * Lists are comma separated.  A run's cells are the product models x defenses x attacks, in that order, the
 * last varying fastest; each cell becomes one row of the table. */
#ifndef MIDRE_SPEC_H
#define MIDRE_SPEC_H

#include "midre/entry.h"

enum mi_section { MI_SEC_RUN, MI_SEC_DATA, MI_SEC_PRETRAIN, MI_SEC_TARGET, MI_SEC_DEFENSE, MI_SEC_JUDGE, MI_SEC_PRIOR,
                  MI_SEC_ATTACK, MI_SEC_SCORE, MI_SEC_COUNT };

/* The fixed sections' words ("run", "data", ...) and setting lists, for forms and help. */
const char *mi_section_word(enum mi_section s);
const struct mi_setting *mi_section_settings(enum mi_section s);

struct mi_cell {
    char *id;      /* "vgg16/midre/gmi": unique in the run; mi_file_word makes a file name of it */
    char *model, *defense, *attack; /* defense may be a composition "midre:area_high=0.8+nls" */
    char *label;   /* its defense as titles say it: "midre(0.1,0.8)" where it has settings of its own, else the same */
};

struct mi_spec {
    char *path;                                 /* file it came from, or NULL */
    struct mi_values *section[MI_SEC_COUNT];
    struct mi_cell *cells;
    size_t n_cells;
    struct mi_spec_private *priv;               /* values of catalogue entries */
};

/* Published training recipes: [target] and [judge] recipe = NAME sets the keys listed, keys that are given win.
 * Ends with a NULL name. */
#define MI_RECIPE_KEYS 20
struct mi_recipe {
    const char *name, *help, *paper;
    struct { const char *key, *value; } set[MI_RECIPE_KEYS]; /* ends with a NULL key when shorter */
};
extern const struct mi_recipe mi_recipe_table[];

/* Reads `path` (NULL = all defaults) and applies `overrides` ("attack.gmi.steps=300", "target.model=vgg16,resnet18").
 * Every unknown section, key or name gets a did-you-mean; the first problem is reported.  NULL on failure. */
struct mi_spec *mi_spec_load(const char *path, const char *const *overrides, size_t n_overrides);
/* Same from text (specs embedded in the program); `label` is used in messages. */
struct mi_spec *mi_spec_parse(const char *text, const char *label, const char *const *overrides, size_t n_overrides);
void mi_spec_free(struct mi_spec *spec);

/* Values of one catalogue entry in this spec: defaults plus [kind.name] keys.  A defense may be named as one of the
 * cells has it, with settings of its own ("midre:area_high=0.8").  Borrowed until the next mi_spec_set.  NULL if there
 * is no such entry. */
const struct mi_values *mi_spec_entry(const struct mi_spec *spec, enum mi_kind kind, const char *name);
/* Writable access for the Setup form: section "run" or "defense.midre", key, text.  Validates; cells are rebuilt. */
enum mi_status mi_spec_set(struct mi_spec *spec, const char *section, const char *key, const char *text);

/* The complete resolved spec as ini text (every key that matters, canonical order); caller frees. Loads back equal. */
char *mi_spec_write(const struct mi_spec *spec);
/* The names of a composition, or of a list of them, without settings: "midre:fill=zero+nls" is "midre+nls".  Caller
 * frees; NULL on no memory. */
char *mi_composition_names(const char *composition);
/* Each name of such a list once, in order; *n receives the count.  Free with mi_list_free; NULL on no memory. */
char **mi_composition_distinct(const char *list, size_t *n);
/* A composition's settings as the table shows them, "0.1,0.8,fill=zero".  Caller frees; NULL with a message on no
 * memory or when the spec has no such defense. */
char *mi_composition_variant(const struct mi_spec *spec, const char *composition);
/* Likewise of an attack, "erase"; "" when nothing that is to be told differs from its default. */
char *mi_attack_variant(const struct mi_spec *spec, const char *attack);
/* Whether a composition has the defense `name`, with whatever settings. */
bool mi_composition_has(const char *composition, const char *name);
/* What a measured row of this spec must share with another to be compared with it or averaged: *recipe, a hash of every
 * setting but the defense's, seeds and what depends on the machine; *seeds, "0/1": of the run and of its data.  Caller
 * frees both. */
enum mi_status mi_spec_recipe(const struct mi_spec *spec, const char *model, const char *attack, char **recipe,
                              char **seeds);
/* Splits "a, b ,c" (sep ',') or "a+b" (sep '+') into fresh strings; *n receives the count. Free with mi_list_free. */
char **mi_list_split(const char *text, char sep, size_t *n);
void mi_list_free(char **list, size_t n);
/* Whether one of its items is `name`. */
bool mi_list_has(const char *text, char sep, const char *name);

#endif
