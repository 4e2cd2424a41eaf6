/* spec_cells.c - from lists of names to the cells of a run, with every name checked.
 *
 * A cell is one row of the table: one target model, one defense (or composition), one attack.  All names are checked
 * here, before anything is computed: a run must not train for an hour and then find that an attack is misspelt.
 *
 * Builds a fresh list and leaves the spec alone, so a change that does not validate can be taken back. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "src/run/spec_priv.h"

/* ---- lists ---------------------------------------------------------------------------------------------- */

char **mi_list_split(const char *text, char sep, size_t *n) {
    size_t parts = 0;
    *n = 0;
    while (isspace((unsigned char)*text)) text++;
    if (*text) parts = 1;
    for (const char *c = text; *c; c++) parts += *c == sep;
    char **list = mi_calloc(parts + 1, sizeof *list);
    if (!list) return NULL;
    for (size_t i = 0; i < parts; i++) {
        const char *end = strchr(text, sep);
        if (!end) end = text + strlen(text);
        const char *from = text, *to = end;
        while (from < to && isspace((unsigned char)*from)) from++;
        while (to > from && isspace((unsigned char)to[-1])) to--;
        list[i] = mi_format("%.*s", (int)(to - from), from);
        if (!list[i]) {
            mi_list_free(list, i);
            return NULL;
        }
        text = *end ? end + 1 : end;
    }
    *n = parts;
    return list;
}

void mi_list_free(char **list, size_t n) {
    if (!list) return;
    for (size_t i = 0; i < n; i++) free(list[i]);
    free(list);
}

bool mi_list_has(const char *text, char sep, const char *name) {
    size_t n = strlen(name);
    for (const char *at = text; *at;) {
        while (isspace((unsigned char)*at)) at++;
        size_t length = strcspn(at, (char[]){sep, 0}), used = length;
        while (used > 0 && isspace((unsigned char)at[used - 1])) used--;
        if (used == n && strncmp(at, name, n) == 0) return true;
        at += length + (at[length] == sep);
    }
    return false;
}

/* ---- checking names ------------------------------------------------------------------------------------- */

static const char *value(const struct mi_spec *spec, enum mi_section s, const char *key) {
    return mi_values_text(spec->section[s], key);
}

/* One defense of the list: a name or a composition a+b of different names; "none" stands alone.  Settings that follow
 * a name after colons are kept in `variants`. */
static enum mi_status check_defense(const struct mi_spec *spec, const char *text, struct mi_variants *variants) {
    size_t n, m = 0;
    char *names = mi_composition_names(text);
    char **name = names ? mi_list_split(names, '+', &m) : NULL, **part = name ? mi_list_split(text, '+', &n) : NULL;
    free(names);
    if (!part) {
        mi_list_free(name, m);
        return MI_E_NOMEM;
    }
    enum mi_status status = MI_OK;
    if (n > MI_COMPOSED_MAX)
        status =
            mi_fail(MI_E_INPUT, "\"%.80s\" composes %zu defenses, at most %d go together", text, n, MI_COMPOSED_MAX);
    else if (m != n)
        status = mi_fail(MI_E_INPUT, "\"%.80s\": a defense's name comes before its settings", text);
    else if (strlen(text) > MI_DEFENSE_MAX)
        status = mi_fail(MI_E_INPUT,
                         "\"%.80s\": a defense with its settings is at most %d bytes; put what rows share into its section",
                         text, MI_DEFENSE_MAX);
    for (size_t i = 0; i < n && status == MI_OK; i++) {
        if (!mi_catalogue_find(MI_KIND_DEFENSE, name[i]))
            status = mi_error_status();
        else if (n > 1 && strcmp(name[i], "none") == 0)
            status = mi_fail(MI_E_INPUT, "\"%.80s\": none does not compose with a defense", text);
        for (size_t j = 0; j < i && status == MI_OK; j++)
            if (strcmp(name[i], name[j]) == 0) status = mi_fail(MI_E_INPUT, "\"%.80s\" names %s twice", text, name[i]);
        if (status == MI_OK) status = mi_variants_add(variants, spec, part[i]);
    }
    mi_list_free(part, n);
    mi_list_free(name, m);
    return status;
}

static enum mi_status check_name(const struct mi_spec *spec, enum mi_kind kind, const char *name,
                                 struct mi_variants *variants) {
    if (kind == MI_KIND_DEFENSE) return check_defense(spec, name, variants);
    return mi_catalogue_find(kind, name) ? MI_OK : mi_error_status();
}

/* A list setting: not empty, no holes, no doubles, every name known.  NULL on failure. */
static char **read_list(const struct mi_spec *spec, enum mi_section s, const char *key, enum mi_kind kind, size_t *n,
                        struct mi_cells *out) {
    const char *text = value(spec, s, key);
    char **list = mi_list_split(text, ',', n);
    enum mi_status status = list ? MI_OK : MI_E_NOMEM;
    if (list && *n == 0) status = mi_fail(MI_E_INPUT, "the list is empty; name at least one %s", mi_kind_word(kind));
    for (size_t i = 0; list && i < *n && status == MI_OK; i++) {
        if (!list[i][0])
            status = mi_fail(MI_E_INPUT, "\"%.80s\" has an empty place between its commas", text);
        else
            status = check_name(spec, kind, list[i], &out->variants);
        for (size_t j = 0; j < i && status == MI_OK; j++)
            if (strcmp(list[i], list[j]) == 0) status = mi_fail(MI_E_INPUT, "\"%.80s\" names %s twice", text, list[i]);
    }
    if (status == MI_OK) return list;
    mi_fail_context("[%s] %s", mi_section_word(s), key);
    out->bad_section = s;
    out->bad_key = key;
    mi_list_free(list, list ? *n : 0);
    return NULL;
}

static enum mi_status check_one(const struct mi_spec *spec, enum mi_section s, const char *key, enum mi_kind kind,
                                struct mi_cells *out) {
    const char *name = value(spec, s, key);
    if (mi_catalogue_find(kind, name)) return MI_OK;
    out->bad_section = s;
    out->bad_key = key;
    return mi_fail_context("[%s] %s", mi_section_word(s), key);
}

/* auto, cpu, cuda or cuda:N; whether the device is there is the engine's question. */
static enum mi_status check_device(const struct mi_spec *spec, struct mi_cells *out) {
    const char *text = value(spec, MI_SEC_RUN, "device");
    if (strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0 || strcmp(text, "cuda") == 0) return MI_OK;
    if (strncmp(text, "cuda:", 5) == 0) {
        size_t digits = strspn(text + 5, "0123456789");
        if (digits >= 1 && digits <= 3 && text[5 + digits] == '\0') return MI_OK;
    }
    out->bad_section = MI_SEC_RUN;
    out->bad_key = "device";
    return mi_fail(MI_E_INPUT, "[run] device = \"%.60s\": expected auto, cpu, cuda or cuda:N", text);
}

/* Start weights from the public people and from a file exclude each other. */
static enum mi_status check_weights(const struct mi_spec *spec, enum mi_section s, struct mi_cells *out) {
    const char *file = value(spec, s, "init")[0] ? "init" : value(spec, s, "checkpoint")[0] ? "checkpoint" : NULL;
    if (!file || !mi_values_bool(spec->section[s], "pretrained")) return MI_OK;
    out->bad_section = s;
    out->bad_key = "pretrained";
    return mi_fail(MI_E_INPUT, "[%s] pretrained = yes and %s both give weights; keep one of them", mi_section_word(s),
                   file);
}

/* ---- cells ---------------------------------------------------------------------------------------------- */

/* Takes over `label`. */
static enum mi_status make_cell(struct mi_cell *c, char *label, const char *model, const char *defense,
                                const char *attack) {
    c->id = mi_format("%s/%s/%s", model, defense, attack);
    c->model = mi_strdup(model);
    c->defense = mi_strdup(defense);
    c->attack = mi_strdup(attack);
    c->label = label;
    return c->label && c->id && c->model && c->defense && c->attack ? MI_OK : MI_E_NOMEM;
}

void mi_cells_free(struct mi_cells *cells) {
    for (size_t i = 0; i < cells->n; i++) {
        free(cells->cell[i].id);
        free(cells->cell[i].model);
        free(cells->cell[i].defense);
        free(cells->cell[i].attack);
        free(cells->cell[i].label);
    }
    free(cells->cell);
    mi_variants_free(&cells->variants);
    cells->cell = NULL;
    cells->n = 0;
}

enum mi_status mi_cells_build(const struct mi_spec *spec, struct mi_cells *out) {
    *out = (struct mi_cells){0};
    MI_TRY(check_device(spec, out));
    MI_TRY(check_one(spec, MI_SEC_DATA, "name", MI_KIND_DATA, out));
    if (value(spec, MI_SEC_DATA, "public")[0]) MI_TRY(check_one(spec, MI_SEC_DATA, "public", MI_KIND_DATA, out));
    MI_TRY(check_one(spec, MI_SEC_JUDGE, "model", MI_KIND_MODEL, out));
    MI_TRY(check_weights(spec, MI_SEC_TARGET, out));
    MI_TRY(check_weights(spec, MI_SEC_JUDGE, out));
    enum mi_status status = MI_OK;
    size_t nm = 0, nd = 0, na = 0;
    char **model = read_list(spec, MI_SEC_TARGET, "model", MI_KIND_MODEL, &nm, out);
    char **defense = model ? read_list(spec, MI_SEC_DEFENSE, "name", MI_KIND_DEFENSE, &nd, out) : NULL;
    char **attack = defense ? read_list(spec, MI_SEC_ATTACK, "name", MI_KIND_ATTACK, &na, out) : NULL;
    if (!attack)
        status = mi_error_status();
    else if (nm * nd * na > MI_CELLS_MAX)
        status = mi_fail(MI_E_INPUT, "%zu models x %zu defenses x %zu attacks are more than %d cells; split the run",
                         nm, nd, na, MI_CELLS_MAX);
    else if (!(out->cell = mi_calloc(nm * nd * na, sizeof *out->cell)))
        status = MI_E_NOMEM;
    for (size_t i = 0; status == MI_OK && i < nm * nd * na; i++) {
        out->n = i + 1;
        char *label = mi_variants_label(&out->variants, spec, defense[i / na % nd]);
        status = make_cell(&out->cell[i], label, model[i / (nd * na)], defense[i / na % nd], attack[i % na]);
    }
    if (attack) mi_list_free(attack, na);
    if (defense) mi_list_free(defense, nd);
    if (model) mi_list_free(model, nm);
    if (status != MI_OK) mi_cells_free(out);
    return status;
}

bool mi_spec_uses(const struct mi_spec *spec, enum mi_kind kind, const char *name) {
    if (kind == MI_KIND_DATA)
        return strcmp(value(spec, MI_SEC_DATA, "name"), name) == 0 ||
               strcmp(value(spec, MI_SEC_DATA, "public"), name) == 0;
    if (kind == MI_KIND_MODEL && strcmp(value(spec, MI_SEC_JUDGE, "model"), name) == 0) return true;
    for (size_t i = 0; i < spec->n_cells; i++) {
        const struct mi_cell *c = &spec->cells[i];
        if (kind == MI_KIND_MODEL && strcmp(c->model, name) == 0) return true;
        if (kind == MI_KIND_ATTACK && strcmp(c->attack, name) == 0) return true;
        if (kind == MI_KIND_DEFENSE && mi_composition_has(c->defense, name)) return true;
    }
    return false;
}
