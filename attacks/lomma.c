/* attacks/lomma.c - LOMMA (Nguyen, Chandrasegaran, Abdollahzadeh, Cheung, CVPR 2023): a better identity loss and more
 * models to satisfy, on top of GMI's or KedMI's descent.
 *
 * Logit loss: cross entropy also pushes other people's logits down, which says nothing about the wanted face; the raw
 * logit of the person does, held finite by pulling the target's features to the mean of public ones.  Model
 * augmentation: networks distilled from the target on public images must agree, so what is peculiar to the target's own
 * weights is not exploited.  `variant` switches both, by the publication's names.
 *
 * Two attacks in the table, one per base.  Each shares its base's prior, and both share the students of a target; those
 * are a stage of their own (students.c).  The loss is in idloss.c, the descents in gmi.c and kedmi.c. */
#include "attacks/gmi.h"
#include "attacks/kedmi.h"
#include "attacks/wgan.h"

enum { VARIANT_OURS, VARIANT_LOGIT, VARIANT_AUG, VARIANT_BASELINE };
enum { PREG_MEAN, PREG_SAMPLED };

/* Model augmentation is part of two of the four variants. */
static bool wants_students(const struct mi_values *v) {
    int variant = mi_values_choice(v, "variant");
    return variant == VARIANT_OURS || variant == VARIANT_AUG;
}

static enum mi_status invert(struct mi_attack_job *job, struct mi_recon *out,
                             enum mi_status (*descend)(struct mi_attack_job *, const struct mi_idloss *,
                                                       struct mi_recon *)) {
    const struct mi_values *v = job->values;
    int variant = mi_values_choice(v, "variant");
    struct mi_students students = {.n = 0};
    struct mi_idloss id = {.oracle = job->oracle, .seed = job->ctx->seed};
    enum mi_status st = mi_adaptive_open(&id.adaptive, v, job->size, job->ctx->seed);
    if (st == MI_OK && wants_students(v)) {
        st = job->students ? mi_students_open(&students, job->students, job)
                           : mi_fail(MI_E_INTERNAL, "LOMMA runs without the students it asked for");
        id.students = &students;
    }
    if (variant == VARIANT_OURS || variant == VARIANT_LOGIT) {
        id.kind = MI_IDLOSS_LOGIT;
        id.reg = mi_values_real(v, "lambda_reg");
        bool sampled = mi_values_choice(v, "preg") == PREG_SAMPLED;
        if (st == MI_OK && id.reg > 0) st = mi_idloss_measure(&id, job, mi_values_int(v, "preg_images"), sampled);
    }
    if (st == MI_OK) st = descend(job, &id, out);
    mi_idloss_close(&id);
    mi_students_close(&students);
    return st;
}

static enum mi_status invert_gmi(struct mi_attack_job *job, struct mi_recon *out) {
    return invert(job, out, mi_gmi_descend);
}

static enum mi_status invert_kedmi(struct mi_attack_job *job, struct mi_recon *out) {
    return invert(job, out, mi_kedmi_recover);
}

/* ---- descriptors ---------------------------------------------------------------------------------------------- */

/* clang-format off: two lines a setting read better than eight */
#define LOMMA_SETTINGS                                                                                                 \
    {.name = "variant",                                                                                                \
     .type = MI_CHOICE,                                                                                                \
     .def = "ours",                                                                                                    \
     .choices = "ours|L_logit|L_aug|baseline",                                                                         \
     .help = "What is better than the base attack: logit loss and students (ours), one of them, or neither"},          \
        {.name = "lambda_reg",                                                                                         \
         .type = MI_REAL,                                                                                              \
         .def = "1",                                                                                                   \
         .min = 0,                                                                                                     \
         .max = 1e6,                                                                                                   \
         .help =                                                                                                       \
             "Weight of the pull of the target's features to the public mean, a mean over features (published 1)"},    \
        {.name = "preg",                                                                                               \
         .type = MI_CHOICE,                                                                                            \
         .def = "mean",                                                                                                \
         .choices = "mean|sampled",                                                                                    \
         .help = "Aim of that pull: the mean, as the published code really does, or a Gaussian drawn in every step"},  \
        {.name = "preg_images",                                                                                        \
         .type = MI_INT,                                                                                               \
         .def = "5050",                                                                                                \
         .min = 2,                                                                                                     \
         .max = 1e9,                                                                                                   \
         .unit = "images",                                                                                             \
         .help = "Public images the mean is taken over, at most all there are (published 5050)"},                      \
        MI_STUDENTS_SETTINGS, MI_ADAPTIVE_SETTINGS

static const struct mi_setting gmi_settings[] = {MI_WGAN_SETTINGS, MI_GMI_SETTINGS("2400"), LOMMA_SETTINGS,
                                                 MI_SETTING_END};
static const struct mi_setting kedmi_settings[] = {MI_KEDMI_GAN_SETTINGS, MI_KEDMI_SETTINGS("2400", "1", "yes"),
                                                   LOMMA_SETTINGS, MI_SETTING_END};

#define LOMMA_PAPER                                                                                                    \
    "Nguyen, Chandrasegaran, Abdollahzadeh, Cheung: Re-thinking Model Inversion Attacks Against Deep Neural "          \
    "Networks, CVPR 2023"
/* clang-format on */

const struct mi_attack_desc mi_attack_lomma_gmi = {
    .info = {.name = "lomma_gmi",
             .title = "LOMMA + GMI",
             .help = "GMI's descent with the logit loss, also satisfying students distilled from the target.",
             .paper = LOMMA_PAPER,
             .settings = gmi_settings,
             .tags = "white-box 64px gan students"},
    .access = MI_ACCESS_WHITE,
    .native_size = 64,
    .sizes = mi_dcgan_sizes,
    .prior_uses_target = false,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .students = "distilled",
    .students_settings = mi_students_settings,
    .wants_students = wants_students,
    .train_students = mi_students_train,
    .invert = invert_gmi};

const struct mi_attack_desc mi_attack_lomma_kedmi = {
    .info = {.name = "lomma_kedmi",
             .title = "LOMMA + KedMI",
             .help = "KedMI's distributional recovery with the logit loss, also satisfying students distilled from the "
                     "target.",
             .paper = LOMMA_PAPER,
             .settings = kedmi_settings,
             .tags = "white-box 64px gan students"},
    .access = MI_ACCESS_WHITE,
    .native_size = 64,
    .sizes = mi_dcgan_sizes,
    .prior_uses_target = true,
    .prior = "kedmi",
    .prior_settings = mi_kedmi_prior_settings,
    .train_prior = mi_kedmi_train,
    .students = "distilled",
    .students_settings = mi_students_settings,
    .wants_students = wants_students,
    .train_students = mi_students_train,
    .invert = invert_kedmi};
