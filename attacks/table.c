/* attacks/table.c - all attacks, in the order people see them.  Adding one: its file, an extern and a line here, and
 * an entry in the docs (docs/ADDING.md). */
#include "midre/attack.h"

#include <string.h>

extern const struct mi_attack_desc mi_attack_brepmi, mi_attack_rlbmi;
extern const struct mi_attack_desc mi_attack_gmi, mi_attack_kedmi, mi_attack_lomma_gmi, mi_attack_lomma_kedmi,
    mi_attack_plgmi;

const struct mi_attack_desc *const mi_attack_table[] = {
    &mi_attack_gmi,   &mi_attack_kedmi,  &mi_attack_lomma_gmi, &mi_attack_lomma_kedmi,
    &mi_attack_plgmi, &mi_attack_brepmi, &mi_attack_rlbmi,     NULL,
};

const struct mi_attack_desc *mi_attack_find(const char *name) {
    const char *names[sizeof mi_attack_table / sizeof *mi_attack_table];
    size_t n = 0;
    for (; mi_attack_table[n]; n++) {
        if (strcmp(mi_attack_table[n]->info.name, name) == 0) return mi_attack_table[n];
        names[n] = mi_attack_table[n]->info.name;
    }
    const char *near = mi_nearest(name, names, n);
    if (near)
        mi_fail(MI_E_INPUT, "there is no attack \"%.80s\"; did you mean \"%s\"?", name, near);
    else
        mi_fail(MI_E_INPUT, "there is no attack \"%.80s\"; `midre attacks` lists them", name);
    return NULL;
}
