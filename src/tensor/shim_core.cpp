/* shim_core.cpp - the life of a handle: boxes and scopes (midre/tensor.h).
 *
 * Dead boxes go to the end of a queue, so a stale handle is recognised for long after.  No operator of libtorch is
 * called here. */
#include "src/tensor/shim.h"

#include <atomic>
#include <cstdio>
#include <mutex>

struct mt_scope {
    char name[40] = "";
    bool open = false;
    std::vector<mt_tensor *> boxes; /* nullptr where a box was kept, passed or dropped */
};

namespace shim {

static constexpr int SLAB = 1024;

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

static std::atomic<int64_t> live_boxes{0};
static std::atomic<bool> forked{false};
static std::mutex pool_lock;
static Queue pool; /* dead boxes of ended threads; boxes are never given back to malloc, so stale handles stay readable */

struct Thread {
    std::vector<mt_scope *> open;  /* innermost last */
    std::vector<mt_scope *> spare; /* closed scopes, reused */
    Queue dead;
    ~Thread();
};
static thread_local Thread self;

static void kill_box(mt_tensor *b) {
    try {
        b->t.reset();
    } catch (...) { /* a GPU that died may throw on free: nothing is left to save */
    }
    b->magic = DEAD;
    live_boxes.fetch_sub(1, std::memory_order_relaxed);
    self.dead.put(b);
}

static void empty_scope(mt_scope *s) {
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

static void into_scope(mt_tensor *b, mt_scope *s) {
    s->boxes.push_back(b);
    b->slot = (uint32_t)(s->boxes.size() - 1);
    b->scope = s;
    b->home = &self;
}

static void out_of_scope(mt_tensor *b) {
    b->scope->boxes[b->slot] = nullptr;
    b->scope = nullptr;
    b->home = nullptr;
}

mt_tensor *scoped_box(const char *op, Tensor &&t) {
    mt_tensor *b = new_box(op, std::move(t));
    try {
        into_scope(b, self.open.back());
    } catch (...) {
        kill_box(b);
        throw;
    }
    return b;
}

bool of_this_thread(const mt_tensor *b) { return !b->home || b->home == &self; }
const char *scope_name() { return self.open.empty() ? nullptr : self.open.back()->name; }

void after_fork() { forked.store(true); }

bool ready(const char *op) {
    if (!forked.load(std::memory_order_relaxed)) return true;
    record(MI_E_INTERNAL, op, "libtorch cannot be used in a forked child; start a new program instead");
    return false;
}

bool ready_in_scope(const char *op) {
    if (!ready(op)) return false;
    if (!self.open.empty()) return true;
    record(MI_E_INTERNAL, op, "no scope is open on this thread (mt_scope_begin comes first)");
    return false;
}

} // namespace shim

using namespace shim;

static mt_tensor none_box;
static struct MakeNone {
    MakeNone() {
        none_box.magic = NONE;
        none_box.op = "MT_NONE";
    }
} make_none;

extern "C" {

mt_tensor *const MT_NONE = &none_box;
int64_t mt_live(void) { return live_boxes.load(); }

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
        no_args();
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
    no_args();
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

} /* extern "C" */
