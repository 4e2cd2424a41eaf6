/* midre/view.h - the state of a run rebuilt from its journal, for screens, progress lines and tables.
 *
 * A view is fed incrementally (mi_view_update reads what is new) and holds plain data to draw from.  It belongs to
 * one thread.  Curves keep every point up to 16384 per series, then thin out by halves (first and last stay). */
#ifndef MIDRE_VIEW_H
#define MIDRE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "midre/status.h"

struct mi_point { double x, y; int64_t step; };
struct mi_series { char *name; struct mi_point *points; size_t n; };           /* "loss/train" */

enum mi_stage_state { MI_STAGE_WAITING, MI_STAGE_RUNNING, MI_STAGE_CACHED, MI_STAGE_DONE, MI_STAGE_FAILED };
struct mi_stage_view {
    char *id, *kind, *title, *phase, *unit, *fingerprint, *error;
    enum mi_stage_state state;
    double done, total, rate, eta; /* eta in seconds, < 0 unknown */
    double epoch, epochs, seconds;
    struct mi_series *series;
    size_t n_series;
};
struct mi_recon_view { int row, col; int label, judge; double confidence, distance; bool hit; };
struct mi_atlas_view { /* one picture file of tiles */
    char *name, *kind, *cell, *stage, *file; /* file is relative to the run folder */
    int tile, cols, rows, *labels;           /* labels[rows] or NULL */
    int64_t step; bool final;
    unsigned version;                        /* grows when the file was rewritten: redraw */
};
struct mi_cell_view {
    char *id, *model, *defense, *attack, *label /* of the defense, in titles; may be NULL */;
    struct mi_recon_view *recon; size_t n_recon;
};
struct mi_score_view {                       /* one table row; NAN = not measured */
    char *cell, *model, *defense, *attack, *data, *judge, *precision, *device, *protocol, *init;
    double acc, attacc, attacc_std, top5, top5_std, knn, tradeoff, judge_acc, target_judged; bool overpriced; /* "OP" */
    double fid, delta_eval, delta_face, queries;
    int64_t seed; int identities, images, resolution; bool synthetic;
    bool quick;   /* from a run that was shortened to a time */
    char *fid_features; /* whose features FID compares, "quickres@64"; may be NULL */
    char *note;   /* what is unusual about how it came about; may be NULL */
};
struct mi_log_view { double at; char level; char *text; };                      /* level 'i' 'w' 'e' */

struct mi_run_view {
    int number; char *dir, *id, *name, *version, *torch, *device, *precision, *state, *error;
    int pid, threads; int64_t seed; bool synthetic; double started, updated;
    struct mi_cell_view *cells; size_t n_cells;
    struct mi_stage_view *stages; size_t n_stages; int current; /* index of the running stage, -1 none */
    struct mi_atlas_view *atlases; size_t n_atlases;
    struct mi_score_view *scores; size_t n_scores;
    struct mi_log_view *log; size_t n_log;                      /* newest 2000 */
    double cpu, rss_mb, gpu, gpu_mem_mb, gpu_mem_total_mb;      /* NAN unknown */
    size_t skipped_lines;
    struct mi_view_private *priv;
};

/* `run_dir` must exist; the journal may not yet.  NULL with a message on failure. */
struct mi_run_view *mi_view_open(const char *run_dir, int number);
/* Reads new journal lines; *changed (may be NULL) tells whether anything did. */
enum mi_status mi_view_update(struct mi_run_view *v, bool *changed);
/* File descriptor that polls readable when the journal grew (inotify), or -1. Drained by update. */
int mi_view_fd(const struct mi_run_view *v);
void mi_view_close(struct mi_run_view *v);
const struct mi_series *mi_stage_series(const struct mi_stage_view *s, const char *name); /* NULL if absent */
const struct mi_atlas_view *mi_view_atlas(const struct mi_run_view *v, const char *kind, const char *cell);
/* Weighted completion of all stages, 0..1, for one overall bar. */
double mi_view_fraction(const struct mi_run_view *v);

#endif
