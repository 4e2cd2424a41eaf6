/* src/run/ini.h - settings files as a list of (section, key, value, line), in the order of the file. */
#ifndef MIDRE_RUN_INI_H
#define MIDRE_RUN_INI_H

#include <stddef.h>

#include "midre/status.h"

#define MI_INI_BYTES_MAX (1u << 20) /* a settings file; the largest real one is a few kilobytes */
#define MI_INI_ITEMS_MAX 4000
#define MI_INI_LINE_MAX  1000 /* the parser's own limit is 1024 with its end */

struct mi_ini_item {
    char *section, *key, *value;
    int line; /* 1-based */
};

struct mi_ini {
    struct mi_ini_item *item;
    size_t n;
};

/* Parses untrusted text.  `label` (a file name) starts every message: "label:12: ...".  *out is empty on failure. */
enum mi_status mi_ini_parse(const char *text, const char *label, struct mi_ini *out);
/* Reads and parses a file. */
enum mi_status mi_ini_load(const char *path, struct mi_ini *out);
void mi_ini_free(struct mi_ini *ini);
/* The midre.ini in force: ./midre.ini, else ${XDG_CONFIG_HOME:-~/.config}/midre/midre.ini; "" when there is none.
 * NULL on failure; caller frees. */
char *mi_ini_user_path(void);

#endif
