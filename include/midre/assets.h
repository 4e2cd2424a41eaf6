/* midre/assets.h - files that ship with the program: published tables, ready specs.
 *
 * Looked for in this order: $MIDRE_ASSETS, `assets` beside the running program (a source tree),
 * `../share/midre/assets` beside it (an installed prefix), the prefix it was built for. */
#ifndef MIDRE_ASSETS_H
#define MIDRE_ASSETS_H

/* Absolute path of assets/<name>; caller frees.  NULL (MI_E_MISSING, naming the places tried) when absent. */
char *mi_assets_path(const char *name);

#endif
