/* src/engine/curves.h - the curves of one stage: gathered in buckets of steps, kept, checkpointed, replayed. */
#ifndef MIDRE_ENGINE_CURVES_H
#define MIDRE_ENGINE_CURVES_H

#include "midre/journal.h"
#include "midre/tensor_grad.h"

struct mi_curve_point {
    int64_t step;
    double x, y;
};
struct mi_curve {
    char *name;
    struct mi_curve_point *p;
    size_t n, cap;
    double sum;        /* of the open bucket */
    int64_t count;     /* values in the open bucket, tensor ones included */
    mt_tensor *device; /* owned scalar: the part of the sum that still lives on the device, or NULL */
};
struct mi_curves {
    struct mi_curve *item;
    size_t n, cap;
    int64_t base_step; /* steps and abscissa of the stage's finished phases: */
    double base_x;     /* curves of a later phase go on where the earlier one ended */
};

struct mi_curves *mi_curves_new(void);
void mi_curves_free(struct mi_curves *c);
void mi_curves_clear(struct mi_curves *c);

/* One more value of the open bucket.  A device tensor is added on the device; nothing is read back. */
void mi_curves_add(struct mi_curves *c, const char *name, double value);
void mi_curves_add_tensor(struct mi_curves *c, const char *name, mt_tensor *value);
/* Ends the bucket: each series with values gets one point (their mean), written to the journal (may be NULL). */
enum mi_status mi_curves_close(struct mi_curves *c, int64_t step, double x, struct mi_journal *j, const char *stage);
/* A finished point.  Values that are not finite are left out: JSON has no word for them. */
void mi_curves_point(struct mi_curves *c, const char *name, int64_t step, double x, double value);

/* Writes every point to the journal again, after a rewind that voids what an earlier session wrote. */
void mi_curves_replay(const struct mi_curves *c, struct mi_journal *j, const char *stage);

/* Inside checkpoints: exact, the open bucket included. */
enum mi_status mi_curves_save(struct mi_curves *c, mt_archive *a);
enum mi_status mi_curves_load(struct mi_curves *c, mt_archive *a);
/* The same, but only when the archive is further than c: a part may be read back when later work is done. */
enum mi_status mi_curves_advance(struct mi_curves *c, mt_archive *a);
/* curves.json of a product. */
enum mi_status mi_curves_write(const struct mi_curves *c, const char *path);
enum mi_status mi_curves_read(struct mi_curves *c, const char *path);

#endif
