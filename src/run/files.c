/* files.c - paths, whole files, folders: the few file operations everything else is built from.
 *
 * Writing is atomic: bytes go to a temporary name beside the target, are synced, and are renamed over it, and the
 * folder is synced too, because a rename is only durable once its folder is.  The temporary name holds the thread's
 * id, so two writers of one path never share a file; the last rename wins whole.
 *
 * Reading is bounded and refuses what is not a regular file: a spec called /dev/zero must not eat the machine. */
#include "src/run/files_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "midre/workspace.h"

/* ---- errors --------------------------------------------------------------------------------------------- */

enum mi_status mi_fail_errno(const char *verb, const char *path) {
    int error = errno;
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return mi_fail(MI_E_DISK, "cannot %s %s: the disk is full; free some space, or use another --workspace", verb,
                       path);
    case ENOENT:
    case ENOTDIR:
        return mi_fail(MI_E_MISSING, "cannot %s %s: %s", verb, path, strerror(error));
    case EACCES:
    case EPERM:
    case EROFS:
        return mi_fail(MI_E_DISK, "cannot %s %s: %s; check its permissions", verb, path, strerror(error));
    case ENOMEM:
        return mi_fail(MI_E_NOMEM, "cannot %s %s: out of memory", verb, path);
    default:
        return mi_fail(MI_E_DISK, "cannot %s %s: %s", verb, path, strerror(error));
    }
}

/* ---- paths ---------------------------------------------------------------------------------------------- */

bool mi_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

char *mi_path_join(const char *dir, const char *name) {
    size_t n = strlen(dir);
    return mi_format("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

static const char *home_folder(void) {
    const char *home = getenv("HOME");
    if (home && home[0] == '/') return home;
    const struct passwd *pw = getpwuid(getuid());
    return pw && pw->pw_dir && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
}

char *mi_path_resolve(const char *base, const char *path) {
    if (path[0] == '/') return mi_strdup(path);
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0')) {
        const char *home = home_folder();
        if (home) return mi_format("%s%s", home, path + 1);
        mi_fail(MI_E_INPUT, "cannot resolve %s: $HOME is not set", path);
        return NULL;
    }
    while (path[0] == '.' && path[1] == '/') path += 2;
    if (base && base[0] == '/') return mi_path_join(base, path);
    char *here = getcwd(NULL, 0);
    if (!here) {
        mi_fail_errno("find", "the current folder");
        return NULL;
    }
    char *from = base && base[0] ? mi_path_join(here, base) : mi_strdup(here);
    char *full = from ? mi_path_join(from, path) : NULL;
    free(from);
    free(here);
    return full;
}

/* ---- folders -------------------------------------------------------------------------------------------- */

enum mi_status mi_make_dirs(const char *path) {
    char *work = mi_strdup(path);
    if (!work) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    for (char *c = work + 1; status == MI_OK; c++) {
        if (*c != '/' && *c != '\0') continue;
        char end = *c;
        *c = '\0';
        struct stat st;
        if (mkdir(work, 0777) != 0 && !(errno == EEXIST && stat(work, &st) == 0 && S_ISDIR(st.st_mode))) {
            /* Whatever the reason: a folder that cannot be made is a place that cannot be written. */
            status = errno == EEXIST || errno == ENOTDIR || errno == ENOENT
                         ? mi_fail(MI_E_DISK, "cannot make folder %s: something else is in its place", work)
                         : mi_fail_errno("make folder", work);
        }
        *c = end;
        if (end == '\0') break;
    }
    free(work);
    return status;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)st;
    (void)type;
    (void)where;
    if (remove(path) == 0 || errno == ENOENT) return 0;
    mi_fail_errno("remove", path);
    return 1; /* stops the walk */
}

enum mi_status mi_remove_tree(const char *path) {
    struct stat st;
    if (lstat(path, &st) != 0) return errno == ENOENT ? MI_OK : mi_fail_errno("remove", path);
    int rc = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (rc == 0) return MI_OK;
    if (rc > 0) return mi_error_status();
    return errno == ENOENT ? MI_OK : mi_fail_errno("remove", path);
}

/* ---- whole files ---------------------------------------------------------------------------------------- */

enum mi_status mi_write_all(int fd, const void *bytes, size_t n, const char *path) {
    const char *at = bytes;
    while (n > 0) {
        ssize_t wrote = write(fd, at, n);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return mi_fail_errno("write", path);
        at += wrote;
        n -= (size_t)wrote;
    }
    return MI_OK;
}

enum mi_status mi_sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return mi_fail_errno("open", path);
    /* EINVAL: the file system has nothing to sync here (some network and FUSE mounts say so for folders). */
    int rc = fsync(fd) != 0 && errno != EINVAL;
    enum mi_status status = rc ? mi_fail_errno("sync", path) : MI_OK;
    close(fd);
    return status;
}

enum mi_status mi_sync_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return mi_sync_path(".");
    char *dir = mi_format("%.*s", slash == path ? 1 : (int)(slash - path), path);
    enum mi_status status = dir ? mi_sync_path(dir) : MI_E_NOMEM;
    free(dir);
    return status;
}

enum mi_status mi_write_file(const char *path, const void *bytes, size_t n) {
    enum mi_status status = MI_E_NOMEM;
    char *temp = mi_format("%s.%d.tmp", path, (int)gettid());
    if (!temp) return status;
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = mi_fail_errno("write", path);
        goto out;
    }
    status = mi_write_all(fd, bytes, n, path);
    if (status == MI_OK && fsync(fd) != 0) status = mi_fail_errno("sync", path);
    if (close(fd) != 0 && status == MI_OK) status = mi_fail_errno("write", path); /* NFS reports ENOSPC here */
    if (status == MI_OK && rename(temp, path) != 0) status = mi_fail_errno("rename into", path);
    if (status != MI_OK)
        unlink(temp);
    else
        status = mi_sync_parent(path);
out:
    free(temp);
    return status;
}

static char *read_fd(int fd, const char *path, size_t limit, size_t *n) {
    size_t room = 4096, used = 0;
    char *bytes = mi_calloc(room, 1);
    while (bytes) {
        if (room - used < 2) {
            char *more = realloc(bytes, room * 2);
            if (!more) {
                mi_fail(MI_E_NOMEM, "out of memory reading %s", path);
                break;
            }
            bytes = more;
            room *= 2;
        }
        ssize_t got = read(fd, bytes + used, room - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            mi_fail_errno("read", path);
            break;
        }
        used += (size_t)got;
        if (used > limit) {
            mi_fail(MI_E_INPUT, "%s is larger than %zu bytes: not what it should be", path, limit);
            break;
        }
        if (got > 0) continue;
        bytes[used] = '\0';
        if (n) *n = used;
        return bytes;
    }
    free(bytes);
    return NULL;
}

char *mi_read_file(const char *path, size_t limit, size_t *n) {
    struct stat st;
    char *bytes = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* non-blocking: opening a pipe must not hang */
    if (fd < 0 || fstat(fd, &st) != 0)
        mi_fail_errno("read", path);
    else if (!S_ISREG(st.st_mode))
        mi_fail(MI_E_INPUT, "%s is not a regular file", path);
    else
        bytes = read_fd(fd, path, limit, n);
    if (fd >= 0) close(fd);
    return bytes;
}

char *mi_read_last_line(const char *path, size_t limit) {
    size_t n = 0;
    char *text = mi_read_file(path, limit, &n);
    if (!text) return NULL;
    while (n > 0 && strchr("\n\r ", text[n - 1])) text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    if (line) memmove(text, line + 1, strlen(line)); /* with its NUL */
    return text;
}
