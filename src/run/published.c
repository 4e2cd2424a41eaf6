/* src/run/published.c - reads the paper's printed numbers (assets/published, tab separated) as table rows.
 *
 * A file takes part when its header has the columns of a result table; files with columns of their own (setups, user
 * study, prose) are passed by.  names.tsv maps the paper's words to ours ("VGG16" -> vgg16, "NoDef" -> none); a word
 * it does not know is kept in lower case.  "MIDRE(0.1,0.4)" becomes defense midre, variant 0.1,0.4.  The judge of a
 * row comes from the paper's table of setups.  "NA" and empty mean not printed; "OP" is the paper's own mark.
 * Nothing is recomputed: a published trade-off is the printed one. */
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "midre/assets.h"
#include "midre/table.h"

#define FILE_LIMIT (1u << 20)
#define MAX_FIELDS 24
#define SETUPS     "table_2_A1_setups.tsv"

/* ---- tab separated files --------------------------------------------------------------------------------------------
 */

struct tsv {
    char *text; /* the file, cut into fields in place */
    char *head[MAX_FIELDS];
    char *(*row)[MAX_FIELDS]; /* rows[n], absent fields are "" */
    size_t n, columns;
};

static void tsv_free(struct tsv *f) {
    free(f->text);
    free(f->row);
    *f = (struct tsv){0};
}

static size_t cut(char *line, char *field[MAX_FIELDS]) {
    static char nothing[1];
    size_t n = 0;
    for (char *p = line; p && n < MAX_FIELDS;) field[n++] = strsep(&p, "\t");
    for (size_t i = n; i < MAX_FIELDS; i++) field[i] = nothing;
    return n;
}

static enum mi_status tsv_read(struct tsv *f, const char *dir, const char *name) {
    *f = (struct tsv){0};
    char *path = mi_path_join(dir, name);
    f->text = path ? mi_read_file(path, FILE_LIMIT, NULL) : NULL;
    free(path);
    if (!f->text) return mi_error_status();
    size_t lines = 1;
    for (const char *p = f->text; *p; p++) lines += *p == '\n';
    f->row = mi_calloc(lines, sizeof *f->row);
    if (!f->row) {
        tsv_free(f);
        return MI_E_NOMEM;
    }
    char *rest = f->text;
    f->columns = cut(strsep(&rest, "\n"), f->head);
    while (rest) {
        char *line = strsep(&rest, "\n");
        line[strcspn(line, "\r")] = '\0';
        if (*line) cut(line, f->row[f->n++]);
    }
    f->head[f->columns - 1][strcspn(f->head[f->columns - 1], "\r")] = '\0';
    return MI_OK;
}

static int column(const struct tsv *f, const char *name) {
    for (size_t i = 0; i < f->columns; i++) {
        if (!strcmp(f->head[i], name)) return (int)i;
    }
    return -1;
}

static const char *field(const struct tsv *f, size_t row, const char *name) {
    int c = column(f, name);
    return c < 0 ? "" : f->row[row][c];
}

/* ---- names and judges
 * ------------------------------------------------------------------------------------------------ */

/* Our name of a published word: names.tsv has kind, published, ours. */
static char *our_name(const struct tsv *names, const char *kind, const char *word) {
    for (size_t i = 0; i < names->n; i++) {
        if (!strcmp(names->row[i][0], kind) && !strcmp(names->row[i][1], word)) return mi_strdup(names->row[i][2]);
    }
    char *copy = mi_strdup(word);
    for (char *p = copy; p && *p; p++) *p = (char)tolower((unsigned char)*p);
    return copy;
}

/* true when `word` is one of the ';' separated items of `list`. */
static bool listed(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, ";"), p += *p == ';') {
        if (strcspn(p, ";") == len && !strncmp(p, word, len)) return true;
    }
    return false;
}

/* "MIDRE(0.1,0.4) adaptive attack" -> base "MIDRE", variant "0.1,0.4 adaptive attack". */
static enum mi_status split_defense(const struct tsv *names, const char *text, struct mi_row *r) {
    const char *open = strchr(text, '(');
    char *base = mi_format("%.*s", (int)(open ? open - text : (long)strcspn(text, "(")), text);
    if (!base) return MI_E_NOMEM;
    for (size_t n = strlen(base); n > 0 && base[n - 1] == ' '; n--) base[n - 1] = '\0';
    r->s.defense = our_name(names, "defense", base);
    free(base);
    r->variant = mi_strdup(open ? open + 1 : "");
    char *close = r->variant ? strchr(r->variant, ')') : NULL;
    if (close) memmove(close, close + 1, strlen(close)); /* the closing bracket goes, a remark after it stays */
    return r->s.defense && r->variant ? MI_OK : MI_E_NOMEM;
}

static enum mi_status find_judge(const struct tsv *setups, const struct tsv *names, const struct tsv *f, size_t i,
                                 struct mi_row *r) {
    const char *attack = field(f, i, "attack");
    for (size_t k = 0; k < setups->n; k++) {
        const char *known = field(setups, k, "attack");
        bool attack_fits = !strncmp(attack, known, strlen(known)) && strchr(" ", attack[strlen(known)]);
        if (!attack_fits || !listed(field(setups, k, "architectures"), field(f, i, "architecture")) ||
            !listed(field(setups, k, "dataset"), field(f, i, "dataset")) ||
            !listed(field(setups, k, "public"), field(f, i, "public")) ||
            strcmp(field(setups, k, "resolution"), field(f, i, "resolution")) != 0)
            continue;
        free(r->s.judge);
        r->s.judge = our_name(names, "model", field(setups, k, "eval_model"));
        r->s.judge_acc = atof(field(setups, k, "eval_acc"));
        return r->s.judge ? MI_OK : MI_E_NOMEM;
    }
    return MI_OK;
}

/* ---- rows
 * ------------------------------------------------------------------------------------------------------------- */

static double number(const char *text) {
    char *end;
    double v = strtod(text, &end);
    return end == text || *end ? NAN : v;
}

static enum mi_status add_row(struct mi_table *t, const struct tsv *f, size_t i, const struct tsv *names) {
    struct mi_row *r = mi_table_add(t);
    if (!r) return MI_E_NOMEM;
    struct mi_score_view *s = &r->s;
    const char *setup = field(f, i, "setup");
    bool letter = isupper((unsigned char)setup[0]) && setup[1] == '.';
    r->published = true;
    r->source = letter                                          ? mi_format("Tab. %s", setup)
                : !strncmp(setup, "Tab.", 4) && setup[4] != ' ' ? mi_format("Tab. %s", setup + 4)
                : !strncmp(setup, "Koh et al.", 10)             ? mi_strdup("Koh et al.") /* their project page */
                                                                : mi_strdup(setup);
    s->model = our_name(names, "model", field(f, i, "architecture"));
    s->attack = our_name(names, "attack", field(f, i, "attack"));
    s->data = our_name(names, "data", field(f, i, "dataset"));
    r->public_data = our_name(names, "data", field(f, i, "public"));
    s->judge = mi_strdup(""), s->precision = mi_strdup(""), s->device = mi_strdup("");
    MI_TRY(split_defense(names, field(f, i, "defense"), r));
    s->resolution = atoi(field(f, i, "resolution"));
    s->acc = number(field(f, i, "acc"));
    s->attacc = number(field(f, i, "attacc"));
    s->attacc_std = number(field(f, i, "attacc_std"));
    s->knn = number(field(f, i, "knn_dist"));
    s->delta_eval = number(field(f, i, "delta_eval"));
    s->delta_face = number(field(f, i, "delta_face"));
    s->fid = number(field(f, i, "fid"));
    s->tradeoff = number(field(f, i, "tradeoff"));
    s->overpriced = !strcmp(field(f, i, "tradeoff"), "OP");
    return r->source && s->model && s->attack && s->data && r->public_data && s->judge ? MI_OK : MI_E_NOMEM;
}

static enum mi_status add_file(struct mi_table *t, const char *dir, const char *name, const struct tsv *names,
                               const struct tsv *setups) {
    struct tsv f;
    MI_TRY(tsv_read(&f, dir, name));
    enum mi_status st = MI_OK;
    if (column(&f, "defense") >= 0 && column(&f, "attacc") >= 0 && column(&f, "architecture") >= 0) {
        /* The supplement holds other authors' figures; the paper's setups say nothing about their judge. */
        bool of_paper = !strncmp(name, "table_", 6);
        for (size_t i = 0; i < f.n && st == MI_OK; i++) {
            st = add_row(t, &f, i, names);
            if (st == MI_OK && of_paper) st = find_judge(setups, names, &f, i, &t->rows[t->n - 1]);
        }
    }
    tsv_free(&f);
    return st;
}

static int is_tsv(const struct dirent *d) {
    size_t n = strlen(d->d_name);
    return n > 4 && !strcmp(d->d_name + n - 4, ".tsv");
}

enum mi_status mi_published_append(struct mi_table *t) {
    char *dir = mi_assets_path("published");
    if (!dir) return mi_error_status();
    struct tsv names = {0}, setups = {0};
    struct dirent **list = NULL;
    enum mi_status st = tsv_read(&names, dir, "names.tsv");
    if (st == MI_OK) st = tsv_read(&setups, dir, SETUPS);
    int n = st == MI_OK ? scandir(dir, &list, is_tsv, alphasort) : 0;
    if (n < 0) st = mi_fail(MI_E_MISSING, "cannot list the published tables in %s", dir);
    for (int i = 0; i < n; i++) {
        if (st == MI_OK) st = add_file(t, dir, list[i]->d_name, &names, &setups);
        free(list[i]);
    }
    free(list);
    tsv_free(&names);
    tsv_free(&setups);
    free(dir);
    return st;
}
