/* midre/attack.h - attacks: descriptors and what an attack is given.  An attack sees the oracle, public images, its
 * prior and the context; never the private set, never a model file. */
#ifndef MIDRE_ATTACK_H
#define MIDRE_ATTACK_H

#include "midre/data.h"
#include "midre/loop.h"
#include "midre/oracle.h"

struct mi_attack_job {
    struct mi_ctx *ctx;
    const struct mi_values *values;        /* [attack.NAME] */
    struct mi_oracle *oracle;              /* NULL while training a prior that does not use the target */
    const struct mi_pack_split *pub;       /* public images at `size` */
    int size;                              /* side in px of images the attack makes (oracle.h) */
    mt_archive *prior;                     /* invert: the trained prior, opened */
    mt_archive *students;                  /* invert: the distilled students, opened; NULL when it wants none */
    const int *labels; int n_labels;       /* identities to attack (class indices) */
    int restarts;                          /* images per identity */
};

/* What an inversion yields. */
struct mi_recon {
    mt_tensor *x;          /* [n_labels*restarts,3,size,size] in [0,1], CPU f32, owned; row-major label, restart */
};

struct mi_attack_desc {
    struct mi_entry info;
    enum mi_access access;
    int native_size;
    const int *sizes;                      /* sides in px of images its prior can make, ends with 0; NULL = any */
    bool prior_uses_target;                /* prior depends on the target (KedMI): its fingerprint includes it */
    /* Version of the prior's algorithm; attacks that share one prior name the same `prior` ("gmi"). NULL = none. */
    const char *prior;
    /* Names of the settings the prior depends on (NULL-terminated); only these enter the prior's fingerprint. */
    const char *const *prior_settings;
    /* Trains the prior as a resumable loop and writes it to `out`. */
    enum mi_status (*train_prior)(struct mi_attack_job *job, mt_archive *out);
    /* Networks distilled from the target with public images (LOMMA): a product of their own, one per target.  Attacks
     * that share them name the same `students` and the same settings.  NULL = none.  wants_students (NULL: always) says
     * whether these settings need them; train_students writes them to `out`, as resumable loops. */
    const char *students;
    const char *const *students_settings;
    bool (*wants_students)(const struct mi_values *v);
    enum mi_status (*train_students)(struct mi_attack_job *job, mt_archive *out);
    enum mi_status (*invert)(struct mi_attack_job *job, struct mi_recon *out);
};
extern const struct mi_attack_desc *const mi_attack_table[]; /* NULL-terminated; attacks/table.c */
const struct mi_attack_desc *mi_attack_find(const char *name);

#endif
