/* ui/app.c - the loop: wait, take in keys, signals and journal lines, draw at most ten times a second.
 *
 * One poll on three descriptors - the keyboard, the signal pipe, the watched run's journal - with a timeout for what
 * is due: the next frame, the next picture, the clock.  Keys are answered at once, everything else shares frames.
 * A frame is: erase, lay out, let the screen draw and name its pictures, erase pictures that go, doupdate, and later,
 * when keys rest, send pictures that come.  A terminal that hung up ends the loop; the run goes on by itself. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "midre/defaults.h"
#include "ui/frame.h"
#include "ui/screen.h"
#include "ui/term.h"

static const struct mi_screen_desc *const screens[MI_SCR_COUNT] = {
    [MI_SCR_SETUP] = &mi_screen_setup, [MI_SCR_LIVE] = &mi_screen_live, [MI_SCR_GALLERY] = &mi_screen_gallery,
    [MI_SCR_TABLE] = &mi_screen_table, [MI_SCR_RUNS] = &mi_screen_runs, [MI_SCR_LOG] = &mi_screen_log};

const struct mi_screen_desc *mi_screen_at(enum mi_screen s) {
    return screens[s];
}

/* ---- actions for everywhere --------------------------------------------------------------------------- */

static void interrupt(struct mi_ui *ui) {
    if (ui->interrupted > 0 && ui->now - ui->interrupted < 2) {
        ui->leave = true; /* twice: leave, the run goes on */
        return;
    }
    ui->interrupted = ui->now;
    mi_ui_quit(ui);
}

void mi_ui_next_images(struct mi_ui *ui) {
    enum mi_picture_mode m = mi_pics_next_mode(ui->pics, ui->theme.colours);
    mi_pics_set_mode(ui->pics, m);
    mi_ui_say(ui, "images: %s", mi_picture_mode_name(m));
}

static void everywhere(struct mi_ui *ui, enum mi_act act, int code) {
    switch (act) {
    case MI_ACT_SCREEN:
        mi_ui_go(ui, (enum mi_screen)(code - '1'));
        break;
    case MI_ACT_NEXT:
        mi_ui_go(ui, (ui->screen + 1) % MI_SCR_COUNT);
        break;
    case MI_ACT_PREV:
        mi_ui_go(ui, (ui->screen + MI_SCR_COUNT - 1) % MI_SCR_COUNT);
        break;
    case MI_ACT_BACK:
        mi_ui_go(ui, ui->before);
        break;
    case MI_ACT_HELP:
        mi_popup_help(ui);
        break;
    case MI_ACT_QUIT:
        mi_ui_quit(ui);
        break;
    case MI_ACT_INTERRUPT:
        interrupt(ui);
        break;
    case MI_ACT_IMAGES:
        mi_ui_next_images(ui);
        break;
    case MI_ACT_REPAINT:
        clearok(stdscr, TRUE);
        mi_pics_forget(ui->pics);
        break;
    case MI_ACT_SUSPEND:
        mi_term_suspend(ui);
        break;
    case MI_ACT_THEME:
        mi_theme_cycle(&ui->theme, ui->colour_limit, ui->probe.background_light);
        clearok(stdscr, TRUE);
        mi_pics_forget(ui->pics);
        mi_ui_say(ui, "theme: %s", mi_theme_name(&ui->theme));
        break;
    case MI_ACT_GLYPHS:
        if (ui->theme.utf8) ui->theme.glyphs = (ui->theme.glyphs + 1) % MI_GLYPH_COUNT;
        break;
    default:
        return;
    }
    ui->dirty = true;
}

static void key(struct mi_ui *ui, int code) {
    ui->last_key = ui->now;
    ui->dirty = true;
    if (ui->message_bad || ui->now + 3.5 > ui->message_until) ui->message[0] = 0, ui->message_bad = false;
    if (ui->popup.kind != MI_POPUP_NONE && code != MI_CTRL('l') && code != MI_CTRL('c')) {
        mi_popup_key(ui, code);
        return;
    }
    if (ui->popup.kind != MI_POPUP_NONE && code == MI_CTRL('c')) mi_popup_close(ui);
    enum mi_act act = mi_key_action(ui->screen, code);
    if (act == MI_ACT_NONE) return;
    if (!(screens[ui->screen]->act(ui, act) & MI_UI_HANDLED)) everywhere(ui, act, code);
}

/* ---- events ------------------------------------------------------------------------------------------- */

static void take_keys(struct mi_ui *ui) {
    bool answered = false;
    for (int code; !ui->leave && (code = mi_term_key(ui, &answered)) >= 0;) key(ui, code);
    if (!answered) return;
    mi_theme_background(&ui->theme, ui->colour_limit, ui->probe.background_light);
    /* A late answer to the probe: better pictures may be possible now. */
    enum mi_picture_mode m;
    if (mi_picture_choose(&ui->probe, ui->start->images, ui->theme.colours, &m) == MI_OK &&
        m > mi_pics_mode(ui->pics) && m == MI_PIC_SIXEL) {
        mi_pics_set_mode(ui->pics, m);
        mi_ui_say(ui, "images: the terminal shows sixel");
    }
    ui->dirty = true;
}

/* All children that ended: a run's engine, or one that a screen started for itself. */
static void reap(struct mi_ui *ui) {
    int how = 0;
    for (pid_t gone; (gone = waitpid(-1, &how, WNOHANG)) > 0; ui->dirty = true) {
        if (gone == ui->child) ui->child = 0;
        for (int s = 0; s < MI_SCR_COUNT; s++)
            if (screens[s]->ended) screens[s]->ended(ui, (int)gone, how);
    }
}

static void take_signals(struct mi_ui *ui) {
    unsigned set = mi_term_signals();
    if (set & MI_SIG_LEAVE) ui->leave = ui->gone = true;
    if (set & MI_SIG_CHILD) reap(ui);
    if (set & MI_SIG_RESIZE) {
        mi_pics_begin(ui->pics); /* nothing wanted: all pictures go before the text moves */
        mi_pics_erase(ui->pics, ui->theme.light);
        mi_term_resize(ui);
        clearok(stdscr, TRUE);
        mi_pics_forget(ui->pics);
        ui->resized = ui->now;
        ui->dirty = true;
    }
    if (set & MI_SIG_CONTINUE) {
        clearok(stdscr, TRUE);
        mi_pics_forget(ui->pics);
        ui->dirty = true;
    }
}

static void take_journal(struct mi_ui *ui) {
    bool changed = false;
    if (!ui->view || ui->frozen) return;
    if (mi_view_update(ui->view, &changed) != MI_OK) mi_ui_say_error(ui);
    if (!changed) return;
    for (int s = 0; s < MI_SCR_COUNT; s++)
        if (screens[s]->tick) screens[s]->tick(ui);
    ui->dirty = true;
}

static void every_second(struct mi_ui *ui) {
    if (mi_ui_check_engine(ui)) ui->dirty = true;
    if (ui->message[0] && ui->now > ui->message_until) {
        ui->message[0] = 0;
        ui->dirty = true;
    }
    if (ui->engine_alive) ui->dirty = true; /* clocks and ETA */
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static bool pictures_may_go(const struct mi_ui *ui) {
    return ui->now - ui->last_key > 0.08 && ui->now - ui->resized > 0.15;
}

static int timeout_ms(const struct mi_ui *ui, double journal_at) {
    double t = ui->dirty ? 0.1 - (ui->now - ui->last_draw) : ui->engine_alive ? 0.5 : 1.0;
    if (mi_pics_waiting(ui->pics) && t > 0.02) t = 0.02;
    if (ui->view && mi_view_fd(ui->view) >= 0 && ui->now - journal_at < 0.1 && t > 0.1) t = 0.1;
    return t <= 0 ? 0 : (int)(t * 1000) + 1;
}

static void loop(struct mi_ui *ui) {
    double second = 0, journal_at = 0;
    while (!ui->leave) {
        ui->now = mi_ui_clock();
        if (ui->now - second >= 1) every_second(ui), second = ui->now;
        bool fresh_key = ui->last_key > ui->last_draw;
        if (ui->dirty && (fresh_key || ui->now - ui->last_draw >= 0.1)) mi_frame_draw(ui);
        if (pictures_may_go(ui)) mi_pics_send(ui->pics, ui->now);
        const char *notice = mi_pics_notice(ui->pics);
        if (notice) mi_ui_say(ui, "%s", notice);
        /* The journal is looked at ten times a second at most, however fast the engine writes. */
        bool listen = ui->view && !ui->frozen && ui->now - journal_at >= 0.1;
        struct pollfd f[3] = {{STDIN_FILENO, POLLIN, 0},
                              {mi_term_signal_fd(), POLLIN, 0},
                              {listen ? mi_view_fd(ui->view) : -1, POLLIN, 0}};
        int n = poll(f, 3, timeout_ms(ui, journal_at));
        ui->now = mi_ui_clock();
        take_signals(ui);
        if (f[0].revents & (POLLHUP | POLLERR | POLLNVAL)) {
            ui->leave = ui->gone = true; /* the terminal is gone: reading on would spin */
            break;
        }
        take_keys(ui);
        if (listen && ui->view && (n == 0 || f[2].revents || mi_view_fd(ui->view) < 0)) {
            take_journal(ui);
            journal_at = ui->now;
        }
    }
}

/* ---- start and end ------------------------------------------------------------------------------------ */

static enum mi_status load_spec(struct mi_ui *ui) {
    const struct mi_ui_start *s = ui->start;
    ui->spec = !s->spec_path && s->spec_text ? mi_spec_parse(s->spec_text, "demo", NULL, 0)
                                             : mi_spec_load(s->spec_path, NULL, 0);
    return ui->spec ? mi_defaults_apply(ui->spec) : mi_error_status();
}

static int newest_running(const struct mi_ui *ui) {
    int *numbers = NULL, found = 0;
    size_t n = 0;
    if (mi_run_list(ui->ws, &numbers, &n) != MI_OK) mi_error_clear();
    for (size_t k = n; k-- > 0 && !found && n - k <= 64;)
        if (mi_run_engine_pid(ui->ws, numbers[k]) > 0) found = numbers[k];
    free(numbers);
    return found;
}

static void attach_answer(struct mi_ui *ui, int code, const char *text) {
    (void)text;
    if (code == '\n' && mi_ui_watch(ui, ui->popup.number)) mi_ui_go(ui, MI_SCR_LIVE);
}

static void offer_running(struct mi_ui *ui) {
    static const struct mi_choice choices[] = {{'\n', "Enter", "watch it"}, {27, "Esc", "set up another experiment"}};
    char title[64];
    int run = ui->start->attach_run;
    if (run > 0) {
        if (mi_ui_watch(ui, run)) mi_ui_go(ui, MI_SCR_LIVE);
        return;
    }
    if ((run = newest_running(ui)) == 0) return;
    snprintf(title, sizeof title, "Run %04d is running", run);
    mi_popup_ask(ui, title, "It was left running, or started elsewhere.", choices, 2, attach_answer);
    ui->popup.number = run;
}

static enum mi_status open_screens(struct mi_ui *ui) {
    for (int s = 0; s < MI_SCR_COUNT; s++) MI_TRY(screens[s]->open(ui));
    return MI_OK;
}

static void close_all(struct mi_ui *ui) {
    mi_popup_close(ui);
    for (int s = 0; s < MI_SCR_COUNT; s++)
        if (ui->state[s]) screens[s]->close(ui);
    if (ui->view) mi_view_close(ui->view);
    mi_spec_free(ui->spec);
    mi_table_free(&ui->table);
    mi_pics_free(ui->pics);
    free(ui->stderr_path);
}

static enum mi_status run_screens(struct mi_ui *ui) {
    enum mi_picture_mode mode = MI_PIC_OFF;
    enum mi_status s = load_spec(ui);
    if (s != MI_OK) return s;
    s = mi_term_start(ui, &mode);
    if (s == MI_OK && !(ui->pics = mi_pics_new(&ui->probe, mode))) s = MI_E_NOMEM;
    if (s == MI_OK) s = open_screens(ui);
    if (s == MI_OK) {
        ui->now = mi_ui_clock();
        mi_ui_go(ui, MI_SCR_SETUP);
        ui->before = MI_SCR_SETUP;
        const char *term = getenv("TERM");
        if (ui->colour_limit > 8 && COLORS <= 8 && term && (!strcmp(term, "xterm") || !strcmp(term, "screen")))
            mi_ui_say(ui, "TERM=%s promises 8 colours; %s-256color would show more", term, term);
        offer_running(ui);
        loop(ui);
    }
    mi_term_stop(ui);
    return s;
}

enum mi_status mi_ui_main(struct mi_workspace *ws, const struct mi_ui_start *start) {
    const char *term = getenv("TERM");
    if (start->plain || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) || !term || !*term || !strcmp(term, "dumb")) {
        struct mi_ui look = {.ws = ws, .start = start};
        int run = start->attach_run > 0 ? start->attach_run : newest_running(&look);
        if (run > 0) return mi_ui_follow(ws, run);
        return mi_fail(MI_E_USAGE, "no screens here (output is no terminal, TERM=dumb or --plain) and no run is going: "
                                   "use `midre run`, or start midre in a terminal");
    }
    struct mi_ui *ui = mi_calloc(1, sizeof *ui);
    if (!ui) return MI_E_NOMEM;
    ui->ws = ws;
    ui->start = start;
    enum mi_status s = run_screens(ui);
    close_all(ui);
    free(ui);
    return s;
}
