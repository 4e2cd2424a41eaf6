/* defenses/bido.h - dependence measures between the images of a batch, as BiDO uses them; for its two entries and
 * their tests.  Kernel matrices are [m,m] f64, m images. */
#ifndef MIDRE_DEFENSES_BIDO_H
#define MIDRE_DEFENSES_BIDO_H

#include "midre/defense.h"

enum mi_label_kernel { MI_LABEL_LINEAR, MI_LABEL_GAUSSIAN, MI_LABEL_IMQ };

/* exp(-|a-b|^2 / (2 sigma^2 d)) of the rows of z [m,...], d values each; sigma 0: the batch's mean distance instead of
 * 2 sigma^2 d, without gradient. */
mt_tensor *mi_kernel_gauss(mt_tensor *z, double sigma);
/* Kernel of label rows [m,C] (one-hot or mixed). */
mt_tensor *mi_kernel_labels(mt_tensor *y, enum mi_label_kernel how, double sigma);
/* H K H with H = I - 11'/m. */
mt_tensor *mi_kernel_centre(mt_tensor *k);
/* R = HKH (HKH + eps m I)^-1, eps = 1e-5; the dependence of A and B is the sum of R_A * R_B, between 0 and m-1. */
mt_tensor *mi_hsic_operator(mt_tensor *centred);
/* (1/m) sqrt(|HAH HBH|), Frobenius or spectral norm. */
mt_tensor *mi_coco(mt_tensor *centred_a, mt_tensor *centred_b, bool spectral);

extern const struct mi_defense_desc mi_defense_bido, mi_defense_bido_coco;

#endif
