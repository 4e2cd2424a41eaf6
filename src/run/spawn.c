/* spawn.c - starting an engine that outlives whoever started it.
 *
 * posix_spawn, because fork in a program with threads may only exec anyway.  The engine gets its own session, so a
 * closed terminal or a lost SSH connection does not reach it; its input is /dev/null, its output goes to engine.log of
 * its run, no other descriptor is passed on, and signals are as a fresh login would have them.
 *
 * The caller owns the child and may wait for it; an engine nobody waits for stays a zombie until the caller ends. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "midre/workspace.h"
#include "src/run/files_priv.h"
#include "src/run/spawn_priv.h"

extern char **environ;

#define ENGINE "midre-engine"

/* dir/midre-engine when it can be run; NULL when not (a message only when memory ran out). */
static char *engine_in(const char *dir) {
    char *path = mi_path_join(*dir ? dir : ".", ENGINE);
    if (!path || (access(path, X_OK) == 0)) return path;
    free(path);
    return NULL;
}

char *mi_engine_path(void) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *found = NULL;
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) *slash = '\0';
        if (slash) found = engine_in(self[0] ? self : "/");
    }
    const char *search = getenv("PATH");
    for (const char *at = search; !found && at && *at;) {
        size_t length = strcspn(at, ":");
        char *dir = mi_format("%.*s", (int)length, at);
        found = dir ? engine_in(dir) : NULL;
        free(dir);
        at += length + (at[length] == ':');
    }
    if (!found) mi_fail(MI_E_MISSING, "cannot find " ENGINE " beside this program or on $PATH (`make` builds both)");
    return found;
}

/* Own session, no blocked signals, default actions for those a terminal program changes. */
static int prepare_attributes(posix_spawnattr_t *attr) {
    sigset_t none, standard;
    sigemptyset(&none);
    sigemptyset(&standard);
    static const int changed[] = {SIGINT,   SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD};
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) sigaddset(&standard, changed[i]);
    int rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(attr, &standard);
    short flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    return rc ? rc : posix_spawnattr_setflags(attr, flags);
}

static int prepare_files(posix_spawn_file_actions_t *files, const char *out, const char *err) {
    static const int how = O_WRONLY | O_CREAT | O_APPEND;
    int rc = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(files, 1, out, how, 0666);
    if (rc == 0)
        rc = err ? posix_spawn_file_actions_addopen(files, 2, err, how, 0666)
                 : posix_spawn_file_actions_adddup2(files, 1, 2);
    if (rc == 0) rc = posix_spawn_file_actions_addclosefrom_np(files, 3);
    return rc;
}

static enum mi_status started(int rc, pid_t child, const char *engine, int *pid) {
    if (rc == 0) {
        *pid = (int)child;
        return MI_OK;
    }
    errno = rc;
    return mi_fail_errno("start", engine);
}

enum mi_status mi_engine_spawn_here(const char *engine, char *const argv[], int *pid) {
    pid_t child = 0;
    int rc = posix_spawn(&child, engine, NULL, NULL, argv, environ);
    return started(rc, child, engine, pid);
}

enum mi_status mi_engine_spawn(const char *engine, const char *out, const char *err, char *const argv[], int *pid) {
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    if (posix_spawnattr_init(&attr) != 0) return mi_fail(MI_E_NOMEM, "cannot start the engine: out of memory");
    if (posix_spawn_file_actions_init(&files) != 0) {
        posix_spawnattr_destroy(&attr);
        return mi_fail(MI_E_NOMEM, "cannot start the engine: out of memory");
    }
    pid_t child = 0;
    int rc = prepare_attributes(&attr);
    if (rc == 0) rc = prepare_files(&files, out, err);
    if (rc == 0) rc = posix_spawn(&child, engine, &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return started(rc, child, engine, pid);
}

/* The word in runs/NNNN/until: the stage a run was asked to end after.  "" when there is no such file. */
static enum mi_status read_until(const struct mi_workspace *ws, int number, char word[32]) {
    word[0] = '\0';
    char *path = mi_run_file(ws, number, "until");
    if (!path) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    if (mi_exists(path)) {
        char *text = mi_read_file(path, 64, NULL);
        size_t n = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz") : 0;
        if (!text)
            status = mi_error_status();
        else if (n == 0 || n > 31 || text[n + strspn(text + n, " \r\n")])
            status = mi_fail(MI_E_INPUT, "%s does not hold the word of a stage; remove it to run to the end", path);
        else
            memcpy(word, text, n), word[n] = '\0';
        free(text);
    }
    free(path);
    return status;
}

enum mi_status mi_run_spawn(struct mi_workspace *ws, int number, int *pid) {
    char until[32];
    static char run[] = "run", until_option[] = "--until";
    *pid = 0;
    int running = mi_run_engine_pid(ws, number);
    if (running)
        return mi_fail(MI_E_INPUT, "run %04d is already computed by process %d; watch it, or stop it first", number,
                       running);
    MI_TRY(read_until(ws, number, until));
    enum mi_status status = MI_E_NOMEM;
    char *dir = mi_run_dir(ws, number), *log = mi_run_file(ws, number, "engine.log"), *engine = NULL;
    if (!dir || !log) goto out;
    if (!mi_exists(dir)) {
        status = mi_fail(MI_E_MISSING, "there is no run %04d in %s", number, ws->root);
        goto out;
    }
    engine = mi_engine_path();
    char *argv[] = {engine, run, dir, until[0] ? until_option : NULL, until, NULL};
    status = engine ? mi_engine_spawn(engine, log, NULL, argv, pid) : mi_error_status();
    /* The log's time says when the engine was started, also where an older log is gone on with; see cli/steer.c. */
    if (status == MI_OK) utimensat(AT_FDCWD, log, NULL, 0);
out:
    free(engine);
    free(log);
    free(dir);
    return status;
}
