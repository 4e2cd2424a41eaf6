/* defenses/none.c - no defense: the baseline every row of the table is compared with.  It hooks nothing, so the
 * target trains with plain cross entropy on unchanged images. */
#include "midre/defense.h"

const struct mi_defense_desc mi_defense_none = {
    .info = {.name = "none",
             .title = "NoDef",
             .help = "No defense: the undefended target every other row is compared with.",
             .paper = "",
             .settings = NULL,
             .tags = "baseline"}};
