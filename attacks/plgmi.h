/* attacks/plgmi.h - PLG-MI apart from its loops, for the parity test against PyTorch.  Private to attacks/ and their
 * tests. */
#ifndef MIDRE_ATTACKS_PLGMI_H
#define MIDRE_ATTACKS_PLGMI_H

#include "attacks/adaptive.h"
#include "attacks/descent.h"
#include "attacks/gan_train.h"
#include "attacks/plg_augment.h"
#include "attacks/plg_gan.h"

/* Settings of labels and GAN, and the names of those a prior depends on. */
#define MI_PLG_GAN_SETTINGS                                                                                            \
    {.name = "per_class",                                                                                              \
     .type = MI_INT,                                                                                                   \
     .def = "30",                                                                                                      \
     .min = 1,                                                                                                         \
     .max = 100000,                                                                                                    \
     .unit = "images",                                                                                                 \
     .help = "Public images taken for each class: those the target believes in most; with few public images choose "   \
             "fewer than public images / classes"},                                                                    \
        {.name = "gan_steps",                                                                                          \
         .type = MI_INT,                                                                                               \
         .def = "30000",                                                                                               \
         .min = 1,                                                                                                     \
         .max = 1e9,                                                                                                   \
         .unit = "steps",                                                                                              \
         .help = "Generator steps of GAN training"},                                                                   \
        {.name = "n_critic",                                                                                           \
         .type = MI_INT,                                                                                               \
         .def = "5",                                                                                                   \
         .min = 1,                                                                                                     \
         .max = 100,                                                                                                   \
         .help = "Discriminator steps after each generator step"},                                                     \
        {.name = "gan_batch",                                                                                          \
         .type = MI_INT,                                                                                               \
         .def = "64",                                                                                                  \
         .min = 2,                                                                                                     \
         .max = 4096,                                                                                                  \
         .unit = "images",                                                                                             \
         .help = "Images in a GAN batch"},                                                                             \
        {.name = "gan_width",                                                                                          \
         .type = MI_INT,                                                                                               \
         .def = "64",                                                                                                  \
         .min = 4,                                                                                                     \
         .max = 256,                                                                                                   \
         .unit = "channels",                                                                                           \
         .help = "Channels of the generator's last stage and of the discriminator's first"},                           \
        {.name = "z_dim", .type = MI_INT, .def = "128", .min = 2, .max = 1024, .help = "Length of a latent vector"},   \
        {.name = "alpha",                                                                                              \
         .type = MI_REAL,                                                                                              \
         .def = "0.2",                                                                                                 \
         .min = 0,                                                                                                     \
         .max = 1000,                                                                                                  \
         .help = "Weight of the identity loss while the generator trains"},                                            \
        MI_GAN_ADAM_SETTINGS("0", "0.9"),                                                                              \
        MI_GAN_SHEET_SETTING
extern const char *const mi_plg_prior_settings[]; /* NULL-terminated */

/* The `per_class` public images the target gives the greatest probability of each class, as a resumable loop.
 * *image [classes*per_class] numbers of job->pub, class by class; the caller frees. */
enum mi_status mi_plg_labels(struct mi_attack_job *job, int per_class, int32_t **image);
/* Labels the public images and trains the GAN, both as resumable loops. */
enum mi_status mi_plg_train(struct mi_attack_job *job, mt_archive *out);

enum mi_plg_kind { MI_PLG_MARGIN, MI_PLG_CE }; /* identity losses; margin is the published one */

/* How images are shown to the target while latents move. */
struct mi_plg_look {
    struct mi_oracle *oracle; /* borrowed */
    struct mi_adaptive adaptive;
    enum mi_plg_kind kind;
    int views;    /* independent views of each image, their losses summed */
    bool augment; /* views are random augmentations, not the image itself */
    uint64_t seed;
};
/* x [N,3,S,S], y [N], key [N] -> *loss [N], *logits [N,K] of the last view.  Views are functions of (seed, key, it). */
enum mi_status mi_plg_identity(const struct mi_plg_look *k, mt_tensor *x, mt_tensor *y, const uint64_t *key, int64_t it,
                               mt_tensor **loss, mt_tensor **logits);

/* The generator's loss of one step: *adversarial = -mean D(G(z,y),y), *identity = mean margin of the target's logits
 * of an augmented view.  key [N].  The discriminator's weights must be frozen. */
enum mi_status mi_plg_g_loss(const struct mi_plg_g *g, const struct mi_plg_d *d, struct mi_oracle *o, mt_tensor *z,
                             mt_tensor *y, const uint64_t *key, uint64_t seed, int64_t step, mt_tensor **adversarial,
                             mt_tensor **identity);

#endif
