/* flat.c - a folder of pictures without names: public images only (FFHQ thumbnails, any face collection).
 *
 * It has no private people, so it cannot be [data] name; it is made for [data] public.  Pictures directly in the
 * folder and in its sub-folders (one level, as FFHQ comes) count. */
#include <stdlib.h>
#include <string.h>

#include "src/data/data_priv.h"

static const struct mi_setting settings[] = {
    {.name = "root",
     .type = MI_PATH,
     .def = "",
     .help = "Folder of pictures; sub-folders are looked into",
     .cosmetic = true},
    {.name = "public_images",
     .type = MI_INT,
     .def = "0",
     .min = 0,
     .max = 10000000,
     .unit = "photos",
     .help = "Pictures drawn uniformly by the seed; 0 takes all"},
    {.name = "crop",
     .type = MI_TEXT,
     .def = "center",
     .help = "Square cut out before resizing: center, none or SIDE@TOP,LEFT in px (FFHQ thumbnails: 88@20,20)"},
    MI_SETTING_END};

static enum mi_status list(const struct mi_values *v, uint64_t seed, struct mi_listing *out) {
    struct mi_crop crop;
    MI_TRY(mi_crop_parse(mi_values_text(v, "crop"), "data.flat", &crop));
    struct mi_files *files = mi_calloc(1, sizeof *files);
    if (!files) return MI_E_NOMEM;
    out->state = files;
    enum mi_status st = mi_files_add_tree(files, mi_values_text(v, "root"), "[data.flat] root");
    if (st == MI_OK && !files->n)
        st = mi_fail(MI_E_MISSING, "%s holds no .jpg or .png file", mi_values_text(v, "root"));
    struct mi_item *pool = st == MI_OK ? mi_calloc(files->n, sizeof *pool) : NULL;
    if (st == MI_OK && !pool) st = MI_E_NOMEM;
    if (st == MI_OK) {
        for (size_t i = 0; i < files->n; i++) pool[i] = (struct mi_item){-1, (uint32_t)i};
        st = mi_listing_public(out, pool, files->n, (size_t)mi_values_int(v, "public_images"), seed);
    }
    free(pool);
    if (st != MI_OK) mi_files_close(out);
    return st;
}

extern const struct mi_data_desc mi_data_flat;
const struct mi_data_desc mi_data_flat = {
    .info = {.name = "flat",
             .title = "Folder of pictures",
             .help = "Pictures without names, as the attacker's public data (FFHQ thumbnails and the like)",
             .paper = "",
             .settings = settings,
             .tags = "public-only any-size"},
    .version = 1,
    .list = list,
    MI_DATA_OF_FILES,
};
