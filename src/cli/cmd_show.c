/* src/cli/cmd_show.c - `midre show`: a run in words, numbers and one picture, on any terminal.
 *
 * The picture goes out as sixel where the terminal says it can (asked over /dev/tty), as half blocks or shaded letters
 * elsewhere, and not at all when the output is no terminal; --png writes it to a file in every case. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "midre/table.h"
#include "show_grid.h"

#define ROWS_PER_TILE 5 /* text rows a person gets on screen */

static const struct cli_option options[] = {
    {"png", 0, "FILE", "Write the picture (photo | reconstruction of every cell) to a PNG file"},
    {"rows", 'n', "N", "How many people to show (8)"},
    {"best", 0, NULL, "Of the restarts show the one the judge trusts most, not the first"},
    {"images", 0, "WORD", "auto, sixel, half, half256, ascii or off"},
    CLI_OPTION_END,
};

static void print_stage(const struct mi_stage_view *s) {
    static const char *const words[] = {"waiting", "running", "cached", "done", "FAILED"};
    printf("  %-8s %s", words[s->state], s->title ? s->title : s->id);
    if (s->state == MI_STAGE_DONE && s->seconds >= 1) printf(" (%.0f s)", s->seconds);
    if (s->error) printf(": %s", s->error);
    const struct mi_series *acc = mi_stage_series(s, "acc/test");
    if (acc && acc->n) printf(", accuracy %.2f %%", acc->points[acc->n - 1].y);
    fputc('\n', stdout);
}

static void print_summary(struct cli *c, const struct mi_run_view *v) {
    printf("run %d%s%s: %s\n", v->number, v->name && *v->name ? " " : "", v->name ? v->name : "",
           cli_run_state(v, mi_run_engine_pid(&c->ws, v->number)));
    printf("  in      %s\n", v->dir);
    if (v->device)
        printf("  on      %s, %s, %d threads, seed %lld\n", v->device, v->precision ? v->precision : "?", v->threads,
               (long long)v->seed);
    if (v->synthetic) puts("  data    synthetic: rendered faces, not photographs of people");
    if (v->error) printf("  error   %s\n", v->error);
    if (v->skipped_lines) printf("  note    %zu damaged journal lines were skipped\n", v->skipped_lines);
    if (v->n_stages) puts("stages");
    for (size_t i = 0; i < v->n_stages; i++) print_stage(&v->stages[i]);
}

static enum mi_status print_scores(struct cli *c, const struct mi_run_view *v) {
    if (v->n_scores == 0) return MI_OK;
    struct mi_table t;
    char number[16];
    snprintf(number, sizeof number, "%d", v->number);
    MI_TRY(mi_table_build(&t, &c->ws, false));
    enum mi_status st = mi_table_filter(&t, "run", number);
    fputc('\n', stdout);
    if (st == MI_OK) st = mi_table_print(&t, MI_TABLE_TEXT, stdout, cli_width(stdout));
    for (size_t i = 0; st == MI_OK && i < t.n; i++) {
        const struct mi_row *r = &t.rows[i];
        char defense[160];
        if (!r->s.note || !*r->s.note) continue;
        if ((st = mi_table_cell(r, "defense", defense, sizeof defense)) == MI_OK)
            printf("Note on %s, %s, %s: %s.\n", r->s.attack, r->s.model, defense, r->s.note);
    }
    mi_table_free(&t);
    return st;
}

static enum mi_status pictures(struct cli *c, const struct mi_run_view *v, int rows) {
    const char *png = cli_value(c, "png"), *images = cli_value(c, "images");
    struct show_grid g;
    bool best = cli_has(c, "best");
    enum mi_status st = show_grid_make(&g, v, rows, best);
    if (st != MI_OK) return st;
    if (g.cols == 0) /* a run without pictures is still worth its words */
        return png ? mi_fail(MI_E_MISSING, "run %d has no reconstructions yet, %s was not written", v->number, png)
                   : MI_OK;
    if (png) st = mi_image_write_png(png, &g.sheet);
    if (st == MI_OK && png) printf("\nwrote %s (%d x %d px)\n", png, g.sheet.width, g.sheet.height);
    if (st == MI_OK && (isatty(STDOUT_FILENO) || images)) st = cli_draw(&g.sheet, images, g.rows * ROWS_PER_TILE);
    if (st == MI_OK) {
        printf("\n%s restart of each person; a tile is %d px.\n", best ? "The judge's favourite" : "The first", g.tile);
        show_grid_captions(&g, stdout);
    }
    show_grid_free(&g);
    return st;
}

static enum mi_status show(struct cli *c) {
    int run;
    long rows = 8;
    MI_TRY(cli_number(c, "rows", 1, 1000, &rows));
    MI_TRY(cli_run_number(c, c->n_args ? c->args[0] : "last", &run));
    char *dir = mi_run_dir(&c->ws, run);
    struct mi_run_view *v = dir ? mi_view_open(dir, run) : NULL;
    free(dir);
    enum mi_status st = v ? mi_view_update(v, NULL) : mi_error_status();
    if (st == MI_OK) {
        print_summary(c, v);
        st = print_scores(c, v);
        if (st == MI_OK) st = pictures(c, v, (int)rows);
    }
    mi_view_close(v);
    return st;
}

const struct cli_command cli_cmd_show = {
    .name = "show",
    .args = "[RUN]",
    .brief = "A run's stages, scores and reconstructions, inline in the terminal",
    .help = "Each row of the picture is a person: the private photo, then what the attack reconstructed from each cell "
            "(model / defense / attack).  The captions below give the judge's verdict in words.",
    .options = options,
    .max_args = 1,
    .exec = show,
};
