/* src/nn/skips.c - the list of skip connections in a parameter store.
 *
 * Networks register their skips while they are built; defenses find them here by stage and part and change k.  The list
 * borrows the addresses of the k (they live as long as the network) and owns the names of what a skip alone uses.
 * Failures are raised as the tensor layer's sticky error, like everything a builder does. */
#include "midre/skips.h"

#include <stdlib.h>

static struct mi_skip *append(struct mi_params *ps) {
    if (!ps->skips && !(ps->skips = mi_calloc(1, sizeof *ps->skips))) return NULL;
    struct mi_skips *s = ps->skips;
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 16;
        struct mi_skip *grown = realloc(s->item, (size_t)cap * sizeof *grown);
        if (!grown) return NULL;
        s->item = grown;
        s->cap = cap;
    }
    return &s->item[s->n];
}

void mi_skip_new(struct mi_builder *b, double *k, enum mi_skip_kind kind, int stage, const char *part,
                 const char *serves) {
    *k = 1;
    char *name = serves ? mi_format("%s%s.", b->prefix, serves) : NULL;
    struct mi_skip *s = serves && !name ? NULL : append(b->ps);
    if (!s) {
        free(name);
        mt_raise(MI_E_NOMEM, "out of memory for the list of skip connections");
        return;
    }
    *s = (struct mi_skip){.kind = kind, .k = k, .stage = stage, .part = part, .serves = name};
    b->ps->skips->n++;
}

int mi_skips_last_stage(const struct mi_params *ps) {
    int last = 0;
    for (int i = 0; ps->skips && i < ps->skips->n; i++)
        if (ps->skips->item[i].stage > last) last = ps->skips->item[i].stage;
    return last;
}

void mi_skips_free(struct mi_skips *s) {
    for (int i = 0; s && i < s->n; i++) free(s->item[i].serves);
    if (s) free(s->item);
    free(s);
}
