/* synth_priv.h - the rendered faces: traits of a person, circumstances of a photo, and the scene made of both.
 *
 * Coordinates: the picture spans -1..1 both ways, x to the right, y down.  Head coordinates (u, v) undo shift, roll
 * and scale of the photo.  Surface coordinates (p, q) further undo yaw and pitch: the head is taken for a ball under
 * the face, so eyes, nose and mouth are painted once in (p, q) and slide over it as the head turns.
 *
 * Only + - * / and sqrt of IEEE floats are used, in a fixed order and without fused operations, so that every
 * machine renders the same bytes; no function of the C library's mathematics but sqrtf is called. */
#ifndef MIDRE_SYNTH_PRIV_H
#define MIDRE_SYNTH_PRIV_H

#include <stdbool.h>

#include "midre/rng.h"
#include "src/data/synth_math.h"

enum mi_beard { MI_BEARD_NONE, MI_BEARD_STUBBLE, MI_BEARD_MOUSTACHE, MI_BEARD_GOATEE, MI_BEARD_FULL };
#define MI_SPOTS 22

/* What makes a person. Lengths in head units (head about 1.1 wide, 1.35 high). */
struct mi_face {
    struct mi_rgb skin, lip, hair, brow, iris, rim;
    float width, top, bottom, jaw; /* half width, crown and chin from the centre; -1 pointed, 1 square */
    float masculine, age;          /* 0..1, shape the odds and details of the rest */
    float hair_top, hair_side, hair_length, hair_line, hair_round, hair_part, hair_peak, hair_recede, hair_curl;
    float hair_opening, hair_cover; /* half width of the face between the hair; 0 bald .. 1 */
    float ear_size, ear_y, ear_out, neck;
    float brow_y, brow_thick, brow_angle, brow_arch, brow_length;
    float eye_x, eye_y, eye_w, eye_h, eye_slant, eye_round, iris_r, lash, bag;
    float nose_w, nose_y, nose_bridge, nose_tip;
    float mouth_y, mouth_w, lip_upper, lip_lower, lip_bow;
    float cheek, chin, fold;
    enum mi_beard beard;
    float beard_dense, beard_line;
    bool glasses;
    float rim_w, rim_h, rim_thick, rim_square, rim_y;
    int spots; /* freckles and moles */
    float spot_p[MI_SPOTS], spot_q[MI_SPOTS], spot_r[MI_SPOTS], spot_dark[MI_SPOTS];
};

/* What makes a photo. */
struct mi_shot {
    float shift_x, shift_y, scale, roll, yaw, pitch; /* roll, yaw, pitch as sines */
    float smile, open, brow_raise, lid, gaze_x, gaze_y;
    float light[3], ambient, exposure, tint; /* light points from the face to the lamp, length 1 */
    struct mi_rgb back0, back1, back2, cloth, cloth2;
    int back_kind, cloth_kind;
    float back_x, back_y, back_r, back_angle;
    float soft, noise; /* edge width in pixels, grey levels */
    uint32_t grain;
};

struct mi_bump {
    float p, q, sp, sq, high; /* (1 - r^2)^3 hill */
};
#define MI_BUMPS 16

/* Everything one pixel needs, worked out once. */
struct mi_scene {
    struct mi_face f;
    struct mi_shot s;
    float px; /* edge width in head units */
    float cos_roll, cos_yaw, cos_pitch;
    float nose_p; /* where the nose's tip stands out to when the head turns */
    float eye_h, brow_y, mouth_w, mouth_up, mouth_gap;
    struct mi_bump bump[MI_BUMPS];
    int bumps;
    struct mi_rgb shadow_skin;
};

/* A point of the picture in all three systems. */
struct mi_spot {
    float u, v, p, q;
    float nx, ny, nz; /* the ball's normal, towards the viewer */
};

void mi_face_draw(struct mi_face *f, uint64_t seed, uint32_t person, float difficulty);
void mi_shot_draw(struct mi_shot *s, uint64_t seed, uint32_t person, uint32_t photo, float difficulty);

/* Layers painted over *c: synth_head.c (background to hair) and synth_features.c (what is on the skin). */
void mi_paint_back(const struct mi_scene *sc, float x, float y, struct mi_rgb *c);
void mi_paint_body(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c);
void mi_paint_head(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c);
void mi_paint_hair(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c);
void mi_paint_features(const struct mi_scene *sc, const struct mi_spot *at, float light, struct mi_rgb *c);
void mi_paint_glasses(const struct mi_scene *sc, const struct mi_spot *at, struct mi_rgb *c);

#endif
