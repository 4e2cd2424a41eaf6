/* defenses/midre.c - MIDRE, defense by random erasing (Tran et al., TMLR 2025): in every training step a square of
 * every training image is overwritten with one colour, so the target never sees a whole face of anyone.
 *
 * The two readings of its sampler are in sampler.c, fills in fill.c.  Equal area_low and area_high give the fixed ratio
 * of the paper's ablations, aspect_low = aspect_high the fixed shape.
 *
 * Random numbers come from (seed, "erase", step, image), so masks differ every epoch and do not depend on the batch.
 * A constant colour is written on the device, where it costs microseconds (`batch`); random colours, noise and
 * inpainting are made by the feeder's threads ahead of the step (`input`).  Only training batches pass these
 * hooks; evaluation never does. */
#include <stdio.h>
#include <stdlib.h>

#include "defenses/erasing.h"

struct midre {
    struct mi_erase_sampler sampler;
    int size; /* the sampler is made for this image side; 0 = not yet */
    struct mi_fill fill;
    struct mi_box *box; /* [cap] */
    int cap;
};

static enum mi_status validate(const struct mi_values *v) {
    double al = mi_values_real(v, "area_low"), ah = mi_values_real(v, "area_high");
    double rl = mi_values_real(v, "aspect_low"), rh = mi_values_real(v, "aspect_high");
    if (al > ah)
        return mi_fail(MI_E_INPUT,
                       "defense.midre: area_low %g is greater than area_high %g; the erased share of the "
                       "image is drawn between them",
                       al, ah);
    if (rl > rh) return mi_fail(MI_E_INPUT, "defense.midre: aspect_low %g is greater than aspect_high %g", rl, rh);
    if (mi_values_choice(v, "reading") == MI_READING_B && (rl != 1 || rh != 1))
        return mi_fail(MI_E_INPUT,
                       "defense.midre: reading B erases squares only; set aspect_low and aspect_high to 1 or "
                       "use reading A");
    struct mi_fill fill;
    MI_TRY(mi_fill_read(&fill, v));
    if (fill.kind == MI_FILL_TELEA && ah == 1)
        return mi_fail(MI_E_INPUT, "defense.midre: fill = telea continues what is left of the image, and area_high = 1 "
                                   "leaves nothing");
    return MI_OK;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *model) {
    struct midre *m = d->state;
    MI_TRY(validate(d->values));
    MI_TRY(mi_fill_read(&m->fill, d->values));
    if (m->size == model->size) return MI_OK;
    mi_erase_sampler_close(&m->sampler);
    m->size = 0;
    MI_TRY(mi_erase_sampler_open(&m->sampler, d->values, model->size, model->size));
    m->size = model->size;
    return MI_OK;
}

static struct mi_box box_of(const struct midre *m, uint64_t seed, int64_t step, int32_t index) {
    struct mi_rng r = mi_rng_make(seed, "erase", (uint64_t)step, (uint64_t)index);
    return mi_erase_sample(&m->sampler, &r);
}

static enum mi_status input(struct mi_defense *d, struct mi_photo *p) {
    const struct midre *m = d->state;
    if (mi_fill_is_constant(&m->fill)) return MI_OK;
    struct mi_box box = box_of(m, p->seed, p->step, p->index);
    return mi_fill_input(&m->fill, p, &box, 1);
}

static enum mi_status batch(struct mi_defense *d, struct mi_batch *b) {
    struct midre *m = d->state;
    if (!mi_fill_is_constant(&m->fill)) return MI_OK;
    if (m->size != b->size)
        return mi_fail(MI_E_INTERNAL, "defense.midre was prepared for %d px, the batch has %d", m->size, b->size);
    if (b->n > m->cap) {
        free(m->box);
        m->cap = 0;
        m->box = mi_calloc((size_t)b->n, sizeof *m->box);
        if (!m->box) return MI_E_NOMEM;
        m->cap = b->n;
    }
    for (int i = 0; i < b->n; i++) m->box[i] = box_of(m, b->seed, b->step, b->index[i]);
    float fill[3];
    mi_fill_to_input(&m->fill, b->model->desc->mean, b->model->desc->std, m->fill.rgb, fill);
    return mi_erase_boxes(b->x, m->box, b->n, fill);
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    enum { DRAWS = 4096 };
    const struct midre *m = d->state;
    double sum = 0;
    for (int i = 0; i < DRAWS; i++) {
        struct mi_box box = box_of(m, 0, -1, i);
        sum += (double)box.height * box.width / DRAWS;
    }
    snprintf(text, room, "erases %.1f %% of an image on the average", 100 * sum / ((double)size * size));
}

static void release(struct mi_defense *d) {
    struct midre *m = d->state;
    if (!m) return;
    mi_erase_sampler_close(&m->sampler);
    free(m->box);
    m->box = NULL;
    m->cap = m->size = 0;
}

/* ---- descriptor -------------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    {.name = "area_low",
     .label = true,
     .type = MI_REAL,
     .def = "0.1",
     .min = 0,
     .max = 1,
     .help = "Smallest share of the image that is erased (the erase ratio; equal to area_high for a fixed one)"},
    {.name = "area_high",
     .label = true,
     .type = MI_REAL,
     .def = "0.4",
     .min = 0,
     .max = 1,
     .help = "Greatest share of the image that is erased (published: 0.4, and 0.8 at 224 px)"},
    {.name = "reading",
     .type = MI_CHOICE,
     .def = "A",
     .choices = "A|B",
     .help = "A: area first, then a place that fits (released code); B: all drawn again until it fits (the text), "
             "which favours small squares"},
    {.name = "aspect_low",
     .type = MI_REAL,
     .def = "1",
     .min = 0.01,
     .max = 100,
     .help = "Smallest height to width ratio of the erased box, drawn log-uniformly (1 = squares)"},
    {.name = "aspect_high",
     .type = MI_REAL,
     .def = "1",
     .min = 0.01,
     .max = 100,
     .help = "Greatest height to width ratio of the erased box"},
    {.name = "probability",
     .type = MI_REAL,
     .def = "1",
     .min = 0,
     .max = 1,
     .help = "Share of training images that are erased at all"},
    MI_FILL_SETTINGS,
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_midre = {
    .info = {.name = "midre",
             .title = "MIDRE",
             .help = "Random erasing: every training image loses a random square in every step, so no whole face of "
                     "the private people is ever learnt.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion: A Promising Defense or "
                      "a False Hope?, TMLR 2025",
             .settings = settings,
             .tags = "input square"},
    .state_size = sizeof(struct midre),
    .prepare = prepare,
    .input = input,
    .batch = batch,
    .note = note,
    .free = release,
    .validate = validate};
