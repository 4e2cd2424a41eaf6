/* midre/judge.h - metrics, all computed from reconstructions and the judge by the written protocol
 * (KedMI/LOMMA/BiDO as MIDRE reports it; sources in src/judge/). */
#ifndef MIDRE_JUDGE_H
#define MIDRE_JUDGE_H

#include "midre/data.h"
#include "midre/model.h"

/* Top-1 accuracy (percent) of a model on a split, whole set including the last partial batch; *loss = mean CE. */
enum mi_status mi_eval_accuracy(struct mi_model *m, const struct mi_pack_split *s, int batch, double *acc, double *loss);
/* Features [N,width] f32 CPU (scope) of packed images; order as given by index (NULL = all). */
enum mi_status mi_eval_features(struct mi_model *m, const struct mi_pack_split *s, const int32_t *index, size_t n,
                                int batch, mt_tensor **features);

struct mi_verdict { int label, restart; int judge; double confidence; bool hit, hit5; double distance; int nearest; };

/* Shows x [N,3,S,S] in [0,1] to the judge the published way: times 255, truncated to 8 bit, PIL-bilinear to the
 * judge's size, /255.  judged [N]: class, confidence, feature; out arrays have N entries. */
enum mi_status mi_judge_images(struct mi_model *judge, mt_tensor *x, const int *labels, int batch,
                               struct mi_verdict *out, mt_tensor **features);

struct mi_attack_score {
    double top1, top1_std, top5, top5_std; /* percent; see protocol */
    double knn;                            /* squared L2 in judge features to the nearest private train photo of the id */
    int identities, images;
};
/* Protocol: identities in groups of `group` (60); each of the R restarts is one round; a group's accuracy is the mean
 * of its rounds, +- is the sample standard deviation (n-1) over rounds; both averaged over groups.
 * verdicts: label-major, R per identity.  Single restart: std is NAN. */
enum mi_status mi_score_attack(const struct mi_verdict *v, int identities, int restarts, int group,
                               struct mi_attack_score *out);
/* Fills distance and nearest (index into the split) of each verdict from features of the private train photos. */
enum mi_status mi_score_knn(struct mi_model *judge, mt_tensor *recon_features, struct mi_verdict *v, int n,
                            const struct mi_pack_split *private_train, int batch, double *knn);
/* The same with features [m,width] of the photos `index` [m] at hand. */
enum mi_status mi_score_knn_among(mt_tensor *recon_features, struct mi_verdict *v, int n,
                                  const struct mi_pack_split *private_train, const int32_t *index, mt_tensor *photos,
                                  double *knn);
/* Indices of the photos whose person is among the verdicts, *n of them; the caller frees.  NULL on no memory. */
int32_t *mi_photos_of(const struct mi_verdict *v, int n_v, const struct mi_pack_split *s, size_t *n);
/* Fréchet distance of Gaussians fitted to the rows of a [n,d] and b [m,d] (covariances with n-1), f64; n, m >= 2. */
enum mi_status mi_frechet(mt_tensor *a, mt_tensor *b, double *out);

#endif
