/* archive_data.c - copies one tensor's elements out of the mapped file, in NCHW row-major order; nothing of libtorch.
 *
 * The table has been checked against the file when it was made, so every element read here lies inside.  Packed
 * tensors are one copy; views are gathered along their strides, row by row.  The checksum of a zip record is compared
 * when its first tensor is asked for: a file that is only looked at is not read from end to end. */
#include <string.h>

#include "src/tensor/archive.h"

uint64_t archive_bytes(const mt_archive *a, int i) {
    const struct archive_entry *e = &a->entry[i];
    uint64_t n = (uint64_t)archive_dtype_size(e->dtype);
    for (int d = 0; d < e->nd; d++) n *= (uint64_t)e->shape[d];
    return n;
}

/* `n` elements of `size` bytes, `step` bytes apart. */
static void gather(unsigned char *out, const unsigned char *in, int64_t n, int64_t step, size_t size) {
    if (step == (int64_t)size) {
        memcpy(out, in, (size_t)n * size);
        return;
    }
    for (int64_t k = 0; k < n; k++, in += step, out += size) memcpy(out, in, size);
}

/* The last dimension is gathered in one go; the others are counted like the digits of a number. */
static void gather_all(const struct archive_entry *e, const unsigned char *in, unsigned char *out, size_t size) {
    int64_t index[MT_MAXDIM] = {0};
    int last = e->nd - 1;
    int64_t n = last < 0 ? 1 : e->shape[last], step = last < 0 ? 0 : e->stride[last] * (int64_t)size;
    for (;;) {
        int64_t at = 0;
        for (int d = 0; d < last; d++) at += index[d] * e->stride[d];
        gather(out, in + at * (int64_t)size, n, step, size);
        out += (size_t)n * size;
        int d = last - 1;
        while (d >= 0 && ++index[d] == e->shape[d]) index[d--] = 0;
        if (d < 0) return;
    }
}

/* Small whole numbers lie at the end of `out` and spread from the front, which never overtakes the reading. */
static void spread(unsigned char *out, uint64_t n, size_t size) {
    const unsigned char *in = out + n * (4 - size);
    for (uint64_t k = 0; k < n; k++) {
        int16_t two = 0;
        int32_t v;
        if (size == 2) memcpy(&two, in + 2 * k, 2);
        v = size == 2 ? two : (int8_t)in[k];
        memcpy(out + 4 * k, &v, 4);
    }
}

enum mi_status archive_copy(mt_archive *a, int i, void *out) {
    const struct archive_entry *e = &a->entry[i];
    uint64_t bytes = archive_bytes(a, i);
    size_t size = e->widen ? e->widen : (size_t)archive_dtype_size(e->dtype);
    unsigned char *to = out;
    if (e->record >= 0 && zip_check(&a->zip, e->record) != MI_OK) return mi_fail_context("tensor '%s'", e->name);
    if (bytes == 0) return MI_OK;
    uint64_t n = bytes / (uint64_t)archive_dtype_size(e->dtype);
    unsigned char *raw = to + (bytes - n * size);
    if (e->strided)
        gather_all(e, a->data + e->begin, raw, size);
    else
        memcpy(raw, a->data + e->begin, (size_t)n * size);
    if (e->widen) spread(to, n, size);
    if (e->dtype == MT_BOOL)
        for (uint64_t k = 0; k < bytes; k++) to[k] = to[k] != 0; /* any other byte would be no bool */
    return MI_OK;
}
