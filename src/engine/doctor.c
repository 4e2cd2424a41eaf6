/* src/engine/doctor.c - `midre-engine doctor`: what this machine and this build can do, one "key: value" a line.
 *
 * For people with a question ("why is it slow?", "why not the GPU?") and for bug reports.  Only facts that were looked
 * up; what could not be found out says so. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "engine.h"

#ifndef MIDRE_VERSION
#define MIDRE_VERSION "0"
#endif

/* First value of a "key : value" line of a proc file. */
static void proc_value(const char *path, const char *key, char *out, size_t cap) {
    char line[4096];
    snprintf(out, cap, "unknown");
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(out, cap, "%s", colon);
        break;
    }
    if (f) fclose(f);
}

/* The file the library was loaded from, found through one of its symbols in our map of memory. */
static void torch_path(char *out, size_t cap) {
    char line[4096];
    snprintf(out, cap, "unknown");
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof(line), f)) {
        char *path = strstr(line, "libtorch_cpu.so") ? strchr(line, '/') : NULL;
        if (!path) continue;
        path[strcspn(path, "\n")] = '\0';
        snprintf(out, cap, "%s", path);
        break;
    }
    if (f) fclose(f);
}

static void print_devices(void) {
    int n = mt_device_count();
    printf("cuda in this build: %s\n", mt_built_with_cuda() ? "yes" : "no");
    printf("cuda devices: %d\n", n);
    for (int i = 0; i < n; i++) {
        mt_device d = {1, i};
        char name[128];
        uint64_t used = 0, total = 0, peak = 0;
        mt_device_name(d, name, sizeof(name));
        printf("cuda:%d: %s", i, name);
        if (mt_mem_info(d, &used, &total, &peak) == MI_OK) printf(", %.1f GiB", (double)total / 1073741824.0);
        printf("\n");
        mi_error_clear();
    }
}

int doctor_command(int argc, char **argv) {
    (void)argv;
    if (argc != 0) {
        fprintf(stderr, "usage: midre-engine doctor\n");
        return mi_exit_code(MI_E_USAGE);
    }
    char text[1024];
    struct utsname host;
    if (mt_init(0) != MI_OK) {
        fprintf(stderr, "midre-engine: %s\n", mi_error_text());
        return mi_exit_code(mi_error_status());
    }
    printf("midre: %s\n", MIDRE_VERSION);
    printf("libtorch: %s\n", mt_version());
    torch_path(text, sizeof(text));
    printf("libtorch file: %s\n", text);
    if (uname(&host) == 0) printf("system: %s %s %s\n", host.sysname, host.release, host.machine);
    proc_value("/proc/cpuinfo", "model name", text, sizeof(text));
    printf("processor: %s\n", text);
    proc_value("/proc/meminfo", "MemTotal", text, sizeof(text));
    printf("memory: %s\n", text);
    printf("threads: %d\n", mt_threads());
    printf("fast bf16 on the processor: %s\n", mt_cpu_bf16_fast() ? "yes" : "no");
    const char *policy = getenv("OMP_WAIT_POLICY");
    printf("OMP_WAIT_POLICY: %s\n", policy ? policy : "unset");
    print_devices();
    return 0;
}
