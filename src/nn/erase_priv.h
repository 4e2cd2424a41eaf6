/* src/nn/erase_priv.h - the tensor-operation form of box erasing, for its test and for devices without a kernel. */
#ifndef MIDRE_ERASE_PRIV_H
#define MIDRE_ERASE_PRIV_H

#include "midre/defense.h"

/* Same contract as mi_erase_boxes; works on any device and on any strides. */
enum mi_status mi_erase_boxes_ops(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]);

#endif
