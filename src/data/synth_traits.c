/* synth_traits.c - draws who a person is and how a photo was taken.
 *
 * A person's traits depend on (seed, person) only, a photo's circumstances on (seed, person, photo).  Traits are
 * spread over the whole head: outline, ears, hair, brows, eyes, nose, mouth, beard, glasses, marks.  Some go
 * together as in life (beards with masculine shapes, grey with age, dark skin rarely with blond hair).
 * Difficulty 0..1 brings people closer to each other and photos of one person further apart.
 * The order of the draws is part of the format: a new trait is drawn last. */
#include "src/data/synth_priv.h"

struct draw {
    struct mi_rng rng;
    float squeeze; /* 1 = full range of traits, smaller = towards the middle */
};

static float uniform(struct draw *d) {
    return (float)mi_rng_uniform(&d->rng);
}

/* Anywhere in lo..hi, squeezed towards the middle. */
static float trait(struct draw *d, float lo, float hi) {
    float u = 0.5f + (uniform(d) - 0.5f) * d->squeeze;
    return lo + (hi - lo) * u;
}

/* Bell shape between -1 and 1: the mean of three uniforms. */
static float bell(struct draw *d) {
    return (uniform(d) + uniform(d) + uniform(d)) * (2.0f / 3.0f) - 1.0f;
}

static bool chance(struct draw *d, float p) {
    return uniform(d) < p;
}

static struct mi_rgb palette(const struct mi_rgb *colours, int n, float t) {
    t = mi_clamp(t, 0, 1) * (float)(n - 1);
    int i = (int)t;
    if (i > n - 2) i = n - 2;
    return mi_mix3(colours[i], colours[i + 1], t - (float)i);
}

static void draw_colours(struct mi_face *f, struct draw *d) {
    static const struct mi_rgb skins[] = {{0.97f, 0.85f, 0.77f}, {0.94f, 0.78f, 0.67f}, {0.87f, 0.68f, 0.53f},
                                          {0.76f, 0.56f, 0.41f}, {0.59f, 0.41f, 0.30f}, {0.42f, 0.28f, 0.21f}};
    static const struct mi_rgb hairs[] = {{0.07f, 0.06f, 0.07f}, {0.15f, 0.10f, 0.08f}, {0.28f, 0.17f, 0.10f},
                                          {0.42f, 0.25f, 0.13f}, {0.52f, 0.24f, 0.10f}, {0.63f, 0.44f, 0.23f},
                                          {0.80f, 0.64f, 0.37f}, {0.90f, 0.79f, 0.55f}};
    static const struct mi_rgb irises[] = {{0.16f, 0.09f, 0.06f}, {0.30f, 0.18f, 0.09f}, {0.38f, 0.33f, 0.15f},
                                           {0.30f, 0.42f, 0.27f}, {0.40f, 0.50f, 0.55f}, {0.30f, 0.47f, 0.68f}};
    float tone = trait(d, 0, 1), pink = trait(d, -0.03f, 0.03f);
    f->skin = palette(skins, 6, tone * tone * 0.35f + tone * 0.65f);
    f->skin.r = mi_clamp(f->skin.r + pink * 0.6f, 0, 1);
    f->skin.b -= pink;
    float fair = 1 - 0.75f * tone;
    f->hair = palette(hairs, 8, uniform(d) * fair + trait(d, -0.05f, 0.05f));
    float grey = mi_ramp(0.55f, 0.95f, f->age) * uniform(d);
    f->hair = mi_mix3(f->hair, (struct mi_rgb){0.78f, 0.77f, 0.76f}, grey);
    f->brow = mi_scale3(mi_mix3(f->hair, (struct mi_rgb){0.20f, 0.13f, 0.09f}, 0.45f), trait(d, 0.75f, 1.05f));
    f->iris = palette(irises, 6, uniform(d) * mi_clamp(fair * 1.3f, 0, 1));
    struct mi_rgb red = {0.70f, 0.25f, 0.27f};
    f->lip = mi_mix3(mi_scale3(f->skin, 0.86f), red, trait(d, 0.15f, 0.40f) + 0.22f * (1 - f->masculine));
}

static void draw_shape(struct mi_face *f, struct draw *d) {
    f->width = trait(d, 0.47f, 0.60f) + 0.015f * f->masculine;
    f->top = trait(d, 0.63f, 0.72f);
    f->bottom = trait(d, 0.58f, 0.74f);
    f->jaw = trait(d, -0.75f, 0.35f) + 0.45f * f->masculine;
    f->ear_size = trait(d, 0.10f, 0.17f);
    f->ear_y = trait(d, -0.03f, 0.07f);
    f->ear_out = trait(d, 0.0f, 0.06f);
    f->neck = trait(d, 0.25f, 0.33f) + 0.07f * f->masculine;
    f->cheek = trait(d, 0.2f, 1.0f);
    f->chin = trait(d, 0.2f, 1.0f);
    f->fold = trait(d, 0.0f, 0.5f) + 0.5f * f->age;
}

static void draw_hair(struct mi_face *f, struct draw *d) {
    bool is_long = chance(d, 0.85f - 0.75f * f->masculine);
    bool bald = chance(d, 0.30f * f->masculine * f->age);
    bool fringe = chance(d, is_long ? 0.35f : 0.18f);
    f->hair_cover = bald ? 0 : 1;
    f->hair_top = bald ? 0.005f : trait(d, 0.03f, 0.20f);
    f->hair_side = bald ? 0.01f : is_long ? trait(d, 0.06f, 0.22f) : trait(d, 0.01f, 0.08f);
    f->hair_length = is_long ? trait(d, 0.35f, 1.25f) : trait(d, -0.12f, 0.10f);
    f->hair_line = fringe ? trait(d, -0.30f, -0.24f) : trait(d, -0.52f, -0.36f);
    f->hair_round = fringe ? trait(d, 0.0f, 0.12f) : trait(d, 0.10f, 0.34f);
    f->hair_part = trait(d, -0.32f, 0.32f);
    f->hair_peak = fringe ? 0 : trait(d, -0.05f, 0.11f);
    f->hair_recede = fringe ? 0 : trait(d, 0.0f, 0.20f) * f->masculine;
    f->hair_curl = chance(d, 0.4f) ? trait(d, 0.3f, 1.0f) : trait(d, 0.0f, 0.2f);
    f->hair_opening = is_long ? trait(d, 0.68f, 0.90f) : trait(d, 0.84f, 0.96f);
}

static void draw_eyes(struct mi_face *f, struct draw *d) {
    f->eye_x = trait(d, 0.40f, 0.48f) * f->width;
    f->eye_y = trait(d, -0.10f, 0.00f);
    f->eye_w = trait(d, 0.100f, 0.140f);
    f->eye_h = trait(d, 0.036f, 0.066f) + 0.006f * (1 - f->masculine);
    f->eye_slant = trait(d, -0.10f, 0.22f);
    f->eye_round = trait(d, -0.4f, 0.4f);
    f->iris_r = trait(d, 0.046f, 0.058f);
    f->lash = trait(d, 0.3f, 0.7f) + 0.5f * (1 - f->masculine);
    f->bag = trait(d, 0.0f, 0.5f) + 0.5f * f->age;
    f->brow_y = f->eye_y - trait(d, 0.115f, 0.175f) + 0.012f * f->masculine;
    f->brow_thick = trait(d, 0.014f, 0.034f) + 0.016f * f->masculine;
    f->brow_angle = trait(d, -0.34f, 0.16f);
    f->brow_arch = trait(d, 0.00f, 0.055f);
    f->brow_length = trait(d, 0.13f, 0.185f);
}

static void draw_middle(struct mi_face *f, struct draw *d) {
    f->nose_w = trait(d, 0.075f, 0.130f) + 0.012f * f->masculine;
    f->nose_y = trait(d, 0.17f, 0.27f);
    f->nose_bridge = trait(d, 0.028f, 0.060f);
    f->nose_tip = trait(d, 0.6f, 1.2f);
    f->mouth_y = mi_mixf(f->nose_y, f->bottom, trait(d, 0.36f, 0.46f));
    f->mouth_w = trait(d, 0.145f, 0.230f);
    f->lip_upper = trait(d, 0.022f, 0.052f) + 0.006f * (1 - f->masculine);
    f->lip_lower = trait(d, 0.030f, 0.068f) + 0.006f * (1 - f->masculine);
    f->lip_bow = trait(d, 0.0f, 0.6f);
}

static void draw_extras(struct mi_face *f, struct draw *d) {
    float beard = uniform(d), odds = mi_ramp(0.5f, 0.8f, f->masculine);
    f->beard = chance(d, 0.62f * odds) ? (enum mi_beard)(1 + (int)(beard * 3.999f)) : MI_BEARD_NONE;
    f->beard_dense = trait(d, 0.55f, 0.95f);
    f->beard_line = trait(d, 0.02f, 0.16f);
    f->glasses = chance(d, 0.24f);
    f->rim_w = trait(d, 0.150f, 0.195f);
    f->rim_h = trait(d, 0.085f, 0.150f);
    f->rim_thick = trait(d, 0.008f, 0.024f);
    f->rim_square = trait(d, 0.0f, 1.0f);
    f->rim_y = trait(d, 0.0f, 0.03f);
    static const struct mi_rgb rims[] = {{0.05f, 0.05f, 0.06f},
                                         {0.30f, 0.17f, 0.09f},
                                         {0.62f, 0.52f, 0.30f},
                                         {0.55f, 0.56f, 0.60f},
                                         {0.50f, 0.10f, 0.14f}};
    f->rim = palette(rims, 5, uniform(d));
    bool freckled = chance(d, 0.2f);
    f->spots = freckled ? MI_SPOTS : chance(d, 0.35f) ? 1 + (int)(uniform(d) * 1.999f) : 0;
    for (int i = 0; i < MI_SPOTS; i++) {
        bool mole = !freckled || i == 0;
        f->spot_p[i] = trait(d, -0.8f, 0.8f) * f->width;
        f->spot_q[i] = mole ? -0.3f + 0.8f * uniform(d) : 0.05f + 0.24f * uniform(d);
        f->spot_r[i] = mole && !freckled ? 0.016f + 0.012f * uniform(d) : 0.006f + 0.005f * uniform(d);
        f->spot_dark[i] = mole && !freckled ? 0.75f : 0.30f;
    }
}

void mi_face_draw(struct mi_face *f, uint64_t seed, uint32_t person, float difficulty) {
    struct draw d = {.rng = mi_rng_make(seed, "synthetic person", person, 0), .squeeze = 1.15f - 0.60f * difficulty};
    *f = (struct mi_face){0};
    float u = uniform(&d); /* two soft groups: few people in the middle */
    f->masculine = mi_ramp(0.15f, 0.85f, u);
    f->age = uniform(&d) * uniform(&d) * 0.5f + uniform(&d) * 0.5f;
    draw_colours(f, &d);
    draw_shape(f, &d);
    draw_hair(f, &d);
    draw_eyes(f, &d);
    draw_middle(f, &d);
    draw_extras(f, &d);
}

/* ---- the photo ----------------------------------------------------------------------------------------------------
 */

static struct mi_rgb any_colour(struct draw *d, float dark, float light, float colourful) {
    float base = dark + (light - dark) * uniform(d);
    struct mi_rgb c = {base + (uniform(d) - 0.5f) * colourful, base + (uniform(d) - 0.5f) * colourful,
                       base + (uniform(d) - 0.5f) * colourful};
    return (struct mi_rgb){mi_clamp(c.r, 0.02f, 0.98f), mi_clamp(c.g, 0.02f, 0.98f), mi_clamp(c.b, 0.02f, 0.98f)};
}

static void draw_pose(struct mi_shot *s, struct draw *d, float k) {
    s->shift_x = bell(d) * 0.07f * k;
    s->shift_y = bell(d) * 0.06f * k;
    s->scale = 1.13f + bell(d) * 0.14f * k;
    s->roll = bell(d) * 0.20f * k;
    s->yaw = bell(d) * 0.60f * k;
    s->pitch = bell(d) * 0.28f * k;
    s->smile = chance(d, 0.45f) ? uniform(d) * 0.5f + 0.5f : uniform(d) * 0.3f;
    s->open = chance(d, 0.35f) ? uniform(d) : 0;
    s->brow_raise = bell(d) * k;
    s->lid = mi_clamp(1 + bell(d) * 0.35f * k - 0.12f * s->smile, 0.25f, 1.3f);
    s->gaze_x = mi_clamp(bell(d) * 0.8f, -0.6f, 0.6f);
    s->gaze_y = bell(d) * 0.25f;
}

static void draw_light(struct mi_shot *s, struct draw *d, float k) {
    float x = bell(d) * 1.3f * k, y = -0.35f + bell(d) * 0.4f * k, z = 0.9f;
    float length = sqrtf(x * x + y * y + z * z);
    s->light[0] = x / length;
    s->light[1] = y / length;
    s->light[2] = z / length;
    s->ambient = 0.40f + bell(d) * 0.18f;
    s->exposure = 1.02f + bell(d) * 0.26f * k;
    s->tint = bell(d) * 0.09f * k;
    s->soft = 1.25f + uniform(d) * 1.1f * k;
    s->noise = 1.0f + uniform(d) * 4.0f * k;
    s->grain = (uint32_t)mi_rng_u64(&d->rng);
}

static void draw_surroundings(struct mi_shot *s, struct draw *d) {
    s->back0 = any_colour(d, 0.10f, 0.90f, 0.30f);
    s->back1 = any_colour(d, 0.10f, 0.90f, 0.35f);
    s->back2 = any_colour(d, 0.15f, 0.95f, 0.50f);
    s->back_kind = (int)(uniform(d) * 3.999f);
    s->back_x = uniform(d) * 2 - 1;
    s->back_y = uniform(d) * 2 - 1;
    s->back_r = 0.25f + 0.5f * uniform(d);
    s->back_angle = uniform(d) * 2 - 1;
    s->cloth = any_colour(d, 0.05f, 0.85f, 0.55f);
    s->cloth2 = any_colour(d, 0.55f, 0.98f, 0.15f);
    s->cloth_kind = (int)(uniform(d) * 2.999f);
}

void mi_shot_draw(struct mi_shot *s, uint64_t seed, uint32_t person, uint32_t photo, float difficulty) {
    struct draw d = {.rng = mi_rng_make(seed, "synthetic photo", person, photo), .squeeze = 1};
    float k = 0.45f + 1.1f * difficulty;
    *s = (struct mi_shot){0};
    draw_pose(s, &d, k);
    draw_light(s, &d, k);
    draw_surroundings(s, &d);
}
