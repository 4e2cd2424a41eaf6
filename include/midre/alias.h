/* midre/alias.h - networks that went public under more than one set of names. */
#ifndef MIDRE_ALIAS_H
#define MIDRE_ALIAS_H

#include <stdbool.h>
#include <stddef.h>

/* name: the rest of a file's name from one of its components on ("layer1.0.bias" of "module.layer1.0.bias").  Writes
 * the network's own name of it into out; false when it is none of the other names, or when out is too small. */
typedef bool (*mi_alias)(const char *name, char *out, size_t cap);

/* An alias that replaces a beginning: pair[i] = {theirs, own}, ended by {NULL, NULL}; the first that fits counts. */
bool mi_alias_begins(const char *const (*pair)[2], const char *name, char *out, size_t cap);
/* A copy of `name` with the first part that `alias` (NULL = none) knows replaced; caller frees; NULL without memory. */
char *mi_alias_applied(mi_alias alias, const char *name);

#endif
