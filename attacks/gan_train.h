/* attacks/gan_train.h - the loop under every GAN a prior is made of: two networks trained against each other on public
 * images, with Adam.  Private to attacks/ and their tests.
 *
 * A prior gives its losses as a struct mi_gan_desc; the driver owns the optimisers, decides which network learns when,
 * freezes the discriminator while the generator learns, draws the sample sheet and resumes after a kill.  Settings it
 * reads from the job: gan_batch, n_critic, gan_lr, gan_beta1, gan_beta2, sample_every. */
#ifndef MIDRE_ATTACKS_GAN_TRAIN_H
#define MIDRE_ATTACKS_GAN_TRAIN_H

#include "midre/attack.h"

enum { MI_GAN_SHEET = 32 }; /* images on a sample sheet */

/* Which network a step of the loop stands for; n_critic discriminator steps belong to each generator step. */
enum mi_gan_cadence {
    MI_GAN_STEP_IS_D, /* a step trains D; every n_critic-th then trains G */
    MI_GAN_STEP_IS_G  /* a step trains G, then D n_critic times */
};

/* Each call runs inside a scope of its own; `gan` is what mi_gan_open was given. */
struct mi_gan_desc {
    enum mi_gan_cadence cadence;
    /* The scalar that D's or G's weights descend on, and its curves.  n is a number of its own for each step of that
     * network, to draw random numbers by (mi_gan_stream): the loop then resumes without generator state. */
    enum mi_status (*d_loss)(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss);
    enum mi_status (*g_loss)(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss);
    /* [MI_GAN_SHEET,3,S,S] in [0,1], always of the same latents; called without a graph, moves nothing. */
    mt_tensor *(*sheet)(void *gan);
};

struct mi_gan {
    const struct mi_gan_desc *desc; /* borrowed, as are the next four */
    void *gan;
    struct mi_attack_job *job;
    struct mi_params *g, *d;
    mt_opt *opt_g, *opt_d; /* owned */
    mt_rng *rng;           /* owned */
    int batch, n_critic;
    double sheet_at, sheet_every; /* seconds */
};

/* Reads batch and n_critic, before the networks are there.  Safe to close from here on. */
void mi_gan_open(struct mi_gan *t, const struct mi_gan_desc *desc, void *gan, struct mi_attack_job *job);
/* Takes the networks to train. */
enum mi_status mi_gan_nets(struct mi_gan *t, struct mi_params *g, struct mi_params *d);
void mi_gan_close(struct mi_gan *t); /* safe on a zeroed struct */
/* The numbers of (seed, purpose, step); good until the next call. */
mt_rng *mi_gan_stream(struct mi_gan *t, const char *purpose, int64_t step);
/* Latents [n,z_dim] of (seed, purpose, step), on the job's device; of the current scope. */
mt_tensor *mi_gan_latents(struct mi_gan *t, const char *purpose, int64_t step, int n, int z_dim);
/* How long: `gan_steps`, or where that is 0 `gan_epochs` passes over the public images. */
int64_t mi_gan_steps(const struct mi_attack_job *job, int64_t steps_per_epoch);
/* Trains for `steps` as a resumable loop; images_per_step for the speed, steps_per_epoch 0 = no epochs. */
enum mi_status mi_gan_train(struct mi_gan *t, int64_t steps, int images_per_step, int64_t steps_per_epoch);

/* Settings all of them share; the arguments are texts. */
#define MI_GAN_ADAM_SETTINGS(beta1_, beta2_)                                                                           \
    {.name = "gan_lr", .type = MI_REAL, .def = "0.0002", .min = 0, .max = 1,                                           \
     .help = "Learning rate of both networks (Adam)"},                                                                 \
    {.name = "gan_beta1", .type = MI_REAL, .def = beta1_, .min = 0, .max = 0.9999, .help = "Adam's first beta"},       \
    {.name = "gan_beta2", .type = MI_REAL, .def = beta2_, .min = 0, .max = 0.99999, .help = "Adam's second beta"}
#define MI_GAN_SHEET_SETTING                                                                                           \
    {.name = "sample_every", .type = MI_REAL, .def = "5", .min = 0, .max = 86400, .unit = "s",                         \
     .help = "Least time between two sheets of sample images while the GAN trains", .cosmetic = true}

#endif
