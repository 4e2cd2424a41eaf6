/* src/engine/budget.c - a run that may take [run] minutes: epochs and iterations are cut down to what fits.
 *
 * Before a stage that trains or inverts, the product of its full settings is looked for in the cache; what is there is
 * used as it is.  Otherwise the work is begun on the side for a few timed steps (a trial: own networks, no checkpoint,
 * thrown away) and the number of epochs or steps is set so that the stage takes its share of the time left.  Which
 * setting that is follows from its unit: the first whole number in "steps", else in "epochs", above zero; those that a
 * prior depends on belong to the prior, the others to the attack.  Where not even one epoch fits, X_steps, which was
 * zero and left the length to X_epochs, takes over.
 *
 * What an earlier quick run made within about the same time for the same full settings and inputs is used again; the
 * workspace keeps a note of it in cache/quick/ under the fingerprint of the full settings.
 *
 * Targets of one run get the same number, so that they can be compared; start weights one each, for a target's and a
 * judge's are other networks: their decisions carry the stage's name.
 *
 * A decision is written to runs/NNNN/shortened.json before it is used, so a killed and resumed run makes the same
 * products.  Everything made shorter is named in the journal and in the note of the row. */
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "loop_priv.h"

#define STEPS  10   /* timed in a trial: a GAN's generator steps are among them */
#define SAFETY 0.85 /* of a share: tests, pictures and checkpoints take time, too */
#define TRIAL  0.3  /* of a share: a trial that has taken as much ends, however few its steps */

struct effort {
    char section[64]; /* "judge", "attack.NAME" */
    char of[64];      /* stage the decision is for alone, empty: for all with the section */
    const struct mi_setting *setting, *finer; /* finer: one in steps that may stand in for epochs; or NULL */
    const struct mi_values *values;           /* of the run's spec */
    int64_t value, now;                       /* the whole length; what the setting says before it is made smaller */
};

bool budget_quick(const struct engine *e) {
    return mi_values_real(e->spec->section[MI_SEC_RUN], "minutes") > 0;
}

static bool in(const char *name, const char *const *list) {
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

/* The first whole number in `unit` above zero among the settings that do (or do not) belong to the prior. */
static const struct mi_setting *counted(const struct mi_values *v, const char *const *prior, bool of_prior,
                                        const char *unit) {
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++)
        if (s->type == MI_INT && s->unit && strcmp(s->unit, unit) == 0 && in(s->name, prior) == of_prior &&
            mi_values_int(v, s->name) > 0)
            return s;
    return NULL;
}

/* The setting that counts in steps what this one counts in epochs and is zero for it: gan_steps of gan_epochs. */
static const struct mi_setting *steps_for(const struct mi_values *v, const struct mi_setting *epochs) {
    size_t stem = strlen(epochs->name) - strlen("epochs");
    if (strlen(epochs->name) < strlen("epochs") || strcmp(epochs->name + stem, "epochs") != 0) return NULL;
    for (const struct mi_setting *s = mi_values_settings(v); s && s->name; s++)
        if (s->type == MI_INT && strncmp(s->name, epochs->name, stem) == 0 && strcmp(s->name + stem, "steps") == 0)
            return mi_values_int(v, s->name) == 0 ? s : NULL;
    return NULL;
}

/* What makes the stage long; false: nothing that could be shortened. */
static bool effort_of(struct engine *e, const struct stage *s, struct effort *f) {
    const struct mi_values *v;
    memset(f, 0, sizeof *f);
    if (s->kind == ST_PRETRAIN || s->kind == ST_TARGET || s->kind == ST_JUDGE) {
        v = classifier_section(e, s);
        if (s->kind != ST_PRETRAIN && *mi_values_text(v, "checkpoint")) return false;
        snprintf(f->section, sizeof f->section, "%s", mi_values_section(v));
        f->setting = counted(v, NULL, false, "epochs");
    } else if (s->kind == ST_PRIOR || s->kind == ST_ATTACK) {
        bool prior = s->kind == ST_PRIOR;
        if (prior && *mi_values_text(e->spec->section[MI_SEC_PRIOR], "file")) return false;
        v = mi_spec_entry(e->spec, MI_KIND_ATTACK, s->desc->info.name);
        if (!v) return false;
        snprintf(f->section, sizeof f->section, "attack.%.50s", s->desc->info.name);
        f->setting = counted(v, s->desc->prior_settings, prior, "steps");
        if (!f->setting) f->setting = counted(v, s->desc->prior_settings, prior, "epochs");
        if (f->setting) f->finer = steps_for(v, f->setting);
    } else {
        return false;
    }
    f->values = v;
    if (f->setting) f->value = f->now = mi_values_int(v, f->setting->name);
    if (f->setting && s->kind == ST_PRETRAIN) { /* another network may have made the setting smaller */
        if (e->pretrain_epochs == 0) e->pretrain_epochs = f->value;
        f->value = f->now = e->pretrain_epochs;
        snprintf(f->of, sizeof f->of, "(%.60s)", s->id);
    }
    return f->setting != NULL;
}

/* The same work counted in `steps` steps. */
static struct effort in_steps(const struct effort *f, int64_t steps) {
    struct effort g = *f;
    g.setting = f->finer, g.finer = NULL;
    g.value = steps, g.now = 0;
    return g;
}

/* ---- decisions ------------------------------------------------------------------------------------------------- */

#define KEY 192

static void key_of(const struct effort *f, char out[KEY]) {
    snprintf(out, KEY, "%s.%s%s", f->section, f->setting->name, f->of);
}

static enum mi_status recall(struct engine *e) {
    if (e->shortened) return MI_OK;
    char *path = mi_path_join(e->run_dir, "shortened.json"), *text = NULL;
    if (path && mi_exists(path)) text = mi_read_file(path, 1u << 16, NULL);
    e->shortened = text ? json_loads(text, 0, NULL) : NULL;
    if (!json_is_object(e->shortened)) {
        json_decref(e->shortened);
        e->shortened = json_object();
    }
    free(text);
    free(path);
    return e->shortened ? MI_OK : mi_fail(MI_E_NOMEM, "no memory for what was shortened");
}

static enum mi_status remember(struct engine *e, const struct effort *f, int64_t value) {
    char key[KEY], *path = mi_path_join(e->run_dir, "shortened.json");
    key_of(f, key);
    json_object_set_new(e->shortened, key,
                        json_pack("{s:I, s:I}", "value", (json_int_t)value, "of", (json_int_t)f->value));
    char *text = json_dumps(e->shortened, JSON_COMPACT);
    enum mi_status st = path && text ? mi_write_file(path, text, strlen(text)) : MI_E_NOMEM;
    free(text);
    free(path);
    return st;
}

/* Not through mi_spec_set: that makes the cells anew, and stages borrow their texts. */
static enum mi_status apply(const struct effort *f, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return mi_values_set((struct mi_values *)(uintptr_t)f->values, f->setting->name, text);
}

/* The product of the settings as they stand is in the cache. */
static bool made(struct engine *e, struct stage *s) {
    struct mi_product p;
    char *note = NULL;
    if (plan_fingerprint(e, s) != MI_OK || mi_product_open(&e->ws, stage_ops_of(s->kind)->word, &s->fp, &p) != MI_OK) {
        mi_error_clear();
        return false;
    }
    bool ready = mi_product_ready(&p, false, &note);
    mi_product_close(&p);
    free(note);
    return ready;
}

/* Seconds this stage may take: its part of what is left, shared with the stages that come later. */
static double share(struct engine *e, const struct stage *s) {
    static const double weight[ST_KINDS] = {
        [ST_PRETRAIN] = 2, [ST_TARGET] = 3, [ST_JUDGE] = 2, [ST_PRIOR] = 3, [ST_ATTACK] = 3};
    double whole = 60 * mi_values_real(e->spec->section[MI_SEC_RUN], "minutes"), all = 0;
    double left = whole - (mi_clock() - e->began);
    if (left < 0.15 * whole) left = 0.15 * whole; /* an overrun must not leave a judge without any training */
    struct effort f;
    for (size_t i = 0; i < e->n_stages; i++)
        if (e->stages[i]->wanted && !e->stages[i]->done && effort_of(e, e->stages[i], &f))
            all += weight[e->stages[i]->kind];
    return all > 0 ? SAFETY * left * weight[s->kind] / all : 0;
}

/* ---- the trial ------------------------------------------------------------------------------------------------- */

struct patience { double spent, may; };

static bool long_enough(void *user, double seconds) {
    struct patience *p = user;
    p->spent += seconds;
    return p->spent > p->may;
}

/* Runs the stage's own work for a few steps.  A trial never reaches the end of the work, so it leaves no product. */
static enum mi_status try_steps(struct engine *e, struct stage *s, struct mi_trial *t) {
    /* The loop the setting counts the steps of; pseudo labels and public features before it are another matter. */
    static const char *const phase[ST_KINDS] = {
        [ST_PRETRAIN] = "train", [ST_TARGET] = "train", [ST_JUDGE] = "train",
        [ST_PRIOR] = "gan",      [ST_ATTACK] = "invert"};
    t->phase = phase[s->kind];
    struct patience p = {.may = TRIAL * share(e, s)};
    t->after = long_enough, t->user = &p;
    char *folder = mi_path_join(e->run_dir, "trial");
    struct mi_ctx ctx = {.control = e->control,
                         .stage = s->id,
                         .device = e->device,
                         .precision = e->precision,
                         .seed = e->seed,
                         .checkpoint_every = 1e9,
                         .report_every = 1e9,
                         .trial = t};
    enum mi_status st = folder ? mi_make_dirs(folder) : MI_E_NOMEM;
    if (st == MI_OK) st = stage_trial(e, s, &ctx, folder);
    if (folder && mi_remove_tree(folder) != MI_OK && st == MI_OK) st = mi_error_status();
    free(folder);
    mt_mem_release(e->device);
    return st == MI_STOPPED && t->seconds > 0 ? MI_OK : st == MI_OK && t->seconds <= 0 ? MI_OK : st;
}

/* ---- what earlier quick runs decided --------------------------------------------------------------------------- */

static char *note_path(const struct engine *e, const struct mi_fingerprint *full) {
    char *dir = mi_path_join(e->ws.root, "cache/quick"), *path = NULL;
    if (dir && mi_make_dirs(dir) == MI_OK) path = mi_format("%s/%.16s.json", dir, full->hex);
    free(dir);
    return path;
}

/* The number of an earlier run that had about as much time, 0 = none, and the setting it is of, in *f. */
static int64_t earlier(const struct engine *e, struct effort *f, const struct mi_fingerprint *full, double may) {
    char *path = note_path(e, full), *text = path && mi_exists(path) ? mi_read_file(path, 4096, NULL) : NULL;
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    int64_t value = 0;
    if (j && json_number_value(json_object_get(j, "seconds")) >= 0.5 * may) {
        value = (int64_t)json_integer_value(json_object_get(j, "value"));
        int64_t steps = (int64_t)json_integer_value(json_object_get(j, "steps"));
        if (steps > 0 && f->finer) *f = in_steps(f, steps);
    }
    json_decref(j);
    free(text);
    free(path);
    mi_error_clear(); /* a note that cannot be read is no note */
    return value;
}

/* steps: of the whole, if the number counts steps in place of epochs; else 0. */
static void keep_note(const struct engine *e, const struct mi_fingerprint *full, int64_t value, int64_t steps,
                      double may) {
    char text[128], *path = note_path(e, full);
    snprintf(text, sizeof text, "{\"value\": %lld, \"steps\": %lld, \"seconds\": %.3f}", (long long)value,
             (long long)steps, may);
    if (!path || mi_write_file(path, text, strlen(text)) != MI_OK) mi_error_clear(); /* only a shortcut is lost */
    free(path);
}

/* Takes the earlier number if its product is there; else the full one is back in place. */
static bool reuse(struct engine *e, struct stage *s, struct effort f, const struct mi_fingerprint *full, double may) {
    int64_t value = earlier(e, &f, full, may);
    if (value < 1 || value > f.value) return false;
    if (apply(&f, value) == MI_OK && made(e, s) && remember(e, &f, value) == MI_OK) {
        mi_journal_log(e->journal, "info", "%s: an earlier quick run made it with %s.%s = %lld", s->id, f.section,
                       f.setting->name, (long long)value);
        return true;
    }
    if (apply(&f, f.now) != MI_OK) mi_error_clear();
    return false;
}

/* What this run decided before it was resumed. */
static const json_t *decided(const struct engine *e, struct effort *f) {
    char key[KEY];
    key_of(f, key);
    const json_t *known = json_object_get(e->shortened, key);
    if (known || !f->finer) return known;
    struct effort g = in_steps(f, 0);
    key_of(&g, key);
    known = json_object_get(e->shortened, key);
    if (known) *f = g;
    return known;
}

enum mi_status budget_settle(struct engine *e, struct stage *s) {
    struct effort f;
    if (!budget_quick(e) || !effort_of(e, s, &f)) return MI_OK;
    MI_TRY(recall(e));
    if (*f.of) MI_TRY(apply(&f, f.value));
    const json_t *known = decided(e, &f);
    if (known) return apply(&f, (int64_t)json_integer_value(json_object_get(known, "value")));
    if (made(e, s)) return MI_OK;
    struct mi_fingerprint full = s->fp;
    if (reuse(e, s, f, &full, share(e, s))) return MI_OK;
    struct mi_trial t = {.steps = STEPS};
    MI_TRY(try_steps(e, s, &t));
    if (mi_control_stop_wanted(e->control)) return MI_STOPPED;
    double whole = t.seconds * (double)t.total, may = share(e, s);
    bool steps = f.finer && (double)f.value * may < whole;
    if (steps) f = in_steps(&f, t.total);
    int64_t value = whole <= may ? f.value : (int64_t)((double)f.value * may / whole);
    if (value < 1) value = 1;
    if ((double)value < f.setting->min) value = (int64_t)f.setting->min;
    mi_journal_log(e->journal, "info", "%s: %.0f s for all %lld %s, %.0f s may be used: %s.%s = %lld", s->id, whole,
                   (long long)f.value, f.setting->unit, may, f.section, f.setting->name, (long long)value);
    MI_TRY(remember(e, &f, value));
    keep_note(e, &full, value, steps ? f.value : 0, may);
    return apply(&f, value);
}

char *budget_note(const struct engine *e, const struct stage *score) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const char *key;
    json_t *j;
    (void)score;
    if (!out) return NULL;
    json_object_foreach(e->shortened, key, j) {
        long long value = (long long)json_integer_value(json_object_get(j, "value"));
        long long of = (long long)json_integer_value(json_object_get(j, "of"));
        if (value < of) fprintf(out, "%s%s %lld of %lld", ftell(out) > 0 ? "; " : "", key, value, of);
    }
    return fclose(out) == 0 ? text : NULL;
}
