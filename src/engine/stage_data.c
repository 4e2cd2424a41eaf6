/* src/engine/stage_data.c - the private images, the public images or the public people of a dataset at one size, packed
 * once and memory-mapped.
 *
 * Packs live in cache/packs and look after themselves, so this stage has no product of its own; its fingerprint, once
 * open, is the dataset's: what the pack holds.  The images stay open until the run ends. */
#include "engine.h"
#include "loop_priv.h"

static enum mi_status identity(const struct engine *e, const struct stage *s, struct mi_hasher *h) {
    mi_hasher_text(h, "dataset", s->dataset);
    mi_hasher_int(h, "part", s->part);
    if (s->part == MI_DATA_PEOPLE) {
        struct mi_people want = mi_data_people(e->spec);
        mi_hasher_int(h, "people", want.people);
        mi_hasher_int(h, "min_images", want.min_images);
    }
    mi_hasher_int(h, "seed", (int64_t)e->seed);
    /* Folders enter by name here; the exact fingerprint, made when the pack is open, covers the pixels. */
    mi_hasher_values(h, mi_spec_entry(e->spec, MI_KIND_DATA, s->dataset));
    return MI_OK;
}

struct packing {
    struct mi_ctx *ctx;
    double begun, told;
};

static bool progress(size_t done, size_t total, void *user) {
    struct packing *p = user;
    double now = mi_clock();
    if (now - p->told >= p->ctx->report_every || done == total) {
        double rate = now > p->begun ? (double)done / (now - p->begun) : 0;
        double eta = rate > 0 ? (double)(total - done) / rate : -1;
        p->told = now;
        json_t *ev =
            json_pack("{s:s, s:s, s:s, s:f, s:f, s:s, s:f, s:f}", "t", "progress", "stage", p->ctx->stage, "phase",
                      "pack", "done", (double)done, "total", (double)total, "unit", "img", "rate", rate, "eta", eta);
        if (!ev || mi_journal_write(p->ctx->journal, ev) != MI_OK) mi_error_clear();
    }
    return !mi_ctx_stop_wanted(p->ctx);
}

static enum mi_status work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts) {
    (void)facts;
    const struct mi_values *v = mi_spec_entry(e->spec, MI_KIND_DATA, s->dataset);
    if (!v) return mi_error_status();
    struct packing p = {ctx, mi_clock(), 0};
    struct mi_people want = mi_data_people(e->spec);
    enum mi_status st =
        s->part == MI_DATA_PEOPLE
            ? mi_dataset_open_people(&s->images, &e->ws, s->dataset, v, e->seed, s->size, &want, progress, &p)
            : mi_dataset_open(&s->images, &e->ws, s->dataset, v, e->seed, s->size, s->part, progress, &p);
    if (st != MI_OK) return st;
    const struct mi_pack_split *sp = s->images.split;
    s->fp = s->images.fp;
    if (s->part == MI_DATA_PUBLIC)
        mi_ctx_log(ctx, "info", "%s at %d px: %zu public images", s->dataset, s->size, sp[MI_PUBLIC].n);
    else
        mi_ctx_log(ctx, "info", "%s at %d px: %d %s, %zu training and %zu test images", s->dataset, s->size,
                   s->images.classes, s->part == MI_DATA_PEOPLE ? "public people" : "private identities",
                   sp[MI_TRAIN].n, sp[MI_TEST].n);
    if (s->images.note) mi_ctx_log(ctx, "warn", "%s", s->images.note);
    return MI_OK;
}

const struct stage_ops stage_data_ops = {.word = "data", .identity = identity, .work = work};
