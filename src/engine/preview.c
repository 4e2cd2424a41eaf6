/* src/engine/preview.c - `midre-engine preview SPEC.ini`: training photos under a defense as one picture.
 *
 * `midre preview` and the Setup screen start it with a resolved spec and then draw the file.  The images come from the
 * same pack as a run's, the network is built as for training (defenses may refuse it), no device is used.  Rows are the
 * first photos of the first people; what the defense's settings come to is said on standard output. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

struct request {
    const char *spec, *out, *workspace, *defense;
    long rows, cols;
};

static enum mi_status read_count(const char *name, const char *text, long lo, long hi, long *out) {
    char *end;
    *out = strtol(text, &end, 10);
    if (*text && !*end && *out >= lo && *out <= hi) return MI_OK;
    return mi_fail(MI_E_USAGE, "preview: %s must be a whole number in %ld..%ld, not \"%s\"", name, lo, hi, text);
}

static enum mi_status read_request(int argc, char **argv, struct request *q) {
    *q = (struct request){.rows = 6, .cols = 8};
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (word[0] != '-') {
            q->spec = word;
            continue;
        }
        if (!value) return mi_fail(MI_E_USAGE, "preview: %s needs a value", word);
        i++;
        if (strcmp(word, "--out") == 0)
            q->out = value;
        else if (strcmp(word, "--workspace") == 0)
            q->workspace = value;
        else if (strcmp(word, "--defense") == 0)
            q->defense = value;
        else if (strcmp(word, "--rows") == 0)
            MI_TRY(read_count(word, value, 1, 256, &q->rows));
        else if (strcmp(word, "--cols") == 0)
            MI_TRY(read_count(word, value, 2, 64, &q->cols));
        else
            return mi_fail(MI_E_USAGE, "preview: unknown option %s", word);
    }
    if (q->spec && q->out) return MI_OK;
    return mi_fail(MI_E_USAGE, "usage: midre-engine preview SPEC.ini --out FILE.png [--workspace DIR] [--defense NAME] "
                               "[--rows N] [--cols N]");
}

/* A half made pack may be many gigabytes: whoever stops the preview lets the packer take it back first. */
static volatile sig_atomic_t stop;

static void on_stop(int number) {
    stop = number;
}

static bool progress(size_t done, size_t total, void *user) {
    (void)user;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rpacking images: %zu of %zu%s", done, total, done == total ? "\n" : "");
    return stop == 0;
}

static enum mi_status open_data(struct mi_dataset *d, const struct mi_workspace *ws, const char *name,
                                const struct mi_values *dv, uint64_t seed, int size) {
    struct sigaction act = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, term, interrupt;
    sigaction(SIGTERM, &act, &term);
    sigaction(SIGINT, &act, &interrupt);
    enum mi_status st = mi_dataset_open(d, ws, name, dv, seed, size, MI_DATA_PRIVATE, progress, NULL);
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &interrupt, NULL);
    if (stop) raise(stop); /* ends this process as it would have at once */
    return st;
}

/* The first photo of each person, then the second, ...; returns how many there are, at most `rows`. */
static int choose_photos(const struct mi_dataset *d, int rows, int32_t *index) {
    const struct mi_pack_split *train = &d->split[MI_TRAIN];
    int *seen = mi_calloc((size_t)d->classes, sizeof *seen), n = 0;
    for (int round = 0; seen && n < rows && (size_t)round < train->n; round++) {
        int before = n;
        memset(seen, 0, (size_t)d->classes * sizeof *seen);
        for (size_t i = 0; i < train->n && n < rows; i++)
            if (seen[train->labels[i]]++ == round) index[n++] = (int32_t)i;
        if (n == before) break;
    }
    free(seen);
    return n;
}

static enum mi_status draw(const struct request *q, const struct mi_dataset *d, struct mi_model *m,
                           const struct mi_train_recipe *r, struct mi_defenses *ds, uint64_t seed) {
    int32_t *index = mi_calloc((size_t)q->rows, sizeof *index);
    if (!index) return MI_E_NOMEM;
    int rows = choose_photos(d, (int)q->rows, index);
    struct mi_image sheet = {0};
    enum mi_status st = rows > 0 ? mi_preview(m, d, r, ds, seed, index, rows, (int)q->cols, &sheet)
                                 : mi_fail(MI_E_MISSING, "%s has no training photos", d->desc->info.name);
    if (st == MI_OK) st = mi_image_write_png(q->out, &sheet);
    if (st == MI_OK) {
        char text[600];
        mi_defenses_note(ds, d->size, text, sizeof text);
        if (*text) printf("%s\n", text);
        printf("left: the stored photo; then %ld epochs of training\n", q->cols - 1);
    }
    mi_image_free(&sheet);
    free(index);
    return st;
}

static enum mi_status preview(const struct request *q, const struct mi_workspace *ws, const struct mi_spec *spec) {
    const struct mi_values *data = spec->section[MI_SEC_DATA], *run = spec->section[MI_SEC_RUN];
    const char *name = mi_values_text(data, "name"), *model = spec->cells[0].model;
    const char *defense = q->defense ? q->defense : spec->cells[spec->n_cells - 1].defense;
    uint64_t seed = (uint64_t)mi_values_int(run, "seed");
    const struct mi_values *dv = mi_spec_entry(spec, MI_KIND_DATA, name),
                           *mv = mi_spec_entry(spec, MI_KIND_MODEL, model);
    struct mi_train_recipe r;
    struct mi_defenses ds;
    struct mi_dataset d = {0};
    if (!dv || !mv) return mi_error_status();
    MI_TRY(mi_train_recipe_read(spec->section[MI_SEC_TARGET], &r));
    MI_TRY(mi_defenses_open(&ds, defense, spec));
    struct mi_model *m = NULL;
    enum mi_status st = open_data(&d, ws, name, dv, seed, (int)mi_values_int(data, "size"));
    if (st == MI_OK && !(m = mi_model_new(model, mv, d.classes, d.size, MT_CPU, seed))) st = mi_error_status();
    if (st == MI_OK) st = mi_defenses_prepare(&ds, m);
    if (st == MI_OK) printf("%s, %s: %s at %d px\n", defense, model, name, d.size);
    if (st == MI_OK) st = draw(q, &d, m, &r, &ds, seed);
    mi_model_free(m);
    mi_defenses_close(&ds);
    mi_dataset_close(&d);
    return st;
}

int preview_command(int argc, char **argv) {
    struct request q;
    struct mi_workspace ws = {0};
    struct mi_spec *spec = NULL;
    enum mi_status st = read_request(argc, argv, &q);
    if (st == MI_OK) st = mt_init(0);
    if (st == MI_OK) st = mi_workspace_open(&ws, q.workspace);
    if (st == MI_OK && !(spec = mi_spec_load(q.spec, NULL, 0))) st = mi_error_status();
    if (st == MI_OK) st = preview(&q, &ws, spec);
    if (st != MI_OK) fprintf(stderr, "midre-engine: %s\n", mi_error_text());
    mi_spec_free(spec);
    mi_workspace_close(&ws);
    if (fflush(stdout) != 0 && st == MI_OK) st = MI_E_DISK;
    return mi_exit_code(st);
}
