/* fuzz_ini.c - any text as a settings file. */
#include <stdlib.h>
#include <string.h>

#include "src/run/ini.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);
int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n) {
    struct mi_ini ini = {0};
    char *text = strndup((const char *)bytes, n);
    if (!text) abort();
    enum mi_status st = mi_ini_parse(text, "fuzz", &ini);
    if (st != MI_OK && st != mi_error_status()) abort();
    mi_ini_free(&ini);
    mi_error_clear();
    free(text);
    return 0;
}
