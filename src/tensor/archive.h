/* archive.h - the inside of an archive, shared by its writer (archive.c) and its reader (archive_read.c). */
#ifndef MIDRE_TENSOR_ARCHIVE_H
#define MIDRE_TENSOR_ARCHIVE_H

#include <jansson.h>
#include <stdio.h>

#include "midre/tensor_grad.h"

#define ARCHIVE_NAME_MAX 512
#define ARCHIVE_HEADER_MAX (100ull << 20)

struct archive_entry {
    char *name;
    mt_dtype dtype;
    int nd;
    int64_t shape[MT_MAXDIM];
    uint64_t begin, end;      /* bytes from the start of the data */
};

struct mt_archive {
    char *path;
    struct archive_entry *entry; /* in file order */
    int n, cap;
    int *by_name;                /* [n] indices sorted by name; [cap] */
    json_t *meta;                /* object of strings */
    /* writing */
    char *tmp;
    FILE *out;                   /* NULL when reading */
    enum mi_status failed;       /* first failure: close will discard */
    /* reading */
    unsigned char *map;
    size_t map_size;
    const unsigned char *data;
};

/* Name and bytes of an element type, as the format spells it; the reverse returns false for unknown names. */
const char *archive_dtype_name(mt_dtype d);
int64_t archive_dtype_size(mt_dtype d);
bool archive_dtype_find(const char *name, mt_dtype *out);

/* Adds an entry; takes a copy of name.  MI_E_INPUT for a bad or repeated name. */
enum mi_status archive_add(mt_archive *a, const char *name, struct archive_entry e);
int archive_find(const mt_archive *a, const char *name); /* index or -1 */
void archive_release(mt_archive *a);

/* NCHW row-major bytes from host memory. */
enum mi_status archive_put_raw(mt_archive *a, const char *name, mt_dtype dtype, const int64_t *shape, int nd,
                               const void *data);

#endif
