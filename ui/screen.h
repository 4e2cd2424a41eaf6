/* ui/screen.h - the terminal program's inside: its state, what a screen is, and what screens may ask of the loop.
 *
 * Handlers change state and return what must follow; draw functions read state and put characters; only app.c talks
 * to poll and only pics.c sends pictures.  One thread, so nothing here is locked. */
#ifndef MIDRE_SCREEN_H
#define MIDRE_SCREEN_H

#include "midre/spec.h"
#include "midre/table.h"
#include "midre/view.h"
#include "ui/canvas.h"
#include "ui/keys.h"
#include "ui/pics.h"
#include "ui/popup.h"
#include "ui/ui.h"

enum { MI_UI_IGNORED = 0, MI_UI_HANDLED = 1, MI_UI_REDRAW = 2 };

struct mi_ui {
    struct mi_workspace *ws;
    const struct mi_ui_start *start;
    struct mi_theme theme;
    struct mi_probe probe;
    struct mi_pics *pics;
    struct mi_layout layout;
    struct mi_popup popup;
    enum mi_screen screen, before; /* shown; the one Esc goes back to */
    void *state[MI_SCR_COUNT];     /* each screen's own */
    struct mi_spec *spec;          /* what Setup edits; never NULL */
    struct mi_run_view *view;      /* the run being watched, or NULL */
    int run;                       /* its number, 0 = none */
    int child, child_run;          /* an engine this program started and that has not ended yet; 0 = none */
    bool engine_alive, frozen, dirty, leave, gone; /* gone: the terminal hung up */
    double now, last_key, last_draw, message_until, interrupted, resized;
    char message[256];
    bool message_bad;
    int colour_limit;
    int cursor_y, cursor_x; /* where the focus is, for screen readers */
    bool cursor_on;
    char last_words[240];  /* end of engine.log of a run that died, "" otherwise */
    char *stderr_path;     /* where fd 2 went */
    struct mi_table table; /* see mi_ui_table */
    bool table_ready;
    bool table_mean;     /* rows that differ only in seeds as one */
    size_t table_scores; /* scores of the watched run when it was built */
    unsigned frames;
};

struct mi_screen_desc {
    const char *title;
    enum mi_status (*open)(struct mi_ui *ui); /* makes state[] */
    void (*close)(struct mi_ui *ui);
    void (*enter)(struct mi_ui *ui);                          /* shown now; NULL = nothing to do */
    void (*tick)(struct mi_ui *ui);                           /* the run's view changed, shown or not; NULL */
    void (*want)(struct mi_ui *ui, struct mi_layout_want *w); /* NULL = defaults */
    void (*draw)(struct mi_ui *ui);
    bool (*note)(const struct mi_ui *ui, char *text, size_t size); /* of work beside, for the status row; NULL = none */
    void (*ended)(struct mi_ui *ui, int pid, int wait_status);     /* a child was reaped, maybe this screen's; NULL */
    unsigned (*act)(struct mi_ui *ui, enum mi_act act);
};
extern const struct mi_screen_desc mi_screen_setup, mi_screen_live, mi_screen_gallery, mi_screen_table, mi_screen_runs,
    mi_screen_log;
const struct mi_screen_desc *mi_screen_at(enum mi_screen s);

/* ---- what screens ask of the loop (app.c, session.c) ---- */
void mi_ui_say(struct mi_ui *ui, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Shows the waiting mi_fail message and clears it. */
void mi_ui_say_error(struct mi_ui *ui);
void mi_ui_go(struct mi_ui *ui, enum mi_screen s);
/* Watches a run (0 = none); false with a message shown when it cannot be opened. */
bool mi_ui_watch(struct mi_ui *ui, int run);
/* Creates a run from the spec, starts its engine, watches it on Live. */
void mi_ui_launch(struct mi_ui *ui);
/* Starts an engine for an existing run. */
void mi_ui_resume(struct mi_ui *ui, int run);
void mi_ui_control(struct mi_ui *ui, int run, const char *word);
void mi_ui_ask_stop(struct mi_ui *ui, int run);
void mi_ui_quit(struct mi_ui *ui);
void mi_ui_next_images(struct mi_ui *ui); /* the image mode after the present one, with a word */
/* Whether an engine works on a run: one that holds its lock, or one just started that has not got that far. */
bool mi_ui_alive(const struct mi_ui *ui, int run);
/* Looks whether the watched run's engine lives; reads its last words when it does not. True when that changed. */
bool mi_ui_check_engine(struct mi_ui *ui);
/* "RUNNING", "DONE", ... in capitals; a running state without an engine is "DIED". */
const char *mi_ui_state_word(const struct mi_ui *ui, enum mi_ink *ink);
/* Replaces the spec Setup edits (takes it). */
void mi_ui_set_spec(struct mi_ui *ui, struct mi_spec *spec);

/* The privacy-utility table, measured and published rows; built when first asked for and again after mi_ui_table_stale.
 * NULL before the second frame: the first one must not wait for it. */
const struct mi_table *mi_ui_table(struct mi_ui *ui);
void mi_ui_table_stale(struct mi_ui *ui);

/* "now" in seconds on the monotonic clock. */
double mi_ui_clock(void);
/* Case-blind substring. */
bool mi_contains(const char *text, const char *part);

#endif
