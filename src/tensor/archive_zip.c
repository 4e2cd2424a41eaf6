/* archive_zip.c - reads what torch.save writes since PyTorch 1.6: a zip file of one pickle and raw storages.
 *
 *   ROOT/data.pkl     the pickle; ROOT is the file's first name, or "archive"
 *   ROOT/data/KEY     the bytes of one storage, little-endian
 *   ROOT/version      "3"
 *   ROOT/byteorder    since 2.1: "little", the only order taken
 *   ROOT/.midre       ours: metadata as a JSON object of texts (other programs do not look for it)
 * Keys are looked up in the zip's directory and never used as paths.  A TorchScript program also is a zip file with a
 * data.pkl; its records tell it apart. */
#include <string.h>

#include "src/tensor/archive.h"

#define KEY_MAX        128
#define META_BYTES_MAX (1u << 20)

struct root {
    const char *name;
    size_t len;
}; /* with its slash */

static int find(const mt_archive *a, struct root r, const char *name) {
    char whole[ZIP_NAME_MAX + KEY_MAX + 32];
    size_t n = strlen(name);
    if (r.len + n > sizeof whole) return -1;
    memcpy(whole, r.name, r.len);
    memcpy(whole + r.len, name, n);
    return zip_find(&a->zip, whole, r.len + n);
}

/* The one record that ends in "/data.pkl" says what everything else is called. */
static enum mi_status find_root(mt_archive *a, struct root *r, int *pickle) {
    static const char tail[] = "/data.pkl";
    const size_t n = sizeof tail - 1;
    *pickle = -1;
    for (int i = 0; i < a->zip.n; i++) {
        const struct zip_record *z = &a->zip.record[i];
        if (z->name_len <= n || memcmp(z->name + z->name_len - n, tail, n) != 0) continue;
        if (*pickle >= 0) return mi_fail(MI_E_INPUT, "%s: two records are called data.pkl", a->path);
        *pickle = i;
        *r = (struct root){z->name, z->name_len - n + 1};
    }
    if (*pickle < 0)
        return mi_fail(MI_E_INPUT, "%s is a zip file without data.pkl: not one that torch.save wrote", a->path);
    if (find(a, *r, "constants.pkl") < 0) return MI_OK;
    return mi_fail(MI_E_INPUT,
                   "%s is a TorchScript program, not a state dict: save model.state_dict() with torch.save instead",
                   a->path);
}

static enum mi_status check_version(mt_archive *a, struct root r) {
    int i = find(a, r, "version"), order = find(a, r, "byteorder");
    if (i < 0) return mi_fail(MI_E_INPUT, "%s: record 'version' is missing", a->path);
    const uint8_t *b = a->map + a->zip.record[i].at;
    uint64_t n = a->zip.record[i].size;
    int version = 0;
    for (uint64_t k = 0; k < n && k < 3 && b[k] >= '0' && b[k] <= '9'; k++) version = 10 * version + (b[k] - '0');
    if (version < 1 || version > 10)
        return mi_fail(MI_E_INPUT, "%s: record 'version' says none that is known", a->path);
    if (order < 0) return MI_OK;
    const struct zip_record *o = &a->zip.record[order];
    if (o->size == 6 && memcmp(a->map + o->at, "little", 6) == 0) return MI_OK;
    return mi_fail(MI_E_INPUT, "%s: record 'byteorder' is not \"little\": files of big-endian machines are not read",
                   a->path);
}

static bool plain_key(struct pk_text key) {
    for (uint32_t i = 0; i < key.n; i++) {
        char c = key.s[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("_.-", c)) || !c)
            return false;
    }
    return key.n > 0 && key.n <= KEY_MAX;
}

struct place_ctx {
    mt_archive *a;
    struct root r;
};

static enum mi_status locate(void *ctx, const struct pk_value *storage, struct archive_place *out) {
    struct place_ctx *c = ctx;
    char name[KEY_MAX + 8];
    struct pk_text key = storage->storage.key;
    if (!plain_key(key)) return mi_fail(MI_E_INPUT, "the key of its storage is not a plain word");
    snprintf(name, sizeof name, "data/%.*s", (int)key.n, key.s);
    int i = find(c->a, c->r, name);
    if (i < 0) return mi_fail(MI_E_INPUT, "record '%s' is missing", name);
    *out = (struct archive_place){c->a->zip.record[i].at, c->a->zip.record[i].size, i};
    return MI_OK;
}

/* Metadata that midre wrote into the file; it goes before what the pickle tells. */
static enum mi_status read_own_meta(mt_archive *a, struct root r) {
    int i = find(a, r, ".midre");
    if (i < 0) return MI_OK;
    MI_TRY(zip_check(&a->zip, i));
    const struct zip_record *z = &a->zip.record[i];
    json_t *j = z->size <= META_BYTES_MAX
                    ? json_loadb((const char *)a->map + z->at, (size_t)z->size, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    bool good = json_is_object(j);
    const char *key;
    json_t *value;
    json_object_foreach(j, key, value) good = good && json_is_string(value);
    if (good)
        a->meta = j;
    else
        json_decref(j);
    return good ? MI_OK : mi_fail(MI_E_INPUT, "%s: record '.midre' is no JSON object of texts", a->path);
}

enum mi_status archive_read_torch(mt_archive *a) {
    struct root r = {0};
    int record = -1;
    a->format = ARCHIVE_TORCH;
    a->data = a->map;
    MI_TRY(zip_open(&a->zip, a->path, a->map, a->map_size));
    MI_TRY(find_root(a, &r, &record));
    MI_TRY(check_version(a, r));
    MI_TRY(zip_check(&a->zip, record));
    MI_TRY(read_own_meta(a, r));
    const struct zip_record *z = &a->zip.record[record];
    struct pickle p;
    struct pk_value *top = NULL;
    pickle_begin(&p, a->path, a->map + z->at, (size_t)z->size, z->at);
    enum mi_status st = pickle_run(&p, &top);
    if (st == MI_OK) st = archive_layout(a, &p, top, locate, &(struct place_ctx){a, r});
    pickle_end(&p);
    return st;
}
