/* attacks/plg_gan.h - PLG-MI's conditional GAN: a generator told the class, a discriminator that judges image and class
 * together.  Private to attacks/ and their tests.  Weights carry the names of the public PyTorch code. */
#ifndef MIDRE_ATTACKS_PLG_GAN_H
#define MIDRE_ATTACKS_PLG_GAN_H

#include "midre/nn.h"

#define MI_PLG_BLOCKS 6 /* 128 px halved six times = 2 px */

/* BatchNorm whose scale and shift are rows of tables [classes,channels]. */
struct mi_plg_cbn {
    mt_tensor *rm, *rv, *count, *w, *b;
};

/* z [N,z_dim], y [N] i64 -> [N,3,size,size], tanh.  The discriminator pulls it into [0,1]; nothing rescales it. */
struct mi_plg_g {
    struct mi_params *ps; /* owned */
    struct mi_linear l1;
    struct {
        struct mi_conv c1, c2, sc;
        struct mi_plg_cbn b1, b2;
    } up[MI_PLG_BLOCKS];
    struct mi_bn last_bn;
    struct mi_conv last;
    int blocks, size, width, z_dim, classes;
    mt_dtype precision;
};

/* A weight divided by its greatest singular value, estimated by power iteration. */
struct mi_plg_sn {
    mt_tensor *w, *u, *v, *bias; /* [out,...], [out], [rest], [out] or NULL */
};

/* image [N,3,size,size], y [N] -> score [N]; higher looks more like a real image of the class. */
struct mi_plg_d {
    struct mi_params *ps; /* owned */
    struct {
        struct mi_plg_sn c1, c2, sc;
    } down[MI_PLG_BLOCKS];
    struct mi_plg_sn head, table; /* [1,C] and [classes,C] */
    int blocks, size, width, classes;
    mt_dtype precision;
};

extern const int mi_plg_sizes[]; /* 32, 64, 128, 0 */
/* Sizes of that list; else MI_E_INPUT.  Fresh weights from `seed`.  On failure nothing stays allocated. */
enum mi_status mi_plg_g_open(struct mi_plg_g *g, int size, int width, int z_dim, int classes, mt_device dev,
                             mt_dtype precision, uint64_t seed);
enum mi_status mi_plg_d_open(struct mi_plg_d *d, int size, int width, int classes, mt_device dev, mt_dtype precision,
                             uint64_t seed);
void mi_plg_g_close(struct mi_plg_g *g); /* safe on a zeroed struct */
void mi_plg_d_close(struct mi_plg_d *d);

/* Results belong to the current scope.  train: batch statistics, and the running ones move. */
mt_tensor *mi_plg_g(const struct mi_plg_g *g, mt_tensor *z, mt_tensor *y, bool train);
/* iterations: power iterations on every weight first; PyTorch makes one for each forward pass in training mode. */
mt_tensor *mi_plg_d(const struct mi_plg_d *d, mt_tensor *x, mt_tensor *y, int iterations);

/* mean relu(1 - D(real)) + mean relu(1 + D(fake)), scalar. */
mt_tensor *mi_plg_hinge(mt_tensor *on_real, mt_tensor *on_fake);
/* max-margin identity loss of logits [N,K] and labels y [N]: -logit_y + greatest other logit, [N]; no hinge. */
mt_tensor *mi_plg_margin(mt_tensor *logits, mt_tensor *y);

/* A trained prior: weights as G.* and D.*, the shape numbers as metadata. */
enum mi_status mi_plg_save(const struct mi_plg_g *g, const struct mi_plg_d *d, mt_archive *a);
/* Opens and freezes the generator of a prior made at `size` px for a target of `classes` classes. */
enum mi_status mi_plg_load(struct mi_plg_g *g, mt_archive *a, int size, int classes, mt_device dev, mt_dtype precision);

#endif
