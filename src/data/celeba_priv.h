/* celeba_priv.h - what celeba.c and celeba_lists.c share. */
#ifndef MIDRE_CELEBA_PRIV_H
#define MIDRE_CELEBA_PRIV_H

#include "src/data/data_priv.h"

struct mi_photo {
    int32_t number; /* identity number or label; -1 none */
    uint32_t file;  /* index into files */
};
struct mi_photos {
    struct mi_photo *photo;
    size_t n;
};
/* CelebA on disk: the image folder that was found and its files. */
struct mi_celeba {
    char *images, *identities; /* owned paths; identities NULL when not needed */
    struct mi_files files;
};

/* Reads a list file against c->files. MI_E_INPUT with the line, MI_E_MISSING when named images are absent. */
enum mi_status mi_celeba_read(struct mi_celeba *c, const char *path, bool need_number, struct mi_photos *out);
void mi_photos_free(struct mi_photos *p);
/* By number, then file name. */
void mi_photos_sort(struct mi_photos *p);

#endif
