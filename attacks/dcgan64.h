/* attacks/dcgan64.h - the generator and the critic that GMI introduced and that KedMI and LOMMA reuse.
 * Private to attacks/ and their tests.  Sizes 32, 64 and 128 px; weights carry the names of the public PyTorch code. */
#ifndef MIDRE_ATTACKS_DCGAN64_H
#define MIDRE_ATTACKS_DCGAN64_H

#include "midre/nn.h"

#define MI_DCGAN_STAGES 5 /* 4 px doubled five times = 128 px */

/* z [N,z_dim] -> image [N,3,size,size] in [0,1]. */
struct mi_dcgan_g {
    struct mi_params *ps; /* owned */
    struct mi_linear l1;
    struct mi_bn bn1;
    struct mi_deconv up[MI_DCGAN_STAGES];
    struct mi_bn bn[MI_DCGAN_STAGES]; /* the last stage has none */
    int stages, size, width, z_dim;
    mt_dtype precision;
};

/* image [N,3,size,size] -> one score per image [N]; higher looks more real. */
struct mi_dcgan_d {
    struct mi_params *ps; /* owned; NCHW: that is where the double backward of its group norms is fast */
    struct mi_conv down[MI_DCGAN_STAGES];
    struct mi_inorm norm[MI_DCGAN_STAGES]; /* the first stage has none */
    struct mi_conv head;
    int stages, size, width;
    mt_dtype precision;
};

extern const int mi_dcgan_sizes[]; /* 32, 64, 128, 0 */
/* MI_E_INPUT unless size is one of them. */
enum mi_status mi_dcgan_check_size(int size);
/* Fresh weights from `seed`.  On failure nothing stays allocated. */
enum mi_status mi_dcgan_g_open(struct mi_dcgan_g *g, int size, int width, int z_dim, mt_device dev, mt_dtype precision,
                               uint64_t seed);
enum mi_status mi_dcgan_d_open(struct mi_dcgan_d *d, int size, int width, mt_device dev, mt_dtype precision,
                               uint64_t seed);
void mi_dcgan_g_close(struct mi_dcgan_g *g); /* safe on a zeroed struct */
void mi_dcgan_d_close(struct mi_dcgan_d *d);

/* Results belong to the current scope.  train: batch statistics, and the running ones move. */
mt_tensor *mi_dcgan_g(const struct mi_dcgan_g *g, mt_tensor *z, bool train);
mt_tensor *mi_dcgan_d(const struct mi_dcgan_d *d, mt_tensor *x);

/* For attacking: no weight gradients, sub-pixel kernels prepared once. */
enum mi_status mi_dcgan_g_freeze(struct mi_dcgan_g *g);

/* A trained prior: weights as G.* and D.*, the shape numbers as metadata. */
enum mi_status mi_dcgan_save(const struct mi_dcgan_g *g, const struct mi_dcgan_d *d, mt_archive *a);
/* Opens and freezes both nets from a prior made at `size` px; d may be NULL. */
enum mi_status mi_dcgan_load(struct mi_dcgan_g *g, struct mi_dcgan_d *d, mt_archive *a, int size, mt_device dev,
                             mt_dtype precision);

#endif
