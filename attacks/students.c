/* attacks/students.c - LOMMA's model augmentation (Nguyen et al. 2023): networks of other build that imitate the
 * target.
 *
 * A student learns the target's soft labels of public images, nothing else: no private photo, no label.  Loss:
 * KL(softmax(T/tau) || softmax(S/tau)) / tau^2, SGD with momentum and weight decay, the rate halved every 20 epochs.
 * Images go in as [0,1] without normalisation or augmentation.  The publication starts from ImageNet weights; without
 * files for them (student_init1..3) students start from random ones, and the journal says so.
 *
 * Attacks on one target share its students: they are a stage product of their own.  One loop per student; dropout and
 * order of images come from (seed, student, step), so a killed run goes on exactly.  Networks are built by the name in
 * the settings; this file knows none. */
#include "attacks/students.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacks/public.h"
#include "midre/spec.h"

enum { EPOCHS_PER_RATE = 20 };

const char *const mi_students_settings[] = {"students",      "student_epochs",   "student_steps", "student_batch",
                                            "student_lr",    "student_momentum", "student_decay", "student_tau",
                                            "student_init1", "student_init2",    "student_init3", NULL};

mt_tensor *mi_students_loss(mt_tensor *teacher, mt_tensor *student, double tau) {
    mt_tensor *t = mt_affine(teacher, 1 / tau, 0), *s = mt_affine(student, 1 / tau, 0); /* [N,K] */
    mt_tensor *log_t = mt_log_softmax(t, 1);
    mt_tensor *kl = mt_mul(mt_softmax(t, 1), mt_sub(log_t, mt_log_softmax(s, 1)));
    return mt_affine(mt_mean(mt_sum(kl, MT_DIMS(1), false), NULL, 0, false), 1 / (tau * tau), 0);
}

/* "quick:width=16:blocks=2" -> a network with fresh weights. */
static struct mi_model *build(const char *text, int classes, const struct mi_attack_job *job, uint64_t seed) {
    size_t n = 0;
    char **word = mi_list_split(text, ':', &n);
    const struct mi_model_desc *d = word && n > 0 ? mi_model_find(word[0]) : NULL;
    struct mi_values *v = d && d->info.settings ? mi_values_new(text, d->info.settings) : NULL;
    enum mi_status st = d && (v || !d->info.settings) ? MI_OK : mi_error_status();
    for (size_t i = 1; st == MI_OK && i < n; i++) {
        char *eq = strchr(word[i], '=');
        if (!eq || !v) {
            st = mi_fail(MI_E_INPUT, "student \"%s\": write NAME or NAME:SETTING=VALUE:...", text);
            break;
        }
        *eq = '\0';
        st = mi_values_set(v, word[i], eq + 1);
    }
    struct mi_model *m = NULL;
    if (st == MI_OK) m = mi_model_new(d->info.name, v, classes, job->size, job->ctx->device, seed);
    if (m) m->precision = job->ctx->precision;
    if (!m) mi_fail_context("students");
    mi_values_free(v);
    mi_list_free(word, n);
    return m;
}

/* ---- distilling one ------------------------------------------------------------------------------------------- */

struct distil {
    struct mi_attack_job *job;
    struct mi_model *m;
    struct mi_public pub;
    mt_opt *opt;
    char phase[32], purpose[48];
    double lr, tau;
};

static enum mi_status start_weights(struct distil *d, int number, const char *name) {
    char setting[32];
    snprintf(setting, sizeof setting, "student_init%d", number);
    const char *path = mi_values_text(d->job->values, setting);
    struct mi_ctx *c = d->job->ctx;
    if (!*path) {
        mi_ctx_log(c, "warn", "student %s starts from random weights, not from ImageNet as published (%s)", name,
                   setting);
        return MI_OK;
    }
    struct mi_started got;
    char text[512];
    mt_archive *a = mt_archive_open(path);
    enum mi_status st = a ? mi_model_init_from(d->m, a, &got) : mi_error_status();
    if (a) mt_archive_close(a);
    if (st != MI_OK) return mi_fail_context("%s", setting);
    const char *level = mi_started_text(&got, path, text, sizeof text);
    mi_ctx_log(c, level, "student %s: %s", name, text);
    return MI_OK;
}

static enum mi_status optimiser(struct distil *d) {
    const struct mi_values *v = d->job->values;
    d->opt = mt_sgd_new(d->lr, mi_values_real(v, "student_momentum"), mi_values_real(v, "student_decay"), false);
    return d->opt ? mi_params_optimise(d->m->params, d->opt) : mi_error_status();
}

static enum mi_status learn(struct distil *d, struct mi_loop *l) {
    mt_scope *s = mt_scope_begin("distillation step");
    mt_tensor *x = mi_public_batch(&d->pub, l->step, MT_NHWC), *teacher = NULL; /* [B,3,S,S] [B,K] */
    struct mi_forward_out out = {0};
    bool grad = mt_grad_mode(false);
    enum mi_status st = mi_oracle_logits(d->job->oracle, x, &teacher, NULL);
    mt_grad_mode(grad);
    if (d->m->rng)
        mt_rng_seed(d->m->rng, mi_mix(mi_mix(d->job->ctx->seed, mi_hash_text(d->purpose)), (uint64_t)l->step));
    if (st == MI_OK) st = mi_model_forward(d->m, x, false, &out);
    if (st == MI_OK) {
        mt_tensor *loss = mi_students_loss(teacher, out.logits, d->tau);
        mt_opt_set_lr(d->opt, l->step / d->pub.per_epoch < EPOCHS_PER_RATE
                                  ? d->lr
                                  : d->lr / (double)(1 << (l->step / d->pub.per_epoch / EPOCHS_PER_RATE % 30)));
        st = mt_backward(loss, false);
        if (st == MI_OK) st = mt_opt_step(d->opt);
        mt_opt_zero_grad(d->opt);
        mt_tensor *same = mt_compare(mt_argmax(mt_detach(out.logits), 1), mt_argmax(teacher, 1), MT_EQ); /* [B] */
        mi_loop_scalar_tensor(l, "loss/distil", mt_detach(loss));
        mi_loop_scalar_tensor(l, "acc/agreement", mt_affine(mt_mean(mt_cast(same, MT_F32), NULL, 0, false), 100, 0));
    }
    enum mi_status end = mt_scope_end(s);
    return end != MI_OK ? end : st;
}

static enum mi_status run(struct distil *d) {
    const struct mi_values *v = d->job->values;
    int64_t steps = mi_values_int(v, "student_steps");
    if (steps == 0) steps = mi_values_int(v, "student_epochs") * d->pub.per_epoch;
    struct mi_loop l = {.ctx = d->job->ctx,
                        .phase = d->phase,
                        .unit = "img",
                        .total = steps,
                        .per_step = d->pub.batch,
                        .steps_per_epoch = d->pub.per_epoch};
    mi_loop_add_params(&l, "student", d->m->params);
    mi_loop_add_opt(&l, "sgd", d->opt);
    MI_TRY(mi_loop_begin(&l));
    d->m->train = true;
    while (mi_loop_next(&l)) {
        enum mi_status st = learn(d, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    d->m->train = false;
    return mi_loop_end(&l);
}

static enum mi_status distil_one(struct mi_attack_job *job, int number, const char *text, mt_archive *out) {
    const struct mi_values *v = job->values;
    struct distil d = {.job = job, .lr = mi_values_real(v, "student_lr"), .tau = mi_values_real(v, "student_tau")};
    snprintf(d.phase, sizeof d.phase, "student %d", number);
    snprintf(d.purpose, sizeof d.purpose, "student %d dropout", number);
    char seed[32], key[32];
    snprintf(seed, sizeof seed, "student %d", number);
    d.m = build(text, mi_oracle_classes(job->oracle), job, mi_mix(job->ctx->seed, mi_hash_text(seed)));
    enum mi_status st = d.m ? MI_OK : mi_error_status();
    if (st == MI_OK) st = start_weights(&d, number, text);
    if (st == MI_OK) st = mi_public_open(&d.pub, job, d.phase, (int)mi_values_int(v, "student_batch"), "student_batch");
    if (st == MI_OK) st = optimiser(&d);
    if (st == MI_OK) st = run(&d);
    snprintf(key, sizeof key, "student%d", number);
    if (st == MI_OK) st = mt_archive_meta_put(out, key, text);
    snprintf(key, sizeof key, "S%d.", number);
    if (st == MI_OK) st = mi_params_save(d.m->params, out, key);
    mt_opt_free(d.opt);
    mi_public_close(&d.pub);
    mi_model_free(d.m);
    return st;
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

static enum mi_status put_number(mt_archive *a, const char *key, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return mt_archive_meta_put(a, key, text);
}

enum mi_status mi_students_train(struct mi_attack_job *job, mt_archive *out) {
    size_t n = 0;
    char **name = mi_list_split(mi_values_text(job->values, "students"), ',', &n);
    enum mi_status st = name ? MI_OK : mi_error_status();
    if (st == MI_OK && (n < 1 || n > MI_STUDENTS_MAX))
        st = mi_fail(MI_E_INPUT, "%s: students names %zu architectures; it takes 1 to %d, comma separated",
                     mi_values_section(job->values), n, MI_STUDENTS_MAX);
    for (size_t i = 0; st == MI_OK && i < n; i++) { /* all names are tried before the first student costs an hour */
        struct mi_model *m = build(name[i], 2, job, 0);
        st = m ? MI_OK : mi_error_status();
        mi_model_free(m);
    }
    if (st == MI_OK) st = put_number(out, "students", (int)n);
    if (st == MI_OK) st = put_number(out, "classes", mi_oracle_classes(job->oracle));
    if (st == MI_OK) st = put_number(out, "size", job->size);
    for (size_t i = 0; st == MI_OK && i < n; i++) st = distil_one(job, (int)i + 1, name[i], out);
    mi_list_free(name, n);
    return st;
}

static int number_in(const mt_archive *a, const char *key) {
    const char *text = mt_archive_meta(a, key);
    return text ? atoi(text) : 0;
}

enum mi_status mi_students_open(struct mi_students *s, mt_archive *a, const struct mi_attack_job *job) {
    memset(s, 0, sizeof *s);
    int n = number_in(a, "students"), classes = mi_oracle_classes(job->oracle);
    if (n < 1 || n > MI_STUDENTS_MAX || number_in(a, "classes") != classes || number_in(a, "size") != job->size)
        return mi_fail(MI_E_INPUT,
                       "the students' file holds %d students of %d classes at %d px; this attack needs 1 to "
                       "%d of %d classes at %d px",
                       n, number_in(a, "classes"), number_in(a, "size"), MI_STUDENTS_MAX, classes, job->size);
    enum mi_status st = MI_OK;
    for (int i = 1; st == MI_OK && i <= n; i++) {
        char key[32];
        snprintf(key, sizeof key, "student%d", i);
        const char *text = mt_archive_meta(a, key);
        struct mi_model *m = build(text ? text : "", classes, job, 0);
        if (m) s->model[s->n++] = m;
        snprintf(key, sizeof key, "S%d.", i);
        st = m ? mi_params_load(m->params, a, key) : mi_error_status();
        if (st == MI_OK) mi_params_freeze(m->params, true);
    }
    if (st != MI_OK) mi_students_close(s);
    return st;
}

void mi_students_close(struct mi_students *s) {
    for (int i = 0; i < s->n; i++) mi_model_free(s->model[i]);
    memset(s, 0, sizeof *s);
}
