/* workspace.c - where everything lives: the root folder, numbered runs, the lock of a run.
 *
 * A run's number is taken by mkdir, which only one caller can win.  Whether an engine is alive is a question for the
 * kernel, not for a pid file: the engine holds a lock on runs/NNNN/lock for as long as it lives, kill -9 included, and
 * the pid inside only says whose lock it is.  The lock belongs to the open file (not the process), so it is neither
 * lost when some other part of the program opens and closes the file nor passed on by close-on-exec children.
 *
 * Owns no state beyond struct mi_workspace. */
#include "midre/workspace.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/run/files_priv.h"
#include "src/run/ini.h"

#define RUN_MAX 999999

/* ---- the root ------------------------------------------------------------------------------------------- */

/* [workspace] root of midre.ini, absolute; "" when there is none.  NULL on failure; caller frees. */
static char *root_from_ini(void) {
    struct mi_ini ini = {0};
    char *path = mi_ini_user_path(), *root = NULL;
    if (!path || !*path) return path;
    enum mi_status status = mi_ini_load(path, &ini);
    const char *slash = strrchr(path, '/');
    char *base = slash ? mi_format("%.*s", (int)(slash - path + 1), path) : mi_strdup("");
    if (!base) status = MI_E_NOMEM;
    for (size_t i = 0; i < ini.n && status == MI_OK && !root; i++) {
        const struct mi_ini_item *it = &ini.item[i];
        if (strcmp(it->section, "workspace") != 0 || !*it->value) continue;
        if (strcmp(it->key, "root") == 0)
            root = mi_path_resolve(base, it->value);
        else
            mi_fail(MI_E_INPUT, "%s:%d: [workspace] has no \"%s\", only root", path, it->line, it->key);
        if (!root) status = mi_error_status();
    }
    if (status == MI_OK && !root) root = mi_strdup("");
    mi_ini_free(&ini);
    free(base);
    free(path);
    return root;
}

static char *default_root(void) {
    const char *env = getenv("MIDRE_WORKSPACE"), *data = getenv("XDG_DATA_HOME");
    if (env && *env) return mi_path_resolve(NULL, env);
    char *root = root_from_ini();
    if (!root || *root) return root;
    free(root);
    if (data && *data == '/') return mi_path_join(data, "midre");
    return mi_path_resolve(NULL, "~/.local/share/midre");
}

static enum mi_status make_writable(const char *root, const char *name) {
    char *path = mi_path_join(root, name);
    if (!path) return MI_E_NOMEM;
    enum mi_status status = mi_make_dirs(path);
    if (status == MI_OK && access(path, W_OK | X_OK) != 0) status = mi_fail_errno("write in folder", path);
    free(path);
    return status;
}

enum mi_status mi_workspace_open(struct mi_workspace *ws, const char *root) {
    ws->root = root ? mi_path_resolve(NULL, root) : default_root();
    if (!ws->root) return mi_error_status();
    enum mi_status status = make_writable(ws->root, "runs");
    if (status == MI_OK) status = make_writable(ws->root, "cache/packs");
    if (status == MI_OK) return MI_OK;
    mi_fail_context("workspace %s", ws->root);
    mi_workspace_close(ws);
    return status;
}

void mi_workspace_close(struct mi_workspace *ws) {
    free(ws->root);
    ws->root = NULL;
}

/* ---- runs ----------------------------------------------------------------------------------------------- */

char *mi_run_dir(const struct mi_workspace *ws, int number) {
    return mi_format("%s/runs/%04d", ws->root, number);
}

char *mi_run_file(const struct mi_workspace *ws, int number, const char *name) {
    return mi_format("%s/runs/%04d/%s", ws->root, number, name);
}

/* A run's number from its folder's name: digits only, as mi_run_dir writes them.  0 = not a run. */
static int number_of(const char *name) {
    size_t n = strlen(name);
    if (n < 4 || n > 6 || strspn(name, "0123456789") != n || (n > 4 && name[0] == '0')) return 0;
    return atoi(name);
}

static int by_value(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

enum mi_status mi_run_list(const struct mi_workspace *ws, int **numbers, size_t *n) {
    size_t room = 0;
    enum mi_status status = MI_OK;
    *numbers = NULL;
    *n = 0;
    char *runs = mi_path_join(ws->root, "runs");
    if (!runs) return MI_E_NOMEM;
    DIR *dir = opendir(runs);
    if (!dir) status = mi_fail_errno("list", runs);
    for (struct dirent *e; dir && status == MI_OK && (e = readdir(dir));) {
        int number = number_of(e->d_name);
        if (number == 0) continue;
        if (*n == room) {
            room = room ? room * 2 : 64;
            int *more = realloc(*numbers, room * sizeof *more);
            if (!more) {
                status = mi_fail(MI_E_NOMEM, "out of memory listing %s", runs);
                break;
            }
            *numbers = more;
        }
        (*numbers)[(*n)++] = number;
    }
    if (dir) closedir(dir);
    free(runs);
    if (status == MI_OK && *n > 0) qsort(*numbers, *n, sizeof **numbers, by_value);
    if (status != MI_OK) {
        free(*numbers);
        *numbers = NULL;
        *n = 0;
    }
    return status;
}

/* The folder of the next free number, made by us and nobody else. */
static enum mi_status claim_number(struct mi_workspace *ws, int *number) {
    int *taken;
    size_t n;
    MI_TRY(mi_run_list(ws, &taken, &n));
    int next = n ? taken[n - 1] + 1 : 1;
    free(taken);
    for (; next <= RUN_MAX; next++) {
        char *dir = mi_run_dir(ws, next);
        if (!dir) return MI_E_NOMEM;
        int rc = mkdir(dir, 0777);
        enum mi_status status = rc != 0 && errno != EEXIST ? mi_fail_errno("make run folder", dir) : MI_OK;
        free(dir);
        if (status != MI_OK) return status;
        if (rc == 0) {
            *number = next;
            return MI_OK;
        }
    }
    return mi_fail(MI_E_DISK, "%s/runs is full: run %d exists; delete old runs", ws->root, RUN_MAX);
}

enum mi_status mi_run_create(struct mi_workspace *ws, const char *spec_text, int *number) {
    MI_TRY(claim_number(ws, number));
    enum mi_status status = MI_E_NOMEM;
    char *dir = mi_run_dir(ws, *number);
    char *pictures = mi_run_file(ws, *number, "pictures"), *spec = mi_run_file(ws, *number, "spec.ini");
    if (dir && pictures && spec) status = mi_make_dirs(pictures);
    if (status == MI_OK) status = mi_write_file(spec, spec_text, strlen(spec_text));
    if (status == MI_OK) status = mi_sync_parent(dir);
    if (status != MI_OK && dir) mi_remove_tree(dir);
    free(spec);
    free(pictures);
    free(dir);
    return status;
}

enum mi_status mi_run_delete(struct mi_workspace *ws, int number) {
    int pid = mi_run_engine_pid(ws, number), fd = -1;
    if (pid) return mi_fail(MI_E_INPUT, "run %04d is still computed by process %d; stop it first", number, pid);
    char *dir = mi_run_dir(ws, number);
    if (!dir) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    if (!mi_exists(dir)) status = mi_fail(MI_E_MISSING, "there is no run %04d in %s", number, ws->root);
    /* Holding the lock keeps an engine from starting in a folder that is going away. */
    if (status == MI_OK) status = mi_run_lock(ws, number, &fd);
    if (status == MI_OK) status = mi_remove_tree(dir);
    if (fd >= 0) close(fd);
    free(dir);
    return status;
}

/* ---- the lock ------------------------------------------------------------------------------------------- */

static struct flock whole_file(short type) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* The pid written in a lock file; 0 when there is none. */
static int read_pid(int fd) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 && pid <= 0x7fffffff ? (int)pid : 0;
}

enum mi_status mi_run_lock(const struct mi_workspace *ws, int number, int *fd) {
    enum mi_status status = MI_OK;
    *fd = -1;
    char *path = mi_run_file(ws, number, "lock");
    if (!path) return MI_E_NOMEM;
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct flock lock = whole_file(F_WRLCK);
    if (f < 0) {
        status = mi_fail_errno("open", path);
    } else if (fcntl(f, F_OFD_SETLK, &lock) != 0) {
        if (errno == EACCES || errno == EAGAIN)
            status = mi_fail(MI_E_INPUT, "run %04d is already computed by process %d; watch it, or stop it first",
                             number, read_pid(f));
        else
            status = mi_fail_errno("lock", path);
    } else {
        char text[32];
        int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        if (ftruncate(f, 0) != 0 || pwrite(f, text, (size_t)n, 0) != n) status = mi_fail_errno("write", path);
    }
    if (status == MI_OK)
        *fd = f;
    else if (f >= 0)
        close(f);
    free(path);
    return status;
}

int mi_run_engine_pid(const struct mi_workspace *ws, int number) {
    char *path = mi_run_file(ws, number, "lock");
    if (!path) return 0;
    int pid = 0, fd = open(path, O_RDWR | O_CLOEXEC);
    /* An engine writes its pid right after it got the lock; until then the file holds none, or that of a dead one. */
    for (int attempt = 0; fd >= 0 && attempt < 50; attempt++) {
        struct flock lock = whole_file(F_WRLCK);
        if (fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) {
            pid = 0;
            break;
        }
        pid = read_pid(fd);
        if (pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH)) break;
        usleep(2000);
    }
    if (fd >= 0) close(fd);
    free(path);
    return pid;
}
