/* celeba_lists.c - reading CelebA's text files: identities, and the published train/test/public lists.
 *
 * Every line is "name number" (the public list may leave the number out).  A line that does not fit stops the
 * reading with its file and line number: a silently shortened split would give wrong numbers later.  Names are
 * matched to image files without their ending, since CelebA exists as JPG and as PNG. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/data/celeba_priv.h"

#define MAX_LIST_BYTES ((size_t)64 << 20)
#define MAX_NUMBER     10000000L

/* One line cut into name and number; *number = -1 when there is none. False when malformed. */
static bool parse_line(char *line, char **name, long *number) {
    *name = strtok_r(line, " \t\r", &line);
    char *word = strtok_r(NULL, " \t\r", &line), *rest = strtok_r(NULL, " \t\r", &line), *end = NULL;
    *number = -1;
    if (!*name || rest || strchr(*name, '/')) return false;
    if (!word) return true;
    errno = 0;
    *number = strtol(word, &end, 10);
    return !*end && end != word && !errno && *number >= 0 && *number <= MAX_NUMBER;
}

struct reader {
    const char *path;
    struct mi_celeba *c;
    bool need_number;
    size_t lines, absent;
    char *first_absent;
    uint8_t *seen; /* [files] */
};

static enum mi_status read_line(struct reader *r, char *line, struct mi_photo *out, bool *got) {
    char *name;
    long number;
    *got = false;
    if (line[strspn(line, " \t\r")] == 0) return MI_OK;
    if (!parse_line(line, &name, &number) || (r->need_number && number < 0))
        return mi_fail(MI_E_INPUT, "%s, line %zu: expected \"%s\"", r->path, r->lines,
                       r->need_number ? "image-name number" : "image-name\" or \"image-name number");
    long at = mi_files_find(&r->c->files, name);
    if (at < 0) {
        if (!r->absent++) r->first_absent = mi_strdup(name);
        return MI_OK;
    }
    if (r->seen[at]) return mi_fail(MI_E_INPUT, "%s, line %zu: %s appears a second time", r->path, r->lines, name);
    r->seen[at] = 1;
    *out = (struct mi_photo){.number = (int32_t)number, .file = (uint32_t)at};
    *got = true;
    return MI_OK;
}

static enum mi_status read_lines(struct reader *r, char *text, struct mi_photos *out) {
    size_t most = 1;
    for (const char *p = text; *p; p++) most += *p == '\n';
    out->photo = mi_calloc(most, sizeof *out->photo);
    if (!out->photo) return MI_E_NOMEM;
    for (char *line = text; line;) {
        char *next = strchr(line, '\n');
        if (next) *next++ = 0;
        r->lines++;
        bool got;
        MI_TRY(read_line(r, line, &out->photo[out->n], &got));
        out->n += got;
        line = next;
    }
    if (r->absent)
        return mi_fail(MI_E_MISSING, "%s names %zu images that are not in %s (first: %s); is the download complete?",
                       r->path, r->absent, r->c->images, r->first_absent ? r->first_absent : "?");
    if (!out->n) return mi_fail(MI_E_INPUT, "%s names no image", r->path);
    return MI_OK;
}

enum mi_status mi_celeba_read(struct mi_celeba *c, const char *path, bool need_number, struct mi_photos *out) {
    struct reader r = {.path = path, .c = c, .need_number = need_number};
    size_t n;
    memset(out, 0, sizeof *out);
    char *text = mi_read_file(path, MAX_LIST_BYTES, &n);
    if (!text) return mi_error_status();
    r.seen = mi_calloc(c->files.n + 1, 1);
    enum mi_status st = MI_E_NOMEM;
    if (r.seen && memchr(text, 0, n))
        st = mi_fail(MI_E_INPUT, "%s is not a text file", path);
    else if (r.seen)
        st = read_lines(&r, text, out);
    if (st != MI_OK) mi_photos_free(out);
    free(r.first_absent);
    free(r.seen);
    free(text);
    return st;
}

void mi_photos_free(struct mi_photos *p) {
    free(p->photo);
    memset(p, 0, sizeof *p);
}

static int by_number(const void *pa, const void *pb) {
    const struct mi_photo *a = pa, *b = pb;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return (a->file > b->file) - (a->file < b->file);
}

void mi_photos_sort(struct mi_photos *p) {
    if (p->n > 1) qsort(p->photo, p->n, sizeof *p->photo, by_number);
}
