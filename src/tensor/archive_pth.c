/* archive_pth.c - writes what torch.load reads: a zip file of stored records, as torch.save lays it out.
 *
 * Tensors stream out as records archive/data/0, 1, ... while they are put, each with its size and checksum in front
 * and its bytes at a multiple of 64, so that torch.load can map them.  At the end follow the pickle of one OrderedDict
 * from names to tensors, the small records PyTorch looks for, our metadata (archive/.midre, JSON) and the directory,
 * with zip64 end records as PyTorch writes them.  The pickle needs two classes, OrderedDict and the helper that
 * rebuilds a tensor, so torch.load(weights_only=True) takes it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/tensor/archive.h"

#define ROOT       "archive/"
#define ALIGN      64u
#define BATCH      1000 /* entries of one SETITEMS, as Python's pickler does */
#define LOCAL_SIZE 30u
#define PAD_HEADER 4u /* of an extra field */

static const char *const storage_class[] = {
    [MT_F32] = "FloatStorage", [MT_F64] = "DoubleStorage", [MT_BF16] = "BFloat16Storage", [MT_F16] = "HalfStorage",
    [MT_I64] = "LongStorage",  [MT_I32] = "IntStorage",    [MT_U8] = "ByteStorage",       [MT_BOOL] = "BoolStorage",
};

bool archive_pth_name(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && (!strcmp(dot, ".pth") || !strcmp(dot, ".pt"));
}

static bool put_bytes(mt_archive *a, const void *bytes, uint64_t n) {
    a->out_at += n;
    return n == 0 || fwrite(bytes, 1, n, a->out) == n;
}

/* The part that local header and directory share: version .. lengths of name and extra field. */
static void fill_common(uint8_t *b, uint32_t crc, uint64_t size, size_t name, size_t extra) {
    zip_put(b, 2, 45);              /* version needed: zip64 */
    zip_put(b + 2, 2, 1u << 11);    /* the name is UTF-8 */
    zip_put(b + 4, 2, 0);           /* stored */
    zip_put(b + 6, 2, 0);           /* no time: equal tensors give equal files */
    zip_put(b + 8, 2, 1u << 5 | 1); /* 1 January 1980 */
    zip_put(b + 10, 4, crc);
    zip_put(b + 14, 4, size);
    zip_put(b + 18, 4, size);
    zip_put(b + 22, 2, name);
    zip_put(b + 24, 2, extra);
}

/* One record; *at gets the place of its local header. */
static bool put_record(mt_archive *a, const char *name, const void *data, uint64_t size, uint32_t crc, uint64_t *at) {
    uint8_t header[LOCAL_SIZE] = {0}, extra[PAD_HEADER + ALIGN];
    size_t len = strlen(name);
    *at = a->out_at;
    if (size >= UINT32_MAX) {
        errno = EFBIG;
        return false;
    }
    size_t before = (size_t)((a->out_at + LOCAL_SIZE + len + PAD_HEADER) % ALIGN), pad = (ALIGN - before) % ALIGN;
    zip_put(header, 4, 0x04034b50);
    fill_common(header + 4, crc, size, len, PAD_HEADER + pad);
    zip_put(extra, 2, 0x4246); /* "FB", PyTorch's padding */
    zip_put(extra + 2, 2, pad);
    memset(extra + PAD_HEADER, 'Z', ALIGN);
    return put_bytes(a, header, sizeof header) && put_bytes(a, name, len) && put_bytes(a, extra, PAD_HEADER + pad) &&
           put_bytes(a, data, size);
}

/* begin: place of the local header; end - begin: bytes of data. */
bool archive_pth_put(mt_archive *a, struct archive_entry *e, const void *data) {
    char name[64];
    uint64_t size = e->end - e->begin;
    snprintf(name, sizeof name, ROOT "data/%d", (int)(e - a->entry));
    e->crc = zip_crc(0, data, (size_t)size);
    if (!put_record(a, name, data, size, e->crc, &e->begin)) return false;
    e->end = e->begin + size;
    return true;
}

/* ---- the pickle ---- */

struct text {
    char *s;
    size_t n, cap;
    bool failed;
};

static void add(struct text *t, const void *bytes, size_t n) {
    if (t->n + n > t->cap) {
        size_t cap = 2 * t->cap + n + 4096;
        char *s = t->failed ? NULL : realloc(t->s, cap);
        if (!s) {
            t->failed = true;
            return;
        }
        t->s = s;
        t->cap = cap;
    }
    memcpy(t->s + t->n, bytes, n);
    t->n += n;
}

static void add_word(struct text *t, const char *s) {
    add(t, s, strlen(s));
}

static void add_name(struct text *t, const char *s) {
    uint8_t head[5] = {'X'};
    zip_put(head + 1, 4, strlen(s));
    add(t, head, 5);
    add_word(t, s);
}

static void add_int(struct text *t, int64_t v) {
    uint8_t b[10] = {'K', (uint8_t)v};
    if (v >= 0 && v < 256) {
        add(t, b, 2);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        b[0] = 'J';
        zip_put(b + 1, 4, (uint64_t)v);
        add(t, b, 5);
    } else {
        b[0] = 0x8a;
        b[1] = 8;
        zip_put(b + 2, 8, (uint64_t)v);
        add(t, b, 10);
    }
}

static void add_tensor(struct text *t, const struct archive_entry *e, int key) {
    char text[96];
    int64_t n = 1, stride[MT_MAXDIM];
    for (int d = e->nd - 1; d >= 0; d--) {
        stride[d] = n;
        n *= e->shape[d] ? e->shape[d] : 1;
    }
    for (int d = 0; d < e->nd; d++)
        if (!e->shape[d]) n = 0;
    add_word(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    add_name(t, "storage");
    snprintf(text, sizeof text, "ctorch\n%s\n", storage_class[e->dtype]);
    add_word(t, text);
    snprintf(text, sizeof text, "%d", key);
    add_name(t, text);
    add_name(t, "cpu");
    add_int(t, n);
    add_word(t, "tQ");
    add_int(t, 0); /* offset */
    add_word(t, "(");
    for (int d = 0; d < e->nd; d++) add_int(t, e->shape[d]);
    add_word(t, "t(");
    for (int d = 0; d < e->nd; d++) add_int(t, stride[d]);
    add_word(t, "t\x89"
                "ccollections\nOrderedDict\n)RtR"); /* no gradient, no hooks */
}

static void add_all(struct text *t, const mt_archive *a) {
    add(t, "\x80\x02", 2);
    add_word(t, "ccollections\nOrderedDict\n)R");
    for (int i = 0; i < a->n; i++) {
        if (i % BATCH == 0) add_word(t, "(");
        add_name(t, a->entry[i].name);
        add_tensor(t, &a->entry[i], i);
        if (i % BATCH == BATCH - 1 || i == a->n - 1) add_word(t, "u");
    }
    add_word(t, ".");
}

/* ---- the end ---- */

struct small {
    const char *name;
    const void *data;
    uint64_t size, at;
    uint32_t crc;
};

static bool put_central(mt_archive *a, const char *name, uint64_t at, uint64_t size, uint32_t crc) {
    uint8_t b[46] = {0}, extra[12];
    bool far = at >= UINT32_MAX;
    zip_put(b, 4, 0x02014b50);
    zip_put(b + 4, 2, 45);
    fill_common(b + 6, crc, size, strlen(name), far ? sizeof extra : 0);
    zip_put(b + 42, 4, far ? UINT32_MAX : at);
    zip_put(extra, 2, 1);
    zip_put(extra + 2, 2, 8);
    zip_put(extra + 4, 8, at);
    return put_bytes(a, b, sizeof b) && put_bytes(a, name, strlen(name)) && put_bytes(a, extra, far ? sizeof extra : 0);
}

static bool put_end(mt_archive *a, uint64_t n, uint64_t at) {
    uint8_t b[56 + 20 + 22] = {0};
    uint64_t size = a->out_at - at, end64 = a->out_at;
    zip_put(b, 4, 0x06064b50);
    zip_put(b + 4, 8, 44);
    zip_put(b + 12, 2, 45);
    zip_put(b + 14, 2, 45);
    zip_put(b + 24, 8, n);
    zip_put(b + 32, 8, n);
    zip_put(b + 40, 8, size);
    zip_put(b + 48, 8, at);
    zip_put(b + 56, 4, 0x07064b50);
    zip_put(b + 64, 8, end64);
    zip_put(b + 72, 4, 1);
    zip_put(b + 76, 4, 0x06054b50);
    zip_put(b + 84, 2, n < 0xffff ? n : 0xffff);
    zip_put(b + 86, 2, n < 0xffff ? n : 0xffff);
    zip_put(b + 88, 4, size < UINT32_MAX ? size : UINT32_MAX);
    zip_put(b + 92, 4, at < UINT32_MAX ? at : UINT32_MAX);
    return put_bytes(a, b, sizeof b);
}

bool archive_pth_end(mt_archive *a) {
    struct text pickle = {0};
    char *meta = json_dumps(a->meta, JSON_COMPACT);
    add_all(&pickle, a);
    struct small small[] = {
        {.name = ROOT "data.pkl", .data = pickle.s, .size = pickle.n},
        {.name = ROOT "byteorder", .data = "little", .size = 6},
        {.name = ROOT "version", .data = "3\n", .size = 2},
        {.name = ROOT ".midre", .data = meta, .size = meta ? strlen(meta) : 0},
    };
    const int n = 4 - (json_object_size(a->meta) == 0);
    bool good = meta && !pickle.failed;
    if (!good) errno = ENOMEM;
    for (int i = 0; good && i < n; i++) {
        small[i].crc = zip_crc(0, small[i].data, (size_t)small[i].size);
        good = put_record(a, small[i].name, small[i].data, small[i].size, small[i].crc, &small[i].at);
    }
    uint64_t at = a->out_at;
    for (int i = 0; good && i < a->n; i++) {
        char name[64];
        snprintf(name, sizeof name, ROOT "data/%d", i);
        good = put_central(a, name, a->entry[i].begin, a->entry[i].end - a->entry[i].begin, a->entry[i].crc);
    }
    for (int i = 0; good && i < n; i++) good = put_central(a, small[i].name, small[i].at, small[i].size, small[i].crc);
    good = good && put_end(a, (uint64_t)(a->n + n), at) && fflush(a->out) == 0;
    free(pickle.s);
    free(meta);
    return good;
}
