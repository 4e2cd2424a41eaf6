/* src/engine/graph.c - runs the stages of a plan one after another.
 *
 * For each: the exact fingerprint, the product in the cache if it is there and whole, else the work, in the product's
 * own folder where it continues if a killed or stopped engine left checkpoints.  After that the stage shows what it
 * has (pictures, rows), the same way whether it was just made or found, so a cached run looks like a fresh one.
 *
 * When two engines need the same product at once, the second waits and then finds it.  Owns the stage's curves. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "budget.h"
#include "loop_priv.h"

void engine_event(struct engine *e, json_t *event) {
    if (event && mi_journal_write(e->journal, event) == MI_OK) return;
    fprintf(stderr, "midre-engine: journal: %s\n", mi_error_text());
    mi_error_clear();
}

static void stage_event(struct engine *e, const struct stage *s, const char *state, double seconds) {
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "t", "stage", "stage", s->id, "kind",
                          stage_ops_of(s->kind)->word, "state", state, "fingerprint", s->fp.hex, "title", s->title);
    if (j && seconds >= 0) json_object_set_new(j, "seconds", json_real(seconds));
    if (j && strcmp(state, "failed") == 0) json_object_set_new(j, "error", json_string(mi_error_text()));
    engine_event(e, j);
}

static enum mi_status open_product(const struct engine *e, const struct stage *s, struct mi_product *p) {
    return mi_product_open(&e->ws, stage_ops_of(s->kind)->word, &s->fp, p);
}

char *graph_file(const struct engine *e, const struct stage *s, const char *name) {
    struct mi_product p;
    if (open_product(e, s, &p) != MI_OK) return NULL;
    char *path = mi_product_file(&p, name);
    mi_product_close(&p);
    return path;
}

mt_archive *graph_archive(const struct engine *e, const struct stage *s, const char *name) {
    char *path = graph_file(e, s, name);
    mt_archive *a = path ? mt_archive_open(path) : NULL;
    free(path);
    return a;
}

static enum mi_status replay_curves(struct engine *e, const struct stage *s, const struct mi_product *p) {
    char *path = mi_product_file(p, "curves.json");
    struct mi_curves *c = mi_curves_new();
    enum mi_status st = path && c ? MI_OK : MI_E_NOMEM;
    if (st == MI_OK && mi_exists(path)) st = mi_curves_read(c, path);
    if (st == MI_OK) {
        engine_event(e, json_pack("{s:s, s:s, s:I}", "t", "rewind", "stage", s->id, "step", (json_int_t)-1));
        mi_curves_replay(c, e->journal, s->id);
    }
    mi_curves_free(c);
    free(path);
    return st;
}

/* What product.json adds; "volatile" holds what may differ between two equal products. */
static enum mi_status commit(struct engine *e, struct stage *s, struct mi_ctx *ctx, struct mi_product *p, json_t *facts,
                             double seconds) {
    char *path = mi_product_work_file(p, "curves.json");
    enum mi_status st = path ? mi_curves_write(ctx->curves, path) : MI_E_NOMEM;
    free(path);
    char when[40];
    time_t now = time(NULL);
    struct tm utc;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_object_set_new(facts, "precision", json_string(e->precision == MT_BF16 ? "bf16" : "fp32"));
    json_object_set_new(facts, "volatile",
                        json_pack("{s:s, s:f, s:s, s:s, s:s, s:i}", "title", s->title, "seconds", seconds, "finished",
                                  when, "device", e->device_name, "torch", mt_version(), "threads", mt_threads()));
    char *text = json_dumps(facts, JSON_COMPACT);
    if (!text && st == MI_OK) st = MI_E_NOMEM;
    if (st == MI_OK) st = mi_product_commit(p, text);
    free(text);
    return st;
}

/* Starts or continues the work; *facts is what the product says about itself afterwards. */
static enum mi_status make(struct engine *e, struct stage *s, struct mi_ctx *ctx, struct mi_product *p) {
    const struct stage_ops *ops = stage_ops_of(s->kind);
    bool resumed = ops->product && mi_exists(p->work);
    double start = mi_clock();
    stage_event(e, s, resumed ? "resume" : "start", -1);
    json_t *facts = json_object();
    enum mi_status st = ops->product ? mi_product_begin(p) : MI_OK;
    if (st == MI_OK) st = ops->work(e, s, ctx, facts);
    if (st == MI_OK && ops->product) st = commit(e, s, ctx, p, facts, mi_clock() - start);
    json_decref(facts);
    if (st == MI_OK) stage_event(e, s, "done", mi_clock() - start);
    return st;
}

static enum mi_status show(struct engine *e, struct stage *s, struct mi_ctx *ctx, const struct mi_product *p) {
    const struct stage_ops *ops = stage_ops_of(s->kind);
    if (!ops->show) return MI_OK;
    json_t *facts = NULL;
    if (ops->product) {
        char *text = mi_product_facts(p);
        facts = text ? json_loads(text, 0, NULL) : NULL;
        free(text);
        if (!facts) return mi_fail(MI_E_INPUT, "%s/product.json cannot be read", p->dir);
    }
    /* Pictures and rows belong to cells; cells that share a product each get theirs. */
    bool per_cell = s->kind == ST_ATTACK || s->kind == ST_SCORE;
    enum mi_status st = MI_OK;
    for (size_t i = 0; i < (per_cell ? s->n_cells : 1) && st == MI_OK; i++) {
        s->shown = s->cells[i];
        ctx->cell = per_cell ? e->spec->cells[s->shown].id : NULL;
        st = ops->show(e, s, ctx, facts);
    }
    json_decref(facts);
    return st;
}

/* Whether the product is there and whole; a damaged one is named and made again. */
static bool ready(struct engine *e, const struct stage *s, struct mi_product *p) {
    char *note = NULL;
    bool whole = mi_product_ready(p, true, &note);
    if (note) mi_journal_log(e->journal, "warn", "%s: %s", s->id, note);
    free(note);
    return whole;
}

/* Waits while another engine makes the same product. */
static enum mi_status wait_turn(struct engine *e, const struct stage *s, const struct mi_product *p) {
    struct timespec nap = {.tv_nsec = 200 * 1000 * 1000};
    for (bool told = false; mi_product_busy(p); told = true) {
        if (mi_control_stop_wanted(e->control)) return MI_STOPPED;
        if (!told) mi_journal_log(e->journal, "info", "%s: another engine is making it; waiting", s->id);
        nanosleep(&nap, NULL);
    }
    return MI_OK;
}

/* The product of a stage that has one: found whole, or made. */
static enum mi_status obtain(struct engine *e, struct stage *s, struct mi_ctx *ctx, struct mi_product *p) {
    MI_TRY(wait_turn(e, s, p));
    if (ready(e, s, p)) {
        stage_event(e, s, "cached", -1);
        return replay_curves(e, s, p);
    }
    ctx->product = p;
    enum mi_status st = make(e, s, ctx, p);
    ctx->product = NULL;
    return st;
}

static const char *cell_of(const struct engine *e, const struct stage *s) {
    bool own = s->kind == ST_ATTACK || s->kind == ST_SCORE || s->kind == ST_TARGET;
    return own && s->n_cells > 0 ? e->spec->cells[s->cells[0]].id : NULL;
}

static enum mi_status run_stage(struct engine *e, struct stage *s) {
    const struct mi_values *run = e->spec->section[MI_SEC_RUN];
    struct mi_ctx ctx = {.journal = e->journal,
                         .control = e->control,
                         .run_dir = e->run_dir,
                         .stage = s->id,
                         .cell = cell_of(e, s),
                         .device = e->device,
                         .precision = e->precision,
                         .seed = e->seed,
                         .checkpoint_every = mi_values_real(run, "checkpoint_every"),
                         .report_every = mi_values_real(run, "report_every"),
                         .memory_mb = (double)mi_values_int(run, "memory"),
                         .curves = mi_curves_new()};
    struct mi_product p = {0};
    enum mi_status st = ctx.curves ? budget_settle(e, s) : MI_E_NOMEM;
    if (st == MI_OK) st = plan_fingerprint(e, s);
    bool product = stage_ops_of(s->kind)->product;
    if (st == MI_OK && product) st = open_product(e, s, &p);
    if (st == MI_OK) st = product ? obtain(e, s, &ctx, &p) : make(e, s, &ctx, &p);
    if (st == MI_OK) st = show(e, s, &ctx, &p);
    if (st == MI_OK)
        s->done = true;
    else if (st != MI_STOPPED) {
        mi_fail_context("%s", s->title);
        stage_event(e, s, "failed", -1);
    }
    if (product) mi_product_close(&p);
    mi_curves_free(ctx.curves);
    return st;
}

enum mi_status graph_run(struct engine *e) {
    for (size_t i = 0; i < e->n_stages; i++) {
        if (mi_control_stop_wanted(e->control)) return MI_STOPPED;
        if (!e->stages[i]->wanted) continue;
        MI_TRY(run_stage(e, e->stages[i]));
        mt_mem_release(e->device); /* the next stage has other shapes */
    }
    return MI_OK;
}
