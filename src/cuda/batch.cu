/* batch.cu - a training batch from packed bytes in one pass: gather, mirror, byte to normalised float.
 *
 * Output elements are numbered as they lie in memory (channels_last), so a warp writes 128 consecutive bytes and
 * reads 32 consecutive bytes.  Which image goes where arrives as a kernel argument, CHUNK images a launch: 4 KB of
 * arguments are the limit, and a launch costs less than a copy to the device would. */
#include <cuda_runtime.h>

extern "C" { /* the headers are plain C */
#include "midre/cuda_kernels.h"
#include "midre/tensor_grad.h"
}

#define CHUNK 512
#define THREADS 256

struct BatchArgs {
    int32_t index[CHUNK]; /* image number; negative: -1-number, mirrored */
    float scale[3], shift[3];
};

/* grid (blocks over an image, image of the chunk) */
__global__ void batch_kernel(float *out, const uint8_t *rgb, const BatchArgs a, int size) {
    int image = a.index[blockIdx.y], mirrored = image < 0;
    int64_t elems = (int64_t)size * size * 3;
    const uint8_t *in = rgb + (int64_t)(mirrored ? -1 - image : image) * elems;
    float *to = out + (int64_t)blockIdx.y * elems;
    for (int64_t e = (int64_t)blockIdx.x * THREADS + threadIdx.x; e < elems; e += (int64_t)gridDim.x * THREADS) {
        int64_t pixel = e / 3;
        int c = (int)(e - pixel * 3);
        if (mirrored) {
            int64_t row = pixel / size;
            pixel = row * size + (size - 1 - (pixel - row * size));
        }
        to[e] = fmaf((float)in[pixel * 3 + c], a.scale[c], a.shift[c]);
    }
}

extern "C" const char *mi_cuda_error_text(int error) { return cudaGetErrorString((cudaError_t)error); }

extern "C" int mi_cuda_batch_raw(float *out, const uint8_t *rgb, const int32_t *index, const uint8_t *flip, int n,
                                 int size, const float scale[3], const float shift[3], void *stream) {
    BatchArgs a;
    int64_t elems = (int64_t)size * size * 3, blocks = (elems + THREADS - 1) / THREADS;
    for (int c = 0; c < 3; c++) a.scale[c] = scale[c], a.shift[c] = shift[c];
    for (int from = 0; from < n; from += CHUNK) {
        int len = n - from < CHUNK ? n - from : CHUNK;
        for (int i = 0; i < len; i++) {
            int32_t k = index[from + i];
            a.index[i] = flip && flip[from + i] ? -1 - k : k;
        }
        dim3 grid((unsigned)(blocks < 64 ? blocks : 64), (unsigned)len);
        batch_kernel<<<grid, THREADS, 0, (cudaStream_t)stream>>>(out + from * elems, rgb, a, size);
        cudaError_t e = cudaGetLastError();
        if (e != cudaSuccess) return (int)e;
    }
    return 0;
}

extern "C" enum mi_status mi_cuda_batch_fill(mt_tensor *out, mt_tensor *pack, const int32_t *index,
                                             const uint8_t *flip, int n, int size, const float mean[3],
                                             const float std[3]) {
    int64_t elems = (int64_t)size * size * 3, images = elems > 0 ? mt_numel(pack) / elems : 0;
    mt_device d = mt_device_of(out), e = mt_device_of(pack);
    if (d.type != 1 || e.type != 1 || d.index != e.index || mt_dtype_of(out) != MT_F32 || mt_dtype_of(pack) != MT_U8 ||
        mt_ndim(out) != 4 || mt_numel(out) != n * elems || mt_layout(out) != MT_NHWC)
        return mi_fail(MI_E_INTERNAL, "filling a batch takes float [%d,3,%d,%d] channels_last and bytes on one GPU", n,
                       size, size);
    for (int i = 0; i < n; i++)
        if (index[i] < 0 || index[i] >= images)
            return mi_fail(MI_E_INTERNAL, "image %d of the batch is number %d of %lld", i, (int)index[i],
                           (long long)images);
    float scale[3], shift[3];
    for (int c = 0; c < 3; c++) {
        scale[c] = (float)(1.0 / (255.0 * (double)std[c]));
        shift[c] = (float)(-(double)mean[c] / (double)std[c]);
    }
    if (mt_device_use(d) != MI_OK) return mi_error_status();
    int err = mi_cuda_batch_raw((float *)mt_data_device(out), (const uint8_t *)mt_data_device(pack), index, flip, n,
                                size, scale, shift, mt_cuda_stream(d));
    return err ? mi_fail(MI_E_DEVICE, "filling a batch on the GPU: %s", mi_cuda_error_text(err)) : MI_OK;
}
