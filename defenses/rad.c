/* defenses/rad.c - MI-RAD (Koh et al., ECCV 2024): skip connections of the last stage help model inversion, so they
 * are weakened (SSF), removed (RoLSS) or removed after a first step with all of them (TTS).
 *
 *     z' = g(z) + k z in every block of the chosen stage;  concatenated skips keep the first round(k c) channels.
 *
 * RoLSS is k = 0, SSF a constant 0 < k < 1, TTS k = 1 for the first epochs and then 0 with the weights kept and a fresh
 * optimiser.  Networks name their skips (midre/skips.h); nothing here knows an architecture.  What only a removed skip
 * uses (a downsample) does not learn any more.  Where skips are concatenated, the layers' widths follow from k, so
 * published start weights do not fit and the two steps of TTS could not share weights: that is refused.
 * The k belong to the network, not to its file: they are set whenever the target is opened.  Owns the list of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/skips.h"
#include "midre/spec.h"
#include "midre/train.h"

extern const struct mi_defense_desc mi_defense_rolss, mi_defense_ssf, mi_defense_tts;

struct rad {
    double **k;        /* of the chosen skips */
    int n, all, first; /* first: epochs of TTS' first step */
    double scale;
    int channels; /* of the feature, where they changed; else 0 */
};

static enum mi_status compose(const struct mi_defense *d, const struct mi_defenses *all, const struct mi_spec *spec) {
    (void)spec;
    for (int i = 0; i < all->n; i++) {
        const struct mi_defense_desc *o = all->item[i].desc;
        if (o == d->desc || (o != &mi_defense_rolss && o != &mi_defense_ssf && o != &mi_defense_tts)) continue;
        return mi_fail(MI_E_INPUT, "%s and %s do not compose: both set the strength of skip connections",
                       d->desc->info.name, o->info.name);
    }
    return MI_OK;
}

/* ---- which skips ------------------------------------------------------------------------------------------------- */

static bool listed(char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], "all") == 0 || strcmp(names[i], name) == 0) return true;
    return false;
}

static bool stage_listed(char *const *names, size_t n, int stage, int last) {
    char text[16];
    snprintf(text, sizeof text, "%d", stage);
    return listed(names, n, text) || (stage == last && listed(names, n, "last"));
}

static enum mi_status nothing_chosen(const struct mi_defense *d, const struct mi_model *m) {
    char list[400] = "";
    const struct mi_skips *s = m->params->skips;
    for (int i = 0; i < s->n; i++) {
        char one[64];
        size_t used = strlen(list);
        snprintf(one, sizeof one, "stage %d %s", s->item[i].stage, s->item[i].part);
        if (!strstr(list, one)) snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", one);
    }
    return mi_fail(MI_E_INPUT, "[%s] stages and parts choose no skip connection of model %s; it has %s",
                   mi_values_section(d->values), m->desc->info.name, list);
}

static enum mi_status weaken(struct mi_defense *d, struct mi_params *ps, char *const *stages, size_t n_stages,
                             char *const *parts, size_t n_parts) {
    struct rad *s = d->state;
    int last = mi_skips_last_stage(ps);
    for (int i = 0; i < ps->skips->n; i++) {
        struct mi_skip *skip = &ps->skips->item[i];
        if (!stage_listed(stages, n_stages, skip->stage, last) || !listed(parts, n_parts, skip->part)) continue;
        bool add = skip->kind == MI_SKIP_ADD;
        if (d->desc == &mi_defense_tts && !add)
            return mi_fail(MI_E_INPUT, "tts cannot keep its weights between its two steps here: concatenated skip "
                                       "connections change the widths of layers.  rolss and ssf train from the start");
        if (d->desc == &mi_defense_ssf) s->scale = mi_values_real(d->values, add ? "k" : "k_concat");
        *skip->k = s->scale;
        s->k[s->n++] = skip->k;
        if (s->scale == 0 && skip->serves && d->desc != &mi_defense_tts)
            mi_params_set_trainable(ps, skip->serves, false);
    }
    return MI_OK;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct rad *s = d->state;
    if (!m->params->skips)
        return mi_fail(MI_E_INPUT,
                       "%s weakens skip connections, and model %s names none; ResNets, DenseNets, MaxViT, "
                       "ResNeSt and the IR networks do",
                       d->desc->info.name, m->desc->info.name);
    free(s->k);
    *s = (struct rad){.all = m->params->skips->n};
    s->k = mi_calloc((size_t)s->all, sizeof *s->k);
    size_t n_stages = 0, n_parts = 0;
    char **stages = mi_list_split(mi_values_text(d->values, "stages"), ',', &n_stages);
    char **parts = mi_list_split(mi_values_text(d->values, "parts"), ',', &n_parts);
    int width = m->feature_width;
    enum mi_status st = s->k && stages && parts ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK) st = weaken(d, m->params, stages, n_stages, parts, n_parts);
    if (st == MI_OK && s->n == 0) st = nothing_chosen(d, m);
    if (st == MI_OK && m->desc->rewire) st = m->desc->rewire(m);
    if (m->feature_width != width) s->channels = m->feature_width;
    mi_list_free(stages, n_stages);
    mi_list_free(parts, n_parts);
    return st;
}

/* ---- two steps --------------------------------------------------------------------------------------------------- */

static enum mi_status start(struct mi_defense *d, struct mi_model *m, struct mi_train_recipe *r) {
    struct rad *s = d->state;
    (void)m;
    s->first = (int)ceil(mi_values_real(d->values, "first") * r->epochs - 1e-9);
    if (s->first < 1) s->first = 1;
    if (s->first >= r->epochs)
        return mi_fail(MI_E_INPUT,
                       "tts trains in two steps, and %d of %d epochs go to the first: raise [target] epochs or "
                       "lower defense.tts.first",
                       s->first, r->epochs);
    r->second_step = s->first;
    return MI_OK;
}

static enum mi_status step(struct mi_defense *d, struct mi_model *m, mt_opt *o, int64_t step, int64_t epoch) {
    const struct rad *s = d->state;
    (void)m;
    (void)o;
    (void)step;
    for (int i = 0; i < s->n; i++) *s->k[i] = epoch < s->first ? 1 : s->scale;
    return MI_OK;
}

static void note(const struct mi_defense *d, int size, char *text, size_t room) {
    const struct rad *s = d->state;
    (void)size;
    int used = snprintf(text, room, "%d of %d skip connections times %g", s->n, s->all, s->scale);
    size_t at = used > 0 && (size_t)used < room ? (size_t)used : room;
    if (s->first > 0) snprintf(text + at, room - at, " after %d epochs", s->first);
    if (s->channels > 0)
        snprintf(text + at, room - at, "; the feature has %d channels, layers behind the cut start random",
                 s->channels);
}

static void release(struct mi_defense *d) {
    free(((struct rad *)d->state)->k);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

#define WHERE                                                                                                          \
    {.name = "stages",                                                                                                 \
     .type = MI_TEXT,                                                                                                  \
     .def = "last",                                                                                                    \
     .help = "Stages whose skips are weakened: last (published), all, or numbers from 1, separated by commas"},        \
        {.name = "parts",                                                                                              \
         .type = MI_TEXT,                                                                                              \
         .def = "all",                                                                                                 \
         .help = "Which skips of a block where it has several: all, or names such as grid_attention, grid_mlp (a "     \
                 "name that does not exist shows the list)"},                                                          \
        MI_SETTING_END
#define PAPER "Koh, Ho, Nguyen, Cheung: On the Vulnerability of Skip Connections to Model Inversion Attacks, ECCV 2024"

static const struct mi_setting rolss_settings[] = {WHERE};
static const struct mi_setting ssf_settings[] = {
    {.name = "k",
     .label = true,
     .type = MI_REAL,
     .def = "0.2",
     .min = 0,
     .max = 1,
     .help = "Factor of skips that are added (published: 0.2)"},
    {.name = "k_concat",
     .type = MI_REAL,
     .def = "0.01",
     .min = 0,
     .max = 1,
     .help = "Share of the channels that skips by concatenation keep (published: 0.01)"},
    WHERE};
static const struct mi_setting tts_settings[] = {
    {.name = "first",
     .type = MI_REAL,
     .def = "0.05",
     .min = 0,
     .max = 1,
     .help = "Share of the epochs with all skips, at least one epoch (published: 5 of 100)"},
    WHERE};

const struct mi_defense_desc mi_defense_rolss = {
    .info = {.name = "rolss",
             .title = "RoLSS",
             .help =
                 "Removes the skip connections of the last stage. Skips carry gradients straight back to the image, "
                 "which inversion needs more than training does; the last stage's matter most. Published start "
                 "weights still fit where skips are added. Where they are concatenated (DenseNet) the feature "
                 "shrinks to the newest maps, 32 channels, and accuracy with it. Costs nothing.",
             .paper = PAPER,
             .settings = rolss_settings,
             .tags = "architecture"},
    .state_size = sizeof(struct rad),
    .compose = compose,
    .prepare = prepare,
    .note = note,
    .free = release};

const struct mi_defense_desc mi_defense_ssf = {
    .info = {.name = "ssf",
             .title = "SSF",
             .help = "Skip scaling factor: the skip connections of the last stage count only k times. Between no "
                     "defense (k = 1) and RoLSS (k = 0): less protection than removing them, more accuracy. Skips by "
                     "concatenation keep a share k of their channels instead, so a DenseNet trains from random layers "
                     "there. The published page calls k learnable, the code has a constant; so has this.",
             .paper = PAPER,
             .settings = ssf_settings,
             .tags = "architecture"},
    .state_size = sizeof(struct rad),
    .compose = compose,
    .prepare = prepare,
    .note = note,
    .free = release};

const struct mi_defense_desc mi_defense_tts = {
    .info = {.name = "tts",
             .title = "TTS",
             .help = "Two-step training: some epochs with all skip connections, then those of the last stage are "
                     "removed and training goes on from the same weights. The first step finds weights that RoLSS "
                     "alone would not, so accuracy suffers less. The second step has a fresh optimiser; the rate "
                     "falls at the epochs of the whole training. Only for skips that are added.",
             .paper = PAPER,
             .settings = tts_settings,
             .tags = "architecture schedule"},
    .state_size = sizeof(struct rad),
    .compose = compose,
    .prepare = prepare,
    .start = start,
    .step = step,
    .note = note,
    .free = release};
