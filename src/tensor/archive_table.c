/* archive_table.c - the table of an archive: what tensors there are, by place and by name; nothing of libtorch.
 *
 * Names are unique.  The sorted order is kept while entries come in, for writers, and made anew where wrappers are
 * taken off the names, for readers.  Entries are few (a large network has a thousand, the limit is 65535). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "src/tensor/archive.h"

static const struct {
    const char *name;
    int size;
} dtype_table[] = {
    [MT_F32] = {"F32", 4}, [MT_F64] = {"F64", 8}, [MT_BF16] = {"BF16", 2}, [MT_F16] = {"F16", 2},
    [MT_I64] = {"I64", 8}, [MT_I32] = {"I32", 4}, [MT_U8] = {"U8", 1},     [MT_BOOL] = {"BOOL", 1},
};

const char *archive_dtype_name(mt_dtype d) {
    return dtype_table[d].name;
}
int64_t archive_dtype_size(mt_dtype d) {
    return dtype_table[d].size;
}

bool archive_dtype_find(const char *name, mt_dtype *out) {
    for (unsigned i = 0; i < sizeof dtype_table / sizeof *dtype_table; i++)
        if (!strcmp(dtype_table[i].name, name)) {
            *out = (mt_dtype)i;
            return true;
        }
    return false;
}

/* ---- the table of entries, for both directions ---------------------------------------------------------------- */

/* Place of `name` in the sorted order; *found tells whether it is there. */
static int place(const mt_archive *a, const char *name, bool *found) {
    int lo = 0, hi = a->n;
    *found = false;
    while (lo < hi && !*found) {
        int mid = (lo + hi) / 2, cmp = strcmp(name, a->entry[a->by_name[mid]].name);
        if (cmp == 0)
            *found = true, lo = mid;
        else if (cmp < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

int archive_find(const mt_archive *a, const char *name) {
    bool found;
    int at = place(a, name, &found);
    return found ? a->by_name[at] : -1;
}

static bool make_room(mt_archive *a) {
    if (a->n < a->cap) return true;
    int cap = a->cap ? 2 * a->cap : 64;
    void *entry = realloc(a->entry, (size_t)cap * sizeof *a->entry);
    if (entry) a->entry = entry;
    void *by_name = realloc(a->by_name, (size_t)cap * sizeof *a->by_name);
    if (by_name) a->by_name = by_name;
    if (entry && by_name) a->cap = cap;
    return entry && by_name;
}

enum mi_status archive_add(mt_archive *a, const char *name, struct archive_entry e) {
    bool found;
    size_t len = strlen(name);
    if (len == 0 || len > ARCHIVE_NAME_MAX || !strcmp(name, "__metadata__"))
        return mi_fail(MI_E_INPUT, "%s: a tensor name has %zu characters, 1 to %d are allowed", a->path, len,
                       ARCHIVE_NAME_MAX);
    int at = place(a, name, &found);
    if (a->n >= ARCHIVE_TENSORS_MAX)
        return mi_fail(MI_E_INPUT, "%s: more than %d tensors", a->path, ARCHIVE_TENSORS_MAX);
    if (found) return mi_fail(MI_E_INPUT, "%s: two tensors are called '%s'", a->path, name);
    if (!make_room(a) || !(e.name = strdup(name))) return mi_fail(MI_E_NOMEM, "%s: out of memory", a->path);
    memmove(a->by_name + at + 1, a->by_name + at, (size_t)(a->n - at) * sizeof *a->by_name);
    a->by_name[at] = a->n;
    a->entry[a->n++] = e;
    return MI_OK;
}

void archive_release(mt_archive *a) {
    if (!a) return;
    for (int i = 0; i < a->n; i++) free(a->entry[i].name);
    free(a->entry);
    free(a->by_name);
    json_decref(a->meta);
    if (a->out) fclose(a->out);
    if (a->map && !a->borrowed) munmap((void *)(uintptr_t)a->map, a->map_size);
    zip_close(&a->zip);
    free(a->tmp);
    free(a->path);
    free(a);
}

bool mt_archive_has(const mt_archive *a, const char *name) {
    return a && archive_find(a, name) >= 0;
}
int mt_archive_index(const mt_archive *a, const char *name) {
    return a ? archive_find(a, name) : -1;
}
int mt_archive_count(const mt_archive *a) {
    return a ? a->n : 0;
}
const char *mt_archive_name(const mt_archive *a, int i) {
    return a && i >= 0 && i < a->n ? a->entry[i].name : NULL;
}

int mt_archive_shape(const mt_archive *a, int i, int64_t out[MT_MAXDIM]) {
    if (!a || i < 0 || i >= a->n) return -1;
    memcpy(out, a->entry[i].shape, (size_t)a->entry[i].nd * sizeof *out);
    return a->entry[i].nd;
}

mt_dtype mt_archive_dtype(const mt_archive *a, int i) {
    return a && i >= 0 && i < a->n ? a->entry[i].dtype : MT_F32;
}

const char *mt_archive_meta(const mt_archive *a, const char *key) {
    return a ? json_string_value(json_object_get(a->meta, key)) : NULL;
}

const char *mt_archive_meta_key(const mt_archive *a, int i) {
    void *it = a && i >= 0 ? json_object_iter(a->meta) : NULL;
    while (it && i-- > 0) it = json_object_iter_next(a->meta, it);
    return it ? json_object_iter_key(it) : NULL;
}

const char *mt_archive_format(const mt_archive *a) {
    static const char *const word[] = {"safetensors", "torch", "torch (before 1.6)"};
    return a ? word[a->format] : "";
}

/* ---- wrappers ---------------------------------------------------------------------------------------------------- */

static bool all_start_with(const mt_archive *a, const char *prefix, size_t n) {
    for (int i = 0; i < a->n; i++)
        if (strncmp(a->entry[i].name, prefix, n) != 0 || a->entry[i].name[n] == '\0') return false;
    return a->n > 0;
}

static void cut_all(mt_archive *a, size_t n) {
    for (int i = 0; i < a->n; i++) memmove(a->entry[i].name, a->entry[i].name + n, strlen(a->entry[i].name + n) + 1);
}

/* torch.compile puts its word before the name of the module it was given, which may be an inner one. */
static void cut_inside(char *name) {
    static const char word[] = "_orig_mod.";
    const size_t n = sizeof word - 1;
    for (char *at = strstr(name, word); at; at = strstr(at, word)) {
        if ((at == name || at[-1] == '.') && at[n])
            memmove(at, at + n, strlen(at + n) + 1);
        else
            at++;
    }
}

static int by_text(const void *x, const void *y, void *ctx) {
    const struct archive_entry *entry = ctx;
    return strcmp(entry[*(const int *)x].name, entry[*(const int *)y].name);
}

enum mi_status archive_unwrap(mt_archive *a) {
    static const char *const wrapper[] = {"module.", "_orig_mod.", "model."};
    for (size_t i = 0; i < sizeof wrapper / sizeof *wrapper;) {
        size_t n = strlen(wrapper[i]);
        if (all_start_with(a, wrapper[i], n))
            cut_all(a, n), i = 0;
        else
            i++;
    }
    for (int i = 0; i < a->n; i++) {
        cut_inside(a->entry[i].name);
        a->by_name[i] = i;
    }
    if (a->n) qsort_r(a->by_name, (size_t)a->n, sizeof *a->by_name, by_text, a->entry);
    for (int i = 1; i < a->n; i++) {
        const char *name = a->entry[a->by_name[i]].name;
        if (!strcmp(a->entry[a->by_name[i - 1]].name, name))
            return mi_fail(MI_E_INPUT, "%s: two tensors are called '%s'", a->path, name);
    }
    return MI_OK;
}
