/* spec_write.c - the resolved spec as ini text, in one canonical order.
 *
 * A run keeps this text: all fixed sections whole, then every catalogue entry the run uses, and of the others only
 * what differs from the defaults.  Reading it back gives an equal spec, also after defaults of a later version have
 * changed for the settings that matter. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/run/spec_priv.h"

/* Quoted when an ini reader could take any part of it for a comment, a quote or padding. */
static void write_setting(FILE *out, const char *key, const char *text) {
    size_t n = strlen(text);
    bool plain = n > 0 && !isspace((unsigned char)text[0]) && !isspace((unsigned char)text[n - 1]) &&
                 strcspn(text, "#;\"'\\=[") == n;
    char quote = strchr(text, '"') ? '\'' : '"';
    if (n == 0)
        fprintf(out, "%s =\n", key);
    else if (plain)
        fprintf(out, "%s = %s\n", key, text);
    else
        fprintf(out, "%s = %c%s%c\n", key, quote, text, quote);
}

/* Writes a section; `all` false: only settings that differ from their defaults, and no section without any. */
static enum mi_status write_section(FILE *out, const struct mi_values *v, bool all) {
    const struct mi_setting *settings = mi_values_settings(v);
    struct mi_values *defaults = mi_values_new(mi_values_section(v), settings);
    if (!defaults) return mi_error_status();
    bool headed = false;
    for (const struct mi_setting *s = settings; s && s->name; s++) {
        const char *text = mi_values_text(v, s->name);
        if (!all && strcmp(text, mi_values_text(defaults, s->name)) == 0) continue;
        if (!headed) fprintf(out, "%s[%s]\n", ftell(out) > 0 ? "\n" : "", mi_values_section(v));
        headed = true;
        write_setting(out, s->name, text);
    }
    mi_values_free(defaults);
    return MI_OK;
}

char *mi_spec_write(const struct mi_spec *spec) {
    char *text = NULL;
    size_t n = 0;
    enum mi_status status = MI_OK;
    FILE *out = open_memstream(&text, &n);
    if (!out) {
        mi_fail(MI_E_NOMEM, "out of memory writing a spec");
        return NULL;
    }
    for (int s = 0; s < MI_SEC_COUNT && status == MI_OK; s++) status = write_section(out, spec->section[s], true);
    for (int k = 0; k < MI_KIND_COUNT; k++) {
        for (size_t i = 0; i < spec->priv->n[k] && status == MI_OK; i++) {
            const struct mi_values *v = spec->priv->entry[k][i];
            const char *name = strchr(mi_values_section(v), '.') + 1;
            status = write_section(out, v, mi_spec_uses(spec, (enum mi_kind)k, name));
        }
    }
    if (fclose(out) != 0 && status == MI_OK) status = mi_fail(MI_E_NOMEM, "out of memory writing a spec");
    if (status == MI_OK) return text;
    free(text);
    return NULL;
}
