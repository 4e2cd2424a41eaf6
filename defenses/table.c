/* defenses/table.c - all defenses, in the order people see them.  Adding one: its file, an extern and a line here, and
 * an entry in the docs (docs/ADDING.md). */
#include "midre/defense.h"

#include <string.h>

extern const struct mi_defense_desc mi_defense_none, mi_defense_midre;
extern const struct mi_defense_desc mi_defense_nls, mi_defense_bido, mi_defense_bido_coco;
extern const struct mi_defense_desc mi_defense_mid, mi_defense_dp, mi_defense_tldmi;
extern const struct mi_defense_desc mi_defense_rolss, mi_defense_ssf, mi_defense_tts;
extern const struct mi_defense_desc mi_defense_fe, mi_defense_ee, mi_defense_pixels, mi_defense_patches;
extern const struct mi_defense_desc mi_defense_cutmix, mi_defense_crop, mi_defense_blur;

const struct mi_defense_desc *const mi_defense_table[] = {
    &mi_defense_none, &mi_defense_midre,
    &mi_defense_nls, &mi_defense_bido, &mi_defense_bido_coco, &mi_defense_mid, &mi_defense_dp, &mi_defense_tldmi,
    &mi_defense_rolss, &mi_defense_ssf, &mi_defense_tts,
    &mi_defense_fe, &mi_defense_ee, &mi_defense_pixels, &mi_defense_patches,
    &mi_defense_cutmix, &mi_defense_crop, &mi_defense_blur, NULL};

const struct mi_defense_desc *mi_defense_find(const char *name) {
    const char *names[sizeof mi_defense_table / sizeof *mi_defense_table];
    size_t n = 0;
    for (; mi_defense_table[n]; n++) {
        if (strcmp(mi_defense_table[n]->info.name, name) == 0) return mi_defense_table[n];
        names[n] = mi_defense_table[n]->info.name;
    }
    const char *near = mi_nearest(name, names, n);
    if (near) mi_fail(MI_E_INPUT, "there is no defense \"%.80s\"; did you mean \"%s\"?", name, near);
    else mi_fail(MI_E_INPUT, "there is no defense \"%.80s\"; `midre defenses` lists them", name);
    return NULL;
}
