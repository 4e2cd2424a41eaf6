/* attacks/students.h - classifiers distilled from a target with public images (LOMMA's model augmentation).
 * Private to attacks/ and their tests. */
#ifndef MIDRE_ATTACKS_STUDENTS_H
#define MIDRE_ATTACKS_STUDENTS_H

#include "midre/attack.h"

#define MI_STUDENTS_MAX 3

struct mi_students {
    struct mi_model *model[MI_STUDENTS_MAX]; /* owned; frozen, in evaluation mode */
    int n;
};

/* tau^-2 KL(softmax(t/tau) || softmax(s/tau)), summed over classes, mean over images. t, s [N,K] logits. */
mt_tensor *mi_students_loss(mt_tensor *teacher, mt_tensor *student, double tau);

/* The settings below as one list, and the names of those the students depend on: attacks with students include both. */
#define MI_STUDENTS_SETTINGS                                                                                           \
    {.name = "students", .type = MI_TEXT, .def = "efficientnet_b0, efficientnet_b1, efficientnet_b2",                  \
     .help = "Architectures distilled from the target, comma separated, at most 3; quick:width=16:blocks=2 also "      \
             "sets up the network"},                                                                                   \
    {.name = "student_epochs", .type = MI_INT, .def = "20", .min = 1, .max = 10000, .unit = "epochs",                  \
     .help = "Passes over the public images for each student (published 20; the released files hold 19)"},             \
    {.name = "student_steps", .type = MI_INT, .def = "0", .min = 0, .max = 1e9, .unit = "steps",                       \
     .help = "Steps for each student; 0 takes student_epochs instead"},                                                \
    {.name = "student_batch", .type = MI_INT, .def = "64", .min = 2, .max = 4096, .unit = "images",                    \
     .help = "Public images in a step; an incomplete last batch is dropped"},                                          \
    {.name = "student_lr", .type = MI_REAL, .def = "0.02", .min = 0, .max = 10,                                        \
     .help = "Learning rate (SGD); the released students say 0.02, their configuration 0.01"},                         \
    {.name = "student_momentum", .type = MI_REAL, .def = "0.9", .min = 0, .max = 0.9999, .help = "Momentum"},          \
    {.name = "student_decay", .type = MI_REAL, .def = "0.0001", .min = 0, .max = 1, .help = "Weight decay"},           \
    {.name = "student_tau", .type = MI_REAL, .def = "1", .min = 0.01, .max = 100,                                      \
     .help = "Temperature of both softmaxes in the distillation loss"},                                                \
    {.name = "student_init1", .type = MI_PATH, .def = "",                                                              \
     .help = "ImageNet weights the first student starts from (.safetensors), as published; empty: random ones"},       \
    {.name = "student_init2", .type = MI_PATH, .def = "", .help = "The same for the second student"},                  \
    {.name = "student_init3", .type = MI_PATH, .def = "", .help = "The same for the third student"}

extern const char *const mi_students_settings[]; /* NULL-terminated */

/* Distils every student through job->oracle on job->pub, one resumable loop each, and writes them to `out`. */
enum mi_status mi_students_train(struct mi_attack_job *job, mt_archive *out);
/* Opens finished students, frozen.  On failure nothing stays open. */
enum mi_status mi_students_open(struct mi_students *s, mt_archive *a, const struct mi_attack_job *job);
void mi_students_close(struct mi_students *s); /* safe on a zeroed struct */

#endif
