/* recipes.c - published training recipes by name: [target] recipe = ppa sets the defaults of the section's other keys.
 *
 * A recipe is a list of key and value.  It is applied before the file's and the command line's own keys, so what is
 * written out wins, and the resolved spec of a run, which writes out everything, does not change with this table.
 *
 * What a recipe cannot say here: where start weights come from (`init`, `pretrained`), and the input's normalisation
 * belongs to the architecture.  Both published codes could also keep the weights that are best on the test photos; that
 * selects on the test set, so here both keep the last, and `keep = best` asks for the other. */
#include <stddef.h>
#include <string.h>

#include "src/run/spec_priv.h"

const struct mi_recipe mi_recipe_table[] = {
    {.name = "lowres",
     .help = "64 px, CelebA-1000: what GMI, KED-MI, LOMMA and BiDO train their targets with; plain SGD at a constant "
             "rate (the milestones of the published files are not used by the published loops), mirrored photos",
     .paper = "Zhang et al., CVPR 2020; Chen et al., ICCV 2021; Nguyen et al., CVPR 2023 (code)",
     .set = {{"epochs", "50"},
             {"batch", "64"},
             {"optimiser", "sgd"},
             {"lr", "0.01"},
             {"momentum", "0.9"},
             {"nesterov", "no"},
             {"weight_decay", "0.0001"},
             {"schedule", "constant"},
             {"warmup", "0"},
             {"flip", "yes"},
             {"crop", "1"},
             {"brightness", "0"},
             {"contrast", "0"},
             {"saturation", "0"},
             {"hue", "0"},
             {"keep", "last"}}},
    {.name = "ppa",
     .help = "224 px, FaceScrub, CelebA and Stanford Dogs: what PPA and MIDRE train their targets with; Adam, random "
             "crops, colours and mirroring",
     .paper = "Struppek et al.: Plug and Play Attacks, ICML 2022 (code); Tran et al., TMLR 2025 (code)",
     .set = {{"epochs", "100"},
             {"batch", "128"},
             {"optimiser", "adam"},
             {"lr", "0.001"},
             {"weight_decay", "0"},
             {"schedule", "step"},
             {"milestones", "75,90"},
             {"gamma", "0.1"},
             {"warmup", "0"},
             {"flip", "yes"},
             {"crop", "0.85"},
             {"brightness", "0.2"},
             {"contrast", "0.2"},
             {"saturation", "0.1"},
             {"hue", "0.1"},
             {"keep", "last"}}},
    {.name = NULL},
};

enum mi_status mi_recipe_apply(struct mi_values *section) {
    const char *name = mi_values_text(section, "recipe");
    for (const struct mi_recipe *r = mi_recipe_table; r->name; r++) {
        if (strcmp(r->name, name) != 0) continue;
        for (size_t i = 0; i < MI_RECIPE_KEYS && r->set[i].key; i++)
            MI_TRY(mi_values_set(section, r->set[i].key, r->set[i].value));
    }
    return MI_OK; /* "custom" sets nothing */
}
