/* archive_get.c - a tensor out of an archive opened for reading: allocated once, filled from the mapped file. */
#include <stdlib.h>

#include "src/tensor/archive.h"

mt_tensor *mt_archive_get(mt_archive *a, const char *name, mt_device d) {
    if (!a || !a->map) {
        mt_raise(MI_E_INTERNAL, "no archive opened for reading '%s'", name);
        return NULL;
    }
    int i = archive_find(a, name);
    if (i < 0) {
        mt_raise(MI_E_INPUT, "%s has no tensor '%s'", a->path, name);
        return NULL;
    }
    const struct archive_entry *e = &a->entry[i];
    mt_tensor *host = mt_empty(e->shape, e->nd, (mt_spec){e->dtype, MT_CPU, MT_NCHW});
    if (!host) return NULL;
    if (archive_copy(a, i, mt_data(host)) != MI_OK) {
        enum mi_status st = mi_error_status();
        char *text = mi_format("%s", mi_error_text());
        mi_error_clear(); /* it travels as the tensors' own kind of error */
        mt_raise(st, "%s", text ? text : a->path);
        free(text);
        mt_drop(host);
        return NULL;
    }
    if (d.type != 1) return host;
    mt_tensor *there = mt_to(host, d);
    mt_drop(host);
    return there;
}
