/* archive_read.c - opens a checkpoint that nobody vouches for: maps it, sniffs its format, reads safetensors.
 *
 * The first bytes decide, never the name: "PK" begins a zip file of torch.save, one long number its older format.  Of a
 * safetensors file the whole header is checked before anything is used: length against file and limit, JSON without
 * repeated keys, known element types, sizes multiplied without overflow, bytes of every tensor equal to shape times
 * element size, and all tensors together covering the data exactly, without gap or overlap.  After that, getting a
 * tensor is one memory copy.  Nothing in the file is executed or trusted to name a path. */
#include "src/tensor/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIN_FILE 10 /* length word and "{}" */

static enum mi_status bad(const mt_archive *a, const char *what, const char *name) {
    return mi_fail(MI_E_INPUT, "%s is not a valid safetensors file: %s%s%.64s%s", a->path, what, name ? " ('" : "",
                   name ? name : "", name ? "')" : "");
}

static enum mi_status map_file(mt_archive *a) {
    struct stat st;
    int fd = open(a->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mi_fail(errno == ENOENT ? MI_E_MISSING : MI_E_DISK, "cannot open %s: %s", a->path, strerror(errno));
    enum mi_status r = MI_OK;
    if (fstat(fd, &st) != 0) r = mi_fail(MI_E_DISK, "cannot read %s: %s", a->path, strerror(errno));
    else if (!S_ISREG(st.st_mode)) r = mi_fail(MI_E_INPUT, "%s is not a regular file", a->path);
    else if (st.st_size < MIN_FILE) r = mi_fail(MI_E_INPUT, "%s is too short for a checkpoint", a->path);
    else {
        a->map_size = (size_t)st.st_size;
        void *m = mmap(NULL, a->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (m == MAP_FAILED) r = mi_fail(MI_E_DISK, "cannot map %s: %s", a->path, strerror(errno));
        else a->map = m;
    }
    close(fd);
    return r;
}

/* A JSON integer >= 0. */
static bool natural(const json_t *j, uint64_t *out) {
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *out = (uint64_t)json_integer_value(j);
    return true;
}

static enum mi_status read_entry(const mt_archive *a, const char *name, const json_t *j, uint64_t data_size,
                                 struct archive_entry *e) {
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *shape = json_object_get(j, "shape"), *span = json_object_get(j, "data_offsets");
    if (!dtype || !json_is_array(shape) || !json_is_array(span) || json_array_size(span) != 2)
        return bad(a, "an entry lacks dtype, shape or data_offsets", name);
    if (!archive_dtype_find(dtype, &e->dtype)) return bad(a, "an element type is not supported", name);
    if (json_array_size(shape) > MT_MAXDIM) return bad(a, "too many dimensions", name);
    e->nd = (int)json_array_size(shape);
    e->record = -1;
    int64_t bytes = archive_dtype_size(e->dtype), span_of_all = bytes; /* the latter counts a size of 0 as 1 */
    for (int d = 0; d < e->nd; d++) {
        uint64_t v;
        if (!natural(json_array_get(shape, (size_t)d), &v)) return bad(a, "a bad shape", name);
        e->shape[d] = (int64_t)v;
        if (__builtin_mul_overflow(span_of_all, v ? e->shape[d] : 1, &span_of_all)) return bad(a, "a bad shape", name);
        bytes *= e->shape[d];
    }
    if (!natural(json_array_get(span, 0), &e->begin) || !natural(json_array_get(span, 1), &e->end) ||
        e->begin > e->end || e->end > data_size)
        return bad(a, "data_offsets are outside the file", name);
    if (e->end - e->begin != (uint64_t)bytes) return bad(a, "shape and data_offsets disagree", name);
    return MI_OK;
}

static int by_begin(const void *x, const void *y) {
    const struct archive_entry *a = x, *b = y;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

static enum mi_status read_meta(mt_archive *a, json_t *meta) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return bad(a, "__metadata__ is not an object", NULL);
    json_object_foreach(meta, key, value)
        if (!json_is_string(value)) return bad(a, "a metadata value is not text", key);
    a->meta = json_incref(meta);
    return MI_OK;
}

/* Checks all entries and files them in the order of their bytes. */
static enum mi_status read_entries(mt_archive *a, json_t *root, uint64_t data_size) {
    const char *name;
    json_t *value;
    size_t n = 0;
    struct archive_entry *all = mi_calloc(json_object_size(root) + 1, sizeof *all);
    if (!all) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    json_object_foreach(root, name, value) {
        if (!strcmp(name, "__metadata__")) st = read_meta(a, value);
        else {
            st = read_entry(a, name, value, data_size, &all[n]);
            all[n++].name = (char *)(uintptr_t)name; /* borrowed from root; archive_add copies it */
        }
        if (st != MI_OK) break;
    }
    if (st == MI_OK) qsort(all, n, sizeof *all, by_begin);
    uint64_t at = 0;
    for (size_t i = 0; st == MI_OK && i < n; i++) {
        if (all[i].begin != at) st = bad(a, "tensors overlap or leave a gap", all[i].name);
        else st = archive_add(a, all[i].name, all[i]);
        at = all[i].end;
    }
    if (st == MI_OK && at != data_size) st = bad(a, "bytes at the end belong to no tensor", NULL);
    free(all);
    return st;
}

static enum mi_status read_header(mt_archive *a) {
    uint64_t len = 0;
    for (int i = 0; i < 8; i++) len |= (uint64_t)a->map[i] << (8 * i);
    if (len > ARCHIVE_HEADER_MAX || len > a->map_size - 8 || len < 2)
        return bad(a, "the header's length is wrong", NULL);
    const char *text = (const char *)a->map + 8;
    if (text[0] != '{') return bad(a, "the header is not JSON", NULL);
    json_error_t err;
    json_t *root = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, &err);
    if (!root) return bad(a, "the header is not JSON", err.text);
    a->data = a->map + 8 + len;
    enum mi_status st = json_is_object(root) ? read_entries(a, root, a->map_size - 8 - len) : bad(a, "no object", NULL);
    json_decref(root);
    return st;
}

/* An own message for what people have lying about; the rest is held against the last format. */
static enum mi_status read_any(mt_archive *a) {
    if (a->map_size < MIN_FILE) return mi_fail(MI_E_INPUT, "%s is too short for a checkpoint", a->path);
    if (zip_is(a->map, a->map_size)) return archive_read_torch(a);
    if (archive_is_legacy(a->map, a->map_size)) return archive_read_legacy(a);
    if (archive_is_tar(a->map, a->map_size))
        return mi_fail(MI_E_INPUT,
                       "%s is a tar archive: unpack it; if it is a checkpoint of PyTorch before 0.2, load and save it "
                       "with a later one",
                       a->path);
    if (a->map[0] == 0x80 && a->map[1] <= 5)
        return mi_fail(MI_E_INPUT, "%s is a pickle, but not one that torch.save wrote", a->path);
    return read_header(a);
}

static mt_archive *read_or_release(mt_archive *a) {
    enum mi_status st = read_any(a);
    if (st == MI_OK) st = archive_unwrap(a);
    if (st == MI_OK) return a;
    archive_release(a);
    return NULL;
}

mt_archive *mt_archive_open(const char *path) {
    mt_archive *a = mi_calloc(1, sizeof *a);
    if (!a) return NULL;
    a->path = mi_strdup(path);
    if (a->path && map_file(a) == MI_OK) return read_or_release(a);
    archive_release(a);
    return NULL;
}

mt_archive *archive_open_memory(const char *label, const void *bytes, size_t n) {
    mt_archive *a = mi_calloc(1, sizeof *a);
    if (!a) return NULL;
    a->path = mi_strdup(label);
    a->map = bytes;
    a->map_size = n;
    a->borrowed = true;
    if (a->path) return read_or_release(a);
    archive_release(a);
    return NULL;
}
