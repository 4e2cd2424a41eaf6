/* ini.c - settings files: a strict first pass of our own, then iniparser for the values.
 *
 * iniparser knows quoting and comments, but it takes the later of two equal keys in silence, folds case, joins lines
 * after a backslash, gives no line numbers, and takes quadratic time in the number of keys.  So a first pass checks
 * each line, notes where each key stands, refuses doubles, and hands iniparser a copy that holds nothing it could
 * misread: one "key=value" a line, under limits.  iniparser only reads files, so the copy lives in a memfd.
 *
 * Syntax: [section], key = value, whole lines of comment after # or ;, and comments behind unquoted values. */
#include "src/run/ini.h"

#include <ctype.h>
#include <iniparser/iniparser.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "midre/workspace.h"
#include "src/run/files_priv.h"

/* iniparser reports through one process-wide printf-like callback; its text goes to the calling thread. */
static _Thread_local char complaint[256];
static pthread_once_t callback_once = PTHREAD_ONCE_INIT;

__attribute__((format(printf, 1, 2))) static int take_complaint(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(complaint, sizeof complaint, fmt, args);
    va_end(args);
    return n;
}

static void set_callback(void) {
    iniparser_set_error_callback(take_complaint);
}

/* The pass over the lines. */
struct scan {
    const char *label;
    int line;
    char section[MI_INI_LINE_MAX + 1]; /* "" before the first [section] */
    struct mi_ini *out;
    size_t room;
    FILE *copy; /* what iniparser will read */
};

static bool is_name(const char *text, const char *punctuation) {
    if (!*text) return false;
    for (; *text; text++)
        if (!islower((unsigned char)*text) && !isdigit((unsigned char)*text) && !strchr(punctuation, *text))
            return false;
    return true;
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = '\0';
    return text;
}

static enum mi_status take_section(struct scan *s, char *line) {
    char *end = strchr(line, ']');
    if (!end) return mi_fail(MI_E_INPUT, "%s:%d: \"%.60s\" has no closing ]", s->label, s->line, line);
    *end = '\0';
    char *rest = trim(end + 1), *name = trim(line + 1);
    if (*rest && *rest != '#' && *rest != ';')
        return mi_fail(MI_E_INPUT, "%s:%d: \"%.60s\" after [%.60s] is not a comment", s->label, s->line, rest, name);
    if (!is_name(name, "_-."))
        return mi_fail(MI_E_INPUT, "%s:%d: [%.60s]: section names are lower-case letters, digits, dots, - and _",
                       s->label, s->line, name);
    snprintf(s->section, sizeof s->section, "%s", name);
    fprintf(s->copy, "[%s]\n", name);
    return MI_OK;
}

static enum mi_status add_item(struct scan *s, const char *key) {
    struct mi_ini *ini = s->out;
    for (size_t i = 0; i < ini->n; i++)
        if (strcmp(ini->item[i].key, key) == 0 && strcmp(ini->item[i].section, s->section) == 0)
            return mi_fail(MI_E_INPUT, "%s:%d: [%s] %s is set twice (first on line %d); keep one", s->label, s->line,
                           s->section, key, ini->item[i].line);
    if (ini->n == MI_INI_ITEMS_MAX)
        return mi_fail(MI_E_INPUT, "%s:%d: more than %d settings: not a settings file", s->label, s->line,
                       MI_INI_ITEMS_MAX);
    if (ini->n == s->room) {
        size_t room = s->room ? s->room * 2 : 64;
        struct mi_ini_item *more = realloc(ini->item, room * sizeof *more);
        if (!more) return mi_fail(MI_E_NOMEM, "out of memory reading %s", s->label);
        ini->item = more;
        s->room = room;
    }
    struct mi_ini_item *it = &ini->item[ini->n++];
    *it = (struct mi_ini_item){.section = mi_strdup(s->section), .key = mi_strdup(key), .line = s->line};
    return it->section && it->key ? MI_OK : MI_E_NOMEM;
}

static enum mi_status take_setting(struct scan *s, char *line) {
    char *equals = strchr(line, '=');
    if (!equals)
        return mi_fail(MI_E_INPUT, "%s:%d: \"%.60s\" is neither [section] nor key = value", s->label, s->line, line);
    *equals = '\0';
    char *key = trim(line), *value = trim(equals + 1);
    if (!is_name(key, "_"))
        return mi_fail(MI_E_INPUT, "%s:%d: key \"%.60s\": keys are lower-case letters, digits and _", s->label, s->line,
                       key);
    if (!s->section[0])
        return mi_fail(MI_E_INPUT, "%s:%d: %.60s stands before the first [section]", s->label, s->line, key);
    if ((value[0] == '"' || value[0] == '\'') && !strchr(value + 1, value[0]))
        return mi_fail(MI_E_INPUT, "%s:%d: the quote %c of %.60s is not closed", s->label, s->line, value[0], key);
    size_t n = strlen(value);
    if (n && value[n - 1] == '\\')
        return mi_fail(MI_E_INPUT, "%s:%d: \\ at the end of %.60s: a value must fit on one line", s->label, s->line,
                       key);
    MI_TRY(add_item(s, key));
    fprintf(s->copy, "%s=%s\n", key, value);
    return MI_OK;
}

static enum mi_status scan_lines(struct scan *s, const char *text) {
    char line[MI_INI_LINE_MAX + 1];
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* byte-order mark of some editors */
    while (*text) {
        size_t n = strcspn(text, "\n");
        s->line++;
        if (n > MI_INI_LINE_MAX)
            return mi_fail(MI_E_INPUT, "%s:%d: line longer than %d bytes", s->label, s->line, MI_INI_LINE_MAX);
        memcpy(line, text, n);
        line[n] = '\0';
        text += n + (text[n] == '\n');
        char *body = trim(line);
        for (const unsigned char *c = (const unsigned char *)body; *c; c++)
            if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
                return mi_fail(MI_E_INPUT, "%s:%d: control character 0x%02x: not a text file?", s->label, s->line, *c);
        if (!*body || *body == '#' || *body == ';') continue;
        MI_TRY(*body == '[' ? take_section(s, body) : take_setting(s, body));
    }
    return MI_OK;
}

/* Lets iniparser read the checked copy and fetches the value of every item. */
static enum mi_status fetch_values(struct mi_ini *ini, const char *copy, size_t n, const char *label) {
    enum mi_status status = MI_OK;
    dictionary *dict = NULL;
    char path[64], key[2 * MI_INI_LINE_MAX + 8];
    int fd = memfd_create("midre-settings", MFD_CLOEXEC);
    if (fd < 0) return mi_fail_errno("make a memory file for", label);
    status = mi_write_all(fd, copy, n, label);
    if (status != MI_OK) goto out;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    pthread_once(&callback_once, set_callback);
    complaint[0] = '\0';
    dict = iniparser_load(path);
    if (!dict) {
        status = mi_fail(MI_E_INPUT, "%s: cannot be parsed: %s", label, complaint);
        goto out;
    }
    for (size_t i = 0; i < ini->n && status == MI_OK; i++) {
        struct mi_ini_item *it = &ini->item[i];
        snprintf(key, sizeof key, "%s:%s", it->section, it->key);
        const char *value = iniparser_getstring(dict, key, NULL);
        if (!value)
            status = mi_fail(MI_E_INPUT, "%s:%d: the value of %s cannot be parsed", label, it->line, it->key);
        else if (!(it->value = mi_strdup(value)))
            status = MI_E_NOMEM;
    }
out:
    if (dict) iniparser_freedict(dict);
    close(fd);
    return status;
}

enum mi_status mi_ini_parse(const char *text, const char *label, struct mi_ini *out) {
    char *copy = NULL;
    size_t n = 0;
    *out = (struct mi_ini){0};
    struct scan s = {.label = label, .out = out, .copy = open_memstream(&copy, &n)};
    if (!s.copy) return mi_fail(MI_E_NOMEM, "out of memory reading %s", label);
    enum mi_status status = scan_lines(&s, text);
    if (fclose(s.copy) != 0 && status == MI_OK) status = mi_fail(MI_E_NOMEM, "out of memory reading %s", label);
    if (status == MI_OK && out->n > 0) status = fetch_values(out, copy, n, label);
    free(copy);
    if (status != MI_OK) mi_ini_free(out);
    return status;
}

enum mi_status mi_ini_load(const char *path, struct mi_ini *out) {
    size_t n;
    *out = (struct mi_ini){0};
    char *text = mi_read_file(path, MI_INI_BYTES_MAX, &n);
    if (!text) return mi_error_status();
    enum mi_status status = memchr(text, '\0', n) ? mi_fail(MI_E_INPUT, "%s holds zero bytes: not a text file", path)
                                                  : mi_ini_parse(text, path, out);
    free(text);
    return status;
}

void mi_ini_free(struct mi_ini *ini) {
    for (size_t i = 0; i < ini->n; i++) {
        free(ini->item[i].section);
        free(ini->item[i].key);
        free(ini->item[i].value);
    }
    free(ini->item);
    *ini = (struct mi_ini){0};
}

char *mi_ini_user_path(void) {
    if (mi_exists("midre.ini")) return mi_strdup("midre.ini");
    const char *config = getenv("XDG_CONFIG_HOME");
    char *base = mi_path_resolve(NULL, config && *config == '/' ? config : "~/.config");
    char *path = base ? mi_path_join(base, "midre/midre.ini") : NULL;
    free(base);
    if (!path || mi_exists(path)) return path;
    free(path);
    return mi_strdup("");
}
