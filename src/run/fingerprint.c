/* fingerprint.c - SHA-256 over everything a product depends on.
 *
 * Each fact is fed as "<length>:<key>=<length>:<value>\n".  The lengths make the encoding unambiguous: no choice of
 * names and values can imitate another list of facts.  Values go in as canonical text (see values.c), so typing
 * lr = 1e-4 or lr = 0.0001 is the same product.
 *
 * A hasher that ran out of memory stays safe to use; its fingerprint is empty, which mi_product_open refuses. */
#include "midre/fingerprint.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/run/files_priv.h"

#define FORMAT_VERSION 1         /* raise it when a stage's meaning changes: every old product then misses */
#define CHUNK          (1 << 18) /* bytes read at once */

struct mi_hasher {
    EVP_MD_CTX *sha;
    bool broken;
};

static void feed(struct mi_hasher *h, const void *bytes, size_t n) {
    if (!h->broken && EVP_DigestUpdate(h->sha, bytes, n) != 1) h->broken = true;
}

static void write_hex(EVP_MD_CTX *sha, bool broken, char out[65]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    out[0] = '\0';
    if (broken || EVP_DigestFinal_ex(sha, digest, &n) != 1 || n != 32) return;
    for (unsigned i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

struct mi_hasher *mi_hasher_new(const char *kind) {
    struct mi_hasher *h = mi_calloc(1, sizeof *h);
    if (!h) return NULL;
    h->sha = EVP_MD_CTX_new();
    if (!h->sha || EVP_DigestInit_ex(h->sha, EVP_sha256(), NULL) != 1) {
        mi_fail(MI_E_NOMEM, "cannot start a SHA-256");
        EVP_MD_CTX_free(h->sha);
        free(h);
        return NULL;
    }
    mi_hasher_int(h, "format", FORMAT_VERSION);
    mi_hasher_text(h, "kind", kind);
    return h;
}

void mi_hasher_text(struct mi_hasher *h, const char *key, const char *value) {
    char head[64];
    if (!h) return;
    feed(h, head, (size_t)snprintf(head, sizeof head, "%zu:", strlen(key)));
    feed(h, key, strlen(key));
    feed(h, head, (size_t)snprintf(head, sizeof head, "=%zu:", strlen(value)));
    feed(h, value, strlen(value));
    feed(h, "\n", 1);
}

void mi_hasher_int(struct mi_hasher *h, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    mi_hasher_text(h, key, text);
}

void mi_hasher_values(struct mi_hasher *h, const struct mi_values *v) {
    if (!v) return;
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++) {
        bool unset = s->later && strcmp(mi_values_text(v, s->name), s->def) == 0;
        if (!s->cosmetic && !unset) mi_hasher_text(h, s->name, mi_values_text(v, s->name));
    }
}

void mi_hasher_input(struct mi_hasher *h, const char *role, const struct mi_fingerprint *input) {
    mi_hasher_text(h, role, input->hex);
}

struct mi_fingerprint mi_hasher_done(struct mi_hasher *h) {
    struct mi_fingerprint fp = {""};
    if (!h) return fp;
    write_hex(h->sha, h->broken, fp.hex);
    EVP_MD_CTX_free(h->sha);
    free(h);
    return fp;
}

static enum mi_status hash_fd(EVP_MD_CTX *sha, int fd, const char *path) {
    unsigned char *chunk = mi_calloc(CHUNK, 1);
    if (!chunk) return MI_E_NOMEM;
    enum mi_status status = MI_OK;
    for (ssize_t got = 1; status == MI_OK && got > 0;) {
        got = read(fd, chunk, CHUNK);
        if (got < 0)
            status = mi_fail_errno("read", path);
        else if (got > 0 && EVP_DigestUpdate(sha, chunk, (size_t)got) != 1)
            status = mi_fail(MI_E_INTERNAL, "SHA-256 of %s failed", path);
    }
    free(chunk);
    return status;
}

enum mi_status mi_file_sha256(const char *path, char out[65]) {
    enum mi_status status = MI_OK;
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return mi_fail_errno("read", path);
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    if (!sha || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1)
        status = mi_fail(MI_E_NOMEM, "cannot start a SHA-256");
    else
        status = hash_fd(sha, fd, path);
    if (status == MI_OK) write_hex(sha, false, out);
    EVP_MD_CTX_free(sha);
    close(fd);
    return status;
}
