/* src/run/check.c - a checkpoint's facts asked from the engine, and the experiment of its quick check.
 *
 * The engine runs as a child with its answer in a pipe: one JSON line, or a message and an exit code.  Everything in
 * the answer that came from the file is text or numbers already checked by the engine's readers.
 *
 * Settings of the check: assets/check.ini (an attack of small networks), then one target, undefended as far as we know;
 * every recognised setting of the architecture; some twenty people; and a time for all of it, to which the engine fits
 * epochs and iterations once it has timed some steps (budget.c). */
#include "midre/check.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "midre/assets.h"
#include "midre/defaults.h"
#include "midre/workspace.h"

extern char **environ;

#define ANSWER_MAX  (1u << 20)
#define PEOPLE      20 /* attacked at most */
#define ATTACKED_AT 64 /* px at most, the published size of these attacks; a larger GAN takes longer than a check */
#define ENTRIES_MAX 192

void mi_check_facts_free(struct mi_check_facts *f) {
    free(f->text);
    free(f->data);
    free(f->model);
    json_decref(f->settings);
    *f = (struct mi_check_facts){0};
}

/* ---- asking the engine ------------------------------------------------------------------------------------------ */

/* All a child writes, NUL-terminated; NULL when it is too much. */
static char *drain(int fd) {
    size_t n = 0, room = 0;
    char *text = NULL;
    for (;;) {
        if (n + 4097 > room) {
            char *more = room < ANSWER_MAX ? realloc(text, room = n + 65536) : NULL;
            if (!more) {
                free(text);
                return NULL;
            }
            text = more;
        }
        ssize_t got = read(fd, text + n, 4096);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return text;
}

/* Runs the engine; standard output and error come back in one text. */
static char *ask(char *const argv[], int *code) {
    int fd[2], w = 0;
    if (pipe2(fd, O_CLOEXEC) != 0) {
        mi_fail(MI_E_INTERNAL, "no pipe to ask the engine: %s", strerror(errno));
        return NULL;
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, fd[1], 1);
    posix_spawn_file_actions_adddup2(&files, fd[1], 2);
    pid_t pid = 0;
    int rc = posix_spawn(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    close(fd[1]);
    char *text = rc == 0 ? drain(fd[0]) : NULL;
    close(fd[0]);
    if (rc != 0) {
        mi_fail(MI_E_MISSING, "cannot start %s: %s", argv[0], strerror(rc));
        return NULL;
    }
    /* A screen reaps all its children; then the answer itself tells how it went. */
    *code = waitpid(pid, &w, 0) == pid ? (WIFEXITED(w) ? WEXITSTATUS(w) : 70) : -1;
    if (!text) mi_fail(MI_E_NOMEM, "the engine's answer about the file is too long");
    return text;
}

static json_t *recognise(const struct mi_check *c) {
    char size[16], classes[16], *engine = mi_engine_path(), *file = mi_path_resolve(NULL, c->file);
    char *argv[12] = {engine, (char *)"recognise", file};
    int n = 3, code = 0;
    snprintf(size, sizeof size, "%d", c->size);
    snprintf(classes, sizeof classes, "%d", c->classes);
    if (c->arch) argv[n++] = (char *)"--arch", argv[n++] = (char *)(uintptr_t)c->arch;
    if (c->size) argv[n++] = (char *)"--size", argv[n++] = size;
    if (c->classes) argv[n++] = (char *)"--classes", argv[n++] = classes;
    if (c->head_may_differ) argv[n++] = (char *)"--head-may-differ";
    char *text = engine && file ? ask(argv, &code) : NULL, *line = text ? strstr(text, "{\"file\"") : NULL;
    json_t *j = line ? json_loads(line, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    if (text && !j) {
        text[strcspn(text, "\n")] = '\0';
        if (*text) mi_fail(mi_status_of_exit(code), "%s", text);
        else mi_fail(MI_E_INTERNAL, "midre-engine broke down over %s (code %d): a defect of midre", c->file, code);
    }
    free(text);
    free(engine);
    free(file);
    return j;
}

/* ---- facts ---------------------------------------------------------------------------------------------------- */

static const char *word(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}
static long long whole(const json_t *j, const char *key) {
    return (long long)json_integer_value(json_object_get(j, key));
}
static bool yes(const json_t *j, const char *key) {
    return json_is_true(json_object_get(j, key));
}

static char *describe(const json_t *j, const json_t *best) {
    const char *prefix = word(j, "prefix");
    char *names = *prefix ? mi_format("names behind \"%s\"", prefix) : mi_strdup("plain names");
    char *text = NULL;
    if (names && yes(best, "fits"))
        text =
            mi_format("architecture  %s (%s)\nclasses       %lld%s\nresolution    %lld px, %s\nparameters    %lld, %s, "
                      "%lld tensors\nfile          %s\n",
                      word(best, "model"), word(best, "title"), whole(best, "classes"),
                      yes(best, "head_fits") ? "" : " in a head that does not fit: it is left out", whole(best, "size"),
                      yes(best, "size_known") ? "as the file's shapes say" : "assumed: no layer depends on it",
                      whole(j, "parameters"), word(j, "dtype"), whole(j, "tensors"), names);
    else if (names)
        text = mi_format("file          %lld tensors, %lld numbers, %s, %s\nnearest       %s, %.0f %% alike\n%s",
                         whole(j, "tensors"), whole(j, "elements"), word(j, "dtype"), names, word(best, "model"),
                         100 * json_number_value(json_object_get(best, "likeness")), word(j, "difference"));
    free(names);
    return text;
}

enum mi_status mi_check_recognise(const struct mi_check *c, struct mi_check_facts *f) {
    *f = (struct mi_check_facts){0};
    json_t *j = recognise(c);
    if (!j) return mi_error_status();
    const json_t *best = json_array_get(json_object_get(j, "candidates"), 0);
    const char *told = word(j, "data"), *data = c->data ? c->data : told;
    size_t n;
    const struct mi_entry *const *known = mi_catalogue(MI_KIND_DATA, &n);
    bool have = c->data != NULL;
    for (size_t i = 0; i < n && !have; i++) have = strcmp(known[i]->name, told) == 0;
    f->text = describe(j, best);
    f->model = mi_strdup(word(best, "model"));
    f->data = have ? mi_strdup(data) : NULL;
    f->classes = (int)whole(best, "classes");
    f->size = (int)whole(best, "size");
    f->settings = json_incref(json_object_get(best, "settings"));
    enum mi_status st = f->text && f->model && (f->data || !have) ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK && !yes(best, "fits")) {
        bool alike = json_number_value(json_object_get(best, "likeness")) > 0.5;
        st = mi_fail(MI_E_INPUT, "%s does not fit %s%s%s", c->file, c->arch ? c->arch : "any architecture",
                     c->arch ? ""
                     : alike ? "; the nearest is "
                             : "",
                     c->arch || !alike ? "" : f->model);
    }
    json_decref(j);
    return st;
}

/* ---- the experiment --------------------------------------------------------------------------------------------- */

struct words {
    char *item[ENTRIES_MAX];
    size_t n;
    bool full;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *fmt, ...) {
    char text[4200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text || w->n == ENTRIES_MAX || !(w->item[w->n] = mi_strdup(text)))
        w->full = true;
    else
        w->n++;
}

/* Every setting of a section that is not empty. */
static void add_section(struct words *w, const struct mi_values *v, bool machine) {
    static const char *const kept[] = {"seed", "device", "precision", "threads", "deterministic"};
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++) {
        bool wanted = !machine;
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) wanted = wanted || strcmp(s->name, kept[i]) == 0;
        const char *text = mi_values_text(v, s->name);
        if (wanted && *text) add(w, "%s.%s=%s", mi_values_section(v), s->name, text);
    }
}

static void add_base(struct words *w, const struct mi_spec *base, const char *data) {
    add_section(w, base->section[MI_SEC_RUN], true);
    add_section(w, base->section[MI_SEC_PRETRAIN], false); /* of the judge, if it is pretrained */
    add_section(w, base->section[MI_SEC_JUDGE], false);
    const struct mi_values *own = mi_spec_entry(base, MI_KIND_DATA, data);
    if (own) add_section(w, own, false);
    const char *pub = mi_values_text(base->section[MI_SEC_DATA], "public");
    if (*pub) add(w, "data.public=%s", pub);
}

struct mi_spec *mi_check_spec(const struct mi_check *c, const struct mi_check_facts *f) {
    struct words w = {.n = 0};
    char *file = mi_path_resolve(NULL, c->file), *sized = mi_assets_path("check.ini");
    const char *slash = file ? strrchr(file, '/') : NULL, *key;
    json_t *value;
    if (!file || !sized) {
        free(file);
        free(sized);
        return NULL;
    }
    if (c->base && f->data) add_base(&w, c->base, f->data);
    add(&w, "run.name=check %s", slash ? slash + 1 : file);
    add(&w, "run.minutes=%g", c->minutes > 0 ? c->minutes : 5);
    add(&w, "data.name=%s", f->data ? f->data : "");
    add(&w, "data.size=%d", f->size);
    add(&w, "target.model=%s", f->model);
    add(&w, "target.checkpoint=%s", file);
    add(&w, "target.head_may_differ=%s", c->head_may_differ ? "yes" : "no");
    add(&w, "defense.name=none");
    add(&w, "attack.identities=%d", f->classes < PEOPLE ? f->classes : PEOPLE);
    add(&w, "attack.size=%d", f->size >= ATTACKED_AT ? ATTACKED_AT : ATTACKED_AT / 2);
    json_object_foreach(f->settings, key, value) add(&w, "model.%s.%s=%s", f->model, key, json_string_value(value));
    for (size_t i = 0; i < c->n_words; i++) add(&w, "%s", c->words[i]);
    struct mi_spec *spec = NULL;
    if (w.full)
        mi_fail(MI_E_INPUT, "too many or too long settings for a check");
    else
        spec = mi_spec_load(sized, (const char *const *)w.item, w.n);
    if (spec && mi_defaults_apply(spec) != MI_OK) {
        mi_spec_free(spec);
        spec = NULL;
    }
    for (size_t i = 0; i < w.n; i++) free(w.item[i]);
    free(file);
    free(sized);
    return spec;
}
