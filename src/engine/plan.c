/* src/engine/plan.c - from a spec to the list of stages, each distinct product once, in the order they run.
 *
 * Cells are walked in order and ask for what they need: images, target, prior, students, attack, judge, score.  A stage
 * whose fingerprint is already in the list is shared, so ten cells train one judge, and two attacks with the same prior
 * train one GAN.  The order is that of first need: the first row of the table is complete as early as it can be.
 *
 * A fingerprint covers the stage's settings, its inputs' fingerprints, the seed, the arithmetic and the kind of device;
 * it leaves out threads, reporting and paths (files count by content).  Before the images are packed their part of it
 * is made from the settings; that is enough to tell stages apart, and is replaced by the exact one at run time. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define FORMAT 1 /* grows when products of equal settings change */

static const struct stage_ops *const ops[ST_KINDS] = {
    [ST_DATA] = &stage_data_ops,   [ST_PRETRAIN] = &stage_pretrain_ops, [ST_TARGET] = &stage_target_ops,
    [ST_PRIOR] = &stage_prior_ops, [ST_STUDENTS] = &stage_students_ops, [ST_JUDGE] = &stage_judge_ops,
    [ST_ATTACK] = &stage_attack_ops, [ST_SCORE] = &stage_score_ops,
};
const struct stage_ops *stage_ops_of(enum stage_kind kind) {
    return ops[kind];
}

static bool skipped(const char *name, const char *const *skip) {
    for (; skip && *skip; skip++)
        if (strcmp(*skip, name) == 0) return true;
    return false;
}

enum mi_status plan_hash_settings(struct mi_hasher *h, const struct mi_values *v, const char *const *skip) {
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++) {
        if (s->cosmetic || skipped(s->name, skip)) continue;
        const char *text = mi_values_text(v, s->name);
        if (s->later && strcmp(text, s->def) == 0) continue;
        char sha[65];
        if (s->type == MI_PATH && *text) {
            if (mi_file_sha256(text, sha) != MI_OK) return mi_fail_context("[%s] %s", mi_values_section(v), s->name);
            text = sha;
        }
        mi_hasher_text(h, s->name, text);
    }
    return MI_OK;
}

static void hash_input(struct mi_hasher *h, const char *role, const struct stage *in) {
    if (in) mi_hasher_input(h, role, &in->fp);
}

enum mi_status plan_fingerprint(const struct engine *e, struct stage *s) {
    struct mi_hasher *h = mi_hasher_new(ops[s->kind]->word);
    if (!h) return mi_error_status();
    mi_hasher_int(h, "format", FORMAT);
    mi_hasher_int(h, "size", s->size);
    if (s->kind != ST_DATA) {
        mi_hasher_int(h, "seed", (int64_t)e->seed);
        mi_hasher_text(h, "precision", e->precision == MT_BF16 ? "bf16" : "fp32");
        mi_hasher_text(h, "device", e->device.type == 0 ? "cpu" : "cuda");
        mi_hasher_text(h, "deterministic", mi_values_text(e->spec->section[MI_SEC_RUN], "deterministic"));
    }
    enum mi_status st = ops[s->kind]->identity(e, s, h);
    hash_input(h, "data", s->data);
    hash_input(h, "public", s->pub);
    hash_input(h, "start", s->start);
    hash_input(h, "target", s->target);
    hash_input(h, "prior", s->prior);
    hash_input(h, "students", s->students);
    hash_input(h, "judge", s->judge);
    hash_input(h, "attack", s->attack);
    struct mi_fingerprint fp = mi_hasher_done(h);
    if (st == MI_OK) s->fp = fp;
    return st;
}

static void stage_free(struct stage *s) {
    if (!s) return;
    if (s->kind == ST_DATA && s->done) mi_dataset_close(&s->images);
    free(s->id);
    free(s->title);
    free(s->cells);
    free(s);
}

void plan_free(struct engine *e) {
    for (size_t i = 0; i < e->n_stages; i++) stage_free(e->stages[i]);
    free(e->stages);
    e->stages = NULL;
    e->n_stages = 0;
}

static enum mi_status serve(struct stage *s, size_t cell) {
    for (size_t i = 0; i < s->n_cells; i++)
        if (s->cells[i] == cell) return MI_OK;
    size_t *grown = realloc(s->cells, (s->n_cells + 1) * sizeof(*grown));
    if (!grown) return mi_fail(MI_E_NOMEM, "no memory for the plan");
    s->cells = grown;
    s->cells[s->n_cells++] = cell;
    return MI_OK;
}

static bool id_taken(const struct engine *e, const char *id) {
    for (size_t i = 0; i < e->n_stages; i++)
        if (strcmp(e->stages[i]->id, id) == 0) return true;
    return false;
}

/* Adds the stage, or finds the one that makes the same product; NULL on failure.  Takes `draft`'s texts. */
static struct stage *need(struct engine *e, struct stage draft, size_t cell) {
    struct stage *s = mi_calloc(1, sizeof(*s));
    if (!s || !draft.id || !draft.title) goto fail;
    if (plan_fingerprint(e, &draft) != MI_OK) goto fail;
    for (size_t i = 0; i < e->n_stages; i++) {
        struct stage *have = e->stages[i];
        if (have->kind != draft.kind || strcmp(have->fp.hex, draft.fp.hex) != 0) continue;
        free(s);
        free(draft.id);
        free(draft.title);
        return serve(have, cell) == MI_OK ? have : NULL;
    }
    for (int k = 2; id_taken(e, draft.id); k++) { /* same words, other product: number it */
        char *base = draft.id;
        base[strcspn(base, "~")] = '\0';
        draft.id = mi_format("%s~%d", base, k);
        free(base);
        if (!draft.id) goto fail;
    }
    struct stage **grown = realloc(e->stages, (e->n_stages + 1) * sizeof(struct stage *));
    if (!grown) goto fail;
    e->stages = grown;
    *s = draft;
    e->stages[e->n_stages++] = s;
    return serve(s, cell) == MI_OK ? s : NULL;
fail:
    free(s);
    free(draft.id);
    free(draft.title);
    if (mi_error_status() == MI_OK) mi_fail(MI_E_NOMEM, "no memory for the plan");
    return NULL;
}

static struct stage *need_data(struct engine *e, const char *name, int size, enum mi_data_part part, size_t cell) {
    static const struct { const char *id, *title; } words[] = {[MI_DATA_PRIVATE] = {"private", "Private images"},
                                                               [MI_DATA_PUBLIC] = {"public", "Public images"},
                                                               [MI_DATA_PEOPLE] = {"people", "Public people"}};
    struct stage d = {.kind = ST_DATA, .dataset = name, .size = size, .part = part};
    const struct mi_data_desc *desc = mi_data_find(name);
    if (!desc) return NULL;
    e->synthetic = e->synthetic || desc->synthetic;
    d.id = mi_format("%s.%s.%d", words[part].id, name, size);
    d.title = mi_format("%s %s, %d px", words[part].title, name, size);
    return need(e, d, cell);
}

/* A model that cannot work at the size is refused before anything runs. */
static enum mi_status check_size(const char *model, int size, const char *setting) {
    const struct mi_model_desc *d = mi_model_find(model);
    if (!d) return mi_error_status();
    if (size >= d->min_size && size <= d->max_size && (d->size_step <= 1 || size % d->size_step == 0)) return MI_OK;
    return mi_fail(MI_E_INPUT, "%s = %d: %s works at %d to %d px in steps of %d", setting, size, model, d->min_size,
                   d->max_size, d->size_step > 0 ? d->size_step : 1);
}

/* Side of the images an attack makes: [attack] size, else the target's; 0 and a failure where its prior cannot. */
static int attack_size(const struct engine *e, const struct mi_attack_desc *a, int target) {
    int own = (int)mi_values_int(e->spec->section[MI_SEC_ATTACK], "size"), size = own > 0 ? own : target;
    char list[128] = "";
    for (const int *s = a->sizes; s && *s; s++) {
        if (*s == size) return size;
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%d", n ? ", " : "", *s);
    }
    if (!a->sizes) return size;
    mi_fail(MI_E_INPUT, "%s = %d: %s makes images of %s px; set attack.size to one of them, and a target of another "
                        "size is shown them resized", own > 0 ? "attack.size" : "data.size", size, a->info.name, list);
    return 0;
}

/* The dataset whose public part is public. */
static const char *public_of(const struct engine *e) {
    const struct mi_values *data = e->spec->section[MI_SEC_DATA];
    const char *name = mi_values_text(data, "public");
    return *name ? name : mi_values_text(data, "name");
}

/* Gives a target or judge its start weights, where the section says pretrained = yes: one network per architecture and
 * size, without a defense, that has learnt the public people. */
static enum mi_status need_start(struct engine *e, struct stage *s, const struct mi_values *section, size_t cell) {
    if (!mi_values_bool(section, "pretrained")) return MI_OK;
    struct stage p = {.kind = ST_PRETRAIN, .model = s->model, .defense = "none", .size = s->size};
    if (!(p.data = need_data(e, public_of(e), s->size, MI_DATA_PEOPLE, cell))) return mi_error_status();
    p.id = mi_format("pretrain.%s.%d", s->model, s->size);
    p.title = mi_format("Start weights %s, %d px", s->model, s->size);
    s->start = need(e, p, cell);
    return s->start ? MI_OK : mi_error_status();
}

static struct stage *need_prior(struct engine *e, const struct stage *attack, size_t cell) {
    const struct mi_attack_desc *a = attack->desc;
    struct stage p = {.kind = ST_PRIOR, .pub = attack->pub, .size = attack->size, .desc = a};
    if (a->prior_uses_target) {
        p.target = attack->target;
        p.id = mi_format("prior.%s.%s.%s", a->prior, p.target->model, p.target->defense);
        p.title = mi_format("Prior %s for %s, %s", a->prior, p.target->model, e->spec->cells[cell].label);
    } else {
        p.id = mi_format("prior.%s", a->prior);
        p.title = mi_format("Prior %s", a->prior);
    }
    return need(e, p, cell);
}

/* Shared by the attacks on one target that distil in the same way. */
static struct stage *need_students(struct engine *e, const struct stage *attack, size_t cell) {
    const struct stage *t = attack->target;
    struct stage d = {.kind = ST_STUDENTS, .pub = attack->pub, .size = attack->size};
    d.desc = attack->desc;
    d.target = attack->target;
    d.id = mi_format("students.%s.%s.%s", d.desc->students, t->model, t->defense);
    d.title = mi_format("Students of %s, %s", t->model, e->spec->cells[cell].label);
    return need(e, d, cell);
}

static bool wants_students(const struct engine *e, const struct mi_attack_desc *a) {
    if (!a->students) return false;
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_ATTACK, a->info.name);
    return !a->wants_students || (v && a->wants_students(v));
}

static struct stage *need_judge(struct engine *e, size_t cell) {
    const struct mi_values *v = e->spec->section[MI_SEC_JUDGE];
    const struct mi_model_desc *m = mi_model_find(mi_values_text(v, "model"));
    if (!m) return NULL;
    int size = (int)mi_values_int(v, "size");
    if (size == 0) size = m->native_size;
    if (check_size(m->info.name, size, "judge.size") != MI_OK) return NULL;
    struct stage j = {.kind = ST_JUDGE, .model = m->info.name, .defense = "none", .size = size};
    j.data = need_data(e, mi_values_text(e->spec->section[MI_SEC_DATA], "name"), size, MI_DATA_PRIVATE, cell);
    if (!j.data || need_start(e, &j, v, cell) != MI_OK) return NULL;
    j.id = mi_format("judge.%s.%d", j.model, size);
    j.title = mi_format("Judge %s, %d px", j.model, size);
    return need(e, j, cell);
}

/* All stages of one cell. */
static enum mi_status plan_cell(struct engine *e, size_t i) {
    const struct mi_cell *c = &e->spec->cells[i];
    const struct mi_values *data = e->spec->section[MI_SEC_DATA];
    int size = (int)mi_values_int(data, "size"), made = 0;
    const struct mi_attack_desc *attack = mi_attack_find(c->attack);
    if (!attack || (made = attack_size(e, attack, size)) == 0) return mi_error_status();
    MI_TRY(check_size(c->model, size, "data.size"));
    struct stage t = {.kind = ST_TARGET, .model = c->model, .defense = c->defense, .size = size};
    if (!(t.data = need_data(e, mi_values_text(data, "name"), size, MI_DATA_PRIVATE, i))) return mi_error_status();
    MI_TRY(need_start(e, &t, e->spec->section[MI_SEC_TARGET], i));
    t.id = mi_format("target.%s.%s", c->model, c->defense);
    t.title = mi_format("Target %s, %s", c->model, c->label);
    struct stage a = {
        .kind = ST_ATTACK, .model = c->model, .defense = c->defense, .size = made, .desc = attack, .data = t.data};
    a.target = need(e, t, i);
    if (!a.target) return mi_error_status();
    if (!(a.pub = need_data(e, public_of(e), made, MI_DATA_PUBLIC, i))) return mi_error_status();
    if (attack->prior && !(a.prior = need_prior(e, &a, i))) return mi_error_status();
    if (wants_students(e, attack) && !(a.students = need_students(e, &a, i))) return mi_error_status();
    a.id = mi_format("attack.%s.%s.%s", c->model, c->defense, c->attack);
    a.title = mi_format("Attack %s on %s, %s", c->attack, c->model, c->label);
    struct stage s = {.kind = ST_SCORE,
                      .model = c->model,
                      .defense = c->defense,
                      .size = size,
                      .desc = attack,
                      .data = t.data,
                      .target = a.target};
    if (!(s.attack = need(e, a, i)) || !(s.judge = need_judge(e, i))) return mi_error_status();
    s.id = mi_format("score.%s.%s.%s", c->model, c->defense, c->attack);
    s.title = mi_format("Score %s on %s, %s", c->attack, c->model, c->label);
    return need(e, s, i) ? MI_OK : mi_error_status();
}

static void want(struct stage *s) {
    if (!s || s->wanted) return;
    s->wanted = true;
    want(s->data);
    want(s->pub);
    want(s->start);
    want(s->target);
    want(s->prior);
    want(s->students);
    want(s->judge);
    want(s->attack);
}

/* Marks the stages of kind `until` (NULL = every stage) and what they need. */
static enum mi_status mark_wanted(struct engine *e, const char *until) {
    bool known = !until;
    for (int k = 0; k < ST_KINDS; k++) known = known || strcmp(ops[k]->word, until) == 0;
    if (!known)
        return mi_fail(MI_E_USAGE,
                       "--until %s: must be data, pretrain, target, judge, prior, students, attack or score", until);
    for (size_t i = 0; i < e->n_stages; i++)
        if (!until || strcmp(ops[e->stages[i]->kind]->word, until) == 0) want(e->stages[i]);
    return MI_OK;
}

enum mi_status plan_make(struct engine *e, const char *until) {
    const struct mi_values *target = e->spec->section[MI_SEC_TARGET];
    size_t targets = 0;
    for (size_t i = 0; i < e->spec->n_cells; i++) MI_TRY(plan_cell(e, i));
    for (size_t i = 0; i < e->n_stages; i++) targets += e->stages[i]->kind == ST_TARGET;
    if (targets > 1 && *mi_values_text(target, "checkpoint"))
        return mi_fail(MI_E_INPUT,
                       "[target] checkpoint is one finished network, but this run has %zu targets: name one "
                       "model and one defense",
                       targets);
    return mark_wanted(e, until);
}
