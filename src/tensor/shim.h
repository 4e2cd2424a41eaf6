/* shim.h - what the shim_*.cpp files share: handles, errors, and the guards no exception leaves. Private; C++.
 *
 * A handle is a box (struct mt_tensor) with a magic word.  A result belongs to the innermost scope of its thread; the
 * scope destroys its boxes in reverse.  Every wrapper checks its handles with ok() and does its work in one lambda given
 * to run, status_of or inplace: the first error of a thread is kept in fixed memory and handed to mi_fail at
 * mt_scope_end, mt_status, or by the functions that return a status.
 *
 * Builds against libtorch 1.13 (Debian 12, CPU) and PyTorch 2.x; every difference is an `#if MT_TV` in these files and
 * nowhere else.  Parsing all of ATen's headers costs ten seconds a file: only the files that call operators do. */
#ifndef MIDRE_SHIM_H
#define MIDRE_SHIM_H

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <torch/version.h>
#define MT_TV (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

#include <vector>

extern "C" {
#include "midre/tensor_grad.h"
#include "midre/tensor_nn.h"
}
#include "src/tensor/tensor_priv.h"

namespace shim {
struct Thread; /* scopes and dead boxes of one thread: shim_core.cpp */
constexpr uint32_t LIVE = 0x4d54a11e, DEAD = 0x4d54dead, NONE = 0x4d540000;
} // namespace shim

struct mt_tensor {
    uint32_t magic = shim::DEAD;
    uint32_t slot = 0;            /* place in the scope's list */
    mt_scope *scope = nullptr;    /* nullptr: owned by the caller */
    shim::Thread *home = nullptr; /* thread of the scope; nullptr: owned */
    const char *op = "nothing";   /* the function that made it */
    mt_tensor *next = nullptr;    /* queue of dead boxes */
    at::Tensor t;
};

namespace shim {

using at::IntArrayRef;
using at::Tensor;

/* ---- shim_error.cpp: arguments.  A check records what is wrong, naming the argument by its place in the call ---- */

struct Opt { const mt_tensor *b; }; /* marks an argument that may be MT_NONE */

bool usable_arg(const char *op, int i, const mt_tensor *b);
bool usable_arg(const char *op, int i, Opt o);
bool ok_list(const char *op, mt_tensor *const *ts, int n);
/* A NULL handle is the trace of an earlier failure.  If that was already handed over, its status is taken again. */
void null_arg(const char *op, int i);
/* Forgets the tensors of the last call: an error message lists those of the call that fails. */
void no_args();

template <class... A> bool ok([[maybe_unused]] const char *op, A... a) {
    no_args();
    [[maybe_unused]] int i = 0;
    bool all = (usable_arg(op, ++i, a) && ...);
    return all;
}

/* ---- shim_error.cpp: errors ---- */

/* Keeps the thread's first error and counts the others; returns the status that waits. */
__attribute__((format(printf, 3, 4))) mi_status record(mi_status code, const char *op, const char *fmt, ...);
mi_status surface(); /* leaves the waiting error also in mi_fail, for functions that return a status */
/* Throws inside a wrapper for a request that makes no sense: cheap, unlike c10::Error. */
__attribute__((format(printf, 2, 3), noreturn)) void refuse(mi_status code, const char *fmt, ...);
mi_status caught(const char *op); /* called inside a catch block: files the exception in flight */

/* ---- shim_core.cpp: boxes and scopes ---- */

void after_fork();                                 /* libtorch does not survive a fork: ready() says no from now on */
bool ready(const char *op);                        /* false, recorded: this process is a forked child */
bool ready_in_scope(const char *op);               /* false, recorded: that, or no scope is open */
mt_tensor *new_box(const char *op, Tensor &&t);    /* owned by the caller; may throw */
mt_tensor *scoped_box(const char *op, Tensor &&t); /* of the innermost scope; may throw, then nothing is left behind */
bool of_this_thread(const mt_tensor *b);           /* owned, or of a scope of this thread */
const char *scope_name();                          /* the innermost scope's; nullptr: none is open */

/* Evaluates f() into a box of the innermost scope. */
template <class F> mt_tensor *run(const char *op, F &&f) {
    if (!ready_in_scope(op)) return nullptr;
    try {
        return scoped_box(op, f());
    } catch (...) {
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

} // namespace shim
#endif
