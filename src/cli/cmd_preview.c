/* src/cli/cmd_preview.c - `midre preview`: training photos as the network sees them under a defense.
 *
 * The photos are made by midre-engine, by the same code as in a training (midre/preview.h): it packs the images if need
 * be, and writes a PNG; its output and its exit code are ours.  Here that file is drawn where there is a terminal, and
 * kept where one was asked for (or where there is no terminal to draw on). */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "midre/image.h"
#include "midre/preview.h"

#define ROWS_PER_TILE 5 /* text rows a photo gets on screen */

static const struct cli_option options[] = {
    {"defense", 0, "NAME", "Defense or composition to show, as in defense.name: midre, fe, midre+blur, none"},
    {"data", 0, "NAME", "Dataset the photos come from, as in data.name"},
    {"output", 'o', "FILE.png", "Keep the picture in this file (without a terminal: preview.png)"},
    {"rows", 'n', "N", "How many photos, of as many people (6)"},
    {"cols", 'c', "N", "Columns: the stored photo and N - 1 epochs (8)"},
    {"images", 0, "WORD", "auto, sixel, half, half256, ascii or off"},
    CLI_OPTION_END,
};

/* Ctrl-C goes to both of us: it ends the engine, and this program stays to clear up behind it. */
static enum mi_status wait_for(struct cli *c, struct mi_preview *p) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    int w = 0;
    sigaction(SIGINT, &ignore, &old);
    while (waitpid(p->pid, &w, 0) < 0 && errno == EINTR) {
    }
    sigaction(SIGINT, &old, NULL);
    p->pid = 0;
    c->exit_code = WIFEXITED(w) ? WEXITSTATUS(w) : WTERMSIG(w) == SIGINT ? 128 + SIGINT : 0;
    return c->exit_code ? MI_STOPPED : mi_preview_outcome(p, w, NULL);
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
    long rows = 0, cols = 0;
    MI_TRY(cli_number(c, "rows", 1, 256, &rows));
    MI_TRY(cli_number(c, "cols", 2, 64, &cols));
    MI_TRY(cli_workspace(c));
    struct mi_spec *spec = read_spec(c);
    if (!spec) return mi_error_status();
    const char *kept = cli_value(c, "output");
    if (!kept && !isatty(STDOUT_FILENO) && !cli_has(c, "images")) kept = "preview.png";
    struct mi_preview p;
    struct mi_preview_want want = {
        .spec = spec, .workspace = c->ws.root, .out = kept, .rows = (int)rows, .cols = (int)cols};
    fflush(stdout);
    enum mi_status st = mi_preview_start(&p, &want);
    if (st == MI_OK) {
        st = wait_for(c, &p);
        if (st == MI_OK) st = show_file(c, p.picture, kept);
        mi_preview_close(&p);
    }
    mi_spec_free(spec);
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
