/* archive_layout.c - from what a torch.save file describes to the table of an archive: which tensors, which facts.
 *
 * People save a state dict by itself or inside {'state_dict': ..., 'epoch': ..., 'optimizer': ...}, sometimes deeper.
 * The rule: of all dictionaries that can be reached through dictionaries, lists and tuples, the one whose own tensors
 * have the most elements is the state dict; optimiser states (a key that begins with "optim", or a dictionary with
 * 'state' and 'param_groups') are not looked into.  Of equally large ones (a network and its moving average) the one
 * under the better known key wins, then the first.  Plain values on the way become metadata.
 *
 * Every tensor taken is checked here against the bytes of its storage; what is not taken is never looked at. */
#include <stdlib.h>
#include <string.h>

#include "src/tensor/archive.h"

#define LEVELS        6    /* how deep a state dict may hide */
#define QUEUE_MAX     4096 /* containers looked at */
#define META_TEXT_MAX 1024

struct place_in {
    const struct pk_value *v;
    struct pk_text key;
    int level;
    char path[64];
};
struct search {
    mt_archive *a;
    struct place_in *queue;
    int n;
    const struct pk_value *best;
    int64_t most;
    int rank;
};

static bool starts_with(struct pk_text t, const char *word) {
    size_t n = strlen(word);
    return t.n >= n && memcmp(t.s, word, n) == 0;
}

/* Product of the sizes, held at the largest number instead of overflowing; 0 when it is no list of sizes. */
static int64_t elements(const struct pk_value *size) {
    int64_t n = 1;
    for (uint32_t i = 0; i < size->list.n; i++) {
        const struct pk_value *s = size->list.item[i];
        if (s->kind != PK_INT || s->i < 0) return 0;
        if (__builtin_mul_overflow(n, s->i, &n)) return INT64_MAX;
    }
    return n;
}

/* Elements of all tensors the map holds itself; -1 when it holds none. */
static int64_t weight(const struct pk_value *map) {
    int64_t sum = 0;
    bool any = false;
    for (uint32_t i = 0; i + 1 < map->list.n; i += 2) {
        const struct pk_value *k = map->list.item[i], *v = map->list.item[i + 1];
        if (k->kind != PK_TEXT || v->kind != PK_TENSOR) continue;
        any = true;
        if (__builtin_add_overflow(sum, elements(v->tensor.size), &sum)) sum = INT64_MAX;
    }
    return any ? sum : -1;
}

static int rank_of(struct pk_text key) {
    static const char *const known[] = {"state_dict", "model_state_dict", "model", "net", "weights"};
    for (int i = 0; i < 5; i++)
        if (pk_is(key, known[i])) return i;
    return 5;
}

static bool is_optimiser(struct pk_text key, const struct pk_value *v) {
    return starts_with(key, "optim") || (pk_get(v, "state") && pk_get(v, "param_groups"));
}

/* ---- metadata -------------------------------------------------------------------------------------------------- */

static json_t *plain_text(const struct pk_value *v) {
    char text[64];
    switch (v->kind) {
    case PK_TEXT:
        return v->text.n <= META_TEXT_MAX && !memchr(v->text.s, 0, v->text.n) ? json_stringn(v->text.s, v->text.n)
                                                                              : NULL;
    case PK_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->i);
        return json_string(text);
    case PK_REAL:
        snprintf(text, sizeof text, "%.15g", v->d);
        if (strtod(text, NULL) != v->d) snprintf(text, sizeof text, "%.17g", v->d);
        return json_string(text);
    case PK_BOOL:
        return json_string(v->yes ? "true" : "false");
    default:
        return NULL;
    }
}

static void note_plain(mt_archive *a, const char *path, struct pk_text key, const struct pk_value *v) {
    char name[128];
    if (json_object_size(a->meta) >= ARCHIVE_META_MAX || key.n == 0 || key.n > 60 || memchr(key.s, 0, key.n)) return;
    snprintf(name, sizeof name, "%s%.*s", path, (int)key.n, key.s);
    if (json_object_get(a->meta, name)) return;
    json_t *text = plain_text(v);
    if (text) json_object_set_new(a->meta, name, text); /* a name that is no UTF-8 is left out */
}

/* ---- looking for the state dict -------------------------------------------------------------------------------- */

static void look_at(struct search *s, const struct pk_value *v, struct pk_text key, int level, const char *path) {
    /* A Namespace of settings is looked into, a pickled network is not: its tensors are spread over many parts. */
    if (v->kind == PK_OPAQUE && v->opaque.state && !pk_get(v->opaque.state, "_parameters")) v = v->opaque.state;
    bool container = v->kind == PK_MAP || v->kind == PK_LIST || v->kind == PK_TUPLE;
    if (!container || level > LEVELS || s->n >= QUEUE_MAX || is_optimiser(key, v)) return;
    struct place_in *p = &s->queue[s->n++];
    *p = (struct place_in){.v = v, .key = key, .level = level};
    if (key.n && key.n < 24 && strlen(path) < 32) snprintf(p->path, sizeof p->path, "%s%.*s.", path, (int)key.n, key.s);
}

static void look_inside(struct search *s, const struct place_in *p) {
    const struct pk_value *v = p->v;
    uint32_t step = v->kind == PK_MAP ? 2 : 1;
    for (uint32_t i = 0; i + step <= v->list.n; i += step) {
        struct pk_value *k = v->list.item[i], *x = v->list.item[i + step - 1];
        struct pk_text key = {"", 0};
        if (step == 2 && k->kind == PK_TEXT) key = k->text;
        if (key.n && (p->level == 0 || *p->path)) note_plain(s->a, p->path, key, x);
        if (x->seen) continue;
        x->seen = x->kind == PK_MAP || x->kind == PK_LIST || x->kind == PK_TUPLE || x->kind == PK_OPAQUE;
        look_at(s, x, key, p->level + 1, p->path);
    }
}

/* Breadth first, so that "the first" is the outermost. */
static enum mi_status find_state_dict(struct search *s, const struct pk_value *root) {
    s->queue = mi_calloc(QUEUE_MAX, sizeof *s->queue);
    if (!s->queue) return MI_E_NOMEM;
    s->most = -1;
    look_at(s, root, (struct pk_text){"", 0}, 0, "");
    for (int i = 0; i < s->n; i++) {
        const struct place_in p = s->queue[i];
        int64_t w = p.v->kind == PK_MAP ? weight(p.v) : -1;
        int rank = rank_of(p.key);
        if (w > s->most || (w >= 0 && w == s->most && rank < s->rank)) {
            s->best = p.v;
            s->most = w;
            s->rank = rank;
        }
        look_inside(s, &p);
    }
    free(s->queue);
    return MI_OK;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

/* Names are shown, stored and searched: no control bytes, and UTF-8. */
static enum mi_status take_name(const mt_archive *a, const struct pickle *p, const struct pk_value *k,
                                char name[ARCHIVE_NAME_MAX + 1]) {
    struct pk_text t = k->text;
    json_t *utf8 = json_stringn(t.s, t.n);
    bool good = t.n > 0 && t.n <= ARCHIVE_NAME_MAX && utf8;
    json_decref(utf8);
    for (uint32_t i = 0; good && i < t.n; i++) good = (unsigned char)t.s[i] >= 0x20 && t.s[i] != 0x7f;
    if (!good)
        return mi_fail(MI_E_INPUT, "%s: byte %llu: a tensor's name is empty, too long or not proper text", a->path,
                       (unsigned long long)(p->base + k->at));
    memcpy(name, t.s, t.n);
    name[t.n] = '\0';
    return MI_OK;
}

static enum mi_status bad(const char *what) {
    return mi_fail(MI_E_INPUT, "%s", what);
}

/* Sizes, strides and offset against `limit` elements of storage.  `room`: bytes all tensors together may still claim.
 */
static enum mi_status take_geometry(const struct pk_value *v, uint64_t limit, uint64_t size, uint64_t *room,
                                    struct archive_entry *e) {
    const struct pk_value *dims = v->tensor.size, *strides = v->tensor.stride;
    if (dims->list.n != strides->list.n) return bad("it has not as many strides as dimensions");
    if (dims->list.n > MT_MAXDIM) return bad("it has more than 8 dimensions");
    e->nd = (int)dims->list.n;
    int64_t n = 1, packed = 1, span = 1; /* span counts a size of 0 as 1 */
    uint64_t last = (uint64_t)v->tensor.offset->i;
    for (int d = e->nd - 1; d >= 0; d--) {
        const struct pk_value *s = dims->list.item[d], *t = strides->list.item[d];
        if (s->kind != PK_INT || t->kind != PK_INT) return bad("a size or stride is no whole number");
        if (s->i < 0 || t->i < 0) return bad("a size or stride is negative");
        e->shape[d] = s->i;
        e->stride[d] = t->i;
        if (__builtin_mul_overflow(span, s->i ? s->i : 1, &span)) return bad("its sizes are absurd");
        uint64_t reach;
        if (s->i > 0 && (__builtin_mul_overflow((uint64_t)(s->i - 1), (uint64_t)t->i, &reach) ||
                         __builtin_add_overflow(last, reach, &last)))
            return bad("its strides are absurd");
        if (s->i != 1 && t->i != packed) e->strided = true;
        packed = span;
        n *= s->i;
    }
    if (v->tensor.offset->i < 0 || (uint64_t)v->tensor.offset->i > limit)
        return bad("its offset is outside its storage");
    if (n > 0 && last >= limit) return bad("it reaches beyond its storage");
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)n, (uint64_t)archive_dtype_size(e->dtype), &bytes) || bytes > *room)
        return bad("it claims far more elements than the file holds");
    *room -= bytes;
    if (n == 0) e->strided = false;
    e->begin += n ? (uint64_t)v->tensor.offset->i * size : 0;
    e->end = e->begin + (uint64_t)n * size;
    return MI_OK;
}

static enum mi_status take_tensor(const struct pk_value *v, archive_locate *locate, void *ctx, uint64_t *room,
                                  struct archive_entry *e) {
    const struct pk_value *storage = v->tensor.storage;
    struct archive_place place;
    if (storage->kind != PK_STORAGE) return bad("its data are not a storage of PyTorch");
    const struct pk_element *element = storage->storage.element;
    if (!element->bytes)
        return mi_fail(MI_E_INPUT, "element type %.*s is not supported",
                       storage->storage.class.n < 64 ? (int)storage->storage.class.n : 64, storage->storage.class.s);
    MI_TRY(locate(ctx, storage, &place));
    uint64_t bytes;
    if (storage->storage.count < 0 ||
        __builtin_mul_overflow((uint64_t)storage->storage.count, element->bytes, &bytes) || bytes > place.bytes)
        return bad("its storage claims more elements than the file holds for it");
    *e = (struct archive_entry){.dtype = (mt_dtype)element->dtype,
                                .widen = (uint8_t)element->widen,
                                .record = place.record,
                                .begin = place.begin};
    return take_geometry(v, (uint64_t)storage->storage.count, element->bytes, room, e);
}

static enum mi_status blame(const mt_archive *a, const struct pickle *p, const char *name, const struct pk_value *v) {
    return mi_fail_context("%s: tensor '%.200s' (byte %llu)", a->path, name, (unsigned long long)(p->base + v->at));
}

static enum mi_status take_all(mt_archive *a, const struct pickle *p, const struct pk_value *map,
                               archive_locate *locate, void *ctx) {
    uint64_t room = 8 * (uint64_t)a->map_size + (1u << 20);
    for (uint32_t i = 0; i + 1 < map->list.n; i += 2) {
        const struct pk_value *k = map->list.item[i], *v = map->list.item[i + 1];
        char name[ARCHIVE_NAME_MAX + 1];
        struct archive_entry e;
        bool needed = v->kind == PK_TENSOR || (v->kind == PK_OPAQUE && v->holds_tensor);
        if (k->kind != PK_TEXT || !needed) continue;
        MI_TRY(take_name(a, p, k, name));
        if (v->kind == PK_OPAQUE) {
            struct pk_text m = v->opaque.module, c = v->opaque.class;
            mi_fail(MI_E_INPUT, "it is made by %.*s %.*s, which is not a plain tensor", (int)(m.n < 64 ? m.n : 64), m.s,
                    (int)(c.n < 64 ? c.n : 64), c.s);
            return blame(a, p, name, v);
        }
        if (take_tensor(v, locate, ctx, &room, &e) != MI_OK) return blame(a, p, name, v);
        MI_TRY(archive_add(a, name, e));
    }
    return MI_OK;
}

static enum mi_status nothing_found(const mt_archive *a, const struct pk_value *root) {
    if (root->kind == PK_OPAQUE)
        return mi_fail(MI_E_INPUT,
                       "%s holds a pickled object (%.*s.%.*s), not a state dict; nothing of it is executed: save "
                       "model.state_dict() instead",
                       a->path, (int)(root->opaque.module.n < 64 ? root->opaque.module.n : 64), root->opaque.module.s,
                       (int)(root->opaque.class.n < 64 ? root->opaque.class.n : 64), root->opaque.class.s);
    if (root->kind == PK_TENSOR) return mi_fail(MI_E_INPUT, "%s holds one tensor without a name", a->path);
    return mi_fail(MI_E_INPUT, "%s holds no dictionary of tensors", a->path);
}

enum mi_status archive_layout(mt_archive *a, const struct pickle *p, struct pk_value *root, archive_locate *locate,
                              void *ctx) {
    struct search s = {.a = a};
    if (!a->meta && !(a->meta = json_object())) return mi_fail(MI_E_NOMEM, "%s: out of memory", a->path);
    MI_TRY(find_state_dict(&s, root));
    return s.best ? take_all(a, p, s.best, locate, ctx) : nothing_found(a, root);
}
