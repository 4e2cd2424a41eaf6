/* midre/fingerprint.h - the identity of a stage's product: SHA-256 over everything it depends on. */
#ifndef MIDRE_FINGERPRINT_H
#define MIDRE_FINGERPRINT_H

#include "midre/entry.h"

struct mi_fingerprint {
    char hex[65]; /* lower-case SHA-256; directories use the first 16 digits */
};

struct mi_hasher;
struct mi_hasher *mi_hasher_new(const char *kind); /* kind = "target", "prior", ...; the format version is mixed in */
void mi_hasher_text(struct mi_hasher *h, const char *key, const char *value);
void mi_hasher_int(struct mi_hasher *h, const char *key, int64_t value);
/* All non-cosmetic settings in list order, as canonical text. */
void mi_hasher_values(struct mi_hasher *h, const struct mi_values *v);
void mi_hasher_input(struct mi_hasher *h, const char *role, const struct mi_fingerprint *input);
/* Finishes and frees. */
struct mi_fingerprint mi_hasher_done(struct mi_hasher *h);

/* SHA-256 of a whole file, hex into out[65]. MI_E_MISSING / MI_E_DISK. */
enum mi_status mi_file_sha256(const char *path, char out[65]);

#endif
