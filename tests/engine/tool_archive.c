/* tool_archive.c - archive FILE ...: what the checkpoint readers make of each file, one JSON object a line:
 * {"file", "format", "meta", "tensors": {name: [type, shape, CRC-32 of the values]}} or {"file", "refused", "code"}.
 * For tests/e2e/checkpoints.sh, which compares with PyTorch. */
#include <stdlib.h>

#include "src/tensor/archive.h"

static json_t *tensor(mt_archive *a, int i) {
    int64_t shape[MT_MAXDIM];
    int nd = mt_archive_shape(a, i, shape);
    size_t n = (size_t)archive_bytes(a, i);
    void *values = mi_calloc(n, 1);
    if (!values || archive_copy(a, i, values) != MI_OK) {
        free(values);
        return NULL;
    }
    json_t *dims = json_array();
    for (int d = 0; d < nd; d++) json_array_append_new(dims, json_integer(shape[d]));
    json_t *j =
        json_pack("[s, o, I]", archive_dtype_name(mt_archive_dtype(a, i)), dims, (json_int_t)zip_crc(0, values, n));
    free(values);
    return j;
}

static json_t *describe(const char *path) {
    mt_archive *a = mt_archive_open(path);
    json_t *all = json_object(), *meta = json_object();
    for (int i = 0; a && i < mt_archive_count(a) && mi_error_status() == MI_OK; i++)
        json_object_set_new(all, mt_archive_name(a, i), tensor(a, i));
    for (int i = 0; a && mt_archive_meta_key(a, i); i++)
        json_object_set_new(meta, mt_archive_meta_key(a, i),
                            json_string(mt_archive_meta(a, mt_archive_meta_key(a, i))));
    json_t *j;
    if (mi_error_status() == MI_OK)
        j = json_pack("{s:s, s:s, s:O, s:O}", "file", path, "format", mt_archive_format(a), "meta", meta, "tensors",
                      all);
    else
        j = json_pack("{s:s, s:s, s:i}", "file", path, "refused", mi_error_text(), "code",
                      mi_exit_code(mi_error_status()));
    mi_error_clear();
    if (a) mt_archive_close(a);
    json_decref(all);
    json_decref(meta);
    return j;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        json_t *j = describe(argv[i]);
        char *line = json_dumps(j, JSON_COMPACT);
        if (!line) return 2;
        puts(line);
        free(line);
        json_decref(j);
    }
    return 0;
}
