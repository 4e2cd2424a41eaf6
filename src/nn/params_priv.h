/* src/nn/params_priv.h - what the parameter store, its file side and the models share beside nn.h. */
#ifndef MIDRE_PARAMS_PRIV_H
#define MIDRE_PARAMS_PRIV_H

#include "midre/nn.h"

struct mi_named *mi_params_item(const struct mi_params *ps, const char *name); /* NULL when absent */

/* Lenient: copies what matches name and shape once "module." and file_prefix are taken off and own_prefix is put on; own
 * tensors starting with `skip` stay as they are.  hit[ps->n] is set for each copied one; *used gets their number. */
enum mi_status mi_params_init_some(struct mi_params *ps, mt_archive *a, const char *file_prefix, const char *own_prefix,
                                   const char *skip, bool *hit, int *used);
/* A BatchNorm's count of batches, which files older than PyTorch 0.4.1 lack. */
bool mi_params_counter(const char *name);

/* Writes n = mt_numel(t) host floats (row-major N,C,H,W order) into t, whatever its layout and device. */
void mi_param_write(mt_tensor *t, const float *values);

/* How the strict loader finds its tensors in a file.  index: entry of the archive that is the network's `own`, -1 when
 * there is none.  own: the network's name of an entry, NULL when it is none of its business. */
struct mi_lookup {
    int (*index)(const struct mi_lookup *l, const char *own);
    const char *(*own)(const struct mi_lookup *l, int i);
    const char *head; /* layer that may be missing or of another shape and then keeps its numbers; NULL = none */
    bool head_kept;   /* result: it did */
};
enum mi_status mi_params_load_by(struct mi_params *ps, mt_archive *a, struct mi_lookup *l);

#endif
