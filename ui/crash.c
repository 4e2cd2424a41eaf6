/* ui/crash.c - gives the terminal back when the program crashes, so that the shell after it is usable.
 *
 * Everything the handler needs is prepared beforehand: the bytes that end curses (from terminfo) and the line settings
 * of before.  In the handler only write, tcsetattr, dup2, sigaction and raise are called, all safe there.  The signal
 * is raised again with whoever handled it before, so that a core dump, a sanitizer's report and the exit code stay as
 * they would be.  Runs are not touched: their engines are processes of their own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "ui/term.h"

#define ALT_STACK 65536 /* a crash may be an overflow of the ordinary one */

static const int crashes[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
#define N_CRASHES (sizeof crashes / sizeof *crashes)
static struct sigaction old_actions[N_CRASHES];
static struct termios line;
static bool line_known, taken;
static char bytes[256];
static size_t n_bytes;
static int error_fd = -1;
static char *stack;

static void put(int fd, const char *text, size_t n) {
    while (n > 0) {
        ssize_t k = write(fd, text, n);
        if (k <= 0) return;
        text += k, n -= (size_t)k;
    }
}

static void on_crash(int sig) {
    static const char words[] = "midre: the screens crashed; runs go on, `midre` finds them again\n";
    put(STDOUT_FILENO, bytes, n_bytes);
    if (line_known) tcsetattr(STDIN_FILENO, TCSANOW, &line);
    if (error_fd >= 0) dup2(error_fd, STDERR_FILENO);
    put(STDERR_FILENO, words, sizeof words - 1);
    for (size_t k = 0; k < N_CRASHES; k++) sigaction(crashes[k], &old_actions[k], NULL);
    raise(sig);
}

static void add(const char *text) {
    size_t n = text && text != (const char *)-1 ? strlen(text) : 0;
    if (n == 0 || n > sizeof bytes - n_bytes) return; /* vt100 has no such capability: text may be NULL */
    memcpy(bytes + n_bytes, text, n);
    n_bytes += n;
}

void mi_crash_line(void) {
    line_known = tcgetattr(STDIN_FILENO, &line) == 0;
}

void mi_crash_take(int saved_stderr) {
    static const char *const caps[] = {"sgr0", "cnorm", "rmkx", "rmcup"};
    error_fd = saved_stderr;
    n_bytes = 0;
    add("\033\\\033[?2026l"); /* a picture or a frame may be half sent */
    for (size_t k = 0; k < sizeof caps / sizeof *caps; k++) add(tigetstr(caps[k]));
    struct sigaction a = {.sa_handler = on_crash, .sa_flags = SA_NODEFER};
    stack = malloc(ALT_STACK);
    stack_t alt = {.ss_sp = stack, .ss_size = ALT_STACK};
    if (stack && sigaltstack(&alt, NULL) == 0) a.sa_flags |= SA_ONSTACK;
    for (size_t k = 0; k < N_CRASHES; k++) sigaction(crashes[k], &a, &old_actions[k]);
    taken = true;
}

void mi_crash_leave(void) {
    if (!taken) return;
    for (size_t k = 0; k < N_CRASHES; k++) sigaction(crashes[k], &old_actions[k], NULL);
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    free(stack);
    stack = NULL;
    taken = false;
}
