/* src/train/schedule.c - the learning rate as a pure function of the step.
 *
 * No scheduler object, no state: a resumed training asks for the same step and gets the same rate.  Cosine falls from
 * lr to 0 over all steps (Loshchilov & Hutter 2017, one period); one-cycle rises from lr/25 over the first 30 % and
 * falls to lr/25e4, both with cosine ramps (Smith & Topin 2018, the usual constants).  Linear warm-up multiplies
 * whatever schedule follows. */
#include <math.h>

#include "train_priv.h"

/* From a to b along half a cosine, t in [0,1]. */
static double ramp(double a, double b, double t) {
    return b + (a - b) * 0.5 * (1.0 + cos(M_PI * t));
}

static double one_cycle(double top, int64_t step, int64_t total) {
    double low = top / 25.0, end = low / 1e4;
    double last = total > 1 ? (double)(total - 1) : 1.0, peak = 0.3 * last, s = (double)step;
    if (s <= peak) return ramp(low, top, peak > 0 ? s / peak : 1.0);
    return ramp(top, end, (s - peak) / (last - peak));
}

double mi_schedule_lr(const struct mi_train_recipe *r, int64_t step, int64_t per_epoch, int64_t total) {
    double lr = r->lr, epoch = (double)(step / per_epoch); /* steps of an epoch share a milestone */
    switch (r->schedule) {
    case MI_LR_CONSTANT:
        break;
    case MI_LR_STEP:
        for (int i = 0; i < r->n_milestones; i++)
            if (epoch >= r->milestones[i]) lr *= r->gamma;
        break;
    case MI_LR_COSINE:
        lr = ramp(r->lr, 0.0, (double)step / (double)total);
        break;
    case MI_LR_ONECYCLE:
        lr = one_cycle(r->lr, step, total);
        break;
    }
    double warm = r->warmup * (double)per_epoch;
    if (warm > 0 && (double)step < warm) lr *= ((double)step + 1.0) / (warm + 1.0);
    return lr;
}
