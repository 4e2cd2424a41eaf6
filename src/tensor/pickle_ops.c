/* pickle_ops.c - the instructions: each checks every length, depth and count before it uses it.
 *
 * One handler per instruction in a table; a byte without a handler is refused by number and position.  Accepted is
 * what torch.save writes with protocols 2 to 5 plus the neighbours of those instructions; the text forms of
 * protocol 0 are not, nor are extension codes and by-reference buffers.  Handlers return the status of the failure
 * they leave.  See Lib/pickletools.py of Python for the language. */
#include <string.h>

#include "src/tensor/pickle.h"

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const uint8_t *take(struct pickle *p, uint64_t n) {
    if (n > p->size - p->at) {
        pickle_bad(p, "the pickle ends inside an instruction");
        return NULL;
    }
    const uint8_t *at = p->bytes + p->at;
    p->at += (size_t)n;
    return at;
}

/* Little-endian, n <= 8 bytes. */
static bool take_uint(struct pickle *p, unsigned n, uint64_t *out) {
    const uint8_t *b = take(p, n);
    *out = 0;
    for (unsigned i = 0; b && i < n; i++) *out |= (uint64_t)b[i] << (8 * i);
    return b != NULL;
}

static enum mi_status push_kind(struct pickle *p, enum pk_kind kind) {
    return pickle_push(p, pickle_value(p, kind));
}

static enum mi_status push_int(struct pickle *p, int64_t i) {
    struct pk_value *v = pickle_value(p, PK_INT);
    if (v) v->i = i;
    return pickle_push(p, v);
}

static enum mi_status push_bool(struct pickle *p, bool yes) {
    struct pk_value *v = pickle_value(p, PK_BOOL);
    if (v) v->yes = yes;
    return pickle_push(p, v);
}

/* A text, or bytes (kept as an opaque value), behind a length of `width` bytes. */
static enum mi_status push_text(struct pickle *p, unsigned width, const char *opaque) {
    uint64_t n;
    if (!take_uint(p, width, &n)) return mi_error_status();
    if (!opaque && n > PK_TEXT_MAX)
        return pickle_bad(p, "a text of %llu bytes, %u are allowed", (unsigned long long)n, PK_TEXT_MAX);
    const uint8_t *s = take(p, n);
    struct pk_value *v = s ? pickle_value(p, opaque ? PK_OPAQUE : PK_TEXT) : NULL;
    if (v && opaque) v->opaque.class = (struct pk_text){opaque, (uint32_t)strlen(opaque)};
    if (v && !opaque) v->text = (struct pk_text){(const char *)s, (uint32_t)n};
    return pickle_push(p, v);
}

/* A whole number of n bytes, two's complement; more than 8 are kept as an opaque value. */
static enum mi_status push_long(struct pickle *p, uint64_t n) {
    uint64_t u = 0;
    if (n > 8) {
        struct pk_value *v = take(p, n) ? pickle_value(p, PK_OPAQUE) : NULL;
        if (v) v->opaque.class = (struct pk_text){"long int", 8};
        return pickle_push(p, v);
    }
    if (!take_uint(p, (unsigned)n, &u)) return mi_error_status();
    if (n && n < 8 && u >> (8 * n - 1)) u |= UINT64_MAX << (8 * n);
    return push_int(p, (int64_t)u);
}

/* A line without its newline, for GLOBAL. */
static bool take_line(struct pickle *p, struct pk_text *out) {
    const uint8_t *start = p->bytes + p->at, *end = memchr(start, '\n', p->size - p->at);
    if (!end || end == start || end - start > 512) {
        pickle_bad(p, "a class without a proper name");
        return false;
    }
    *out = (struct pk_text){(const char *)start, (uint32_t)(end - start)};
    p->at += out->n + 1;
    return true;
}

/* ---- instructions ------------------------------------------------------------------------------------------------ */

static enum mi_status op_proto(struct pickle *p) {
    const uint8_t *b = take(p, 1);
    if (!b) return mi_error_status();
    return *b >= 2 && *b <= 5 ? MI_OK : pickle_bad(p, "pickle protocol %u is not supported (2 to 5 are)", *b);
}
static enum mi_status op_frame(struct pickle *p) {
    return take(p, 8) ? MI_OK : mi_error_status();
}
static enum mi_status op_none(struct pickle *p) {
    return push_kind(p, PK_NONE);
}
static enum mi_status op_true(struct pickle *p) {
    return push_bool(p, true);
}
static enum mi_status op_false(struct pickle *p) {
    return push_bool(p, false);
}
static enum mi_status op_int4(struct pickle *p) {
    uint64_t u;
    return take_uint(p, 4, &u) ? push_int(p, (int32_t)(uint32_t)u) : mi_error_status();
}
static enum mi_status op_int1(struct pickle *p) {
    uint64_t u;
    return take_uint(p, 1, &u) ? push_int(p, (int64_t)u) : mi_error_status();
}
static enum mi_status op_int2(struct pickle *p) {
    uint64_t u;
    return take_uint(p, 2, &u) ? push_int(p, (int64_t)u) : mi_error_status();
}
static enum mi_status op_long1(struct pickle *p) {
    uint64_t n;
    return take_uint(p, 1, &n) ? push_long(p, n) : mi_error_status();
}
static enum mi_status op_long4(struct pickle *p) {
    uint64_t n;
    return take_uint(p, 4, &n) ? push_long(p, n) : mi_error_status();
}
static enum mi_status op_real(struct pickle *p) {
    const uint8_t *b = take(p, 8); /* big-endian, the only one */
    uint64_t u = 0;
    for (int i = 0; b && i < 8; i++) u = u << 8 | b[i];
    struct pk_value *v = b ? pickle_value(p, PK_REAL) : NULL;
    if (v) memcpy(&v->d, &u, sizeof u);
    return pickle_push(p, v);
}
static enum mi_status op_text1(struct pickle *p) {
    return push_text(p, 1, NULL);
}
static enum mi_status op_text4(struct pickle *p) {
    return push_text(p, 4, NULL);
}
static enum mi_status op_text8(struct pickle *p) {
    return push_text(p, 8, NULL);
}
static enum mi_status op_bytes1(struct pickle *p) {
    return push_text(p, 1, "builtins bytes");
}
static enum mi_status op_bytes4(struct pickle *p) {
    return push_text(p, 4, "builtins bytes");
}
static enum mi_status op_bytes8(struct pickle *p) {
    return push_text(p, 8, "builtins bytes");
}

static enum mi_status op_mark(struct pickle *p) {
    return pickle_open_group(p);
}
static enum mi_status op_map(struct pickle *p) {
    return push_kind(p, PK_MAP);
}
static enum mi_status op_list(struct pickle *p) {
    return push_kind(p, PK_LIST);
}
static enum mi_status op_tuple0(struct pickle *p) {
    return push_kind(p, PK_TUPLE);
}

static enum mi_status tuple_from(struct pickle *p, uint32_t from) {
    struct pk_value *t = pickle_value(p, PK_TUPLE);
    if (!t) return mi_error_status();
    MI_TRY(pickle_absorb(p, t, from));
    return pickle_push(p, t);
}
static enum mi_status tuple_of(struct pickle *p, uint32_t n) {
    if (p->n_stack - pickle_ground(p) < n) return pickle_bad(p, "takes a value from an empty stack");
    return tuple_from(p, p->n_stack - n);
}
static enum mi_status op_tuple1(struct pickle *p) {
    return tuple_of(p, 1);
}
static enum mi_status op_tuple2(struct pickle *p) {
    return tuple_of(p, 2);
}
static enum mi_status op_tuple3(struct pickle *p) {
    return tuple_of(p, 3);
}
static enum mi_status op_tuple(struct pickle *p) {
    uint32_t from = pickle_close_group(p);
    return from == UINT32_MAX ? mi_error_status() : tuple_from(p, from);
}

/* The container below stack place `from`, which the values above go into. */
static struct pk_value *container(struct pickle *p, uint32_t from, enum pk_kind kind) {
    if (from <= pickle_ground(p)) {
        pickle_bad(p, "adds to a container that is not there");
        return NULL;
    }
    struct pk_value *v = p->stack[from - 1];
    if (v->kind == kind || v->kind == PK_OPAQUE) return v;
    pickle_bad(p, "adds to something that is no %s", kind == PK_MAP ? "dictionary" : "list");
    return NULL;
}
static enum mi_status add_from(struct pickle *p, uint32_t from, enum pk_kind kind) {
    if (from == UINT32_MAX) return mi_error_status();
    struct pk_value *v = container(p, from, kind);
    if (!v) return mi_error_status();
    if (kind == PK_MAP && (p->n_stack - from) % 2) return pickle_bad(p, "a dictionary's key without a value");
    if (v->kind != PK_OPAQUE) return pickle_absorb(p, v, from);
    for (uint32_t i = from; i < p->n_stack; i++) {
        const struct pk_value *x = p->stack[i];
        v->holds_tensor |= x->kind == PK_TENSOR || x->kind == PK_STORAGE || (x->kind == PK_OPAQUE && x->holds_tensor);
    }
    p->n_stack = from;
    return MI_OK;
}
static enum mi_status op_setitem(struct pickle *p) {
    if (p->n_stack - pickle_ground(p) < 3) return pickle_bad(p, "takes a value from an empty stack");
    return add_from(p, p->n_stack - 2, PK_MAP);
}
static enum mi_status op_setitems(struct pickle *p) {
    return add_from(p, pickle_close_group(p), PK_MAP);
}
static enum mi_status op_append(struct pickle *p) {
    if (p->n_stack - pickle_ground(p) < 2) return pickle_bad(p, "takes a value from an empty stack");
    return add_from(p, p->n_stack - 1, PK_LIST);
}
static enum mi_status op_appends(struct pickle *p) {
    return add_from(p, pickle_close_group(p), PK_LIST);
}

/* Sets are nothing a state dict is made of. */
static enum mi_status op_set(struct pickle *p) {
    struct pk_value *v = pickle_value(p, PK_OPAQUE);
    if (v) v->opaque.class = (struct pk_text){"builtins set", 12};
    return pickle_push(p, v);
}
static enum mi_status op_frozenset(struct pickle *p) {
    uint32_t from = pickle_close_group(p);
    if (from == UINT32_MAX) return mi_error_status();
    p->n_stack = from;
    return op_set(p);
}
static enum mi_status op_pop(struct pickle *p) {
    return pickle_pop(p) ? MI_OK : mi_error_status();
}

static enum mi_status op_put1(struct pickle *p) {
    uint64_t i;
    return take_uint(p, 1, &i) ? pickle_memo_put(p, i) : mi_error_status();
}
static enum mi_status op_put4(struct pickle *p) {
    uint64_t i;
    return take_uint(p, 4, &i) ? pickle_memo_put(p, i) : mi_error_status();
}
static enum mi_status op_memoize(struct pickle *p) {
    return pickle_memo_put(p, p->n_memo);
}
static enum mi_status op_get1(struct pickle *p) {
    uint64_t i;
    return take_uint(p, 1, &i) ? pickle_memo_get(p, i) : mi_error_status();
}
static enum mi_status op_get4(struct pickle *p) {
    uint64_t i;
    return take_uint(p, 4, &i) ? pickle_memo_get(p, i) : mi_error_status();
}

static enum mi_status op_global(struct pickle *p) {
    struct pk_text module, name;
    return take_line(p, &module) && take_line(p, &name) ? pickle_class(p, module, name) : mi_error_status();
}
static enum mi_status op_stack_global(struct pickle *p) {
    struct pk_value *name = pickle_pop(p), *module = name ? pickle_pop(p) : NULL;
    if (!module) return mi_error_status();
    if (module->kind != PK_TEXT || name->kind != PK_TEXT) return pickle_bad(p, "a class without a proper name");
    return pickle_class(p, module->text, name->text);
}

static enum mi_status op_newobj_ex(struct pickle *p) {
    if (!pickle_pop(p)) return mi_error_status(); /* keyword arguments: nothing we build has any */
    return pickle_call(p);
}

static enum mi_status (*const handler[256])(struct pickle *) = {
    [0x80] = op_proto,     [0x95] = op_frame,    ['N'] = op_none,           [0x88] = op_true,    [0x89] = op_false,
    ['J'] = op_int4,       ['K'] = op_int1,      ['M'] = op_int2,           [0x8a] = op_long1,   [0x8b] = op_long4,
    ['G'] = op_real,       ['X'] = op_text4,     [0x8c] = op_text1,         [0x8d] = op_text8,   ['U'] = op_text1,
    ['T'] = op_text4,      ['B'] = op_bytes4,    ['C'] = op_bytes1,         [0x8e] = op_bytes8,  [0x96] = op_bytes8,
    ['('] = op_mark,       ['}'] = op_map,       [']'] = op_list,           [')'] = op_tuple0,   [0x85] = op_tuple1,
    [0x86] = op_tuple2,    [0x87] = op_tuple3,   ['t'] = op_tuple,          ['s'] = op_setitem,  ['u'] = op_setitems,
    ['a'] = op_append,     ['e'] = op_appends,   [0x8f] = op_set,           [0x90] = op_appends, [0x91] = op_frozenset,
    ['0'] = op_pop,        ['q'] = op_put1,      ['r'] = op_put4,           [0x94] = op_memoize, ['h'] = op_get1,
    ['j'] = op_get4,       ['c'] = op_global,    [0x93] = op_stack_global,  ['R'] = pickle_call, [0x81] = pickle_call,
    [0x92] = op_newobj_ex, ['b'] = pickle_build, ['Q'] = pickle_persistent,
};

enum mi_status pickle_run(struct pickle *p, struct pk_value **out) {
    p->n_stack = p->n_mark = p->n_memo = 0;
    if (p->cap_memo) memset(p->memo, 0, p->cap_memo * sizeof *p->memo);
    for (;;) {
        p->op = p->at;
        if (p->at >= p->size) return pickle_bad(p, "the pickle ends without a STOP");
        uint8_t op = p->bytes[p->at++];
        if (op == '.') break;
        if (!handler[op]) return pickle_bad(p, "instruction 0x%02x is not supported", op);
        MI_TRY(handler[op](p));
    }
    if (p->n_stack != 1 || p->n_mark) return pickle_bad(p, "the pickle ends with values left over");
    *out = p->stack[0];
    return MI_OK;
}
