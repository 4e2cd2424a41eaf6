/* shim_error.cpp - the checks of arguments, and the way of an error from where it happens to who asks (midre/tensor.h).
 *
 * The first error of a thread waits in fixed memory until mt_status; the others are counted. */
#include "src/tensor/shim.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

namespace shim {

struct Sticky {
    mi_status code = MI_OK;
    int later = 0;
    char text[1200] = "";
};
static thread_local Sticky waiting;

/* The tensors of the call in progress. */
struct Call {
    const mt_tensor *arg[4];
    int n;
};
static thread_local Call call;

static const char *dtype_name(at::ScalarType s) {
    switch (s) {
    case at::kFloat: return "f32";
    case at::kDouble: return "f64";
    case at::kBFloat16: return "bf16";
    case at::kHalf: return "f16";
    case at::kLong: return "i64";
    case at::kInt: return "i32";
    case at::kByte: return "u8";
    case at::kBool: return "bool";
    default: return "?";
    }
}

/* " (got f32[2,3], f32[4])": the tensors of the failing call. */
static void describe_args(char *out, size_t cap) {
    size_t n = 0;
    out[0] = 0;
    auto add = [&](const char *fmt, auto... v) {
        if (n < cap) n += (size_t)std::snprintf(out + n, cap - n, fmt, v...);
    };
    for (int i = 0; i < call.n; i++) {
        const mt_tensor *b = call.arg[i];
        add("%s", i ? ", " : " (got ");
        if (!b->t.defined()) {
            add("%s", "none");
            continue;
        }
        add("%s[", dtype_name(b->t.scalar_type()));
        for (int64_t d = 0; d < b->t.dim(); d++) add("%s%lld", d ? "," : "", (long long)b->t.size(d));
        add("%s", "]");
    }
    if (call.n) add("%s", ")");
}

mi_status record(mi_status code, const char *op, const char *fmt, ...) {
    Sticky &e = waiting;
    if (e.code != MI_OK) {
        e.later++;
        return e.code;
    }
    char msg[800], got[240];
    va_list ap;
    va_start(ap, fmt);
    std::vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    msg[std::strcspn(msg, "\n")] = 0;
    describe_args(got, sizeof got);
    e.code = code;
    e.later = 0;
    const char *scope = scope_name();
    std::snprintf(e.text, sizeof e.text, "%s: %s%s%s%s%s", op, msg, got, scope ? " in scope '" : "", scope ? scope : "",
                  scope ? "'" : "");
    return code;
}

mi_status surface() {
    const Sticky &e = waiting;
    if (e.code == MI_OK) return MI_OK;
    if (e.later) return mi_fail(e.code, "%s (and %d more)", e.text, e.later);
    return mi_fail(e.code, "%s", e.text);
}

struct Refusal {
    mi_status code;
    char text[400];
};

void refuse(mi_status code, const char *fmt, ...) {
    Refusal r{code, ""};
    va_list ap;
    va_start(ap, fmt);
    std::vsnprintf(r.text, sizeof r.text, fmt, ap);
    va_end(ap);
    throw r;
}

static mi_status torch_error(const char *op, const char *what) {
    if (std::strstr(what, "CUDA error") || std::strstr(what, "cuDNN error") || std::strstr(what, "CUDNN_STATUS") ||
        std::strstr(what, "CUBLAS_STATUS"))
        return record(MI_E_DEVICE, op, "%s - the GPU may have failed in an earlier call; start again from the last "
                                       "checkpoint (CUDA_LAUNCH_BLOCKING=1 finds the call)", what);
    if (std::strstr(what, "can't allocate memory") || std::strstr(what, "not enough memory"))
        return record(MI_E_NOMEM, op, "%s - choose a smaller batch", what);
    return record(MI_E_INTERNAL, op, "%s", what);
}

/* Order matters: most derived first. */
mi_status caught(const char *op) {
    try {
        throw;
    } catch (const Refusal &r) {
        return record(r.code, op, "%s", r.text);
    } catch (const c10::OutOfMemoryError &e) {
        return record(MI_E_DEVICE, op, "out of GPU memory - choose a smaller batch (%s)", e.what_without_backtrace());
    } catch (const c10::NotImplementedError &e) {
        return record(MI_E_INTERNAL, op, "not available in this libtorch: %s", e.what_without_backtrace());
    } catch (const c10::IndexError &e) {
        return record(MI_E_INTERNAL, op, "%s", e.what_without_backtrace());
    } catch (const c10::ValueError &e) {
        return record(MI_E_INTERNAL, op, "%s", e.what_without_backtrace());
    } catch (const c10::TypeError &e) {
        return record(MI_E_INTERNAL, op, "%s", e.what_without_backtrace());
    } catch (const c10::Error &e) {
        return torch_error(op, e.what_without_backtrace());
    } catch (const std::bad_alloc &) {
        return record(MI_E_NOMEM, op, "out of memory");
    } catch (const std::exception &e) {
        return torch_error(op, e.what());
    } catch (...) {
        return record(MI_E_INTERNAL, op, "unknown C++ exception");
    }
}

void no_args() { call.n = 0; }

void null_arg(const char *op, int i) {
    if (waiting.code != MI_OK) return;
    mi_status before = mi_error_status();
    call.n = 0;
    record(before != MI_OK ? before : MI_E_INTERNAL, op, "argument %d is NULL (an absent tensor is MT_NONE)", i);
}

static bool usable(const char *op, int i, const mt_tensor *b, bool may_be_none) {
    if (!b) {
        null_arg(op, i);
        return false;
    }
    if (b->magic == LIVE && of_this_thread(b)) {
        if (call.n < 4) call.arg[call.n++] = b;
        return true;
    }
    if (b->magic == NONE && may_be_none) return true;
    call.n = 0;
    if (b->magic == NONE) record(MI_E_INTERNAL, op, "argument %d is MT_NONE but is required", i);
    else if (b->magic == LIVE)
        record(MI_E_INTERNAL, op, "argument %d (made by %s) belongs to a scope of another thread", i, b->op);
    else if (b->magic == DEAD)
        record(MI_E_INTERNAL, op, "argument %d (made by %s) was freed before: its scope ended or it was dropped", i,
               b->op);
    else record(MI_E_INTERNAL, op, "argument %d is no tensor handle", i);
    return false;
}

bool usable_arg(const char *op, int i, const mt_tensor *b) { return usable(op, i, b, false); }
bool usable_arg(const char *op, int i, Opt o) { return usable(op, i, o.b, true); }

bool ok_list(const char *op, mt_tensor *const *ts, int n) {
    call.n = 0;
    if (n <= 0 || !ts) {
        record(MI_E_INTERNAL, op, "empty list of tensors");
        return false;
    }
    for (int i = 0; i < n; i++)
        if (!usable(op, i + 1, ts[i], false)) return false;
    return true;
}

} // namespace shim

using namespace shim;

extern "C" {

bool mt_failed(void) { return waiting.code != MI_OK; }
enum mi_status mt_pending(void) { return surface(); }

enum mi_status mt_status(void) {
    mi_status st = surface();
    waiting.code = MI_OK;
    return st;
}

enum mi_status mt_raise(enum mi_status st, const char *fmt, ...) {
    char msg[800];
    va_list ap;
    va_start(ap, fmt);
    std::vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (waiting.code != MI_OK) waiting.later++;
    else {
        waiting.code = st;
        waiting.later = 0;
        std::snprintf(waiting.text, sizeof waiting.text, "%s", msg);
    }
    return surface();
}

} /* extern "C" */
