/* src/engine/run.c - `midre-engine run RUN_DIR`: one engine session over one run folder.
 *
 * Takes the run's lock, reads spec.ini, opens journal and control socket, settles device, precision and threads (naming
 * each fallback in the journal), plans, runs the stages, and leaves a final state event whatever happened.  SIGTERM and
 * SIGINT mean what `midre stop` means: finish the step, write a checkpoint, end.  Owns everything in struct engine. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "loop_priv.h"

#ifndef MIDRE_VERSION
#define MIDRE_VERSION "0"
#endif

/* Signals can arrive on any thread, also on those libraries started before main: a handler writes a byte, a thread
 * turns it into a request. */
static int signal_pipe[2] = {-1, -1};

static void on_signal(int number) {
    int saved = errno;
    ssize_t n = write(signal_pipe[1], number == 0 ? "q" : "s", 1);
    (void)n; /* a full pipe already holds a stop */
    errno = saved;
}

static void *listen_signals(void *control) {
    for (char c; read(signal_pipe[0], &c, 1) == 1 && c == 's';) mi_control_request(control, MI_REQ_STOP);
    return NULL;
}

static bool signals_start(struct mi_control *control, pthread_t *thread) {
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if (pipe2(signal_pipe, O_CLOEXEC) != 0 || pthread_create(thread, NULL, listen_signals, control) != 0) return false;
    return sigaction(SIGTERM, &act, NULL) == 0 && sigaction(SIGINT, &act, NULL) == 0;
}

static void signals_stop(pthread_t thread) {
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    on_signal(0);
    pthread_join(thread, NULL);
    close(signal_pipe[0]);
    close(signal_pipe[1]);
}

/* WORKSPACE/runs/NNNN -> workspace and number. */
static enum mi_status locate(struct engine *e, const char *dir) {
    char *full = realpath(dir, NULL);
    if (!full) return mi_fail(MI_E_MISSING, "run folder %s: %s", dir, strerror(errno));
    e->run_dir = full;
    char *root = mi_strdup(full);
    if (!root) return MI_E_NOMEM;
    char *last = strrchr(root, '/');
    e->number = last ? atoi(last + 1) : 0;
    if (last) *last = '\0';
    char *runs = strrchr(root, '/');
    enum mi_status st = MI_OK;
    if (!runs || strcmp(runs, "/runs") != 0 || e->number < 1)
        st = mi_fail(MI_E_USAGE, "%s is not a run folder (WORKSPACE/runs/NNNN)", dir);
    if (st == MI_OK) {
        *runs = '\0';
        st = mi_workspace_open(&e->ws, root);
    }
    free(root);
    return st;
}

static enum mi_status open_files(struct engine *e) {
    char *spec = mi_path_join(e->run_dir, "spec.ini"), *journal = mi_path_join(e->run_dir, "journal.jsonl");
    enum mi_status st = spec && journal ? mi_run_lock(&e->ws, e->number, &e->lock_fd) : MI_E_NOMEM;
    if (st == MI_OK && !(e->journal = mi_journal_open(journal))) st = mi_error_status();
    if (st == MI_OK && !(e->spec = mi_spec_load(spec, NULL, 0))) st = mi_error_status();
    if (st == MI_OK && !(e->control = mi_control_serve(e->run_dir))) st = mi_error_status();
    free(spec);
    free(journal);
    return st;
}

static enum mi_status settle_machine(struct engine *e) {
    const struct mi_values *run = e->spec->section[MI_SEC_RUN];
    const char *device = mi_values_text(run, "device"), *precision = mi_values_text(run, "precision");
    MI_TRY(mt_init((int)mi_values_int(run, "threads")));
    MI_TRY(mt_device_parse(device, &e->device));
    MI_TRY(mt_device_use(e->device));
    mt_device_name(e->device, e->device_name, sizeof(e->device_name));
    e->seed = (uint64_t)mi_values_int(run, "seed");
    mt_set_deterministic(mi_values_bool(run, "deterministic"));
    mt_set_tf32(true);
    bool fast = e->device.type == 1 || mt_cpu_bf16_fast();
    bool bf16 = strcmp(precision, "bf16") == 0 || (strcmp(precision, "auto") == 0 && fast);
    e->precision = bf16 ? MT_BF16 : MT_F32;
    if (strcmp(device, "auto") == 0 && e->device.type == 0)
        mi_journal_log(e->journal, "warn", "device auto: no usable GPU (%s); computing on %s",
                       mt_built_with_cuda() ? "none found" : "this build has no CUDA", e->device_name);
    if (strcmp(precision, "auto") == 0)
        mi_journal_log(e->journal, "info", "precision auto: %s",
                       bf16 ? "bf16 with fp32 master weights" : "fp32, bf16 is slow on this processor");
    else if (bf16 && !fast)
        mi_journal_log(e->journal, "warn", "bf16 is emulated on this processor: fp32 is faster here");
    return MI_OK;
}

static json_t *describe_cells(const struct engine *e) {
    json_t *list = json_array();
    for (size_t i = 0; i < e->spec->n_cells; i++) {
        const struct mi_cell *c = &e->spec->cells[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", c->id, "model", c->model, "defense",
                                              c->defense, "label", c->label, "attack", c->attack));
    }
    return list;
}

static json_t *describe_stages(const struct engine *e) {
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_stages; i++) {
        const struct stage *s = e->stages[i];
        if (!s->wanted) continue;
        json_t *cells = json_array();
        for (size_t k = 0; k < s->n_cells; k++)
            json_array_append_new(cells, json_string(e->spec->cells[s->cells[k]].id));
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "id", s->id, "kind", stage_ops_of(s->kind)->word,
                                              "title", s->title, "cells", cells));
    }
    return list;
}

/* First line of every session: what this run is and where it computes. */
static void announce(struct engine *e) {
    char *text = mi_spec_write(e->spec);
    struct mi_hasher *h = mi_hasher_new("run");
    if (h) mi_hasher_text(h, "spec", text ? text : "");
    struct mi_fingerprint fp = h ? mi_hasher_done(h) : (struct mi_fingerprint){{0}};
    free(text);
    char id[32];
    snprintf(id, sizeof(id), "%04d-%.8s", e->number, fp.hex);
    json_t *ev = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:s, s:I, s:b}", "t", "run", "id", id, "name",
                           mi_values_text(e->spec->section[MI_SEC_RUN], "name"), "pid", (int)getpid(), "version",
                           MIDRE_VERSION, "torch", mt_version(), "device", e->device_name, "threads", mt_threads(),
                           "precision", e->precision == MT_BF16 ? "bf16" : "fp32", "seed", (json_int_t)e->seed,
                           "synthetic", (int)e->synthetic);
    if (ev) {
        json_object_set_new(ev, "cells", describe_cells(e));
        json_object_set_new(ev, "stages", describe_stages(e));
    }
    engine_event(e, ev);
    engine_event(e, json_pack("{s:s, s:s}", "t", "state", "state", "running"));
}

static void conclude(struct engine *e, enum mi_status st) {
    const char *state = st == MI_OK ? "done" : st == MI_STOPPED ? "stopped" : "failed";
    json_t *ev = json_pack("{s:s, s:s}", "t", "state", "state", state);
    if (ev && *state == 'f') json_object_set_new(ev, "error", json_string(mi_error_text()));
    engine_event(e, ev);
    mi_journal_sync(e->journal);
}

static void engine_close(struct engine *e) {
    load_stop(e->load);
    plan_free(e);
    mi_model_free(e->judge);
    free(e->scores);
    json_decref(e->shortened);
    mi_control_close(e->control);
    mi_spec_free(e->spec);
    if (e->journal) mi_journal_close(e->journal);
    mi_workspace_close(&e->ws);
    free(e->run_dir);
    if (e->lock_fd >= 0) close(e->lock_fd);
}

static enum mi_status session(struct engine *e, const char *until) {
    e->began = mi_clock();
    MI_TRY(settle_machine(e));
    MI_TRY(plan_make(e, until));
    e->scores = mi_calloc(e->spec->n_cells, sizeof(*e->scores));
    if (!e->scores) return MI_E_NOMEM;
    announce(e);
    e->load = load_start(e->journal, e->device);
    if (!e->load) mi_error_clear(); /* a run needs no load meter */
    return graph_run(e);
}

int run_command(int argc, char **argv) {
    struct engine e = {.lock_fd = -1};
    pthread_t listener;
    bool listening = false;
    const char *until = argc == 3 && strcmp(argv[1], "--until") == 0 ? argv[2] : NULL;
    if (argc != 1 && !until) {
        fprintf(stderr, "usage: midre-engine run WORKSPACE/runs/NNNN [--until STAGE]\n");
        return mi_exit_code(MI_E_USAGE);
    }
    enum mi_status st = locate(&e, argv[0]);
    if (st == MI_OK) st = open_files(&e);
    if (st == MI_OK) listening = signals_start(e.control, &listener);
    if (st == MI_OK) st = session(&e, until);
    if (st != MI_OK && st != MI_STOPPED) fprintf(stderr, "midre-engine: %s\n", mi_error_text());
    if (e.journal) conclude(&e, st);
    if (listening) signals_stop(listener);
    engine_close(&e);
    return mi_exit_code(st);
}
