/* src/cli/cmd_doctor.c - `midre doctor`: what this machine and this terminal can do, before anything is started.
 *
 * One line per finding, "ok" or "!!" with what to do.  The engine then reports on itself (libtorch, devices, kernels).
 * Fails when something is missing that runs need: a writable workspace, the engine, the shipped files. */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "midre/assets.h"
#include "ui/picture.h"

#define LOW_DISK_GB 2.0

extern char **environ;

static void line(bool good, const char *what, const char *text) {
    printf("%s %-10s %s\n", good ? "ok" : "!!", what, text);
}

static void terminal_lines(void) {
    char text[256];
    const char *term = getenv("TERM"), *color = getenv("COLORTERM"), *codeset = nl_langinfo(CODESET);
    bool tty = isatty(STDOUT_FILENO);
    snprintf(text, sizeof text, "TERM=%s%s%s%s", term ? term : "(unset)", color ? ", COLORTERM=" : "",
             color ? color : "", tty ? "" : ", output is no terminal");
    line(term && strcmp(term, "dumb") != 0, "terminal", text);
    bool utf8 = !strcmp(codeset, "UTF-8");
    snprintf(text, sizeof text, "%s%s", codeset,
             utf8 ? "" : "; curves are drawn in ASCII, set LANG=C.UTF-8 for better ones");
    line(utf8, "locale", text);
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return line(true, "pictures", "no terminal to ask");
    struct mi_probe p;
    mi_probe_terminal(&p, fd, 1500);
    close(fd);
    snprintf(text, sizeof text, "%s%s%s, cell %dx%d px%s", p.sixel ? "sixel" : "half blocks (no sixel)",
             *p.name ? ", " : "", p.name, p.cell_w, p.cell_h, p.cell_known ? "" : " (assumed)");
    line(true, "pictures", p.answered ? text : "the terminal does not answer; half blocks are used");
}

static enum mi_status workspace_line(struct cli *c) {
    char text[512];
    enum mi_status st = cli_workspace(c);
    if (st != MI_OK) {
        line(false, "workspace", mi_error_text());
        return st;
    }
    struct statvfs fs;
    double free_gb = statvfs(c->ws.root, &fs) == 0 ? (double)fs.f_bavail * (double)fs.f_frsize / 1e9 : -1;
    snprintf(text, sizeof text, "%s, %.1f GB free%s", c->ws.root, free_gb,
             free_gb < LOW_DISK_GB ? "; little room for checkpoints, choose another with --workspace" : "");
    line(free_gb >= LOW_DISK_GB, "workspace", text);
    return MI_OK;
}

static enum mi_status assets_line(void) {
    char *path = mi_assets_path("published");
    line(path != NULL, "assets", path ? path : mi_error_text());
    enum mi_status st = path ? MI_OK : mi_error_status();
    free(path);
    return st;
}

/* `midre-engine doctor` below our own lines; its exit code is part of the answer. */
static enum mi_status engine_lines(struct cli *c) {
    char *path = mi_engine_path();
    line(path != NULL, "engine", path ? path : mi_error_text());
    if (!path) return mi_error_status();
    char *argv[] = {path, (char[]){"doctor"}, NULL};
    pid_t pid;
    int w = 0;
    fflush(stdout);
    int rc = posix_spawn(&pid, path, NULL, NULL, argv, environ);
    while (rc == 0 && waitpid(pid, &w, 0) < 0 && errno == EINTR) {
    }
    enum mi_status st = MI_OK;
    if (rc != 0)
        st = mi_fail(MI_E_MISSING, "cannot start it: %s", strerror(rc));
    else if (!WIFEXITED(w))
        st = mi_fail(MI_E_INTERNAL, "its check was killed by signal %d", WTERMSIG(w));
    else if (WEXITSTATUS(w))
        c->exit_code = WEXITSTATUS(w), st = mi_fail(MI_E_INTERNAL, "it found a problem, see above");
    if (st != MI_OK) line(false, "engine", mi_error_text());
    free(path);
    return st;
}

static enum mi_status doctor(struct cli *c) {
    puts("   midre      " MIDRE_VERSION);
    terminal_lines();
    enum mi_status ws = workspace_line(c), worst = ws;
    mi_error_clear(); /* each line shows its own message */
    enum mi_status assets = assets_line();
    mi_error_clear();
    enum mi_status engine = engine_lines(c);
    if (worst == MI_OK) worst = assets != MI_OK ? assets : engine;
    mi_error_clear();
    return worst == MI_OK ? MI_OK : mi_fail(worst, "something above is marked !!; runs need it");
}

const struct cli_command cli_cmd_doctor = {
    .name = "doctor",
    .args = "",
    .brief = "Check terminal, workspace, engine and devices",
    .exec = doctor,
};
