/* midre/workspace.h - folders, atomic files, product cache, locks.
 *
 *   WORKSPACE/cache/<stage>/<fp16>/          one finished product: files + product.json (written last: it lists the
 *                                            sha256 of every file; no product.json = not a product)
 *   WORKSPACE/cache/<stage>/<fp16>.work/     work in progress: the two newest checkpoints, removed on commit
 *   WORKSPACE/cache/packs/                   packed datasets
 *   WORKSPACE/runs/<NNNN>/                   spec.ini journal.jsonl pictures/ engine.log control.sock lock
 * Default WORKSPACE: --workspace, $MIDRE_WORKSPACE, `root` in [workspace] of midre.ini (./midre.ini, or
 * else ${XDG_CONFIG_HOME:-~/.config}/midre/midre.ini), else ${XDG_DATA_HOME:-~/.local/share}/midre. */
#ifndef MIDRE_WORKSPACE_H
#define MIDRE_WORKSPACE_H

#include <stdio.h>

#include "midre/fingerprint.h"

struct mi_workspace {
    char *root;
};

/* `root` NULL = default order above.  Creates the folders; unwritable: MI_E_DISK naming the folder. */
enum mi_status mi_workspace_open(struct mi_workspace *ws, const char *root);
void mi_workspace_close(struct mi_workspace *ws);

/* ---- runs --------------------------------------------------------------------------------------------- */
/* Makes runs/NNNN (next free number, race-free) holding spec.ini = spec_text; *number receives NNNN. */
enum mi_status mi_run_create(struct mi_workspace *ws, const char *spec_text, int *number);
char *mi_run_dir(const struct mi_workspace *ws, int number);                     /* caller frees */
char *mi_run_file(const struct mi_workspace *ws, int number, const char *name);  /* caller frees */
/* Ascending numbers of all runs; caller frees *numbers. */
enum mi_status mi_run_list(const struct mi_workspace *ws, int **numbers, size_t *n);
/* Removes a run's folder (not its cached products). Refused (MI_E_INPUT) while its engine is alive. */
enum mi_status mi_run_delete(struct mi_workspace *ws, int number);
/* The engine's exclusive lock (flock on runs/NNNN/lock, pid inside). Second engine: MI_E_INPUT naming the pid. */
enum mi_status mi_run_lock(const struct mi_workspace *ws, int number, int *fd);
/* pid of the live engine of a run, 0 when none holds the lock. */
int mi_run_engine_pid(const struct mi_workspace *ws, int number);
/* Starts `midre-engine run DIR` for a run in its own session, streams to engine.log (posix_spawn, never fork after
 * threads). The engine binary is the one beside the running program, else $PATH.  The
 * engine is a child: waitpid reaps it. */
enum mi_status mi_run_spawn(struct mi_workspace *ws, int number, int *pid);
/* (mi_run_spawn adds `--until STAGE` when the run's folder holds a file `until` with that word: a run that was asked
 * to end early, `midre train`, keeps doing so when it is resumed.)  *pid is a child of the caller, to be waited for. */
/* Path of the engine binary by the rule above; caller frees.  NULL (MI_E_MISSING) when there is none. */
char *mi_engine_path(void);

/* ---- products ------------------------------------------------------------------------------------------ */
struct mi_product {
    char *dir;  /* .../cache/target/0123456789abcdef */
    char *work; /* same + ".work" */
    char stage[32];
    struct mi_fingerprint fp;
    int lock;   /* held from begin to commit or close; -1 */
};
enum mi_status mi_product_open(const struct mi_workspace *ws, const char *stage, const struct mi_fingerprint *fp,
                               struct mi_product *p);
void mi_product_close(struct mi_product *p);
/* true when finished and complete. Checks every file's sha256 when `verify`; a damaged product is moved aside to
 * *.damaged and reported as absent with a warning in *note (caller frees; NULL if none). */
bool mi_product_ready(struct mi_product *p, bool verify, char **note);
/* Path of a file of the finished product / of the work in progress; caller frees. */
char *mi_product_file(const struct mi_product *p, const char *name);
char *mi_product_work_file(const struct mi_product *p, const char *name);
/* Makes and locks the work folder; MI_E_INPUT naming the pid when another engine works on the same product: then wait
 * while mi_product_busy and look whether it is ready.  Commit removes ckpt-*, part-* and *.tmp, syncs the other files,
 * writes product.json (facts_json: object text merged in, may be NULL) and renames.  Files only, no folders. */
enum mi_status mi_product_begin(struct mi_product *p);
bool mi_product_busy(const struct mi_product *p); /* another engine holds the work folder */
enum mi_status mi_product_commit(struct mi_product *p, const char *facts_json);
/* product.json as text (caller frees) or NULL. */
char *mi_product_facts(const struct mi_product *p);

/* ---- atomic files ---------------------------------------------------------------------------------------- */
/* Write to a *.tmp beside it, fsync, rename, fsync folder: the file is the old or the new one, never half. */
enum mi_status mi_write_file(const char *path, const void *bytes, size_t n);
/* Whole file, NUL-terminated, at most `limit` bytes (else MI_E_INPUT). NULL on failure; caller frees. */
char *mi_read_file(const char *path, size_t limit, size_t *n);
/* The last line of a text that is not blank, without its end; "" when there is none. NULL on failure; caller frees. */
char *mi_read_last_line(const char *path, size_t limit);
enum mi_status mi_make_dirs(const char *path);
enum mi_status mi_remove_tree(const char *path);
bool mi_exists(const char *path);
/* "~" and paths relative to `base` made absolute; caller frees. */
char *mi_path_resolve(const char *base, const char *path);
char *mi_path_join(const char *dir, const char *name);

#endif
