/* src/cli/cmd_preview.c - `midre preview`: training photos as the network sees them under a defense.
 *
 * The photos are made by midre-engine, by the same code as in a training: it gets the resolved spec in a temporary
 * file, packs the images if need be, and writes a PNG.  Here that file is drawn where there is a terminal, and kept
 * where one was asked for (or where there is no terminal to draw on). */
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "midre/image.h"

#define ROWS_PER_TILE 5 /* text rows a photo gets on screen */

extern char **environ;

static const struct cli_option options[] = {
    {"defense", 0, "NAME", "Defense or composition to show, as in defense.name: midre, fe, midre+blur, none"},
    {"data", 0, "NAME", "Dataset the photos come from, as in data.name"},
    {"output", 'o', "FILE.png", "Keep the picture in this file (without a terminal: preview.png)"},
    {"rows", 'n', "N", "How many photos, of as many people (6)"},
    {"cols", 'c', "N", "Columns: the stored photo and N - 1 epochs (8)"},
    {"images", 0, "WORD", "auto, sixel, half, half256, ascii or off"},
    CLI_OPTION_END,
};

/* `midre-engine preview ...`, on this terminal; its output and its exit code are ours. */
static enum mi_status run_engine(struct cli *c, char *const *args) {
    char *path = mi_engine_path();
    if (!path) return mi_error_status();
    pid_t pid;
    int w = 0;
    fflush(stdout);
    int rc = posix_spawn(&pid, path, NULL, NULL, args, environ);
    while (rc == 0 && waitpid(pid, &w, 0) < 0 && errno == EINTR) {
    }
    enum mi_status st = MI_OK;
    if (rc != 0)
        st = mi_fail(MI_E_MISSING, "cannot start %s: %s", path, strerror(rc));
    else if (!WIFEXITED(w))
        st = mi_fail(MI_E_INTERNAL, "the engine was killed by signal %d while making the preview", WTERMSIG(w));
    else if (WEXITSTATUS(w)) /* it has said why */
        c->exit_code = WEXITSTATUS(w), st = MI_STOPPED;
    free(path);
    return st;
}

static enum mi_status make(struct cli *c, const char *spec, const char *out) {
    const char *words[16];
    size_t n = 0;
    words[n++] = "midre-engine";
    words[n++] = "preview";
    words[n++] = spec;
    words[n++] = "--out";
    words[n++] = out;
    words[n++] = "--workspace";
    words[n++] = c->ws.root;
    if (cli_has(c, "rows")) words[n++] = "--rows", words[n++] = cli_value(c, "rows");
    if (cli_has(c, "cols")) words[n++] = "--cols", words[n++] = cli_value(c, "cols");
    words[n] = NULL;
    char *args[16];
    memcpy(args, words, sizeof args); /* posix_spawn takes char *, and writes nothing */
    return run_engine(c, args);
}

static enum mi_status show_file(struct cli *c, const char *path, const char *kept) {
    struct mi_image sheet = {0};
    const char *images = cli_value(c, "images");
    MI_TRY(mi_image_read(path, &sheet));
    enum mi_status st = MI_OK;
    if (isatty(STDOUT_FILENO) || images) {
        long rows = 6;
        st = cli_number(c, "rows", 1, 256, &rows);
        if (st == MI_OK) st = cli_draw(&sheet, images, (int)rows * ROWS_PER_TILE);
    }
    if (st == MI_OK && kept) printf("wrote %s (%d x %d px)\n", kept, sheet.width, sheet.height);
    mi_image_free(&sheet);
    return st;
}

/* The spec with the options on top; the experiment's other defenses are left out. */
static struct mi_spec *read_spec(struct cli *c) {
    bool file = c->n_args > 0 && !strchr(c->args[0], '=');
    struct mi_spec *spec = cli_spec(c, file ? c->args[0] : NULL, file ? 1 : 0);
    const char *defense = cli_value(c, "defense"), *data = cli_value(c, "data");
    enum mi_status st = spec ? MI_OK : mi_error_status();
    if (st == MI_OK && data) st = mi_spec_set(spec, "data", "name", data);
    if (st == MI_OK && defense) st = mi_spec_set(spec, "defense", "name", defense);
    if (st == MI_OK) return spec;
    mi_spec_free(spec);
    return NULL;
}

static enum mi_status preview(struct cli *c) {
    long n = 0;
    MI_TRY(cli_number(c, "rows", 1, 256, &n));
    MI_TRY(cli_number(c, "cols", 2, 64, &n));
    MI_TRY(cli_workspace(c));
    struct mi_spec *spec = read_spec(c);
    if (!spec) return mi_error_status();
    const char *tmp = getenv("TMPDIR"), *kept = cli_value(c, "output");
    if (!kept && !isatty(STDOUT_FILENO) && !cli_has(c, "images")) kept = "preview.png";
    char *dir = mi_format("%s/midre-preview-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    char *text = mi_spec_write(spec), *ini = NULL, *png = NULL;
    enum mi_status st = dir && text ? MI_OK : mi_error_status();
    bool made = st == MI_OK && mkdtemp(dir);
    if (st == MI_OK && !made) st = mi_fail(MI_E_DISK, "cannot make a temporary folder %s: %s", dir, strerror(errno));
    if (made) {
        ini = mi_path_join(dir, "spec.ini");
        png = mi_path_join(dir, "preview.png");
        st = ini && png ? mi_write_file(ini, text, strlen(text)) : MI_E_NOMEM;
    }
    if (st == MI_OK) st = make(c, ini, kept ? kept : png);
    if (st == MI_OK) st = show_file(c, kept ? kept : png, kept);
    if (made) mi_remove_tree(dir);
    mi_spec_free(spec);
    free(dir);
    free(text);
    free(ini);
    free(png);
    return st;
}

const struct cli_command cli_cmd_preview = {
    .name = "preview",
    .args = "[SPEC.ini] [section.key=value ...]",
    .brief = "Show what training photos look like under a defense",
    .help =
        "A row is a photo: as it is stored, then as each of some epochs would show it, made by the code that feeds a "
        "training.  Photos an epoch leaves out are darkened.  Without a spec the demo's settings are taken:\n\n"
        "  midre preview --defense midre defense.midre.area_high=0.8\n"
        "  midre preview --defense fe+blur -o fe.png target.recipe=ppa\n\n"
        "The picture is drawn in the terminal, and written to a file with -o or where there is no terminal.",
    .options = options,
    .max_args = -1,
    .exec = preview,
};
