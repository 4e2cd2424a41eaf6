/* main.c - `midre-engine bench`: measures works in processes of their own, beside a PyTorch script when one is given.
 *
 * Rounds go us, peer, us, peer, ... so that a drifting machine hits both alike; medians over rounds are printed, and
 * the ratio of the medians.  Every work runs in a fresh process: peak memory is its own. */
#include <getopt.h>
#include <jansson.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "midre/model.h"
#include "src/bench/bench.h"

extern char **environ;

#define MAX_ROUNDS 25

struct options {
    const char *peer, *python, *device, *precision, *one, *spec;
    int threads, rounds, batch;
    double seconds;
    bool frozen, json;
};

static const struct option long_options[] = {
    {"peer", required_argument, NULL, 'p'},    {"python", required_argument, NULL, 'y'},
    {"device", required_argument, NULL, 'd'},  {"precision", required_argument, NULL, 'c'},
    {"threads", required_argument, NULL, 't'}, {"rounds", required_argument, NULL, 'r'},
    {"seconds", required_argument, NULL, 's'}, {"batch", required_argument, NULL, 'b'},
    {"frozen", no_argument, NULL, 'f'},        {"json", no_argument, NULL, 'j'},
    {"one", required_argument, NULL, '1'},     {"help", no_argument, NULL, 'h'},
    {"spec", required_argument, NULL, 'e'},
    {NULL, 0, NULL, 0}};

static void usage(FILE *out) {
    fprintf(out, "usage: midre bench [WORK...] [options]\n\nworks:\n");
    for (size_t i = 0; bench_works[i]; i++)
        fprintf(out, "  %-15s %s (%s)\n", bench_works[i]->name, bench_works[i]->help, bench_works[i]->unit);
    for (size_t i = 0; bench_families[i].name; i++)
        fprintf(out, "  %-15s %s\n", bench_families[i].name, bench_families[i].help);
    fprintf(out, "\noptions:\n"
                 "  --peer FILE       PyTorch script doing the same works: `python FILE WORK --threads N --seconds S`\n"
                 "  --python PY       python that runs it (default python3)\n"
                 "  --frozen          let the peer freeze weights in gmi-invert\n"
                 "  --rounds N        rounds, in turn with the peer (default 3)\n"
                 "  --seconds S       seconds a round (default 10)\n"
                 "  --threads N       CPU threads of both (default: all)\n"
                 "  --device D        cpu, cuda, cuda:N (default auto)\n"
                 "  --precision P     fp32, bf16 (default: bf16 where the device is fast at it)\n"
                 "  --batch N         another batch size\n"
                 "  --spec FILE       attacks and defenses with the target, size and settings of an experiment\n"
                 "  --json            JSON lines instead of a table\n");
}

static enum mi_status parse(struct options *o, int argc, char **argv) {
    *o = (struct options){.python = "python3", .device = "auto", .precision = "auto", .rounds = 3, .seconds = 10};
    int c;
    optind = 1;
    while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) switch (c) {
        case 'p': o->peer = optarg; break;
        case 'y': o->python = optarg; break;
        case 'd': o->device = optarg; break;
        case 'c': o->precision = optarg; break;
        case 't': o->threads = atoi(optarg); break;
        case 'r': o->rounds = atoi(optarg); break;
        case 's': o->seconds = atof(optarg); break;
        case 'b': o->batch = atoi(optarg); break;
        case 'f': o->frozen = true; break;
        case 'j': o->json = true; break;
        case '1': o->one = optarg; break;
        case 'e': o->spec = optarg; break;
        default: return mi_fail(MI_E_USAGE, "bench: see midre bench --help");
        }
    if (o->rounds < 1 || o->rounds > MAX_ROUNDS || o->seconds <= 0)
        return mi_fail(MI_E_USAGE, "bench: --rounds wants 1..%d and --seconds more than 0", MAX_ROUNDS);
    return MI_OK;
}

static enum mi_status run_one(const struct options *o) {
    const struct bench_work *w = bench_find(o->one);
    struct bench_setup s = {.batch = o->batch, .work = o->one, .spec = o->spec};
    if (!w) return MI_E_USAGE;
    MI_TRY(mt_init(o->threads));
    MI_TRY(mt_device_parse(o->device, &s.device));
    MI_TRY(mt_device_use(s.device));
    bool fast = s.device.type == 1 || mt_cpu_bf16_fast();
    s.precision = strcmp(o->precision, "bf16") == 0 || (strcmp(o->precision, "auto") == 0 && fast) ? MT_BF16 : MT_F32;
    return bench_one(w, &s, o->seconds, stdout);
}

/* Starts argv, returns the last JSON line it printed; NULL with a message when it failed. */
static json_t *measured(const char *const argv[]) {
    int fd[2], status = 0;
    if (pipe(fd) != 0) return mi_fail(MI_E_INTERNAL, "bench: no pipe"), NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fd[0]);
    posix_spawn_file_actions_addclose(&actions, fd[1]);
    pid_t pid;
    int rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ); /* not written to */
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    if (rc != 0) {
        close(fd[0]);
        return mi_fail(MI_E_MISSING, "bench: cannot start %s: %s", argv[0], strerror(rc)), NULL;
    }
    FILE *in = fdopen(fd[0], "r");
    char line[4096], last[4096] = "";
    while (in && fgets(line, sizeof line, in))
        if (line[0] == '{') memcpy(last, line, sizeof last);
    if (in) fclose(in);
    waitpid(pid, &status, 0);
    json_t *result = json_loads(last, 0, NULL);
    if (!result || status != 0) {
        json_decref(result);
        return mi_fail(MI_E_INTERNAL, "bench: %s %s ended with status %d", argv[0], argv[1], status), NULL;
    }
    return result;
}

static json_t *measure_us(const struct options *o, const char *work) {
    char threads[16], seconds[32], batch[16];
    snprintf(threads, sizeof threads, "%d", o->threads);
    snprintf(seconds, sizeof seconds, "%g", o->seconds);
    snprintf(batch, sizeof batch, "%d", o->batch);
    return measured((const char *const[]){"/proc/self/exe", "bench", "--one", work, "--threads", threads, "--seconds",
                                    seconds, "--batch", batch, "--device", o->device, "--precision",
                                    o->precision, o->spec ? "--spec" : NULL, o->spec, NULL});
}

static json_t *measure_peer(const struct options *o, const char *work, bool cuda) {
    char threads[16], seconds[32], batch[16];
    snprintf(threads, sizeof threads, "%d", o->threads ? o->threads : (int)sysconf(_SC_NPROCESSORS_ONLN));
    snprintf(seconds, sizeof seconds, "%g", o->seconds);
    snprintf(batch, sizeof batch, "%d", o->batch);
    const char *argv[20] = {o->python, o->peer, work, "--threads", threads, "--seconds", seconds,
                            "--device", cuda ? "cuda" : "cpu", "--batch", batch};
    int n = 11, side = 0, people = 0, images = o->batch;
    bool train;
    char size[16], classes[16];
    const struct mi_model_desc *d = strchr(work, '/') ? bench_model_of(work, &train) : NULL;
    if (d) { /* an architecture: the peer does what we do */
        bench_model_setup(d, &side, &people, &images);
        snprintf(size, sizeof size, "%d", side);
        snprintf(classes, sizeof classes, "%d", people);
        snprintf(batch, sizeof batch, "%d", images);
        argv[n++] = "--size", argv[n++] = size, argv[n++] = "--classes", argv[n++] = classes;
    }
    if (o->frozen) argv[n++] = "--frozen";
    return measured(argv);
}

/* The peer runs as a person would run it: without the settings the engine gave itself. */
static void restore_environment(void) {
    const char *set = getenv("MIDRE_ENGINE_ENV");
    if (!set) return;
    if (strstr(set, "OMP_WAIT_POLICY")) unsetenv("OMP_WAIT_POLICY");
    if (strstr(set, "OPENBLAS_THREAD_TIMEOUT")) unsetenv("OPENBLAS_THREAD_TIMEOUT");
    unsetenv("MIDRE_ENGINE_ENV"); /* our own next round starts fresh, too */
}

static int by_value(const void *a, const void *b) {
    double d = json_real_value(json_object_get(*(json_t *const *)a, "value")) -
               json_real_value(json_object_get(*(json_t *const *)b, "value"));
    return (d > 0) - (d < 0);
}

static double value_of(json_t *r) { return json_number_value(json_object_get(r, "value")); }
static double memory_of(json_t *r) { return json_number_value(json_object_get(r, "peak_rss_mb")); }

static void print_row(const struct options *o, const struct bench_work *w, json_t *us, json_t *peer) {
    if (o->json) {
        char *a = json_dumps(us, 0), *b = peer ? json_dumps(peer, 0) : NULL;
        printf("{\"ours\": %s, \"peer\": %s, \"ratio\": %.3f}\n", a, b ? b : "null",
               peer && value_of(peer) > 0 ? value_of(us) / value_of(peer) : 0.0);
        free(a);
        free(b);
        return;
    }
    printf("%-22s %10.3f %-13s %7.0f MB", w->name, value_of(us), w->unit, memory_of(us));
    const char *none = peer ? json_string_value(json_object_get(peer, "missing")) : NULL;
    if (none) printf("   no twin (%.60s)", none);
    if (peer && !none) printf("   peer %10.3f %7.0f MB   ratio %5.2f", value_of(peer), memory_of(peer), value_of(us) / value_of(peer));
    printf("   %s, %s, %d threads\n", json_string_value(json_object_get(us, "precision")),
           json_string_value(json_object_get(us, "device")), (int)json_number_value(json_object_get(us, "threads")));
    fflush(stdout);
}

static enum mi_status compare(const struct options *o, const struct bench_work *w) {
    json_t *us[MAX_ROUNDS] = {0}, *peer[MAX_ROUNDS] = {0};
    struct bench_setup setup = {.batch = o->batch, .work = w->name, .spec = o->spec};
    enum mi_status st = w->check ? w->check(&setup) : MI_OK;
    for (int i = 0; i < o->rounds && st == MI_OK; i++) {
        us[i] = measure_us(o, w->name);
        const char *device = us[i] ? json_string_value(json_object_get(us[i], "device")) : NULL;
        bool cuda = device && strcmp(o->device, "cpu") != 0 && strstr(device, "NVIDIA");
        if (us[i] && o->peer) peer[i] = measure_peer(o, w->name, cuda);
        if (!us[i] || (o->peer && !peer[i])) st = mi_error_status();
    }
    if (st == MI_OK) {
        qsort(us, (size_t)o->rounds, sizeof *us, by_value);
        if (o->peer) qsort(peer, (size_t)o->rounds, sizeof *peer, by_value);
        print_row(o, w, us[o->rounds / 2], peer[o->rounds / 2]);
    }
    for (int i = 0; i < o->rounds; i++) {
        json_decref(us[i]);
        json_decref(peer[i]);
    }
    return st;
}

static enum mi_status by_name(const struct options *o, const char *name) {
    const struct bench_work *w = bench_find(name);
    return w ? compare(o, w) : mi_error_status();
}

/* One that cannot be measured (memory) is named and the others go on. */
static enum mi_status whole_family(const struct options *o, const struct bench_family *f) {
    char name[160];
    for (size_t at = 0; f->next(&at, name, sizeof name);) {
        if (by_name(o, name) == MI_OK) continue;
        printf("%-22s not measured: %s\n", name, mi_error_text());
        mi_error_clear();
    }
    return MI_OK;
}

static enum mi_status named(const struct options *o, int argc, char **argv) {
    char name[160];
    enum mi_status st = MI_OK;
    for (int i = optind; i < argc && st == MI_OK; i++) {
        const struct bench_family *f = bench_family_of(argv[i]);
        bool more = f && f->prefix && i + 1 < argc;
        if (!f) st = by_name(o, argv[i]);
        if (f && !more) st = whole_family(o, f);
        for (; more && i + 1 < argc && st == MI_OK; i++) {
            snprintf(name, sizeof name, "%s%s", f->prefix, argv[i + 1]);
            st = by_name(o, name);
        }
    }
    return st;
}

int bench_main(int argc, char **argv) {
    struct options o;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return usage(stdout), 0;
    enum mi_status st = parse(&o, argc, argv);
    if (!o.one) restore_environment();
    if (st == MI_OK && o.one) st = run_one(&o);
    else if (st == MI_OK && optind == argc)
        for (size_t i = 0; bench_works[i] && st == MI_OK; i++) st = compare(&o, bench_works[i]);
    else if (st == MI_OK)
        st = named(&o, argc, argv);
    if (st != MI_OK) fprintf(stderr, "midre-engine: %s\n", mi_error_text());
    return mi_exit_code(st);
}
