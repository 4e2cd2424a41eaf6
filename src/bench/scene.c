/* scene.c - a target, public images, a prior and a place to write, for attacks that are timed.
 *
 * The folder is under $TMPDIR; it holds what a stage's work folder would hold and goes with the scene. */
#include "src/bench/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacks/query.h"

enum { CLASSES = 1000, IDENTITIES = 60, PUBLIC_IMAGES = 256 };

static enum mi_status open_folder(struct bench_scene *s) {
    const char *tmp = getenv("TMPDIR");
    struct mi_fingerprint fp;
    memset(fp.hex, '0', sizeof fp.hex - 1);
    fp.hex[sizeof fp.hex - 1] = '\0';
    char *root = mi_format("%s/midre-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!root) return MI_E_NOMEM;
    if (!mkdtemp(root)) {
        enum mi_status st = mi_fail(MI_E_DISK, "bench: cannot make a folder %s", root);
        free(root);
        return st;
    }
    s->root = root;
    MI_TRY(mi_workspace_open(&s->ws, root));
    MI_TRY(mi_product_open(&s->ws, "attack", &fp, &s->product));
    return mi_product_begin(&s->product);
}

int64_t bench_whole(const struct mi_values *v, const char *name, int64_t otherwise) {
    return mi_values_has(v, name) ? mi_values_int(v, name) : otherwise;
}

/* People the target tells apart: as many as the experiment's data says. */
static int classes_of(const struct bench_scene *s, bool given) {
    const char *data = mi_values_text(s->spec->section[MI_SEC_DATA], "name");
    return given ? (int)bench_whole(mi_spec_entry(s->spec, MI_KIND_DATA, data), "identities", CLASSES) : CLASSES;
}

/* The first target of the experiment, or the architecture of the published comparisons. */
static enum mi_status open_target(struct bench_scene *s, const struct bench_setup *setup, int size, int classes) {
    const char *name = setup->spec ? s->spec->cells[0].model : "vgg16";
    const struct mi_values *v = mi_spec_entry(s->spec, MI_KIND_MODEL, name);
    s->target = v ? mi_model_new(name, v, classes, size, setup->device, 3) : NULL;
    if (!s->target) return mi_error_status();
    s->target->precision = setup->precision;
    s->job.oracle = mi_oracle_new(s->target, s->attack->access, s->attack->info.name);
    if (!s->job.oracle) return mi_error_status();
    mi_oracle_tally(s->job.oracle, &s->tally);
    return MI_OK;
}

/* The attack's settings, a copy of the experiment's. */
static enum mi_status open_values(struct bench_scene *s) {
    const struct mi_values *from = mi_spec_entry(s->spec, MI_KIND_ATTACK, s->attack->info.name);
    if (!from) return mi_error_status();
    if (!(s->values = mi_values_new(s->attack->info.name, s->attack->info.settings))) return MI_E_NOMEM;
    for (const struct mi_setting *t = s->attack->info.settings; t && t->name; t++)
        MI_TRY(mi_values_set(s->values, t->name, mi_values_text(from, t->name)));
    return MI_OK;
}

/* Public images of noise, at least one batch; identities 0, 1, 2, ... */
static enum mi_status open_people(struct bench_scene *s, int size, int identities, int classes) {
    size_t n = (size_t)bench_whole(s->values, "gan_batch", 0);
    if (n < PUBLIC_IMAGES) n = PUBLIC_IMAGES;
    size_t bytes = n * (size_t)size * (size_t)size * 3;
    s->pixels = mi_calloc(bytes, 1);
    s->labels = mi_calloc((size_t)identities, sizeof *s->labels);
    if (!s->pixels || !s->labels) return MI_E_NOMEM;
    struct mi_rng r = mi_rng_make(1, "bench pixels", 0, 0);
    for (size_t i = 0; i < bytes; i++) s->pixels[i] = (uint8_t)mi_rng_below(&r, 256);
    for (int i = 0; i < identities; i++) s->labels[i] = i % classes;
    s->pub = (struct mi_pack_split){.rgb = s->pixels, .n = n};
    return MI_OK;
}

static enum mi_status open_parts(struct bench_scene *s, const struct bench_setup *setup, bool alone) {
    if (!(s->spec = mi_spec_load(setup->spec, NULL, 0))) return mi_error_status();
    const struct mi_values *data = s->spec->section[MI_SEC_DATA], *attack = s->spec->section[MI_SEC_ATTACK];
    int size = setup->spec ? (int)mi_values_int(data, "size") : 0, classes = classes_of(s, setup->spec != NULL);
    if (size == 0) size = s->attack->native_size;
    int people = IDENTITIES, restarts = 1;
    if (setup->spec) {
        people = (int)mi_values_int(attack, "identities");
        people = people > 0 && people < classes ? people : classes;
        restarts = (int)mi_values_int(attack, "restarts");
    }
    if (setup->batch) people = setup->batch, restarts = 1;
    if (alone) people = restarts = 1;
    MI_TRY(open_folder(s));
    MI_TRY(open_target(s, setup, size, classes));
    MI_TRY(open_values(s));
    MI_TRY(open_people(s, size, people, classes));
    s->ctx = (struct mi_ctx){.stage = "bench",
                             .product = &s->product,
                             .device = setup->device,
                             .precision = setup->precision,
                             .seed = 1,
                             .checkpoint_every = 1e9,
                             .report_every = 1e9,
                             .tally = &s->tally};
    s->job.ctx = &s->ctx;
    s->job.values = s->values;
    s->job.pub = &s->pub;
    s->job.size = size;
    s->job.labels = s->labels;
    s->job.n_labels = people;
    s->job.restarts = restarts;
    return MI_OK;
}

enum mi_status bench_scene_open(struct bench_scene *s, const struct mi_attack_desc *attack,
                                const struct bench_setup *setup, bool alone) {
    *s = (struct bench_scene){.attack = attack, .product.lock = -1};
    enum mi_status st = open_parts(s, setup, alone);
    if (st != MI_OK) bench_scene_close(s);
    return st;
}

void bench_scene_close(struct bench_scene *s) {
    if (s->job.prior) mt_archive_close(s->job.prior);
    if (s->job.students) mt_archive_close(s->job.students);
    mi_oracle_free(s->job.oracle);
    mi_model_free(s->target);
    mi_values_free(s->values);
    mi_spec_free(s->spec);
    free(s->pixels);
    free(s->labels);
    if (s->product.dir) mi_product_close(&s->product);
    if (s->ws.root) mi_workspace_close(&s->ws);
    if (s->root && mi_remove_tree(s->root) != MI_OK) fprintf(stderr, "midre-engine: %s\n", mi_error_text());
    free(s->root);
    *s = (struct bench_scene){.product.lock = -1};
}

enum mi_status bench_scene_set(struct bench_scene *s, const struct bench_set *list) {
    for (; list->name; list++)
        if (mi_values_has(s->values, list->name)) MI_TRY(mi_values_set(s->values, list->name, list->value));
    return MI_OK;
}

/* One step of a training with its smallest batch, written and opened. */
static enum mi_status make(struct bench_scene *s, enum mi_status (*train)(struct mi_attack_job *, mt_archive *),
                           const char *file, mt_archive **opened) {
    char *path = mi_path_join(s->root, file);
    mt_archive *out = path ? mt_archive_create(path) : NULL;
    enum mi_status st = out ? MI_OK : mi_error_status();
    s->ctx.product = NULL; /* no checkpoints of it */
    if (st == MI_OK) st = train(&s->job, out);
    s->ctx.product = &s->product;
    if (out && st == MI_OK)
        st = mt_archive_close(out);
    else if (out)
        mt_archive_abort(out);
    if (st == MI_OK && !(*opened = mt_archive_open(path))) st = mi_error_status();
    free(path);
    return st;
}

enum mi_status bench_scene_ready(struct bench_scene *s) {
    static const struct bench_set brief[] = {
        {"gan_batch", "2"}, {"gan_steps", "1"}, {"student_batch", "2"}, {"student_steps", "1"}, {NULL, NULL}};
    const struct mi_attack_desc *a = s->attack;
    MI_TRY(bench_scene_set(s, brief));
    if (a->prior) MI_TRY(make(s, a->train_prior, "prior.safetensors", &s->job.prior));
    if (a->students && (!a->wants_students || a->wants_students(s->values)))
        MI_TRY(make(s, a->train_students, "students.safetensors", &s->job.students));
    return MI_OK;
}

enum mi_status bench_scene_one_class(struct bench_scene *s) {
    enum { LOOKS = 32 };
    int64_t seen[LOOKS], best = 0, most = 0;
    struct mi_query q;
    mt_scope *scope = mt_scope_begin("bench class");
    enum mi_status st = mi_query_open(&q, &s->job);
    if (st == MI_OK) {
        mt_rng *r = mt_rng_new(s->ctx.device, 7);
        mt_spec f32 = {MT_F32, s->ctx.device, MT_NCHW};
        st = mi_query_labels(&q, mt_randn(MT_SHAPE(LOOKS, q.g.z_dim), f32, r), seen);
        mt_rng_free(r);
    }
    mi_query_close(&q);
    enum mi_status end = mt_scope_end(scope);
    if (st != MI_OK || end != MI_OK) return st != MI_OK ? st : end;
    for (int i = 0; i < LOOKS; i++) {
        int64_t same = 0;
        for (int j = 0; j < LOOKS; j++) same += seen[j] == seen[i];
        if (same > most) most = same, best = seen[i];
    }
    for (int i = 0; i < s->job.n_labels; i++) s->labels[i] = (int)best;
    return MI_OK;
}
