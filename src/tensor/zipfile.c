/* zipfile.c - reads the central directory of a zip file and checks all of it before anything is used.
 *
 * The directory decides, never the local headers: PyTorch leaves sizes and checksums out of those.  A local header is
 * only asked how long its name and extra field are, because the payload begins behind them.  Sizes and places are
 * 64-bit (zip64) from the start; every sum is checked.  Records must be stored as they are: PyTorch compresses none,
 * and what is not compressed cannot grow.  Bytes behind the end record are ignored, as zip files may have them.
 * Format: PKWARE's APPNOTE.TXT. */
#include "src/tensor/zipfile.h"

#include <stdlib.h>
#include <string.h>

#define LOCAL        0x04034b50u
#define CENTRAL      0x02014b50u
#define END          0x06054b50u
#define END64        0x06064b50u
#define LOCATOR      0x07064b50u
#define LOCAL_SIZE   30u
#define CENTRAL_SIZE 46u
#define END_SIZE     22u
#define END64_SIZE   56u
#define LOCATOR_SIZE 20u
#define COMMENT_MAX  65535u
#define TRAILING_MAX 65536u

struct directory {
    uint64_t at, size, n, end;
}; /* end: where records of any kind must have ended */

uint64_t zip_get(const uint8_t *b, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)b[i] << (8 * i);
    return v;
}

void zip_put(uint8_t *b, unsigned bytes, uint64_t v) {
    for (unsigned i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
}

bool zip_is(const uint8_t *bytes, uint64_t size) {
    return size >= 4 && zip_get(bytes, 4) == LOCAL;
}

static enum mi_status bad(const struct zip *z, uint64_t at, const char *what) {
    return mi_fail(MI_E_INPUT, "%s: byte %llu: %s", z->label, (unsigned long long)at, what);
}

static enum mi_status bad_record(const struct zip *z, const struct zip_record *r, const char *what) {
    int len = r->name_len < 80 ? (int)r->name_len : 80;
    return mi_fail(MI_E_INPUT, "%s: record '%.*s': %s", z->label, len, r->name, what);
}

/* ---- the end records ---- */

/* Replaces 32-bit numbers by those of the zip64 end record where one stands before the end record. */
static enum mi_status read_end64(const struct zip *z, uint64_t end, struct directory *d) {
    if (end < LOCATOR_SIZE || zip_get(z->bytes + end - LOCATOR_SIZE, 4) != LOCATOR) return MI_OK;
    uint64_t at = zip_get(z->bytes + end - LOCATOR_SIZE + 8, 8);
    if (end - LOCATOR_SIZE < END64_SIZE || at > end - LOCATOR_SIZE - END64_SIZE || zip_get(z->bytes + at, 4) != END64)
        return bad(z, end - LOCATOR_SIZE, "the zip64 end record is not where it should be");
    const uint8_t *b = z->bytes + at;
    *d = (struct directory){.at = zip_get(b + 48, 8), .size = zip_get(b + 40, 8), .n = zip_get(b + 32, 8), .end = at};
    return MI_OK;
}

static enum mi_status find_directory(const struct zip *z, uint64_t size, struct directory *d) {
    uint64_t lowest = size > END_SIZE + COMMENT_MAX + TRAILING_MAX ? size - END_SIZE - COMMENT_MAX - TRAILING_MAX : 0;
    if (size < END_SIZE) return bad(z, size, "the zip directory is missing: the file is cut short");
    for (uint64_t at = size - END_SIZE + 1; at-- > lowest;) {
        const uint8_t *b = z->bytes + at;
        if (zip_get(b, 4) != END || zip_get(b + 20, 2) > size - at - END_SIZE) continue;
        if (zip_get(b + 4, 2) != 0 || zip_get(b + 6, 2) != 0) return bad(z, at, "a zip file of several volumes");
        *d = (struct directory){
            .at = zip_get(b + 16, 4), .size = zip_get(b + 12, 4), .n = zip_get(b + 10, 2), .end = at};
        MI_TRY(read_end64(z, at, d));
        if (d->at > d->end || d->size > d->end - d->at) return bad(z, at, "the zip directory lies outside the file");
        return d->n <= ZIP_RECORDS_MAX ? MI_OK : bad(z, at, "the zip directory has too many records");
    }
    return bad(z, size, "the zip directory is missing: the file is cut short");
}

/* ---- records ---- */

/* Takes the 64-bit numbers for those that did not fit, in the order the format gives them. */
static bool read_extra64(const uint8_t *extra, uint64_t n, uint64_t *packed, uint64_t *size, uint64_t *local) {
    uint64_t *const number[3] = {size, packed, local};
    for (uint64_t at = 0; n - at >= 4;) {
        uint64_t id = zip_get(extra + at, 2), len = zip_get(extra + at + 2, 2), used = 0;
        at += 4;
        if (len > n - at) return false;
        for (int i = 0; id == 1 && i < 3; i++) {
            if (*number[i] != UINT32_MAX) continue;
            if (len - used < 8) return false;
            *number[i] = zip_get(extra + at + used, 8);
            used += 8;
        }
        if (id == 1) return true;
        at += len;
    }
    return *size != UINT32_MAX && *packed != UINT32_MAX && *local != UINT32_MAX;
}

static enum mi_status find_payload(const struct zip *z, uint64_t local, const struct directory *d,
                                   struct zip_record *r) {
    if (d->at < LOCAL_SIZE || local > d->at - LOCAL_SIZE || zip_get(z->bytes + local, 4) != LOCAL)
        return bad_record(z, r, "its local header is not where the directory says");
    const uint8_t *b = z->bytes + local;
    uint64_t skip = LOCAL_SIZE + zip_get(b + 26, 2) + zip_get(b + 28, 2);
    if (skip > d->at - local || r->size > d->at - local - skip)
        return bad_record(z, r, "its data reach outside the file");
    r->at = local + skip;
    return MI_OK;
}

/* One entry of the directory at *at, which moves on. */
static enum mi_status read_record(struct zip *z, const struct directory *d, uint64_t *at, struct zip_record *r) {
    uint64_t left = d->at + d->size - *at;
    const uint8_t *b = z->bytes + *at;
    if (left < CENTRAL_SIZE || zip_get(b, 4) != CENTRAL) return bad(z, *at, "the zip directory is damaged");
    uint64_t name = zip_get(b + 28, 2), extra = zip_get(b + 30, 2), comment = zip_get(b + 32, 2);
    if (left - CENTRAL_SIZE < name + extra + comment) return bad(z, *at, "the zip directory is damaged");
    if (name == 0 || name > ZIP_NAME_MAX) return bad(z, *at, "a record with an empty or overlong name");
    *r = (struct zip_record){
        .name = (const char *)b + CENTRAL_SIZE, .name_len = (uint32_t)name, .crc = (uint32_t)zip_get(b + 16, 4)};
    uint64_t packed = zip_get(b + 20, 4), local = zip_get(b + 42, 4);
    r->size = zip_get(b + 24, 4);
    if (!read_extra64(b + CENTRAL_SIZE + name, extra, &packed, &r->size, &local))
        return bad_record(z, r, "its 64-bit size is missing");
    if (zip_get(b + 8, 2) & 1) return bad_record(z, r, "it is encrypted");
    if (zip_get(b + 10, 2) != 0 || packed != r->size)
        return bad_record(z, r, "it is compressed; PyTorch stores records as they are");
    *at += CENTRAL_SIZE + name + extra + comment;
    return find_payload(z, local, d, r);
}

static int compare(const char *a, size_t na, const char *b, size_t nb) {
    int c = memcmp(a, b, na < nb ? na : nb);
    return c ? c : na < nb ? -1 : na > nb;
}

static int by_name(const void *x, const void *y) {
    const struct zip_record *a = x, *b = y;
    return compare(a->name, a->name_len, b->name, b->name_len);
}

static int by_place(const void *x, const void *y) {
    const struct zip_record *a = x, *b = y;
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : a->size < b->size ? -1 : a->size > b->size;
}

static enum mi_status check_all(struct zip *z) {
    qsort(z->record, (size_t)z->n, sizeof *z->record, by_place);
    for (int i = 1; i < z->n; i++)
        if (z->record[i].at - z->record[i - 1].at < z->record[i - 1].size)
            return bad_record(z, &z->record[i], "its data overlap those of another record");
    qsort(z->record, (size_t)z->n, sizeof *z->record, by_name);
    for (int i = 1; i < z->n; i++)
        if (by_name(&z->record[i - 1], &z->record[i]) == 0) return bad_record(z, &z->record[i], "it is there twice");
    return MI_OK;
}

enum mi_status zip_open(struct zip *z, const char *label, const uint8_t *bytes, uint64_t size) {
    struct directory d = {0};
    *z = (struct zip){.label = label, .bytes = bytes};
    MI_TRY(find_directory(z, size, &d));
    if (d.n > d.size / CENTRAL_SIZE) return bad(z, d.at, "the zip directory is shorter than its records");
    if (!(z->record = mi_calloc(d.n, sizeof *z->record))) return MI_E_NOMEM;
    enum mi_status st = MI_OK;
    uint64_t at = d.at;
    for (uint64_t i = 0; st == MI_OK && i < d.n; i++) st = read_record(z, &d, &at, &z->record[z->n++]);
    if (st == MI_OK) st = check_all(z);
    if (st != MI_OK) zip_close(z);
    return st;
}

void zip_close(struct zip *z) {
    free(z->record);
    z->record = NULL;
    z->n = 0;
}

int zip_find(const struct zip *z, const char *name, size_t n) {
    int lo = 0, hi = z->n;
    while (lo < hi) {
        int mid = (lo + hi) / 2, c = compare(name, n, z->record[mid].name, z->record[mid].name_len);
        if (c == 0) return mid;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return -1;
}

/* PyTorch can be told to save time by not computing checksums; the directory then says 0. */
enum mi_status zip_check(struct zip *z, int record) {
    struct zip_record *r = &z->record[record];
    if (r->checked || r->crc == 0) return MI_OK;
    if (zip_crc(0, z->bytes + r->at, (size_t)r->size) != r->crc)
        return bad_record(z, r, "its checksum is wrong: the file is damaged");
    r->checked = true;
    return MI_OK;
}
