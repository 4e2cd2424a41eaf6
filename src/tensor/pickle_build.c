/* pickle_build.c - what calling a class means: the one place that could execute something, and does not.
 *
 * The classes below are known by name; they are taken as descriptions of data.  Every other class, and whatever is
 * made by calling one, is an opaque value: it can be stored, passed on and ignored.  An opaque value made from a
 * tensor is marked, so that a state dict that needs it can be refused instead of loaded incompletely. */
#include <string.h>

#include "midre/tensor.h"
#include "src/tensor/pickle.h"

static const struct pk_element elements[] = {
    {"FloatStorage", 4, MT_F32, 0},     {"DoubleStorage", 8, MT_F64, 0}, {"HalfStorage", 2, MT_F16, 0},
    {"BFloat16Storage", 2, MT_BF16, 0}, {"LongStorage", 8, MT_I64, 0},   {"IntStorage", 4, MT_I32, 0},
    {"ShortStorage", 2, MT_I32, 2},     {"CharStorage", 1, MT_I32, 1},   {"ByteStorage", 1, MT_U8, 0},
    {"BoolStorage", 1, MT_BOOL, 0},
};
static const struct pk_element unknown_element = {"", 0, 0, 0};

static const struct {
    const char *module, *name;
    enum pk_role role;
} classes[] = {
    {"collections", "OrderedDict", PK_DO_MAP},
    {"collections", "defaultdict", PK_DO_MAP},
    {"torch._utils", "_rebuild_tensor_v2", PK_DO_TENSOR},
    {"torch._utils", "_rebuild_tensor", PK_DO_TENSOR},
    {"torch._utils", "_rebuild_parameter", PK_DO_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", PK_DO_PARAMETER},
    {"torch", "Size", PK_DO_SIZE},
    {"torch", "device", PK_DO_DEVICE},
};

static bool ends_with(struct pk_text t, const char *tail) {
    size_t n = strlen(tail);
    return t.n >= n && memcmp(t.s + t.n - n, tail, n) == 0;
}

static void recognise(struct pk_value *v, struct pk_text module, struct pk_text name) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (pk_is(module, classes[i].module) && pk_is(name, classes[i].name)) v->class.role = classes[i].role;
    bool torch = pk_is(module, "torch") || pk_is(module, "torch.cuda");
    if (!torch || !ends_with(name, "Storage")) return;
    v->class.role = PK_DO_STORAGE;
    v->class.element = &unknown_element;
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (pk_is(name, elements[i].class_name)) v->class.element = &elements[i];
}

enum mi_status pickle_class(struct pickle *p, struct pk_text module, struct pk_text name) {
    struct pk_value *v = pickle_value(p, PK_CLASS);
    if (!v) return mi_error_status();
    v->class.name = name;
    v->class.module = module;
    recognise(v, module, name);
    return pickle_push(p, v);
}

static bool touches_tensor(const struct pk_value *v) {
    return v->kind == PK_TENSOR || v->kind == PK_STORAGE || (v->kind == PK_OPAQUE && v->holds_tensor);
}

/* Directly or one container down: the depth at which helpers of PyTorch carry tensors. */
static bool carries_tensor(const struct pk_value *v) {
    bool list = v->kind == PK_TUPLE || v->kind == PK_LIST;
    for (uint32_t i = 0; list && i < v->list.n; i++)
        if (touches_tensor(v->list.item[i])) return true;
    return touches_tensor(v);
}

static struct pk_value *make_opaque(struct pickle *p, const struct pk_value *callee, const struct pk_value *args) {
    struct pk_value *v = pickle_value(p, PK_OPAQUE);
    if (!v) return NULL;
    if (callee->kind == PK_CLASS) {
        v->opaque.module = callee->class.module;
        v->opaque.class = callee->class.name;
    }
    v->holds_tensor = carries_tensor(args);
    for (uint32_t i = 0; i < args->list.n; i++) v->holds_tensor |= carries_tensor(args->list.item[i]);
    return v;
}

/* (storage, offset, size, stride, ...): 4 arguments in very old files, 6 or 7 since. */
static struct pk_value *make_tensor(struct pickle *p, const struct pk_value *args) {
    struct pk_value *const *a = args->list.item;
    if (args->list.n < 4 || a[2]->kind != PK_TUPLE || a[3]->kind != PK_TUPLE || a[1]->kind != PK_INT) {
        pickle_bad(p, "a tensor is described by the wrong values");
        return NULL;
    }
    struct pk_value *v = pickle_value(p, PK_TENSOR);
    if (!v) return NULL;
    v->tensor.storage = a[0];
    v->tensor.offset = a[1];
    v->tensor.size = a[2];
    v->tensor.stride = a[3];
    return v;
}

/* OrderedDict(), or OrderedDict([(key, value), ...]) as some old pickles have it; defaultdict(class). */
static struct pk_value *make_map(struct pickle *p, const struct pk_value *args) {
    struct pk_value *v = pickle_value(p, PK_MAP);
    const struct pk_value *pairs = args->list.n ? args->list.item[0] : NULL;
    if (!v || !pairs || pairs->kind == PK_CLASS) return v;
    if (args->list.n != 1 || pairs->kind != PK_LIST) {
        pickle_bad(p, "an OrderedDict of something that is no list of pairs");
        return NULL;
    }
    for (uint32_t i = 0; i < pairs->list.n; i++) {
        const struct pk_value *pair = pairs->list.item[i];
        if ((pair->kind != PK_TUPLE && pair->kind != PK_LIST) || pair->list.n != 2) {
            pickle_bad(p, "an OrderedDict of something that is no list of pairs");
            return NULL;
        }
        for (int k = 0; k < 2; k++)
            if (pickle_append(p, v, pair->list.item[k]) != MI_OK) return NULL;
    }
    return v;
}

enum mi_status pickle_call(struct pickle *p) {
    struct pk_value *args = pickle_pop(p), *callee = args ? pickle_pop(p) : NULL;
    if (!callee) return mi_error_status();
    if (args->kind != PK_TUPLE) return pickle_bad(p, "a call whose arguments are no tuple");
    if (callee->kind != PK_CLASS && callee->kind != PK_OPAQUE)
        return pickle_bad(p, "a call of something that is no class");
    enum pk_role role = callee->kind == PK_CLASS ? callee->class.role : PK_DO_NOTHING;
    struct pk_value *first = args->list.n ? args->list.item[0] : NULL;
    switch (role) {
    case PK_DO_MAP:
        return pickle_push(p, make_map(p, args));
    case PK_DO_TENSOR:
        return pickle_push(p, make_tensor(p, args));
    case PK_DO_PARAMETER: /* (tensor, requires_grad, hooks) */
        if (!first || !touches_tensor(first)) return pickle_bad(p, "a parameter that is no tensor");
        return pickle_push(p, first);
    case PK_DO_SIZE:
        if (first && first->kind == PK_TUPLE) return pickle_push(p, first);
        break;
    case PK_DO_DEVICE:
        if (first && first->kind == PK_TEXT) return pickle_push(p, first);
        break;
    case PK_DO_STORAGE:
    case PK_DO_NOTHING:
        break;
    }
    return pickle_push(p, make_opaque(p, callee, args));
}

/* A map's state is _metadata and the like, which we have no use for; what an opaque value was given is kept, because
 * settings often hide in a Namespace. */
enum mi_status pickle_build(struct pickle *p) {
    struct pk_value *state = pickle_pop(p), *v = state ? pickle_pop(p) : NULL;
    if (!v) return mi_error_status();
    if (v->kind == PK_OPAQUE) {
        v->holds_tensor |= carries_tensor(state);
        v->opaque.state = state;
    } else if (v->kind != PK_MAP && v->kind != PK_TENSOR) {
        return pickle_bad(p, "gives a state to something that takes none");
    }
    return pickle_push(p, v);
}

/* ('storage', class, key, location, element count[, view]).  The location (cpu, cuda:0) is ignored: all is read to
 * host memory.  ('module', ...) carries the source text of a saved network and is opaque. */
enum mi_status pickle_persistent(struct pickle *p) {
    struct pk_value *id = pickle_pop(p);
    if (!id) return mi_error_status();
    struct pk_value *const *a = id->list.item;
    bool named = id->kind == PK_TUPLE && id->list.n >= 2 && a[0]->kind == PK_TEXT;
    if (named && pk_is(a[0]->text, "module") && a[1]->kind == PK_CLASS) return pickle_push(p, a[1]);
    if (!named || id->list.n < 5 || id->list.n > 6 || !pk_is(a[0]->text, "storage") || a[1]->kind != PK_CLASS ||
        a[1]->class.role != PK_DO_STORAGE || a[2]->kind != PK_TEXT || a[4]->kind != PK_INT)
        return pickle_bad(p, "a reference to data outside the pickle is not of the form PyTorch writes");
    if (id->list.n == 6 && a[5]->kind != PK_NONE)
        return pickle_bad(p, "a storage that is a view of another one (files before PyTorch 0.4) is not supported");
    struct pk_value *v = pickle_value(p, PK_STORAGE);
    if (!v) return mi_error_status();
    v->storage.key = a[2]->text;
    v->storage.class = a[1]->class.name;
    v->storage.element = a[1]->class.element;
    v->storage.count = a[4]->i;
    MI_TRY(pickle_note_storage(p, v));
    return pickle_push(p, v);
}
