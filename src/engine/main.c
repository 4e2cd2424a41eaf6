/* src/engine/main.c - midre-engine: the program that computes.  People use `midre`, which starts this one.
 *
 * Before anything else two process-wide things are put right.  OpenMP reads its wait policy when its library is loaded,
 * so it is set and the program starts itself again: threads that spin for a partner which is not scheduled make a
 * shared machine ten times slower.  And the allocator keeps big blocks instead of returning them to the kernel after
 * every step; between stages the memory is given back (mt_mem_release). */
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "src/bench/bench.h"

/* The bench reads its options like a program of its own: its name is the word before them. */
static int bench_command(int argc, char **argv) {
    return bench_main(argc + 1, argv - 1);
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv); /* gets what follows the name */
    const char *help;
} commands[] = {
    {"run", run_command, "RUN_DIR [--until STAGE]   compute a run (WORKSPACE/runs/NNNN)"},
    {"catalogue", catalogue_command,
     "          print the tables of models, defenses, attacks, datasets and metrics as C"},
    {"convert", convert_command, "IN OUT [--half] [--strip PREFIX]   a checkpoint into another format"},
    {"bench", bench_command, "          time real training steps and attacks on this machine"},
    {"preview", preview_command, "SPEC.ini --out FILE.png   draw training photos under a defense"},
    {"recognise", recognise_command, "FILE [--arch A] [--size PX]   what network a file of weights is of, as JSON"},
    {"describe", describe_command, "MODEL [--size PX] [--classes N] [key=value ...]   parameters, MACs and memory"},
    {"doctor", doctor_command, "          versions, devices, threads"},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int usage(void) {
    fprintf(stderr, "usage: midre-engine COMMAND\n");
    for (size_t i = 0; i < N_COMMANDS; i++) fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
    return mi_exit_code(MI_E_USAGE);
}

/* How idle threads wait is read by OpenMP and OpenBLAS before main, so a change needs a second start.  Threads that
 * spin for work take the cores from those that have some; measured on two cores, a quarter of an attack went to it.
 * What was set is named in MIDRE_ENGINE_ENV: the benchmark takes it away again from its peer. */
static bool settle_threads(void) {
    bool omp = !getenv("OMP_WAIT_POLICY"), blas = !getenv("OPENBLAS_THREAD_TIMEOUT");
    if (omp && setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return false;
    if (blas && setenv("OPENBLAS_THREAD_TIMEOUT", "4", 1) != 0) return false;
    if (!omp && !blas) return false;
    const char *set = omp && blas ? "OMP_WAIT_POLICY OPENBLAS_THREAD_TIMEOUT"
                      : omp       ? "OMP_WAIT_POLICY"
                                  : "OPENBLAS_THREAD_TIMEOUT";
    return setenv("MIDRE_ENGINE_ENV", set, 1) == 0;
}

int main(int argc, char **argv) {
    if (settle_threads()) {
        execv("/proc/self/exe", argv);
        perror("midre-engine: starting again with quiet threads"); /* slower, not wrong: go on */
    }
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    signal(SIGPIPE, SIG_IGN); /* a client of the control socket that went away */
    for (size_t i = 0; argc > 1 && i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    return usage();
}
