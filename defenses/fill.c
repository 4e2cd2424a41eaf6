/* defenses/fill.c - what is written into an erased region.
 *
 * MIDRE's released code writes the ImageNet mean as numbers into the already normalised tensor; at 224 px, where inputs
 * are (x - 0.5)/0.5, that is a light grey and not the mean.  `fill` and `fill_domain` keep that and the other readings
 * apart: constants, one random colour per region, uniform noise per pixel and channel (the paper's "random in (0,1)"),
 * and Telea's inpainting, which works on the 8-bit image as it was before normalisation.
 *
 * Everything runs on the feeder's threads, image by image; numbers come from (seed, purpose, step, image). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "defenses/erasing.h"

static const float imagenet_mean[3] = {0.485f, 0.456f, 0.406f};

static enum mi_status parse_rgb(const char *section, const char *text, float rgb[3]) {
    const char *at = text;
    for (int c = 0; c < 3; c++) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || !isfinite(v) || fabs(v) > 100) break;
        rgb[c] = (float)v;
        at = end + strspn(end, " \t,");
        if (c == 2 && *at == '\0') return MI_OK;
    }
    return mi_fail(MI_E_INPUT, "%s: fill_rgb must be three numbers such as 0.5,0.5,0.5, not \"%s\"", section, text);
}

enum mi_status mi_fill_read(struct mi_fill *f, const struct mi_values *v) {
    f->kind = (enum mi_fill_kind)mi_values_choice(v, "fill"); /* the choices are in the order of the enum */
    f->raw = f->kind != MI_FILL_RELEASED && mi_values_choice(v, "fill_domain") == 1;
    f->radius = (int)mi_values_int(v, "telea_radius");
    for (int c = 0; c < 3; c++) f->rgb[c] = f->kind == MI_FILL_ZERO ? 0 : f->kind == MI_FILL_ONE ? 1 : imagenet_mean[c];
    return f->kind == MI_FILL_CUSTOM ? parse_rgb(mi_values_section(v), mi_values_text(v, "fill_rgb"), f->rgb) : MI_OK;
}

bool mi_fill_is_constant(const struct mi_fill *f) {
    return f->kind != MI_FILL_RANDOM && f->kind != MI_FILL_NOISE && f->kind != MI_FILL_TELEA;
}

void mi_fill_to_input(const struct mi_fill *f, const float mean[3], const float std[3], const float rgb[3],
                      float out[3]) {
    for (int c = 0; c < 3; c++) out[c] = f->raw ? (rgb[c] - mean[c]) / (std[c] != 0 ? std[c] : 1) : rgb[c];
}

static float *row_of(struct mi_photo *p, const struct mi_box *b, int y) {
    return p->px + ((size_t)(b->top + y) * (size_t)p->size + (size_t)b->left) * 3;
}

static void write_colour(const struct mi_fill *f, struct mi_photo *p, const struct mi_box *b, const float rgb[3]) {
    float colour[3];
    mi_fill_to_input(f, p->mean, p->std, rgb, colour);
    for (int y = 0; y < b->height; y++) {
        float *px = row_of(p, b, y);
        for (int x = 0; x < b->width; x++) memcpy(px + 3 * x, colour, sizeof colour);
    }
}

static void write_noise(const struct mi_fill *f, struct mi_photo *p, const struct mi_box *b, struct mi_rng *r) {
    float rgb[3];
    for (int y = 0; y < b->height; y++) {
        float *px = row_of(p, b, y);
        for (int x = 0; x < b->width; x++) {
            for (int c = 0; c < 3; c++) rgb[c] = (float)mi_rng_uniform(r);
            mi_fill_to_input(f, p->mean, p->std, rgb, px + 3 * x);
        }
    }
}

/* Telea works on 8-bit colours: the input is turned back into them, and only the boxes are written. */
static enum mi_status continue_into(const struct mi_fill *f, struct mi_photo *p, const struct mi_box *box, int n) {
    size_t pixels = (size_t)p->size * (size_t)p->size;
    uint8_t *rgb = mi_calloc(pixels, 4), *mask = rgb ? rgb + pixels * 3 : NULL;
    if (!rgb) return MI_E_NOMEM;
    double share = mi_boxes_union(box, n, p->size, mask);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++) {
            float v = rintf((p->px[i * 3 + c] * p->std[c] + p->mean[c]) * 255);
            rgb[i * 3 + c] = v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
        }
    enum mi_status st = share > 0 ? mi_inpaint_telea(rgb, mask, p->size, p->size, f->radius) : MI_OK;
    for (size_t i = 0; st == MI_OK && i < pixels; i++)
        for (size_t c = 0; mask[i] && c < 3; c++)
            p->px[i * 3 + c] = ((float)rgb[i * 3 + c] / 255 - p->mean[c]) / p->std[c];
    free(rgb);
    return st;
}

enum mi_status mi_fill_input(const struct mi_fill *f, struct mi_photo *p, const struct mi_box *box, int n) {
    if (f->kind == MI_FILL_TELEA) return continue_into(f, p, box, n);
    const char *purpose = f->kind == MI_FILL_NOISE ? "erase noise" : "erase colour";
    struct mi_rng r = mi_rng_make(p->seed, purpose, (uint64_t)p->step, (uint64_t)p->index);
    for (int i = 0; i < n; i++) {
        float rgb[3] = {f->rgb[0], f->rgb[1], f->rgb[2]};
        if (f->kind == MI_FILL_NOISE) {
            write_noise(f, p, &box[i], &r);
            continue;
        }
        for (int c = 0; f->kind == MI_FILL_RANDOM && c < 3; c++) rgb[c] = (float)mi_rng_uniform(&r);
        write_colour(f, p, &box[i], rgb);
    }
    return MI_OK;
}
