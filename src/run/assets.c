/* src/run/assets.c - where the files that ship with midre are.
 *
 * A person runs midre from a source tree, from an installed prefix or through a link on $PATH; the place of the
 * running program (/proc/self/exe, links resolved by the kernel) tells which.  $MIDRE_ASSETS wins over all, for
 * tests and for packagers.  Nothing is cached: a path is asked for a few times in the life of a program. */
#include "midre/assets.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "midre/status.h"
#include "midre/workspace.h"

#ifndef MIDRE_PREFIX
#define MIDRE_PREFIX "/usr/local"
#endif

/* Folder of the running program, or "." when the kernel does not say (no /proc mounted). */
static void program_dir(char *out, size_t size) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0 || (size_t)n >= sizeof exe - 1 || (size_t)n >= size) {
        out[0] = '.', out[1] = '\0';
        return;
    }
    exe[n] = '\0';
    const char *dir = dirname(exe);
    size_t i = 0;
    while (dir[i] && i + 1 < size) out[i] = dir[i], i++;
    out[i] = '\0';
}

char *mi_assets_path(const char *name) {
    char dir[PATH_MAX];
    program_dir(dir, sizeof dir);
    const char *env = getenv("MIDRE_ASSETS");
    char *tried[5] = {
        env && *env ? mi_format("%s/%s", env, name) : NULL,
        mi_format("%s/assets/%s", dir, name),
        mi_format("%s/../assets/%s", dir, name), /* make BUILD=dir puts the programs a folder deeper */
        mi_format("%s/../share/midre/assets/%s", dir, name),
        mi_format("%s/share/midre/assets/%s", MIDRE_PREFIX, name),
    };
    char *found = NULL;
    for (int i = 0; i < 5 && !found; i++) {
        if (tried[i] && mi_exists(tried[i])) found = mi_path_resolve(".", tried[i]);
    }
    if (!found && mi_error_status() == MI_OK)
        mi_fail(MI_E_MISSING,
                "the file %s that ships with midre is not there (looked in %s%s%s/assets and %s/share/midre)", name,
                env && *env ? env : "", env && *env ? ", " : "", dir, MIDRE_PREFIX);
    for (int i = 0; i < 5; i++) free(tried[i]);
    return found;
}
