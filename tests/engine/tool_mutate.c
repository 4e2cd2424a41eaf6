/* tool_mutate.c - mutate COUNT [FILE ...]: that many broken checkpoints, made from the seeds and the files given, go
 * through the readers.  A crash ends the program, a hang the alarm; the number of the mutation is shown then.  For
 * tests/long/mutate.sh. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/fuzz/mutate.h"
#include "tests/fuzz/seeds.h"

#define CORPUS_MAX 64
#define SECONDS    20 /* one file must never take this long */

static volatile long current;

static void report(int sig) {
    char text[96];
    int n = snprintf(text, sizeof text, "mutation %ld ended by signal %d\n", current, sig);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) _exit(2);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int load(struct forge *f, const char *path) {
    char block[65536];
    FILE *in = fopen(path, "rb");
    size_t n;
    while (in && (n = fread(block, 1, sizeof block, in)) > 0) forge_add(f, block, n);
    if (in) fclose(in);
    return in && f->n;
}

int main(int argc, char **argv) {
    struct forge corpus[CORPUS_MAX] = {0};
    long count = argc > 1 ? atol(argv[1]) : 0, opened = 0;
    int n = 0, bad = 0;
    if (count < 1 || argc - 2 > CORPUS_MAX - SEEDS) return fprintf(stderr, "tool_mutate COUNT [FILE ...]\n"), 2;
    signal(SIGALRM, report);
    signal(SIGSEGV, report);
    signal(SIGBUS, report);
    for (; n < SEEDS; n++) seed(&corpus[n], n);
    for (int i = 2; i < argc; i++, n++)
        if (!load(&corpus[n], argv[i])) return fprintf(stderr, "cannot read %s\n", argv[i]), 2;
    for (int i = 0; i < n; i++)
        if (mutate_try(&corpus[i]) != 1) bad++, fprintf(stderr, "corpus file %d does not open unchanged\n", i);
    for (current = 0; current < count; current++) {
        struct mi_rng r = mi_rng_make(1, "mutate", (uint64_t)current, 0);
        const struct forge *from = &corpus[mutate_below(&r, (size_t)n)], *other = &corpus[mutate_below(&r, (size_t)n)];
        struct forge f = {0};
        forge_add(&f, from->b, from->n);
        for (size_t k = 1 + mutate_below(&r, 6); k > 0; k--) mutate_once(&f, other, &r);
        alarm(SECONDS);
        int got = mutate_try(&f);
        alarm(0);
        opened += got == 1;
        if (got < 0) bad++, fprintf(stderr, "mutation %ld: the refusal does not name the file\n", current);
        forge_free(&f);
    }
    printf("%ld mutations of %d files: %ld opened, %ld refused, %d wrong\n", count, n, opened, count - opened - bad,
           bad);
    for (int i = 0; i < n; i++) forge_free(&corpus[i]);
    return bad != 0;
}
