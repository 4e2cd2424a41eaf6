/* src/engine/attacker.h - what an attacker's stage (prior, students, attack) is given.  Private to src/engine. */
#ifndef MIDRE_ENGINE_ATTACKER_H
#define MIDRE_ENGINE_ATTACKER_H

#include "engine.h"

struct attacker {
    struct mi_attack_job job; /* without labels: those are the attack's own */
    struct classifier target; /* behind the oracle; empty where the stage may not ask it */
    double queries;           /* images shown to it; ctx->tally points here, so the struct stays where it is */
};
/* Public images, settings, oracle, prior and students of a stage whose inputs are done.  Close it even on failure. */
enum mi_status attacker_open(const struct engine *e, const struct stage *s, struct mi_ctx *ctx, struct attacker *a);
void attacker_close(struct attacker *a);

#endif
