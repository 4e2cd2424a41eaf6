/* view_priv.h - what the three files of the view (view.c, view_stage.c, view_result.c) share. */
#ifndef MIDRE_RUN_VIEW_PRIV_H
#define MIDRE_RUN_VIEW_PRIV_H

#include "midre/journal.h"
#include "midre/view.h"

#define MI_VIEW_LOG_MAX 2000

struct mi_view_private {
    struct mi_journal_reader *reader;
    int inotify;
    struct mi_log_view *log_base; /* 2*MI_VIEW_LOG_MAX places; run->log is a window that moves through them */
    unsigned changes;             /* counts rewritten pictures: an atlas' version */
    size_t taken;                 /* events of this update */
    size_t malformed;             /* JSON lines that are no event of the schema */
    bool warned_newer;            /* a line of a later schema version was met, and said so */
    enum mi_status status;        /* why reading stopped early */
};

/* What became of one event. */
enum mi_applied { MI_APPLIED, MI_MALFORMED, MI_NO_MEMORY };

/* ---- reading events ---- */
/* A text that may serve as a name: not empty, no control bytes.  Borrowed; NULL when it is not. */
const char *mi_event_name(const json_t *event, const char *key);
/* Replaces *text by the event's string, control bytes made blanks; a missing key leaves it.  False: no memory. */
bool mi_event_text(const json_t *event, const char *key, char **text);
double mi_event_real(const json_t *event, const char *key, double missing);
int64_t mi_event_int(const json_t *event, const char *key, int64_t low, int64_t high, int64_t missing);
bool mi_event_bool(const json_t *event, const char *key, bool missing);

/* Room for one more item in an array of n: the array (moved perhaps), or NULL.  Capacity is the next power of two, so
 * nothing but n has to be kept. */
void *mi_view_grow(void *items, size_t n, size_t size);

/* ---- events, by what they change ---- */
enum mi_applied mi_view_apply_stages(struct mi_run_view *v, const json_t *list); /* of t=run */
enum mi_applied mi_view_apply_stage(struct mi_run_view *v, const json_t *event);
enum mi_applied mi_view_apply_progress(struct mi_run_view *v, const json_t *event);
enum mi_applied mi_view_apply_scalars(struct mi_run_view *v, const json_t *event);
enum mi_applied mi_view_apply_rewind(struct mi_run_view *v, const json_t *event);
void mi_view_rest_stages(struct mi_run_view *v); /* nothing runs any more */
void mi_view_free_stages(struct mi_run_view *v);

enum mi_applied mi_view_apply_cells(struct mi_run_view *v, const json_t *list); /* of t=run */
enum mi_applied mi_view_apply_atlas(struct mi_run_view *v, const json_t *event);
enum mi_applied mi_view_apply_recon(struct mi_run_view *v, const json_t *event);
enum mi_applied mi_view_apply_score(struct mi_run_view *v, const json_t *event);
enum mi_status mi_view_sort_recon(struct mi_run_view *v); /* after a batch of events */
void mi_view_free_results(struct mi_run_view *v);

#endif
