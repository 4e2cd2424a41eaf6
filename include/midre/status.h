/* midre/status.h - how every fallible function of the project reports failure.
 *
 * A fallible function returns enum mi_status, or a pointer that is NULL on failure.  It then has left one
 * message in the calling thread's error slot: what failed, on which file or setting, and what to do about it.
 * The first error wins; later ones are dropped, so a caller may go on to its cleanup without care.
 * Nothing below main() exits the process. */
#ifndef MIDRE_STATUS_H
#define MIDRE_STATUS_H

enum mi_status {
    MI_OK = 0,
    MI_STOPPED,    /* asked to stop by the person; work is checkpointed; not an error */
    MI_E_USAGE,    /* wrong command line                      -> exit code 2 */
    MI_E_INPUT,    /* bad setting, bad file contents          -> 3 */
    MI_E_MISSING,  /* data, weights or a run that is not there -> 4 */
    MI_E_DEVICE,   /* GPU absent, out of memory, driver lost  -> 5 */
    MI_E_DISK,     /* cannot write, disk full, checksum wrong -> 6 */
    MI_E_NOMEM,    /* out of host memory                      -> 70 */
    MI_E_INTERNAL  /* a defect in midre                       -> 70 */
};

/* Records a message for this thread (printf style, one line, no final period needed) and returns `status`,
 * so that `return mi_fail(MI_E_INPUT, "...")` is the idiom.  A message already waiting is kept.  Control bytes in
 * the message are replaced, so quoting untrusted text is safe. */
enum mi_status mi_fail(enum mi_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts context in front of the waiting message: "context: message".  Returns the waiting status
 * (MI_E_INTERNAL when nothing was waiting: a failure without a message is a defect). */
enum mi_status mi_fail_context(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The waiting status (MI_OK if none) and its message ("" if none).  The text lives until the next mi_fail. */
enum mi_status mi_error_status(void);
const char *mi_error_text(void);

/* Forgets the waiting error: call it where an error was handled or shown. */
void mi_error_clear(void);

/* The documented process exit code of a status (0 for MI_OK and MI_STOPPED). */
int mi_exit_code(enum mi_status status);
/* The other way, for a program of ours that failed (code not 0). */
enum mi_status mi_status_of_exit(int code);

/* `return` on failure, otherwise go on.  For functions with nothing to release. */
#define MI_TRY(call)                                                                                                   \
    do {                                                                                                               \
        enum mi_status mi_try_status_ = (call);                                                                        \
        if (mi_try_status_ != MI_OK) return mi_try_status_;                                                            \
    } while (0)

/* Allocation that reports through mi_fail(MI_E_NOMEM) and returns NULL; count*size overflow is checked. Zeroed. */
void *mi_calloc(unsigned long count, unsigned long size);
char *mi_strdup(const char *text);
/* printf into fresh memory; the caller frees. */
char *mi_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
