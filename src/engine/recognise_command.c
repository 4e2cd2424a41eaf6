/* src/engine/recognise_command.c - `midre-engine recognise FILE`: what a file of weights is, as one JSON line.
 *
 * `midre check` and the screens ask here before they make a run: the terminal program links no reader of checkpoints.
 * Facts of the file (tensors, element type, wrapping), the ranked architectures, and where none fits the difference to
 * the nearest one.  Exit code 0 also when nothing fits: "fits" of the first candidate says so. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "midre/recognise.h"

#define SHOWN 4 /* candidates in the answer */

static const char *dtype_word(mt_dtype t) {
    static const char *const words[] = {"f32", "f64", "bf16", "f16", "i64", "i32", "u8", "bool"};
    return words[t];
}

static json_t *candidate(const struct mi_candidate *c) {
    json_t *j = json_pack("{s:s, s:s, s:b, s:b, s:i, s:b, s:i, s:b, s:i, s:i, s:i, s:i, s:f}", "model",
                          c->desc->info.name, "title", c->desc->info.title, "fits", (int)c->fits, "head_fits",
                          (int)c->head_fits, "classes", c->classes, "classes_known", (int)c->classes_known, "size",
                          c->size, "size_known", (int)c->size_known, "keys", c->keys, "missing", c->missing,
                          "unexpected", c->unexpected, "reshaped", c->reshaped, "likeness", c->likeness);
    json_t *settings = json_object();
    for (const struct mi_setting *s = mi_values_settings(c->values); s && s->name; s++)
        json_object_set_new(settings, s->name, json_string(mi_values_text(c->values, s->name)));
    if (j) json_object_set_new(j, "settings", settings);
    return j;
}

/* Elements that are weights: of the network's parameters, buffers left out. */
static json_int_t parameters(const struct mi_candidate *c) {
    mt_scope *scope = mt_scope_begin("parameters");
    struct mi_params *ps = mi_model_shapes(c->desc, c->values, c->classes, c->size);
    json_int_t n = ps ? (json_int_t)mi_params_count(ps, false) : 0;
    mi_params_free(ps);
    if (mt_scope_end(scope) != MI_OK || !ps) mi_error_clear();
    return n;
}

static enum mi_status answer(const char *path, mt_archive *a, const struct mi_wish *wish) {
    struct mi_recognition r;
    MI_TRY(mi_recognise(a, wish, &r));
    json_t *list = json_array();
    for (int i = 0; i < r.n && i < SHOWN; i++) json_array_append_new(list, candidate(&r.best[i]));
    json_t *j = json_pack("{s:s, s:i, s:I, s:s, s:s, s:o}", "file", path, "tensors", r.tensors, "elements",
                          (json_int_t)r.elements, "dtype", dtype_word(r.dtype), "prefix", r.prefix ? r.prefix : "",
                          "candidates", list);
    static const char *const told[] = {"data", "defense", "acc"}; /* what a file of this program says of itself */
    for (size_t i = 0; j && i < sizeof told / sizeof *told; i++)
        if (mt_archive_meta(a, told[i])) json_object_set_new(j, told[i], json_string(mt_archive_meta(a, told[i])));
    if (j && r.best[0].fits) json_object_set_new(j, "parameters", json_integer(parameters(&r.best[0])));
    if (j && !r.best[0].fits) {
        char *diff = mi_recognition_diff(a, &r.best[0], wish->head_may_differ);
        if (diff) json_object_set_new(j, "difference", json_string(diff));
        free(diff);
    }
    char *text = j ? json_dumps(j, JSON_REAL_PRECISION(4)) : NULL;
    enum mi_status st = text && puts(text) >= 0 ? MI_OK : mi_fail(MI_E_NOMEM, "cannot print what %s is", path);
    free(text);
    json_decref(j);
    mi_recognition_free(&r);
    return st;
}

int recognise_command(int argc, char **argv) {
    static const struct option options[] = {{"arch", required_argument, NULL, 'a'},
                                            {"size", required_argument, NULL, 's'},
                                            {"classes", required_argument, NULL, 'c'},
                                            {"head-may-differ", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct mi_wish wish = {0};
    const char *path = argc > 0 ? argv[0] : NULL;
    bool usage = !path;
    optind = 1;
    for (int c; path && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'a') wish.arch = optarg;
        if (c == 's') wish.size = atoi(optarg);
        if (c == 'c') wish.classes = atoi(optarg);
        if (c == 'h') wish.head_may_differ = true;
        usage = usage || c == '?';
    }
    if (usage) {
        fprintf(stderr,
                "usage: midre-engine recognise FILE [--arch A] [--size PX] [--classes N] [--head-may-differ]\n");
        return mi_exit_code(MI_E_USAGE);
    }
    enum mi_status st = mt_init(0);
    mt_archive *a = st == MI_OK ? mt_archive_open(path) : NULL;
    if (!a) st = mi_error_status();
    if (st == MI_OK) st = answer(path, a, &wish);
    if (a) mt_archive_close(a);
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    return mi_exit_code(st);
}
