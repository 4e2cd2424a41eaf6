/* src/nn/photo_hooks.c - the hooks of a list of defenses that act on single photos, ahead of the step.
 *
 * They run in the order of the list, on the feeder's threads, for several photos at once: a hook reads its defense's
 * state and never writes it.  Batch hooks come after all of them. */
#include <stdio.h>
#include <string.h>

#include "midre/defense.h"

bool mi_defenses_have_view(const struct mi_defenses *ds) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->view) return true;
    return false;
}

bool mi_defenses_have_input(const struct mi_defenses *ds) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->input) return true;
    return false;
}

enum mi_status mi_defenses_view(struct mi_defenses *ds, struct mi_photo *p) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->view) MI_TRY(ds->item[i].desc->view(&ds->item[i], p));
    return MI_OK;
}

enum mi_status mi_defenses_input(struct mi_defenses *ds, struct mi_photo *p) {
    for (int i = 0; i < ds->n; i++)
        if (ds->item[i].desc->input) MI_TRY(ds->item[i].desc->input(&ds->item[i], p));
    return MI_OK;
}

void mi_defenses_note(const struct mi_defenses *ds, int size, char *text, size_t room) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < ds->n && used + 1 < room; i++) {
        const struct mi_defense_desc *desc = ds->item[i].desc;
        char words[256] = "";
        if (desc->note) desc->note(&ds->item[i], size, words, sizeof words);
        if (!*words) continue;
        snprintf(text + used, room - used, "%s%s: %s", used ? "; " : "", desc->info.name, words);
        used = strlen(text);
    }
}
