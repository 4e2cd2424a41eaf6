/* defenses/patches.c - 4P, 8P: several small erased squares instead of one (an ablation of MIDRE, Tran et al., TMLR
 * 2025, App. D.1).
 *
 * Squares are placed independently by reading A and overlap, so what is erased is their union: 0.318 of the image for
 * 4 x 0.1 and for 8 x 0.05, 0.492 for 8 x 0.1 in expectation.  The portions were not printed; the defaults make the sum
 * 0.4, and `note` reports the union. */
#include <stdio.h>
#include <stdlib.h>

#include "defenses/erasing.h"

enum { PATCHES_MAX = 64 };

struct patches {
    struct mi_erase_sampler sampler;
    struct mi_fill fill;
    int count;
};

static enum mi_status validate(const struct mi_values *v) {
    struct mi_fill fill;
    return mi_fill_read(&fill, v);
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct patches *s = d->state;
    MI_TRY(mi_fill_read(&s->fill, d->values));
    s->count = (int)mi_values_int(d->values, "count");
    return mi_erase_sampler_square(&s->sampler, mi_values_section(d->values), mi_values_real(d->values, "area"),
                                   m->size);
}

static void draw(const struct patches *s, uint64_t seed, int64_t step, int32_t index, struct mi_box box[PATCHES_MAX]) {
    struct mi_rng r = mi_rng_make(seed, "patches", (uint64_t)step, (uint64_t)index);
    for (int i = 0; i < s->count; i++) box[i] = mi_erase_sample(&s->sampler, &r);
}

static enum mi_status input(struct mi_defense *d, struct mi_photo *p) {
    const struct patches *s = d->state;
    struct mi_box box[PATCHES_MAX];
    draw(s, p->seed, p->step, p->index, box);
    return mi_fill_input(&s->fill, p, box, s->count);
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    enum { DRAWS = 1000 };
    const struct patches *s = d->state;
    struct mi_box box[PATCHES_MAX];
    uint8_t *cover = mi_calloc((size_t)size, (size_t)size);
    double sum = 0;
    for (int i = 0; cover && i < DRAWS; i++) {
        draw(s, 0, -1, i, box);
        sum += mi_boxes_union(box, s->count, size, cover) / DRAWS;
    }
    if (cover)
        snprintf(text, room, "%d squares cover %.1f %% of an image together, on the average", s->count, 100 * sum);
    free(cover);
}

static const struct mi_setting settings[] = {
    {.name = "count",
     .label = true,
     .type = MI_INT,
     .def = "4",
     .min = 1,
     .max = PATCHES_MAX,
     .unit = "squares",
     .help = "Squares per image (published: 4 and 8)"},
    {.name = "area",
     .label = true,
     .type = MI_REAL,
     .def = "0.1",
     .min = 0,
     .max = 0.95,
     .help = "Share of the image of each; they overlap, see the union that is reported (not published: 0.1 for 4, "
             "0.05 for 8)"},
    MI_FILL_SETTINGS,
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_patches = {
    .info = {.name = "patches",
             .title = "4P / 8P (several squares)",
             .help = "Several small squares are erased instead of one large one, each placed by itself. They overlap: "
                     "four of a tenth of the image erase 31.8 % of it, eight 49.2 %, and the union is what is "
                     "reported. The paper finds less protection than from one square of the same portion, because "
                     "small gaps leave recognisable parts of a face whole.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, App. D.1",
             .settings = settings,
             .tags = "ablation input square"},
    .state_size = sizeof(struct patches),
    .prepare = prepare,
    .input = input,
    .note = note,
    .validate = validate};
