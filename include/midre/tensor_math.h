/* midre/tensor_math.h - element-wise, reductions, indexing, random (the shim, part 2 of 4). Rules: tensor.h. */
#ifndef MIDRE_TENSOR_MATH_H
#define MIDRE_TENSOR_MATH_H

#include "midre/tensor.h"

typedef enum { MT_EXP, MT_LOG, MT_SQRT, MT_RSQRT, MT_ABS, MT_NEG, MT_SIGN, MT_SIN, MT_COS, MT_FLOOR, MT_ROUND,
               MT_RECIP, MT_SQUARE, MT_ISFINITE } mt_unop;
typedef enum { MT_LT, MT_LE, MT_GT, MT_GE, MT_EQ, MT_NE } mt_cmp;

mt_tensor *mt_add(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_sub(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_mul(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_div(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_affine(mt_tensor *t, double mul, double add);         /* mul*t + add */
mt_tensor *mt_add_(mt_tensor *a, mt_tensor *b, double alpha);       /* a += alpha*b */
mt_tensor *mt_mul_(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_affine_(mt_tensor *t, double mul, double add);
mt_tensor *mt_lerp_(mt_tensor *a, mt_tensor *b, double w);          /* a += w*(b-a) */
mt_tensor *mt_fill_(mt_tensor *t, double v);
mt_tensor *mt_unary(mt_tensor *t, mt_unop op);
mt_tensor *mt_pow(mt_tensor *t, double e);
mt_tensor *mt_clamp(mt_tensor *t, double lo, double hi);
mt_tensor *mt_clamp_(mt_tensor *t, double lo, double hi);
mt_tensor *mt_max2(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_min2(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_compare(mt_tensor *a, mt_tensor *b, mt_cmp op);       /* bool, broadcasts */
mt_tensor *mt_compare_scalar(mt_tensor *a, double b, mt_cmp op);
mt_tensor *mt_logical_and(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_where(mt_tensor *c, mt_tensor *a, mt_tensor *b);
mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b);
mt_tensor *mt_inverse(mt_tensor *t); /* [M,M] f32 or f64; no host sync: a singular matrix gives values not finite */
mt_tensor *mt_svdvals(mt_tensor *t); /* [M,N] f32 or f64 -> singular values [min(M,N)], greatest first */
mt_tensor *mt_qr_r(mt_tensor *t);    /* [M,N] f32 or f64 -> upper triangular [min(M,N),N] with R'R = t't */

/* nd = 0 reduces over everything.  dims may be negative. */
mt_tensor *mt_sum(mt_tensor *t, const int *dims, int nd, bool keep);
mt_tensor *mt_mean(mt_tensor *t, const int *dims, int nd, bool keep);
enum mi_status mt_var_mean(mt_tensor *t, const int *dims, int nd, bool unbiased, mt_tensor **var, mt_tensor **mean);
mt_tensor *mt_norm(mt_tensor *t, double p, const int *dims, int nd, bool keep); /* computed in f32 or wider */
mt_tensor *mt_amax(mt_tensor *t, int dim, bool keep);
mt_tensor *mt_amin(mt_tensor *t, int dim, bool keep);
mt_tensor *mt_argmax(mt_tensor *t, int dim);                        /* i64 */
enum mi_status mt_topk(mt_tensor *t, int64_t k, int dim, mt_tensor **val, mt_tensor **idx);
mt_tensor *mt_cumsum(mt_tensor *t, int dim);
mt_tensor *mt_gather(mt_tensor *t, int dim, mt_tensor *idx);
mt_tensor *mt_index_select(mt_tensor *t, int dim, mt_tensor *idx);  /* keeps NHWC */
mt_tensor *mt_scatter_(mt_tensor *t, int dim, mt_tensor *idx, mt_tensor *src);
mt_tensor *mt_one_hot(mt_tensor *idx, int64_t classes);             /* i64 */
mt_tensor *mt_cdist2(mt_tensor *a, mt_tensor *b);                   /* [N,D],[M,D] -> squared L2 [N,M], f32 */
bool mt_all_finite(mt_tensor *t);                                   /* host sync */

/* ---- random: own generators; a stream is re-seeded from (seed, purpose, step) so resuming needs no state ---- */
typedef struct mt_rng mt_rng;
mt_rng *mt_rng_new(mt_device d, uint64_t seed);
void mt_rng_seed(mt_rng *r, uint64_t seed);
void mt_rng_free(mt_rng *r);
mt_tensor *mt_randn(const int64_t *shape, int nd, mt_spec sp, mt_rng *r);
mt_tensor *mt_rand(const int64_t *shape, int nd, double lo, double hi, mt_spec sp, mt_rng *r);
mt_tensor *mt_randint(int64_t lo, int64_t hi, const int64_t *shape, int nd, mt_spec sp, mt_rng *r);
mt_tensor *mt_bernoulli(const int64_t *shape, int nd, double p, mt_spec sp, mt_rng *r);

#endif
