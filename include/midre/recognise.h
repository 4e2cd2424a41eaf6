/* midre/recognise.h - what network a file of weights is of, told by the names and shapes of its tensors.
 *
 * Every architecture of the table is laid out without memory (mi_model_shapes) and compared with the file: the same
 * names, and the same shapes once class count, resolution and settings are right.  The class count is the first
 * dimension of the head, the resolution follows where a layer depends on it (a flattened map), settings are tried.
 * What the file does not say is assumed and told apart from what it does.  Only names and shapes are read. */
#ifndef MIDRE_RECOGNISE_H
#define MIDRE_RECOGNISE_H

#include "midre/model.h"

/* ---- names in a file ---- */
/* Wrappers (DataParallel, torch.compile, a trainer's dictionary) leave words in every name.  The map gives the file's
 * name of a tensor by the network's own. */
struct mi_keys;
struct mi_keys *mi_keys_new(const mt_archive *a);
void mi_keys_free(struct mi_keys *k);
/* Settles which wrapping holds the network `ps`: the one under which most of its names are found; that many. */
int mi_keys_settle(struct mi_keys *k, const struct mi_params *ps);
const char *mi_keys_prefix(const struct mi_keys *k);                    /* "model.", "" */
/* Index in the archive of the network's tensor `own`, -1 when the file has none. */
int mi_keys_index(const struct mi_keys *k, const char *own);
/* The network's name of entry i of the archive; NULL when it lies outside of the settled wrapping. */
const char *mi_keys_own(const struct mi_keys *k, int i);

/* ---- recognition ---- */
struct mi_wish {              /* what the person knows; zero = nothing */
    const char *arch;         /* only this architecture */
    int size, classes;        /* px; people */
    bool head_may_differ;     /* the classifier head is left out of the comparison */
};

#define MI_DIFF_SHOWN 8
struct mi_candidate {
    const struct mi_model_desc *desc;
    struct mi_values *values; /* settings under which it fits best; owned; NULL when it has none */
    int classes, size;
    bool classes_known;       /* from the head; else assumed or wished */
    bool size_known;          /* some layer's shape says so; else wished, or the native size */
    bool fits;                /* every tensor, by name and shape; the head too unless it may differ */
    bool head_fits;
    int found, missing, unexpected, reshaped, keys; /* tensors; keys = of the network */
    double likeness;          /* 0..1 */
};
struct mi_recognition {
    struct mi_candidate *best; /* ranked: those that fit first, then by likeness; owned */
    int n;
    int tensors;              /* in the file */
    int64_t elements;
    mt_dtype dtype;           /* of most elements */
    char *prefix;             /* of the first candidate's names in the file */
};

/* MI_OK also when nothing fits: look at best[0].fits.  MI_E_INPUT for an unknown `arch`, or for a file without any
 * tensor.  Free with mi_recognition_free. */
enum mi_status mi_recognise(const mt_archive *a, const struct mi_wish *wish, struct mi_recognition *r);
void mi_recognition_free(struct mi_recognition *r);
/* The difference between the file and candidate i in lines a person reads ("missing    fc.weight [10,512]"); caller
 * frees; NULL on no memory. */
char *mi_recognition_diff(const mt_archive *a, const struct mi_candidate *c, bool head_may_differ);

/* ---- loading with it ---- */
/* mi_params_load that finds the wrapping itself.  head: name of the classifier head, which alone may be missing or of
 * another shape (it then keeps its numbers); NULL = strict.  *head_kept (may be NULL) tells that it did. */
enum mi_status mi_params_load_found(struct mi_params *ps, mt_archive *a, const char *head, bool *head_kept);

#endif
