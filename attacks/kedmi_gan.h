/* attacks/kedmi_gan.h - KedMI's inversion-specific GAN: a discriminator that also learns the target's soft labels.
 * The generator is the one of dcgan64.h.  Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_KEDMI_GAN_H
#define MIDRE_ATTACKS_KEDMI_GAN_H

#include "attacks/dcgan64.h"
#include "midre/attack.h"

#define MI_KEDMI_STAGES 5 /* 128 px halved five times = 4 px */

/* image [N,3,size,size] -> features phi [N,flat] -> one logit a class [N,classes]. */
struct mi_kedmi_d {
    struct mi_params *ps; /* owned */
    struct mi_conv conv[MI_KEDMI_STAGES];
    struct mi_inorm norm[MI_KEDMI_STAGES];
    mt_tensor *mbd; /* [flat,kernels,kernel_dim] of the minibatch discrimination, NULL without one */
    struct mi_linear fc;
    int stages, size, width, classes, kernels, kernel_dim, flat;
    mt_dtype precision;
};

/* kernels 0: no minibatch discrimination.  On failure nothing stays allocated. */
enum mi_status mi_kedmi_d_open(struct mi_kedmi_d *d, int size, int width, int classes, int kernels, int kernel_dim,
                               mt_device dev, mt_dtype precision, uint64_t seed);
void mi_kedmi_d_close(struct mi_kedmi_d *d); /* safe on a zeroed struct */
/* Results belong to the current scope. */
mt_tensor *mi_kedmi_phi(const struct mi_kedmi_d *d, mt_tensor *x);
/* company: the images are one batch and minibatch discrimination compares them; else each is judged alone. */
mt_tensor *mi_kedmi_logits(const struct mi_kedmi_d *d, mt_tensor *phi, bool company);
/* a(x) = log sum_k exp D_k(x), [N]: D takes x for real with probability e^a / (1 + e^a). */
mt_tensor *mi_kedmi_energy(mt_tensor *logits);
/* -log of that probability, [N]. */
mt_tensor *mi_kedmi_real_loss(mt_tensor *logits);

struct mi_kedmi_terms {
    mt_tensor *loss, *supervised, *unsupervised; /* scalars: loss is their sum */
    mt_tensor *logits;                           /* [B,classes] of the labelled images */
};
/* labelled, unlabelled, fake [B,3,S,S], soft [B,classes] of the labelled ones: three batches of their own. */
enum mi_status mi_kedmi_d_loss(const struct mi_kedmi_d *d, mt_tensor *labelled, mt_tensor *soft, mt_tensor *unlabelled,
                               mt_tensor *fake, struct mi_kedmi_terms *out);
/* Feature matching plus the entropy of D's classes, whose weight stands for a sum over 64 images. */
mt_tensor *mi_kedmi_g_loss(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, mt_tensor *z, mt_tensor *real,
                           double entropy);

enum mi_status mi_kedmi_save(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, mt_archive *a);
/* Opens and freezes both nets from a prior made at `size` px for `classes` people. */
enum mi_status mi_kedmi_load(struct mi_dcgan_g *g, struct mi_kedmi_d *d, mt_archive *a, int size, int classes,
                             mt_device dev, mt_dtype precision);

#endif
