/* crc32.c - CRC-32 as zip files use it (IEEE 802.3, reflected polynomial 0xEDB88320), eight bytes a turn.
 *
 * table[k][b] is the remainder of byte b followed by k zero bytes; the remainder of eight bytes is the sum (xor) of
 * eight look-ups, which the processor does side by side.  The tables are made once, 8 KiB. */
#include <pthread.h>
#include <string.h>

#include "src/tensor/zipfile.h"

static uint32_t table[8][256];

static void make_tables(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t r = b;
        for (int i = 0; i < 8; i++) r = r >> 1 ^ (r & 1 ? 0xEDB88320u : 0);
        table[0][b] = r;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

uint32_t zip_crc(uint32_t crc, const void *bytes, size_t n) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *b = bytes;
    pthread_once(&once, make_tables);
    crc = ~crc;
    for (; n >= 8; n -= 8, b += 8) {
        uint64_t v = zip_get(b, 8) ^ crc;
        crc = 0;
        for (int k = 0; k < 8; k++) crc ^= table[7 - k][v >> (8 * k) & 255];
    }
    for (; n; n--, b++) crc = crc >> 8 ^ table[0][(crc ^ *b) & 255];
    return ~crc;
}
