/* attacks/gmi.h - GMI's inversion apart from its loop, for attacks that share it and for the parity test against
 * PyTorch.  Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_GMI_H
#define MIDRE_ATTACKS_GMI_H

#include "attacks/dcgan64.h"
#include "attacks/descent.h"
#include "attacks/idloss.h"

/* z [N,z_dim] requiring a gradient, y [N] i64, weight [N].  loss = sum_i weight_i (prior_i + lambda identity_i), prior
 * = -D(G(z)).  Results live in the current scope. */
enum mi_status mi_gmi_loss(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, struct mi_oracle *o, mt_tensor *z,
                           mt_tensor *y, mt_tensor *weight, double lambda, struct mi_descent_terms *out);
/* The same with any identity loss; key and step as in mi_idloss_loss. */
enum mi_status mi_gmi_loss_of(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, const struct mi_idloss *id,
                              mt_tensor *z, mt_tensor *y, const uint64_t *key, int64_t step, mt_tensor *weight,
                              double lambda, struct mi_descent_terms *out);
/* Momentum in look-ahead form, in place: v' = m v - lr grad;  z' = z - m v + (1+m) v', into [-1,1] when clamp. */
void mi_gmi_update(mt_tensor *z, mt_tensor *v, mt_tensor *grad, double lr, double momentum, bool clamp);

/* Settings of the descent; `iterations_` is a text. */
#define MI_GMI_SETTINGS(iterations_)                                                                                   \
    {.name = "iterations", .type = MI_INT, .def = iterations_, .min = 1, .max = 1000000, .unit = "steps",              \
     .help = "Descent steps on the latents (GMI 1500, KedMI and LOMMA 2400, TL-DMI 3000, BiDO 2000)"},                 \
    {.name = "lr", .type = MI_REAL, .def = "0.02", .min = 0, .max = 100, .help = "Step size on the latents"},          \
    {.name = "momentum", .type = MI_REAL, .def = "0.9", .min = 0, .max = 0.9999, .help = "Momentum of the descent"},   \
    {.name = "lambda", .type = MI_REAL, .def = "100", .min = 0, .max = 1e6,                                            \
     .help = "Weight of the identity loss beside the critic's score"},                                                 \
    {.name = "clamp", .type = MI_BOOL, .def = "yes", .help = "Keep latents in [-1,1] after every step"},               \
    {.name = "init", .type = MI_CHOICE, .def = "normal", .choices = "normal|clamped",                                  \
     .help = "First latents: standard normal as published, or the same clamped to [-1,1]"},                            \
    {.name = "batch", .type = MI_INT, .def = "60", .min = 1, .max = 100000, .unit = "identities",                      \
     .help = "Identities in a published batch: what the mean loss, hence the step of each image, is divided by"},      \
    {.name = "coupling", .type = MI_CHOICE, .def = "per_image", .choices = "per_image|batch_mean",                     \
     .help = "Divide the loss always by batch, or by the identities really in the batch (as published: fewer "         \
             "identities make larger steps)"},                                                                         \
    {.name = "select", .type = MI_CHOICE, .def = "none", .choices = "none|target_logit",                               \
     .help = "Deliver every restart, or of each `tries` restarts the one with the greatest target logit (original "    \
             "GMI)"},                                                                                                  \
    {.name = "tries", .type = MI_INT, .def = "5", .min = 1, .max = 100, .unit = "restarts",                            \
     .help = "Candidates per delivered image when select is target_logit"},                                            \
    MI_STACK_SETTING

/* The whole inversion as a resumable loop, with the settings above in job->values. */
enum mi_status mi_gmi_descend(struct mi_attack_job *job, const struct mi_idloss *id, struct mi_recon *out);

#endif
