/* spec.c - an experiment spec: defaults, then the file, then overrides from the command line, then validation.
 *
 * Every section is a mi_values: the fixed ones of spec_sections.c and one for each catalogue entry, made up front so
 * that lookups cannot fail later.  Problems name file, line, section, key and value, and guess what was meant.
 *
 * Paths are made absolute as they come in: relative to the spec's folder in a file, to the current folder in an
 * override.  The resolved spec a run keeps then means the same wherever the engine is started. */
#include "midre/spec.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "midre/workspace.h"
#include "src/run/ini.h"
#include "src/run/spec_priv.h"

/* ---- sections by name ----------------------------------------------------------------------------------- */

/* The values of "run" or "defense.midre"; NULL (no message) when there is no such section. */
static struct mi_values *find_section(const struct mi_spec *spec, const char *section) {
    for (int s = 0; s < MI_SEC_COUNT; s++)
        if (strcmp(section, mi_section_word((enum mi_section)s)) == 0) return spec->section[s];
    for (int k = 0; k < MI_KIND_COUNT; k++)
        for (size_t i = 0; i < spec->priv->n[k]; i++)
            if (strcmp(section, mi_values_section(spec->priv->entry[k][i])) == 0) return spec->priv->entry[k][i];
    return NULL;
}

static enum mi_status no_such_section(const struct mi_spec *spec, const char *section) {
    size_t room = MI_SEC_COUNT, n = 0;
    for (int k = 0; k < MI_KIND_COUNT; k++) room += spec->priv->n[k];
    const char **names = mi_calloc(room, sizeof *names);
    if (!names) return MI_E_NOMEM;
    for (int s = 0; s < MI_SEC_COUNT; s++) names[n++] = mi_section_word((enum mi_section)s);
    const char *meant = NULL;
    for (int k = 0; k < MI_KIND_COUNT; k++) {
        for (size_t i = 0; i < spec->priv->n[k]; i++) {
            names[n] = mi_values_section(spec->priv->entry[k][i]);
            const char *dot = strchr(names[n], '.');
            if (dot && strcmp(dot + 1, section) == 0) meant = names[n]; /* "midre" for "defense.midre" */
            n++;
        }
    }
    if (!meant) meant = mi_nearest(section, names, n);
    if (meant)
        mi_fail(MI_E_INPUT, "no section [%.60s]; did you mean [%s]?", section, meant);
    else
        mi_fail(MI_E_INPUT,
                "no section [%.60s]; there are run, data, pretrain, target, judge, defense, prior, attack, score and "
                "those of the catalogue, like [attack.NAME]",
                section);
    free(names);
    return MI_E_INPUT;
}

/* ---- making and freeing --------------------------------------------------------------------------------- */

static enum mi_status make_entries(struct mi_spec_private *priv, enum mi_kind kind) {
    size_t n;
    const struct mi_entry *const *entries = mi_catalogue(kind, &n);
    priv->entry[kind] = mi_calloc(n, sizeof *priv->entry[kind]);
    if (!priv->entry[kind]) return MI_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        char *section = mi_format("%s.%s", mi_kind_word(kind), entries[i]->name);
        if (!section) return MI_E_NOMEM;
        priv->entry[kind][i] = mi_values_new(section, entries[i]->settings);
        free(section);
        if (!priv->entry[kind][i]) return mi_error_status();
        priv->n[kind] = i + 1;
    }
    return MI_OK;
}

static struct mi_spec *make_defaults(void) {
    struct mi_spec *spec = mi_calloc(1, sizeof *spec);
    if (!spec) return NULL;
    spec->priv = mi_calloc(1, sizeof *spec->priv);
    if (!spec->priv) goto fail;
    for (int s = 0; s < MI_SEC_COUNT; s++) {
        enum mi_section section = (enum mi_section)s;
        spec->section[s] = mi_values_new(mi_section_word(section), mi_section_settings(section));
        if (!spec->section[s]) goto fail;
    }
    for (int k = 0; k < MI_KIND_COUNT; k++)
        if (make_entries(spec->priv, (enum mi_kind)k) != MI_OK) goto fail;
    return spec;
fail:
    mi_spec_free(spec);
    return NULL;
}

void mi_spec_free(struct mi_spec *spec) {
    if (!spec) return;
    for (int s = 0; s < MI_SEC_COUNT; s++) mi_values_free(spec->section[s]);
    for (int k = 0; spec->priv && k < MI_KIND_COUNT; k++) {
        for (size_t i = 0; i < spec->priv->n[k]; i++) mi_values_free(spec->priv->entry[k][i]);
        free(spec->priv->entry[k]);
    }
    if (spec->priv) mi_variants_free(&spec->priv->variants);
    free(spec->priv);
    mi_cells_free(&(struct mi_cells){.cell = spec->cells, .n = spec->n_cells});
    free(spec->path);
    free(spec);
}

/* ---- setting -------------------------------------------------------------------------------------------- */

static bool is_path(const struct mi_values *v, const char *key) {
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++)
        if (strcmp(s->name, key) == 0) return s->type == MI_PATH;
    return false;
}

/* Sets one value; paths become absolute, seen from `base` (NULL = the current folder). */
static enum mi_status set_value(struct mi_values *v, const char *key, const char *text, const char *base) {
    if (!text[0] || !is_path(v, key)) return mi_values_set(v, key, text);
    char *full = mi_path_resolve(base, text);
    if (!full) return mi_error_status();
    enum mi_status status = mi_values_set(v, key, full);
    free(full);
    return status;
}

static enum mi_status apply_file(struct mi_spec *spec, const struct mi_ini *ini, const char *label, const char *base) {
    for (size_t i = 0; i < ini->n; i++) {
        const struct mi_ini_item *it = &ini->item[i];
        struct mi_values *v = find_section(spec, it->section);
        enum mi_status status = v ? set_value(v, it->key, it->value, base) : no_such_section(spec, it->section);
        if (status != MI_OK) return mi_fail_context("%s:%d", label, it->line);
    }
    return MI_OK;
}

/* "defense.midre.area_high=0.4": the section ends at the last dot before the equals sign. */
static enum mi_status apply_override(struct mi_spec *spec, const char *text) {
    const char *equals = strchr(text, '=');
    if (!equals) return mi_fail(MI_E_INPUT, "\"%.80s\": an override is section.key=value", text);
    char *name = mi_format("%.*s", (int)(equals - text), text);
    if (!name) return MI_E_NOMEM;
    enum mi_status status;
    size_t end = strlen(name);
    while (end > 0 && isspace((unsigned char)name[end - 1])) name[--end] = '\0';
    char *dot = strrchr(name, '.');
    const char *content = equals + 1;
    while (isspace((unsigned char)*content)) content++;
    if (!dot) {
        status = mi_fail(MI_E_INPUT, "\"%.80s\": an override is section.key=value", text);
    } else {
        *dot = '\0';
        struct mi_values *v = find_section(spec, name);
        status = v ? set_value(v, dot + 1, content, NULL) : no_such_section(spec, name);
        if (status != MI_OK) mi_fail_context("%.80s", text);
    }
    free(name);
    return status;
}

/* Replaces the cells by those of the current lists, or leaves them and fails.  A failure that comes from a line of
 * the file names the line. */
static enum mi_status rebuild_cells(struct mi_spec *spec, const struct mi_ini *ini, const char *label) {
    struct mi_cells fresh;
    enum mi_status status = mi_cells_build(spec, &fresh);
    for (size_t i = 0; status != MI_OK && fresh.bad_key && ini && i < ini->n; i++) {
        const struct mi_ini_item *it = &ini->item[i];
        if (strcmp(it->key, fresh.bad_key) == 0 && strcmp(it->section, mi_section_word(fresh.bad_section)) == 0)
            mi_fail_context("%s:%d", label, it->line);
    }
    if (status != MI_OK) return status;
    mi_cells_free(&(struct mi_cells){.cell = spec->cells, .n = spec->n_cells, .variants = spec->priv->variants});
    spec->cells = fresh.cell;
    spec->n_cells = fresh.n;
    spec->priv->variants = fresh.variants;
    return MI_OK;
}

enum mi_status mi_spec_set(struct mi_spec *spec, const char *section, const char *key, const char *text) {
    struct mi_values *v = find_section(spec, section);
    if (!v) return no_such_section(spec, section);
    if (!mi_values_has(v, key)) return mi_values_set(v, key, text); /* its did-you-mean */
    char *before = mi_strdup(mi_values_text(v, key));
    if (!before) return MI_E_NOMEM;
    enum mi_status status = set_value(v, key, text, NULL);
    if (status == MI_OK) {
        status = rebuild_cells(spec, NULL, NULL);
        if (status != MI_OK) mi_values_set(v, key, before); /* it was valid: taking it back only needs memory */
        else if (strcmp(key, "recipe") == 0) status = mi_recipe_apply(v); /* no recipe changes a cell */
    }
    free(before);
    return status;
}

/* ---- loading -------------------------------------------------------------------------------------------- */

/* The recipes named in the file and the overrides, before any other key of theirs. */
static enum mi_status apply_recipes(struct mi_spec *spec, const struct mi_ini *ini, const char *label,
                                    const char *const *overrides, size_t n_overrides) {
    for (size_t i = 0; i < ini->n; i++) {
        const struct mi_ini_item *it = &ini->item[i];
        struct mi_values *v = strcmp(it->key, "recipe") == 0 ? find_section(spec, it->section) : NULL;
        if (v && mi_values_set(v, "recipe", it->value) != MI_OK) return mi_fail_context("%s:%d", label, it->line);
    }
    for (size_t i = 0; i < n_overrides; i++) {
        size_t name = strcspn(overrides[i], "=");
        const char *key = name >= 6 ? overrides[i] + name - 6 : "";
        bool named = strncmp(key, "recipe", 6) == 0 && key > overrides[i] && key[-1] == '.';
        if (named) MI_TRY(apply_override(spec, overrides[i]));
    }
    MI_TRY(mi_recipe_apply(spec->section[MI_SEC_PRETRAIN]));
    MI_TRY(mi_recipe_apply(spec->section[MI_SEC_TARGET]));
    return mi_recipe_apply(spec->section[MI_SEC_JUDGE]);
}

static struct mi_spec *assemble(const struct mi_ini *ini, const char *label, const char *base,
                                const char *const *overrides, size_t n_overrides) {
    struct mi_spec *spec = make_defaults();
    if (!spec) return NULL;
    enum mi_status status = apply_recipes(spec, ini, label, overrides, n_overrides);
    if (status == MI_OK) status = apply_file(spec, ini, label, base);
    for (size_t i = 0; i < n_overrides && status == MI_OK; i++) status = apply_override(spec, overrides[i]);
    if (status == MI_OK) status = rebuild_cells(spec, n_overrides ? NULL : ini, label);
    if (status == MI_OK) return spec;
    mi_spec_free(spec);
    return NULL;
}

struct mi_spec *mi_spec_parse(const char *text, const char *label, const char *const *overrides, size_t n_overrides) {
    struct mi_ini ini;
    if (mi_ini_parse(text, label, &ini) != MI_OK) return NULL;
    struct mi_spec *spec = assemble(&ini, label, NULL, overrides, n_overrides);
    mi_ini_free(&ini);
    return spec;
}

struct mi_spec *mi_spec_load(const char *path, const char *const *overrides, size_t n_overrides) {
    struct mi_ini ini = {0};
    if (!path) return assemble(&ini, "", NULL, overrides, n_overrides);
    struct mi_spec *spec = NULL;
    char *full = mi_path_resolve(NULL, path), *base = full ? mi_strdup(full) : NULL;
    if (!base || mi_ini_load(path, &ini) != MI_OK) goto out;
    *(strrchr(base, '/') + 1) = '\0'; /* absolute, so there is a slash */
    spec = assemble(&ini, path, base, overrides, n_overrides);
    if (spec) {
        spec->path = full;
        full = NULL;
    }
out:
    mi_ini_free(&ini);
    free(full);
    free(base);
    return spec;
}

const struct mi_values *mi_spec_entry(const struct mi_spec *spec, enum mi_kind kind, const char *name) {
    size_t n;
    const struct mi_entry *const *entries = mi_catalogue(kind, &n);
    for (size_t i = 0; i < n && i < spec->priv->n[kind]; i++)
        if (strcmp(entries[i]->name, name) == 0) return spec->priv->entry[kind][i];
    return kind == MI_KIND_DEFENSE ? mi_variants_find(&spec->priv->variants, name) : NULL;
}
