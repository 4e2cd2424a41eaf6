/* archive_legacy.c - reads what torch.save wrote before PyTorch 1.6: pickles one after the other, then raw storages.
 *
 *   pickle   the number 0x1950a86a20f9469cfc6c
 *   pickle   1001, the version
 *   pickle   {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {...}}
 *   pickle   the object; storages are known by keys
 *   pickle   the list of those keys
 *   and for every key in that order: element count (8 bytes, little-endian), then the elements; then the end.
 * All of it must be there, each key once, and nothing more.  The tar files that came before are not read. */
#include <stdlib.h>
#include <string.h>

#include "src/tensor/archive.h"

/* The number, by LONG1, and STOP; a protocol byte goes before, and from protocol 4 on a frame of nine bytes. */
static const unsigned char magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

/* Bytes of the first pickle; 0 when it is another one. */
static size_t magic_size(const unsigned char *bytes, size_t n) {
    size_t at = n > 2 && bytes[2] == 0x95 ? 11 : 2;
    if (n < at + sizeof magic || bytes[0] != 0x80 || bytes[1] < 2 || bytes[1] > 5) return 0;
    return memcmp(bytes + at, magic, sizeof magic) == 0 ? at + sizeof magic : 0;
}

bool archive_is_legacy(const unsigned char *bytes, size_t n) {
    return magic_size(bytes, n) != 0;
}

bool archive_is_tar(const unsigned char *bytes, size_t n) {
    return n >= 512 && memcmp(bytes + 257, "ustar", 5) == 0;
}

struct piece {
    struct pk_text key;
    const struct pk_element *element;
    uint64_t begin, bytes;
    bool placed;
};
struct pieces {
    struct piece *item;
    uint32_t n;
}; /* sorted by key */

static int compare(struct pk_text a, struct pk_text b) {
    int c = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static int by_key(const void *x, const void *y) {
    return compare(((const struct piece *)x)->key, ((const struct piece *)y)->key);
}

static struct piece *find(const struct pieces *s, struct pk_text key) {
    struct piece wanted = {.key = key};
    return s->n ? bsearch(&wanted, s->item, s->n, sizeof *s->item, by_key) : NULL;
}

static enum mi_status bad(const mt_archive *a, uint64_t at, const char *what, struct pk_text key) {
    int n = key.n < 64 ? (int)key.n : 64;
    return mi_fail(MI_E_INPUT, "%s: byte %llu: storage '%.*s': %s", a->path, (unsigned long long)at, n, key.s, what);
}

/* One piece for every storage the object describes; the same key must always mean the same type and count. */
static enum mi_status list_pieces(mt_archive *a, const struct pickle *p, struct pieces *s) {
    s->item = mi_calloc(p->n_storage, sizeof *s->item);
    if (!s->item) return MI_E_NOMEM;
    for (uint32_t i = 0; i < p->n_storage; i++) {
        const struct pk_value *v = p->storage[i];
        uint64_t bytes;
        if (v->storage.count < 0 ||
            __builtin_mul_overflow((uint64_t)v->storage.count, v->storage.element->bytes, &bytes))
            return bad(a, v->at, "its element count is absurd", v->storage.key);
        if (!v->storage.element->bytes)
            return bad(a, v->at, "its element type is not supported, so what follows it cannot be found",
                       v->storage.key);
        s->item[i] = (struct piece){.key = v->storage.key, .element = v->storage.element, .bytes = bytes};
    }
    qsort(s->item, p->n_storage, sizeof *s->item, by_key);
    for (uint32_t i = 0; i < p->n_storage; i++) {
        struct piece *last = s->n ? &s->item[s->n - 1] : NULL, *now = &s->item[i];
        if (!last || compare(last->key, now->key) != 0)
            s->item[s->n++] = *now;
        else if (last->bytes != now->bytes || last->element != now->element)
            return bad(a, 0, "it is described in two ways", now->key);
    }
    return MI_OK;
}

/* Walks the raw part along the list of keys. */
static enum mi_status place_pieces(mt_archive *a, uint64_t at, const struct pk_value *keys, struct pieces *s) {
    if (keys->kind != PK_LIST || keys->list.n != s->n)
        return mi_fail(MI_E_INPUT, "%s: byte %llu: the list of storages does not fit the object", a->path,
                       (unsigned long long)at);
    for (uint32_t i = 0; i < keys->list.n; i++) {
        const struct pk_value *k = keys->list.item[i];
        struct pk_text key = k->kind == PK_TEXT ? k->text : (struct pk_text){"", 0};
        struct piece *piece = find(s, key);
        if (!piece) return bad(a, at, "nothing in the object refers to it", key);
        if (piece->placed) return bad(a, at, "it is listed twice", key);
        if (a->map_size - at < 8) return bad(a, at, "the file ends before it", key);
        if (zip_get(a->map + at, 8) != piece->bytes / piece->element->bytes)
            return bad(a, at, "its element count is not the one the object gives", key);
        at += 8;
        if (piece->bytes > a->map_size - at) return bad(a, at, "the file ends inside it", key);
        piece->begin = at;
        piece->placed = true;
        at += piece->bytes;
    }
    if (at == a->map_size) return MI_OK;
    return mi_fail(MI_E_INPUT, "%s: byte %llu: bytes at the end belong to no storage", a->path, (unsigned long long)at);
}

static enum mi_status locate(void *ctx, const struct pk_value *storage, struct archive_place *out) {
    const struct piece *piece = find(ctx, storage->storage.key);
    if (!piece) return mi_fail(MI_E_INPUT, "its storage is missing");
    *out = (struct archive_place){piece->begin, piece->bytes, -1};
    return MI_OK;
}

static bool is_int(const struct pk_value *v, int64_t i) {
    return v && v->kind == PK_INT && v->i == i;
}

static enum mi_status check_system(const mt_archive *a, const struct pk_value *version, const struct pk_value *info) {
    const struct pk_value *little = pk_get(info, "little_endian");
    if (!is_int(version, 1001) || !is_int(pk_get(info, "protocol_version"), 1001))
        return mi_fail(MI_E_INPUT, "%s: a version of the old torch.save format other than 1001", a->path);
    if (!little || little->kind != PK_BOOL || !little->yes)
        return mi_fail(MI_E_INPUT, "%s: files of big-endian machines are not read", a->path);
    return MI_OK;
}

enum mi_status archive_read_legacy(mt_archive *a) {
    struct pickle p;
    struct pieces s = {0};
    struct pk_value *version = NULL, *info = NULL, *top = NULL, *keys = NULL;
    a->format = ARCHIVE_LEGACY;
    a->data = a->map;
    pickle_begin(&p, a->path, a->map, a->map_size, 0);
    p.at = magic_size(a->map, a->map_size);
    enum mi_status st = pickle_run(&p, &version);
    if (st == MI_OK) st = pickle_run(&p, &info);
    if (st == MI_OK) st = check_system(a, version, info);
    if (st == MI_OK) st = pickle_run(&p, &top);
    if (st == MI_OK) st = list_pieces(a, &p, &s);
    if (st == MI_OK) st = pickle_run(&p, &keys);
    if (st == MI_OK) st = place_pieces(a, p.at, keys, &s);
    if (st == MI_OK) st = archive_layout(a, &p, top, locate, &s);
    free(s.item);
    pickle_end(&p);
    return st;
}
