/* src/engine/budget.h - a run that may take [run] minutes: stages are timed and made smaller.  Private to src/engine. */
#ifndef MIDRE_ENGINE_BUDGET_H
#define MIDRE_ENGINE_BUDGET_H

#include "engine.h"

/* Settles epochs or iterations of a stage before its fingerprint; nothing without [run] minutes. */
enum mi_status budget_settle(struct engine *e, struct stage *s);
/* What was made shorter, for the row: "judge.epochs 4 of 30; ..."; "" = nothing.  Caller frees. */
char *budget_note(const struct engine *e, const struct stage *score);
bool budget_quick(const struct engine *e);
/* The first steps of a stage, to time them; `folder` may be written to (stage_trial.c). */
enum mi_status stage_trial(struct engine *e, struct stage *s, struct mi_ctx *ctx, const char *folder);

#endif
