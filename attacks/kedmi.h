/* attacks/kedmi.h - KedMI's GAN training and distributional recovery, for attacks that share them and for the parity
 * test against PyTorch.  Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_KEDMI_H
#define MIDRE_ATTACKS_KEDMI_H

#include "attacks/descent.h"
#include "attacks/gan_train.h"
#include "attacks/idloss.h"
#include "attacks/kedmi_gan.h"

/* z = mu + exp(s/2) noise, into [-1,1] when clamp.  p [N,2*z_dim]: mu beside s; noise [N,z_dim]. */
mt_tensor *mi_kedmi_draw(mt_tensor *p, mt_tensor *noise, bool clamp);
/* p requiring a gradient.  loss = sum_i (prior_i + lambda identity_i) / divisor, prior = -log p(real).  Results live in
 * the current scope. */
enum mi_status mi_kedmi_loss(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, const struct mi_idloss *id,
                             mt_tensor *p, mt_tensor *noise, mt_tensor *y, const uint64_t *key, int64_t step,
                             double lambda, double divisor, bool clamp, struct mi_descent_terms *out);

/* Settings of the GAN, and the names of those a prior depends on. */
#define MI_KEDMI_GAN_SETTINGS                                                                                          \
    {.name = "gan_epochs", .type = MI_INT, .def = "100", .min = 1, .max = 100000, .unit = "epochs",                    \
     .help = "Passes of GAN training over the public images (BiDO 100; KedMI, LOMMA, TL-DMI, PLG-MI 120)"},            \
    {.name = "gan_steps", .type = MI_INT, .def = "0", .min = 0, .max = 1e9, .unit = "steps",                           \
     .help = "Discriminator steps of GAN training; 0 takes gan_epochs instead"},                                       \
    {.name = "gan_batch", .type = MI_INT, .def = "64", .min = 2, .max = 4096, .unit = "images",                        \
     .help = "Images in each of the three batches of a step; an incomplete last batch is dropped"},                    \
    {.name = "gan_width", .type = MI_INT, .def = "64", .min = 4, .max = 256, .unit = "channels",                       \
     .help = "Channels of the generator's last hidden stage and of the discriminator's first"},                        \
    {.name = "z_dim", .type = MI_INT, .def = "100", .min = 2, .max = 1024, .help = "Length of a latent vector"},       \
    {.name = "n_critic", .type = MI_INT, .def = "5", .min = 1, .max = 100,                                             \
     .help = "Discriminator steps for each generator step"},                                                           \
    MI_GAN_ADAM_SETTINGS("0.5", "0.999"),                                                                              \
    {.name = "entropy", .type = MI_REAL, .def = "0.0001", .min = 0, .max = 100,                                        \
     .help = "Weight of the class entropy of generated images, summed over 64 of them as published, whatever "         \
             "gan_batch is"},                                                                                          \
    {.name = "mbd_kernels", .type = MI_INT, .def = "64", .min = 0, .max = 1024,                                        \
     .help = "Kernels of the discriminator's minibatch discrimination; 0 leaves it out"},                              \
    {.name = "mbd_dim", .type = MI_INT, .def = "50", .min = 1, .max = 1024, .help = "Numbers in each of them"},        \
    {.name = "teacher", .type = MI_CHOICE, .def = "eval", .choices = "eval|train",                                     \
     .help = "Mode of the target while it labels public images: eval as the method is described, train as the "        \
             "published code runs it (BatchNorm of the batch, dropout on)"},                                           \
    MI_GAN_SHEET_SETTING
extern const char *const mi_kedmi_prior_settings[]; /* NULL-terminated */

/* Settings of the recovery; the arguments are texts. */
#define MI_KEDMI_SETTINGS(iterations_, logvar_, clamp_)                                                                \
    {.name = "iterations", .type = MI_INT, .def = iterations_, .min = 1, .max = 1000000, .unit = "steps",              \
     .help = "Steps on the distributions (KedMI 2400, its function's default 1500, LOMMA 2400, TL-DMI 3000, BiDO "     \
             "5000)"},                                                                                                 \
    {.name = "lr", .type = MI_REAL, .def = "0.02", .min = 0, .max = 100, .help = "Learning rate (Adam)"},              \
    {.name = "lambda", .type = MI_REAL, .def = "100", .min = 0, .max = 1e6,                                            \
     .help = "Weight of the identity loss beside the discriminator's"},                                                \
    {.name = "logvar", .type = MI_REAL, .def = logvar_, .min = -20, .max = 10,                                         \
     .help = "First log-variance of the latents (BiDO and TL-DMI 0; KedMI, LOMMA and PLG-MI 1)"},                      \
    {.name = "clamp", .type = MI_BOOL, .def = clamp_,                                                                  \
     .help = "Keep drawn latents in [-1,1], inside the loss and in the final samples (LOMMA and TL-DMI yes, KedMI "    \
             "and BiDO no)"},                                                                                          \
    MI_STACK_SETTING

/* Trains the prior through job->oracle on job->pub as a resumable loop. */
enum mi_status mi_kedmi_train(struct mi_attack_job *job, mt_archive *out);
/* The whole recovery as a resumable loop, with the settings above in job->values. */
enum mi_status mi_kedmi_recover(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out);

#endif
