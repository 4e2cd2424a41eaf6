/* view.c - a run's state rebuilt from its journal: reading, dispatch, and what concerns the run as a whole.
 *
 * Feeding is incremental: mi_view_update takes the new lines and changes the plain data screens draw from.  The same
 * journal always gives the same view, wherever and whenever it is read.  Events a later version may add are passed
 * over; lines that are no events, and lines of a later schema version, are counted and never break anything.
 *
 * A view owns all its texts and arrays; pointers into it are good until the next update.  One thread. */
#include "midre/view.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "midre/workspace.h"
#include "src/run/view_priv.h"

/* ---- reading events ------------------------------------------------------------------------------------- */

/* Length of the control character at c (2 for a C1 control, C2 80..9F in UTF-8), or 0. */
static int control_at(const unsigned char *c) {
    if (*c < 0x20 || *c == 0x7f) return 1;
    return *c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f ? 2 : 0;
}

const char *mi_event_name(const json_t *event, const char *key) {
    const char *text = json_string_value(json_object_get(event, key));
    if (!text || !*text) return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (control_at(c)) return NULL;
    return text;
}

bool mi_event_text(const json_t *event, const char *key, char **text) {
    const char *value = json_string_value(json_object_get(event, key));
    if (!value || (*text && strcmp(*text, value) == 0)) return true;
    char *copy = mi_strdup(value);
    if (!copy) return false;
    for (unsigned char *c = (unsigned char *)copy; *c; c++)
        for (int n = control_at(c); n > 0; n--) c[n - 1] = ' ';
    free(*text);
    *text = copy;
    return true;
}

double mi_event_real(const json_t *event, const char *key, double missing) {
    const json_t *value = json_object_get(event, key);
    return json_is_number(value) ? json_number_value(value) : missing;
}

int64_t mi_event_int(const json_t *event, const char *key, int64_t low, int64_t high, int64_t missing) {
    const json_t *value = json_object_get(event, key);
    if (json_is_real(value)) { /* 12.0 is a whole number too */
        double x = json_real_value(value);
        if (!(fabs(x) < 9e15) || x != floor(x) || x < (double)low || x > (double)high) return missing;
        return (int64_t)x;
    }
    if (!json_is_integer(value)) return missing;
    json_int_t x = json_integer_value(value);
    return x >= low && x <= high ? x : missing;
}

bool mi_event_bool(const json_t *event, const char *key, bool missing) {
    const json_t *value = json_object_get(event, key);
    return json_is_boolean(value) ? json_is_true(value) : missing;
}

void *mi_view_grow(void *items, size_t n, size_t size) {
    if (n > 0 && n < 8) return items;
    if (n & (n - 1)) return items; /* not a power of two: the array reaches to the next one */
    void *more = realloc(items, (n ? 2 * n : 8) * size);
    if (!more) mi_fail(MI_E_NOMEM, "out of memory reading a journal");
    return more;
}

/* ---- events of the whole run ---------------------------------------------------------------------------- */

static bool set_text(char **text, const char *value) {
    char *copy = value ? mi_strdup(value) : NULL;
    if (value && !copy) return false;
    free(*text);
    *text = copy;
    return true;
}

/* The first line of a session.  The first session starts the run; a later one resumes it with what is known. */
static enum mi_applied apply_run(struct mi_run_view *v, const json_t *e) {
    if (isnan(v->started)) v->started = mi_event_real(e, "at", NAN);
    v->pid = (int)mi_event_int(e, "pid", 1, INT32_MAX, 0);
    v->threads = (int)mi_event_int(e, "threads", 0, INT32_MAX, 0);
    v->seed = mi_event_int(e, "seed", INT64_MIN, INT64_MAX, 0);
    v->synthetic = mi_event_bool(e, "synthetic", false);
    if (!mi_event_text(e, "id", &v->id) || !mi_event_text(e, "name", &v->name) ||
        !mi_event_text(e, "version", &v->version) || !mi_event_text(e, "torch", &v->torch) ||
        !mi_event_text(e, "device", &v->device) || !mi_event_text(e, "precision", &v->precision) ||
        !set_text(&v->state, "running") || !set_text(&v->error, NULL))
        return MI_NO_MEMORY;
    enum mi_applied cells = mi_view_apply_cells(v, json_object_get(e, "cells"));
    enum mi_applied stages = mi_view_apply_stages(v, json_object_get(e, "stages"));
    return cells != MI_APPLIED ? cells : stages;
}

static enum mi_applied apply_state(struct mi_run_view *v, const json_t *e) {
    static const char *const words[] = {"running", "paused", "stopped", "done", "failed"};
    const char *word = mi_event_name(e, "state");
    size_t w = 0;
    while (word && w < 5 && strcmp(words[w], word) != 0) w++;
    if (!word || w == 5) return MI_MALFORMED;
    if (w >= 2) mi_view_rest_stages(v);
    return set_text(&v->state, word) && mi_event_text(e, "error", &v->error) ? MI_APPLIED : MI_NO_MEMORY;
}

static enum mi_applied apply_load(struct mi_run_view *v, const json_t *e) {
    v->cpu = mi_event_real(e, "cpu", NAN);
    v->rss_mb = mi_event_real(e, "rss_mb", NAN);
    v->gpu = mi_event_real(e, "gpu", NAN);
    v->gpu_mem_mb = mi_event_real(e, "gpu_mem_mb", NAN);
    v->gpu_mem_total_mb = mi_event_real(e, "gpu_mem_total_mb", NAN);
    return MI_APPLIED;
}

/* run->log is a window of at most MI_VIEW_LOG_MAX lines that moves through twice as many places. */
static enum mi_applied append_log(struct mi_run_view *v, struct mi_log_view line) {
    struct mi_view_private *p = v->priv;
    if (!line.text) return MI_NO_MEMORY;
    if (v->n_log == MI_VIEW_LOG_MAX) {
        free(v->log[0].text);
        v->log++;
        v->n_log--;
    }
    if (v->log + v->n_log == p->log_base + 2 * (size_t)MI_VIEW_LOG_MAX) {
        memmove(p->log_base, v->log, v->n_log * sizeof *v->log);
        v->log = p->log_base;
    }
    v->log[v->n_log++] = line;
    return MI_APPLIED;
}

static enum mi_applied apply_log(struct mi_run_view *v, const json_t *e) {
    struct mi_log_view line = {.at = mi_event_real(e, "at", NAN), .level = 'i'};
    const char *level = mi_event_name(e, "level");
    if (!level || !json_is_string(json_object_get(e, "text"))) return MI_MALFORMED;
    if (*level == 'w' || *level == 'e') line.level = *level;
    return mi_event_text(e, "text", &line.text) ? append_log(v, line) : MI_NO_MEMORY;
}

/* ---- dispatch ------------------------------------------------------------------------------------------- */

static enum mi_applied apply(struct mi_run_view *v, const json_t *e) {
    static const struct {
        const char *type;
        enum mi_applied (*apply)(struct mi_run_view *v, const json_t *event);
    } types[] = {
        {"scalars", mi_view_apply_scalars},
        {"progress", mi_view_apply_progress},
        {"recon", mi_view_apply_recon},
        {"load", apply_load},
        {"log", apply_log},
        {"stage", mi_view_apply_stage},
        {"atlas", mi_view_apply_atlas},
        {"rewind", mi_view_apply_rewind},
        {"score", mi_view_apply_score},
        {"state", apply_state},
        {"run", apply_run},
    };
    if (mi_event_int(e, "v", 1, MI_JOURNAL_VERSION, -1) < 0) {
        if (json_is_integer(json_object_get(e, "v")) && !v->priv->warned_newer) {
            v->priv->warned_newer = true;
            char *text = mi_strdup("written by another version of midre: lines it does not share are left out");
            append_log(v, (struct mi_log_view){.at = mi_event_real(e, "at", NAN), .level = 'w', .text = text});
        }
        return MI_MALFORMED;
    }
    const char *type = json_string_value(json_object_get(e, "t"));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].type, type) == 0) return types[i].apply(v, e);
    return MI_APPLIED; /* an event of a later version with the same schema number */
}

static bool take_event(const json_t *event, void *user) {
    struct mi_run_view *v = user;
    enum mi_applied applied = apply(v, event);
    v->updated = mi_event_real(event, "at", v->updated);
    if (applied == MI_MALFORMED) v->priv->malformed++;
    if (applied == MI_NO_MEMORY) v->priv->status = mi_fail(MI_E_NOMEM, "out of memory reading a journal");
    v->priv->taken++;
    return applied != MI_NO_MEMORY;
}

/* ---- life ----------------------------------------------------------------------------------------------- */

struct mi_run_view *mi_view_open(const char *run_dir, int number) {
    if (!mi_exists(run_dir)) {
        mi_fail(MI_E_MISSING, "there is no run folder %s", run_dir);
        return NULL;
    }
    struct mi_run_view *v = mi_calloc(1, sizeof *v);
    struct mi_view_private *p = mi_calloc(1, sizeof *p);
    if (!v || !p) {
        free(v);
        free(p);
        return NULL;
    }
    v->priv = p;
    v->number = number;
    v->current = -1;
    v->started = v->updated = v->cpu = v->rss_mb = v->gpu = v->gpu_mem_mb = v->gpu_mem_total_mb = NAN;
    v->dir = mi_strdup(run_dir);
    char *journal = mi_path_join(run_dir, "journal.jsonl");
    p->log_base = mi_calloc(2 * (size_t)MI_VIEW_LOG_MAX, sizeof *p->log_base);
    v->log = p->log_base;
    p->reader = journal ? mi_journal_reader_open(journal) : NULL;
    free(journal);
    /* The folder is watched, not the file: the journal may not be there yet.  Without inotify a caller just polls. */
    p->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (p->inotify >= 0 && inotify_add_watch(p->inotify, run_dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        close(p->inotify);
        p->inotify = -1;
    }
    if (v->dir && p->log_base && p->reader) return v;
    mi_view_close(v);
    return NULL;
}

int mi_view_fd(const struct mi_run_view *v) {
    return v->priv->inotify;
}

static void drain(int fd) {
    char events[4096];
    ssize_t got = fd >= 0 ? 1 : 0;
    while (got > 0 || (got < 0 && errno == EINTR)) got = read(fd, events, sizeof events);
}

enum mi_status mi_view_update(struct mi_run_view *v, bool *changed) {
    struct mi_view_private *p = v->priv;
    size_t skipped = v->skipped_lines;
    drain(p->inotify); /* before reading: what is written from now on wakes the caller again */
    p->status = MI_OK;
    p->taken = 0;
    enum mi_status status = mi_journal_read(p->reader, take_event, v);
    if (status == MI_OK) status = p->status;
    if (status == MI_OK) status = mi_view_sort_recon(v);
    v->skipped_lines = mi_journal_skipped(p->reader) + p->malformed;
    if (changed) *changed = p->taken > 0 || v->skipped_lines != skipped;
    return status;
}

void mi_view_close(struct mi_run_view *v) {
    if (!v) return;
    char *texts[] = {v->dir, v->id, v->name, v->version, v->torch, v->device, v->precision, v->state, v->error};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) free(texts[i]);
    for (size_t i = 0; i < v->n_log; i++) free(v->log[i].text);
    mi_view_free_stages(v);
    mi_view_free_results(v);
    mi_journal_reader_close(v->priv->reader);
    if (v->priv->inotify >= 0) close(v->priv->inotify);
    free(v->priv->log_base);
    free(v->priv);
    free(v);
}
