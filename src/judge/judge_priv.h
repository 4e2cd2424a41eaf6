/* src/judge/judge_priv.h - what the files of this room share. */
#ifndef MIDRE_JUDGE_PRIV_H
#define MIDRE_JUDGE_PRIV_H

#include "midre/judge.h"

/* Evaluation mode without a graph; leave puts back what enter found. */
struct mi_eval_mode { bool train, grad; };
struct mi_eval_mode mi_eval_enter(struct mi_model *m);
void mi_eval_leave(struct mi_model *m, struct mi_eval_mode mode);

#endif
