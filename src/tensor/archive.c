/* archive.c - writes tensors to a safetensors file: u64 length, JSON header, raw little-endian bytes.
 * A path that ends in .pth or .pt becomes a file of torch.save instead; what differs is archive_pth.c.
 *
 * Tensors stream to PATH.tmp as they are put, behind room kept for the header; the format lets a header end in
 * spaces, so the room is filled up at close.  Only when very many tensors make the header larger than the room are
 * the bytes moved once.  Close syncs the file, renames it over PATH and syncs the folder: PATH is the old file or
 * the whole new one, never something between.  After a failed put the archive is only good for close, which discards
 * it and returns the first failure.  Values are stored NCHW row-major whatever the memory order was, as state dicts
 * are. */
#include "src/tensor/archive.h"
#include "src/tensor/tensor_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM (32u << 10)     /* header bytes kept free at the start */
#define STREAM_BUFFER (1u << 20)

/* ---- writing -------------------------------------------------------------------------------------------------- */

static enum mi_status disk_error(mt_archive *a, const char *doing) {
    int e = errno;
    a->failed = mi_fail(MI_E_DISK, "cannot %s %s: %s", doing, a->tmp, strerror(e ? e : EIO));
    return a->failed;
}

mt_archive *mt_archive_create(const char *path) {
    mt_archive *a = mi_calloc(1, sizeof *a);
    if (!a) return NULL;
    a->path = mi_strdup(path);
    a->tmp = mi_format("%s.tmp", path);
    a->meta = json_object();
    a->format = archive_pth_name(path) ? ARCHIVE_TORCH : ARCHIVE_SAFETENSORS;
    if (!a->path || !a->tmp || !a->meta) {
        mi_fail(MI_E_NOMEM, "%s: out of memory", path);
        archive_release(a);
        return NULL;
    }
    errno = 0;
    a->out = fopen(a->tmp, "w+e");
    if (a->out) setvbuf(a->out, NULL, _IOFBF, STREAM_BUFFER);
    if (a->out && (a->format == ARCHIVE_TORCH || fseeko(a->out, 8 + (off_t)ROOM, SEEK_SET) == 0)) return a;
    disk_error(a, "write");
    mt_archive_abort(a);
    return NULL;
}

enum mi_status archive_put_raw(mt_archive *a, const char *name, mt_dtype dtype, const int64_t *shape, int nd,
                               const void *data) {
    if (!a) return mi_fail(MI_E_INTERNAL, "no archive to put '%s' into", name);
    if (a->failed != MI_OK) return a->failed;
    if (!a->out || nd < 0 || nd > MT_MAXDIM)
        return a->failed = mi_fail(MI_E_INTERNAL, "%s: cannot put '%s' (opened for reading?)", a->path, name);
    struct archive_entry e = {.dtype = dtype, .nd = nd, .record = -1, .begin = a->n ? a->entry[a->n - 1].end : 0};
    uint64_t bytes = (uint64_t)archive_dtype_size(dtype);
    for (int d = 0; d < nd; d++) {
        e.shape[d] = shape[d];
        bytes *= (uint64_t)shape[d];
    }
    e.end = e.begin + bytes;
    a->failed = archive_add(a, name, e);
    if (a->failed != MI_OK) return a->failed;
    errno = 0;
    bool good = a->format == ARCHIVE_TORCH ? archive_pth_put(a, &a->entry[a->n - 1], data)
                                           : !bytes || fwrite(data, 1, bytes, a->out) == bytes;
    return good ? MI_OK : disk_error(a, "write");
}

enum mi_status mt_archive_put(mt_archive *a, const char *name, mt_tensor *t) {
    int64_t shape[MT_MAXDIM];
    if (!a) return mi_fail(MI_E_INTERNAL, "no archive to put '%s' into", name);
    if (a->failed != MI_OK) return a->failed;
    int nd = mt_shape(t, shape);
    if (nd < 0) return a->failed = mt_pending();
    mt_dtype dtype = mt_dtype_of(t);
    int64_t bytes = mt_numel(t) * archive_dtype_size(dtype);
    const void *rows = mt_rows(t);
    if (rows) return archive_put_raw(a, name, dtype, shape, nd, rows);
    void *copy = malloc((size_t)bytes + 1);
    if (!copy) return a->failed = mi_fail(MI_E_NOMEM, "%s: out of memory for '%s'", a->path, name);
    a->failed = mt_read(t, copy, bytes, dtype, MT_NCHW);
    if (a->failed == MI_OK) archive_put_raw(a, name, dtype, shape, nd, copy);
    free(copy);
    return a->failed;
}

enum mi_status mt_archive_meta_put(mt_archive *a, const char *key, const char *value) {
    if (!a) return mi_fail(MI_E_INTERNAL, "no archive for setting '%s'", key);
    if (a->failed != MI_OK) return a->failed;
    if (!a->out || json_object_set_new(a->meta, key, json_string(value)) != 0)
        a->failed = mi_fail(MI_E_INTERNAL, "%s: cannot store '%s' (not UTF-8, or opened for reading)", a->path, key);
    return a->failed;
}

/* The header as JSON text, padded with spaces to a multiple of 8 and at least ROOM. */
static char *header_text(const mt_archive *a, size_t *len) {
    json_t *root = json_object();
    bool good = root && (json_object_size(a->meta) == 0 || json_object_set(root, "__metadata__", a->meta) == 0);
    for (int i = 0; good && i < a->n; i++) {
        const struct archive_entry *e = &a->entry[i];
        json_t *shape = json_array();
        for (int d = 0; d < e->nd; d++) json_array_append_new(shape, json_integer(e->shape[d]));
        json_t *j = json_pack("{s:s, s:o, s:[I,I]}", "dtype", archive_dtype_name(e->dtype), "shape", shape,
                              "data_offsets", (json_int_t)e->begin, (json_int_t)e->end);
        good = json_object_set_new(root, e->name, j) == 0;
    }
    char *text = good ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return NULL;
    size_t n = strlen(text), padded = n < ROOM ? ROOM : (n + 7) / 8 * 8;
    char *out = realloc(text, padded + 1);
    if (!out) {
        free(text);
        return NULL;
    }
    memset(out + n, ' ', padded - n);
    *len = padded;
    return out;
}

/* Moves the data from behind ROOM to behind a longer header, last block first. */
static bool move_data(int fd, uint64_t bytes, uint64_t by) {
    size_t block = 4u << 20;
    char *buf = malloc(block);
    bool good = buf != NULL;
    for (uint64_t left = bytes; good && left > 0;) {
        size_t n = left < block ? (size_t)left : block;
        off_t at = (off_t)(8 + ROOM + left - n);
        good = pread(fd, buf, n, at) == (ssize_t)n && pwrite(fd, buf, n, at + (off_t)by) == (ssize_t)n;
        left -= n;
    }
    free(buf);
    return good;
}

static bool write_header(mt_archive *a) {
    size_t len = 0;
    char *text = header_text(a, &len);
    unsigned char size[8];
    if (!text) return false;
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)len >> (8 * i));
    uint64_t bytes = a->n ? a->entry[a->n - 1].end : 0;
    bool good = fflush(a->out) == 0 && len <= ARCHIVE_HEADER_MAX;
    good = good && (len == ROOM || move_data(fileno(a->out), bytes, len - ROOM));
    good = good && fseeko(a->out, 0, SEEK_SET) == 0 && fwrite(size, 1, 8, a->out) == 8;
    good = good && fwrite(text, 1, len, a->out) == len && fflush(a->out) == 0;
    free(text);
    return good;
}

static void sync_folder(const char *path) {
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* some file systems cannot; the rename is still atomic */
        close(fd);
    }
    free(copy);
}

static enum mi_status finish(mt_archive *a) {
    errno = 0;
    if (!(a->format == ARCHIVE_TORCH ? archive_pth_end(a) : write_header(a))) return disk_error(a, "write");
    if (fsync(fileno(a->out)) != 0) return disk_error(a, "sync");
    FILE *f = a->out;
    a->out = NULL;
    if (fclose(f) != 0) return disk_error(a, "close");
    if (rename(a->tmp, a->path) != 0) return disk_error(a, "rename");
    sync_folder(a->path);
    return MI_OK;
}

enum mi_status mt_archive_close(mt_archive *a) {
    if (!a) return mi_error_status() != MI_OK ? mi_error_status() : mi_fail(MI_E_INTERNAL, "no archive to close");
    enum mi_status st = a->failed;
    if (a->out && st == MI_OK) st = finish(a);
    if (st != MI_OK && a->tmp) unlink(a->tmp);
    archive_release(a);
    return st;
}

void mt_archive_abort(mt_archive *a) {
    if (!a) return;
    if (a->tmp) unlink(a->tmp);
    archive_release(a);
}
