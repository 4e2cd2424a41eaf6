/* midre/journal.h - the append-only record of a run: one JSON object a line (schema: docs/JOURNAL.md, "v":1).
 *
 * The engine writes, everybody else only reads.  Lines are written with one write(2) each, so a crash can tear
 * only the last one, which readers skip.  Everything a screen shows can be rebuilt from the journal and pictures/.
 *
 *   t=run      id name pid version torch device threads precision seed synthetic cells[{id,model,defense,attack}]
 *              stages[{id,kind,title,cells[]}]       (first line of every engine session; later ones mark a resume)
 *   t=stage    stage kind state(start|cached|resume|done|failed) fingerprint title [seconds] [error]
 *   t=progress stage phase done total unit rate eta [epoch epochs]
 *   t=scalars  stage step x values{"loss/train":1.2,"acc/test":0.93}     x = epochs or steps, the curve's abscissa
 *   t=rewind   stage step      scalars of this stage after `step` are void (resumed from a checkpoint)
 *   t=atlas    name kind(samples|recon|photo|train) [cell] [stage] file tile cols rows [labels[]] step final
 *   t=recon    cell row col label judge confidence hit distance          one reconstructed image's verdict
 *   t=score    cell model defense attack data + metrics, see docs
 *   t=log      level(info|warn|error) text
 *   t=load     cpu rss_mb [gpu gpu_mem_mb gpu_mem_total_mb]
 *   t=state    state(running|paused|stopped|done|failed) [error] */
#ifndef MIDRE_JOURNAL_H
#define MIDRE_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "midre/status.h"

#define MI_JOURNAL_VERSION 1

struct mi_journal;

/* Opens for append, creating it; a torn last line left by a crash is cut off first. */
struct mi_journal *mi_journal_open(const char *path);
void mi_journal_close(struct mi_journal *j);

/* Appends one event.  `event` is an object with at least "t"; "v" and "at" (unix seconds) are added; the reference
 * is stolen.  Disk full: MI_E_DISK; the run goes on being computable, the caller decides. */
enum mi_status mi_journal_write(struct mi_journal *j, json_t *event);
enum mi_status mi_journal_log(struct mi_journal *j, const char *level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum mi_status mi_journal_sync(struct mi_journal *j); /* fdatasync */

/* Incremental reader: call repeatedly; delivers each complete new line once.  Malformed or overlong (> 1 MiB)
 * lines are counted and skipped.  `fn` returning false stops early. */
struct mi_journal_reader;
struct mi_journal_reader *mi_journal_reader_open(const char *path); /* the file may not exist yet */
enum mi_status mi_journal_read(struct mi_journal_reader *r, bool (*fn)(const json_t *event, void *user), void *user);
size_t mi_journal_skipped(const struct mi_journal_reader *r);
void mi_journal_reader_close(struct mi_journal_reader *r);

#endif
