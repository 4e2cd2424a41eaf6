/* ui/term.c - the terminal as a resource: taken in one place, given back in one place.
 *
 * Order matters: locale, then the probe (which needs a quiet terminal), then fd 2 to a file (so that no library's
 * complaint lands on the screen), then curses, then signal handlers.  Signals only write a byte into a pipe; the loop
 * reads it.  Control sequences that curses does not know (late answers to the probe, picture acknowledgements) are
 * collected here and never reach the screens as keys. */
#include "ui/term.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int sig_pipe[2] = {-1, -1};
static int saved_stderr = -1;
static SCREEN *curses;
static char seq[256];
static size_t seq_n;
static double seq_since;

static const struct {
    int sig;
    char byte;
    unsigned bit;
} signals[] = {{SIGWINCH, 'w', MI_SIG_RESIZE}, {SIGHUP, 'h', MI_SIG_LEAVE},  {SIGTERM, 't', MI_SIG_LEAVE},
               {SIGINT, 'i', MI_SIG_LEAVE},    {SIGCHLD, 'c', MI_SIG_CHILD}, {SIGCONT, 'f', MI_SIG_CONTINUE}};
#define N_SIGNALS (sizeof signals / sizeof *signals)
static struct sigaction old_actions[N_SIGNALS], old_pipe;

static void on_signal(int sig) {
    int keep = errno;
    for (size_t k = 0; k < N_SIGNALS; k++)
        if (signals[k].sig == sig && write(sig_pipe[1], &signals[k].byte, 1) < 0) break; /* pipe full: one is enough */
    errno = keep;
}

int mi_term_signal_fd(void) {
    return sig_pipe[0];
}

unsigned mi_term_signals(void) {
    unsigned set = 0;
    char byte[64];
    ssize_t n;
    while ((n = read(sig_pipe[0], byte, sizeof byte)) > 0)
        for (ssize_t j = 0; j < n; j++)
            for (size_t k = 0; k < N_SIGNALS; k++)
                if (signals[k].byte == byte[j]) set |= signals[k].bit;
    return set;
}

static enum mi_status take_signals(void) {
    if (pipe2(sig_pipe, O_NONBLOCK | O_CLOEXEC) != 0) return mi_fail(MI_E_INTERNAL, "no pipe: %s", strerror(errno));
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    for (size_t k = 0; k < N_SIGNALS; k++) sigaction(signals[k].sig, &a, &old_actions[k]);
    sigaction(SIGPIPE, &ignore, &old_pipe);
    return MI_OK;
}

static void take_stderr(struct mi_ui *ui) {
    ui->stderr_path = mi_path_join(ui->ws->root, "ui.log");
    int fd = ui->stderr_path ? open(ui->stderr_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (fd < 0) {
        mi_error_clear();
        return; /* an unwritable workspace was reported when it was opened; the screen works without */
    }
    saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

enum mi_status mi_term_start(struct mi_ui *ui, enum mi_picture_mode *mode) {
    setlocale(LC_CTYPE, ""); /* numbers keep the C form: files depend on it */
    MI_TRY(mi_theme_limit(ui->start->color, &ui->colour_limit));
    /* 60 ms: the first frame must not wait for a slow line; later answers are taken in by mi_term_key. */
    mi_probe_terminal(&ui->probe, STDIN_FILENO, 60);
    MI_TRY(mi_picture_choose(&ui->probe, ui->start->images, 0, mode));
    mi_crash_line();
    take_stderr(ui);
    curses = newterm(NULL, stdout, stdin);
    if (!curses) return mi_fail(MI_E_USAGE, "the terminal type TERM=%s is unknown here", getenv("TERM"));
    set_term(curses);
    mi_crash_take(saved_stderr);
    raw();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(25);
    curs_set(0);
    mi_theme_start(&ui->theme, ui->colour_limit, ui->probe.background_light, ui->probe.utf8);
    MI_TRY(mi_picture_choose(&ui->probe, ui->start->images, ui->theme.colours, mode));
    return take_signals();
}

void mi_term_stop(struct mi_ui *ui) {
    if (curses) {
        if (!ui->gone) mi_term_title("");
        endwin();
        delscreen(curses);
        curses = NULL;
        mi_crash_leave();
    }
    if (sig_pipe[0] >= 0) {
        for (size_t k = 0; k < N_SIGNALS; k++) sigaction(signals[k].sig, &old_actions[k], NULL);
        sigaction(SIGPIPE, &old_pipe, NULL);
        close(sig_pipe[0]);
        close(sig_pipe[1]);
        sig_pipe[0] = sig_pipe[1] = -1;
    }
    if (saved_stderr >= 0) {
        dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
        saved_stderr = -1;
    }
}

/* ---- input -------------------------------------------------------------------------------------------- */

static bool seq_complete(void) {
    if (seq_n < 3) return false;
    char last = seq[seq_n - 1];
    if (seq[1] == '[') return last >= 0x40 && last <= 0x7e;
    return last == '\a' || (last == '\\' && seq[seq_n - 2] == '\033');
}

static void seq_take(struct mi_ui *ui, bool *answered) {
    if (seq_n == 4 && !memcmp(seq, "\033[0n", 4))
        mi_pics_ack(ui->pics, mi_ui_clock());
    else if (mi_probe_feed(&ui->probe, seq, seq_n))
        *answered = true;
    seq_n = 0;
}

/* One character into the sequence being collected; false when it is a key after all. */
static bool seq_push(struct mi_ui *ui, int c, bool *answered) {
    if (!seq_n) return false;
    if (seq_n == 1 && c != '[' && c != ']' && c != 'P') return false;
    if (c > 255) {
        seq_n = 0;
        return false;
    }
    if (seq_n < sizeof seq - 1)
        seq[seq_n++] = (char)c;
    else
        seq[seq_n - 2] = seq[seq_n - 1], seq[seq_n - 1] = (char)c; /* too long: only its end matters */
    if (seq_complete()) seq_take(ui, answered);
    return true;
}

int mi_term_key(struct mi_ui *ui, bool *answered) {
    static int pushed = -1;
    if (pushed >= 0) {
        int c = pushed;
        pushed = -1;
        return c;
    }
    for (;;) {
        wint_t c;
        int kind = get_wch(&c);
        if (kind == ERR) {
            if (seq_n == 1) {
                seq_n = 0;
                return 27;
            }
            if (seq_n > 1 && mi_ui_clock() - seq_since > 0.5) seq_n = 0; /* the rest never came */
            return -1;
        }
        int code = kind == KEY_CODE_YES ? (int)c : c > 255 ? (int)c + MI_KEY_WIDE : (int)c;
        if (kind == KEY_CODE_YES && code == KEY_RESIZE) continue;
        bool fresh = seq_n == 0 || (seq_n == 1 && code != '[' && code != ']' && code != 'P');
        if (kind == OK && code == 27 && fresh) {
            bool before = seq_n == 1;
            seq[0] = 27, seq_n = 1;
            seq_since = mi_ui_clock();
            if (before) return 27;
            continue;
        }
        if (kind == OK && seq_push(ui, code, answered)) continue;
        if (seq_n == 1) { /* Esc, then at once another key */
            seq_n = 0;
            pushed = code;
            return 27;
        }
        return code;
    }
}

/* ---- the rest ----------------------------------------------------------------------------------------- */

void mi_term_resize(struct mi_ui *ui) {
    struct winsize w = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col) resizeterm(w.ws_row, w.ws_col);
    mi_probe_resize(&ui->probe, STDOUT_FILENO);
}

void mi_term_suspend(struct mi_ui *ui) {
    mi_pics_begin(ui->pics);
    mi_pics_erase(ui->pics, ui->theme.light);
    endwin();
    struct sigaction def = {.sa_handler = SIG_DFL}, old;
    sigaction(SIGTSTP, &def, &old);
    raise(SIGTSTP);
    sigaction(SIGTSTP, &old, NULL);
    mi_term_resize(ui);
    clearok(stdscr, TRUE);
    refresh();
    mi_pics_forget(ui->pics);
}

static void send(const char *text) {
    size_t n = strlen(text);
    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, text, n);
        if (k <= 0) return;
        text += k, n -= (size_t)k;
    }
}

void mi_term_title(const char *title) {
    static char last[128];
    const char *term = getenv("TERM");
    static const char *const known[] = {"xterm", "tmux", "screen", "foot", "mlterm", "alacritty", "rxvt", "contour"};
    bool can = false;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) can |= term && !strncmp(term, known[k], strlen(known[k]));
    if (!can || !strcmp(last, title)) return;
    snprintf(last, sizeof last, "%s", title);
    char text[192];
    snprintf(text, sizeof text, "\033]2;%s\033\\", last);
    send(text);
}

void mi_term_sync(const struct mi_ui *ui, bool begin) {
    if (ui->probe.sync) send(begin ? "\033[?2026h" : "\033[?2026l");
}

void mi_term_clipboard(const char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)text;
    send("\033]52;c;");
    for (size_t n = strlen(text); n > 0;) {
        size_t k = n < 3 ? n : 3;
        unsigned v = (unsigned)p[0] << 16 | (k > 1 ? (unsigned)p[1] << 8 : 0) | (k > 2 ? p[2] : 0u);
        char out[5] = {digits[v >> 18], digits[v >> 12 & 63], k > 1 ? digits[v >> 6 & 63] : '=',
                       k > 2 ? digits[v & 63] : '=', 0};
        send(out);
        p += k, n -= k;
    }
    send("\033\\");
}
