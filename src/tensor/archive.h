/* archive.h - the inside of an archive, shared by its writers and readers.
 *
 * Whatever the format, reading ends in one table: a name, an element type, a shape and where in the mapped file the
 * elements lie.  Everything declared here except what takes an mt_tensor is free of libtorch, so that the readers can
 * be tested and fuzzed by themselves.
 *   archive_table.c   the table and the questions that can be asked about it
 *   archive_read.c    maps a file, sniffs its format, reads safetensors
 *   archive_zip.c, archive_legacy.c   the two formats of torch.save; archive_layout.c picks the state dict in them
 *   archive_data.c    copies one tensor's elements out;  archive_get.c makes a tensor of them
 *   archive.c, archive_pth.c          write safetensors and torch.save files */
#ifndef MIDRE_TENSOR_ARCHIVE_H
#define MIDRE_TENSOR_ARCHIVE_H

#include <jansson.h>
#include <stdio.h>

#include "midre/tensor_grad.h"
#include "src/tensor/pickle.h"
#include "src/tensor/zipfile.h"

#define ARCHIVE_NAME_MAX 512
#define ARCHIVE_TENSORS_MAX 65535
#define ARCHIVE_HEADER_MAX (100ull << 20)
#define ARCHIVE_META_MAX 256          /* plain values taken over from a torch.save file */

enum archive_format { ARCHIVE_SAFETENSORS, ARCHIVE_TORCH, ARCHIVE_LEGACY };

struct archive_entry {
    char *name;
    mt_dtype dtype;                   /* as handed out */
    uint8_t widen;                    /* in the file: 0 the same, 1 8-bit, 2 16-bit whole numbers (handed out as i32) */
    bool strided;                     /* false: row-major, packed */
    int nd, record;                   /* record: of a zip file, with a checksum to compare; -1 none */
    uint32_t crc;                     /* writing */
    int64_t shape[MT_MAXDIM], stride[MT_MAXDIM]; /* stride in elements, when strided */
    uint64_t begin, end;              /* bytes from the start of the data; end is unused when strided */
};

struct mt_archive {
    char *path;
    enum archive_format format;
    struct archive_entry *entry;      /* in file order */
    int n, cap;
    int *by_name;                     /* [n] indices sorted by name; [cap] */
    json_t *meta;                     /* object of strings */
    /* writing */
    char *tmp;
    FILE *out;                        /* NULL when reading */
    uint64_t out_at;                  /* torch: bytes written */
    enum mi_status failed;            /* first failure: close will discard */
    /* reading */
    const unsigned char *map;
    size_t map_size;
    bool borrowed;                    /* the map is somebody else's memory */
    const unsigned char *data;
    struct zip zip;
};

/* Name and bytes of an element type, as safetensors spells it; the reverse returns false for unknown names. */
const char *archive_dtype_name(mt_dtype d);
int64_t archive_dtype_size(mt_dtype d);
bool archive_dtype_find(const char *name, mt_dtype *out);

/* Adds an entry; takes a copy of name.  MI_E_INPUT for a bad or repeated name. */
enum mi_status archive_add(mt_archive *a, const char *name, struct archive_entry e);
int archive_find(const mt_archive *a, const char *name); /* index or -1 */
/* Takes off what wrappers put before every name: "module.", "_orig_mod.", "model."; and "_orig_mod." inside names. */
enum mi_status archive_unwrap(mt_archive *a);
void archive_release(mt_archive *a);

/* ---- reading ---- */
/* Like mt_archive_open, on bytes that outlive the archive; `label` stands for the path. */
mt_archive *archive_open_memory(const char *label, const void *bytes, size_t n);
enum mi_status archive_read_torch(mt_archive *a);
enum mi_status archive_read_legacy(mt_archive *a);
bool archive_is_legacy(const unsigned char *bytes, size_t n);
bool archive_is_tar(const unsigned char *bytes, size_t n);
/* Where the bytes of a storage lie, checked against the file; the failure must not name the tensor. */
struct archive_place { uint64_t begin, bytes; int record; };
typedef enum mi_status archive_locate(void *ctx, const struct pk_value *storage, struct archive_place *out);
/* Fills the table and the metadata from what a pickle describes: the largest dictionary of tensors is the state dict.
 * a->data must be set. */
enum mi_status archive_layout(mt_archive *a, const struct pickle *p, struct pk_value *root, archive_locate *locate,
                              void *ctx);
/* Bytes of entry i as handed out, and those bytes: NCHW row-major. */
uint64_t archive_bytes(const mt_archive *a, int i);
enum mi_status archive_copy(mt_archive *a, int i, void *out);

/* ---- writing ---- */
/* NCHW row-major bytes from host memory. */
enum mi_status archive_put_raw(mt_archive *a, const char *name, mt_dtype dtype, const int64_t *shape, int nd,
                               const void *data);
bool archive_pth_name(const char *path);                     /* ends in .pth or .pt */
/* false: the disk says no (errno). */
bool archive_pth_put(mt_archive *a, struct archive_entry *e, const void *data);
bool archive_pth_end(mt_archive *a);

#endif
