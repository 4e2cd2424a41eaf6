/* fuzz_safetensors.c - any bytes as the header of a safetensors file whose length word is right, with 64 bytes of data.
 */
#include "tests/fuzz/mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const uint8_t data[64];
    struct forge file = {0};
    forge_uint(&file, 8, n);
    forge_add(&file, bytes, n);
    forge_add(&file, data, sizeof data);
    if (mutate_try(&file) < 0) abort();
    forge_free(&file);
    return 0;
}
