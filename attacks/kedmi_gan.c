/* attacks/kedmi_gan.c - the discriminator of KedMI (Chen et al. 2021, "Knowledge-Enriched Distributional Model
 * Inversion Attacks") and the losses of its GAN.
 *
 * D has one output per class.  a = log sum exp of the outputs says how real an image is (probability e^a/(1+e^a)); the
 * outputs themselves imitate the target's soft labels of public images, so the GAN learns what the target looks at.
 *   D: cross entropy to the soft labels + 1/2 [ -log p(real) of unlabelled + -log (1-p) of generated ]
 *   G: | mean phi(fake) - mean phi(real) |, mean over features  +  entropy of D's classes on fakes (G wants it low)
 * Three 5x5 stages of stride 2, further ones 3x3; instance norm on all, leaky ReLU 0.2; phi is the flattened last map.
 *
 * Minibatch discrimination adds to phi how near an image is to the others of its batch.  With the published sizes its
 * exponentials are exactly zero unless images nearly coincide, and then its weights have no gradient: on the CPU that
 * is looked for first, which saves most of its cost and changes no bit of the result. -log p(real) is softplus(-a),
 * equal to the published softplus(a) - a without its cancellation. */
#include "attacks/kedmi_gan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTROPY_IMAGES = 64 }; /* the published entropy is a sum over so many images */

/* ---- network -------------------------------------------------------------------------------------------------- */

static void layers(struct mi_kedmi_d *d, uint64_t seed) {
    struct mi_builder b;
    mi_builder_init(&b, d->ps, seed);
    int in = 3;
    for (int i = 0; i < d->stages; i++) {
        char name[24];
        int out = d->width << (i < 2 ? i : 2);
        snprintf(name, sizeof name, "layer%d", i + 1);
        mi_builder_push(&b, name);
        mi_conv_new(&b, &d->conv[i], "0", in, out, i < 3 ? 5 : 3, i < 3 ? MT_CONV(2, 2) : MT_CONV(2, 1), true,
                    MI_INIT_DEFAULT);
        mi_inorm_new(&b, &d->norm[i], "1", out);
        mi_builder_pop(&b);
        in = out;
    }
    d->flat = in * 16;
    if (d->kernels > 0) {
        mi_builder_push(&b, "mbd1");
        d->mbd = mi_param_new(&b, "T", MT_SHAPE(d->flat, d->kernels, d->kernel_dim), MI_PARAM);
        struct mi_rng own = {mi_mix(seed, mi_hash_text("mbd1.T")), 0};
        mi_init_tensor(d->mbd, MI_INIT_NORMAL_001, 0, 0, &own);
        bool grad = mt_grad_mode(false);
        mt_affine_(d->mbd, 100, 0); /* standard normal */
        mt_grad_mode(grad);
        mi_builder_pop(&b);
    }
    mi_linear_new(&b, &d->fc, "fc_layer", d->flat + d->kernels, d->classes, true, MI_INIT_DEFAULT);
}

enum mi_status mi_kedmi_d_open(struct mi_kedmi_d *d, int size, int width, int classes, int kernels, int kernel_dim,
                               mt_device dev, mt_dtype precision, uint64_t seed) {
    memset(d, 0, sizeof *d);
    MI_TRY(mi_dcgan_check_size(size));
    *d = (struct mi_kedmi_d){.size = size,
                             .width = width,
                             .classes = classes,
                             .kernels = kernels,
                             .kernel_dim = kernel_dim,
                             .precision = precision};
    for (int side = size; side > 4; side /= 2) d->stages++;
    d->ps = mi_params_new(dev, MT_NHWC);
    if (!d->ps) return mi_error_status();
    mt_scope *s = mt_scope_begin("discriminator");
    layers(d, seed);
    enum mi_status st = mt_scope_end(s);
    if (st != MI_OK) mi_kedmi_d_close(d);
    return st;
}

void mi_kedmi_d_close(struct mi_kedmi_d *d) {
    mi_params_free(d->ps);
    memset(d, 0, sizeof *d);
}

mt_tensor *mi_kedmi_phi(const struct mi_kedmi_d *d, mt_tensor *x) {
    bool half = d->precision == MT_BF16;
    if (half) mt_autocast_begin(d->ps->device, MT_BF16);
    mt_tensor *h = mi_conv(&d->conv[0], mt_contig(x, d->ps->layout)); /* [N,width,size/2,size/2] */
    for (int i = 0; i < d->stages; i++) {
        if (i > 0) mt_set(&h, mi_conv(&d->conv[i], h)); /* [N,..,size/2^(i+1),..] */
        mt_set(&h, mi_inorm(&d->norm[i], h));
        mt_act_(h, MT_LRELU, 0.2);
    }
    if (half) mt_autocast_end();
    if (half) mt_set(&h, mt_cast(h, MT_F32));
    return mt_flatten(mt_contig(h, MT_NCHW), 1); /* [N,flat] */
}

/* ---- minibatch discrimination --------------------------------------------------------------------------------- */

/* m [N,kernels,kernel_dim] on the CPU: does every pair differ so much in every kernel that exp(-distance) is 0? */
static bool asleep(const struct mi_kedmi_d *d, const float *m, int n) {
    const float nothing = 105; /* exp(-104) is the last float above zero */
    int row = d->kernels * d->kernel_dim;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            for (int k = 0; k < d->kernels; k++) {
                const float *a = m + (size_t)i * (size_t)row + (size_t)k * (size_t)d->kernel_dim;
                const float *b = m + (size_t)j * (size_t)row + (size_t)k * (size_t)d->kernel_dim;
                float far = 0;
                for (int c = 0; c < d->kernel_dim; c++) far += fabsf(a[c] - b[c]);
                if (!(far >= nothing)) return false;
            }
    return true;
}

static mt_tensor *project(const struct mi_kedmi_d *d, mt_tensor *phi) {
    int64_t n = mt_size(phi, 0), row = (int64_t)d->kernels * d->kernel_dim;
    mt_tensor *m = mt_matmul(phi, mt_reshape(d->mbd, MT_SHAPE(d->flat, row)));
    return mt_reshape(m, MT_SHAPE(n, d->kernels, d->kernel_dim));
}

/* o_{n,b} = sum over the other images m of exp(-|M_n,b - M_m,b|_1), [N,kernels]. */
static mt_tensor *company_of(const struct mi_kedmi_d *d, mt_tensor *phi) {
    int64_t n = mt_size(phi, 0);
    if (mt_device_of(phi).type == 0) {
        bool grad = mt_grad_mode(false);
        mt_tensor *m = project(d, phi);
        const float *host = m ? mt_data(m) : NULL;
        bool zero = host && asleep(d, host, (int)n);
        mt_drop(m);
        mt_grad_mode(grad);
        if (zero) return mt_zeros(MT_SHAPE(n, d->kernels), MT_SPEC_F32);
    }
    mt_tensor *m = project(d, phi);
    mt_tensor *apart = mt_unary(mt_sub(mt_unsqueeze(m, 0), mt_unsqueeze(m, 1)), MT_ABS); /* [N,N,kernels,dim] */
    mt_tensor *near = mt_unary(mt_affine(mt_sum(apart, MT_DIMS(3), false), -1, 0), MT_EXP);
    return mt_affine(mt_sum(near, MT_DIMS(0), false), 1, -1); /* without oneself */
}

mt_tensor *mi_kedmi_logits(const struct mi_kedmi_d *d, mt_tensor *phi, bool company) {
    if (d->kernels > 0 && phi) {
        mt_spec sp = {MT_F32, mt_device_of(phi), MT_NCHW};
        mt_tensor *o = company ? company_of(d, phi) : mt_zeros(MT_SHAPE(mt_size(phi, 0), d->kernels), sp);
        phi = mt_cat(MT_LIST(phi, o), 1); /* [N,flat+kernels] */
    }
    return mi_linear(&d->fc, phi);
}

/* ---- losses --------------------------------------------------------------------------------------------------- */

mt_tensor *mi_kedmi_energy(mt_tensor *logits) {
    mt_tensor *top = mt_detach(mt_amax(logits, 1, true)); /* [N,1] */
    mt_tensor *sum = mt_sum(mt_unary(mt_sub(logits, top), MT_EXP), MT_DIMS(1), false);
    return mt_add(mt_unary(sum, MT_LOG), mt_squeeze(top, 1));
}

mt_tensor *mi_kedmi_real_loss(mt_tensor *logits) {
    return mt_act(mt_affine(mi_kedmi_energy(logits), -1, 0), MT_SOFTPLUS, 0);
}

enum mi_status mi_kedmi_d_loss(const struct mi_kedmi_d *d, mt_tensor *labelled, mt_tensor *soft, mt_tensor *unlabelled,
                               mt_tensor *fake, struct mi_kedmi_terms *out) {
    int64_t n = mt_size(labelled, 0), u = mt_size(unlabelled, 0), f = mt_size(fake, 0);
    /* One pass through the convolutions, whose norms look at single images; then each batch has its own company. */
    mt_tensor *phi = mi_kedmi_phi(d, mt_cat(MT_LIST(labelled, unlabelled, fake), 0)); /* [n+u+f,flat] */
    out->logits = mi_kedmi_logits(d, mt_narrow(phi, 0, 0, n), true);
    mt_tensor *on_real = mi_kedmi_logits(d, mt_narrow(phi, 0, n, u), true);
    mt_tensor *on_fake = mi_kedmi_logits(d, mt_narrow(phi, 0, n + u, f), true);
    mt_tensor *agree = mt_sum(mt_mul(soft, mt_log_softmax(out->logits, 1)), MT_DIMS(1), false);
    out->supervised = mt_affine(mt_mean(agree, NULL, 0, false), -1, 0);
    mt_tensor *real = mt_mean(mi_kedmi_real_loss(on_real), NULL, 0, false);
    mt_tensor *unreal = mt_mean(mt_act(mi_kedmi_energy(on_fake), MT_SOFTPLUS, 0), NULL, 0, false);
    out->unsupervised = mt_affine(mt_add(real, unreal), 0.5, 0);
    out->loss = mt_add(out->supervised, out->unsupervised);
    if (out->loss) return MI_OK;
    return mt_failed() ? mt_status() : mi_fail(MI_E_INTERNAL, "the discriminator's loss could not be formed");
}

mt_tensor *mi_kedmi_g_loss(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, mt_tensor *z, mt_tensor *real,
                           double entropy) {
    bool grad = mt_grad_mode(false);
    mt_tensor *wanted = mt_mean(mi_kedmi_phi(d, real), MT_DIMS(0), false); /* [flat] */
    mt_grad_mode(grad);
    mt_tensor *phi = mi_kedmi_phi(d, mi_dcgan_g(g, z, true)); /* [N,flat] */
    mt_tensor *match = mt_mean(mt_unary(mt_sub(mt_mean(phi, MT_DIMS(0), false), wanted), MT_ABS), NULL, 0, false);
    mt_tensor *logits = mi_kedmi_logits(d, phi, true);
    mt_tensor *h = mt_sum(mt_mul(mt_softmax(logits, 1), mt_log_softmax(logits, 1)), MT_DIMS(1), false); /* [N] -H */
    return mt_add(match, mt_affine(mt_mean(h, NULL, 0, false), -entropy * ENTROPY_IMAGES, 0));
}

/* ---- archives ------------------------------------------------------------------------------------------------- */

static const char *const keys[] = {"size", "width", "z_dim", "d_width", "classes", "kernels", "kernel_dim"};
enum { N_KEYS = sizeof keys / sizeof *keys };

enum mi_status mi_kedmi_save(const struct mi_dcgan_g *g, const struct mi_kedmi_d *d, mt_archive *a) {
    const int value[] = {g->size, g->width, g->z_dim, d->width, d->classes, d->kernels, d->kernel_dim};
    MI_TRY(mt_archive_meta_put(a, "prior", "kedmi"));
    for (int i = 0; i < N_KEYS; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", value[i]);
        MI_TRY(mt_archive_meta_put(a, keys[i], text));
    }
    MI_TRY(mi_params_save(g->ps, a, "G."));
    return mi_params_save(d->ps, a, "D.");
}

static int number(const mt_archive *a, const char *key, long limit) {
    const char *text = mt_archive_meta(a, key);
    long v = text ? strtol(text, NULL, 10) : -1;
    return v >= 0 && v <= limit ? (int)v : -1;
}

enum mi_status mi_kedmi_load(struct mi_dcgan_g *g, struct mi_kedmi_d *d, mt_archive *a, int size, int classes,
                             mt_device dev, mt_dtype precision) {
    memset(g, 0, sizeof *g);
    memset(d, 0, sizeof *d);
    int width = number(a, "d_width", 1024), made = number(a, "classes", 1000000);
    int kernels = number(a, "kernels", 1024), dim = number(a, "kernel_dim", 1024);
    if (width < 1 || made < 1 || kernels < 0 || dim < 1)
        return mi_fail(MI_E_INPUT, "the prior file says no usable shape of a discriminator: it is not a prior of this "
                                   "attack, or it is damaged");
    if (made != classes)
        return mi_fail(MI_E_INPUT, "the prior was trained for a target of %d classes, this one has %d", made, classes);
    MI_TRY(mi_dcgan_load(g, NULL, a, size, dev, precision));
    enum mi_status st = mi_kedmi_d_open(d, size, width, classes, kernels, dim, dev, precision, 0);
    if (st == MI_OK) st = mi_params_load(d->ps, a, "D.");
    if (st == MI_OK) mi_params_freeze(d->ps, true);
    if (st == MI_OK) return MI_OK;
    mi_dcgan_g_close(g);
    mi_kedmi_d_close(d);
    return st;
}
