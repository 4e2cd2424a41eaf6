/* entry.c - looking names up among the catalogue's entries, and guessing what a mistyped name meant.
 *
 * The tables themselves live elsewhere: in the engine they are the extension tables, in the terminal program a file
 * the build prints from them.  Both provide mi_catalogue(); everything here works on either.
 *
 * Owns nothing: entries are static. */
#include "midre/entry.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 63 /* longer words are cut: only their start is compared */

static const char *const kind_words[MI_KIND_COUNT] = {"model", "defense", "attack", "data", "metric"};
static const char *const kind_commands[MI_KIND_COUNT] = {"models", "defenses", "attacks", "data", "metrics"};

const char *mi_kind_word(enum mi_kind kind) {
    return kind_words[kind];
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Number of insertions, deletions, replacements and swaps of neighbours between two words, letters' case aside
 * (Damerau 1964, in the "optimal string alignment" form: no part is edited twice). */
static int edit_distance(const char *a, const char *b) {
    int na = (int)strnlen(a, WORD_MAX), nb = (int)strnlen(b, WORD_MAX);
    int row[3][WORD_MAX + 1]; /* rows i-2, i-1 and i of the table */
    int *before = row[0], *above = row[1], *now = row[2];
    for (int j = 0; j <= nb; j++) above[j] = before[j] = j;
    for (int i = 1; i <= na; i++) {
        int ca = tolower((unsigned char)a[i - 1]);
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int cb = tolower((unsigned char)b[j - 1]);
            now[j] = least(above[j - 1] + (ca != cb), least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && cb == tolower((unsigned char)a[i - 2]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        int *oldest = before;
        before = above;
        above = now;
        now = oldest;
    }
    return above[nb];
}

const char *mi_nearest(const char *word, const char *const *names, size_t n) {
    /* A third of the letters may be wrong, plus one; never all of them. */
    int letters = (int)strnlen(word, WORD_MAX);
    int best = least(letters / 3 + 1, letters - 1) + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < n; i++) {
        int d = edit_distance(word, names[i]);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

/* "gmi, kedmi, lomma ..." into `out`: as many names as fit. */
static void list_names(char *out, size_t size, const struct mi_entry *const *entries, size_t n) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        size_t need = strlen(entries[i]->name) + 2;
        if (used + need + 4 >= size) {
            snprintf(out + used, size - used, " ...");
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", entries[i]->name);
    }
}

const struct mi_entry *mi_catalogue_find(enum mi_kind kind, const char *name) {
    size_t n = 0;
    const struct mi_entry *const *entries = mi_catalogue(kind, &n);
    const char *nearest = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i]->name, name) == 0) return entries[i];

    const char **names = mi_calloc(n, sizeof *names);
    if (!names) return NULL;
    for (size_t i = 0; i < n; i++) names[i] = entries[i]->name;
    nearest = mi_nearest(name, names, n);
    char all[400];
    list_names(all, sizeof all, entries, n);
    if (nearest)
        mi_fail(MI_E_INPUT, "no %s \"%.60s\"; did you mean \"%s\"? (`midre %s` lists all)", kind_words[kind], name,
                nearest, kind_commands[kind]);
    else
        mi_fail(MI_E_INPUT, "no %s \"%.60s\"; there is %s", kind_words[kind], name, all);
    free(names);
    return NULL;
}
