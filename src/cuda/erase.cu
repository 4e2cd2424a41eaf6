/* erase.cu - writes a constant colour into one box of every image of a batch, in place, touching nothing else.
 *
 * Boxes arrive as a kernel argument, CHUNK a launch, so MIDRE's random boxes cost no copy to the device.  Elements of
 * a box are visited in memory order of either layout; other strides are right too. */
#include <cuda_runtime.h>

extern "C" { /* the headers are plain C */
#include "midre/cuda_kernels.h"
#include "midre/tensor_grad.h"
}

#define CHUNK 384
#define THREADS 256
#define SPREAD 8 /* blocks sharing one image's box */

struct mi_box { int16_t top, left, height, width; }; /* as in midre/defense.h, which is not for C++ */

struct EraseArgs {
    mi_box box[CHUNK];
    int64_t stride[4]; /* image, channel, row, column */
    float fill[3];
};

/* grid (SPREAD, image of the chunk) */
__global__ void erase_kernel(float *x, const EraseArgs a) {
    mi_box b = a.box[blockIdx.y];
    float *image = x + blockIdx.y * a.stride[0];
    int area = b.height * b.width, total = 3 * area;
    bool planar = a.stride[1] != 1;
    for (int e = blockIdx.x * THREADS + threadIdx.x; e < total; e += SPREAD * THREADS) {
        int c = planar ? e / area : e % 3, pixel = planar ? e - c * area : e / 3;
        int row = pixel / b.width, col = pixel - row * b.width;
        image[c * a.stride[1] + (b.top + row) * a.stride[2] + (b.left + col) * a.stride[3]] = a.fill[c];
    }
}

extern "C" int mi_cuda_erase_raw(float *x, const int64_t stride[4], const struct mi_box *boxes, int n,
                                 const float fill[3], void *stream) {
    EraseArgs a;
    for (int k = 0; k < 4; k++) a.stride[k] = stride[k];
    for (int c = 0; c < 3; c++) a.fill[c] = fill[c];
    for (int from = 0; from < n; from += CHUNK) {
        int len = n - from < CHUNK ? n - from : CHUNK;
        for (int i = 0; i < len; i++) {
            a.box[i] = boxes[from + i];
            if (a.box[i].height <= 0 || a.box[i].width <= 0) a.box[i].height = a.box[i].width = 0;
        }
        erase_kernel<<<dim3(SPREAD, (unsigned)len), THREADS, 0, (cudaStream_t)stream>>>(x + from * stride[0], a);
        cudaError_t e = cudaGetLastError();
        if (e != cudaSuccess) return (int)e;
    }
    return 0;
}

extern "C" enum mi_status mi_cuda_erase_boxes(mt_tensor *x, const struct mi_box *boxes, int n, const float fill[3]) {
    mt_device d = mt_device_of(x);
    if (d.type != 1 || mt_ndim(x) != 4 || mt_size(x, 0) != n || mt_size(x, 1) != 3 || mt_dtype_of(x) != MT_F32)
        return mi_fail(MI_E_INTERNAL, "erasing takes a float batch [%d,3,H,W] on a GPU", n);
    int64_t stride[MT_MAXDIM];
    mt_strides(x, stride);
    if (mt_device_use(d) != MI_OK) return mi_error_status();
    int err = mi_cuda_erase_raw((float *)mt_data_device(x), stride, boxes, n, fill, mt_cuda_stream(d));
    return err ? mi_fail(MI_E_DEVICE, "erasing on the GPU: %s", mi_cuda_error_text(err)) : MI_OK;
}
