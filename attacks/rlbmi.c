/* attacks/rlbmi.c - RLB-MI, black-box inversion as reinforcement learning (Han, Choi, Lee, Kim, CVPR 2023).
 *
 * An agent sees a random latent s and answers with a latent a in (-box,box)^d; the image of s' = alpha s + (1-alpha) a
 * goes to the target, whose probabilities p give the reward (q belongs to the image of a; equal to p when alpha = 0):
 *     R = 2 ln p_y + 2 ln q_y + 8 ln max(1e-7, p_y - max of the others).
 * Soft actor-critics (sac.c) learn from all episodes so far, one update a step.  After each episode a candidate is
 * drawn (a fresh run of the agent, or the training one); the candidate with the greatest p_y is delivered.  The fresh run
 * is shown to the target together with the next episode.
 *
 * Every identity and restart has a learner of its own, all trained in step (stacked weights).  What a learner draws
 * comes from (seed, label, restart, step); which episodes a batch takes and an update's noise from (seed, step), shared
 * by all: so company changes speed, not results.  Groups of learners that fit into memory are worked off one by one; a
 * finished group is a part of the stage.  The replay is written to disk in segments, once each; checkpoints hold the
 * segment begun.  `search = random` shows as many standard normal latents: the baseline to beat. */
#include <stdio.h>
#include <stdlib.h>

#include "attacks/rlb_agents.h"
#include "attacks/wgan.h"

enum { SEGMENT = 256 }; /* steps of replay in one file */
enum { CRITIC_ONE, CRITIC_TWIN, CRITIC_INDEPENDENT };
enum { ENTROPY_PUBLISHED, ENTROPY_TEXTBOOK };

static void read_settings(struct mi_rlb *r, const struct mi_values *v) {
    r->episodes = (int)mi_values_int(v, "episodes");
    r->steps = (int)mi_values_int(v, "steps");
    r->batch = (int)mi_values_int(v, "batch");
    r->warmup = (int)mi_values_int(v, "warmup");
    r->noise = mi_values_choice(v, "noise");
    r->candidates = mi_values_choice(v, "candidates");
    r->random = mi_values_choice(v, "search") == 1;
    r->alpha = mi_values_real(v, "alpha");
    r->twice = r->alpha > 0 || mi_values_bool(v, "ask_twice");
    r->scale = mi_values_real(v, "reward_scale");
    r->weight[0] = mi_values_real(v, "w1");
    r->weight[1] = mi_values_real(v, "w2");
    r->weight[2] = mi_values_real(v, "w3");
    double lr = mi_values_real(v, "lr"), heat = mi_values_real(v, "temperature_lr");
    int critics = mi_values_choice(v, "critics");
    r->sac = (struct mi_sac_config){.hidden = (int)mi_values_int(v, "hidden"),
                                    .critics = critics == CRITIC_ONE ? 1 : 2,
                                    .twins = critics == CRITIC_TWIN,
                                    .bootstrap = r->steps > 1,
                                    .lr = lr,
                                    .lr_temperature = heat > 0 ? heat : lr,
                                    .gamma = mi_values_real(v, "gamma"),
                                    .tau = mi_values_real(v, "tau"),
                                    .box = mi_values_real(v, "box")};
}

/* Learners side by side: what their replay and weights leave room for. */
static int by_memory(const struct mi_rlb *r) {
    uint64_t used = 0, total = 0, peak = 0;
    bool gpu = r->q.job->ctx->device.type == 1;
    if (gpu && mt_mem_info(r->q.job->ctx->device, &used, &total, &peak) != MI_OK) mi_error_clear();
    double room = gpu && total > 0 ? 0.4 * (double)total : 1.5e9;
    double record = 4.0 * (2 * r->dim + 1);
    double each = record * ((double)r->episodes * r->steps + r->segment) + (double)mi_sac_bytes(&r->sac, r->batch);
    return room / each < 1 ? 1 : room / each > 4096 ? 4096 : (int)(room / each);
}

enum mi_status mi_rlb_open(struct mi_rlb *r, struct mi_attack_job *job) {
    *r = (struct mi_rlb){0};
    read_settings(r, job->values);
    if (r->batch > r->warmup + 1)
        return mi_fail(MI_E_INPUT,
                       "[attack.rlbmi] batch = %d, but learning begins after %d steps (warmup); raise warmup "
                       "to batch - 1 or more",
                       r->batch, r->warmup + 1);
    MI_TRY(mi_query_open(&r->q, job));
    if (mi_oracle_classes(job->oracle) < 2)
        return mi_fail(MI_E_INPUT, "RLB-MI needs a target with two classes or more");
    r->dim = r->sac.dim = r->q.g.z_dim;
    bool textbook = mi_values_choice(job->values, "entropy") == ENTROPY_TEXTBOOK;
    r->sac.entropy = textbook ? -1 : -r->dim;
    int64_t all = (int64_t)r->episodes * r->steps;
    r->segment = all < SEGMENT ? (int)all : SEGMENT;
    r->group = (int)mi_values_int(job->values, "learners");
    if (r->group == 0) r->group = by_memory(r);
    if (r->group > r->q.rows) r->group = r->q.rows;
    r->groups = (r->q.rows + r->group - 1) / r->group;
    size_t most = (size_t)(r->group > r->batch ? r->group : r->batch);
    r->host = mi_calloc(most * (size_t)r->dim, sizeof *r->host);
    r->index = mi_calloc((size_t)r->batch, sizeof *r->index);
    r->taken = mi_calloc((size_t)all, 1);
    return r->host && r->index && r->taken ? MI_OK : MI_E_NOMEM;
}

void mi_rlb_close(struct mi_rlb *r) {
    mi_rlb_group_close(r);
    free(r->host);
    free(r->index);
    free(r->taken);
    mi_query_close(&r->q);
}

static enum mi_status group_run(struct mi_rlb *r, int group) {
    char phase[48] = "agents";
    if (r->groups > 1) snprintf(phase, sizeof phase, "agents %d of %d", group + 1, r->groups);
    int asked = r->random ? 1 : r->steps * (r->twice ? 2 : 1) + (r->candidates == MI_RLB_FRESH);
    struct mi_loop l = {
        .ctx = r->q.job->ctx, .phase = phase, .unit = "img", .total = r->episodes, .per_step = (double)r->n * asked};
    mi_loop_add_tensor(&l, "best", &r->best);
    mi_loop_add_tensor(&l, "score", &r->score);
    if (!r->random) {
        mi_loop_add_tensor(&l, "tail", &r->tail);
        mi_loop_add_params(&l, "actor", r->m.actor);
        mi_loop_add_params(&l, "critic", r->m.critic);
        mi_loop_add_params(&l, "temperature", r->m.temperature);
        mi_loop_add_opt(&l, "adam_actor", r->m.opt_actor);
        mi_loop_add_opt(&l, "adam_critic", r->m.opt_critic);
        mi_loop_add_opt(&l, "adam_temperature", r->m.opt_temperature);
    }
    if (!r->random && r->steps > 1) mi_loop_add_params(&l, "target", r->m.target);
    MI_TRY(mi_loop_begin(&l));
    if (!r->random && l.step > 0 && l.step < l.total) {
        enum mi_status st = mi_rlb_recall(r, l.step * r->steps);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    while (mi_loop_next(&l)) {
        enum mi_status st = mi_rlb_episode(r, &l);
        if (st != MI_OK) mi_loop_fail(&l, st);
    }
    return mi_loop_end(&l);
}

/* An agent whose weights are no numbers would go unnoticed: its best candidate from before stays. */
static enum mi_status check_sane(struct mi_rlb *r) {
    for (int i = 0; !r->random && i < r->m.actor->n; i++)
        if (!mt_all_finite(r->m.actor->item[i].t))
            return mi_fail(MI_E_INPUT,
                           "RLB-MI diverged: an agent's weights are not numbers; lower lr or reward_scale, or "
                           "use precision = fp32");
    return MI_OK;
}

/* Images of one group, owned: from an earlier session, or made now. */
static enum mi_status group_images(struct mi_rlb *r, int group, mt_tensor **x) {
    char part[32];
    const char *const names[] = {"x"};
    struct mi_ctx *ctx = r->q.job->ctx;
    snprintf(part, sizeof part, "group-%04d", group);
    mt_scope *s = mt_scope_begin("group images");
    mt_tensor *t = NULL;
    enum mi_status st = mi_ctx_part_load(ctx, part, &t, names, 1);
    if (st == MI_E_MISSING) {
        st = mi_rlb_group_open(r, group);
        if (st == MI_OK) st = group_run(r, group);
        if (st == MI_OK) st = check_sane(r);
        if (st == MI_OK && !(t = mi_query_images(&r->q, r->best))) st = mt_failed() ? mt_status() : mi_error_status();
        if (st == MI_OK) st = mi_ctx_part_save(ctx, part, &t, names, 1);
        mi_rlb_group_close(r);
    }
    if (st == MI_OK) *x = mt_keep(mt_contig(mt_to(t, MT_CPU), MT_NCHW));
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

static enum mi_status rlb_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct mi_rlb r;
    enum mi_status st = mi_rlb_open(&r, job);
    mt_tensor **x = st == MI_OK ? mi_calloc((size_t)r.groups, sizeof(mt_tensor *)) : NULL;
    if (st == MI_OK && !x) st = MI_E_NOMEM;
    for (int i = 0; st == MI_OK && i < r.groups; i++) st = group_images(&r, i, &x[i]);
    if (st == MI_OK) {
        mt_scope *s = mt_scope_begin("collect");
        out->x = mt_keep(mt_cat(x, r.groups, 0)); /* [labels*restarts,3,S,S] */
        st = mt_scope_end(s);
    }
    for (int i = 0; x && i < r.groups; i++) mt_free(x[i]);
    free(x);
    mi_rlb_close(&r);
    return st;
}

/* ---- descriptor -------------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    MI_WGAN_SETTINGS,
    {.name = "episodes",
     .type = MI_INT,
     .def = "40000",
     .min = 1,
     .max = 10000000,
     .unit = "episodes",
     .help = "Episodes of each learner"},
    {.name = "steps", .type = MI_INT, .def = "1", .min = 1, .max = 1000, .help = "Steps of an episode"},
    {.name = "alpha",
     .type = MI_REAL,
     .def = "0",
     .min = 0,
     .max = 0.9999,
     .help = "Diversity: the share of the old state in the new one (published: 0; 0.97 for diverse images)"},
    {.name = "search",
     .type = MI_CHOICE,
     .def = "sac",
     .choices = "sac|random",
     .help = "Learn, or show one standard normal latent an episode (the baseline at equal episodes)"},
    {.name = "candidates",
     .type = MI_CHOICE,
     .def = "fresh",
     .choices = "fresh|training",
     .help = "The delivered image is the best of fresh runs after each episode, or of the episodes themselves"},
    {.name = "ask_twice",
     .type = MI_BOOL,
     .def = "no",
     .help = "Ask about the action's image even when it equals the state's, as the released code does"},
    {.name = "hidden", .type = MI_INT, .def = "256", .min = 1, .max = 4096, .help = "Width of actor and critics"},
    {.name = "batch",
     .type = MI_INT,
     .def = "256",
     .min = 1,
     .max = 65536,
     .unit = "steps",
     .help = "Steps an update learns from"},
    {.name = "warmup",
     .type = MI_INT,
     .def = "256",
     .min = 0,
     .max = 10000000,
     .unit = "steps",
     .help = "Learning begins when more steps than this are remembered; all are remembered"},
    {.name = "lr", .type = MI_REAL, .def = "0.0005", .min = 0, .max = 1, .help = "Adam's rate for actor and critics"},
    {.name = "temperature_lr",
     .type = MI_REAL,
     .def = "0",
     .min = 0,
     .max = 1,
     .help = "Adam's rate for the temperature, 0 = lr: it falls as exp(-rate * updates)"},
    {.name = "entropy",
     .type = MI_CHOICE,
     .def = "published",
     .choices = "published|textbook",
     .help = "Goal of the temperature: minus the latent's length against a mean density, as published, or its mean"},
    {.name = "critics",
     .type = MI_CHOICE,
     .def = "one",
     .choices = "one|twin|independent",
     .help = "One critic; two that start equal and so stay equal, as published; or two that differ"},
    {.name = "gamma", .type = MI_REAL, .def = "0.99", .min = 0, .max = 1, .help = "Discount, for several steps"},
    {.name = "tau", .type = MI_REAL, .def = "0.01", .min = 0, .max = 1, .help = "Pace of the target critics"},
    {.name = "noise",
     .type = MI_CHOICE,
     .def = "scalar",
     .choices = "scalar|row|coordinate",
     .help = "The policy's random numbers: one a call, as published, one a row, or one a coordinate"},
    {.name = "box", .type = MI_REAL, .def = "1", .min = 0.01, .max = 100, .help = "Actions lie in (-box,box)"},
    {.name = "reward_scale",
     .type = MI_REAL,
     .def = "1",
     .min = 0.00001,
     .max = 1000,
     .help = "Factor of the reward inside the learner (1/40 helps short runs)"},
    {.name = "w1",
     .type = MI_REAL,
     .def = "2",
     .min = 0,
     .max = 1000,
     .help = "Weight of the next state's log-probability"},
    {.name = "w2",
     .type = MI_REAL,
     .def = "2",
     .min = 0,
     .max = 1000,
     .help = "Weight of the action's log-probability"},
    {.name = "w3", .type = MI_REAL, .def = "8", .min = 0, .max = 1000, .help = "Weight of the log-margin"},
    {.name = "learners",
     .type = MI_INT,
     .def = "0",
     .min = 0,
     .max = 100000,
     .unit = "learners",
     .help = "Learners side by side, 0 = by memory; changes speed, not results",
     .cosmetic = true},
    MI_QUERY_STACK,
    MI_SETTING_END};

const struct mi_attack_desc mi_attack_rlbmi = {
    .info = {.name = "rlbmi",
             .title = "RLB-MI",
             .help =
                 "Sees probabilities only: a soft actor-critic for each person learns which latents make the target "
                 "sure.",
             .paper = "Han, Choi, Lee, Kim: Reinforcement Learning-Based Black-Box Model Inversion Attacks, CVPR 2023",
             .settings = settings,
             .tags = "black-box 64px gan"},
    .access = MI_ACCESS_BLACK,
    .native_size = 64,
    .sizes = mi_dcgan_sizes,
    .prior_uses_target = false,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .invert = rlb_invert};
