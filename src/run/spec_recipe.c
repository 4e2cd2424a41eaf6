/* src/run/spec_recipe.c - what the measurements of two runs must share to be compared or averaged.
 *
 * A row of the table names its data, network, defense and attack, not what else a spec sets: epochs, steps, the judge.
 * Those settings as one hash are the recipe, the seeds apart.  The defense is left out, so that an undefended row has
 * the recipe of the defended ones; of the other lists only the row's own entry counts.  A setting that happened to be
 * without effect makes another recipe all the same: a trade-off too few is better than a wrong one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/fingerprint.h"
#include "midre/spec.h"

struct recipe {
    struct mi_hasher *h;
    char seeds[128];
};

static void add_seed(struct recipe *r, const char *text) {
    size_t used = strlen(r->seeds);
    snprintf(r->seeds + used, sizeof r->seeds - used, "%s%s", used ? "/" : "", text);
}

/* All settings of a section or entry that change results.  Folders and files enter by their path: other photographs are
 * another measurement, and the spec does not know what is in them. */
static void add(struct recipe *r, const char *what, const struct mi_values *v, const char *list) {
    mi_hasher_text(r->h, "part", what);
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++) {
        const char *text = mi_values_text(v, s->name);
        if ((s->cosmetic && s->type != MI_PATH) || !strcmp(s->name, list)) continue;
        if (s->later && !strcmp(text, s->def)) continue;
        if (!strcmp(s->name, "seed"))
            add_seed(r, text);
        else
            mi_hasher_text(r->h, s->name, text);
    }
}

static void add_run(struct recipe *r, const struct mi_values *v) {
    add_seed(r, mi_values_text(v, "seed"));
    mi_hasher_text(r->h, "minutes", mi_values_text(v, "minutes"));
    mi_hasher_text(r->h, "deterministic", mi_values_text(v, "deterministic"));
}

enum mi_status mi_spec_recipe(const struct mi_spec *spec, const char *model, const char *attack, char **recipe,
                              char **seeds) {
    static const struct {
        enum mi_section section;
        const char *list; /* its list of names, of which the row has one */
    } parts[] = {{MI_SEC_DATA, ""},       {MI_SEC_PRETRAIN, ""}, {MI_SEC_TARGET, "model"}, {MI_SEC_JUDGE, ""},
                 {MI_SEC_ATTACK, "name"}, {MI_SEC_SCORE, ""},    {MI_SEC_PRIOR, ""}};
    struct recipe r = {.h = mi_hasher_new("recipe")};
    if (!r.h) return mi_error_status();
    add_run(&r, spec->section[MI_SEC_RUN]);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add(&r, mi_section_word(parts[i].section), spec->section[parts[i].section], parts[i].list);
    add(&r, "private", mi_spec_entry(spec, MI_KIND_DATA, mi_values_text(spec->section[MI_SEC_DATA], "name")), "");
    const char *pub = mi_values_text(spec->section[MI_SEC_DATA], "public");
    if (*pub) add(&r, "public", mi_spec_entry(spec, MI_KIND_DATA, pub), "");
    add(&r, "target", mi_spec_entry(spec, MI_KIND_MODEL, model), "");
    add(&r, "judge", mi_spec_entry(spec, MI_KIND_MODEL, mi_values_text(spec->section[MI_SEC_JUDGE], "model")), "");
    add(&r, "attack", mi_spec_entry(spec, MI_KIND_ATTACK, attack), "");
    struct mi_fingerprint fp = mi_hasher_done(r.h);
    *recipe = mi_strdup(fp.hex);
    *seeds = mi_strdup(r.seeds);
    if (*recipe && *seeds) return MI_OK;
    free(*recipe);
    free(*seeds);
    *recipe = *seeds = NULL;
    return MI_E_NOMEM;
}
