/* midre/cuda_kernels.h - the two hot loops of a training batch on the GPU.  Only in builds with MT_WITH_CUDA_KERNELS.
 *
 * Each comes twice: on raw device pointers and a cudaStream_t, and on tensors (which checks them and uses libtorch's
 * current stream).  Per-image arguments are host arrays that travel with the launch: no copy, no synchronisation.
 * Their CPU twins are mi_batch_fill (src/data/batch.c) and mi_erase_boxes (src/nn/erase.c). */
#ifndef MIDRE_CUDA_KERNELS_H
#define MIDRE_CUDA_KERNELS_H

#include "midre/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mi_box; /* midre/defense.h: four int16 - top, left, height, width */

/* ---- raw: return 0 or a cudaError_t, named by mi_cuda_error_text ---- */
/* out[n][size][size][3] = (rgb[index[i]] mirrored where flip[i], as x*scale + shift of its channel).
 * rgb: device, the packed images; index, flip: host, flip may be NULL. */
int mi_cuda_batch_raw(float *out, const uint8_t *rgb, const int32_t *index, const uint8_t *flip, int n, int size,
                      const float scale[3], const float shift[3], void *stream);
/* x: device; stride: elements from one image, channel, row, column to the next; boxes: host, one an image. */
int mi_cuda_erase_raw(float *x, const int64_t stride[4], const struct mi_box *boxes, int n, const float fill[3],
                      void *stream);
const char *mi_cuda_error_text(int error);

/* ---- on tensors ---- */
/* out f32 [n,3,size,size] channels_last; pack u8, images of size*size*3 bytes, same GPU; (x/255 - mean)/std. */
enum mi_status mi_cuda_batch_fill(mt_tensor *out, mt_tensor *pack, const int32_t *index, const uint8_t *flip, int n,
                                  int size, const float mean[3], const float std[3]);
/* x f32 [n,3,H,W], any strides; boxes inside the image (the caller checked). */
enum mi_status mi_cuda_erase_boxes(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]);

#ifdef __cplusplus
}
#endif
#endif
