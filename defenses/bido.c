/* defenses/bido.c - BiDO, bilateral dependency optimisation (Peng et al., KDD 2022): hidden layers should depend little
 * on the image and much on the label,
 *
 *     L = cross entropy + sum over taps j of  lambda_x d(X, Z_j) - lambda_y d(Z_j, Y),
 *
 * X the images as the network sees them (erased ones under midre+bido), Z_j hidden activations, Y one-hot labels.
 * Two measures d of dependence between the m images of a batch, both on kernel matrices; see bido.h for the formulas.
 *   hsic  normalised HSIC (NOCCO).  The trace of R_A R_B is the same with H K H as with the released K H, and H K H
 *         is symmetric.
 *   coco  constrained covariance.  The released code takes the Frobenius norm where the definition has the spectral.
 * The width sigma = 5 times the square root of the dimension makes kernels nearly constant, so what matters sits in the
 * last digits: distances are taken of centred activations, everything m x m is done in f64 (and the distances too where
 * the GPU would round to TF32).  Batches are P people with K photos each (identity.c): with all labels different the
 * label kernel is the identity and says nothing. */
#include "defenses/bido.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "defenses/identity.h"
#include "midre/spec.h"

#define EPS 1e-5

/* ---- kernels and measures ---------------------------------------------------------------------------------------- */

static mt_tensor *eye(mt_tensor *like /* [m,m] */) {
    int64_t m = mt_size(like, 0);
    mt_tensor *at = mt_arange(0, m, (mt_spec){MT_I64, mt_device_of(like), MT_NCHW});
    return mt_cast(mt_one_hot(at, m), MT_F64);
}

/* Squared distances of the rows, [m,m] f64; *width gets the length of a row. */
static mt_tensor *distances(mt_tensor *z, int64_t *width) {
    if (!z) return NULL;
    if (mt_ndim(z) == 4 && mt_layout(z) == MT_NHWC)
        z = mt_permute(z, MT_DIMS(0, 2, 3, 1)); /* flattens without a copy */
    mt_tensor *rows = mt_flatten(z, 1);         /* [m,d] */
    *width = mt_size(rows, 1);
    bool wide = mt_device_of(rows).type != 0 || mt_dtype_of(rows) == MT_F64;
    rows = mt_cast(rows, wide ? MT_F64 : MT_F32);
    rows = mt_sub(rows, mt_mean(rows, MT_DIMS(0), true));
    mt_tensor *gram = mt_cast(mt_matmul(rows, mt_transpose(rows, 0, 1)), MT_F64); /* [m,m] */
    mt_tensor *square = mt_sum(mt_mul(gram, eye(gram)), MT_DIMS(1), true);        /* [m,1] */
    mt_tensor *sum = mt_add(square, mt_transpose(square, 0, 1));
    return mt_clamp(mt_sub(sum, mt_affine(gram, 2, 0)), 0, INFINITY);
}

mt_tensor *mi_kernel_gauss(mt_tensor *z, double sigma) {
    int64_t d = 0, m = z ? mt_size(z, 0) : 0;
    mt_tensor *far = distances(z, &d);
    if (sigma > 0) return mt_unary(mt_affine(far, -1 / (2 * sigma * sigma * (double)d), 0), MT_EXP);
    mt_tensor *mean = mt_affine(mt_sum(mt_detach(far), NULL, 0, false), 1.0 / ((double)m * ((double)m - 1)), 1e-12);
    return mt_unary(mt_affine(mt_div(far, mean), -1, 0), MT_EXP);
}

mt_tensor *mi_kernel_labels(mt_tensor *y, enum mi_label_kernel how, double sigma) {
    int64_t d;
    if (how == MI_LABEL_GAUSSIAN) return mi_kernel_gauss(y, sigma);
    if (how == MI_LABEL_IMQ) return mt_unary(mt_affine(distances(y, &d), 1, 1), MT_RSQRT);
    mt_tensor *rows = mt_cast(y, MT_F64);
    return mt_matmul(rows, mt_transpose(rows, 0, 1));
}

mt_tensor *mi_kernel_centre(mt_tensor *k) {
    mt_tensor *row = mt_mean(k, MT_DIMS(1), true), *column = mt_mean(k, MT_DIMS(0), true);
    return mt_add(mt_sub(mt_sub(k, row), column), mt_mean(k, NULL, 0, false));
}

mt_tensor *mi_hsic_operator(mt_tensor *centred) {
    if (!centred) return NULL;
    double ridge = EPS * (double)mt_size(centred, 0);
    mt_tensor *one = eye(centred);
    mt_tensor *inverse = mt_inverse(mt_add(centred, mt_affine(one, ridge, 0)));
    return mt_sub(one, mt_affine(inverse, ridge, 0)); /* K (K + cI)^-1 = I - c (K + cI)^-1 */
}

/* The greatest eigenvalue of a*b, both symmetric and not negative: no eigen-decomposition, whose gradient is infinite
 * where one-hot labels repeat eigenvalues.  With its eigenvectors from either side held constant the value u'abv/u'v is
 * stationary in them, so its gradient is the eigenvalue's. */
static mt_tensor *greatest(mt_tensor *a, mt_tensor *b) {
    int64_t m = mt_size(a, 0);
    bool was = mt_grad_mode(false);
    mt_tensor *power = mt_matmul(mt_detach(a), mt_detach(b)); /* [m,m] */
    for (int i = 0; i < 9; i++) {                             /* (ab)^512 */
        mt_tensor *size = mt_affine(mt_norm(power, 2, NULL, 0, false), 1, 1e-30);
        power = mt_div(power, size);
        power = mt_matmul(power, power);
    }
    double *start = mi_calloc((size_t)m, sizeof *start);
    struct mi_rng r = mi_rng_make(1, "power iteration", 0, 0);
    for (int64_t i = 0; start && i < m; i++) start[i] = mi_rng_normal(&r);
    mt_tensor *v =
        mt_matmul(power, mt_to(mt_from(start, MT_SHAPE(m, 1), (mt_spec){MT_F64, MT_CPU, MT_NCHW}), mt_device_of(a)));
    free(start);
    mt_tensor *scale = mt_affine(mt_norm(v, 2, NULL, 0, false), 1, 1e-300); /* the last squaring was not normalised */
    v = mt_div(v, scale);                                                   /* [m,1] */
    mt_tensor *u = mt_matmul(mt_detach(b), v);                              /* left eigenvector: (ab)' bv = b(abv) */
    mt_tensor *uv = mt_sum(mt_mul(u, v), NULL, 0, false);
    mt_grad_mode(was);
    mt_tensor *abv = mt_matmul(a, mt_matmul(b, v));
    return mt_div(mt_sum(mt_mul(u, abv), NULL, 0, false), mt_affine(uv, 1, 1e-300));
}

mt_tensor *mi_coco(mt_tensor *centred_a, mt_tensor *centred_b, bool spectral) {
    if (!centred_a || !centred_b) return NULL;
    mt_tensor *size;
    if (spectral)
        size = greatest(centred_a, centred_b);
    else
        size = mt_norm(mt_matmul(centred_a, centred_b), 2, NULL, 0, false);
    mt_tensor *root = mt_unary(mt_affine(size, 1, 1e-12), MT_SQRT);
    return mt_affine(root, 1.0 / (double)mt_size(centred_a, 0), 0);
}

/* ---- the defense ------------------------------------------------------------------------------------------------- */

struct bido {
    bool tap[MI_MAX_TAPS];
    bool coco;
    struct mi_identity_batches batches;
};

static enum mi_status unknown_tap(const struct mi_model *m, const char *who, const char *name) {
    char list[256] = "";
    for (int i = 0; m->desc->taps[i] && i < MI_MAX_TAPS; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", m->desc->taps[i]);
    }
    return mi_fail(MI_E_INPUT, "[%s] taps: model %s has no \"%.60s\"; it has %s", who, m->desc->info.name, name, list);
}

static enum mi_status read_taps(struct bido *s, const struct mi_values *v, const struct mi_model *m) {
    const char *const *have = m->desc->taps, *text = mi_values_text(v, "taps"), *who = mi_values_section(v);
    if (!have || !have[0])
        return mi_fail(MI_E_INPUT, "%s needs hidden activations, and model %s names none", who, m->desc->info.name);
    memset(s->tap, 0, sizeof s->tap);
    size_t n = 0;
    char **names = mi_list_split(text, ',', &n);
    enum mi_status st = names ? MI_OK : MI_E_NOMEM;
    if (names && n == 0) st = mi_fail(MI_E_INPUT, "[%s] taps is empty; write all or some of the model's taps", who);
    for (size_t k = 0; k < n && st == MI_OK; k++) {
        bool all = strcmp(names[k], "all") == 0, found = all;
        for (int i = 0; i < MI_MAX_TAPS && have[i]; i++) {
            if (!all && strcmp(names[k], have[i]) != 0) continue;
            s->tap[i] = found = true;
        }
        if (!found) st = unknown_tap(m, who, names[k]);
    }
    mi_list_free(names, n);
    return st;
}

static enum mi_status prepare(struct mi_defense *d, struct mi_model *m) {
    struct bido *s = d->state;
    s->coco = d->desc == &mi_defense_bido_coco;
    return read_taps(s, d->values, m);
}

static bool samples(const struct mi_values *v) {
    return mi_values_bool(v, "identities");
}

static enum mi_status plan(struct mi_defense *d, struct mi_sampling *s) {
    struct bido *b = d->state;
    return mi_identity_plan(&b->batches, s, (int)mi_values_int(d->values, "per_identity"), d->desc->info.name);
}

static int sample(struct mi_defense *d, const struct mi_sampling *s, int64_t step, int32_t *index) {
    return mi_identity_sample(&((struct bido *)d->state)->batches, s, step, index);
}

/* [m,C] f64, mixed where the batch's labels are. */
static mt_tensor *label_rows(const struct mi_batch *b, int64_t classes) {
    mt_tensor *y = mt_cast(mt_one_hot(b->y, classes), MT_F64);
    if (!b->y2) return y;
    mt_tensor *other = mt_cast(mt_one_hot(b->y2, classes), MT_F64);
    return mt_add(other, mt_mul(mt_unsqueeze(mt_cast(b->share, MT_F64), 1), mt_sub(y, other)));
}

/* What does not depend on the network: centred kernels of images and labels, or their HSIC operators. */
static void constants(const struct mi_defense *d, const struct mi_batch *b, int64_t classes, double sigma,
                      mt_tensor **x, mt_tensor **y) {
    const struct bido *s = d->state;
    bool was = mt_grad_mode(false);
    *x = mi_kernel_centre(mi_kernel_gauss(b->x, sigma));
    enum mi_label_kernel how = (enum mi_label_kernel)mi_values_choice(d->values, "label_kernel");
    *y = mi_kernel_centre(mi_kernel_labels(label_rows(b, classes), how, sigma));
    if (!s->coco) {
        *x = mi_hsic_operator(*x);
        *y = mi_hsic_operator(*y);
    }
    mt_grad_mode(was);
}

static enum mi_status loss(struct mi_defense *d, struct mi_batch *b, struct mi_forward_out *out, mt_tensor **total) {
    const struct bido *s = d->state;
    double lx = mi_values_real(d->values, "lambda_x"), ly = mi_values_real(d->values, "lambda_y");
    bool spectral = s->coco && mi_values_choice(d->values, "norm") == 1;
    double sigma = mi_values_real(d->values, "sigma");
    mt_tensor *x, *y; /* [m,m] */
    constants(d, b, mt_size(out->logits, 1), sigma, &x, &y);
    mt_tensor *wanted = s->coco ? NULL : mt_sub(mt_affine(x, lx, 0), mt_affine(y, ly, 0));
    for (int i = 0; i < MI_MAX_TAPS; i++) {
        if (!s->tap[i]) continue;
        if (!out->tap[i])
            return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "the network returned no tap %d", i);
        mt_tensor *z = mi_kernel_centre(mi_kernel_gauss(out->tap[i], sigma)), *term; /* [m,m] */
        if (s->coco)
            term = mt_sub(mt_affine(mi_coco(x, z, spectral), lx, 0), mt_affine(mi_coco(z, y, spectral), ly, 0));
        else
            term = mt_sum(mt_mul(mi_hsic_operator(z), wanted), NULL, 0, false); /* lx d(X,Z) - ly d(Z,Y) in one sum */
        *total = mt_add(*total, mt_cast(term, MT_F32));
    }
    return *total ? MI_OK : mt_status();
}

static void release(struct mi_defense *d) {
    struct bido *s = d->state;
    if (s) mi_identity_close(&s->batches);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

#define SETTINGS(lx, lx_help, ly, ly_help)                                                                             \
    {.name = "lambda_x", .label = true, .type = MI_REAL, .def = lx, .min = 0, .max = 1000, .help = lx_help},           \
        {.name = "lambda_y", .label = true, .type = MI_REAL, .def = ly, .min = 0, .max = 1000, .help = ly_help},       \
        {.name = "taps",                                                                                               \
         .type = MI_TEXT,                                                                                              \
         .def = "all",                                                                                                 \
         .help = "Hidden layers that are regularised: all, or a comma separated list of the model's taps"},            \
        {.name = "sigma",                                                                                              \
         .type = MI_REAL,                                                                                              \
         .def = "5",                                                                                                   \
         .min = 0,                                                                                                     \
         .max = 1000,                                                                                                  \
         .help = "Width of the Gaussian kernels, times the square root of the dimension (published: 5); 0 takes the "  \
                 "batch's mean distance"},                                                                             \
        {.name = "label_kernel",                                                                                       \
         .type = MI_CHOICE,                                                                                            \
         .def = "linear",                                                                                              \
         .choices = "linear|gaussian|imq",                                                                             \
         .help = "Kernel on the labels (published: linear); imq is 1/sqrt(1 + squared distance)"},                     \
        {.name = "identities",                                                                                         \
         .type = MI_BOOL,                                                                                              \
         .def = "yes",                                                                                                 \
         .help = "Batches of several photos of each of a few people (published: 16 x 4); no draws them as without a "  \
                 "defense, and the label term then says little"},                                                      \
    {                                                                                                                  \
        .name = "per_identity", .type = MI_INT, .def = "4", .min = 2, .max = 64,                                       \
        .help = "Photos of each person in a batch; the number of people is [target] batch divided by it"               \
    }

static const struct mi_setting hsic_settings[] = {
    SETTINGS("0.05",
             "Weight of the dependence on the image, which is lowered (published: vgg16 0.05, ir152 0.05, ResNet 0.1)",
             "0.5",
             "Weight of the dependence on the label, which is raised (published: vgg16 0.5, ir152 2, ResNet 2); in the "
             "released figures more of it costs accuracy"),
    MI_SETTING_END};

static const struct mi_setting coco_settings[] = {
    SETTINGS("1", "Weight of the dependence on the image, which is lowered (published for MNIST only: 1)", "50",
             "Weight of the dependence on the label, which is raised (published for MNIST only: 50)"),
    {.name = "norm",
     .type = MI_CHOICE,
     .def = "frobenius",
     .choices = "frobenius|spectral",
     .help = "Norm of the product of kernels: as released, or the one of the definition"},
    MI_SETTING_END};

#define BIDO(id, title_, measure, settings_)                                                                           \
    const struct mi_defense_desc mi_defense_##id = {                                                                   \
        .info = {.name = #id,                                                                                          \
                 .title = title_,                                                                                      \
                 .help = "Bilateral dependency optimisation: beside cross entropy, every chosen hidden layer is "      \
                         "pushed to depend less on the image and more on the label, so that less of a face can be "    \
                         "read back. Dependence within a batch is measured by " measure " on Gaussian kernels. "       \
                         "Needs several photos of a person in a batch, and draws them so. Published with Adam, rate "  \
                         "1e-4, batch 64 and 50 epochs from ImageNet weights; taps of 224 px networks are not "        \
                         "published, we use their stage outputs.",                                                     \
                 .paper = "Peng, Liu, Zhang, Lan, Ye, Liu, Han: Bilateral Dependency Optimization: Defending Against " \
                          "Model-inversion Attacks, KDD 2022",                                                         \
                 .settings = settings_,                                                                                \
                 .tags = "loss batches taps"},                                                                         \
        .state_size = sizeof(struct bido),                                                                             \
        .prepare = prepare,                                                                                            \
        .plan = plan,                                                                                                  \
        .sample = sample,                                                                                              \
        .samples = samples,                                                                                            \
        .loss = loss,                                                                                                  \
        .free = release,                                                                                               \
        .wants_taps = true,                                                                                            \
        .couples_images = true}

BIDO(bido, "BiDO-HSIC", "the normalised Hilbert-Schmidt criterion (HSIC)", hsic_settings);
BIDO(bido_coco, "BiDO-COCO", "constrained covariance (COCO)", coco_settings);
