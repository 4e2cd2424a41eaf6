/* files_priv.h - small file helpers shared inside src/run. */
#ifndef MIDRE_RUN_FILES_PRIV_H
#define MIDRE_RUN_FILES_PRIV_H

#include <stddef.h>
#include <sys/types.h>

#include "midre/status.h"

/* Records errno as a message "cannot <verb> <path>: <reason, and what to do>" with the status that fits it. */
enum mi_status mi_fail_errno(const char *verb, const char *path);
/* write(2) until all is out or an error; short writes and signals are handled. */
enum mi_status mi_write_all(int fd, const void *bytes, size_t n, const char *path);
/* fsync of a file or folder by path. */
enum mi_status mi_sync_path(const char *path);
/* fsync of the folder that holds `path`: makes a rename or a new name durable. */
enum mi_status mi_sync_parent(const char *path);

#endif
