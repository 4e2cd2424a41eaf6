/* src/run/defaults.c - midre.ini as a source of dataset paths.
 *
 * Only paths are taken: they say where files are, not what is computed, so an experiment stays reproducible from its
 * spec alone.  A key that is not a path setting of its dataset is an error with the nearest name; sections of other
 * kinds are left to whoever reads them ([workspace]: workspace.c). */
#include "midre/defaults.h"

#include <stdlib.h>
#include <string.h>

#include "midre/workspace.h"
#include "src/run/ini.h"

static const struct mi_setting *path_setting(const struct mi_entry *e, const char *key, const char *file) {
    const char *names[32];
    size_t n = 0;
    for (const struct mi_setting *s = e->settings; s && s->name; s++) {
        if (s->type != MI_PATH) continue;
        if (!strcmp(s->name, key)) return s;
        if (n < sizeof names / sizeof *names) names[n++] = s->name;
    }
    const char *near = mi_nearest(key, names, n);
    mi_fail(MI_E_INPUT, "%s: [data.%s] %s is not a path of this dataset%s%s%s", file, e->name, key,
            near ? ", did you mean \"" : "; other settings belong into the spec", near ? near : "", near ? "\"?" : "");
    return NULL;
}

/* `sink` is given every path of midre.ini: dataset, key, absolute path. */
typedef enum mi_status (*sink_fn)(const char *data, const char *key, const char *path, void *user);

static enum mi_status each_path(const struct mi_ini *ini, const char *file, sink_fn sink, void *user) {
    const char *slash = strrchr(file, '/');
    char *base = slash ? mi_format("%.*s", (int)(slash - file + 1), file) : NULL;
    if (slash && !base) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < ini->n && st == MI_OK; i++) {
        const struct mi_ini_item *it = &ini->item[i];
        if (strncmp(it->section, "data.", 5) != 0 || !*it->value) continue;
        const struct mi_entry *e = mi_catalogue_find(MI_KIND_DATA, it->section + 5);
        if (!e || !path_setting(e, it->key, file)) {
            st = mi_error_status();
            break;
        }
        char *path = mi_path_resolve(base, it->value);
        st = path ? sink(e->name, it->key, path, user) : MI_E_NOMEM;
        free(path);
    }
    free(base);
    return st;
}

static enum mi_status walk(sink_fn sink, void *user) {
    struct mi_ini ini = {0};
    char *file = mi_ini_user_path();
    if (!file) return mi_error_status();
    enum mi_status st = *file ? mi_ini_load(file, &ini) : MI_OK;
    if (st == MI_OK) st = each_path(&ini, file, sink, user);
    mi_ini_free(&ini);
    free(file);
    return st;
}

static enum mi_status into_spec(const char *data, const char *key, const char *path, void *user) {
    struct mi_spec *spec = user;
    const struct mi_values *v = mi_spec_entry(spec, MI_KIND_DATA, data);
    if (!v) return mi_error_status();
    if (*mi_values_text(v, key)) return MI_OK;
    char *section = mi_format("data.%s", data);
    enum mi_status st = section ? mi_spec_set(spec, section, key, path) : MI_E_NOMEM;
    free(section);
    return st;
}

enum mi_status mi_defaults_apply(struct mi_spec *spec) {
    return walk(into_spec, spec);
}

struct one {
    const char *name;
    struct mi_values *v;
};

static enum mi_status into_values(const char *data, const char *key, const char *path, void *user) {
    struct one *o = user;
    if (strcmp(data, o->name) != 0 || *mi_values_text(o->v, key)) return MI_OK;
    return mi_values_set(o->v, key, path);
}

enum mi_status mi_defaults_values(const char *name, struct mi_values *v) {
    return walk(into_values, &(struct one){.name = name, .v = v});
}
