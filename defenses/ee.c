/* defenses/ee.c - EE, entire erasing (an ablation of MIDRE, Tran et al., TMLR 2025): whole images are left out instead
 * of parts of them, so the network sees as many pixels less as under MIDRE, but whole faces.
 *
 * The paper uses the name for two things, and both are here:
 *   drop    (Tab. 1) in every epoch a random `portion` of the images of each person is left out, the epochs stay:
 *           of n_k images n_k - round(portion n_k) are kept, drawn anew each epoch;
 *   epochs  (Tab. C.13) all images, but only 1 - portion of the epochs.  The milestones and the warm-up keep their
 * place relative to the whole, or short runs would never lower the rate (not published). The epoch's order comes from
 * (seed, epoch); who comes late in it is left out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "midre/data.h"
#include "midre/defense.h"
#include "midre/train.h"

enum { HOW_DROP, HOW_EPOCHS };

struct ee {
    int32_t *order;        /* [n] the kept images of `epoch` in their order, then what is left of the permutation */
    int32_t *quota, *left; /* [classes] images a person keeps; those still free while an epoch is drawn */
    int64_t epoch;         /* -1 none */
    size_t n;
};

static bool samples(const struct mi_values *v) {
    return mi_values_choice(v, "how") == HOW_DROP;
}

static enum mi_status plan(struct mi_defense *d, struct mi_sampling *s) {
    struct ee *e = d->state;
    free(e->order);
    free(e->quota);
    free(e->left);
    *e = (struct ee){.epoch = -1, .n = s->n};
    e->order = mi_calloc(s->n, sizeof *e->order);
    e->quota = mi_calloc((size_t)s->classes, sizeof *e->quota);
    e->left = mi_calloc((size_t)s->classes, sizeof *e->left);
    if (!e->order || !e->quota || !e->left) return MI_E_NOMEM;
    for (size_t i = 0; i < s->n; i++) e->quota[s->labels[i]]++;
    double portion = mi_values_real(d->values, "portion");
    int64_t kept = 0;
    for (int k = 0; k < s->classes; k++) {
        e->quota[k] -= (int32_t)rint(portion * e->quota[k]);
        kept += e->quota[k];
    }
    s->most = s->batch < kept ? s->batch : (int)kept;
    if (s->most < 2)
        return mi_fail(MI_E_INPUT, "defense.ee: a portion of %g leaves %lld photos an epoch, too few to train on",
                       portion, (long long)kept);
    s->per_epoch = kept / s->most;
    return MI_OK;
}

/* The kept images of an epoch to the front of order, in the epoch's order. */
static void draw_epoch(struct ee *e, const struct mi_sampling *s, int64_t epoch) {
    size_t kept = 0;
    for (int k = 0; k < s->classes; k++) e->left[k] = e->quota[k];
    mi_epoch_order(e->order, e->n, s->seed, epoch);
    for (size_t i = 0; i < e->n; i++)
        if (e->left[s->labels[e->order[i]]]-- > 0) e->order[kept++] = e->order[i];
    e->epoch = epoch;
}

static int sample(struct mi_defense *d, const struct mi_sampling *s, int64_t step, int32_t *index) {
    struct ee *e = d->state;
    int64_t epoch = step / s->per_epoch, first = step % s->per_epoch * s->most;
    if (epoch != e->epoch) draw_epoch(e, s, epoch);
    for (int i = 0; i < s->most; i++) index[i] = e->order[first + i];
    return s->most;
}

static enum mi_status start(struct mi_defense *d, struct mi_model *m, struct mi_train_recipe *r) {
    (void)m;
    if (mi_values_choice(d->values, "how") != HOW_EPOCHS) return MI_OK;
    int epochs = (int)rint(r->epochs * (1 - mi_values_real(d->values, "portion")));
    epochs = epochs < 1 ? 1 : epochs;
    double part = (double)epochs / r->epochs;
    for (int i = 0; i < r->n_milestones; i++) r->milestones[i] *= part;
    r->warmup *= part;
    r->epochs = epochs;
    return MI_OK;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    double percent = 100 * mi_values_real(d->values, "portion");
    (void)size;
    if (samples(d->values))
        snprintf(text, room, "leaves out %.0f %% of each person's photos in every epoch", percent);
    else
        snprintf(text, room, "trains %.0f %% fewer epochs", percent);
}

static void release(struct mi_defense *d) {
    struct ee *e = d->state;
    if (!e) return;
    free(e->order);
    free(e->quota);
    free(e->left);
    *e = (struct ee){.epoch = -1};
}

static const struct mi_setting settings[] = {
    {.name = "how",
     .label = true,
     .type = MI_CHOICE,
     .def = "drop",
     .choices = "drop|epochs",
     .help =
         "drop: random photos of each person are left out in every epoch (Tab. 1); epochs: fewer epochs (Tab. C.13)"},
    {.name = "portion",
     .label = true,
     .type = MI_REAL,
     .def = "0.2",
     .min = 0,
     .max = 0.95,
     .help = "Share that is left out (published: 0.1 to 0.5)"},
    MI_SETTING_END};

const struct mi_defense_desc mi_defense_ee = {
    .info = {.name = "ee",
             .title = "EE (entire erasing)",
             .help = "Whole photos are left out instead of parts of them: the network is shown as many pixels less as "
                     "under MIDRE, but every photo it sees shows a whole face. The paper finds no protection, which is "
                     "its argument that what counts is hiding parts, not showing less. It uses the name for fewer "
                     "photos an epoch and for fewer epochs; `how` chooses.",
             .paper = "Tran, Nguyen et al.: Random Erasing vs. Model Inversion, TMLR 2025, Sec. 3.3, Tab. 1 and C.13 "
                      "(EE)",
             .settings = settings,
             .tags = "ablation sampler"},
    .state_size = sizeof(struct ee),
    .plan = plan,
    .sample = sample,
    .samples = samples,
    .start = start,
    .note = note,
    .free = release};
