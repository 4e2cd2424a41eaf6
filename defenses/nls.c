/* defenses/nls.c - NLS, negative label smoothing (Struppek et al., ICLR 2024): labels are pushed beyond certainty.
 *
 *     L = (1 - alpha)(-log p_y) + alpha mean_k(-log p_k),  alpha < 0,
 *
 * so the targets are 1 - alpha + alpha/C for the right class and alpha/C, negative, for all others; dL/dz = p - q.  The
 * loss has no minimum: once an image is classified it still falls linearly with the margin of its logit.  What ends
 * that is the schedule: plain cross entropy for the first half, then a ramp, then alpha (50 and 75 of 100 epochs).  The
 * released ramp divides by the epochs left, not by its own length, so it reaches alpha/2 and jumps; `ramp = smooth`
 * does not.  Positive alpha is ordinary label smoothing, from the first epoch on: it makes a network leak more.
 *
 * Acts on the main loss only, the auxiliary head included.  Borrows everything, owns nothing. */
#include "defenses/nls.h"

#include <math.h>

enum { RAMP_RELEASED, RAMP_SMOOTH, RAMP_NONE };

double mi_nls_alpha(const struct mi_values *v, int64_t epoch, int64_t epochs) {
    double alpha = mi_values_real(v, "alpha"), all = (double)epochs, e = (double)epoch;
    int ramp = mi_values_choice(v, "ramp");
    if (alpha >= 0 || ramp == RAMP_NONE) return alpha;
    /* A share that is meant to be a whole number of epochs is one: 0.29 of 100 is 29. */
    double start = floor(mi_values_real(v, "start") * all + 1e-9), full = floor(mi_values_real(v, "full") * all + 1e-9);
    if (e < start) return 0;
    if (e >= full) return alpha;
    return alpha * (e + 1 - start) / ((ramp == RAMP_SMOOTH ? full : all) - start);
}

static enum mi_status validate(const struct mi_values *v) {
    double start = mi_values_real(v, "start"), full = mi_values_real(v, "full");
    if (start > full)
        return mi_fail(MI_E_INPUT, "[%s] start %g is later than full %g; smoothing ramps up between them",
                       mi_values_section(v), start, full);
    return MI_OK;
}

static enum mi_status main_loss(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out,
                                mt_tensor **loss) {
    *loss = mi_main_loss(b, out, mi_nls_alpha(d->values, b->epoch, b->epochs));
    return *loss ? MI_OK : mt_status();
}

static const struct mi_setting settings[] = {
    {.name = "alpha",
     .label = true,
     .type = MI_REAL,
     .def = "-0.05",
     .min = -10,
     .max = 0.99,
     .help = "Smoothing factor; negative defends (published: -0.05), positive is ordinary label smoothing, 0 is none"},
    {.name = "start",
     .type = MI_REAL,
     .def = "0.5",
     .min = 0,
     .max = 1,
     .help = "Share of the epochs with plain cross entropy before negative smoothing begins (published: 50 of 100)"},
    {.name = "full",
     .type = MI_REAL,
     .def = "0.75",
     .min = 0,
     .max = 1,
     .help = "Share of the epochs after which alpha is used in full (published: 75 of 100)"},
    {.name = "ramp",
     .type = MI_CHOICE,
     .def = "released",
     .choices = "released|smooth|none",
     .help =
         "Between the two: as released, which reaches half of alpha and jumps; smooth, which reaches all of it; none "
         "uses alpha from the first epoch on"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_nls = {
    .info = {.name = "nls",
             .title = "NLS",
             .help =
                 "Negative label smoothing: the target is told to be more than certain. The right class is asked for "
                 "a little over 1 and every other class for a little under 0, so the loss goes on falling with the "
                 "logit margin and confident regions carry no more information about what a person looks like. "
                 "Plain cross entropy first; smoothing ramps up in the second half, or training becomes unstable. "
                 "Costs nothing. Judge models by accuracy: the loss is negative and has no minimum.",
             .paper = "Struppek, Hintersdorf, Kersting: Be Careful What You Smooth For, ICLR 2024",
             .settings = settings,
             .tags = "loss"},
    .validate = validate,
    .main_loss = main_loss};
