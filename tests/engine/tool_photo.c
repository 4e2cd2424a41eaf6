/* tests/engine/tool_photo.c - photos through single operations, for tests that compare with torchvision and OpenCV.
 *
 * tool_photo JOBS, a file with one of these a line:
 *   show SIZE IN OUT top left height width flip                     bytes -> floats in [0,1]
 *   jitter SIZE IN OUT brightness contrast saturation hue order     floats; order "0123" of those
 *   blur SIZE IN OUT kernel sigma                                   floats
 *   telea SIZE IN OUT radius                                        bytes and mask [SIZE,SIZE] -> bytes
 * Files are raw, [SIZE,SIZE,3]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "midre/photo.h"

static int read_all(const char *path, void *to, size_t bytes) {
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(to, 1, bytes, f) : 0;
    if (f) fclose(f);
    return n == bytes ? 0 : fprintf(stderr, "%s: %zu of %zu bytes\n", path, n, bytes);
}

static int write_all(const char *path, const void *from, size_t bytes) {
    FILE *f = fopen(path, "wb");
    size_t n = f ? fwrite(from, 1, bytes, f) : 0;
    return f && fclose(f) == 0 && n == bytes ? 0 : fprintf(stderr, "cannot write %s\n", path);
}

/* argv: the words of a line, argv[0] unused. */
static int work(int argc, char **argv) {
    if (argc < 6) return 2;
    const char *what = argv[1];
    int size = atoi(argv[2]);
    size_t n = (size_t)size * (size_t)size;
    uint8_t *bytes = calloc(n, 4);
    float *px = calloc(n * 3, sizeof *px);
    enum mi_status st = MI_OK;
    int bad = !bytes || !px;
    if (!bad && !strcmp(what, "telea")) {
        bad = read_all(argv[3], bytes, n * 4);
        if (!bad) st = mi_inpaint_telea(bytes, bytes + n * 3, size, size, atoi(argv[5]));
        if (!bad && st == MI_OK) bad = write_all(argv[4], bytes, n * 3);
    } else if (!bad && !strcmp(what, "show") && argc > 9) {
        struct mi_frame f = {(int16_t)atoi(argv[5]), (int16_t)atoi(argv[6]), (int16_t)atoi(argv[7]),
                             (int16_t)atoi(argv[8]), atoi(argv[9]) != 0};
        bad = read_all(argv[3], bytes, n * 3);
        if (!bad) mi_photo_show(px, bytes, size, &f);
        if (!bad) bad = write_all(argv[4], px, n * 3 * sizeof *px);
    } else if (!bad && !strcmp(what, "jitter") && argc > 9) {
        struct mi_jitter_draw d = {.n = (uint8_t)strlen(argv[9])};
        for (int k = 0; k < 4; k++) d.amount[k] = strtof(argv[5 + k], NULL);
        for (int k = 0; k < d.n; k++) d.order[k] = (uint8_t)(argv[9][k] - '0');
        bad = read_all(argv[3], px, n * 3 * sizeof *px);
        if (!bad) mi_photo_jitter(px, size, &d);
        if (!bad) bad = write_all(argv[4], px, n * 3 * sizeof *px);
    } else if (!bad && !strcmp(what, "blur") && argc > 6) {
        bad = read_all(argv[3], px, n * 3 * sizeof *px);
        if (!bad) st = mi_photo_blur(px, size, atoi(argv[5]), strtod(argv[6], NULL));
        if (!bad && st == MI_OK) bad = write_all(argv[4], px, n * 3 * sizeof *px);
    } else {
        bad = 2;
    }
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    free(bytes);
    free(px);
    return bad || st != MI_OK;
}

int main(int argc, char **argv) {
    FILE *jobs = argc == 2 ? fopen(argv[1], "r") : NULL;
    char line[4096];
    int bad = !jobs;
    while (!bad && fgets(line, sizeof line, jobs)) {
        char *words[16] = {NULL}, *at = line, *word;
        int n = 1;
        while (n < 15 && (word = strsep(&at, " \n")))
            if (*word) words[n++] = word;
        bad = work(n, words);
    }
    if (jobs) fclose(jobs);
    return bad != 0;
}
