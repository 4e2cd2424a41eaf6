/* shim_device.cpp - the library's start, the machine's devices and their memory, precision (midre/tensor_grad.h). */
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "src/tensor/blocks.h"
#include "src/tensor/shim_convert.h"
#include "src/tensor/winograd.h"

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
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

using namespace shim;

extern "C" {

/* ====================================================================================================== library */

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
            /* Small tensors stay in the heap, which saves page faults; large ones have memory of their own. */
            mt_blocks_install();
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

/* ========================================================================================================== devices */

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
    no_args();
    return status_of(__func__, [&] { c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(dev(d)); });
}

enum mi_status mt_sync(mt_device d) {
    if (d.type != 1) return MI_OK;
    no_args();
    return status_of(__func__, [&] { at::detail::getCUDAHooks().deviceSynchronize((c10::DeviceIndex)d.index); });
}

void *mt_cuda_stream(mt_device d) {
    void *stream = nullptr;
    if (d.type != 1) return stream;
    no_args();
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
    no_args();
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
    no_args();
    status_of(__func__, [&] {
        if (d.type != 1) wino_release(), mt_blocks_release(), malloc_trim(0);
#if MT_TV >= 209
        else at::accelerator::emptyCache();
#elif defined(MT_CUDA_HEADERS)
        else c10::cuda::CUDACachingAllocator::emptyCache();
#endif
    });
}

/* ======================================================================================================== precision */

struct Cast {
    c10::DeviceType dev;
    bool was_on;
    at::ScalarType was;
};
static thread_local std::vector<Cast> casts; /* regions open on this thread, innermost last */

void mt_set_tf32(bool on) {
    no_args();
    status_of(__func__, [&] {
        at::globalContext().setAllowTF32CuBLAS(on);
        at::globalContext().setAllowTF32CuDNN(on);
    });
}

void mt_set_deterministic(bool on) {
    no_args();
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
    no_args();
    status_of(__func__, [&] {
        Cast c{d.type == 1 ? c10::DeviceType::CUDA : c10::DeviceType::CPU, false, at::kFloat};
        c.was_on = autocast_state(c.dev, &c.was);
        bool on = dt == MT_BF16 || dt == MT_F16; /* MT_F32: an island of full precision */
        casts.push_back(c);
        at::autocast::increment_nesting();
        autocast_switch(c.dev, on, on ? scalar_of(dt) : c.was);
    });
}

void mt_autocast_end(void) {
    no_args();
    if (casts.empty()) {
        record(MI_E_INTERNAL, __func__, "no mt_autocast_begin before it");
        return;
    }
    status_of(__func__, [&] {
        Cast c = casts.back();
        casts.pop_back();
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
