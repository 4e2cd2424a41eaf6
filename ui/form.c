/* ui/form.c - builds the lists of fields behind the Setup screen and steps values (see form.h).
 *
 * Which fixed settings hold catalogue names is the only thing known here by name; everything else walks the lists
 * that sections and entries bring. */
#include "ui/form.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum mi_section section;
    const char *key, *label;
    enum mi_kind catalogue;
    bool many;
} names[] = {{MI_SEC_DATA, "name", "Private data", MI_KIND_DATA, false},
             {MI_SEC_DATA, "public", "Public data", MI_KIND_DATA, false},
             {MI_SEC_TARGET, "model", "Architecture", MI_KIND_MODEL, true},
             {MI_SEC_DEFENSE, "name", "Defense", MI_KIND_DEFENSE, true},
             {MI_SEC_ATTACK, "name", "Attack", MI_KIND_ATTACK, true},
             {MI_SEC_JUDGE, "model", "Judge", MI_KIND_MODEL, false}};
#define N_NAMES (sizeof names / sizeof *names)

static struct mi_field *add(struct mi_form *form) {
    if ((form->n & (form->n - 1)) == 0) {
        size_t room = form->n ? 2 * (size_t)form->n : 1;
        struct mi_field *f = realloc(form->f, room * sizeof *f);
        if (!f) {
            mi_fail(MI_E_NOMEM, "no memory for the form");
            return NULL;
        }
        form->f = f;
    }
    struct mi_field *f = &form->f[form->n++];
    memset(f, 0, sizeof *f);
    return f;
}

void mi_form_free(struct mi_form *form) {
    free(form->f);
    *form = (struct mi_form){0};
}

static enum mi_status header(struct mi_form *form, enum mi_field_kind kind, const char *label) {
    struct mi_field *f = add(form);
    if (!f) return MI_E_NOMEM;
    f->kind = kind;
    snprintf(f->label, sizeof f->label, "%.39s", label);
    return MI_OK;
}

static enum mi_status setting(struct mi_form *form, const char *section, const struct mi_setting *set,
                              const char *label) {
    struct mi_field *f = add(form);
    if (!f) return MI_E_NOMEM;
    f->set = set;
    snprintf(f->section, sizeof f->section, "%s", section);
    snprintf(f->label, sizeof f->label, "%s", label ? label : set->name);
    for (char *c = f->label; !label && *c; c++)
        if (*c == '_') *c = ' ';
    for (size_t k = 0; k < N_NAMES; k++)
        if (!strcmp(section, mi_section_word(names[k].section)) && !strcmp(set->name, names[k].key)) {
            f->kind = names[k].many ? MI_FIELD_ENTRIES : MI_FIELD_ENTRY;
            f->catalogue = names[k].catalogue;
            if (label) snprintf(f->label, sizeof f->label, "%s", names[k].label);
        }
    return MI_OK;
}

/* A fixed setting by name; one that does not exist is left out. */
static enum mi_status fixed(struct mi_form *form, enum mi_section s, const char *key, const char *label) {
    for (const struct mi_setting *set = mi_section_settings(s); set->name; set++)
        if (!strcmp(set->name, key)) return setting(form, mi_section_word(s), set, label);
    return MI_OK;
}

/* The first `max` settings of one entry. */
static enum mi_status entry_settings(struct mi_form *form, enum mi_kind kind, const char *name, int max) {
    char section[64];
    const struct mi_entry *e = mi_catalogue_find(kind, name);
    if (!e) {
        mi_error_clear(); /* a name being typed; the spec itself reports it */
        return MI_OK;
    }
    snprintf(section, sizeof section, "%s.%s", mi_kind_word(kind), name);
    for (const struct mi_setting *s = e->settings; s && s->name && max-- > 0; s++) {
        MI_TRY(setting(form, section, s, NULL));
        if (max < 100) { /* short form: say whose */
            struct mi_field *f = &form->f[form->n - 1];
            char own[40];
            snprintf(own, sizeof own, " %.38s", f->label);
            memcpy(f->label, own, sizeof own);
        }
    }
    return MI_OK;
}

/* Calls entry_settings (with a header where wanted) for each distinct name in a list such as "none, midre+nls". */
static enum mi_status chosen(struct mi_form *form, enum mi_kind kind, const char *list, int max, bool headers) {
    size_t n = 0;
    char **name = mi_composition_distinct(list, &n);
    enum mi_status s = name ? MI_OK : mi_error_status();
    for (size_t k = 0; s == MI_OK && k < n; k++) {
        if (headers) {
            char title[80];
            const struct mi_entry *e = mi_catalogue_find(kind, name[k]);
            if (!e) mi_error_clear();
            if (!e || !e->settings || !e->settings->name) continue;
            snprintf(title, sizeof title, "%s %s", mi_kind_word(kind), e->title);
            s = header(form, MI_FIELD_HEADER, title);
        }
        if (s == MI_OK) s = entry_settings(form, kind, name[k], max);
    }
    mi_list_free(name, n);
    return s;
}

static const char *text(const struct mi_spec *spec, enum mi_section s, const char *key) {
    return mi_values_text(spec->section[s], key);
}

static enum mi_status build_short(struct mi_form *form, const struct mi_spec *spec) {
    MI_TRY(fixed(form, MI_SEC_DATA, "name", "Private data"));
    MI_TRY(fixed(form, MI_SEC_DATA, "size", "Resolution"));
    MI_TRY(fixed(form, MI_SEC_TARGET, "model", "Architecture"));
    MI_TRY(fixed(form, MI_SEC_TARGET, "epochs", "Epochs"));
    MI_TRY(fixed(form, MI_SEC_TARGET, "pretrained", "Pretrained"));
    MI_TRY(fixed(form, MI_SEC_DEFENSE, "name", "Defense"));
    MI_TRY(chosen(form, MI_KIND_DEFENSE, text(spec, MI_SEC_DEFENSE, "name"), 2, false));
    MI_TRY(fixed(form, MI_SEC_ATTACK, "name", "Attack"));
    MI_TRY(fixed(form, MI_SEC_ATTACK, "identities", "Identities"));
    MI_TRY(fixed(form, MI_SEC_ATTACK, "restarts", "Candidates"));
    MI_TRY(fixed(form, MI_SEC_JUDGE, "model", "Judge"));
    MI_TRY(fixed(form, MI_SEC_RUN, "device", "Device"));
    MI_TRY(fixed(form, MI_SEC_RUN, "seed", "Seed"));
    MI_TRY(header(form, MI_FIELD_BUTTON, "Start"));
    return header(form, MI_FIELD_BUTTON, "All settings");
}

enum mi_status mi_form_short(struct mi_form *form, const struct mi_spec *spec) {
    *form = (struct mi_form){0};
    enum mi_status s = build_short(form, spec);
    if (s != MI_OK) mi_form_free(form);
    return s;
}

static enum mi_status build_all(struct mi_form *form, const struct mi_spec *spec) {
    static const struct {
        enum mi_section list;
        const char *key;
        enum mi_kind kind;
    } entries[] = {{MI_SEC_DATA, "name", MI_KIND_DATA},
                   {MI_SEC_DATA, "public", MI_KIND_DATA},
                   {MI_SEC_TARGET, "model", MI_KIND_MODEL},
                   {MI_SEC_DEFENSE, "name", MI_KIND_DEFENSE},
                   {MI_SEC_ATTACK, "name", MI_KIND_ATTACK}};
    for (int k = 0; k < MI_SEC_COUNT; k++) {
        const struct mi_setting *set = mi_section_settings((enum mi_section)k);
        if (!set || !set->name) continue;
        MI_TRY(header(form, MI_FIELD_HEADER, mi_section_word((enum mi_section)k)));
        for (; set->name; set++) MI_TRY(setting(form, mi_section_word((enum mi_section)k), set, NULL));
    }
    for (size_t k = 0; k < sizeof entries / sizeof *entries; k++)
        MI_TRY(chosen(form, entries[k].kind, text(spec, entries[k].list, entries[k].key), 1000, true));
    return MI_OK;
}

enum mi_status mi_form_all(struct mi_form *form, const struct mi_spec *spec) {
    *form = (struct mi_form){0};
    enum mi_status s = build_all(form, spec);
    if (s != MI_OK) mi_form_free(form);
    return s;
}

/* ---- values ------------------------------------------------------------------------------------------- */

static const struct mi_values *values_of(const struct mi_spec *spec, const struct mi_field *f) {
    const char *point = strchr(f->section, '.');
    for (int k = 0; !point && k < MI_SEC_COUNT; k++)
        if (!strcmp(f->section, mi_section_word((enum mi_section)k))) return spec->section[k];
    for (int k = 0; point && k < MI_KIND_COUNT; k++) {
        const char *word = mi_kind_word((enum mi_kind)k);
        if (strlen(word) == (size_t)(point - f->section) && !strncmp(word, f->section, strlen(word)))
            return mi_spec_entry(spec, (enum mi_kind)k, point + 1);
    }
    return NULL;
}

const char *mi_field_value(const struct mi_spec *spec, const struct mi_field *f) {
    const struct mi_values *v = f->set ? values_of(spec, f) : NULL;
    return v ? mi_values_text(v, f->set->name) : "";
}

double mi_field_fraction(const struct mi_spec *spec, const struct mi_field *f) {
    if (!f->set || f->set->type != MI_REAL || f->set->max - f->set->min > 1.0 || f->set->max <= f->set->min) return -1;
    const struct mi_values *v = values_of(spec, f);
    return v ? (mi_values_real(v, f->set->name) - f->set->min) / (f->set->max - f->set->min) : -1;
}

const char *mi_form_defense(const struct mi_spec *spec, const struct mi_field *f) {
    const char *found = spec->cells[spec->n_cells - 1].defense, *point = f ? strchr(f->section, '.') : NULL;
    size_t word = strlen(mi_kind_word(MI_KIND_DEFENSE));
    if (!point || (size_t)(point - f->section) != word || strncmp(f->section, mi_kind_word(MI_KIND_DEFENSE), word))
        return found;
    for (size_t k = spec->n_cells; k-- > 0;) {
        const char *d = spec->cells[k].defense;
        if (!strcmp(d, point + 1)) return d;
        if (mi_composition_has(d, point + 1)) found = d;
    }
    return found;
}

static enum mi_status step_number(struct mi_spec *spec, const struct mi_field *f, int by) {
    const struct mi_setting *s = f->set;
    double v = strtod(mi_field_value(spec, f), NULL), next;
    char out[64];
    if (s->type == MI_INT) {
        double step = fabs(v) >= 1000 ? 100 : fabs(v) >= 200 ? 10 : 1;
        next = v + by * step;
    } else if (s->max - s->min <= 1.0) {
        double step = (s->max - s->min) / 20;
        next = s->min + step * (round((v - s->min) / step) + by);
    } else {
        double base = pow(10, floor(log10(v > 0 ? v : 1)));
        next = v <= 0 ? (by > 0 ? 0.1 : v) : by > 0 ? v + base / 2 : v > base * 1.25 ? v - base / 2 : v - base / 20;
    }
    next = fmin(fmax(next, s->min), s->max);
    snprintf(out, sizeof out, s->type == MI_INT ? "%.0f" : "%.6g", next);
    return mi_spec_set(spec, f->section, s->name, out);
}

/* The item `by` places after `now` in a list of n; an absent one starts at the first. */
static const char *neighbour(const char *now, const char *const *list, size_t n, int by) {
    for (size_t k = 0; k < n; k++)
        if (!strcmp(list[k], now)) return list[(k + n + (size_t)(by < 0 ? -1 : 1)) % n];
    return n ? list[0] : NULL;
}

static enum mi_status step_choice(struct mi_spec *spec, const struct mi_field *f, int by) {
    size_t n = 0;
    char **list = mi_list_split(f->set->choices, '|', &n);
    if (!list) return mi_error_status();
    const char *next = neighbour(mi_field_value(spec, f), (const char *const *)list, n, by);
    enum mi_status s = next ? mi_spec_set(spec, f->section, f->set->name, next) : MI_OK;
    mi_list_free(list, n);
    return s;
}

static enum mi_status step_entry(struct mi_spec *spec, const struct mi_field *f, int by) {
    const char *list[256], *now = mi_field_value(spec, f), *next;
    size_t n;
    const struct mi_entry *const *e = mi_catalogue(f->catalogue, &n);
    if (strpbrk(now, ",+:")) return mi_fail(MI_E_INPUT, "more than a name is chosen: Enter shows the list");
    for (size_t k = 0; k < n && k < 256; k++) list[k] = e[k]->name;
    next = neighbour(now, list, n < 256 ? n : 256, by);
    return next ? mi_spec_set(spec, f->section, f->set->name, next) : MI_OK;
}

enum mi_status mi_field_step(struct mi_spec *spec, const struct mi_field *f, int by) {
    if (!f->set) return MI_OK;
    if (f->kind == MI_FIELD_ENTRY || f->kind == MI_FIELD_ENTRIES) return step_entry(spec, f, by);
    switch (f->set->type) {
    case MI_INT:
    case MI_REAL:
        return step_number(spec, f, by);
    case MI_CHOICE:
        return step_choice(spec, f, by);
    case MI_BOOL: {
        const char *v = mi_field_value(spec, f);
        bool on = !strcmp(v, "yes") || !strcmp(v, "true") || !strcmp(v, "on") || !strcmp(v, "1");
        return mi_spec_set(spec, f->section, f->set->name, on ? "no" : "yes");
    }
    default:
        return mi_fail(MI_E_INPUT, "%s is free text: Enter edits it", f->set->name);
    }
}
