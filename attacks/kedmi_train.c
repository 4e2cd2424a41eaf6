/* attacks/kedmi_train.c - training KedMI's inversion-specific GAN on public images, labelled softly by the target.
 *
 * Every step updates D on three batches: public images with the target's soft labels, other public images as real ones,
 * generated ones as unreal.  Every fifth step then updates G with new latents, a third walk over the public images and
 * D frozen.  G stays in training mode in both phases; fakes for D are made without a graph.  The published code forgets
 * to put the target into evaluation mode; `teacher` keeps both readings.
 *
 * The three walks are shuffled independently.  The loop is gan_train.c's. */
#include "attacks/kedmi.h"
#include "attacks/public.h"

enum { TEACHER_EVAL, TEACHER_TRAIN };

const char *const mi_kedmi_prior_settings[] = {"gan_epochs",  "gan_steps", "gan_batch", "gan_width", "z_dim",
                                               "n_critic",    "gan_lr",    "gan_beta1", "gan_beta2", "entropy",
                                               "mbd_kernels", "mbd_dim",   "teacher",   NULL};

struct gan {
    struct mi_gan t;
    struct mi_dcgan_g g;
    struct mi_kedmi_d d;
    struct mi_public labelled, unlabelled, matched;
    int teacher;
    double entropy;
};

static enum mi_status d_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct gan *w = gan;
    struct mi_oracle *o = w->t.job->oracle;
    mt_tensor *x = mi_public_batch(&w->labelled, n, MT_NHWC), *soft = NULL; /* [batch,3,S,S] [batch,K] */
    mt_tensor *u = mi_public_batch(&w->unlabelled, n, MT_NHWC);
    MI_TRY(w->teacher == TEACHER_TRAIN ? mi_oracle_probs_batch(o, x, &soft) : mi_oracle_probs(o, x, &soft));
    bool grad = mt_grad_mode(false);
    mt_tensor *z = mi_gan_latents(&w->t, "gan discriminator z", n, w->t.batch, w->g.z_dim);
    mt_tensor *fake = mi_dcgan_g(&w->g, z, true);
    mt_grad_mode(grad);
    struct mi_kedmi_terms t = {0};
    MI_TRY(mi_kedmi_d_loss(&w->d, x, soft, u, fake, &t));
    mt_tensor *same = mt_compare(mt_argmax(mt_detach(t.logits), 1), mt_argmax(soft, 1), MT_EQ); /* [batch] */
    mi_loop_scalar_tensor(l, "loss/supervised", mt_detach(t.supervised));
    mi_loop_scalar_tensor(l, "loss/unsupervised", mt_detach(t.unsupervised));
    mi_loop_scalar_tensor(l, "acc/agreement", mt_affine(mt_mean(mt_cast(same, MT_F32), NULL, 0, false), 100, 0));
    *loss = t.loss;
    return MI_OK;
}

static enum mi_status g_loss(void *gan, struct mi_loop *l, int64_t n, mt_tensor **loss) {
    struct gan *w = gan;
    mt_tensor *z = mi_gan_latents(&w->t, "gan generator z", n, w->t.batch, w->g.z_dim);
    mt_tensor *real = mi_public_batch(&w->matched, n, MT_NHWC);
    *loss = mi_kedmi_g_loss(&w->g, &w->d, z, real, w->entropy);
    if (!*loss) return mt_status();
    mi_loop_scalar_tensor(l, "loss/generator", mt_detach(*loss));
    return MI_OK;
}

static mt_tensor *sheet(void *gan) {
    struct gan *w = gan;
    return mi_dcgan_g(&w->g, mi_gan_latents(&w->t, "gan sheet", 0, MI_GAN_SHEET, w->g.z_dim), false);
}

static const struct mi_gan_desc kedmi = {
    .cadence = MI_GAN_STEP_IS_D, .d_loss = d_loss, .g_loss = g_loss, .sheet = sheet};

static enum mi_status gan_open(struct gan *w, struct mi_attack_job *job) {
    const struct mi_values *v = job->values;
    const struct mi_ctx *c = job->ctx;
    *w = (struct gan){.teacher = mi_values_choice(v, "teacher"), .entropy = mi_values_real(v, "entropy")};
    mi_gan_open(&w->t, &kedmi, w, job);
    MI_TRY(mi_public_open(&w->labelled, job, "kedmi labelled", w->t.batch, "gan_batch"));
    MI_TRY(mi_public_open(&w->unlabelled, job, "kedmi unlabelled", w->t.batch, "gan_batch"));
    MI_TRY(mi_public_open(&w->matched, job, "kedmi matched", w->t.batch, "gan_batch"));
    int width = (int)mi_values_int(v, "gan_width"), z_dim = (int)mi_values_int(v, "z_dim");
    uint64_t seed = mi_mix(c->seed, mi_hash_text("G"));
    MI_TRY(mi_dcgan_g_open(&w->g, job->size, width, z_dim, c->device, c->precision, seed));
    MI_TRY(mi_kedmi_d_open(&w->d, job->size, width, mi_oracle_classes(job->oracle),
                           (int)mi_values_int(v, "mbd_kernels"), (int)mi_values_int(v, "mbd_dim"), c->device,
                           c->precision, mi_mix(c->seed, mi_hash_text("D"))));
    return mi_gan_nets(&w->t, w->g.ps, w->d.ps);
}

enum mi_status mi_kedmi_train(struct mi_attack_job *job, mt_archive *out) {
    struct gan w;
    enum mi_status st = gan_open(&w, job);
    int64_t per_epoch = w.labelled.per_epoch;
    if (st == MI_OK) st = mi_gan_train(&w.t, mi_gan_steps(job, per_epoch), w.t.batch, per_epoch);
    if (st == MI_OK) st = mi_kedmi_save(&w.g, &w.d, out);
    mi_gan_close(&w.t);
    mi_dcgan_g_close(&w.g);
    mi_kedmi_d_close(&w.d);
    mi_public_close(&w.labelled);
    mi_public_close(&w.unlabelled);
    mi_public_close(&w.matched);
    return st;
}
