/* src/engine/load.c - how busy the machine is: a thread that writes one load event a second.
 *
 * cpu is the engine's use of the cores it may run on, in percent (100 = all of them); rss_mb its resident memory.
 * GPU numbers are the driver's: NVML is opened at run time when it is there, so neither building nor running needs it.
 * What cannot be measured is left out of the event, never shown as zero. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "loop_priv.h"

/* The few entry points of NVML used here, with its own struct layouts. */
struct nvml_rates {
    unsigned gpu, memory;
};
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml {
    void *lib, *device;
    int (*rates)(void *, struct nvml_rates *);
    int (*memory)(void *, struct nvml_memory *);
    int (*shutdown)(void);
};

struct load {
    struct mi_journal *journal;
    struct nvml nvml;
    double cpu_at, wall_at; /* seconds at the last sample */
    int cores;
    bool quit;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

/* Asking dlsym for a function through an object pointer, as POSIX prescribes. */
static void *entry(struct nvml *n, const char *name) {
    return n->lib ? dlsym(n->lib, name) : NULL;
}

static void nvml_open(struct nvml *n, int index) {
    n->lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)(void);
    int (*handle)(unsigned, void **);
    *(void **)&init = entry(n, "nvmlInit_v2");
    *(void **)&handle = entry(n, "nvmlDeviceGetHandleByIndex_v2");
    *(void **)&n->rates = entry(n, "nvmlDeviceGetUtilizationRates");
    *(void **)&n->memory = entry(n, "nvmlDeviceGetMemoryInfo");
    *(void **)&n->shutdown = entry(n, "nvmlShutdown");
    if (init && handle && n->rates && n->memory && n->shutdown && init() == 0) {
        if (handle((unsigned)index, &n->device) == 0) return;
        n->shutdown();
    }
    if (n->lib) dlclose(n->lib);
    memset(n, 0, sizeof(*n));
}

static void nvml_close(struct nvml *n) {
    if (!n->lib) return;
    n->shutdown();
    dlclose(n->lib);
}

static double cpu_seconds(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Resident megabytes, from the second number of statm; < 0 unknown. */
static double resident_mb(void) {
    long pages = -1;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return -1;
    if (fscanf(f, "%*d %ld", &pages) != 1) pages = -1;
    fclose(f);
    return pages < 0 ? -1 : (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576.0;
}

static void sample(struct load *l) {
    double cpu = cpu_seconds(), wall = mi_clock(), rss = resident_mb();
    double share = 100.0 * (cpu - l->cpu_at) / ((wall - l->wall_at) * l->cores);
    l->cpu_at = cpu;
    l->wall_at = wall;
    json_t *e = json_pack("{s:s, s:f}", "t", "load", "cpu", share < 100.0 ? share : 100.0);
    if (!e) return;
    if (rss >= 0) json_object_set_new(e, "rss_mb", json_real(rss));
    struct nvml_rates rates;
    struct nvml_memory memory;
    if (l->nvml.lib && l->nvml.rates(l->nvml.device, &rates) == 0)
        json_object_set_new(e, "gpu", json_integer((json_int_t)rates.gpu));
    if (l->nvml.lib && l->nvml.memory(l->nvml.device, &memory) == 0) {
        json_object_set_new(e, "gpu_mem_mb", json_real((double)memory.used / 1048576.0));
        json_object_set_new(e, "gpu_mem_total_mb", json_real((double)memory.total / 1048576.0));
    }
    if (mi_journal_write(l->journal, e) != MI_OK) mi_error_clear();
}

static void *watch(void *arg) {
    struct load *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->quit) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&l->wake, &l->lock, &until);
        if (!l->quit) sample(l);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

struct load *load_start(struct mi_journal *j, mt_device d) {
    struct load *l = mi_calloc(1, sizeof(*l));
    if (!l) return NULL;
    cpu_set_t set;
    l->cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    l->journal = j;
    if (d.type == 1) nvml_open(&l->nvml, d.index);
    l->cpu_at = cpu_seconds();
    l->wall_at = mi_clock();
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    if (pthread_create(&l->thread, NULL, watch, l) == 0) return l;
    mi_fail(MI_E_NOMEM, "no thread to watch the load");
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
    nvml_close(&l->nvml);
    free(l);
    return NULL;
}

void load_stop(struct load *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
    nvml_close(&l->nvml);
    free(l);
}
