/* attacks/wgan.h - training a generator/critic pair on public images as a Wasserstein GAN with gradient penalty.
 * Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_WGAN_H
#define MIDRE_ATTACKS_WGAN_H

#include "attacks/dcgan64.h"
#include "attacks/gan_train.h"

struct mi_wgan_terms {
    mt_tensor *loss;    /* scalar: -gap + gp_weight * penalty */
    mt_tensor *gap;     /* scalar: mean D(real) - mean D(fake), the estimated Wasserstein distance */
    mt_tensor *penalty; /* scalar: mean of (norm of the input gradient - 1)^2 */
};

/* real, fake [N,3,S,S], mix [N,1,1,1] in [0,1).  Differentiable in the critic's weights. Results live in the scope. */
enum mi_status mi_wgan_critic_loss(const struct mi_dcgan_d *d, mt_tensor *real, mt_tensor *fake, mt_tensor *mix,
                                   double gp_weight, struct mi_wgan_terms *out);
/* -mean D(G(z)), G in training mode.  Differentiable in whatever is not frozen. */
mt_tensor *mi_wgan_generator_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, mt_tensor *z);

/* The settings below as one list, and the names of those a prior depends on: attacks with this prior include both. */
#define MI_WGAN_SETTINGS                                                                                               \
    {.name = "gan_epochs", .type = MI_INT, .def = "300", .min = 1, .max = 100000, .unit = "epochs",                    \
     .help = "Passes of GAN training over the public images (published: 300)"},                                        \
    {.name = "gan_steps", .type = MI_INT, .def = "0", .min = 0, .max = 1e9, .unit = "steps",                           \
     .help = "Critic steps of GAN training; 0 takes gan_epochs instead"},                                              \
    {.name = "gan_batch", .type = MI_INT, .def = "64", .min = 2, .max = 4096, .unit = "images",                        \
     .help = "Images in a GAN batch; an incomplete last batch is dropped"},                                            \
    {.name = "gan_width", .type = MI_INT, .def = "64", .min = 4, .max = 256, .unit = "channels",                       \
     .help = "Channels of the generator's last hidden stage and of the critic's first"},                               \
    {.name = "z_dim", .type = MI_INT, .def = "100", .min = 2, .max = 1024, .help = "Length of a latent vector"},       \
    {.name = "n_critic", .type = MI_INT, .def = "5", .min = 1, .max = 100,                                             \
     .help = "Critic steps for each generator step"},                                                                  \
    {.name = "gp_weight", .type = MI_REAL, .def = "10", .min = 0, .max = 1000,                                         \
     .help = "Weight of the gradient penalty"},                                                                        \
    MI_GAN_ADAM_SETTINGS("0.5", "0.999"),                                                                              \
    MI_GAN_SHEET_SETTING

extern const char *const mi_wgan_prior_settings[]; /* NULL-terminated */

/* Trains on job->pub as a resumable loop and writes the prior to `out`. */
enum mi_status mi_wgan_train(struct mi_attack_job *job, mt_archive *out);

#endif
