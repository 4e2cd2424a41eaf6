/* synth_head.c - the large layers: background, hair behind, neck and clothes, ears, the lit head, hair in front.
 *
 * The head's outline is (u/width)^2 + g(v) = 1 with g between t^2 (oval), t^4 (square jaw) and 2t^2 - t^4 (pointed
 * chin).  Light is Lambert's law on the ball under the face, bent by the relief, plus a weak highlight. */
#include "src/data/synth_priv.h"

void mi_paint_back(const struct mi_scene *sc, float x, float y, struct mi_rgb *c) {
    const struct mi_shot *s = &sc->s;
    float slope = (x * s->back_angle + y * (1 - mi_absf(s->back_angle) * 0.5f)) * 0.5f + 0.5f;
    *c = mi_mix3(s->back0, s->back1, mi_clamp(slope, 0, 1) * 0.7f);
    float dx = x - s->back_x, dy = y - s->back_y;
    if (s->back_kind == 1) { /* a lamp or sunlit patch */
        mi_over(c, s->back2, 0.8f * mi_hill((dx * dx + dy * dy) / (s->back_r * s->back_r * 2.5f)));
    } else if (s->back_kind == 2) { /* soft blotches: leaves, a crowd */
        float n = mi_noise(x * 2.6f + s->back_x * 9, y * 2.6f + s->back_y * 9, s->grain);
        mi_over(c, s->back2, mi_ramp(0.35f, 0.8f, n) * 0.8f);
    } else if (s->back_kind == 3) { /* an upright edge: door, shelf, window frame */
        float d = dx * 0.98f + dy * 0.12f * s->back_angle, d2 = d - s->back_r;
        mi_over(c, s->back2, mi_cover(d, 0.10f) * (1 - 0.6f * mi_cover(d2 + 2 * s->back_r, 0.10f)) * 0.85f);
    }
}

/* ---- outline ------------------------------------------------------------------------------------------------------
 */

/* Signed distance to the head's outline, about right near it. */
static float head_distance(const struct mi_face *f, float u, float v) {
    float height = v < 0 ? f->top : f->bottom, t = v / height, t2 = t * t;
    float g, slope; /* slope = dg/dt */
    if (v < 0) {
        g = t2 * 0.7f + t2 * t2 * 0.3f;
        slope = 1.4f * t + 1.2f * t * t2;
    } else {
        float square = f->jaw > 0 ? f->jaw : 0, point = f->jaw < 0 ? -f->jaw : 0, oval = 1 - square - point;
        if (oval < 0) oval = 0;
        if (t2 > 1.3f) t2 = 1.3f;
        g = oval * t2 + square * t2 * t2 + point * (2 * t2 - t2 * t2);
        slope = 2 * t * (oval + 2 * square * t2 + point * (t2 > 1 ? 0.3f : 2 - 2 * t2));
        if (t > 1) g += (t - 1) * 1.5f;
    }
    float a = u / f->width, value = a * a + g - 1;
    float gu = 2 * a / f->width, gv = slope / height, length = sqrtf(gu * gu + gv * gv);
    return value / mi_maxf(length, 1.2f);
}

/* Outer outline of the hair: a cap around the skull that runs down to hair_length. */
static float hair_distance(const struct mi_scene *sc, float u, float v) {
    const struct mi_face *f = &sc->f;
    float w = f->width + f->hair_side, h = f->top + f->hair_top, d;
    u += sc->s.yaw * 0.05f;
    if (v < -0.05f) {
        float a = u / w, b = (v + 0.05f) / (h - 0.05f), a2 = a * a, b2 = b * b;
        float value = a2 + b2 * 0.8f + b2 * b2 * 0.2f - 1, gu = 2 * a / w, gv = (1.6f * b + 0.8f * b * b2) / h;
        d = value / mi_maxf(sqrtf(gu * gu + gv * gv), 1.0f);
    } else {
        float t = (v + 0.05f) / (f->hair_length + 0.35f);
        float wide = w * (1 + 0.10f * t) - 0.05f * t * t * (f->hair_length < 0.2f ? 4 : 1);
        d = mi_absf(u) - wide;
    }
    float curl = f->hair_curl;
    if (curl > 0.05f) d += (mi_noise(u * 7.5f, v * 7.5f, 77) - 0.5f) * 0.10f * curl;
    return d;
}

static struct mi_rgb hair_colour(const struct mi_scene *sc, float u, float v, float shade) {
    const struct mi_face *f = &sc->f;
    float wave = (mi_noise(u * 5, v * 3, 5) - 0.5f) * (0.6f + 2.0f * f->hair_curl);
    float strand = mi_noise((u + wave * 0.12f) * 26, v * (2.5f + 14 * f->hair_curl), 9);
    float light = 0.55f + 0.45f * shade + (strand - 0.5f) * 0.38f;
    struct mi_rgb c = mi_scale3(f->hair, light);
    float gloss = mi_hill((v + 0.42f) * (v + 0.42f) / 0.09f) * (1 - 0.6f * f->hair_curl) * shade * strand;
    return mi_mix3(c, (struct mi_rgb){0.95f, 0.92f, 0.88f}, gloss * 0.16f);
}

/* ---- behind and below the head --------------------------------------------------------------------------------------
 */

static void paint_clothes(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_shot *s = &sc->s;
    const struct mi_face *f = &sc->f;
    float u = at->u + s->yaw * 0.06f, a = mi_absf(u), base = f->bottom + 0.10f;
    float wide = 0.80f + 0.12f * f->masculine, t = a / wide;
    float shoulder = at->v - (base + 0.03f + 0.30f * t * t + 0.10f * t); /* > 0: on the body */
    float cloth = mi_cover(-shoulder, sc->px);
    if (cloth <= 0) return;
    float neckline = s->cloth_kind == 1 ? (at->v - base - 0.36f) + a * 0.95f     /* V */
                                        : (at->v - base - 0.17f) + a * a * 2.2f; /* round */
    struct mi_rgb colour = mi_scale3(s->cloth, 0.78f + 0.25f * mi_noise(u * 4, at->v * 3, s->grain + 9));
    if (s->cloth_kind == 2) { /* shirt: two collar wings */
        float wing = mi_absf(a - 0.16f - (at->v - base) * 0.35f) - 0.075f;
        colour = mi_mix3(colour, s->cloth2, mi_cover(wing, sc->px) * mi_cover(at->v - base - 0.36f, 0.08f));
    }
    mi_over(c, colour, cloth * (1 - mi_cover(neckline, sc->px) * mi_cover(a - f->neck * 1.25f, sc->px)));
}

static void paint_ear(const struct mi_scene *sc, const struct mi_spot *at, float side, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float eu = side * (f->width * 0.97f + f->ear_out) - sc->s.yaw * 0.13f, ev = f->ear_y + sc->s.pitch * 0.10f;
    float w = 0.055f + f->ear_size * 0.28f, h = f->ear_size;
    float du = (at->u - eu) / w, dv = (at->v - ev) / (at->v < ev ? h * 0.9f : h * 1.1f), r2 = du * du + dv * dv;
    if (r2 > 1.6f) return;
    float r = sqrtf(r2), side_light = 0.80f + 0.22f * side * sc->s.light[0];
    struct mi_rgb skin = mi_scale3(mi_mix3(f->skin, (struct mi_rgb){0.80f, 0.40f, 0.35f}, 0.12f), side_light);
    skin = mi_mix3(skin, sc->shadow_skin, 0.55f * mi_hill((r2 - 0.25f) * (r2 - 0.25f) / 0.09f));
    mi_over(c, skin, mi_cover((r - 1) * w, sc->px));
}

void mi_paint_body(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    if (f->hair_length > 0.2f && f->hair_cover > 0) {
        float end = at->v - f->hair_length - 0.05f * mi_noise(at->u * 9, 0, 3);
        float d = mi_maxf(hair_distance(sc, at->u, at->v), end);
        float cover = mi_cover(d, sc->px + 0.012f);
        if (cover > 0) mi_over(c, hair_colour(sc, at->u, at->v, 0.25f), cover);
    }
    if (at->v > 0.15f) {
        float u = at->u + sc->s.yaw * 0.05f, t = (at->v - f->bottom) * 1.1f;
        float d = mi_absf(u) - f->neck - (t > 0 ? t * t * 0.6f : 0);
        float shade = 0.86f + 0.16f * (u / f->neck) * sc->s.light[0];
        float chin = mi_ramp(f->bottom + 0.24f, f->bottom - 0.05f, at->v);
        struct mi_rgb neck = mi_mix3(mi_scale3(f->skin, shade), sc->shadow_skin, 0.25f + 0.6f * chin);
        mi_over(c, neck, mi_cover(d, sc->px));
        paint_clothes(sc, at, c);
    }
    paint_ear(sc, at, -1, c);
    paint_ear(sc, at, 1, c);
}

/* ---- the head -------------------------------------------------------------------------------------------------------
 */

/* Light on the skin: 1 = fully lit. */
static float skin_light(const struct mi_scene *sc, const struct mi_spot *at, float *gloss) {
    const struct mi_shot *s = &sc->s;
    float hp = 0, hq = 0; /* slopes of the relief */
    for (int i = 0; i < sc->bumps; i++) {
        const struct mi_bump *b = &sc->bump[i];
        float dp = (at->p - b->p) / b->sp, dq = (at->q - b->q) / b->sq, t = 1 - dp * dp - dq * dq;
        if (t <= 0) continue;
        float k = -6 * b->high * t * t;
        hp += k * dp / b->sp;
        hq += k * dq / b->sq;
    }
    float x = at->nx * 0.85f - hp, y = at->ny * 0.55f - hq, z = at->nz * 0.9f + 0.25f;
    float length = sqrtf(x * x + y * y + z * z);
    float facing = (x * s->light[0] + y * s->light[1] + z * s->light[2]) / length;
    /* Halfway between light and viewer, for the highlight. */
    float hz = s->light[2] + 1, half = sqrtf(s->light[0] * s->light[0] + s->light[1] * s->light[1] + hz * hz);
    float h = mi_maxf((x * s->light[0] + y * s->light[1] + z * hz) / (length * half), 0);
    float h2 = h * h, h4 = h2 * h2, h8 = h4 * h4;
    *gloss = h8 * h8 * h4;
    return s->ambient + (1.08f - s->ambient) * mi_maxf(facing, 0);
}

void mi_paint_head(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float cover = mi_cover(head_distance(f, at->u, at->v), sc->px);
    if (cover <= 0) return;
    float gloss, light = skin_light(sc, at, &gloss);
    float dark = mi_clamp(1 - light, 0, 1);
    struct mi_rgb skin = f->skin;
    float mottle = (mi_noise(at->p * 9, at->q * 9, 21) - 0.5f) * 0.05f;
    skin = mi_scale3(skin, 1 + mottle);
    /* Cheeks and nose are redder. */
    float cp = (mi_absf(at->p) - f->width * 0.56f) / 0.20f, cq = (at->q - f->nose_y + 0.02f) / 0.16f;
    skin = mi_mix3(skin, (struct mi_rgb){0.82f, 0.36f, 0.32f}, 0.13f * mi_hill(cp * cp + cq * cq));
    struct mi_rgb lit = mi_mix3(mi_scale3(skin, mi_minf(light, 1.15f)), sc->shadow_skin, dark * 0.35f);
    lit = mi_mix3(lit, (struct mi_rgb){1, 0.97f, 0.93f}, gloss * 0.13f);
    mi_paint_features(sc, at, light, &lit);
    mi_over(c, lit, cover);
}

/* ---- hair in front
 * ---------------------------------------------------------------------------------------------------- */

/* > 0 where hair covers the skin. */
static float hair_front(const struct mi_scene *sc, const struct mi_spot *at) {
    const struct mi_face *f = &sc->f;
    float t = at->p / f->width, a = mi_absf(t);
    float ragged = (mi_noise(at->p * 15, 0, 31) - 0.5f) * (0.03f + 0.05f * f->hair_curl);
    float part = t - f->hair_part * 1.5f;
    float line = f->hair_line + f->hair_round * t * t - 0.16f * f->hair_part * t + ragged;
    line += f->hair_peak * mi_hill(t * t / 0.10f) - f->hair_recede * mi_hill((a - 0.55f) * (a - 0.55f) / 0.09f);
    line -= 0.045f * mi_hill(part * part / 0.02f);
    float above = line - at->q; /* > 0: over the hairline */
    float open = f->width * f->hair_opening;
    float low = at->q + 0.16f, beside = mi_absf(at->p) - open;
    /* Sideburns taper, long hair falls. */
    if (low > 0) beside -= f->hair_length > 0.2f ? 0.03f * low : 0.45f * low;
    if (f->hair_cover <= 0) { /* a ring at the sides only */
        float dq = at->q + 0.12f, ring = mi_absf(at->p) - f->width * 0.86f - dq * dq * 1.6f;
        return ring + ragged * 0.5f;
    }
    /* Past the head's outline there is nothing but hair, save for the neck below the chin. */
    float outside = head_distance(f, at->u, at->v) + 0.01f;
    if (at->v > 0) outside = mi_minf(outside, mi_absf(at->u) - f->neck);
    return mi_maxf(mi_maxf(above, beside), outside);
}

void mi_paint_hair(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float d = hair_distance(sc, at->u, at->v);
    if (d > sc->px + 0.02f) return;
    float cover = mi_cover(d, sc->px + 0.012f) * mi_cover(-hair_front(sc, at), sc->px + 0.022f);
    if (cover <= 0) return;
    float end = f->hair_length > 0.2f ? f->hair_length : f->hair_length + f->ear_y;
    cover *= mi_cover(at->v - end, sc->px + (f->hair_length > 0.2f ? 0.03f : 0.09f));
    float x = at->nx, y = at->ny, z = at->nz;
    float light = mi_clamp(0.35f + 0.75f * (x * sc->s.light[0] + y * sc->s.light[1] + z * sc->s.light[2]), 0.15f, 1.1f);
    mi_over(c, hair_colour(sc, at->u, at->v, light), cover * (f->hair_cover > 0 ? 1 : 0.8f));
}
