/* ui/term.h - taking the terminal, giving it back, and what comes in from it and from signals. */
#ifndef MIDRE_TERM_H
#define MIDRE_TERM_H

#include "ui/screen.h"

/* Probes, redirects fd 2 to WORKSPACE/ui.log, starts curses and installs the signal handlers. */
enum mi_status mi_term_start(struct mi_ui *ui, enum mi_picture_mode *mode);
void mi_term_stop(struct mi_ui *ui);
/* A crash gives the terminal back (crash.c): the line settings are noted before curses changes them, then handlers for
 * the crash signals stay until the end.  `saved_stderr`: the real standard error, or -1. */
void mi_crash_line(void);
void mi_crash_take(int saved_stderr);
void mi_crash_leave(void);
/* Readable when a signal came. */
int mi_term_signal_fd(void);

enum { MI_SIG_RESIZE = 1, MI_SIG_LEAVE = 2, MI_SIG_CHILD = 4, MI_SIG_CONTINUE = 8 };
unsigned mi_term_signals(void); /* drains the pipe; a set of the above */

/* Next key: a character (plus MI_KEY_WIDE above 255) or a KEY_ code; -1 when none waits.  Control sequences that answer
 * our questions are taken in on the way (*answered is set). */
int mi_term_key(struct mi_ui *ui, bool *answered);
void mi_term_resize(struct mi_ui *ui);
void mi_term_suspend(struct mi_ui *ui);
void mi_term_title(const char *title);
void mi_term_sync(const struct mi_ui *ui, bool begin); /* wraps a frame where the terminal knows how */
/* Gives text to the terminal's clipboard (OSC 52). */
void mi_term_clipboard(const char *text);

#endif
