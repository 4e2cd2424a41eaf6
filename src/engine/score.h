/* src/engine/score.h - what a score stage is made of beside the metrics of midre/judge.h.  Private to src/engine. */
#ifndef MIDRE_ENGINE_SCORE_H
#define MIDRE_ENGINE_SCORE_H

#include "engine.h"

/* FID of an attack (score_fid.c; the formula is mi_frechet of midre/judge.h). */
struct fid_score {
    double value;      /* NAN = not measured */
    char features[96]; /* whose features: "quickres@64" */
    bool few;          /* no more images than features on one side */
};
/* MI_E_INPUT when the settings cannot be followed. */
enum mi_status fid_check(const struct engine *e);
/* x [n,3,S,S] in [0,1]; fake [n,width] and real [m,width] are the judge's features of x and of the attacked people's
 * photos; all borrowed. */
enum mi_status fid_measure(const struct engine *e, const struct stage *s, mt_tensor *x, const struct mi_verdict *v,
                           int n, mt_tensor *fake, mt_tensor *real, struct fid_score *out);
/* A stored score as journal events (score_events.c). */
enum mi_status score_publish(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *score);

#endif
