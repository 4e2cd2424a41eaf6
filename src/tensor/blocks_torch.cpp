/* blocks_torch.cpp - makes blocks.c the memory of libtorch's large CPU tensors. Part of the shim. */
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "src/tensor/blocks.h"

namespace {

void give_back(void *p) {
    if (!mt_block_put(p)) std::free(p);
}

c10::DataPtr take(size_t bytes) {
    void *p = nullptr;
    if (bytes >= MT_BLOCK_ALIGN)
        p = mt_block_get(bytes);
    else if (bytes > 0 && posix_memalign(&p, 64, bytes) != 0)
        p = nullptr;
    if (!p && bytes > 0) throw std::bad_alloc();
    return {p, p, &give_back, c10::Device(c10::DeviceType::CPU)};
}

/* libtorch 1.13 declares allocate const, later ones do not and ask for copy_data as well: whichever is not theirs is
 * an ordinary member. */
struct BlockAllocator final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) const { return take(bytes); }
    c10::DataPtr allocate(size_t bytes) { return take(bytes); }
    c10::DeleterFnPtr raw_deleter() const { return &give_back; }
    void copy_data(void *to, const void *from, std::size_t bytes) const { std::memcpy(to, from, bytes); }
};

} // namespace

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED true
#endif
#endif
#ifndef WATCHED
#define WATCHED false
#endif

bool mt_blocks_install(void) {
    static BlockAllocator allocator;
    if (!WATCHED) c10::SetCPUAllocator(&allocator, 1);
    return !WATCHED;
}
