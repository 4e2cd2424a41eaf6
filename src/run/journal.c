/* journal.c - writing and reading the record of a run: one JSON object a line, appended, never changed.
 *
 * One write(2) with O_APPEND a line means a crash can tear only the last line; opening for append cuts a torn tail
 * off, and readers hold an unfinished last line back until its newline comes.  A line that does not parse, is not an
 * object with a text "t", or is longer than 1 MiB is counted and skipped: a journal is data from a disk, not a promise.
 *
 * The writer is shared by the engine's threads and locks itself; a reader belongs to one thread. */
#include "midre/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/run/files_priv.h"

#define LINE_MAX_BYTES ((size_t)1 << 20)
#define READ_CHUNK     ((size_t)1 << 16)

/* ---- writing -------------------------------------------------------------------------------------------- */

struct mi_journal {
    int fd;
    char *path;
    pthread_mutex_t lock;
};

/* Cuts bytes after the last newline: the line a crash tore. */
static enum mi_status cut_torn_tail(int fd, const char *path) {
    char block[4096];
    off_t size = lseek(fd, 0, SEEK_END), at = size;
    while (at > 0) {
        size_t n = at < (off_t)sizeof block ? (size_t)at : sizeof block;
        ssize_t got = pread(fd, block, n, at - (off_t)n);
        if (got != (ssize_t)n) return mi_fail_errno("read", path);
        const char *newline = memrchr(block, '\n', n);
        if (newline) {
            at = at - (off_t)n + (newline - block) + 1;
            break;
        }
        at -= (off_t)n;
    }
    if (size < 0 || (at < size && ftruncate(fd, at) != 0)) return mi_fail_errno("cut the torn end of", path);
    return MI_OK;
}

struct mi_journal *mi_journal_open(const char *path) {
    struct mi_journal *j = mi_calloc(1, sizeof *j);
    if (!j) return NULL;
    pthread_mutex_init(&j->lock, NULL);
    j->fd = -1;
    j->path = mi_strdup(path);
    if (!j->path) goto fail;
    j->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0) {
        mi_fail_errno("open journal", path);
        goto fail;
    }
    if (cut_torn_tail(j->fd, path) != MI_OK) goto fail;
    return j;
fail:
    mi_journal_close(j);
    return NULL;
}

void mi_journal_close(struct mi_journal *j) {
    if (!j) return;
    if (j->fd >= 0) {
        fdatasync(j->fd);
        close(j->fd);
    }
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

/* All of the line or none of it: a short write (disk full) is taken back, so that the next line starts clean. */
static enum mi_status append_line(struct mi_journal *j, const char *line, size_t n) {
    off_t before = lseek(j->fd, 0, SEEK_END);
    ssize_t wrote;
    do wrote = write(j->fd, line, n);
    while (wrote < 0 && errno == EINTR);
    if (wrote == (ssize_t)n) return MI_OK;
    if (wrote >= 0) errno = ENOSPC;
    enum mi_status status = mi_fail_errno("append to journal", j->path);
    if (wrote > 0 && before >= 0 && ftruncate(j->fd, before) != 0)
        mi_fail_context("and its last line is torn"); /* readers skip it */
    return status;
}

enum mi_status mi_journal_write(struct mi_journal *j, json_t *event) {
    enum mi_status status = MI_E_NOMEM;
    struct timespec now;
    char *line = NULL;
    if (!event) return mi_fail(MI_E_NOMEM, "no journal event: out of memory");
    if (!json_is_string(json_object_get(event, "t"))) {
        status = mi_fail(MI_E_INTERNAL, "a journal event without \"t\"");
        goto out;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    double at = (double)now.tv_sec + (double)(now.tv_nsec / 1000000) * 1e-3;
    if (json_object_set_new(event, "v", json_integer(MI_JOURNAL_VERSION)) != 0 ||
        json_object_set_new(event, "at", json_real(at)) != 0 ||
        !(line = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(14)))) {
        status = mi_fail(MI_E_NOMEM, "cannot write a journal event");
        goto out;
    }
    size_t n = strlen(line);
    if (n + 1 > LINE_MAX_BYTES) {
        status = mi_fail(MI_E_INTERNAL, "a journal event of %zu bytes; readers take at most 1 MiB", n);
        goto out;
    }
    line[n] = '\n'; /* in place of the final NUL: the line goes out by length */
    pthread_mutex_lock(&j->lock);
    status = append_line(j, line, n + 1);
    pthread_mutex_unlock(&j->lock);
out:
    free(line);
    json_decref(event);
    return status;
}

enum mi_status mi_journal_log(struct mi_journal *j, const char *level, const char *fmt, ...) {
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_t *string = json_string(text);
    if (!string) { /* not UTF-8 (a file name, say): keep what is plain ASCII */
        for (char *c = text; *c; c++)
            if ((unsigned char)*c >= 0x80) *c = '?';
        string = json_string(text);
    }
    return mi_journal_write(j, json_pack("{s:s, s:s, s:o}", "t", "log", "level", level, "text", string));
}

enum mi_status mi_journal_sync(struct mi_journal *j) {
    return fdatasync(j->fd) == 0 ? MI_OK : mi_fail_errno("sync journal", j->path);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

struct mi_journal_reader {
    char *path;
    int fd;         /* -1 until the file exists */
    off_t position; /* where the next line starts; inside an overlong one: how far it is thrown away */
    char *buffer;   /* bytes from position on, only during a read */
    size_t used, room;
    size_t scanned; /* bytes of the buffer known to hold no newline */
    bool overlong;  /* position is inside a line that is being thrown away */
    size_t skipped;
};

struct mi_journal_reader *mi_journal_reader_open(const char *path) {
    struct mi_journal_reader *r = mi_calloc(1, sizeof *r);
    if (!r) return NULL;
    r->fd = -1;
    r->path = mi_strdup(path);
    r->room = 2 * READ_CHUNK;
    r->buffer = mi_calloc(r->room, 1);
    if (r->path && r->buffer) return r;
    mi_journal_reader_close(r);
    return NULL;
}

void mi_journal_reader_close(struct mi_journal_reader *r) {
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    free(r->buffer);
    free(r->path);
    free(r);
}

size_t mi_journal_skipped(const struct mi_journal_reader *r) {
    return r->skipped;
}

/* Parses one line and hands it over; false asks to stop. */
static bool deliver(struct mi_journal_reader *r, const char *line, size_t n,
                    bool (*fn)(const json_t *event, void *user), void *user) {
    while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == ' ')) n--;
    if (n == 0) return true; /* an empty line says nothing */
    json_t *event = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    bool go_on = true;
    if (json_is_string(json_object_get(event, "t")))
        go_on = fn(event, user);
    else
        r->skipped++;
    json_decref(event);
    return go_on;
}

/* Hands over every whole line in the buffer and moves the position behind the last of them. */
static bool deliver_lines(struct mi_journal_reader *r, bool (*fn)(const json_t *event, void *user), void *user) {
    size_t start = 0;
    bool go_on = true;
    while (go_on) {
        size_t from = start > r->scanned ? start : r->scanned;
        char *newline = memchr(r->buffer + from, '\n', r->used - from);
        if (!newline) break;
        size_t end = (size_t)(newline - r->buffer);
        if (r->overlong)
            r->overlong = false; /* its end: the next line counts again */
        else if (end - start > LINE_MAX_BYTES)
            r->skipped++;
        else
            go_on = deliver(r, r->buffer + start, end - start, fn, user);
        start = end + 1;
    }
    if (go_on && !r->overlong && r->used - start > LINE_MAX_BYTES) {
        r->overlong = true;
        r->skipped++;
    }
    if (r->overlong) start = r->used;
    memmove(r->buffer, r->buffer + start, r->used - start);
    r->used -= start;
    r->position += (off_t)start;
    r->scanned = r->used;
    return go_on;
}

static enum mi_status make_room(struct mi_journal_reader *r) {
    if (r->room - r->used >= READ_CHUNK) return MI_OK;
    char *more = realloc(r->buffer, r->room * 2);
    if (!more) return mi_fail(MI_E_NOMEM, "out of memory reading %s", r->path);
    r->buffer = more;
    r->room *= 2;
    return MI_OK;
}

/* An unfinished last line is not kept between two reads but read again: a crash may have torn it, and the next
 * engine then cuts it off and writes other bytes in its place. */
enum mi_status mi_journal_read(struct mi_journal_reader *r, bool (*fn)(const json_t *event, void *user), void *user) {
    struct stat st;
    if (r->fd < 0) {
        r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
        if (r->fd < 0) return errno == ENOENT ? MI_OK : mi_fail_errno("read journal", r->path);
    }
    r->used = r->scanned = 0;
    if (fstat(r->fd, &st) == 0 && st.st_size < r->position) { /* an overlong torn line was cut off */
        r->position = st.st_size;
        r->overlong = false;
    }
    for (;;) {
        MI_TRY(make_room(r));
        ssize_t got = pread(r->fd, r->buffer + r->used, r->room - r->used, r->position + (off_t)r->used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return mi_fail_errno("read journal", r->path);
        if (got == 0) return MI_OK;
        r->used += (size_t)got;
        if (!deliver_lines(r, fn, user)) return MI_OK;
    }
}
