/* fuzz_journal.c - any bytes as the journal of a run: read, applied to the view, and the view looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "midre/view.h"

static char folder[] = "/dev/shm/midre-fuzz-XXXXXX", path[64];

static void clean(void) {
    unlink(path);
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n) {
    if (!*path) {
        if (!mkdtemp(folder)) abort();
        snprintf(path, sizeof path, "%s/journal.jsonl", folder);
        atexit(clean);
    }
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) abort();
    bool changed = false;
    struct mi_run_view *v = mi_view_open(folder, 1);
    if (v) {
        mi_view_update(v, &changed);
        mi_view_atlas(v, "recon", "a");
        mi_view_close(v);
    }
    mi_error_clear();
    return 0;
}
