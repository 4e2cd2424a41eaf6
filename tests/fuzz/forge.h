/* forge.h - builds checkpoint files byte by byte, right ones and wrong ones, for the tests of the readers.
 *
 * A pickle is written instruction by instruction, so that anything can be said with it; forge_zip and forge_legacy put
 * a container around one.  Values of a forge are only appended; forge_free releases the bytes. */
#ifndef MIDRE_TESTS_FORGE_H
#define MIDRE_TESTS_FORGE_H

#include <stdlib.h>
#include <string.h>

#include "src/tensor/zipfile.h"

struct forge {
    uint8_t *b;
    size_t n, cap;
};

static inline void forge_add(struct forge *f, const void *bytes, size_t n) {
    if (f->n + n > f->cap) {
        f->cap = 2 * (f->n + n) + 256;
        f->b = realloc(f->b, f->cap);
        if (!f->b) abort();
    }
    if (n) memcpy(f->b + f->n, bytes, n);
    f->n += n;
}

static inline void forge_free(struct forge *f) {
    free(f->b);
    *f = (struct forge){0};
}

static inline void forge_op(struct forge *f, const char *text) {
    forge_add(f, text, strlen(text));
}

static inline void forge_uint(struct forge *f, unsigned width, uint64_t v) {
    uint8_t b[8];
    zip_put(b, width, v);
    forge_add(f, b, width);
}

static inline void forge_text(struct forge *f, const char *s) { /* BINUNICODE */
    forge_op(f, "X");
    forge_uint(f, 4, strlen(s));
    forge_op(f, s);
}

static inline void forge_int(struct forge *f, int64_t v) { /* LONG1 of eight bytes, BININT1 when small */
    if (v >= 0 && v < 256) {
        forge_op(f, "K");
        forge_uint(f, 1, (uint64_t)v);
        return;
    }
    forge_op(f, "\x8a\x08");
    forge_uint(f, 8, (uint64_t)v);
}

static inline void forge_begin(struct forge *f) {
    forge_op(f, "\x80\x02");
}

/* A storage by persistent id: five values in zip files, six in older ones. */
static inline void forge_storage(struct forge *f, const char *class, const char *key, int64_t count, int legacy) {
    forge_op(f, "(");
    forge_text(f, "storage");
    forge_op(f, "ctorch\n");
    forge_op(f, class);
    forge_op(f, "\n");
    forge_text(f, key);
    forge_text(f, "cuda:0");
    forge_int(f, count);
    forge_op(f, legacy ? "NtQ" : "tQ");
}

struct forged {
    const char *class, *key;
    int64_t count, offset;
    int nd;
    int64_t shape[10], stride[10];
    int legacy;
};

static inline void forge_tensor(struct forge *f, struct forged t) {
    forge_op(f, "ctorch._utils\n_rebuild_tensor_v2\n(");
    forge_storage(f, t.class ? t.class : "FloatStorage", t.key ? t.key : "0", t.count, t.legacy);
    forge_int(f, t.offset);
    forge_op(f, "(");
    for (int d = 0; d < t.nd; d++) forge_int(f, t.shape[d]);
    forge_op(f, "t(");
    for (int d = 0; d < t.nd; d++) forge_int(f, t.stride[d]);
    forge_op(f, "t\x89"
                "ccollections\nOrderedDict\n)RtR");
}

/* ---- containers ---- */

struct forged_record {
    const char *name;
    const void *data;
    size_t size;
    uint64_t at;
};

/* A zip file of stored records.  with_crc 0: the directory says that no checksums were computed. */
static inline void forge_zip_of(struct forge *f, struct forged_record *r, int n, int with_crc) {
    for (int i = 0; i < n; i++) {
        r[i].at = f->n;
        forge_uint(f, 4, 0x04034b50);
        forge_uint(f, 8, 0);
        forge_uint(f, 8, 0); /* as PyTorch does: no sizes here */
        forge_uint(f, 6, 0);
        forge_uint(f, 2, strlen(r[i].name));
        forge_uint(f, 2, 0);
        forge_op(f, r[i].name);
        forge_add(f, r[i].data, r[i].size);
    }
    uint64_t start = f->n;
    for (int i = 0; i < n; i++) {
        forge_uint(f, 4, 0x02014b50);
        forge_uint(f, 8, 0);
        forge_uint(f, 4, 0);
        forge_uint(f, 4, with_crc ? zip_crc(0, r[i].data, r[i].size) : 0);
        forge_uint(f, 4, r[i].size);
        forge_uint(f, 4, r[i].size);
        forge_uint(f, 2, strlen(r[i].name));
        forge_uint(f, 8, 0);
        forge_uint(f, 4, 0);
        forge_uint(f, 4, r[i].at & UINT32_MAX);
        forge_op(f, r[i].name);
    }
    uint64_t size = f->n - start;
    forge_uint(f, 4, 0x06054b50);
    forge_uint(f, 4, 0);
    forge_uint(f, 2, (uint64_t)n);
    forge_uint(f, 2, (uint64_t)n);
    forge_uint(f, 4, size);
    forge_uint(f, 4, start);
    forge_uint(f, 2, 0);
}

#define FORGE_STORAGE 64 /* bytes of each storage 0..3 in a forged file */

static inline void forge_values(uint8_t out[FORGE_STORAGE]) { /* sixteen floats 0, 1, 2, ... */
    for (int i = 0; i < FORGE_STORAGE / 4; i++) {
        float v = (float)i;
        memcpy(out + 4 * i, &v, 4);
    }
}

static inline void forge_zip(struct forge *f, const struct forge *pickle, int with_crc) {
    uint8_t values[FORGE_STORAGE];
    forge_values(values);
    struct forged_record r[] = {
        {"x/data.pkl", pickle->b, pickle->n, 0}, {"x/data/0", values, FORGE_STORAGE, 0},
        {"x/data/1", values, FORGE_STORAGE, 0},  {"x/data/2", values, FORGE_STORAGE, 0},
        {"x/data/3", values, FORGE_STORAGE, 0},  {"x/version", "3\n", 2, 0},
    };
    forge_zip_of(f, r, 6, with_crc);
}

/* `keys`: names of the storages, FORGE_STORAGE bytes each, of 4-byte elements. */
static inline void forge_legacy(struct forge *f, const struct forge *pickle, const char *const *keys, int n) {
    uint8_t values[FORGE_STORAGE];
    forge_values(values);
    forge_add(f, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    forge_op(f, "\x80\x02M\xe9\x03.\x80\x02}(");
    forge_text(f, "protocol_version");
    forge_op(f, "M\xe9\x03");
    forge_text(f, "little_endian");
    forge_op(f, "\x88u.");
    forge_add(f, pickle->b, pickle->n);
    forge_op(f, "\x80\x02](");
    for (int i = 0; i < n; i++) forge_text(f, keys[i]);
    forge_op(f, "e.");
    for (int i = 0; i < n; i++) {
        forge_uint(f, 8, FORGE_STORAGE / 4);
        forge_add(f, values, FORGE_STORAGE);
    }
}

#endif
