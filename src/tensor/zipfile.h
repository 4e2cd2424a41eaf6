/* zipfile.h - the directory of a zip file that nobody vouches for, read from memory; only stored records. */
#ifndef MIDRE_TENSOR_ZIPFILE_H
#define MIDRE_TENSOR_ZIPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "midre/status.h"

#define ZIP_RECORDS_MAX 65535
#define ZIP_NAME_MAX    512

struct zip_record {
    const char *name;       /* not terminated; points into the file */
    uint32_t name_len, crc; /* crc 0: none was computed */
    uint64_t at, size;      /* payload, from the start of the file */
    bool checked;           /* the checksum was compared and is right */
};
struct zip {
    const char *label; /* starts every message */
    const uint8_t *bytes;
    struct zip_record *record; /* sorted by name */
    int n;
};

/* Checks the whole directory against the file: signatures, limits, every payload inside and apart from all others, no
 * name twice, nothing compressed or encrypted.  `bytes` must outlive it. */
enum mi_status zip_open(struct zip *z, const char *label, const uint8_t *bytes, uint64_t size);
void zip_close(struct zip *z);
/* Index or -1.  The name is exactly these n bytes. */
int zip_find(const struct zip *z, const char *name, size_t n);
/* Compares the checksum of a record once. */
enum mi_status zip_check(struct zip *z, int record);
bool zip_is(const uint8_t *bytes, uint64_t size);

uint32_t zip_crc(uint32_t crc, const void *bytes, size_t n); /* CRC-32 of IEEE 802.3, start with 0 */

/* Little-endian numbers, unaligned; for reading and writing containers. */
uint64_t zip_get(const uint8_t *b, unsigned bytes);
void zip_put(uint8_t *b, unsigned bytes, uint64_t v);

#endif
