/* table.c - the list of datasets.  A new dataset: one file, one line here, one entry in docs/DATASETS.md. */
#include "midre/data.h"

extern const struct mi_data_desc mi_data_synthfaces, mi_data_celeba, mi_data_folder, mi_data_flat;

const struct mi_data_desc *const mi_data_table[] = {
    &mi_data_synthfaces, &mi_data_celeba, &mi_data_folder, &mi_data_flat, NULL,
};
