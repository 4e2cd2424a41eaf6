/* synth_render.c - sets up a scene and fills the picture, pixel by pixel.
 *
 * Every layer knows its distance to its own edge, so one sample a pixel with an edge as wide as the pixel gives
 * smooth outlines at any resolution; no supersampling is needed and 256 px shows more detail than 64 px.
 * Order: background, hair behind, body, ears, head with features, glasses, hair in front; then exposure, colour of
 * the light and sensor noise. */
#include "midre/data.h"
#include "src/data/synth_priv.h"

static void add_bump(struct mi_scene *sc, float p, float q, float sp, float sq, float high) {
    sc->bump[sc->bumps++] = (struct mi_bump){p, q, sp, sq, high};
}

/* The relief of the face, as hills on the ball: it only bends the light. */
static void relief(struct mi_scene *sc) {
    const struct mi_face *f = &sc->f;
    float nose = sc->nose_p, bridge_q = (f->eye_y + f->nose_y) * 0.5f - 0.02f;
    add_bump(sc, nose * 0.5f, bridge_q, f->nose_bridge * 2.4f, (f->nose_y - f->eye_y) * 0.72f, 0.070f);
    add_bump(sc, nose, f->nose_y - 0.015f, f->nose_w * 0.95f, 0.105f, 0.075f * f->nose_tip);
    for (int side = -1; side <= 1; side += 2) {
        float e = (float)side;
        add_bump(sc, nose + e * f->nose_w * 0.70f, f->nose_y + 0.012f, f->nose_w * 0.55f, 0.055f, 0.030f);
        add_bump(sc, e * f->eye_x, f->eye_y - 0.02f, f->eye_w * 1.5f, 0.115f, -0.050f);
        add_bump(sc, e * f->eye_x * 1.05f, sc->brow_y - 0.01f, f->eye_w * 1.7f, 0.085f, 0.020f + 0.022f * f->masculine);
        add_bump(sc, e * f->width * 0.55f, f->nose_y - 0.07f - 0.03f * sc->s.smile, 0.20f, 0.17f,
                 0.032f * f->cheek + 0.022f * sc->s.smile);
        add_bump(sc, e * f->width * 0.52f, f->mouth_y - 0.02f, 0.15f, 0.20f, -0.014f * (1.4f - f->cheek));
    }
    add_bump(sc, 0, f->mouth_y, f->mouth_w * 1.5f, 0.15f, 0.030f);
    add_bump(sc, 0, f->mouth_y + 0.115f, 0.15f, 0.05f, -0.018f);
    add_bump(sc, 0, f->bottom * 0.90f, 0.17f, 0.12f, 0.045f * f->chin);
}

static void set_scene(struct mi_scene *sc, int size) {
    struct mi_face *f = &sc->f;
    struct mi_shot *s = &sc->s;
    sc->px = s->soft * 2.0f / ((float)size * s->scale);
    sc->cos_roll = sqrtf(1 - s->roll * s->roll);
    sc->cos_yaw = sqrtf(1 - s->yaw * s->yaw);
    sc->cos_pitch = sqrtf(1 - s->pitch * s->pitch);
    sc->nose_p = s->yaw * 0.10f;
    sc->eye_h = f->eye_h * s->lid;
    sc->brow_y = f->brow_y - s->brow_raise * 0.022f;
    sc->mouth_w = f->mouth_w * (1 + 0.16f * s->smile);
    sc->mouth_up = s->smile * 0.075f - 0.004f;
    sc->mouth_gap = s->open * (0.030f + 0.035f * (1 - s->smile * 0.5f));
    sc->shadow_skin = (struct mi_rgb){f->skin.r * 0.62f, f->skin.g * 0.50f, f->skin.b * 0.46f};
    relief(sc);
}

/* Where a pixel lies on the head and its ball. */
static void locate(const struct mi_scene *sc, float x, float y, struct mi_spot *at) {
    const struct mi_shot *s = &sc->s;
    float dx = (x - s->shift_x) / s->scale, dy = (y - s->shift_y - 0.06f) / s->scale;
    at->u = dx * sc->cos_roll + dy * s->roll;
    at->v = dy * sc->cos_roll - dx * s->roll;
    float rx = sc->f.width * 1.10f, top = sc->f.top * 1.10f, low = sc->f.bottom * 1.12f;
    float nx = at->u / rx, ny = at->v / (at->v < 0 ? top : low), r2 = nx * nx + ny * ny;
    if (r2 > 0.98f) { /* beyond the ball: its rim goes on */
        float k = sqrtf(0.98f / r2);
        nx *= k;
        ny *= k;
        r2 = 0.98f;
    }
    float nz = sqrtf(1 - r2);
    at->nx = nx;
    at->ny = ny;
    at->nz = nz;
    /* Turn the ball back: yaw about the vertical axis, then pitch about the horizontal one. */
    float bx = nx * sc->cos_yaw - nz * s->yaw, bz = nz * sc->cos_yaw + nx * s->yaw;
    float by = ny * sc->cos_pitch - bz * s->pitch;
    at->p = bx * rx;
    at->q = by * (by < 0 ? top : low);
    /* Outside the ball keep growing, so that hair beyond the rim has places of its own. */
    at->p += at->u - nx * rx;
    at->q += at->v - ny * (at->v < 0 ? top : low);
}

static uint8_t to_byte(float x) {
    return (uint8_t)(mi_clamp(x, 0, 1) * 255.0f + 0.5f);
}

/* Exposure, colour of the light, a soft shoulder for the highlights, noise. */
static void develop(const struct mi_scene *sc, uint32_t px, uint32_t py, struct mi_rgb c, uint8_t *out) {
    const struct mi_shot *s = &sc->s;
    float k = s->exposure;
    float v[3] = {c.r * k * (1 + s->tint), c.g * k, c.b * k * (1 - s->tint)};
    float grain = mi_speck(px, py, s->grain) + mi_speck(px, py, s->grain + 1) - 1;
    for (uint32_t i = 0; i < 3; i++) {
        float t = v[i] > 0.8f ? 0.8f + (v[i] - 0.8f) / (1 + (v[i] - 0.8f) * 2.5f) : v[i];
        float colour = mi_speck(px, py, s->grain + 2 + i) - 0.5f;
        out[i] = to_byte(t + (grain + colour) * s->noise * (1.0f / 255.0f));
    }
}

void mi_synthface_render(uint64_t seed, uint32_t person, uint32_t photo, int size, double difficulty, uint8_t *rgb) {
    struct mi_scene sc = {.bumps = 0};
    mi_face_draw(&sc.f, seed, person, (float)difficulty);
    mi_shot_draw(&sc.s, seed, person, photo, (float)difficulty);
    set_scene(&sc, size);
    for (int j = 0; j < size; j++) {
        float y = ((float)j + 0.5f) * 2.0f / (float)size - 1.0f;
        for (int i = 0; i < size; i++) {
            float x = ((float)i + 0.5f) * 2.0f / (float)size - 1.0f;
            struct mi_rgb c;
            struct mi_spot at;
            locate(&sc, x, y, &at);
            mi_paint_back(&sc, x, y, &c);
            mi_paint_body(&sc, &at, &c);
            mi_paint_head(&sc, &at, &c);
            if (sc.f.glasses) mi_paint_glasses(&sc, &at, &c);
            mi_paint_hair(&sc, &at, &c);
            develop(&sc, (uint32_t)i, (uint32_t)j, c, rgb + ((size_t)j * (size_t)size + (size_t)i) * 3);
        }
    }
}
