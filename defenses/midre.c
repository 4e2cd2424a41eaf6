/* defenses/midre.c - MIDRE, defense by random erasing (Tran et al., TMLR 2025): in every training step a square of
 * every training image is overwritten with one colour, so the target never sees a whole face of anyone.
 *
 * The paper and the authors' code describe different samplers; both are here.
 *   A (code)  area a uniform in [area_low, area_high], sides h = round(sqrt(a H W r)), w = round(sqrt(a H W / r)) with
 *             aspect r log-uniform (1 as released), drawn again up to ten times while h >= H or w >= W, then a corner
 *             uniform over those that fit.
 *   B (text)  corner and area drawn together, all again until the square fits: large squares are rejected more often.
 *             Drawn without rejection from the exact discrete law: a side s has weight
 *             P(floor(sqrt(a H W)) = s) (H-s+1)(W-s+1).
 * Equal area_low and area_high give the fixed ratio of the paper's ablations.
 *
 * The released code writes the ImageNet mean as numbers into the already normalised tensor; `fill` and `fill_domain`
 * keep that and the other readings apart.  Random numbers come from (seed, "erase", step, image), so masks differ
 * every epoch and do not depend on the batch.  Only training batches pass this hook; evaluation never does. */
#include "defenses/midre.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 10 };
enum { FILL_MEAN, FILL_RELEASED, FILL_ZERO, FILL_ONE, FILL_RANDOM, FILL_CUSTOM };
enum { DOMAIN_INPUT, DOMAIN_IMAGE };

static const float imagenet_mean[3] = {0.485f, 0.456f, 0.406f};

/* ---- sampler --------------------------------------------------------------------------------------------------- */

/* Length of the part of [lo,hi) inside [a,b]. */
static double overlap(double lo, double hi, double a, double b) {
    double from = lo > a ? lo : a, to = hi < b ? hi : b;
    return to > from ? to - from : 0;
}

/* Cumulated weights of reading B, normalised. */
static enum mi_status open_sides(struct mi_erase_sampler *s) {
    int most = s->height < s->width ? s->height : s->width;
    double pixels = (double)s->height * s->width, sum = 0;
    s->sides = most + 1;
    s->weight = mi_calloc((size_t)s->sides, sizeof *s->weight);
    if (!s->weight) return MI_E_NOMEM;
    for (int side = 0; side <= most; side++) {
        double lo = (double)side * side / pixels, hi = ((double)side + 1) * (side + 1) / pixels, share;
        if (s->area_low == s->area_high) share = (int)sqrt(s->area_low * pixels) == side;
        else share = overlap(lo, hi, s->area_low, s->area_high);
        sum += share * (s->height - side + 1) * (s->width - side + 1);
        s->weight[side] = sum;
    }
    if (!(sum > 0)) return mi_fail(MI_E_INPUT, "defense.midre: no square of area_low %g fits a %dx%d image", s->area_low,
                                   s->width, s->height);
    for (int side = 0; side <= most; side++) s->weight[side] /= sum;
    s->weight[most] = 1;
    return MI_OK;
}

/* Can reading A ever place a box?  The smallest area at the friendliest aspect must round to less than the image. */
static bool can_place(const struct mi_erase_sampler *s) {
    double area = s->area_low * s->height * s->width, fit = (double)s->height / s->width;
    double r = fit < s->aspect_low ? s->aspect_low : fit > s->aspect_high ? s->aspect_high : fit;
    return rint(sqrt(area * r)) < s->height && rint(sqrt(area / r)) < s->width;
}

enum mi_status mi_erase_sampler_open(struct mi_erase_sampler *s, const struct mi_values *v, int height, int width) {
    *s = (struct mi_erase_sampler){.area_low = mi_values_real(v, "area_low"),
                                   .area_high = mi_values_real(v, "area_high"),
                                   .aspect_low = mi_values_real(v, "aspect_low"),
                                   .aspect_high = mi_values_real(v, "aspect_high"),
                                   .probability = mi_values_real(v, "probability"),
                                   .reading = mi_values_choice(v, "reading"),
                                   .height = height,
                                   .width = width};
    if (s->reading == MI_READING_B) {
        enum mi_status st = open_sides(s);
        if (st != MI_OK) mi_erase_sampler_close(s);
        return st;
    }
    if (can_place(s)) return MI_OK;
    return mi_fail(MI_E_INPUT, "defense.midre: an erased area of %g never fits a %dx%d image; lower area_low",
                   s->area_low, width, height);
}

void mi_erase_sampler_close(struct mi_erase_sampler *s) {
    free(s->weight);
    s->weight = NULL;
}

static struct mi_box place(const struct mi_erase_sampler *s, struct mi_rng *r, int h, int w) {
    int top = (int)mi_rng_below(r, s->height - h + 1), left = (int)mi_rng_below(r, s->width - w + 1);
    return (struct mi_box){(int16_t)top, (int16_t)left, (int16_t)h, (int16_t)w};
}

static struct mi_box sample_b(const struct mi_erase_sampler *s, struct mi_rng *r) {
    double u = mi_rng_uniform(r);
    int lo = 0, hi = s->sides - 1; /* first side whose cumulated weight exceeds u */
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (s->weight[mid] > u) hi = mid;
        else lo = mid + 1;
    }
    return place(s, r, lo, lo);
}

struct mi_box mi_erase_sample(const struct mi_erase_sampler *s, struct mi_rng *r) {
    struct mi_box none = {0, 0, 0, 0};
    if (s->probability < 1 && mi_rng_uniform(r) >= s->probability) return none;
    if (s->reading == MI_READING_B) return sample_b(s, r);
    for (int t = 0; t < TRIES; t++) {
        double area = mi_rng_range(r, s->area_low, s->area_high) * s->height * s->width, aspect = s->aspect_low;
        if (s->aspect_low < s->aspect_high) aspect = exp(mi_rng_range(r, log(s->aspect_low), log(s->aspect_high)));
        int h = (int)rint(sqrt(area * aspect)), w = (int)rint(sqrt(area / aspect)); /* halves to even, as Python does */
        if (h < s->height && w < s->width) return place(s, r, h, w);
    }
    return none;
}

/* ---- fill ------------------------------------------------------------------------------------------------------- */

/* Three numbers separated by commas or blanks. */
static enum mi_status parse_rgb(const char *text, float rgb[3]) {
    const char *at = text;
    for (int c = 0; c < 3; c++) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || !isfinite(v) || fabs(v) > 100) break;
        rgb[c] = (float)v;
        at = end + strspn(end, " \t,");
        if (c == 2 && *at == '\0') return MI_OK;
    }
    return mi_fail(MI_E_INPUT, "defense.midre: fill_rgb must be three numbers such as 0.5,0.5,0.5, not \"%s\"", text);
}

struct midre {
    struct mi_erase_sampler sampler;
    int size; /* the sampler is made for this image side; 0 = not yet */
    int fill, domain;
    float rgb[3];        /* one colour for all, as in the settings */
    struct mi_box *box;  /* [cap] */
    int cap;
};

/* A colour as it must be written into the network's input tensor. */
static void to_input(const struct midre *m, const struct mi_model *model, const float rgb[3], float out[3]) {
    for (int c = 0; c < 3; c++) {
        float std = model->desc->std[c] != 0 ? model->desc->std[c] : 1;
        out[c] = m->domain == DOMAIN_INPUT ? rgb[c] : (rgb[c] - model->desc->mean[c]) / std;
    }
}

static enum mi_status read_fill(struct midre *m, const struct mi_values *v) {
    m->fill = mi_values_choice(v, "fill");
    m->domain = m->fill == FILL_RELEASED ? DOMAIN_INPUT : mi_values_choice(v, "fill_domain");
    for (int c = 0; c < 3; c++) m->rgb[c] = m->fill == FILL_ZERO ? 0 : m->fill == FILL_ONE ? 1 : imagenet_mean[c];
    return m->fill == FILL_CUSTOM ? parse_rgb(mi_values_text(v, "fill_rgb"), m->rgb) : MI_OK;
}

/* ---- hooks ------------------------------------------------------------------------------------------------------ */

static enum mi_status validate(const struct mi_values *v) {
    double al = mi_values_real(v, "area_low"), ah = mi_values_real(v, "area_high");
    double rl = mi_values_real(v, "aspect_low"), rh = mi_values_real(v, "aspect_high");
    if (al > ah)
        return mi_fail(MI_E_INPUT, "defense.midre: area_low %g is greater than area_high %g; the erased share of the "
                                   "image is drawn between them", al, ah);
    if (rl > rh)
        return mi_fail(MI_E_INPUT, "defense.midre: aspect_low %g is greater than aspect_high %g", rl, rh);
    if (mi_values_choice(v, "reading") == MI_READING_B && (rl != 1 || rh != 1))
        return mi_fail(MI_E_INPUT, "defense.midre: reading B erases squares only; set aspect_low and aspect_high to 1 or "
                                   "use reading A");
    struct midre probe = {0};
    return read_fill(&probe, v);
}

static enum mi_status ready(struct midre *m, const struct mi_values *v, int size) {
    if (m->size == size) return MI_OK;
    mi_erase_sampler_close(&m->sampler);
    m->size = 0;
    MI_TRY(mi_erase_sampler_open(&m->sampler, v, size, size));
    m->size = size;
    return MI_OK;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *model) {
    struct midre *m = d->state;
    MI_TRY(validate(d->values));
    MI_TRY(read_fill(m, d->values));
    return ready(m, d->values, model->size);
}

/* A colour of its own for every image: each box is written through a view of its image. */
static enum mi_status erase_random(struct midre *m, struct mi_batch *b) {
    enum mi_status st = MI_OK;
    mt_scope *s = mt_scope_begin("midre");
    for (int i = 0; st == MI_OK && i < b->n; i++) {
        struct mi_rng r = mi_rng_make(b->seed, "erase colour", (uint64_t)b->step, (uint64_t)b->index[i]);
        float rgb[3], fill[3];
        for (int c = 0; c < 3; c++) rgb[c] = (float)mi_rng_uniform(&r);
        to_input(m, b->model, rgb, fill);
        st = mi_erase_boxes(mt_narrow(b->x, 0, i, 1), &m->box[i], 1, fill);
    }
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status batch(struct mi_defense *d, struct mi_batch *b) {
    struct midre *m = d->state;
    MI_TRY(ready(m, d->values, b->size));
    if (b->n > m->cap) {
        free(m->box);
        m->cap = 0;
        m->box = mi_calloc((size_t)b->n, sizeof *m->box);
        if (!m->box) return MI_E_NOMEM;
        m->cap = b->n;
    }
    for (int i = 0; i < b->n; i++) {
        struct mi_rng r = mi_rng_make(b->seed, "erase", (uint64_t)b->step, (uint64_t)b->index[i]);
        m->box[i] = mi_erase_sample(&m->sampler, &r);
    }
    if (m->fill == FILL_RANDOM) return erase_random(m, b);
    float fill[3];
    to_input(m, b->model, m->rgb, fill);
    return mi_erase_boxes(b->x, m->box, b->n, fill);
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
    {.name = "area_low", .label = true, .type = MI_REAL, .def = "0.1", .min = 0, .max = 1,
     .help = "Smallest share of the image that is erased (the erase ratio; equal to area_high for a fixed one)"},
    {.name = "area_high", .label = true, .type = MI_REAL, .def = "0.4", .min = 0, .max = 1,
     .help = "Greatest share of the image that is erased (published: 0.4, and 0.8 at 224 px)"},
    {.name = "reading", .type = MI_CHOICE, .def = "A", .choices = "A|B",
     .help = "A: area first, then a place that fits (released code); B: all drawn again until it fits (the text), "
             "which favours small squares"},
    {.name = "aspect_low", .type = MI_REAL, .def = "1", .min = 0.01, .max = 100,
     .help = "Smallest height to width ratio of the erased box, drawn log-uniformly (1 = squares)"},
    {.name = "aspect_high", .type = MI_REAL, .def = "1", .min = 0.01, .max = 100,
     .help = "Greatest height to width ratio of the erased box"},
    {.name = "probability", .type = MI_REAL, .def = "1", .min = 0, .max = 1,
     .help = "Share of training images that are erased at all"},
    {.name = "fill", .type = MI_CHOICE, .def = "mean", .choices = "mean|released|zero|one|random|custom",
     .help = "What is written: the ImageNet mean, the same as in the released code whatever fill_domain says, black, "
             "white, a random colour per image, or fill_rgb"},
    {.name = "fill_domain", .type = MI_CHOICE, .def = "input", .choices = "input|image",
     .help = "Whether the fill is written into the network's input as it is (released code), or is a colour in [0,1] "
             "that is normalised like the image"},
    {.name = "fill_rgb", .type = MI_TEXT, .def = "0.5,0.5,0.5", .help = "The three numbers of fill = custom"},
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
    .batch = batch,
    .free = release,
    .validate = validate};
