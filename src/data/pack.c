/* pack.c - builds a pack: every picture of a listing decoded, cropped and resized once, on all cores.
 *
 * The pixels are written straight into a mapping of a temporary file whose space was reserved first (a full disk is
 * an error here, not a SIGBUS later).  Pictures that cannot be decoded leave holes; the holes are closed, counted
 * and named.  A person who would be left without a training photo is an error: labels must stay what the split rule
 * says.  Then checksums, head, fsync, rename - a reader sees the finished pack or none. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "src/data/pack_priv.h"

#define NAMED_SKIPS 5 /* skipped files named in the note */

struct builder {
    const struct mi_data_desc *desc;
    const struct mi_values *values;
    const struct mi_listing *listing;
    int size;
    char *tmp;
    int fd;
    uint8_t *map;
    size_t map_bytes, data_at, total;
    size_t first[MI_SPLIT_COUNT];    /* position of a split in the one numbering of all items */
    uint8_t *rgb[MI_SPLIT_COUNT];    /* into map */
    int32_t *labels[MI_SPLIT_COUNT]; /* into map */
    size_t n[MI_SPLIT_COUNT];        /* kept */
    uint8_t *bad;                    /* [total] could not be decoded */
    pthread_mutex_t lock;            /* guards named */
    char *named[NAMED_SKIPS];        /* messages of the first skipped files, by position */
    size_t named_at[NAMED_SKIPS];
    size_t skipped;
};

/* ---- checksums ------------------------------------------------------------------------------------------------ */

struct sums {
    const uint8_t *data;
    size_t bytes;
    uint8_t *out;
};

static enum mi_status sum_chunk(void *user, size_t i) {
    struct sums *s = user;
    size_t at = i * MI_PACK_CHUNK, n = s->bytes - at < MI_PACK_CHUNK ? s->bytes - at : MI_PACK_CHUNK;
    if (!EVP_Digest(s->data + at, n, s->out + i * 32, NULL, EVP_sha256(), NULL))
        return mi_fail(MI_E_INTERNAL, "SHA-256 is not available from libcrypto");
    return MI_OK;
}

enum mi_status mi_pack_sums(const uint8_t *data, size_t bytes, uint8_t *sums) {
    struct sums s = {.data = data, .bytes = bytes, .out = sums};
    return mi_parallel((bytes + MI_PACK_CHUNK - 1) / MI_PACK_CHUNK, sum_chunk, &s, NULL, NULL);
}

enum mi_status mi_pack_seal(const struct mi_pack_head *head, const uint8_t *rest, uint8_t seal[32]) {
    struct mi_pack_head clean = *head;
    memset(clean.seal, 0, sizeof clean.seal);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, &clean, sizeof clean) &&
              EVP_DigestUpdate(md, rest, head->data_at - sizeof clean) && EVP_DigestFinal_ex(md, seal, NULL);
    EVP_MD_CTX_free(md);
    return ok ? MI_OK : mi_fail(MI_E_INTERNAL, "SHA-256 is not available from libcrypto");
}

/* ---- decoding ------------------------------------------------------------------------------------------------- */

/* Keeps the messages of the skipped files that come first in the listing, whichever worker was quicker. */
static void note_skip(struct builder *b, size_t at, const char *message) {
    pthread_mutex_lock(&b->lock);
    size_t slot = b->skipped < NAMED_SKIPS ? b->skipped : 0;
    if (b->skipped >= NAMED_SKIPS)
        for (size_t i = 1; i < NAMED_SKIPS; i++)
            if (b->named_at[i] > b->named_at[slot]) slot = i;
    if (b->skipped < NAMED_SKIPS || at < b->named_at[slot]) {
        free(b->named[slot]);
        b->named[slot] = mi_strdup(message);
        b->named_at[slot] = at;
    }
    b->skipped++;
    pthread_mutex_unlock(&b->lock);
}

static enum mi_status fill_item(void *user, size_t i) {
    struct builder *b = user;
    enum mi_split split = i >= b->first[MI_PUBLIC] ? MI_PUBLIC : i >= b->first[MI_TEST] ? MI_TEST : MI_TRAIN;
    size_t k = i - b->first[split];
    const struct mi_item *it = &b->listing->items[split][k];
    b->labels[split][k] = split == MI_PUBLIC ? -1 : it->label; /* an attacker is not told who */
    uint8_t *rgb = b->rgb[split] + k * (size_t)b->size * (size_t)b->size * 3;
    enum mi_status st = b->desc->pixels(b->values, b->listing, split, it, b->size, rgb);
    if (st != MI_E_INPUT) return st;
    b->bad[i] = 1;
    note_skip(b, i, mi_error_text());
    mi_error_clear();
    return MI_OK;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

static size_t place(struct builder *b, const size_t n[MI_SPLIT_COUNT]) {
    size_t at = b->data_at;
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        if (b->map) b->rgb[s] = b->map + at;
        at += mi_pack_pixels(n[s], b->size);
        if (b->map) b->labels[s] = (int32_t *)(void *)(b->map + at);
        at += mi_pack_labels(n[s]);
    }
    return at;
}

static enum mi_status disk_error(const char *what, const char *path, int number) {
    return mi_fail(MI_E_DISK, "cannot %s the pack %s: %s", what, path, strerror(number));
}

/* Removes what builders that were killed have left: a living one holds a lock on its temporary file. */
static void sweep(const char *path) {
    glob_t found;
    char *pattern = mi_format("%s.tmp.*", path);
    if (pattern && glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            int fd = open(found.gl_pathv[i], O_RDWR | O_CLOEXEC);
            if (fd < 0) continue;
            if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlink(found.gl_pathv[i]);
            close(fd);
        }
        globfree(&found);
    }
    free(pattern);
}

static enum mi_status map_file(struct builder *b, size_t text_bytes) {
    b->map_bytes = 0;
    size_t data = place(b, b->listing->n) - b->data_at;
    size_t chunks = (data + MI_PACK_CHUNK - 1) / MI_PACK_CHUNK;
    b->data_at = mi_pack_pad(sizeof(struct mi_pack_head) + text_bytes + chunks * 32, MI_PACK_PAGE);
    size_t bytes = b->data_at + data;
    b->fd = open(b->tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (b->fd < 0) return disk_error("create", b->tmp, errno);
    if (flock(b->fd, LOCK_EX | LOCK_NB) != 0) return disk_error("lock", b->tmp, errno);
    int failed = posix_fallocate(b->fd, 0, (off_t)bytes);
    if (failed) return disk_error(failed == ENOSPC ? "find room for" : "reserve", b->tmp, failed);
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
    if (map == MAP_FAILED) return disk_error("map", b->tmp, errno);
    b->map = map;
    b->map_bytes = bytes;
    place(b, b->listing->n);
    return MI_OK;
}

/* Moves the kept items of every split together, then the splits to where they belong with the smaller counts. */
static void close_holes(struct builder *b) {
    size_t pixel = (size_t)b->size * (size_t)b->size * 3;
    uint8_t *old_rgb[MI_SPLIT_COUNT];
    int32_t *old_labels[MI_SPLIT_COUNT];
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        old_rgb[s] = b->rgb[s];
        old_labels[s] = b->labels[s];
        size_t kept = 0;
        for (size_t i = 0; i < b->listing->n[s]; i++) {
            if (b->bad[b->first[s] + i]) continue;
            if (kept != i) memcpy(b->rgb[s] + kept * pixel, b->rgb[s] + i * pixel, pixel);
            b->labels[s][kept++] = b->labels[s][i];
        }
        b->n[s] = kept;
    }
    place(b, b->n);
    for (int s = 0; s < MI_SPLIT_COUNT; s++) { /* every move goes to lower addresses, in order */
        memmove(b->rgb[s], old_rgb[s], b->n[s] * pixel);
        memset(b->rgb[s] + b->n[s] * pixel, 0, mi_pack_pixels(b->n[s], b->size) - b->n[s] * pixel);
        memmove(b->labels[s], old_labels[s], b->n[s] * sizeof(int32_t));
        memset(b->labels[s] + b->n[s], 0, mi_pack_labels(b->n[s]) - b->n[s] * sizeof(int32_t));
    }
}

/* A class without training photos, or a split that lost everything, cannot be worked with. */
static enum mi_status check_kept(const struct builder *b) {
    const char *first = b->named[0] ? b->named[0] : "";
    for (int s = 0; s < MI_SPLIT_COUNT; s++)
        if (b->listing->n[s] && !b->n[s])
            return mi_fail(MI_E_INPUT, "none of the %zu %s images can be decoded (%s)", b->listing->n[s],
                           s == MI_TRAIN  ? "training"
                           : s == MI_TEST ? "test"
                                          : "public",
                           first);
    if (!b->n[MI_TRAIN]) return MI_OK;
    uint8_t *seen = mi_calloc((unsigned long)b->listing->classes, 1);
    if (!seen) return MI_E_NOMEM;
    for (size_t i = 0; i < b->n[MI_TRAIN]; i++) seen[b->labels[MI_TRAIN][i]] = 1;
    enum mi_status st = MI_OK;
    for (int k = 0; k < b->listing->classes && st == MI_OK; k++)
        if (!seen[k])
            st = mi_fail(MI_E_INPUT, "no training image of %s can be decoded (%s)", b->listing->class_names[k], first);
    free(seen);
    return st;
}

/* ---- head ------------------------------------------------------------------------------------------------------- */

/* The rule's own remark and what was skipped, as one line. */
static char *write_note(const struct builder *b) {
    char *text = mi_strdup(b->listing->note ? b->listing->note : "");
    if (!text || !b->skipped) return text;
    char *grown = mi_format("%s%s%zu undecodable images left out: ", text, *text ? "; " : "", b->skipped);
    free(text);
    text = grown;
    for (size_t i = 0; text && i < NAMED_SKIPS && i < b->skipped; i++) {
        grown = mi_format("%s%s%s", text, i ? "; " : "", b->named[i] ? b->named[i] : "?");
        free(text);
        text = grown;
    }
    return text;
}

/* NUL-ended class names and note. */
static char *write_text(const struct builder *b, const char *note, size_t *bytes) {
    size_t n = strlen(note) + 1;
    for (int k = 0; k < b->listing->classes; k++) n += strlen(b->listing->class_names[k]) + 1;
    char *text = mi_calloc(n, 1), *at = text;
    if (!text) return NULL;
    for (int k = 0; k < b->listing->classes; k++) at = stpcpy(at, b->listing->class_names[k]) + 1;
    strcpy(at, note);
    *bytes = n;
    return text;
}

static enum mi_status finish(struct builder *b, const char *text, size_t text_bytes, const char *path) {
    struct mi_pack_head head = {.order = MI_PACK_ORDER, .size = (uint32_t)b->size};
    memcpy(head.magic, MI_PACK_MAGIC, sizeof head.magic);
    head.classes = (uint32_t)b->listing->classes;
    for (int s = 0; s < MI_SPLIT_COUNT; s++) head.n[s] = b->n[s];
    size_t end = place(b, b->n);
    head.skipped = b->skipped;
    head.text_bytes = text_bytes;
    head.data_at = b->data_at;
    head.data_bytes = end - b->data_at;
    head.chunks = (head.data_bytes + MI_PACK_CHUNK - 1) / MI_PACK_CHUNK;
    uint8_t *sums = b->map + sizeof head + text_bytes;
    memcpy(b->map + sizeof head, text, text_bytes);
    MI_TRY(mi_pack_sums(b->map + b->data_at, head.data_bytes, sums));
    MI_TRY(mi_pack_seal(&head, b->map + sizeof head, head.seal));
    memcpy(b->map, &head, sizeof head);
    if (msync(b->map, b->map_bytes, MS_SYNC) != 0) return disk_error("write", b->tmp, errno);
    if (ftruncate(b->fd, (off_t)end) != 0 || fsync(b->fd) != 0) return disk_error("write", b->tmp, errno);
    if (rename(b->tmp, path) != 0) return disk_error("rename", b->tmp, errno);
    return MI_OK;
}

/* Makes the new name durable. Failing to sync the folder cannot lose data, only this build after a power cut. */
static void sync_folder(const char *path) {
    char *dir = mi_strdup(path);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash) {
        *slash = 0;
        int fd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            fsync(fd);
            close(fd);
        }
    }
    free(dir);
}

static enum mi_status build(struct builder *b, const char *path, mi_data_progress fn, void *user) {
    size_t room = 0;
    for (int k = 0; k < b->listing->classes; k++) room += strlen(b->listing->class_names[k]) + 1;
    room += (NAMED_SKIPS + 1) * 8192; /* the note: skipped files with their paths and reasons */
    MI_TRY(map_file(b, room));
    MI_TRY(mi_parallel(b->total, fill_item, b, fn, user));
    close_holes(b);
    MI_TRY(check_kept(b));
    char *note = write_note(b), *text = NULL;
    size_t text_bytes = 0;
    enum mi_status st = MI_E_NOMEM;
    if (note && strlen(note) >= (NAMED_SKIPS + 1) * 8192) note[(NAMED_SKIPS + 1) * 8192 - 1] = 0;
    if (note) text = write_text(b, note, &text_bytes);
    if (text) st = finish(b, text, text_bytes, path);
    free(note);
    free(text);
    return st;
}

enum mi_status mi_pack_build(const char *path, struct mi_dataset *d, const struct mi_values *v,
                             const struct mi_listing *l, mi_data_progress fn, void *user) {
    struct builder b = {.desc = d->desc, .values = v, .listing = l, .size = d->size, .fd = -1};
    for (int s = 0; s < MI_SPLIT_COUNT; s++) {
        b.first[s] = b.total;
        b.total += l->n[s];
    }
    if (b.total == 0) return mi_fail(MI_E_INPUT, "%s: there is not one image to pack", d->desc->info.name);
    sweep(path);
    b.tmp = mi_format("%s.tmp.%ld", path, (long)getpid());
    b.bad = mi_calloc(b.total, 1);
    pthread_mutex_init(&b.lock, NULL);
    enum mi_status st = b.tmp && b.bad ? build(&b, path, fn, user) : MI_E_NOMEM;
    if (b.map) munmap(b.map, b.map_bytes);
    if (b.fd >= 0) close(b.fd);
    if (st == MI_OK)
        sync_folder(path);
    else if (b.tmp)
        unlink(b.tmp);
    for (int i = 0; i < NAMED_SKIPS; i++) free(b.named[i]);
    pthread_mutex_destroy(&b.lock);
    free(b.bad);
    free(b.tmp);
    return st;
}
