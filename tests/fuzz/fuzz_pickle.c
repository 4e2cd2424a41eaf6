/* fuzz_pickle.c - any bytes as the pickle of an otherwise right zip file, so that mutations reach the machine. */
#include "tests/fuzz/mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct forge pickle = {0}, file = {0};
    forge_add(&pickle, bytes, n);
    forge_zip(&file, &pickle, 0);
    if (mutate_try(&file) < 0) abort();
    forge_free(&pickle);
    forge_free(&file);
    return 0;
}
