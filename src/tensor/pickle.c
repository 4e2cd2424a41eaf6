/* pickle.c - the machine's memory: values, stack, open groups, containers, memo, each with its limit.
 *
 * Values live in chunks that go with the machine; nothing is released one by one and nothing recurses, so neither
 * nesting nor cycles can hurt.  Depth is counted all the same, from the inside out, because a state dict has no use
 * for towers and a caller may want to walk one.  The instructions are pickle_ops.c, calls pickle_build.c. */
#include "src/tensor/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK     512
#define MARKS_MAX 256

struct pk_chunk {
    struct pk_chunk *next;
    uint32_t n;
    struct pk_value value[CHUNK];
};

enum mi_status pickle_bad(const struct pickle *p, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return mi_fail(MI_E_INPUT, "%s: byte %llu: %s", p->label, (unsigned long long)(p->base + p->op), text);
}

void pickle_begin(struct pickle *p, const char *label, const uint8_t *bytes, size_t size, uint64_t base) {
    memset(p, 0, sizeof *p);
    p->label = label;
    p->bytes = bytes;
    p->size = size < PK_BYTES_MAX ? size : PK_BYTES_MAX;
    p->base = base;
}

void pickle_end(struct pickle *p) {
    while (p->chunk) {
        struct pk_chunk *next = p->chunk->next;
        for (uint32_t i = 0; i < p->chunk->n; i++) {
            struct pk_value *v = &p->chunk->value[i];
            if (v->kind == PK_TUPLE || v->kind == PK_LIST || v->kind == PK_MAP) free(v->list.item);
        }
        free(p->chunk);
        p->chunk = next;
    }
    free(p->stack);
    free(p->memo);
    free(p->mark);
    free(p->storage);
    memset(p, 0, sizeof *p);
}

bool pk_is(struct pk_text t, const char *word) {
    return strlen(word) == t.n && memcmp(t.s, word, t.n) == 0;
}

struct pk_value *pk_get(const struct pk_value *map, const char *key) {
    if (!map || map->kind != PK_MAP) return NULL;
    for (uint32_t i = map->list.n; i >= 2; i -= 2) {
        const struct pk_value *k = map->list.item[i - 2];
        if (k->kind == PK_TEXT && pk_is(k->text, key)) return map->list.item[i - 1];
    }
    return NULL;
}

/* ---- values, stack, containers --------------------------------------------------------------------------------- */

/* Room for one more in a growing array of pointers. */
static bool grow(struct pk_value ***array, uint32_t need, uint32_t *cap) {
    if (need <= *cap) return true;
    uint32_t more = *cap ? 2 * *cap : 16;
    if (more < need) more = need;
    void *bigger = realloc(*array, (size_t)more * sizeof **array);
    if (!bigger) return false;
    *array = bigger;
    *cap = more;
    return true;
}

static enum mi_status no_memory(const struct pickle *p) {
    return mi_fail(MI_E_NOMEM, "%s: out of memory", p->label);
}

struct pk_value *pickle_value(struct pickle *p, enum pk_kind kind) {
    if (p->n_values >= PK_VALUES_MAX) {
        pickle_bad(p, "more than %u values", PK_VALUES_MAX);
        return NULL;
    }
    if (!p->chunk || p->chunk->n == CHUNK) {
        struct pk_chunk *c = calloc(1, sizeof *c);
        if (!c) {
            no_memory(p);
            return NULL;
        }
        c->next = p->chunk;
        p->chunk = c;
    }
    struct pk_value *v = &p->chunk->value[p->chunk->n++];
    p->n_values++;
    v->kind = kind;
    v->at = (uint32_t)p->op;
    return v;
}

enum mi_status pickle_push(struct pickle *p, struct pk_value *v) {
    if (!v) return mi_error_status();
    if (p->n_stack >= PK_STACK_MAX) return pickle_bad(p, "more than %u values wait on the stack", PK_STACK_MAX);
    if (!grow(&p->stack, p->n_stack + 1, &p->cap_stack)) return no_memory(p);
    p->stack[p->n_stack++] = v;
    return MI_OK;
}

/* The lowest place of the stack that belongs to the innermost open group. */
uint32_t pickle_ground(const struct pickle *p) {
    return p->n_mark ? p->mark[p->n_mark - 1] : 0;
}

struct pk_value *pickle_pop(struct pickle *p) {
    if (p->n_stack > pickle_ground(p)) return p->stack[--p->n_stack];
    pickle_bad(p, "takes a value from an empty stack");
    return NULL;
}

enum mi_status pickle_open_group(struct pickle *p) {
    if (!p->mark && !(p->mark = calloc(MARKS_MAX, sizeof *p->mark))) return no_memory(p);
    if (p->n_mark == MARKS_MAX) return pickle_bad(p, "more than %d groups are open", MARKS_MAX);
    p->mark[p->n_mark++] = p->n_stack;
    return MI_OK;
}

/* Where the innermost group begins, which is closed by this; UINT32_MAX and a failure when none is open. */
uint32_t pickle_close_group(struct pickle *p) {
    if (p->n_mark) return p->mark[--p->n_mark];
    pickle_bad(p, "closes a group that was not opened");
    return UINT32_MAX;
}

enum mi_status pickle_append(struct pickle *p, struct pk_value *list, struct pk_value *v) {
    if (!list || !v) return mi_error_status();
    if (p->n_items >= PK_ITEMS_MAX) return pickle_bad(p, "containers hold more than %u values", PK_ITEMS_MAX);
    if (v->depth + 1 > PK_DEPTH_MAX) return pickle_bad(p, "values are nested more than %d deep", PK_DEPTH_MAX);
    if (!grow(&list->list.item, list->list.n + 1, &list->list.cap)) return no_memory(p);
    list->list.item[list->list.n++] = v;
    p->n_items++;
    if (list->depth < v->depth + 1) list->depth = (uint8_t)(v->depth + 1);
    return MI_OK;
}

/* Moves everything from stack place `from` into the container. */
enum mi_status pickle_absorb(struct pickle *p, struct pk_value *list, uint32_t from) {
    for (uint32_t i = from; i < p->n_stack; i++) MI_TRY(pickle_append(p, list, p->stack[i]));
    p->n_stack = from;
    return MI_OK;
}

/* ---- memo ---- */

enum mi_status pickle_memo_put(struct pickle *p, uint64_t i) {
    if (p->n_stack <= pickle_ground(p)) return pickle_bad(p, "takes a value from an empty stack");
    /* A pickler numbers them one after the other, and each takes an instruction. */
    if (i > p->at || i >= PK_MEMO_MAX) return pickle_bad(p, "memo number %llu is absurd", (unsigned long long)i);
    uint32_t had = p->cap_memo;
    if (!grow(&p->memo, (uint32_t)i + 1, &p->cap_memo)) return no_memory(p);
    if (p->cap_memo > had) memset(p->memo + had, 0, (p->cap_memo - had) * sizeof *p->memo);
    if (i >= p->n_memo) p->n_memo = (uint32_t)i + 1;
    p->memo[i] = p->stack[p->n_stack - 1];
    return MI_OK;
}

enum mi_status pickle_memo_get(struct pickle *p, uint64_t i) {
    if (i >= p->n_memo || !p->memo[i]) return pickle_bad(p, "memo number %llu was never given", (unsigned long long)i);
    return pickle_push(p, p->memo[i]);
}

enum mi_status pickle_note_storage(struct pickle *p, struct pk_value *v) {
    if (!grow(&p->storage, p->n_storage + 1, &p->cap_storage)) return no_memory(p);
    p->storage[p->n_storage++] = v;
    return MI_OK;
}
