/* src/judge/fid.c - Fréchet distance between two sets of features (Heusel et al., NeurIPS 2017, "FID").
 *
 * Gaussians are fitted to the rows of both, covariances with divisor n-1:
 *     |m_a - m_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)).
 * With A the centred rows over sqrt(n-1), S_a = A'A, and the square root's trace is the sum of the singular values of
 * A B' (the eigenvalues of S_a S_b are their squares).  So neither a square root nor a covariance is ever formed: small
 * sets, fewer rows than dimensions, need no correction on the diagonal and lose no digits.  A set with more rows than
 * dimensions is replaced by its triangular factor, which has the same A'A.  All in f64 on the CPU.
 *
 * The published definitions differ in features and sets; which were compared is the caller's to say. */
#include "midre/judge.h"

#include <math.h>

/* Rows [n,d] -> *mean [1,d]; *root [min(n,d),d] with root'root = covariance; *trace of the covariance. */
static enum mi_status fit(mt_tensor *rows, mt_tensor **mean, mt_tensor **root, double *trace) {
    int64_t n = mt_size(rows, 0), d = mt_size(rows, 1);
    mt_tensor *x = mt_cast(mt_to(mt_detach(rows), MT_CPU), MT_F64);
    *mean = mt_mean(x, MT_DIMS(0), true);
    *root = mt_affine(mt_sub(x, *mean), 1 / sqrt((double)n - 1), 0);
    if (n > d) mt_set(root, mt_qr_r(*root));
    return mt_item(mt_sum(mt_unary(*root, MT_SQUARE), NULL, 0, false), trace);
}

static enum mi_status distance(mt_tensor *a, mt_tensor *b, double *out) {
    mt_tensor *mean[2], *root[2];
    double trace[2], apart = 0, common = 0;
    MI_TRY(fit(a, &mean[0], &root[0], &trace[0]));
    MI_TRY(fit(b, &mean[1], &root[1], &trace[1]));
    MI_TRY(mt_item(mt_sum(mt_unary(mt_sub(mean[0], mean[1]), MT_SQUARE), NULL, 0, false), &apart));
    mt_tensor *values = mt_svdvals(mt_matmul(root[0], mt_transpose(root[1], 0, 1)));
    MI_TRY(mt_item(mt_sum(values, NULL, 0, false), &common));
    *out = apart + trace[0] + trace[1] - 2 * common;
    if (*out < 0) *out = 0; /* equal sets, rounding */
    return MI_OK;
}

enum mi_status mi_frechet(mt_tensor *a, mt_tensor *b, double *out) {
    if (!a || !b || mt_ndim(a) != 2 || mt_ndim(b) != 2 || mt_size(a, 1) != mt_size(b, 1))
        return mi_fail(MI_E_INTERNAL, "the Fréchet distance needs two tables of features of one width");
    if (mt_size(a, 0) < 2 || mt_size(b, 0) < 2)
        return mi_fail(MI_E_INPUT, "the Fréchet distance needs at least two images on either side, not %d and %d",
                       (int)mt_size(a, 0), (int)mt_size(b, 0));
    mt_scope *s = mt_scope_begin("frechet");
    bool grad = mt_grad_mode(false);
    enum mi_status st = distance(a, b, out);
    if (st == MI_OK && !isfinite(*out)) st = mi_fail(MI_E_INPUT, "some of the features to compare are not finite");
    mt_grad_mode(grad);
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}
