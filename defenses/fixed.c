/* defenses/fixed.c - FE, erasing at a fixed place (an ablation of MIDRE, Tran et al., TMLR 2025): every training image
 * loses one square whose place is drawn once and kept for the whole training, so the part under it is never seen.
 *
 * The mask is fixed to the face: it is drawn on the stored photo from (seed, image) and goes through the same crops and
 * mirroring as the pixels.  The paper does not say so; a mask fixed in the network's frame is uncovered by them, which
 * `frame = image` shows.  The square is sized by reading A of sampler.c. */
#include <stdio.h>

#include "defenses/erasing.h"

enum { FRAME_FACE, FRAME_IMAGE };

struct fixed {
    struct mi_erase_sampler sampler;
    struct mi_fill fill;
    int frame, size;
};

static enum mi_status validate(const struct mi_values *v) {
    struct mi_fill fill;
    return mi_fill_read(&fill, v);
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct fixed *s = d->state;
    MI_TRY(mi_fill_read(&s->fill, d->values));
    s->frame = mi_values_choice(d->values, "frame");
    s->size = m->size;
    return mi_erase_sampler_square(&s->sampler, mi_values_section(d->values), mi_values_real(d->values, "area"),
                                   m->size);
}

static enum mi_status input(struct mi_defense *d, struct mi_photo *p) {
    const struct fixed *s = d->state;
    struct mi_rng r = mi_rng_make(p->seed, "fixed", 0, (uint64_t)p->index);
    struct mi_box box = mi_erase_sample(&s->sampler, &r);
    if (s->frame == FRAME_FACE) box = mi_frame_box(&p->frame, p->size, box);
    return box.height ? mi_fill_input(&s->fill, p, &box, 1) : MI_OK;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    const struct fixed *s = d->state;
    struct mi_rng r = mi_rng_make(0, "fixed", 0, 0);
    struct mi_box box = mi_erase_sample(&s->sampler, &r);
    snprintf(text, room, "erases %.1f %% of every stored photo, always the same part of it",
             100.0 * box.height * box.width / ((double)size * size));
}

static const struct mi_setting settings[] = {
    {.name = "area",
     .label = true,
     .type = MI_REAL,
     .def = "0.2",
     .min = 0,
     .max = 0.95,
     .help = "Share of the image that is erased (published: 0.1 to 0.5)"},
    {.name = "frame",
     .type = MI_CHOICE,
     .def = "face",
     .choices = "face|image",
     .help = "What the place is fixed to: the face, through crops and mirroring, or the network's input"},
    MI_FILL_SETTINGS,
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_fe = {
    .info = {.name = "fe",
             .title = "FE (fixed erasing)",
             .help =
                 "Every training photo loses a square at a place of its own that never changes, so the part under "
                 "it is never seen; MIDRE's square moves, and over the epochs every part is seen. Compared at equal "
                 "area, FE costs more accuracy for about the same protection. The place follows the face through "
                 "crops and mirroring.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, Sec. 3.3 and Tab. 1 (FE)",
             .settings = settings,
             .tags = "ablation input square"},
    .state_size = sizeof(struct fixed),
    .prepare = prepare,
    .input = input,
    .note = note,
    .validate = validate};
