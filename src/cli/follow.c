/* src/cli/follow.c - watches a run from a shell: a live status line on a terminal, plain lines elsewhere.
 *
 * The follower only reads the run's journal; closing it never touches the engine.  The first Ctrl-C therefore explains
 * that and asks (s: stop the run, Enter: keep watching, Ctrl-C again: leave it running); off a terminal it explains
 * and leaves.  When the engine is our child, its exit code becomes ours, so that scripts see a failed run. */
#include "follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "midre/control.h"
#include "midre/table.h"

#define PLAIN_EVERY 30.0 /* seconds between status lines off a terminal */
#define CODE_LEFT   130  /* the shells' code for "left by Ctrl-C" */

static volatile sig_atomic_t interrupts;
static void on_interrupt(int sig) {
    (void)sig;
    interrupts++;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show_status(struct follow *f) {
    char line[512];
    if (f->live) {
        if (f->asked) return; /* the question stays readable */
        follow_status(f, line, sizeof line, cli_width(stdout) - 1);
        printf("\r%s\033[K", line);
        f->line_shown = true;
    } else if (now() - f->line_at >= PLAIN_EVERY) {
        f->line_at = now();
        follow_status(f, line, sizeof line, 0);
        printf("%s\n", line);
    }
}

/* Ctrl-C was pressed: explains, asks on a terminal.  true = leave the run alone and go. */
static bool interrupted(struct follow *f) {
    follow_clear_line(f);
    if (f->asked || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        printf("\nRun %d goes on without this terminal.  watch: midre attach %d   stop: midre stop %d\n", f->run,
               f->run, f->run);
        f->c->exit_code = CODE_LEFT;
        return true;
    }
    printf("\nRun %d goes on whatever you do here.  s + Enter: stop it (it can be resumed)   Enter: keep watching   "
           "Ctrl-C again: leave it running\n",
           f->run);
    f->asked = true;
    return false;
}

static void answer(struct follow *f) {
    char line[64], reply[128];
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    f->asked = false;
    if (n <= 0 || (line[0] != 's' && line[0] != 'S')) return;
    if (mi_control_send(f->v->dir, "stop", reply, sizeof reply) == MI_OK) {
        printf("Asked run %d to stop; it finishes its step and writes a checkpoint.\n", f->run);
    } else {
        printf("Could not ask run %d to stop: %s\n", f->run, mi_error_text());
        mi_error_clear();
    }
}

/* true when the engine has ended; *code is its exit code, -1 unknown, 256 + signal when it was killed. */
static bool ended(struct follow *f, int *code) {
    *code = -1;
    if (f->pid > 0) {
        int w;
        pid_t r = waitpid(f->pid, &w, WNOHANG);
        if (r == f->pid) {
            *code = WIFEXITED(w) ? WEXITSTATUS(w) : 256 + WTERMSIG(w);
            return true;
        }
        if (r == 0 || errno != ECHILD) return false;
    }
    const char *s = f->v->state;
    if (s && (!strcmp(s, "done") || !strcmp(s, "failed") || !strcmp(s, "stopped"))) return true;
    return mi_run_engine_pid(&f->c->ws, f->run) == 0;
}

static void print_result(struct follow *f) {
    struct mi_table t;
    char number[16];
    snprintf(number, sizeof number, "%d", f->run);
    if (mi_table_build(&t, &f->c->ws, false) != MI_OK) return mi_error_clear();
    if (mi_table_filter(&t, "run", number) == MI_OK) {
        fputc('\n', stdout);
        mi_table_print(&t, MI_TABLE_TEXT, stdout, cli_width(stdout));
    }
    mi_error_clear();
    mi_table_free(&t);
}

/* A run that ended before scoring still has something to tell: how good its targets are. */
static void print_accuracies(const struct mi_run_view *v) {
    for (size_t i = 0; i < v->n_stages; i++) {
        const struct mi_series *acc = mi_stage_series(&v->stages[i], "acc/test");
        if (acc && acc->n)
            printf("%s: accuracy %.2f %%%s\n", v->stages[i].title ? v->stages[i].title : v->stages[i].id,
                   acc->points[acc->n - 1].y, v->synthetic ? " (synthetic data)" : "");
    }
}

/* The last words about a run that ended. */
static enum mi_status finish(struct follow *f, int code) {
    const char *s = f->v->state ? f->v->state : "";
    follow_clear_line(f);
    f->c->exit_code = code > 0 && code < 256 ? code : 0;
    if (!strcmp(s, "done")) {
        if (f->v->n_scores)
            print_result(f);
        else
            print_accuracies(f->v);
        printf("\nrun %d done.  pictures: midre show %d   all results: midre table\n", f->run, f->run);
        return MI_OK;
    }
    if (!strcmp(s, "stopped")) {
        printf("run %d stopped; `midre resume %d` goes on where it was.\n", f->run, f->run);
        return MI_OK;
    }
    if (!strcmp(s, "failed"))
        return mi_fail(MI_E_INTERNAL, "run %d failed: %s", f->run, f->v->error ? f->v->error : "see its log");
    if (code > 256)
        return mi_fail(MI_E_INTERNAL,
                       "the engine of run %d was killed by signal %d%s; `midre resume %d` goes on from its "
                       "last checkpoint",
                       f->run, code - 256, code - 256 == SIGKILL ? " (out of memory?)" : "", f->run);
    char *log = mi_run_file(&f->c->ws, f->run, "engine.log");
    enum mi_status st = mi_fail(MI_E_INTERNAL,
                                "the engine of run %d ended without a word (see %s); `midre resume %d` tries "
                                "again",
                                f->run, log ? log : "engine.log", f->run);
    free(log);
    return st;
}

static enum mi_status watch(struct follow *f) {
    f->line_at = now();
    for (;;) {
        int code;
        bool over = ended(f, &code); /* asked before the last read, so nothing written before the end is missed */
        MI_TRY(mi_view_update(f->v, NULL));
        follow_tell_events(f);
        if (over) return finish(f, code);
        show_status(f);
        fflush(stdout);
        struct pollfd p[2] = {{.fd = mi_view_fd(f->v), .events = POLLIN},
                              {.fd = f->asked ? STDIN_FILENO : -1, .events = POLLIN}};
        int seen = interrupts;
        if (seen == 0) poll(p, 2, f->live ? 250 : 500);
        if (p[1].revents & (POLLIN | POLLHUP)) answer(f);
        if (interrupts) {
            interrupts = 0;
            if (interrupted(f)) return MI_OK;
        }
    }
}

enum mi_status cli_follow(struct cli *c, int run, int pid) {
    MI_TRY(cli_workspace(c));
    struct follow f = {.c = c, .run = run, .pid = pid};
    const char *term = getenv("TERM");
    f.live = isatty(STDOUT_FILENO) && !cli_has(c, "plain") && term && strcmp(term, "dumb") != 0;
    char *dir = mi_run_dir(&c->ws, run);
    f.v = dir ? mi_view_open(dir, run) : NULL;
    free(dir);
    if (!f.v) return mi_error_status();
    struct sigaction sa = {.sa_handler = on_interrupt}, old;
    interrupts = 0;
    sigaction(SIGINT, &sa, &old); /* no SA_RESTART: poll must return */
    enum mi_status st = watch(&f);
    sigaction(SIGINT, &old, NULL);
    fflush(stdout);
    mi_view_close(f.v);
    free(f.state);
    return st;
}
