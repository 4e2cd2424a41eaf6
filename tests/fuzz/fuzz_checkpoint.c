/* fuzz_checkpoint.c - any bytes as a checkpoint: zip, legacy or safetensors, as the first bytes say. */
#include "tests/fuzz/mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    const struct forge f = {.b = (uint8_t *)(uintptr_t)bytes, .n = n};
    if (mutate_try(&f) < 0) abort(); /* a refusal that does not name its file */
    return 0;
}
