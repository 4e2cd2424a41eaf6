/* shim.cpp - the only C++ of the project: libtorch behind the C functions of midre/tensor*.h.
 *
 * One file on purpose: parsing ATen's headers costs seconds, wrappers cost nothing.  Builds against libtorch 1.13
 * (Debian 12, CPU) and PyTorch 2.x; every difference is an `#if MT_TV` here and nowhere else.
 *
 * Handles are boxes (struct mt_tensor) with a magic word.  A result belongs to the innermost scope of its thread;
 * the scope destroys its boxes in reverse.  Dead boxes go to the end of a queue, so a stale handle is recognised for
 * long after.  Every wrapper is one lambda given to run/status_of/inplace, which let no exception out: the first
 * error of a thread is kept in fixed memory and handed to mi_fail at mt_scope_end, mt_status, or by the functions
 * that return a status.  Not owned here: optimiser arithmetic (optim.c), archives (archive*.c). */
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/version.h>

#define MT_TV (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)
#if MT_TV >= 209
#include <ATen/DeviceAccelerator.h>
#elif defined(MT_CUDA_HEADERS)
#include <c10/cuda/CUDACachingAllocator.h>
#endif

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

extern "C" {
#include "midre/tensor_grad.h"
#include "midre/tensor_nn.h"
}
#include "src/tensor/fastconv.h"
#include "src/tensor/tensor_priv.h"

using at::Tensor;
using at::IntArrayRef;

/* ================================================================================================ boxes, errors */

namespace {

constexpr uint32_t LIVE = 0x4d54a11e, DEAD = 0x4d54dead, NONE = 0x4d540000;
constexpr int SLAB = 1024;
struct Thread;

} // namespace

struct mt_tensor {
    uint32_t magic = DEAD;
    uint32_t slot = 0;         /* place in the scope's list */
    mt_scope *scope = nullptr; /* nullptr: owned by the caller */
    Thread *home = nullptr;    /* thread of the scope; nullptr: owned */
    const char *op = "nothing";
    mt_tensor *next = nullptr; /* queue of dead boxes */
    Tensor t;
};

struct mt_scope {
    char name[40] = "";
    bool open = false;
    std::vector<mt_tensor *> boxes; /* nullptr where a box was kept, passed or dropped */
};

struct mt_rng {
    at::Generator gen;
    mt_device device;
};

namespace {

struct Queue {
    mt_tensor *head = nullptr, *tail = nullptr;
    void put(mt_tensor *b) {
        b->next = nullptr;
        if (tail) tail->next = b;
        else head = b;
        tail = b;
    }
    mt_tensor *take() {
        mt_tensor *b = head;
        if (b && !(head = b->next)) tail = nullptr;
        return b;
    }
};

struct Sticky {
    mi_status code = MI_OK;
    int later = 0;
    char text[1200] = "";
};

struct Cast {
    c10::DeviceType dev;
    bool was_on;
    at::ScalarType was;
};

std::atomic<int64_t> live_boxes{0};
std::atomic<bool> forked{false};
std::mutex pool_lock;
Queue pool; /* dead boxes of ended threads; boxes are never given back to malloc, so stale handles stay readable */

struct Thread {
    Sticky err;
    std::vector<mt_scope *> open;  /* innermost last */
    std::vector<mt_scope *> spare; /* closed scopes, reused */
    std::vector<Cast> casts;
    Queue dead;
    const mt_tensor *arg[4] = {};
    int args = 0;
    ~Thread();
};
thread_local Thread self;

void kill_box(mt_tensor *b) {
    try {
        b->t.reset();
    } catch (...) { /* a GPU that died may throw on free: nothing is left to save */
    }
    b->magic = DEAD;
    live_boxes.fetch_sub(1, std::memory_order_relaxed);
    self.dead.put(b);
}

void empty_scope(mt_scope *s) {
    for (size_t i = s->boxes.size(); i-- > 0;)
        if (s->boxes[i]) kill_box(s->boxes[i]);
    s->boxes.clear();
    s->open = false;
}

Thread::~Thread() {
    while (!open.empty()) {
        empty_scope(open.back());
        delete open.back();
        open.pop_back();
    }
    for (mt_scope *s : spare) delete s;
    std::lock_guard<std::mutex> hold(pool_lock);
    while (mt_tensor *b = dead.take()) pool.put(b);
}

mt_tensor *new_box(const char *op, Tensor &&t) {
    mt_tensor *b = self.dead.take();
    if (!b) {
        std::lock_guard<std::mutex> hold(pool_lock);
        if (!pool.head) {
            mt_tensor *slab = new mt_tensor[SLAB];
            for (int i = 0; i < SLAB; i++) pool.put(&slab[i]);
        }
        for (int i = 0; i < SLAB && pool.head; i++) self.dead.put(pool.take());
        b = self.dead.take();
    }
    b->magic = LIVE;
    b->op = op;
    b->scope = nullptr;
    b->home = nullptr;
    b->t = std::move(t);
    live_boxes.fetch_add(1, std::memory_order_relaxed);
    return b;
}

void into_scope(mt_tensor *b, mt_scope *s) {
    s->boxes.push_back(b);
    b->slot = (uint32_t)(s->boxes.size() - 1);
    b->scope = s;
    b->home = &self;
}

void out_of_scope(mt_tensor *b) {
    b->scope->boxes[b->slot] = nullptr;
    b->scope = nullptr;
    b->home = nullptr;
}

const char *dtype_name(at::ScalarType s) {
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
void describe_args(char *out, size_t cap) {
    size_t n = 0;
    out[0] = 0;
    auto add = [&](const char *fmt, auto... v) {
        if (n < cap) n += (size_t)std::snprintf(out + n, cap - n, fmt, v...);
    };
    for (int i = 0; i < self.args; i++) {
        const mt_tensor *b = self.arg[i];
        add("%s", i ? ", " : " (got ");
        if (!b->t.defined()) {
            add("%s", "none");
            continue;
        }
        add("%s[", dtype_name(b->t.scalar_type()));
        for (int64_t d = 0; d < b->t.dim(); d++) add("%s%lld", d ? "," : "", (long long)b->t.size(d));
        add("%s", "]");
    }
    if (self.args) add("%s", ")");
}

__attribute__((format(printf, 3, 4))) mi_status record(mi_status code, const char *op, const char *fmt, ...) {
    Sticky &e = self.err;
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
    std::snprintf(e.text, sizeof e.text, "%s: %s%s%s%s%s", op, msg, got, self.open.empty() ? "" : " in scope '",
                  self.open.empty() ? "" : self.open.back()->name, self.open.empty() ? "" : "'");
    return code;
}

/* Leaves the waiting error also in mi_fail, for functions that return a status. */
mi_status surface() {
    const Sticky &e = self.err;
    if (e.code == MI_OK) return MI_OK;
    if (e.later) return mi_fail(e.code, "%s (and %d more)", e.text, e.later);
    return mi_fail(e.code, "%s", e.text);
}

/* A NULL handle is the trace of an earlier failure.  If that was already handed over, its status is taken again. */
void null_arg(const char *op, int i) {
    if (self.err.code != MI_OK) return;
    mi_status before = mi_error_status();
    self.args = 0;
    record(before != MI_OK ? before : MI_E_INTERNAL, op, "argument %d is NULL (an absent tensor is MT_NONE)", i);
}

bool usable(const char *op, int i, const mt_tensor *b, bool may_be_none) {
    if (!b) {
        null_arg(op, i);
        return false;
    }
    if (b->magic == LIVE && (!b->home || b->home == &self)) {
        if (self.args < 4) self.arg[self.args++] = b;
        return true;
    }
    if (b->magic == NONE && may_be_none) return true;
    self.args = 0;
    if (b->magic == NONE) record(MI_E_INTERNAL, op, "argument %d is MT_NONE but is required", i);
    else if (b->magic == LIVE)
        record(MI_E_INTERNAL, op, "argument %d (made by %s) belongs to a scope of another thread", i, b->op);
    else if (b->magic == DEAD)
        record(MI_E_INTERNAL, op, "argument %d (made by %s) was freed before: its scope ended or it was dropped", i,
               b->op);
    else record(MI_E_INTERNAL, op, "argument %d is no tensor handle", i);
    return false;
}

struct Opt { const mt_tensor *b; }; /* marks an argument that may be MT_NONE */

bool usable_arg(const char *op, int i, const mt_tensor *b) { return usable(op, i, b, false); }
bool usable_arg(const char *op, int i, Opt o) { return usable(op, i, o.b, true); }

template <class... A> bool ok([[maybe_unused]] const char *op, A... a) {
    self.args = 0;
    [[maybe_unused]] int i = 0;
    bool all = (usable_arg(op, ++i, a) && ...);
    return all;
}

bool ok_list(const char *op, mt_tensor *const *ts, int n) {
    self.args = 0;
    if (n <= 0 || !ts) {
        record(MI_E_INTERNAL, op, "empty list of tensors");
        return false;
    }
    for (int i = 0; i < n; i++)
        if (!usable(op, i + 1, ts[i], false)) return false;
    return true;
}

/* Thrown inside a wrapper for a request that makes no sense: cheap, unlike c10::Error. */
struct Refusal {
    mi_status code;
    char text[400];
};
__attribute__((format(printf, 2, 3), noreturn)) void refuse(mi_status code, const char *fmt, ...) {
    Refusal r{code, ""};
    va_list ap;
    va_start(ap, fmt);
    std::vsnprintf(r.text, sizeof r.text, fmt, ap);
    va_end(ap);
    throw r;
}

mi_status torch_error(const char *op, const char *what) {
    if (std::strstr(what, "CUDA error") || std::strstr(what, "cuDNN error") || std::strstr(what, "CUDNN_STATUS") ||
        std::strstr(what, "CUBLAS_STATUS"))
        return record(MI_E_DEVICE, op, "%s - the GPU may have failed in an earlier call; start again from the last "
                                       "checkpoint (CUDA_LAUNCH_BLOCKING=1 finds the call)", what);
    if (std::strstr(what, "can't allocate memory") || std::strstr(what, "not enough memory"))
        return record(MI_E_NOMEM, op, "%s - choose a smaller batch", what);
    return record(MI_E_INTERNAL, op, "%s", what);
}

/* Called inside a catch block: files the exception in flight.  Order matters: most derived first. */
__attribute__((noinline)) mi_status caught(const char *op) {
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

bool ready(const char *op) {
    if (!forked.load(std::memory_order_relaxed)) return true;
    record(MI_E_INTERNAL, op, "libtorch cannot be used in a forked child; start a new program instead");
    return false;
}

/* Evaluates f() into a box of the innermost scope. */
template <class F> mt_tensor *run(const char *op, F &&f) {
    if (!ready(op)) return nullptr;
    if (self.open.empty()) {
        record(MI_E_INTERNAL, op, "no scope is open on this thread (mt_scope_begin comes first)");
        return nullptr;
    }
    mt_tensor *b = nullptr;
    try {
        b = new_box(op, f());
        into_scope(b, self.open.back());
        return b;
    } catch (...) {
        if (b) kill_box(b);
        caught(op);
        return nullptr;
    }
}

template <class F> mi_status status_of(const char *op, F &&f) {
    if (!ready(op)) return surface();
    try {
        f();
        return MI_OK;
    } catch (...) {
        caught(op);
        return surface();
    }
}

/* In-place work.  On a leaf that requires a gradient it is not recorded: that is how parameters are written. */
template <class F> mt_tensor *inplace(const char *op, mt_tensor *a, F &&f) {
    if (!ready(op)) return nullptr;
    try {
        c10::AutoGradMode mode(c10::GradMode::is_enabled() && !(a->t.requires_grad() && a->t.is_leaf()));
        f();
        return a;
    } catch (...) {
        caught(op);
        return nullptr;
    }
}

/* ---- conversions between the C and the C++ view ---- */

at::ScalarType scalar_of(mt_dtype d) {
    switch (d) {
    case MT_F32: return at::kFloat;
    case MT_F64: return at::kDouble;
    case MT_BF16: return at::kBFloat16;
    case MT_F16: return at::kHalf;
    case MT_I64: return at::kLong;
    case MT_I32: return at::kInt;
    case MT_U8: return at::kByte;
    case MT_BOOL: return at::kBool;
    }
    refuse(MI_E_INTERNAL, "unknown dtype %d", (int)d);
}

mt_dtype dtype_of(at::ScalarType s) {
    switch (s) {
    case at::kDouble: return MT_F64;
    case at::kBFloat16: return MT_BF16;
    case at::kHalf: return MT_F16;
    case at::kLong: return MT_I64;
    case at::kInt: return MT_I32;
    case at::kByte: return MT_U8;
    case at::kBool: return MT_BOOL;
    default: return MT_F32;
    }
}

c10::Device dev(mt_device d) {
    if (d.type == 2) return c10::Device(c10::DeviceType::Meta); /* shapes without memory: MT_META */
    return d.type == 1 ? c10::Device(c10::DeviceType::CUDA, (c10::DeviceIndex)d.index)
                       : c10::Device(c10::DeviceType::CPU);
}

c10::DeviceType dev_type(mt_device d) { return d.type == 1 ? c10::DeviceType::CUDA : c10::DeviceType::CPU; }

at::TensorOptions opts(mt_spec sp) { return at::TensorOptions().dtype(scalar_of(sp.dtype)).device(dev(sp.device)); }

at::MemoryFormat format(mt_layout_t l, int64_t nd) {
    return l == MT_NHWC && nd == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

IntArrayRef sizes(const int64_t *shape, int nd) {
    if (nd < 0 || nd > MT_MAXDIM) refuse(MI_E_INTERNAL, "%d dimensions (0 to %d are allowed)", nd, MT_MAXDIM);
    return IntArrayRef(shape, (size_t)nd);
}

std::vector<int64_t> wide(const int *v, int n) { return std::vector<int64_t>(v, v + n); }

std::vector<int64_t> dims_of(const Tensor &t, const int *dims, int nd) {
    std::vector<int64_t> d = wide(dims, nd);
    if (nd == 0)
        for (int64_t i = 0; i < t.dim(); i++) d.push_back(i);
    return d;
}

bool nhwc(const Tensor &t) {
    return t.dim() == 4 && !t.is_contiguous() && t.is_contiguous(at::MemoryFormat::ChannelsLast);
}

/* y in the memory order of x, where x has one that can be told. */
Tensor as_layout(const Tensor &x, Tensor y) {
    return nhwc(x) && y.dim() == 4 ? y.contiguous(at::MemoryFormat::ChannelsLast) : y;
}

bool reduced(const Tensor &t) { return t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf; }
Tensor full(const Tensor &t) { return t.defined() && reduced(t) ? t.to(at::kFloat) : t; }

template <class B> Tensor compare(const Tensor &a, const B &b, mt_cmp op) {
    switch (op) {
    case MT_LT: return a.lt(b);
    case MT_LE: return a.le(b);
    case MT_GT: return a.gt(b);
    case MT_GE: return a.ge(b);
    case MT_EQ: return a.eq(b);
    case MT_NE: return a.ne(b);
    }
    refuse(MI_E_INTERNAL, "unknown comparison %d", (int)op);
}

/* Draws on the generator's device in f32 (f64 where asked for) and NCHW order, then converts: the numbers of a seed
 * do not depend on the layout, and a CPU generator gives a GPU the same latents. */
template <class F> mt_tensor *draw(const char *op, const int64_t *shape, int nd, mt_spec sp, mt_rng *r, F &&f) {
    if (!ok(op)) return nullptr;
    if (!r) {
        null_arg(op, 5);
        return nullptr;
    }
    return run(op, [&] {
        bool wide_float = sp.dtype == MT_F64;
        at::TensorOptions o = at::TensorOptions().device(dev(r->device)).dtype(wide_float ? at::kDouble : at::kFloat);
        Tensor x = f(sizes(shape, nd), o);
        return x.to(dev(sp.device)).to(scalar_of(sp.dtype)).contiguous(format(sp.layout, nd));
    });
}

mt_tensor none_box;
struct MakeNone {
    MakeNone() {
        none_box.magic = NONE;
        none_box.op = "MT_NONE";
    }
} make_none;

} // namespace

extern "C" {

mt_tensor *const MT_NONE = &none_box;

/* ====================================================================================================== library */

static void after_fork(void) { forked.store(true); }

/* Cores of the affinity mask, less where a container's quota (cgroup v2) allows less. */
static int usable_cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (FILE *f = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
        long long quota = 0, period = 0;
        if (std::fscanf(f, "%lld %lld", &quota, &period) == 2 && period > 0) {
            int q = (int)((quota + period - 1) / period);
            if (q >= 1 && q < n) n = q;
        }
        std::fclose(f);
    }
    return n < 1 ? 1 : n;
}

enum mi_status mt_init(int threads) {
    static std::once_flag once;
    return status_of("mt_init", [&] {
        std::call_once(once, [] {
            /* Blocks stay in the heap, which saves page faults, except those so large that the holes they leave count:
             * a fifth of the peak memory of training VGG16 for a fourteenth of its processor time. */
            mallopt(M_MMAP_THRESHOLD, 16 << 20);
            mallopt(M_TRIM_THRESHOLD, INT_MAX);
            mallopt(M_TOP_PAD, 64 << 20);
            pthread_atfork(nullptr, nullptr, after_fork);
            at::set_num_interop_threads(1); /* may be called once only */
        });
        at::set_num_threads(threads > 0 ? threads : usable_cores());
    });
}

const char *mt_version(void) { return TORCH_VERSION; }
int mt_threads(void) { return at::get_num_threads(); }
int64_t mt_live(void) { return live_boxes.load(); }

bool mt_cpu_bf16_fast(void) {
    static const bool fast = [] {
        FILE *f = std::fopen("/proc/cpuinfo", "re");
        if (!f) return false;
        char line[8192];
        bool found = false;
        while (!found && std::fgets(line, sizeof line, f))
            found = !std::strncmp(line, "flags", 5) &&
                    (std::strstr(line, " amx_bf16") || std::strstr(line, " avx512_bf16"));
        std::fclose(f);
        return found;
    }();
    return fast;
}

/* ============================================================================================== scopes and errors */

mt_scope *mt_scope_begin(const char *name) {
    try {
        if (self.spare.empty()) {
            self.spare.reserve(self.open.size() + 8);
            self.spare.push_back(new mt_scope);
        }
        if (self.spare.capacity() < self.spare.size() + self.open.size())
            self.spare.reserve(2 * (self.spare.size() + self.open.size())); /* so that ending a scope never allocates */
        self.open.push_back(self.spare.back());
    } catch (...) {
        self.args = 0;
        caught("mt_scope_begin");
        return nullptr;
    }
    mt_scope *s = self.spare.back();
    self.spare.pop_back();
    std::snprintf(s->name, sizeof s->name, "%s", name ? name : "");
    s->open = true;
    return s;
}

enum mi_status mt_scope_end(mt_scope *s) {
    self.args = 0;
    size_t at = self.open.size();
    while (at > 0 && self.open[at - 1] != s) at--;
    if (!s) null_arg("mt_scope_end", 1);
    else if (at == 0)
        record(MI_E_INTERNAL, "mt_scope_end", "the scope is not open on this thread (ended twice?)");
    else {
        if (at < self.open.size())
            record(MI_E_INTERNAL, "mt_scope_end", "scope '%s' ends while '%s' inside it is still open", s->name,
                   self.open.back()->name);
        while (self.open.size() >= at) {
            mt_scope *top = self.open.back();
            empty_scope(top);
            self.open.pop_back();
            self.spare.push_back(top);
        }
    }
    return mt_status();
}

mt_tensor *mt_keep(mt_tensor *t) {
    if (!t || t == MT_NONE) return t;
    if (!ok(__func__, t)) return nullptr;
    if (t->scope) out_of_scope(t);
    return t;
}

mt_tensor *mt_pass(mt_tensor *t) {
    if (!t || t == MT_NONE) return t;
    if (!ok(__func__, t)) return nullptr;
    if (!t->scope || t->scope != self.open.back()) return t; /* already lives longer */
    if (self.open.size() < 2) {
        record(MI_E_INTERNAL, __func__, "the current scope has no parent");
        return nullptr;
    }
    mt_scope *parent = self.open[self.open.size() - 2];
    out_of_scope(t);
    try {
        into_scope(t, parent);
    } catch (...) {
        kill_box(t);
        caught(__func__);
        return nullptr;
    }
    return t;
}

void mt_drop(mt_tensor *t) {
    if (!t || t == MT_NONE || !ok(__func__, t)) return;
    if (!t->scope) {
        record(MI_E_INTERNAL, __func__, "the tensor (made by %s) is owned: mt_free frees it", t->op);
        return;
    }
    mt_tensor *b = t;
    out_of_scope(b);
    kill_box(b);
}

void mt_free(mt_tensor *t) {
    if (!t || t == MT_NONE || !ok(__func__, t)) return;
    if (t->scope) {
        record(MI_E_INTERNAL, __func__, "the tensor (made by %s) belongs to scope '%s': mt_drop frees it", t->op,
               t->scope->name);
        return;
    }
    kill_box(t);
}

mt_tensor *mt_set(mt_tensor **var, mt_tensor *value) {
    mt_tensor *old = *var;
    if (old && old != value && old->magic == LIVE && old->scope) mt_drop(old); /* an owned one stays its owner's */
    return *var = value;
}

bool mt_failed(void) { return self.err.code != MI_OK; }
enum mi_status mt_pending(void) { return surface(); }

enum mi_status mt_status(void) {
    mi_status st = surface();
    self.err.code = MI_OK;
    return st;
}

enum mi_status mt_raise(enum mi_status st, const char *fmt, ...) {
    char msg[800];
    va_list ap;
    va_start(ap, fmt);
    std::vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (self.err.code != MI_OK) self.err.later++;
    else {
        self.err.code = st;
        self.err.later = 0;
        std::snprintf(self.err.text, sizeof self.err.text, "%s", msg);
    }
    return surface();
}

/* ========================================================================================================= create */

mt_tensor *mt_empty(const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)); });
}

mt_tensor *mt_full(const int64_t *shape, int nd, double value, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)).fill_(value); });
}

mt_tensor *mt_zeros(const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::empty(sizes(shape, nd), opts(sp), format(sp.layout, nd)).zero_(); });
}

mt_tensor *mt_zeros_like(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::zeros_like(t->t.detach()); });
}

mt_tensor *mt_own_zeros_like(mt_tensor *p) {
    if (!ok(__func__, p)) return nullptr;
    try {
        c10::NoGradGuard off;
        Tensor z = at::empty_strided(p->t.sizes(), p->t.strides(), p->t.options());
        z.zero_();
        return new_box(__func__, std::move(z));
    } catch (...) {
        caught(__func__);
        return nullptr;
    }
}

mt_tensor *mt_arange(int64_t lo, int64_t hi, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] { return at::arange(lo, hi, opts(sp)); });
}

/* Host memory seen as a tensor, in the order `sp` says. */
static Tensor host_view(const void *data, const int64_t *shape, int nd, mt_spec sp) {
    IntArrayRef sz = sizes(shape, nd);
    int64_t n = 1;
    for (int64_t s : sz) {
        if (s < 0) refuse(MI_E_INTERNAL, "negative size %lld", (long long)s);
        n *= s;
    }
    if (!data && n > 0) refuse(MI_E_INTERNAL, "no data");
    at::TensorOptions o = at::TensorOptions().dtype(scalar_of(sp.dtype));
    if (sp.layout != MT_NHWC || nd != 4) return at::from_blob(const_cast<void *>(data), sz, o);
    int64_t c = sz[1], w = sz[3], strides[4] = {sz[2] * w * c, 1, w * c, c};
    return at::from_blob(const_cast<void *>(data), sz, IntArrayRef(strides, 4), o);
}

mt_tensor *mt_from(const void *data, const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] {
        Tensor v = host_view(data, shape, nd, sp);
        return sp.device.type == 1 ? v.to(dev(sp.device)) : v.clone();
    });
}

mt_tensor *mt_wrap(void *data, const int64_t *shape, int nd, mt_spec sp) {
    if (!ok(__func__)) return nullptr;
    return run(__func__, [&] {
        if (sp.device.type != 0) refuse(MI_E_INTERNAL, "only host memory can be wrapped");
        return host_view(data, shape, nd, sp);
    });
}

mt_tensor *mt_clone(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.clone(); });
}

mt_tensor *mt_to(mt_tensor *t, mt_device d) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.to(dev(d)); });
}

mt_tensor *mt_cast(mt_tensor *t, mt_dtype d) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.to(scalar_of(d)); });
}

mt_tensor *mt_contig(mt_tensor *t, mt_layout_t lay) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.contiguous(format(lay, t->t.dim())); });
}

mt_tensor *mt_copy_(mt_tensor *dst, mt_tensor *src) {
    if (!ok(__func__, dst, src)) return nullptr;
    return inplace(__func__, dst, [&] { dst->t.copy_(src->t); });
}

enum mi_status mt_read(mt_tensor *t, void *out, int64_t bytes, mt_dtype as, mt_layout_t lay) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        Tensor h = t->t.detach().to(at::kCPU).to(scalar_of(as));
        if (lay == MT_NHWC && h.dim() == 4) h = h.permute({0, 2, 3, 1});
        h = h.contiguous();
        int64_t have = h.numel() * (int64_t)h.element_size();
        if (have != bytes)
            refuse(MI_E_INTERNAL, "the buffer has %lld bytes, the tensor %lld", (long long)bytes, (long long)have);
        if (have) std::memcpy(out, h.data_ptr(), (size_t)have);
    });
}

/* ======================================================================================================== inspect */

int mt_ndim(const mt_tensor *t) { return ok(__func__, t) ? (int)t->t.dim() : -1; }
int64_t mt_numel(const mt_tensor *t) { return ok(__func__, t) ? t->t.numel() : -1; }

int64_t mt_size(const mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return -1;
    int64_t nd = t->t.dim(), d = dim < 0 ? dim + nd : dim;
    if (d >= 0 && d < nd) return t->t.size(d);
    record(MI_E_INTERNAL, __func__, "there is no dimension %d", dim);
    return -1;
}

int mt_shape(const mt_tensor *t, int64_t out[MT_MAXDIM]) {
    if (!ok(__func__, t)) return -1;
    int nd = (int)t->t.dim();
    if (nd > MT_MAXDIM) {
        record(MI_E_INTERNAL, __func__, "%d dimensions", nd);
        return -1;
    }
    for (int i = 0; i < nd; i++) out[i] = t->t.size(i);
    return nd;
}

mt_dtype mt_dtype_of(const mt_tensor *t) { return ok(__func__, t) ? dtype_of(t->t.scalar_type()) : MT_F32; }
mt_layout_t mt_layout(const mt_tensor *t) { return ok(__func__, t) && nhwc(t->t) ? MT_NHWC : MT_NCHW; }

mt_device mt_device_of(const mt_tensor *t) {
    mt_device d = {0, 0};
    if (ok(__func__, t) && t->t.is_cuda()) d = {1, t->t.get_device() < 0 ? 0 : (int)t->t.get_device()};
    else if (t && t->t.is_meta()) d = {2, 0};
    return d;
}

enum mi_status mt_item(mt_tensor *t, double *out) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        if (t->t.numel() != 1) refuse(MI_E_INTERNAL, "not a single number");
        *out = t->t.detach().to(at::kDouble).item<double>();
    });
}

void *mt_data(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    if (t->t.is_cpu()) return t->t.data_ptr();
    record(MI_E_INTERNAL, __func__, "the tensor is on a GPU");
    return nullptr;
}

int mt_strides(const mt_tensor *t, int64_t out[MT_MAXDIM]) {
    int64_t shape[MT_MAXDIM];
    int nd = mt_shape(t, shape);
    for (int i = 0; i < nd; i++) out[i] = t->t.stride(i);
    return nd;
}

void *mt_data_device(mt_tensor *t) { return ok(__func__, t) ? t->t.data_ptr() : nullptr; }

uint64_t mt_hash(mt_tensor *t) {
    uint64_t h = 0xcbf29ce484222325ull;
    if (!ok(__func__, t)) return 0;
    mi_status st = status_of(__func__, [&] {
        Tensor c = t->t.detach().to(at::kCPU).contiguous();
        const unsigned char *p = (const unsigned char *)c.data_ptr();
        for (int64_t i = 0, n = c.numel() * (int64_t)c.element_size(); i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
    });
    return st == MI_OK ? h : 0;
}

/* ================================================================================================ views and shape */

mt_tensor *mt_reshape(mt_tensor *t, const int64_t *shape, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.reshape(sizes(shape, nd)); });
}

mt_tensor *mt_flatten(mt_tensor *t, int from) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.flatten(from, -1); });
}

mt_tensor *mt_permute(mt_tensor *t, const int *dims, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.permute(wide(dims, nd)); });
}

mt_tensor *mt_transpose(mt_tensor *t, int a, int b) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.transpose((int64_t)a, (int64_t)b); });
}

mt_tensor *mt_narrow(mt_tensor *t, int dim, int64_t start, int64_t len) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.narrow(dim, start, len); });
}

mt_tensor *mt_stride_slice(mt_tensor *t, int dim, int64_t start, int64_t end, int64_t step) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        return at::slice(t->t, dim, start == MT_AUTO ? 0 : start, end == MT_AUTO ? INT64_MAX : end, step);
    });
}

mt_tensor *mt_select(mt_tensor *t, int dim, int64_t i) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.select(dim, i); });
}

mt_tensor *mt_expand(mt_tensor *t, const int64_t *shape, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.expand(sizes(shape, nd)); });
}

mt_tensor *mt_repeat(mt_tensor *t, const int64_t *times, int nd) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.repeat(sizes(times, nd)); });
}

mt_tensor *mt_squeeze(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.squeeze(dim); });
}

mt_tensor *mt_unsqueeze(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.unsqueeze(dim); });
}

mt_tensor *mt_flip(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return as_layout(t->t, t->t.flip(dim)); });
}

static std::vector<Tensor> list_of(mt_tensor *const *ts, int n) {
    std::vector<Tensor> v;
    v.reserve((size_t)n);
    for (int i = 0; i < n; i++) v.push_back(ts[i]->t);
    return v;
}

mt_tensor *mt_cat(mt_tensor *const *ts, int n, int dim) {
    if (!ok_list(__func__, ts, n)) return nullptr;
    return run(__func__, [&] { return as_layout(ts[0]->t, at::cat(list_of(ts, n), dim)); });
}

mt_tensor *mt_stack(mt_tensor *const *ts, int n, int dim) {
    if (!ok_list(__func__, ts, n)) return nullptr;
    return run(__func__, [&] { return at::stack(list_of(ts, n), dim); });
}

mt_tensor *mt_detach(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return t->t.detach(); });
}

/* =================================================================================================== element-wise */

mt_tensor *mt_add(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::add(a->t, b->t); });
}

mt_tensor *mt_sub(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::sub(a->t, b->t); });
}

mt_tensor *mt_mul(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::mul(a->t, b->t); });
}

mt_tensor *mt_div(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::div(a->t, b->t); });
}

mt_tensor *mt_affine(mt_tensor *t, double mul, double add) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        if (add == 0) return at::mul(t->t, mul);
        if (mul == 1) return at::add(t->t, add);
        Tensor y = at::mul(t->t, mul);
        return y.add_(add);
    });
}

mt_tensor *mt_add_(mt_tensor *a, mt_tensor *b, double alpha) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] {
        if (alpha == 1) a->t.add_(b->t);
        else a->t.add_(b->t, alpha);
    });
}

mt_tensor *mt_mul_(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] { a->t.mul_(b->t); });
}

mt_tensor *mt_affine_(mt_tensor *t, double mul, double add) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] {
        if (mul != 1) t->t.mul_(mul);
        if (add != 0) t->t.add_(add);
    });
}

mt_tensor *mt_lerp_(mt_tensor *a, mt_tensor *b, double w) {
    if (!ok(__func__, a, b)) return nullptr;
    return inplace(__func__, a, [&] { a->t.lerp_(b->t.to(a->t.scalar_type()), w); });
}

mt_tensor *mt_fill_(mt_tensor *t, double v) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] { t->t.fill_(v); });
}

mt_tensor *mt_unary(mt_tensor *t, mt_unop op) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        const Tensor &x = t->t;
        switch (op) {
        case MT_EXP: return x.exp();
        case MT_LOG: return x.log();
        case MT_SQRT: return x.sqrt();
        case MT_RSQRT: return x.rsqrt();
        case MT_ABS: return x.abs();
        case MT_NEG: return x.neg();
        case MT_SIGN: return x.sign();
        case MT_SIN: return x.sin();
        case MT_COS: return x.cos();
        case MT_FLOOR: return x.floor();
        case MT_ROUND: return x.round();
        case MT_RECIP: return x.reciprocal();
        case MT_SQUARE: return x * x;
        case MT_ISFINITE: return at::isfinite(x);
        }
        refuse(MI_E_INTERNAL, "unknown operation %d", (int)op);
    });
}

mt_tensor *mt_pow(mt_tensor *t, double e) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::pow(t->t, e); });
}

mt_tensor *mt_clamp(mt_tensor *t, double lo, double hi) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        if (std::isinf(hi)) return at::clamp_min(t->t, lo);
        if (std::isinf(lo)) return at::clamp_max(t->t, hi);
        return at::clamp(t->t, at::Scalar(lo), at::Scalar(hi));
    });
}

mt_tensor *mt_clamp_(mt_tensor *t, double lo, double hi) {
    if (!ok(__func__, t)) return nullptr;
    return inplace(__func__, t, [&] {
        if (!std::isinf(lo)) t->t.clamp_min_(lo);
        if (!std::isinf(hi)) t->t.clamp_max_(hi);
    });
}

mt_tensor *mt_max2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::maximum(a->t, b->t); });
}

mt_tensor *mt_min2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::minimum(a->t, b->t); });
}

mt_tensor *mt_compare(mt_tensor *a, mt_tensor *b, mt_cmp op) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return compare(a->t, b->t, op); });
}

mt_tensor *mt_compare_scalar(mt_tensor *a, double b, mt_cmp op) {
    if (!ok(__func__, a)) return nullptr;
    return run(__func__, [&] { return compare(a->t, at::Scalar(b), op); });
}

mt_tensor *mt_logical_and(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] { return at::logical_and(a->t, b->t); });
}

mt_tensor *mt_where(mt_tensor *c, mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, c, a, b)) return nullptr;
    return run(__func__, [&] { return at::where(c->t.to(at::kBool), a->t, b->t); });
}

/* Multiply-accumulates of the products made since mt_macs_begin; -1: nobody counts. */
static thread_local double macs_seen = -1;

void mt_macs_begin(void) { macs_seen = 0; }

double mt_macs_end(void) {
    double n = macs_seen;
    macs_seen = -1;
    return n < 0 ? 0 : n;
}

/* Each of `results` numbers is a sum of `terms` products. */
static void macs_add(int64_t results, int64_t terms) {
    if (macs_seen >= 0) macs_seen += (double)results * (double)terms;
}

mt_tensor *mt_inverse(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return std::get<0>(at::linalg_inv_ex(t->t, false)); });
}

mt_tensor *mt_svdvals(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::linalg_svdvals(t->t); });
}

mt_tensor *mt_qr_r(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return std::get<1>(at::linalg_qr(t->t, "r")); });
}

mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        Tensor y = at::matmul(a->t, b->t);
        macs_add(y.numel(), a->t.size(-1));
        return y;
    });
}

/* ======================================================================================= reductions and indexing */

mt_tensor *mt_sum(mt_tensor *t, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        return nd == 0 && !keep ? at::sum(t->t) : at::sum(t->t, IntArrayRef(dims_of(t->t, dims, nd)), keep);
    });
}

mt_tensor *mt_mean(mt_tensor *t, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        Tensor x = t->t.is_floating_point() ? t->t : t->t.to(at::kFloat);
        return nd == 0 && !keep ? at::mean(x) : at::mean(x, IntArrayRef(dims_of(x, dims, nd)), keep);
    });
}

/* Boxes two results, or none. */
static mi_status pair(const char *op, std::tuple<Tensor, Tensor> &&r, mt_tensor **a, mt_tensor **b) {
    *a = run(op, [&] { return std::move(std::get<0>(r)); });
    *b = *a ? run(op, [&] { return std::move(std::get<1>(r)); }) : nullptr;
    if (*b) return MI_OK;
    mt_drop(*a);
    *a = nullptr;
    return surface();
}

enum mi_status mt_var_mean(mt_tensor *t, const int *dims, int nd, bool unbiased, mt_tensor **var, mt_tensor **mean) {
    *var = *mean = nullptr;
    if (!ok(__func__, t)) return surface();
    std::tuple<Tensor, Tensor> r;
    mi_status st = status_of(__func__, [&] {
        r = at::var_mean(t->t, IntArrayRef(dims_of(t->t, dims, nd)), unbiased, false);
    });
    return st != MI_OK ? st : pair(__func__, std::move(r), var, mean);
}

mt_tensor *mt_norm(mt_tensor *t, double p, const int *dims, int nd, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        Tensor x = t->t.scalar_type() == at::kDouble ? t->t : t->t.to(at::kFloat);
        return at::norm(x, at::Scalar(p), IntArrayRef(dims_of(x, dims, nd)), keep);
    });
}

mt_tensor *mt_amax(mt_tensor *t, int dim, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::amax(t->t, IntArrayRef((int64_t)dim), keep); });
}

mt_tensor *mt_amin(mt_tensor *t, int dim, bool keep) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::amin(t->t, IntArrayRef((int64_t)dim), keep); });
}

mt_tensor *mt_argmax(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::argmax(t->t, (int64_t)dim, false); });
}

enum mi_status mt_topk(mt_tensor *t, int64_t k, int dim, mt_tensor **val, mt_tensor **idx) {
    *val = *idx = nullptr;
    if (!ok(__func__, t)) return surface();
    std::tuple<Tensor, Tensor> r;
    mi_status st = status_of(__func__, [&] { r = at::topk(t->t, k, dim, true, true); });
    return st != MI_OK ? st : pair(__func__, std::move(r), val, idx);
}

mt_tensor *mt_cumsum(mt_tensor *t, int dim) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] { return at::cumsum(full(t->t), dim); });
}

mt_tensor *mt_gather(mt_tensor *t, int dim, mt_tensor *idx) {
    if (!ok(__func__, t, idx)) return nullptr;
    return run(__func__, [&] { return at::gather(t->t, dim, idx->t); });
}

mt_tensor *mt_index_select(mt_tensor *t, int dim, mt_tensor *idx) {
    if (!ok(__func__, t, idx)) return nullptr;
    return run(__func__, [&] {
        if (!nhwc(t->t)) return at::index_select(t->t, dim, idx->t);
        /* The same memory read as a contiguous n,h,w,c tensor: selecting there keeps the order without a copy. */
        static const int64_t to[4] = {0, 3, 1, 2};
        if (dim < -4 || dim > 3) refuse(MI_E_INTERNAL, "there is no dimension %d", dim);
        Tensor flat = t->t.permute({0, 2, 3, 1});
        return at::index_select(flat, to[dim < 0 ? dim + 4 : dim], idx->t).permute({0, 3, 1, 2});
    });
}

mt_tensor *mt_scatter_(mt_tensor *t, int dim, mt_tensor *idx, mt_tensor *src) {
    if (!ok(__func__, t, idx, src)) return nullptr;
    return inplace(__func__, t, [&] { t->t.scatter_(dim, idx->t, src->t); });
}

mt_tensor *mt_one_hot(mt_tensor *idx, int64_t classes) {
    if (!ok(__func__, idx)) return nullptr;
    return run(__func__, [&] { return at::one_hot(idx->t, classes); });
}

mt_tensor *mt_cdist2(mt_tensor *a, mt_tensor *b) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        /* |a|^2 + |b|^2 - 2ab cancels: in f64 the result is good to f32, and TF32 and autocast stay out of it. */
        Tensor x = a->t.to(at::kDouble), y = b->t.to(at::kDouble); /* [N,D] [M,D] */
        Tensor d = at::matmul(x, y.t()).mul(-2) + (x * x).sum(1, true) + (y * y).sum(1).unsqueeze(0); /* [N,M] */
        return d.clamp_min(0).to(at::kFloat);
    });
}

bool mt_all_finite(mt_tensor *t) {
    bool yes = false;
    if (ok(__func__, t)) status_of(__func__, [&] { yes = at::isfinite(t->t.detach()).all().item<bool>(); });
    return yes;
}

/* ========================================================================================================= random */

mt_rng *mt_rng_new(mt_device d, uint64_t seed) {
    if (!ok(__func__)) return nullptr;
    mt_rng *r = nullptr;
    status_of(__func__, [&] {
        at::Generator g = d.type == 1 ? at::globalContext().defaultGenerator(dev(d)).clone()
                                      : at::make_generator<at::CPUGeneratorImpl>(seed);
        r = new mt_rng{g, d};
    });
    mt_rng_seed(r, seed);
    return r;
}

void mt_rng_seed(mt_rng *r, uint64_t seed) {
    if (!r) return null_arg(__func__, 1);
    status_of(__func__, [&] {
        std::lock_guard<std::mutex> hold(r->gen.mutex());
        r->gen.set_current_seed(seed);
    });
}

void mt_rng_free(mt_rng *r) { delete r; }

mt_tensor *mt_randn(const int64_t *shape, int nd, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::randn(s, r->gen, o);
    });
}

mt_tensor *mt_rand(const int64_t *shape, int nd, double lo, double hi, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::rand(s, r->gen, o).mul_(hi - lo).add_(lo);
    });
}

mt_tensor *mt_randint(int64_t lo, int64_t hi, const int64_t *shape, int nd, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::randint(lo, hi, s, r->gen, o.dtype(at::kLong));
    });
}

mt_tensor *mt_bernoulli(const int64_t *shape, int nd, double p, mt_spec sp, mt_rng *r) {
    return draw(__func__, shape, nd, sp, r, [&](IntArrayRef s, at::TensorOptions o) {
        return at::empty(s, o).bernoulli_(p, r->gen);
    });
}

/* ============================================================================================== network functions */

mt_tensor *mt_linear(mt_tensor *x, mt_tensor *w, mt_tensor *b) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        Tensor y = at::linear(x->t, w->t, b->t);
        macs_add(y.numel(), w->t.size(-1));
        return y;
    });
}

static std::vector<int64_t> two(const int v[2]) { return {v[0], v[1]}; }

/* The Winograd kernels compute in f32 only; MIDRE_CONV=direct keeps to libtorch's convolutions, to compare. */
static bool fast_conv_allowed() {
    static const bool direct = [] {
        const char *how = getenv("MIDRE_CONV");
        return how && strcmp(how, "direct") == 0;
    }();
    return !direct && !mt_autocast_on();
}

static Tensor conv2d(const Tensor &x, const Tensor &w, const Tensor &b, const mt_convp *p) {
    if (fast_conv_allowed() && p->groups == 1 && p->dil[0] == 1 && p->dil[1] == 1) {
        auto is = [&](int stride, int pad) {
            return p->stride[0] == stride && p->stride[1] == stride && p->pad[0] == pad && p->pad[1] == pad;
        };
        if (is(1, 1) && fast_conv3x3_wanted(x, w)) return fast_conv3x3(x, w, b);
        if (is(2, 2) && fast_conv5x5s2_wanted(x, w)) return fast_conv5x5s2(x, w, b);
    }
    return at::conv2d(x, w, b, IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)), IntArrayRef(two(p->dil)),
                      p->groups);
}

mt_tensor *mt_conv2d(mt_tensor *x, mt_tensor *w, mt_tensor *b, const mt_convp *p) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        Tensor y = conv2d(x->t, w->t, b->t, p);
        if (w->t.size(0) > 0) macs_add(y.numel(), w->t.numel() / w->t.size(0));
        return y;
    });
}

mt_tensor *mt_unfold2d(mt_tensor *x, int kh, int kw, const mt_convp *p) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        return at::im2col(x->t, {kh, kw}, IntArrayRef(two(p->dil)), IntArrayRef(two(p->pad)),
                          IntArrayRef(two(p->stride)));
    });
}

/* Transposed convolution with stride 2, cut by output parity.  Output 2q+r along an axis takes kernel index u from
 * input q+tap where 2*tap = r + pad - u.  Kernel 5, padding 2: r=0 has u = 4,2,0 and r=1 has u = -,3,1 at the taps
 * -1,0,+1.  Kernel 4, padding 1: r=0 has 3,1,- and r=1 has -,2,0.  "-" is a zero row appended to the kernel. */
static Tensor subpixel_weight(const Tensor &w) {
    if (w.dim() != 4 || w.size(2) != w.size(3) || (w.size(2) != 5 && w.size(2) != 4))
        refuse(MI_E_INTERNAL, "a 5x5 or 4x4 kernel is needed");
    static const int64_t take5[6] = {4, 2, 0, 5, 3, 1}, take4[6] = {3, 1, 4, 4, 2, 0};
    Tensor idx = at::from_blob(const_cast<int64_t *>(w.size(2) == 5 ? take5 : take4), {6}, at::kLong).to(w.device());
    Tensor k = at::constant_pad_nd(w, {0, 1, 0, 1}).index_select(2, idx).index_select(3, idx);
    int64_t in = w.size(0), out = w.size(1);
    Tensor r = k.reshape({in, out, 2, 3, 2, 3}).permute({1, 2, 4, 0, 3, 5}).reshape({4 * out, in, 3, 3});
    return as_layout(w, r);
}

static Tensor bias4(const Tensor &b) {
    return b.defined() ? b.unsqueeze(1).expand({b.size(0), 4}).reshape({-1}) : b;
}

static Tensor subpixel_conv(const Tensor &x, const Tensor &sw, const Tensor &b) {
    bool fast = fast_conv_allowed() && fast_conv3x3_wanted(x, sw);
    return at::pixel_shuffle(fast ? fast_conv3x3(x, sw, bias4(b)) : at::conv2d(x, sw, bias4(b), {1, 1}, {1, 1}), 2);
}

/* Input of one pixel: every output pixel is one row of a matrix product. */
static Tensor deconv_pixel(const Tensor &x, const Tensor &w, const Tensor &b) {
    Tensor flat = x.reshape({x.size(0), x.size(1)}), y; /* [N,in] */
    if (nhwc(w)) {
        Tensor k = w.permute({0, 2, 3, 1}).reshape({w.size(0), -1});
        y = at::matmul(flat, k).reshape({x.size(0), w.size(2), w.size(3), w.size(1)}).permute({0, 3, 1, 2});
    } else {
        y = at::matmul(flat, w.reshape({w.size(0), -1})).reshape({x.size(0), w.size(1), w.size(2), w.size(3)});
    }
    return b.defined() ? y + b.to(y.scalar_type()).view({1, -1, 1, 1}) : y;
}

#if MT_TV < 200
/* 1.13 on the CPU: its bf16 transposed convolution is broken and autocast leaves it alone; computed in f32. */
static Tensor deconv_113(const Tensor &x, const Tensor &w, const Tensor &b, const mt_convp *p, bool simple) {
    bool stride2 = simple && p->stride[0] == 2 && p->stride[1] == 2 && w.size(2) == w.size(3);
    bool five = w.size(2) == 5 && p->pad[0] == 2 && p->pad[1] == 2 && p->outpad[0] == 1 && p->outpad[1] == 1;
    bool four = w.size(2) == 4 && p->pad[0] == 1 && p->pad[1] == 1 && p->outpad[0] == 0 && p->outpad[1] == 0;
    if (stride2 && (five || four)) return subpixel_conv(x, subpixel_weight(w), b);
    Tensor y = at::conv_transpose2d(full(x), full(w), full(b), IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)),
                                    IntArrayRef(two(p->outpad)), p->groups, IntArrayRef(two(p->dil)));
    return as_layout(x, y.to(x.scalar_type()));
}
#endif

mt_tensor *mt_deconv2d(mt_tensor *x, mt_tensor *w, mt_tensor *b, const mt_convp *p) {
    if (!ok(__func__, x, w, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (x->t.dim() != 4 || w->t.dim() != 4) refuse(MI_E_INTERNAL, "[N,C,H,W] and [in,out,kh,kw] are needed");
        bool simple = p->groups == 1 && p->dil[0] == 1 && p->dil[1] == 1;
        bool unpadded = !p->pad[0] && !p->pad[1] && !p->outpad[0] && !p->outpad[1];
        bool pixel = x->t.size(2) == 1 && x->t.size(3) == 1 && unpadded;
        if (simple && pixel) return deconv_pixel(x->t, w->t, b->t);
#if MT_TV < 200
        if (x->t.is_cpu()) return deconv_113(x->t, w->t, b->t, p, simple);
#endif
        return at::conv_transpose2d(x->t, w->t, b->t, IntArrayRef(two(p->stride)), IntArrayRef(two(p->pad)),
                                    IntArrayRef(two(p->outpad)), p->groups, IntArrayRef(two(p->dil)));
    });
}

mt_tensor *mt_subpixel_weight(mt_tensor *w) {
    if (!ok(__func__, w)) return nullptr;
    return run(__func__, [&] { return subpixel_weight(w->t); });
}

mt_tensor *mt_subpixel_conv(mt_tensor *x, mt_tensor *subpixel_w, mt_tensor *b) {
    if (!ok(__func__, x, subpixel_w, Opt{b})) return nullptr;
    return run(__func__, [&] { return subpixel_conv(x->t, subpixel_w->t, b->t); });
}

mt_tensor *mt_batch_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, mt_tensor *rm, mt_tensor *rv, bool train,
                         double momentum, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b}, Opt{rm}, Opt{rv})) return nullptr;
    return run(__func__, [&] {
        return as_layout(x->t, at::batch_norm(x->t, g->t, b->t, rm->t, rv->t, train, momentum, eps, true));
    });
}

/* 1.13 and the CUDA kernels want one dtype for input and weights; 2.x on the CPU takes bf16 beside f32 itself. */
static bool norm_in_f32(const Tensor &x) { return reduced(x) && (MT_TV < 200 || x.is_cuda()); }

static Tensor group_norm(const Tensor &x, int64_t groups, const Tensor &g, const Tensor &b, double eps) {
    if (!norm_in_f32(x)) return as_layout(x, at::group_norm(x, groups, g, b, eps));
    return as_layout(x, at::group_norm(x.to(at::kFloat), groups, full(g), full(b), eps).to(x.scalar_type()));
}

mt_tensor *mt_group_norm(mt_tensor *x, int64_t groups, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] { return group_norm(x->t, groups, g->t, b->t, eps); });
}

mt_tensor *mt_instance_norm(mt_tensor *x, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (x->t.dim() < 2) refuse(MI_E_INTERNAL, "[N,C,...] is needed");
        return group_norm(x->t, x->t.size(1), g->t, b->t, eps);
    });
}

mt_tensor *mt_layer_norm(mt_tensor *x, int tail_dims, mt_tensor *g, mt_tensor *b, double eps) {
    if (!ok(__func__, x, Opt{g}, Opt{b})) return nullptr;
    return run(__func__, [&] {
        if (tail_dims < 1 || tail_dims > x->t.dim()) refuse(MI_E_INTERNAL, "%d dimensions to normalise", tail_dims);
        IntArrayRef tail = x->t.sizes().slice((size_t)(x->t.dim() - tail_dims));
        if (!norm_in_f32(x->t)) return at::layer_norm(x->t, tail, g->t, b->t, eps);
        return at::layer_norm(x->t.to(at::kFloat), tail, full(g->t), full(b->t), eps).to(x->t.scalar_type());
    });
}

mt_tensor *mt_act(mt_tensor *x, mt_actop op, double alpha) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        switch (op) {
        case MT_RELU: return at::relu(x->t);
        case MT_LRELU: return at::leaky_relu(x->t, alpha);
        case MT_SIGMOID: return at::sigmoid(x->t);
        case MT_TANH: return at::tanh(x->t);
        case MT_SILU: return at::silu(x->t);
        case MT_GELU: return at::gelu(x->t);
        case MT_SOFTPLUS: return at::softplus(x->t);
        }
        refuse(MI_E_INTERNAL, "unknown activation %d", (int)op);
    });
}

mt_tensor *mt_act_(mt_tensor *x, mt_actop op, double alpha) {
    if (!ok(__func__, x)) return nullptr;
    return inplace(__func__, x, [&] {
        switch (op) {
        case MT_RELU: at::relu_(x->t); return;
        case MT_LRELU: at::leaky_relu_(x->t, alpha); return;
        case MT_SIGMOID: at::sigmoid_(x->t); return;
        case MT_TANH: at::tanh_(x->t); return;
        case MT_SILU: at::silu_(x->t); return;
        case MT_GELU: at::gelu_(x->t); return;
        case MT_SOFTPLUS: refuse(MI_E_INTERNAL, "softplus has no in-place form");
        }
        refuse(MI_E_INTERNAL, "unknown activation %d", (int)op);
    });
}

mt_tensor *mt_prelu(mt_tensor *x, mt_tensor *slope) {
    if (!ok(__func__, x, slope)) return nullptr;
    return run(__func__, [&]() -> Tensor {
        const Tensor &v = x->t;
        Tensor s = slope->t.to(v.scalar_type());
        if (MT_TV >= 200 || v.dim() != 4) return at::prelu(v, s);
        return at::where(v > 0, v, v * s.view({1, -1, 1, 1})); /* 1.13's own kernel leaves channels_last */
    });
}

mt_tensor *mt_softmax(mt_tensor *x, int dim) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::softmax(x->t, dim); });
}

mt_tensor *mt_log_softmax(mt_tensor *x, int dim) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::log_softmax(full(x->t), dim); });
}

mt_tensor *mt_max_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::max_pool2d(x->t, {k, k}, {s, s}, {p, p}, {1, 1}, ceil_mode); });
}

mt_tensor *mt_avg_pool2d(mt_tensor *x, int k, int s, int p, bool ceil_mode, bool count_pad) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::avg_pool2d(x->t, {k, k}, {s, s}, {p, p}, ceil_mode, count_pad); });
}

mt_tensor *mt_adaptive_avg_pool2d(mt_tensor *x, int h, int w) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::adaptive_avg_pool2d(x->t, {h, w}); });
}

mt_tensor *mt_resize2d(mt_tensor *x, int h, int w, mt_interp mode, bool align_corners, bool antialias) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        int64_t hw[2] = {h, w};
        IntArrayRef size(hw, 2);
        if (mode == MT_NEAREST) return as_layout(x->t, at::upsample_nearest2d(x->t, size));
        if (!antialias) return as_layout(x->t, at::upsample_bilinear2d(x->t, size, align_corners));
        return as_layout(x->t, at::_upsample_bilinear2d_aa(full(x->t), size, align_corners).to(x->t.scalar_type()));
    });
}

mt_tensor *mt_grid_sample(mt_tensor *x, mt_tensor *grid, mt_interp mode, mt_padmode pad) {
    if (!ok(__func__, x, grid)) return nullptr;
    return run(__func__, [&] {
        Tensor v = full(x->t); /* coordinates in bf16 would be a pixel off */
        int64_t border = pad == MT_PAD_ZERO ? 0 : pad == MT_PAD_EDGE ? 1 : 2;
        Tensor y = at::grid_sampler(v, grid->t.to(v.scalar_type()), mode == MT_BILINEAR ? 0 : 1, border, false);
        return as_layout(x->t, y.to(x->t.scalar_type()));
    });
}

mt_tensor *mt_affine_grid(mt_tensor *theta, const int64_t shape[4]) {
    if (!ok(__func__, theta)) return nullptr;
    return run(__func__, [&] { return at::affine_grid_generator(full(theta->t), sizes(shape, 4), false); });
}

mt_tensor *mt_pad2d(mt_tensor *x, const int pad[4], mt_padmode m, double v) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] {
        std::vector<int64_t> p = wide(pad, 4);
        if (m == MT_PAD_ZERO) return at::constant_pad_nd(x->t, p, v);
        Tensor y = m == MT_PAD_REFLECT ? at::reflection_pad2d(full(x->t), p) : at::replication_pad2d(full(x->t), p);
        return as_layout(x->t, y.to(x->t.scalar_type()));
    });
}

mt_tensor *mt_pixel_shuffle(mt_tensor *x, int r) {
    if (!ok(__func__, x)) return nullptr;
    return run(__func__, [&] { return at::pixel_shuffle(x->t, r); });
}

mt_tensor *mt_dropout(mt_tensor *x, double p, mt_rng *rng) {
    if (!ok(__func__, x)) return nullptr;
    if (!rng) {
        null_arg(__func__, 3);
        return nullptr;
    }
    return run(__func__, [&] {
        if (!(p >= 0 && p <= 1)) refuse(MI_E_INTERNAL, "probability %g", p);
        if (p == 1) return x->t * 0;
        at::TensorOptions o = at::TensorOptions().device(dev(rng->device)).dtype(x->t.scalar_type());
        Tensor mask = at::empty(x->t.sizes(), o, x->t.suggest_memory_format()).bernoulli_(1 - p, rng->gen).div_(1 - p);
        return x->t * mask.to(x->t.device());
    });
}

mt_tensor *mt_embedding(mt_tensor *w, mt_tensor *idx) {
    if (!ok(__func__, w, idx)) return nullptr;
    return run(__func__, [&] { return at::embedding(w->t, idx->t); });
}

static int64_t reduction(mt_reduction r) {
    return r == MT_RED_NONE ? at::Reduction::None : r == MT_RED_MEAN ? at::Reduction::Mean : at::Reduction::Sum;
}

mt_tensor *mt_cross_entropy(mt_tensor *logits, mt_tensor *target, double smooth, mt_reduction r) {
    if (!ok(__func__, logits, target)) return nullptr;
    return run(__func__, [&] {
        if (logits->t.dim() != 2 || target->t.dim() != 1 || logits->t.size(0) != target->t.size(0))
            refuse(MI_E_INTERNAL, "[N,classes] and [N] are needed");
        Tensor logp = at::log_softmax(full(logits->t), 1); /* [N,classes] */
        Tensor hard = at::nll_loss(logp, target->t, {}, reduction(r));
        if (smooth == 0) return hard;
        /* target (1-s)*onehot + s/classes; libtorch's own smoothing ignores negative s */
        Tensor even = -logp.mean(1);
        if (r != MT_RED_NONE) even = r == MT_RED_MEAN ? even.mean() : even.sum();
        return hard * (1 - smooth) + even * smooth;
    });
}

mt_tensor *mt_bce_logits(mt_tensor *x, mt_tensor *y, mt_reduction r) {
    if (!ok(__func__, x, y)) return nullptr;
    return run(__func__, [&] {
        Tensor v = full(x->t);
        return at::binary_cross_entropy_with_logits(v, y->t.to(v.scalar_type()), {}, {}, reduction(r));
    });
}

mt_tensor *mt_mse(mt_tensor *a, mt_tensor *b, mt_reduction r) {
    if (!ok(__func__, a, b)) return nullptr;
    return run(__func__, [&] {
        if (a->t.sizes() != b->t.sizes()) refuse(MI_E_INTERNAL, "different shapes");
        return at::mse_loss(full(a->t), full(b->t), reduction(r));
    });
}

/* ======================================================================================================= autograd */

enum mi_status mt_requires_grad_(mt_tensor *t, bool on) {
    if (!ok(__func__, t)) return surface();
    return status_of(__func__, [&] {
        if (on && !t->t.is_floating_point()) refuse(MI_E_INTERNAL, "only floating point tensors have gradients");
        t->t.set_requires_grad(on);
    });
}

bool mt_requires_grad(const mt_tensor *t) { return ok(__func__, t) && t->t.requires_grad(); }
bool mt_has_grad(const mt_tensor *p) { return ok(__func__, p) && p->t.grad().defined(); }

mt_tensor *mt_grad(mt_tensor *leaf) {
    if (!ok(__func__, leaf)) return nullptr;
    if (!leaf->t.is_leaf()) {
        record(MI_E_INTERNAL, __func__, "the tensor (made by %s) is not a leaf", leaf->op);
        return nullptr;
    }
    if (!leaf->t.grad().defined()) return MT_NONE;
    return run(__func__, [&] { return leaf->t.grad(); });
}

void mt_zero_grad(mt_tensor *const *ps, int n, bool to_none) {
    if (n == 0 || !ok_list(__func__, ps, n)) return;
    status_of(__func__, [&] {
        c10::NoGradGuard off;
        for (int i = 0; i < n; i++) {
            Tensor &g = ps[i]->t.mutable_grad();
            if (!g.defined()) continue;
            if (to_none) g = Tensor();
            else g.detach_().zero_();
        }
    });
}

/* Backward never runs under autocast, whatever region the caller stands in. */
#define NO_AUTOCAST                                                                                                    \
    c10::impl::ExcludeDispatchKeyGuard no_autocast_(                                                                   \
        c10::DispatchKeySet({c10::DispatchKey::AutocastCPU, c10::DispatchKey::AutocastCUDA}))

static void check_loss(const Tensor &t) {
    if (t.numel() != 1) refuse(MI_E_INTERNAL, "the loss is not a single number");
    if (!t.requires_grad()) refuse(MI_E_INTERNAL, "the loss depends on nothing that requires a gradient");
}

enum mi_status mt_backward(mt_tensor *loss, bool retain) {
    if (!ok(__func__, loss)) return surface();
    return status_of(__func__, [&] {
        check_loss(loss->t);
        NO_AUTOCAST;
        loss->t.backward({}, retain, false);
    });
}

enum mi_status mt_grad_of(mt_tensor *out, mt_tensor *const *in, int n, bool create_graph, bool retain,
                          mt_tensor **grads) {
    for (int i = 0; i < n; i++) grads[i] = nullptr;
    if (!ok_list(__func__, in, n) || !ok(__func__, out)) return surface();
    std::vector<Tensor> g;
    mi_status st = status_of(__func__, [&] {
        check_loss(out->t);
        NO_AUTOCAST;
        g = torch::autograd::grad({out->t}, list_of(in, n), {}, retain || create_graph, create_graph, true);
    });
    for (int i = 0; st == MI_OK && i < n; i++) {
        grads[i] = g[(size_t)i].defined() ? run(__func__, [&] { return g[(size_t)i]; }) : MT_NONE;
        if (grads[i]) continue;
        st = surface();
        while (i-- > 0) {
            mt_drop(grads[i]);
            grads[i] = nullptr;
        }
        break;
    }
    return st;
}

/* A view written to in place later would be rebuilt from its base, past the edge taken here: it becomes a copy. */
mt_tensor *mt_mark(mt_tensor *t) {
    if (!ok(__func__, t)) return nullptr;
    return run(__func__, [&] {
        if (t->t.is_view()) t->t = t->t.clone();
        Tensor mark = at::empty({0}, t->t.options());
        if (t->t.requires_grad())
            torch::autograd::impl::set_gradient_edge(mark, torch::autograd::impl::gradient_edge(t->t));
        return mark;
    });
}

bool mt_grad_mode(bool on) {
    bool was = c10::GradMode::is_enabled();
    c10::GradMode::set_enabled(on);
    return was;
}

/* ======================================================================================= services of optim.c */

/* The gradient in the exact memory order of its parameter; strides of dimensions of size 1 mean nothing. */
static Tensor matched_grad(Tensor &p) {
    Tensor g = p.grad();
    if (!g.defined()) return g;
    bool same = g.scalar_type() == p.scalar_type() && g.sizes() == p.sizes();
    for (int64_t d = 0; same && d < p.dim(); d++) same = p.size(d) == 1 || g.stride(d) == p.stride(d);
    if (same) return g;
    c10::NoGradGuard off;
    Tensor m = at::empty_strided(p.sizes(), p.strides(), p.options());
    m.copy_(g);
    p.mutable_grad() = m;
    return m;
}

static void check_param(const Tensor &p) {
    if (p.scalar_type() != at::kFloat) refuse(MI_E_INTERNAL, "optimisers work on f32 parameters");
    if (!p.is_non_overlapping_and_dense()) refuse(MI_E_INTERNAL, "the parameter is a strided view");
}

enum mi_status mt_flat_of(mt_tensor *p, struct mt_flat *out) {
    if (!ok(__func__, p)) return surface();
    return status_of(__func__, [&] {
        check_param(p->t);
        if (!p->t.is_cpu()) refuse(MI_E_INTERNAL, "the parameter is on a GPU");
        Tensor g = matched_grad(p->t);
        *out = {p->t.data_ptr<float>(), g.defined() ? g.data_ptr<float>() : nullptr, p->t.numel()};
    });
}

const void *mt_rows(const mt_tensor *t) {
    return ok(__func__, t) && t->t.is_cpu() && t->t.is_contiguous() ? t->t.data_ptr() : nullptr;
}

void mt_touched(mt_tensor *p) {
    if (ok(__func__, p)) p->t.unsafeGetTensorImpl()->bump_version();
}

static std::vector<Tensor> grads_of(mt_tensor *const *ps, int n) {
    std::vector<Tensor> g;
    for (int i = 0; i < n; i++) {
        check_param(ps[i]->t);
        g.push_back(matched_grad(ps[i]->t));
        if (!g.back().defined()) refuse(MI_E_INTERNAL, "parameter %d has no gradient", i);
    }
    return g;
}

enum mi_status mt_device_adam(const struct mt_adam_batch *a) {
    if (!ok_list(__func__, a->p, a->n) || !ok_list(__func__, a->m, a->n) || !ok_list(__func__, a->v, a->n))
        return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> p = list_of(a->p, a->n), g = grads_of(a->p, a->n), m = list_of(a->m, a->n),
                            v = list_of(a->v, a->n);
        if (a->decoupled && a->wd != 0) at::_foreach_mul_(p, at::Scalar(1 - a->lr * a->wd));
        /* The kernel reads the step number from the device; one tensor serves the whole list. */
        Tensor step = at::full({}, (double)a->step, p[0].options());
        std::vector<Tensor> steps((size_t)a->n, step);
        at::_fused_adam_(p, g, m, v, at::TensorList(), steps, a->lr, a->b1, a->b2, a->decoupled ? 0.0 : a->wd, a->eps,
                         false, false);
    });
}

enum mi_status mt_device_sgd(const struct mt_sgd_batch *s) {
    if (!ok_list(__func__, s->p, s->n)) return surface();
    if (s->momentum != 0 && !ok_list(__func__, s->buf, s->n)) return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> p = list_of(s->p, s->n), g = grads_of(s->p, s->n);
        if (s->wd != 0) g = at::_foreach_add(g, p, at::Scalar(s->wd));
        if (s->momentum != 0) {
            std::vector<Tensor> buf = list_of(s->buf, s->n);
            at::_foreach_mul_(buf, at::Scalar(s->momentum));
            at::_foreach_add_(buf, g, at::Scalar(1));
            g = s->nesterov ? at::_foreach_add(g, buf, at::Scalar(s->momentum)) : buf;
        }
        at::_foreach_add_(p, g, at::Scalar(-s->lr));
    });
}

enum mi_status mt_device_clip(mt_tensor *const *ps, int n, double max_norm, double *norm) {
    *norm = 0;
    if (n == 0) return MI_OK;
    if (!ok_list(__func__, ps, n)) return surface();
    return status_of(__func__, [&] {
        c10::NoGradGuard off;
        std::vector<Tensor> g;
        for (int i = 0; i < n; i++)
            if (ps[i]->t.grad().defined()) g.push_back(ps[i]->t.grad());
        if (g.empty()) return;
        *norm = at::norm(at::stack(at::_foreach_norm(g))).item<double>();
        double scale = max_norm / (*norm + 1e-6);
        if (!(scale >= 1)) at::_foreach_mul_(g, at::Scalar(scale));
    });
}

/* ========================================================================================== devices and precision */

int mt_device_count(void) {
    int n = 0;
    try {
        n = (int)at::detail::getCUDAHooks().getNumGPUs();
    } catch (...) { /* a driver too old for this libtorch counts as no GPU */
    }
    return n;
}

bool mt_built_with_cuda(void) {
    bool yes = false;
    try {
        yes = at::detail::getCUDAHooks().hasCUDART();
    } catch (...) {
    }
    return yes;
}

enum mi_status mt_device_parse(const char *text, mt_device *out) {
    *out = MT_CPU;
    if (!std::strcmp(text, "cpu")) return MI_OK;
    int n = mt_device_count(), want = 0, used = 0;
    if (!std::strcmp(text, "auto")) {
        if (n > 0) *out = {1, 0};
        return MI_OK;
    }
    bool plain = !std::strcmp(text, "cuda");
    bool numbered = std::sscanf(text, "cuda:%3d%n", &want, &used) == 1 && text[used] == 0 && text[5] >= '0' &&
                    text[5] <= '9';
    if (!plain && !numbered)
        return mi_fail(MI_E_INPUT, "device '%s' is unknown: use auto, cpu, cuda or cuda:N", text);
    if (!mt_built_with_cuda())
        return mi_fail(MI_E_DEVICE, "device %s: this program was built with a CPU-only libtorch %s; use device = cpu, "
                                    "or build it with a CUDA PyTorch", text, mt_version());
    if (n == 0)
        return mi_fail(MI_E_DEVICE, "device %s: no usable NVIDIA GPU (nvidia-smi shows whether the driver works; "
                                    "CUDA_VISIBLE_DEVICES may hide it); use device = cpu", text);
    if (want >= n)
        return mi_fail(MI_E_DEVICE, "device %s: there %s only %d GPU%s here, cuda:0 to cuda:%d", text,
                       n == 1 ? "is" : "are", n, n == 1 ? "" : "s", n - 1);
    *out = {1, want};
    return MI_OK;
}

enum mi_status mt_device_use(mt_device d) {
    if (d.type != 1) return MI_OK;
    self.args = 0;
    return status_of(__func__, [&] { c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(dev(d)); });
}

enum mi_status mt_sync(mt_device d) {
    if (d.type != 1) return MI_OK;
    self.args = 0;
    return status_of(__func__, [&] { at::detail::getCUDAHooks().deviceSynchronize((c10::DeviceIndex)d.index); });
}

void *mt_cuda_stream(mt_device d) {
    void *stream = nullptr;
    if (d.type != 1) return stream;
    self.args = 0;
    status_of(__func__, [&] {
        c10::Stream s = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(dev(d));
        if (s.id() == 0) return; /* the default stream, which CUDA spells NULL */
#if MT_TV >= 208
        stream = s.native_handle();
#else
        refuse(MI_E_INTERNAL, "libtorch %s tells its own streams only to CUDA code", TORCH_VERSION);
#endif
    });
    return stream;
}

/* The driver's name for a GPU, asked without linking or including CUDA. */
static bool gpu_name(int index, char *out, int cap) {
    typedef int (*get_fn)(int *, int);
    typedef int (*name_fn)(char *, int, int);
    void *lib = dlopen("libcuda.so.1", RTLD_NOW);
    if (!lib) return false;
    get_fn get = (get_fn)dlsym(lib, "cuDeviceGet");
    name_fn name = (name_fn)dlsym(lib, "cuDeviceGetName");
    int handle = 0;
    bool found = get && name && get(&handle, index) == 0 && name(out, cap, handle) == 0;
    dlclose(lib);
    return found;
}

void mt_device_name(mt_device d, char *out, int cap) {
    if (d.type == 1) {
        if (!gpu_name(d.index, out, cap)) std::snprintf(out, (size_t)cap, "CUDA device %d", d.index);
        return;
    }
    char line[512], model[256] = "CPU";
    if (FILE *f = std::fopen("/proc/cpuinfo", "re")) {
        while (std::fgets(line, sizeof line, f))
            if (std::sscanf(line, "model name : %255[^\n]", model) == 1) break;
        std::fclose(f);
    }
    int n = mt_threads();
    std::snprintf(out, (size_t)cap, "%s (%d thread%s)", model, n, n == 1 ? "" : "s");
}

/* "Name:   123 kB" of a /proc file, in bytes; 0 when absent. */
static uint64_t proc_kb(const char *file, const char *name) {
    char line[256];
    unsigned long long kb = 0;
    size_t len = std::strlen(name);
    FILE *f = std::fopen(file, "re");
    if (!f) return 0;
    while (std::fgets(line, sizeof line, f))
        if (!std::strncmp(line, name, len) && line[len] == ':' && std::sscanf(line + len + 1, "%llu", &kb) == 1) break;
    std::fclose(f);
    return (uint64_t)kb * 1024;
}

static void cuda_mem(mt_device d, uint64_t *used, uint64_t *total, uint64_t *peak) {
    typedef int (*info_fn)(size_t *, size_t *);
    size_t free_bytes = 0, all = 0;
    mt_device_use(d);
    info_fn info = (info_fn)dlsym(RTLD_DEFAULT, "cudaMemGetInfo"); /* libtorch_cuda brought libcudart along */
    if (!info || info(&free_bytes, &all) != 0) refuse(MI_E_DEVICE, "cudaMemGetInfo failed");
    *total = all;
#if MT_TV >= 209
    auto st = at::accelerator::getDeviceStats((c10::DeviceIndex)d.index);
    *used = (uint64_t)st.allocated_bytes[0].current;
    *peak = (uint64_t)st.allocated_bytes[0].peak;
#elif defined(MT_CUDA_HEADERS)
    auto st = c10::cuda::CUDACachingAllocator::getDeviceStats(d.index);
    *used = (uint64_t)st.allocated_bytes[0].current;
    *peak = (uint64_t)st.allocated_bytes[0].peak;
#else
    static std::atomic<uint64_t> highest{0}; /* what the device reports, highest seen at the moments of asking */
    *used = all - free_bytes;
    uint64_t h = highest.load();
    while (h < *used && !highest.compare_exchange_weak(h, *used)) {}
    *peak = highest.load();
#endif
}

enum mi_status mt_mem_info(mt_device d, uint64_t *used, uint64_t *total, uint64_t *peak) {
    *used = *total = *peak = 0;
    self.args = 0;
    return status_of(__func__, [&] {
        if (d.type == 1) return cuda_mem(d, used, total, peak);
        unsigned long long pages = 0;
        FILE *f = std::fopen("/proc/self/statm", "re");
        if (!f) refuse(MI_E_INTERNAL, "/proc is not mounted");
        if (std::fscanf(f, "%*u %llu", &pages) != 1) pages = 0;
        std::fclose(f);
        *used = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
        *total = proc_kb("/proc/meminfo", "MemTotal");
        *peak = proc_kb("/proc/self/status", "VmHWM");
    });
}

void mt_mem_release(mt_device d) {
    self.args = 0;
    status_of(__func__, [&] {
        if (d.type != 1) malloc_trim(0);
#if MT_TV >= 209
        else at::accelerator::emptyCache();
#elif defined(MT_CUDA_HEADERS)
        else c10::cuda::CUDACachingAllocator::emptyCache();
#endif
    });
}

void mt_set_tf32(bool on) {
    self.args = 0;
    status_of(__func__, [&] {
        at::globalContext().setAllowTF32CuBLAS(on);
        at::globalContext().setAllowTF32CuDNN(on);
    });
}

void mt_set_deterministic(bool on) {
    self.args = 0;
    status_of(__func__, [&] {
        at::globalContext().setDeterministicCuDNN(on);
        at::globalContext().setBenchmarkCuDNN(!on);
        /* Deterministic kernels where there are any; where there are none libtorch warns and goes on. */
        at::globalContext().setDeterministicAlgorithms(on, true);
#if MT_TV >= 202
        at::globalContext().setDeterministicFillUninitializedMemory(false);
#endif
        if (on) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0); /* read when cuBLAS starts */
    });
}

static bool autocast_state(c10::DeviceType d, at::ScalarType *dt) {
#if MT_TV >= 204
    *dt = at::autocast::get_autocast_dtype(d);
    return at::autocast::is_autocast_enabled(d);
#else
    bool gpu = d == c10::DeviceType::CUDA;
    *dt = gpu ? at::autocast::get_autocast_gpu_dtype() : at::autocast::get_autocast_cpu_dtype();
    return gpu ? at::autocast::is_enabled() : at::autocast::is_cpu_enabled();
#endif
}

static void autocast_switch(c10::DeviceType d, bool on, at::ScalarType dt) {
#if MT_TV >= 204
    at::autocast::set_autocast_dtype(d, dt);
    at::autocast::set_autocast_enabled(d, on);
#else
    if (d == c10::DeviceType::CUDA) {
        at::autocast::set_autocast_gpu_dtype(dt);
        at::autocast::set_enabled(on);
    } else {
        at::autocast::set_autocast_cpu_dtype(dt);
        at::autocast::set_cpu_enabled(on);
    }
#endif
}

void mt_autocast_begin(mt_device d, mt_dtype dt) {
    self.args = 0;
    status_of(__func__, [&] {
        Cast c{dev_type(d), false, at::kFloat};
        c.was_on = autocast_state(c.dev, &c.was);
        bool on = dt == MT_BF16 || dt == MT_F16; /* MT_F32: an island of full precision */
        self.casts.push_back(c);
        at::autocast::increment_nesting();
        autocast_switch(c.dev, on, on ? scalar_of(dt) : c.was);
    });
}

void mt_autocast_end(void) {
    self.args = 0;
    if (self.casts.empty()) {
        record(MI_E_INTERNAL, __func__, "no mt_autocast_begin before it");
        return;
    }
    status_of(__func__, [&] {
        Cast c = self.casts.back();
        self.casts.pop_back();
        /* Cached bf16 copies of the weights would outlive the next optimiser step: training on stale weights. */
        if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
        autocast_switch(c.dev, c.was_on, c.was);
    });
}

bool mt_autocast_on(void) {
    at::ScalarType dt;
    return autocast_state(c10::DeviceType::CPU, &dt) || autocast_state(c10::DeviceType::CUDA, &dt);
}

} /* extern "C" */
