/* fuzz_legacy.c - any bytes behind the magic number of torch.save's older format. */
#include "tests/fuzz/mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct forge file = {0};
    forge_add(&file, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    forge_add(&file, bytes, n);
    if (mutate_try(&file) < 0) abort();
    forge_free(&file);
    return 0;
}
