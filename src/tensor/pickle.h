/* pickle.h - a machine for the part of Python's pickle language that checkpoints need; it can only build values.
 *
 * There is no way to run anything: a class or function named by the file becomes a value of kind PK_CLASS, calling it
 * yields a tensor description for the three helpers of PyTorch that describe tensors, a map for OrderedDict, and for
 * everything else an opaque value that remembers its class for messages.  Texts point into the pickle's bytes, which
 * must outlive the machine.  All values belong to the machine and go with it, so graphs with cycles are no matter. */
#ifndef MIDRE_TENSOR_PICKLE_H
#define MIDRE_TENSOR_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "midre/status.h"

#define PK_DEPTH_MAX 64              /* containers inside containers */
#define PK_STACK_MAX (1u << 18)
#define PK_VALUES_MAX (2u << 20)
#define PK_ITEMS_MAX (8u << 20)      /* places in all containers together */
#define PK_MEMO_MAX (4u << 20)
#define PK_TEXT_MAX (64u << 10)
#define PK_BYTES_MAX (64u << 20)     /* one pickle */

enum pk_kind { PK_NONE, PK_BOOL, PK_INT, PK_REAL, PK_TEXT, PK_TUPLE, PK_LIST, PK_MAP, PK_CLASS, PK_STORAGE, PK_TENSOR,
               PK_OPAQUE };
/* What a class is good for; PK_DO_NOTHING gives opaque values. */
enum pk_role { PK_DO_NOTHING, PK_DO_MAP, PK_DO_TENSOR, PK_DO_PARAMETER, PK_DO_SIZE, PK_DO_DEVICE, PK_DO_STORAGE };

struct pk_text { const char *s; uint32_t n; };
/* Element type of a storage class: bytes 0 = known to PyTorch, not to us (complex, quantised). */
struct pk_element { const char *class_name; uint8_t bytes; int dtype /* mt_dtype */, widen /* 1: i8, 2: i16 */; };

struct pk_value {
    enum pk_kind kind;
    bool holds_tensor;               /* opaque made out of a tensor or a storage */
    bool seen;                       /* for walks by the caller */
    uint8_t depth;
    uint32_t at;                     /* byte of the instruction that made it, from the start of the pickles */
    union {
        bool yes;
        int64_t i;
        double d;
        struct pk_text text;
        struct { struct pk_value **item; uint32_t n, cap; } list; /* tuple, list; map: key, value, key, value, ... */
        struct { struct pk_text module, name; enum pk_role role; const struct pk_element *element; } class;
        struct { struct pk_text key, class; const struct pk_element *element; int64_t count; } storage;
        /* size and stride are tuples; unchecked */
        struct { struct pk_value *storage, *offset, *size, *stride; } tensor;
        struct { struct pk_text module, class; struct pk_value *state; } opaque; /* state: what BUILD gave, or NULL */
    };
};

struct pk_chunk;
struct pickle {
    const char *label;               /* starts every message */
    const uint8_t *bytes;
    size_t size, at, op;             /* op: byte of the instruction at work */
    uint64_t base;                   /* file position of bytes[0], for messages */
    struct pk_chunk *chunk;
    struct pk_value **stack, **memo, **storage; /* storage: every one described, in order */
    uint32_t *mark;
    uint32_t n_stack, cap_stack, n_mark, cap_memo, n_memo, n_storage, cap_storage, n_values, n_items;
};

void pickle_begin(struct pickle *p, const char *label, const uint8_t *bytes, size_t size, uint64_t base);
/* Runs one pickle from p->at to behind its STOP.  The stack and memo start empty, values of earlier runs stay. */
enum mi_status pickle_run(struct pickle *p, struct pk_value **out);
void pickle_end(struct pickle *p);

/* The value of a text key; NULL when absent or when `map` is no map.  The last of equal keys counts, as in Python. */
struct pk_value *pk_get(const struct pk_value *map, const char *key);
bool pk_is(struct pk_text t, const char *word);

/* ---- between pickle.c, pickle_ops.c and pickle_build.c ---- */
enum mi_status pickle_bad(const struct pickle *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct pk_value *pickle_value(struct pickle *p, enum pk_kind kind);     /* NULL: failure left */
enum mi_status pickle_push(struct pickle *p, struct pk_value *v);       /* NULL v: the failure already left */
struct pk_value *pickle_pop(struct pickle *p);
enum mi_status pickle_append(struct pickle *p, struct pk_value *list, struct pk_value *v);
uint32_t pickle_ground(const struct pickle *p);   /* lowest stack place of the innermost open group */
enum mi_status pickle_open_group(struct pickle *p);
uint32_t pickle_close_group(struct pickle *p);    /* where it began; UINT32_MAX: failure left */
enum mi_status pickle_absorb(struct pickle *p, struct pk_value *list, uint32_t from); /* stack from there -> list */
enum mi_status pickle_memo_put(struct pickle *p, uint64_t i);
enum mi_status pickle_memo_get(struct pickle *p, uint64_t i);
enum mi_status pickle_class(struct pickle *p, struct pk_text module, struct pk_text name);
enum mi_status pickle_note_storage(struct pickle *p, struct pk_value *v);
enum mi_status pickle_call(struct pickle *p);     /* REDUCE and NEWOBJ: class, arguments -> value */
enum mi_status pickle_build(struct pickle *p);    /* BUILD: value, state -> value */
enum mi_status pickle_persistent(struct pickle *p); /* BINPERSID: tuple -> storage */

#endif
