/* pack_priv.h - the layout of a pack file, shared by its writer and its reader.
 *
 *   head (struct mi_pack_head, 168 bytes)
 *   text: class names, each ended by NUL, then the note ended by NUL
 *   chunks: SHA-256 (32 bytes) of every MI_PACK_CHUNK bytes of data
 *   padding to a page
 *   data: for train, test, public in turn: pixels uint8 [n,size,size,3], padded to 64; labels int32 [n], padded to 64
 *
 * head.seal is the SHA-256 of everything before data (with seal zeroed), so one flipped bit anywhere is found. */
#ifndef MIDRE_PACK_PRIV_H
#define MIDRE_PACK_PRIV_H

#include "src/data/data_priv.h"

#define MI_PACK_MAGIC "MIDREPK1"
#define MI_PACK_ORDER 0x01020304u /* reads differently on a machine of the other byte order */
#define MI_PACK_CHUNK ((size_t)4 << 20)
#define MI_PACK_PAGE  ((size_t)4096)

struct mi_pack_head {
    char magic[8];
    uint32_t order, size, classes, reserved;
    uint64_t n[MI_SPLIT_COUNT];
    uint64_t skipped, text_bytes, chunks, data_at, data_bytes;
    uint8_t seal[32];
};

static inline size_t mi_pack_pad(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}
static inline size_t mi_pack_pixels(size_t n, int size) {
    return mi_pack_pad(n * (size_t)size * (size_t)size * 3, 64);
}
static inline size_t mi_pack_labels(size_t n) {
    return mi_pack_pad(n * sizeof(int32_t), 64);
}

/* SHA-256 of every chunk of `data` on all cores into sums[chunks][32]. */
enum mi_status mi_pack_sums(const uint8_t *data, size_t bytes, uint8_t *sums);
/* The seal over `head` and what follows it up to the data. */
enum mi_status mi_pack_seal(const struct mi_pack_head *head, const uint8_t *rest, uint8_t seal[32]);

#endif
