/* pack_open.c - maps a finished pack read-only and proves that it is whole.
 *
 * A pack lives long on disk and is trusted by everything after it, so every byte is checked at every opening: the
 * seal over head, names and chunk sums, then the chunks on all cores (which also brings the pages into memory).
 * All offsets are computed anew from the counts and compared with the head, never believed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/data/pack_priv.h"

static enum mi_status damaged(const char *path, const char *how) {
    return mi_fail(MI_E_INPUT, "pack %s: %s", path, how);
}

static enum mi_status map_file(const char *path, struct mi_pack *pack) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mi_fail(errno == ENOENT ? MI_E_MISSING : MI_E_DISK, "cannot open the pack %s: %s", path,
                       strerror(errno));
    enum mi_status status = MI_OK;
    if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(struct mi_pack_head)) {
        status = damaged(path, "cut short");
    } else {
        pack->bytes = (size_t)st.st_size;
        pack->map = mmap(NULL, pack->bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (pack->map == MAP_FAILED) {
            pack->map = NULL;
            status = mi_fail(MI_E_DISK, "cannot map the pack %s: %s", path, strerror(errno));
        }
    }
    close(fd);
    return status;
}

/* The head's numbers against each other and against the file's length. */
static enum mi_status check_head(const char *path, const struct mi_pack *pack, const struct mi_dataset *d) {
    const struct mi_pack_head *h = pack->map;
    if (memcmp(h->magic, MI_PACK_MAGIC, sizeof h->magic) != 0) return damaged(path, "not a pack of this version");
    if (h->order != MI_PACK_ORDER) return damaged(path, "written on a machine of another byte order");
    if (h->size != (uint32_t)d->size) return damaged(path, "holds another resolution");
    size_t bytes = 0, pixel = (size_t)d->size * (size_t)d->size * 3;
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        if (h->n[s] > pack->bytes / pixel) return damaged(path, "cut short");
        bytes += mi_pack_pixels(h->n[s], d->size) + mi_pack_labels(h->n[s]);
    }
    size_t chunks = (bytes + MI_PACK_CHUNK - 1) / MI_PACK_CHUNK;
    if (h->data_bytes != bytes || h->chunks != chunks || h->data_at > pack->bytes ||
        h->data_bytes != pack->bytes - h->data_at || h->data_at % MI_PACK_PAGE != 0)
        return damaged(path, "cut short or of inconsistent size");
    if (h->text_bytes > h->data_at || sizeof *h + h->text_bytes + h->chunks * 32 > h->data_at)
        return damaged(path, "head of inconsistent size");
    return MI_OK;
}

static enum mi_status check_sums(const char *path, const struct mi_pack *pack) {
    const struct mi_pack_head *h = pack->map;
    const uint8_t *text = (const uint8_t *)pack->map + sizeof *h, *sums = text + h->text_bytes;
    uint8_t seal[32];
    MI_TRY(mi_pack_seal(h, text, seal));
    if (memcmp(seal, h->seal, sizeof seal) != 0) return damaged(path, "its head has a wrong SHA-256");
    uint8_t *now = mi_calloc(h->chunks ? h->chunks : 1, 32);
    if (!now) return MI_E_NOMEM;
    enum mi_status st = mi_pack_sums((const uint8_t *)pack->map + h->data_at, h->data_bytes, now);
    if (st == MI_OK && memcmp(now, sums, h->chunks * 32) != 0) st = damaged(path, "its pixels have a wrong SHA-256");
    free(now);
    return st;
}

/* Class names and note out of the text block. */
static enum mi_status read_text(const char *path, const struct mi_pack *pack, struct mi_dataset *d) {
    const struct mi_pack_head *h = pack->map;
    const char *at = (const char *)pack->map + sizeof *h, *end = at + h->text_bytes;
    if (h->text_bytes == 0 || end[-1] != 0 || h->classes >= h->text_bytes) return damaged(path, "names are damaged");
    d->class_names = mi_calloc(h->classes + 1ul, sizeof *d->class_names);
    if (!d->class_names) return MI_E_NOMEM;
    for (uint32_t k = 0; k < h->classes; k++) {
        d->class_names[k] = mi_strdup(at);
        d->classes = (int)k + 1;
        if (!d->class_names[k]) return MI_E_NOMEM;
        at += strlen(at) + 1;
        if (at >= end) return damaged(path, "names are damaged");
    }
    if (*at && !(d->note = mi_strdup(at))) return MI_E_NOMEM;
    return MI_OK;
}

static enum mi_status place(const char *path, const struct mi_pack *pack, struct mi_dataset *d) {
    const struct mi_pack_head *h = pack->map;
    const uint8_t *at = (const uint8_t *)pack->map + h->data_at;
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        struct mi_pack_split *p = &d->split[s];
        p->n = h->n[s];
        p->rgb = at;
        at += mi_pack_pixels(p->n, d->size);
        p->labels = (const int32_t *)(const void *)at;
        at += mi_pack_labels(p->n);
        for (size_t i = 0; i < p->n; i++)
            if (s == MI_PUBLIC ? p->labels[i] != -1 : p->labels[i] < 0 || p->labels[i] >= d->classes)
                return damaged(path, "holds a label outside its classes");
    }
    d->skipped = h->skipped;
    return MI_OK;
}

enum mi_status mi_pack_open(const char *path, struct mi_dataset *d, struct mi_pack *pack) {
    memset(pack, 0, sizeof *pack);
    enum mi_status st = map_file(path, pack);
    if (st == MI_OK) st = check_head(path, pack, d);
    if (st == MI_OK) st = check_sums(path, pack);
    if (st == MI_OK) st = read_text(path, pack, d);
    if (st == MI_OK) st = place(path, pack, d);
    if (st != MI_OK) mi_pack_close(pack);
    return st;
}

/* By the sums of the chunks, which opening has compared with the data. */
void mi_pack_hash(const struct mi_pack *pack, struct mi_hasher *h) {
    const struct mi_pack_head *head = pack->map;
    const uint8_t *sum = (const uint8_t *)pack->map + sizeof *head + head->text_bytes;
    char hex[65];
    for (uint64_t i = 0; i < head->chunks; i++) {
        for (int k = 0; k < 32; k++) snprintf(hex + 2 * k, 3, "%02x", *sum++);
        mi_hasher_text(h, "chunk", hex);
    }
}

void mi_pack_close(struct mi_pack *pack) {
    if (pack->map) munmap(pack->map, pack->bytes);
    memset(pack, 0, sizeof *pack);
}
