/* preview.c - the engine's preview as a child: its folder, its arguments, and what came of it (see midre/preview.h).
 *
 * The folder holds spec.ini, the PNG unless another place was asked for, and what a quiet engine said: standard output
 * in `said`, standard error in `complaint`, whose last line is the engine's own message (libraries may have written
 * before). */
#include "midre/preview.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "midre/workspace.h"
#include "src/run/spawn_priv.h"

#define PREFIX   "midre-engine: "
#define SAID_MAX (1u << 16)
#define LOG_MAX  (1u << 24)
#define PATIENCE 100 /* times STEP_NS: how long an engine that is asked to end may take */
#define STEP_NS  10000000L

static char *temporary_folder(void) {
    const char *tmp = getenv("TMPDIR");
    char *dir = mi_format("%s/midre-preview-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!dir || mkdtemp(dir)) return dir;
    mi_fail(MI_E_DISK, "cannot make a temporary folder %s: %s", dir, strerror(errno));
    free(dir);
    return NULL;
}

static enum mi_status spawn(struct mi_preview *p, const struct mi_preview_want *w, char *engine, char *ini) {
    char rows[16], cols[16], *args[16], *said = NULL, *complaint = NULL;
    const char *words[16] = {engine, "preview", ini, "--out", p->picture, "--workspace", w->workspace};
    size_t n = 7;
    snprintf(rows, sizeof rows, "%d", w->rows);
    snprintf(cols, sizeof cols, "%d", w->cols);
    if (w->defense) words[n++] = "--defense", words[n++] = w->defense;
    if (w->rows) words[n++] = "--rows", words[n++] = rows;
    if (w->cols) words[n++] = "--cols", words[n++] = cols;
    memcpy(args, words, sizeof args); /* posix_spawn takes char *, and writes nothing */
    if (!p->quiet) return mi_engine_spawn_here(engine, args, &p->pid);
    said = mi_path_join(p->dir, "said");
    complaint = mi_path_join(p->dir, "complaint");
    enum mi_status st = said && complaint ? mi_engine_spawn(engine, said, complaint, args, &p->pid) : MI_E_NOMEM;
    free(said);
    free(complaint);
    return st;
}

enum mi_status mi_preview_start(struct mi_preview *p, const struct mi_preview_want *w) {
    *p = (struct mi_preview){.quiet = w->quiet};
    char *engine = mi_engine_path(), *text = engine ? mi_spec_write(w->spec) : NULL, *ini = NULL;
    enum mi_status st = text && (p->dir = temporary_folder()) ? MI_OK : mi_error_status();
    if (st == MI_OK) {
        ini = mi_path_join(p->dir, "spec.ini");
        p->picture = w->out ? mi_strdup(w->out) : mi_path_join(p->dir, "preview.png");
        st = ini && p->picture ? mi_write_file(ini, text, strlen(text)) : MI_E_NOMEM;
    }
    if (st == MI_OK) st = spawn(p, w, engine, ini);
    if (st != MI_OK) mi_preview_close(p);
    free(ini);
    free(text);
    free(engine);
    return st;
}

void mi_preview_stop(struct mi_preview *p) {
    if (p->pid > 0) kill(p->pid, p->stopped ? SIGKILL : SIGTERM);
    p->stopped = true;
}

static enum mi_status complain(const struct mi_preview *p, int code) {
    char *path = mi_path_join(p->dir, "complaint"), *line = path ? mi_read_last_line(path, LOG_MAX) : NULL;
    const char *text = line ? line : "";
    mi_error_clear(); /* whatever hindered reading it, the engine's failure is the news */
    if (!strncmp(text, PREFIX, sizeof PREFIX - 1)) text += sizeof PREFIX - 1;
    enum mi_status st = mi_status_of_exit(code);
    if (*text)
        mi_fail(st, "%s", text);
    else
        mi_fail(st, "midre-engine broke down over the preview (code %d): a defect of midre", code);
    free(line);
    free(path);
    return st;
}

enum mi_status mi_preview_outcome(const struct mi_preview *p, int how, char **said) {
    if (WIFSIGNALED(how))
        return mi_fail(MI_E_INTERNAL, "the engine was killed by signal %d while making the preview", WTERMSIG(how));
    int code = WEXITSTATUS(how);
    if (!p->quiet) return code ? MI_STOPPED : MI_OK;
    if (code) return complain(p, code);
    char *path = mi_path_join(p->dir, "said");
    *said = path ? mi_read_file(path, SAID_MAX, NULL) : NULL;
    free(path);
    return *said ? MI_OK : mi_error_status();
}

void mi_preview_close(struct mi_preview *p) {
    for (int k = 0; p->pid > 0 && k <= PATIENCE; k++) {
        if (k == 0 || k == PATIENCE) mi_preview_stop(p);
        if (waitpid(p->pid, NULL, k == PATIENCE ? 0 : WNOHANG) != 0) break; /* reaped, or no child of ours any more */
        nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
    }
    bool quiet = mi_error_status() == MI_OK; /* a folder that stays behind is no reason to fail */
    if (p->dir) mi_remove_tree(p->dir);
    if (quiet) mi_error_clear();
    free(p->dir);
    free(p->picture);
    *p = (struct mi_preview){0};
}
