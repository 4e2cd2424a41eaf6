/* synth_features.c - what is on the skin: marks, beard, nose, mouth, eyes, brows; and glasses.
 *
 * Everything is painted in surface coordinates (p, q), so it turns with the head.  Left and right are mirrored, with
 * one eye's coordinates (ex, ey) growing outwards and down.  `light` is how well the skin is lit; parts that are not
 * skin take some of it, or eyes and teeth would glow in the dark. */
#include "src/data/synth_priv.h"

static struct mi_rgb lit(struct mi_rgb c, float light) {
    return mi_scale3(c, mi_clamp(0.30f + 0.70f * light, 0, 1.1f));
}

/* ---- marks and beard ------------------------------------------------------------------------------------------------
 */

static void paint_spots(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    for (int i = 0; i < f->spots; i++) {
        float dp = at->p - f->spot_p[i], dq = at->q - f->spot_q[i], r = f->spot_r[i] + sc->px * 0.3f;
        float r2 = (dp * dp + dq * dq) / (r * r);
        if (r2 < 1.5f) mi_over(c, sc->shadow_skin, f->spot_dark[i] * mi_cover((r2 - 1) * r * 0.5f, sc->px));
    }
}

static void paint_beard(const struct mi_scene *sc, const struct mi_spot *at, float light, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float t = at->p / f->width, a = mi_absf(t);
    float lift = sc->s.smile * 0.03f * mi_clamp(a * 3, 0, 1);
    float lip = f->mouth_y - f->lip_upper - 0.008f - lift;
    /* Moustache: a bow between nose and upper lip. */
    float wide = sc->mouth_w * 1.15f, m = at->p / wide;
    float upper = f->nose_y + 0.055f + 0.10f * m * m, lower = lip + 0.012f + 0.10f * m * m;
    float moustache = mi_cover(mi_maxf(mi_maxf(upper - at->q, at->q - lower), (mi_absf(m) - 1) * wide), 0.035f);
    /* Jaw: below a line that climbs to the ears. */
    float line = f->mouth_y + f->beard_line - 0.42f * a * a;
    float around = mi_hill((t * t) / 0.16f + (at->q - f->mouth_y) * (at->q - f->mouth_y) / 0.05f);
    float edge = f->beard == MI_BEARD_STUBBLE ? 0.10f : 0.035f, jaw = mi_ramp(-edge, edge, at->q - line);
    float chin =
        mi_cover((t * t) / 0.085f + (at->q - f->bottom * 0.88f) * (at->q - f->bottom * 0.88f) / 0.022f - 1, 0.35f);
    float cover = 0;
    switch (f->beard) {
    case MI_BEARD_NONE:
        return;
    case MI_BEARD_STUBBLE:
        cover = mi_maxf(mi_maxf(jaw, moustache), around * 0.8f) * 0.38f;
        break;
    case MI_BEARD_MOUSTACHE:
        cover = moustache;
        break;
    case MI_BEARD_GOATEE:
        cover = mi_maxf(moustache, chin);
        break;
    case MI_BEARD_FULL:
        cover = mi_maxf(jaw, moustache);
        break;
    }
    float strand = mi_noise(at->p * 34, at->q * 22, 41);
    struct mi_rgb hair = mi_scale3(f->brow, 0.72f + 0.5f * strand);
    mi_over(c, lit(hair, light), mi_clamp(cover * f->beard_dense * (0.8f + 0.3f * strand), 0, 0.96f));
}

/* ---- nose and mouth
 * --------------------------------------------------------------------------------------------------- */

static void paint_nose(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float p = at->p - sc->nose_p, q = at->q - f->nose_y, a = mi_absf(p), w = f->nose_w;
    if (a > w * 1.6f || q < -0.16f || q > 0.13f) return;
    /* Shadow under the tip, crease around the wings, the two nostrils. */
    float under = mi_hill(p * p / (w * w * 1.1f) + (q - 0.050f) * (q - 0.050f) / 0.0017f);
    mi_over(c, sc->shadow_skin, under * 0.45f);
    float dx = (a - w * 0.95f) / 0.020f, dy = (q - 0.012f) / 0.050f;
    mi_over(c, sc->shadow_skin, mi_hill(dx * dx + dy * dy) * 0.50f);
    float nx = (a - w * 0.48f) / (w * 0.30f), ny = (q - 0.034f + (a - w * 0.48f) * 0.15f) / 0.017f;
    struct mi_rgb dark = mi_scale3(sc->shadow_skin, 0.42f);
    mi_over(c, dark, 0.85f * mi_cover((nx * nx + ny * ny - 1) * 0.010f, sc->px));
}

/* The fold from the wing of the nose to the corner of the mouth; deepens with age and smile. */
static void paint_folds(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float q0 = f->nose_y - 0.01f, q1 = f->mouth_y + 0.02f, t = (at->q - q0) / (q1 - q0);
    if (t < 0 || t > 1.25f) return;
    float x = mi_mixf(f->nose_w * 1.15f, sc->mouth_w * 1.12f + 0.02f, t) + 0.03f * t * (1 - t);
    float d = (mi_absf(at->p - sc->nose_p * (1 - t)) - x) / 0.045f;
    float deep = (0.12f + 0.30f * f->fold) * (0.35f + 0.65f * sc->s.smile) * mi_hill((t - 0.5f) * (t - 0.5f) / 0.5f);
    mi_over(c, sc->shadow_skin, deep * mi_hill(d * d));
}

static void paint_mouth(const struct mi_scene *sc, const struct mi_spot *at, float light, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float s = (at->p - sc->nose_p * 0.35f) / sc->mouth_w, s2 = s * s;
    float seam = f->mouth_y + 0.25f * sc->mouth_up - sc->mouth_up * s2; /* corners rise with a smile */
    float y = at->q - seam, gap = sc->mouth_gap * (s2 < 1 ? 1 - s2 : 0);
    if (s2 > 1.7f || y < -0.12f || y > 0.2f) return;
    float body = s2 < 1 ? 1 - s2 : 0, full = sqrtf(body);
    float bow = 1 - f->lip_bow * 0.5f * mi_hill(s2 / 0.05f);
    float stretch = 1 - 0.18f * sc->s.smile;
    float upper = f->lip_upper * (0.55f * body + 0.45f * full) * bow * stretch;
    float lower = f->lip_lower * (0.35f * body + 0.65f * full) * stretch;
    float d = mi_maxf(-(y + gap * 0.35f) - upper, y - gap - lower);
    float ends = (mi_absf(s) - 1) * sc->mouth_w;
    struct mi_rgb lip = mi_scale3(f->lip, y < gap * 0.5f ? 0.84f : 1.0f);
    float shine = mi_hill(s2 / 0.5f + (y - gap - lower * 0.5f) * (y - gap - lower * 0.5f) / 0.0004f);
    lip = mi_mix3(lip, (struct mi_rgb){1, 0.9f, 0.88f}, 0.16f * shine);
    mi_over(c, lit(lip, light), mi_cover(mi_maxf(d, ends), sc->px + 0.008f) * 0.92f);
    float inside = mi_maxf(-(y + gap * 0.35f), y - gap); /* the opening */
    if (gap > 0.004f) {
        struct mi_rgb hole = {0.24f, 0.07f, 0.07f}, teeth = {0.93f, 0.90f, 0.84f};
        float tooth = mi_cover(y - gap * 0.45f, sc->px) * mi_cover((mi_absf(s) - 0.80f) * 0.15f, sc->px);
        mi_over(c, lit(mi_mix3(hole, teeth, tooth * 0.95f), light), mi_cover(mi_maxf(inside, ends), sc->px));
    } else {
        float line = mi_absf(y) - 0.005f * (1.2f - s2 * 0.6f);
        mi_over(c, mi_scale3(sc->shadow_skin, 0.55f), 0.8f * mi_cover(mi_maxf(line, ends), sc->px));
    }
    float cx = (mi_absf(s) - 1.02f) * sc->mouth_w / 0.022f, cy = y / 0.018f; /* dimple at the corner */
    mi_over(c, sc->shadow_skin, mi_hill(cx * cx + cy * cy) * 0.55f);
    float sy = (y - gap - lower - 0.030f) / 0.028f; /* shadow under the lower lip */
    mi_over(c, sc->shadow_skin, mi_hill(s2 / 0.35f + sy * sy) * 0.35f);
}

/* ---- eyes
 * --------------------------------------------------------------------------------------------------------------- */

static struct mi_rgb eyeball(const struct mi_scene *sc, float side, float ex, float ey, float upper, float light) {
    const struct mi_face *f = &sc->f;
    float gx = ex - side * sc->s.gaze_x * f->eye_w * 0.5f, gy = ey - sc->s.gaze_y * 0.02f + 0.004f;
    float r = sqrtf(gx * gx + gy * gy), ri = f->iris_r;
    struct mi_rgb white =
        mi_mix3((struct mi_rgb){0.93f, 0.91f, 0.89f}, f->skin, 0.12f + 0.10f * mi_absf(ex) / f->eye_w);
    struct mi_rgb c = lit(white, light),
                  iris = mi_mix3(f->iris, (struct mi_rgb){0.02f, 0.02f, 0.03f}, mi_ramp(ri * 0.65f, ri, r) * 0.65f);
    iris = mi_scale3(iris, 0.85f + 0.5f * mi_clamp(gy / ri, -0.5f, 0.7f));
    mi_over(&c, lit(iris, light), mi_cover(r - ri, sc->px));
    mi_over(&c, (struct mi_rgb){0.02f, 0.02f, 0.02f}, mi_cover(r - ri * 0.45f, sc->px));
    mi_over(&c, mi_scale3(sc->shadow_skin, 0.5f), 0.55f * mi_ramp(0.022f, 0.0f, ey - upper)); /* the lid's shadow */
    float kx = gx * side - ri * 0.30f * (sc->s.light[0] < 0 ? -1.0f : 1.0f), ky = gy + ri * 0.38f;
    mi_over(&c, (struct mi_rgb){1, 1, 1}, 0.9f * mi_cover(sqrtf(kx * kx + ky * ky) - ri * 0.22f, sc->px));
    return c;
}

static void paint_eye(const struct mi_scene *sc, const struct mi_spot *at, float side, float light, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float ex = (at->p - side * f->eye_x) * side, ey = at->q - f->eye_y + ex * f->eye_slant;
    if (mi_absf(ex) > f->eye_w * 1.7f || ey < -0.15f || ey > 0.16f) return;
    float s = ex / f->eye_w, skew = s - 0.15f * f->eye_round, body = s * s < 1 ? 1 - s * s : 0;
    float upper = -sc->eye_h * body * (1 - 0.25f * skew * f->eye_round) * 1.10f, lower = sc->eye_h * body * 0.70f;
    /* Socket, bag and the crease of the lid. */
    float sx = s / 1.5f, sy = (ey + 0.045f) / 0.085f;
    mi_over(c, sc->shadow_skin, 0.30f * mi_hill(sx * sx + sy * sy));
    float by = (ey - lower - 0.035f) / 0.026f;
    mi_over(c, sc->shadow_skin, 0.30f * f->bag * mi_hill(s * s * 0.8f + by * by));
    float crease = mi_absf(ey - (-f->eye_h * 1.25f * (1 - 0.75f * s * s) - 0.016f)) - 0.004f;
    mi_over(c, sc->shadow_skin, 0.55f * mi_cover(crease, sc->px + 0.006f) * mi_hill(s * s / 1.3f));
    float inside = mi_maxf(upper - ey, ey - lower);
    float cover = mi_cover(mi_maxf(inside, (mi_absf(s) - 1) * f->eye_w), sc->px);
    if (cover > 0) mi_over(c, eyeball(sc, side, ex, ey, upper, light), cover);
    /* Lashes: the upper rim, thicker outwards; the lower rim faintly. */
    float thick = (0.006f + 0.008f * f->lash) * (0.75f + 0.35f * s);
    float ends = (mi_absf(s) - 1.06f) * f->eye_w;
    struct mi_rgb dark = mi_scale3(f->brow, 0.35f);
    mi_over(c, dark, 0.9f * mi_cover(mi_maxf(mi_absf(ey - upper) - thick, ends), sc->px));
    mi_over(c, mi_mix3(sc->shadow_skin, dark, 0.4f),
            0.5f * mi_cover(mi_maxf(mi_absf(ey - lower) - 0.004f, ends), sc->px));
}

static void paint_brow(const struct mi_scene *sc, const struct mi_spot *at, float side, float light, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float s = (at->p * side - f->eye_x * 1.04f) / f->brow_length;
    if (mi_absf(s) > 1.25f) return;
    float y = at->q - sc->brow_y + s * f->brow_angle * 0.16f + f->brow_arch * (1 - (s - 0.25f) * (s - 0.25f)) -
              f->brow_arch * 0.5f;
    if (mi_absf(y) > 0.09f) return;
    float thick = f->brow_thick * (s > 0 ? 1 - 0.65f * s * s : 1 - 0.15f * s * s);
    float strand = mi_noise((at->p * side + at->q * 0.8f) * 45, at->q * 12, 51);
    float d = mi_maxf(mi_absf(y) - thick, (mi_absf(s) - 1) * f->brow_length);
    mi_over(c, lit(mi_scale3(f->brow, 0.8f + 0.4f * strand), light),
            mi_cover(d, sc->px + 0.014f) * (0.72f + 0.28f * strand));
}

/* Lines on the forehead of older people, when the brows go up. */
static void paint_forehead(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    float deep = mi_ramp(0.45f, 0.9f, sc->f.age) * (0.25f + 0.2f * mi_clamp(sc->s.brow_raise, 0, 1));
    if (deep <= 0 || at->q > sc->brow_y - 0.05f) return;
    float k = (sc->brow_y - 0.05f - at->q) / 0.075f + 0.15f * at->p * at->p, row = k - (float)(int)k - 0.5f;
    if (k > 3) return;
    mi_over(c, sc->shadow_skin, deep * mi_hill(row * row / 0.05f) * mi_hill(at->p * at->p / 0.12f));
}

void mi_paint_features(const struct mi_scene *sc, const struct mi_spot *at, float light, struct mi_rgb *c) {
    paint_spots(sc, at, c);
    paint_folds(sc, at, c);
    paint_forehead(sc, at, c);
    if (at->q > 0) {
        paint_beard(sc, at, light, c);
        paint_mouth(sc, at, light, c);
    }
    paint_nose(sc, at, c);
    if (at->q < 0.25f) {
        float side = at->p < 0 ? -1.0f : 1.0f;
        paint_eye(sc, at, side, light, c);
        paint_brow(sc, at, side, light, c);
    }
}

/* ---- glasses
 * -------------------------------------------------------------------------------------------------------------- */

void mi_paint_glasses(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c) {
    const struct mi_face *f = &sc->f;
    float p = at->p - sc->s.yaw * 0.05f, a = mi_absf(p),
          y = at->q - f->eye_y - f->rim_y - 0.012f; /* stand off the face */
    if (mi_absf(y) > 0.24f || mi_absf(at->u) > f->width * 1.01f) return;
    float centre = mi_maxf(f->eye_x * 1.02f, f->rim_w + 0.025f), dx = (a - centre) / f->rim_w, dy = y / f->rim_h;
    float dx2 = dx * dx, dy2 = dy * dy, round = dx2 + dy2, square = sqrtf(dx2 * dx2 + dy2 * dy2);
    float r = sqrtf(mi_mixf(round, square, f->rim_square)), d = (r - 1) * mi_minf(f->rim_w, f->rim_h);
    float rim = mi_absf(d) - f->rim_thick;
    float glint = mi_hill((dx - dy * 0.6f + 0.5f) * (dx - dy * 0.6f + 0.5f) / 0.10f);
    mi_over(c, (struct mi_rgb){0.92f, 0.95f, 1}, mi_cover(d, sc->px) * (0.04f + 0.11f * glint));
    float bridge = mi_maxf(mi_absf(y + 0.025f - a * a) - f->rim_thick * 0.8f, a - centre + f->rim_w);
    float temple = mi_maxf(mi_absf(y + 0.03f) - f->rim_thick * 0.8f, centre + f->rim_w - a);
    float all = mi_minf(rim, mi_minf(bridge, temple));
    mi_over(c, f->rim, mi_cover(all, sc->px) * 0.95f);
}
