/* values.c - the settings of one section: defaults, then validated overrides, then read-only answers.
 *
 * A value is stored twice: as the number the program asks for and as canonical text ("0.0001", "yes"), so that equal
 * settings always hash and print the same however they were typed.  Numbers are read and written in the C locale:
 * the terminal program runs under the person's locale, where strtod would expect a decimal comma.
 *
 * A mi_values owns its texts; the setting list is static and borrowed. */
#include "midre/entry.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 128 /* names offered to the did-you-mean search */
#define TEXT_MAX  900 /* bytes of a text value; a settings line holds 1000 */

struct value {
    char *text;      /* canonical */
    int64_t integer; /* MI_INT, MI_BOOL (0/1), MI_CHOICE (index) */
    double real;     /* MI_REAL */
};

struct mi_values {
    char *section;
    const struct mi_setting *settings;
    struct value *value; /* one per setting, same order */
    size_t n;
};

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t get_c_locale(void) {
    pthread_once(&c_locale_once, make_c_locale);
    return c_locale;
}

/* The shortest decimal text that reads back as the same double. */
static void write_real(char out[40], double x) {
    locale_t before = uselocale(get_c_locale());
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, 40, "%.*g", digits, x);
        if (strtod_l(out, NULL, get_c_locale()) == x) break;
    }
    uselocale(before);
}

/* ---- one value ------------------------------------------------------------------------------------------ */

static enum mi_status bad_value(const char *section, const struct mi_setting *s, const char *text, const char *want) {
    return mi_fail(MI_E_INPUT, "[%s] %s = \"%.80s\": expected %s%s%s", section, s->name, text, want, s->unit ? " " : "",
                   s->unit ? s->unit : "");
}

static enum mi_status bad_number(const char *section, const struct mi_setting *s, const char *text) {
    char lo[40], hi[40], want[128];
    write_real(lo, s->min);
    write_real(hi, s->max);
    snprintf(want, sizeof want, "a %s in %s..%s", s->type == MI_INT ? "whole number" : "number", lo, hi);
    return bad_value(section, s, text, want);
}

static enum mi_status parse_int(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (end == text || *end || errno || (double)x < s->min || (double)x > s->max) return bad_number(section, s, text);
    v->integer = x;
    v->real = (double)x;
    v->text = mi_format("%lld", x);
    return v->text ? MI_OK : MI_E_NOMEM;
}

static enum mi_status parse_real(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    char *end, canonical[40];
    double x = strtod_l(text, &end, get_c_locale());
    if (end == text || *end || !isfinite(x) || x < s->min || x > s->max) return bad_number(section, s, text);
    v->real = x == 0 ? 0 : x; /* no negative zero: it would print, and hash, differently */
    write_real(canonical, v->real);
    v->text = mi_strdup(canonical);
    return v->text ? MI_OK : MI_E_NOMEM;
}

static enum mi_status parse_bool(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    static const char *const words[2][4] = {{"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};
    for (int truth = 0; truth < 2; truth++) {
        for (int i = 0; i < 4; i++) {
            if (strcasecmp(text, words[truth][i]) != 0) continue;
            v->integer = truth;
            v->text = mi_strdup(words[truth][0]);
            return v->text ? MI_OK : MI_E_NOMEM;
        }
    }
    return bad_value(section, s, text, "yes or no");
}

static enum mi_status parse_choice(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    size_t length = strlen(text);
    const char *word = s->choices;
    for (int index = 0; *word; index++) {
        size_t n = strcspn(word, "|");
        if (n == length && strncasecmp(word, text, n) == 0) {
            v->integer = index;
            v->text = mi_format("%.*s", (int)n, word);
            return v->text ? MI_OK : MI_E_NOMEM;
        }
        word += n + (word[n] == '|');
    }
    char want[256];
    snprintf(want, sizeof want, "one of %s", s->choices);
    return bad_value(section, s, text, want);
}

/* Text must survive being written to a settings file and read back: one line of bounded length, and an ini value
 * can be put in one kind of quotes only. */
static enum mi_status parse_text(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    if (strlen(text) > TEXT_MAX) return bad_value(section, s, text, "text of at most 900 bytes");
    if (strchr(text, '"') && strchr(text, '\''))
        return bad_value(section, s, text, "text without both kinds of quotes");
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f) return bad_value(section, s, text, "text without control characters");
    v->text = mi_strdup(text);
    return v->text ? MI_OK : MI_E_NOMEM;
}

static enum mi_status parse_value(const char *section, const struct mi_setting *s, const char *text, struct value *v) {
    *v = (struct value){0};
    switch (s->type) {
    case MI_INT:
        return parse_int(section, s, text, v);
    case MI_REAL:
        return parse_real(section, s, text, v);
    case MI_BOOL:
        return parse_bool(section, s, text, v);
    case MI_CHOICE:
        return parse_choice(section, s, text, v);
    case MI_TEXT:
    case MI_PATH:
        return parse_text(section, s, text, v);
    }
    return mi_fail(MI_E_INTERNAL, "[%s] %s has an unknown type", section, s->name);
}

/* ---- the list ------------------------------------------------------------------------------------------- */

struct mi_values *mi_values_new(const char *section, const struct mi_setting *settings) {
    struct mi_values *v = mi_calloc(1, sizeof *v);
    if (!v) return NULL;
    v->settings = settings;
    while (settings && settings[v->n].name) v->n++;
    v->section = mi_strdup(section);
    v->value = mi_calloc(v->n, sizeof *v->value);
    if (!v->section || !v->value) goto fail;
    for (size_t i = 0; i < v->n; i++) {
        if (parse_value(section, &settings[i], settings[i].def, &v->value[i]) != MI_OK) {
            mi_fail_context("default of a setting");
            goto fail;
        }
    }
    return v;
fail:
    mi_values_free(v);
    return NULL;
}

void mi_values_free(struct mi_values *v) {
    if (!v) return;
    for (size_t i = 0; v->value && i < v->n; i++) free(v->value[i].text);
    free(v->value);
    free(v->section);
    free(v);
}

static struct value *find_value(const struct mi_values *v, const char *name) {
    for (size_t i = 0; i < v->n; i++)
        if (strcmp(v->settings[i].name, name) == 0) return &v->value[i];
    return NULL;
}

static enum mi_status no_such_setting(const struct mi_values *v, const char *name) {
    const char *names[NAMES_MAX] = {NULL};
    size_t n = 0;
    for (; n < v->n && n < NAMES_MAX; n++) names[n] = v->settings[n].name;
    const char *nearest = mi_nearest(name, names, n);
    if (nearest)
        return mi_fail(MI_E_INPUT, "[%s] has no setting \"%.60s\"; did you mean \"%s\"?", v->section, name, nearest);
    if (n == 0) return mi_fail(MI_E_INPUT, "[%s] has no settings, so no \"%.60s\"", v->section, name);
    char all[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < n && used + strlen(names[i]) + 3 < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    return mi_fail(MI_E_INPUT, "[%s] has no setting \"%.60s\"; it has %s", v->section, name, all);
}

enum mi_status mi_values_set(struct mi_values *v, const char *name, const char *text) {
    struct value *slot = find_value(v, name), fresh;
    if (!slot) return no_such_setting(v, name);
    MI_TRY(parse_value(v->section, &v->settings[slot - v->value], text, &fresh));
    free(slot->text);
    *slot = fresh;
    return MI_OK;
}

/* ---- answers -------------------------------------------------------------------------------------------- */

/* A name or type the list does not have is a defect of the caller, found by the first test that runs the line. */
static const struct value *must_find(const struct mi_values *v, const char *name, unsigned types) {
    static const struct value nothing = {.text = (char *)(uintptr_t) ""};
    const struct value *slot = find_value(v, name);
    bool good = slot && (types >> v->settings[slot - v->value].type & 1u);
    if (!good) fprintf(stderr, "midre: defect: [%s] was asked for \"%s\"\n", v->section, name);
    assert(good);
    return good ? slot : &nothing;
}

int64_t mi_values_int(const struct mi_values *v, const char *name) {
    return must_find(v, name, 1u << MI_INT)->integer;
}

double mi_values_real(const struct mi_values *v, const char *name) {
    return must_find(v, name, 1u << MI_REAL | 1u << MI_INT)->real;
}

bool mi_values_bool(const struct mi_values *v, const char *name) {
    return must_find(v, name, 1u << MI_BOOL)->integer != 0;
}

const char *mi_values_text(const struct mi_values *v, const char *name) {
    return must_find(v, name, ~0u)->text;
}

int mi_values_choice(const struct mi_values *v, const char *name) {
    return (int)must_find(v, name, 1u << MI_CHOICE)->integer;
}

bool mi_values_has(const struct mi_values *v, const char *name) {
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++)
        if (strcmp(s->name, name) == 0) return true;
    return false;
}

const struct mi_setting *mi_values_settings(const struct mi_values *v) {
    return v ? v->settings : NULL; /* an entry without settings has no values either */
}

const char *mi_values_section(const struct mi_values *v) {
    return v->section;
}
