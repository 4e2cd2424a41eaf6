/* midre/check.h - the quick check of a checkpoint: from a file somebody handed over to an experiment that can be run.
 *
 * The engine is asked what the file is (midre-engine recognise, about a second); the answer and a dataset make an
 * ordinary spec with [target] checkpoint and [run] minutes, so a check is a run like any other: it can be watched,
 * stopped, resumed, and its row, marked quick, is in the table.  Shared by the command line and the screens. */
#ifndef MIDRE_CHECK_H
#define MIDRE_CHECK_H

#include <jansson.h>

#include "midre/spec.h"

struct mi_check {              /* what the person says; zero = nothing */
    const char *file;
    const char *arch, *data;   /* NULL: recognised; as the file says, else none */
    int size, classes;
    double minutes;            /* 0: 5 */
    bool head_may_differ;
    const struct mi_spec *base; /* the Setup screen's: machine, judge with its start weights and
                                * settings of the data are taken; NULL = defaults */
    const char *const *words;  /* section.key=value of the person, applied last */
    size_t n_words;
};
struct mi_check_facts {
    char *text;                /* lines about the file, for people; owned */
    char *data;                /* dataset to use; NULL when neither the person nor the file names one; owned */
    char *model;               /* owned */
    int classes, size;
    json_t *settings;          /* of the architecture, as recognised; owned */
};

/* Asks the engine about the file.  A file no architecture fits: MI_E_INPUT with the difference in facts->text and the
 * nearest architecture in the message.  Free the facts in any case. */
enum mi_status mi_check_recognise(const struct mi_check *c, struct mi_check_facts *facts);
/* The experiment.  NULL on failure. */
struct mi_spec *mi_check_spec(const struct mi_check *c, const struct mi_check_facts *facts);
void mi_check_facts_free(struct mi_check_facts *facts);

#endif
