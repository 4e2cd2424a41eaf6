/* spec_variants.c - defenses of a list that carry settings of their own: "midre:area_high=0.8:fill=zero+nls".
 *
 * One run can so hold a row for each of several erase ratios or fills.  What follows the colons goes on top of the
 * settings of [defense.midre] for that one item; values that hold a comma, a plus or a colon cannot be written so.
 * The values are made together with the cells, so they follow every change of the section they stand on. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "src/run/spec_priv.h"

/* Length of the name that a composition's part begins with. */
static size_t name_length(const char *part) {
    size_t n = strcspn(part, ":+,");
    while (n > 0 && isspace((unsigned char)part[n - 1])) n--;
    return n;
}

char *mi_composition_names(const char *composition) {
    char *out = mi_strdup(composition), *to = out;
    for (const char *at = composition; out && *at;) {
        while (isspace((unsigned char)*at)) at++;
        size_t keep = name_length(at);
        memcpy(to, at, keep);
        to += keep;
        at += strcspn(at, "+,");
        if (*at) *to++ = *at++;
    }
    if (out) *to = '\0';
    return out;
}

char **mi_composition_distinct(const char *list, size_t *n) {
    char *names = mi_composition_names(list);
    for (char *c = names; c && *c; c++)
        if (*c == '+') *c = ',';
    char **name = names ? mi_list_split(names, ',', n) : NULL;
    free(names);
    size_t kept = 0;
    for (size_t i = 0, k; name && i < *n; i++) {
        for (k = 0; k < kept && strcmp(name[k], name[i]) != 0;) k++;
        if (k < kept)
            free(name[i]);
        else
            name[kept++] = name[i];
    }
    *n = kept;
    return name;
}

bool mi_composition_has(const char *composition, const char *name) {
    size_t n = strlen(name);
    for (const char *at = composition; *at; at += strcspn(at, "+"), at += *at == '+') {
        while (isspace((unsigned char)*at)) at++;
        if (name_length(at) == n && strncmp(at, name, n) == 0) return true;
    }
    return false;
}

/* ---- how they are called ------------------------------------------------------------------------------------- */

/* Appends ",text" to a comma list held in *list. */
static enum mi_status list_add(char **list, const char *prefix, const char *text) {
    char *longer = mi_format("%s%s%s%s", *list, **list ? "," : "", prefix, text);
    if (!longer) return MI_E_NOMEM;
    free(*list);
    *list = longer;
    return MI_OK;
}

static bool at_default(const struct mi_setting *s, const char *text) {
    return s->type == MI_INT || s->type == MI_REAL ? strtod(text, NULL) == strtod(s->def, NULL)
                                                   : strcmp(text, s->def) == 0;
}

/* "0.1,0.8,fill=zero": settings marked `label` as bare values, then whatever else differs from its default. */
static enum mi_status variant_of(const struct mi_values *v, char **list) {
    for (int pass = 0; pass < 2; pass++) {
        for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++) {
            if (s->cosmetic || s->label != (pass == 0)) continue;
            const char *text = mi_values_text(v, s->name);
            if (s->label) {
                MI_TRY(list_add(list, "", text));
            } else if (!at_default(s, text)) {
                char *prefix = mi_format("%s=", s->name);
                enum mi_status st = prefix ? list_add(list, prefix, text) : MI_E_NOMEM;
                free(prefix);
                MI_TRY(st);
            }
        }
    }
    return MI_OK;
}

/* The settings of a composition whose parts are in `list` or, plain, in the spec. */
static char *variant_in(const struct mi_variants *list, const struct mi_spec *spec, const char *composition) {
    size_t n = 0;
    char **part = mi_list_split(composition, '+', &n), *text = part ? mi_strdup("") : NULL;
    enum mi_status st = text ? MI_OK : mi_error_status();
    for (size_t i = 0; i < n && st == MI_OK; i++) {
        const struct mi_values *v = mi_variants_find(list, part[i]);
        if (!v) v = mi_spec_entry(spec, MI_KIND_DEFENSE, part[i]);
        st = v ? variant_of(v, &text) : mi_fail(MI_E_INPUT, "the spec has no defense \"%.80s\"", part[i]);
    }
    mi_list_free(part, n);
    if (st == MI_OK) return text;
    free(text);
    return NULL;
}

char *mi_composition_variant(const struct mi_spec *spec, const char *composition) {
    return variant_in(&spec->priv->variants, spec, composition);
}

char *mi_attack_variant(const struct mi_spec *spec, const char *attack) {
    const struct mi_values *v = mi_spec_entry(spec, MI_KIND_ATTACK, attack);
    if (!v) {
        mi_fail(MI_E_INPUT, "the spec has no attack \"%.80s\"", attack);
        return NULL;
    }
    char *text = mi_strdup("");
    enum mi_status st = text ? MI_OK : MI_E_NOMEM;
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name && st == MI_OK; s++)
        if (s->told && !at_default(s, mi_values_text(v, s->name))) st = list_add(&text, "", mi_values_text(v, s->name));
    if (st == MI_OK) return text;
    free(text);
    return NULL;
}

char *mi_variants_label(const struct mi_variants *list, const struct mi_spec *spec, const char *composition) {
    if (!strchr(composition, ':')) return mi_strdup(composition);
    char *variant = variant_in(list, spec, composition), *label = NULL;
    char *names = variant ? mi_composition_names(composition) : NULL;
    if (names) label = mi_format("%s(%s)", names, variant);
    free(names);
    free(variant);
    return label;
}

/* ---- their values -------------------------------------------------------------------------------------------- */

static enum mi_status copy_values(struct mi_values *to, const struct mi_values *from) {
    for (const struct mi_setting *s = mi_values_settings(from); s && s->name; s++)
        MI_TRY(mi_values_set(to, s->name, mi_values_text(from, s->name)));
    return MI_OK;
}

/* "area_high = 0.8" */
static enum mi_status set_word(struct mi_values *v, const char *word) {
    const char *equals = strchr(word, '=');
    size_t key = equals ? (size_t)(equals - word) : 0;
    while (key > 0 && isspace((unsigned char)word[key - 1])) key--;
    if (key == 0) return mi_fail(MI_E_INPUT, "\"%.80s\": a setting after a colon is NAME=VALUE", word);
    for (equals++; isspace((unsigned char)*equals);) equals++;
    char *name = mi_format("%.*s", (int)key, word);
    enum mi_status st = name ? mi_values_set(v, name, equals) : MI_E_NOMEM;
    free(name);
    return st;
}

enum mi_status mi_variants_add(struct mi_variants *list, const struct mi_spec *spec, const char *part) {
    if (!strchr(part, ':') || mi_variants_find(list, part)) return MI_OK;
    size_t n = 0;
    char **word = mi_list_split(part, ':', &n);
    const struct mi_values *base = word ? mi_spec_entry(spec, MI_KIND_DEFENSE, word[0]) : NULL;
    struct mi_variant *longer = base ? realloc(list->item, (list->n + 1) * sizeof *longer) : NULL;
    enum mi_status st = longer ? MI_OK : mi_fail(MI_E_NOMEM, "out of memory reading \"%.80s\"", part);
    if (longer) {
        list->item = longer;
        longer[list->n] =
            (struct mi_variant){mi_strdup(part), mi_values_new(mi_values_section(base), mi_values_settings(base))};
        struct mi_variant *v = &longer[list->n++];
        st = v->text && v->values ? copy_values(v->values, base) : MI_E_NOMEM;
        for (size_t i = 1; i < n && st == MI_OK; i++)
            if ((st = set_word(v->values, word[i])) != MI_OK) mi_fail_context("\"%s\"", part);
    }
    mi_list_free(word, n);
    return st;
}

const struct mi_values *mi_variants_find(const struct mi_variants *list, const char *part) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->item[i].text, part) == 0) return list->item[i].values;
    return NULL;
}

void mi_variants_free(struct mi_variants *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->item[i].text);
        mi_values_free(list->item[i].values);
    }
    free(list->item);
    *list = (struct mi_variants){0};
}
