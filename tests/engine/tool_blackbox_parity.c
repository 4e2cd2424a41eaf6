/* tests/engine/tool_blackbox_parity.c - writes what BREPMI and RLB-MI compute, for comparison with PyTorch and numpy.
 *
 *     tool_blackbox_parity OUT.safetensors
 *
 * RLB-MI: rewards of random probabilities; and, in three forms (as published; independent critics with several steps;
 * noise of its own for each coordinate in a wider box), the weights of two stacked learners, a batch, the noise, and
 * weights and losses after each of three learning steps.  BREPMI: latents, directions and labels of forty rounds, and
 * the radius, count and latent after each.  scripts/parity/blackbox_reference.py does the same sums. */
#include <stdio.h>
#include <string.h>

#include "attacks/repulse.h"
#include "attacks/rlb_agents.h"

enum { L = 2, B = 6, D = 7, H = 12, STEPS = 3, ROUNDS = 40, N = 8 };

static enum mi_status put(mt_archive *a, const char *form, const char *what, int step, mt_tensor *t) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s%d", form, what, step);
    return mt_archive_put(a, name, mt_contig(t, MT_NCHW));
}

static enum mi_status put_all(mt_archive *a, const char *form, int step, const struct mi_sac *m) {
    const struct {
        const char *name;
        const struct mi_params *ps;
    } part[] = {{"actor", m->actor}, {"critic", m->critic}, {"target", m->target}, {"temperature", m->temperature}};
    for (int i = 0; i < 4; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s.%d.%s.", form, step, part[i].name);
        MI_TRY(mi_params_save(part[i].ps, a, prefix));
    }
    return MI_OK;
}

static enum mi_status learn(mt_archive *a, const char *form, struct mi_sac_config c, int rows, int width) {
    const uint64_t seeds[L] = {5, 6};
    struct mi_sac m;
    MI_TRY(mi_sac_open(&m, &c, seeds, MT_CPU));
    mt_scope *s = mt_scope_begin("learn");
    mt_rng *r = mt_rng_new(MT_CPU, 23);
    enum mi_status st = put_all(a, form, 0, &m);
    for (int i = 1; st == MI_OK && i <= STEPS; i++) {
        struct mi_sac_batch b = {.s = mt_randn(MT_SHAPE(L, B, D), MT_SPEC_F32, r),
                                 .a = mt_rand(MT_SHAPE(L, B, D), -c.box, c.box, MT_SPEC_F32, r),
                                 .r = mt_affine(mt_randn(MT_SHAPE(L, B), MT_SPEC_F32, r), 40, -60),
                                 .next = mt_randn(MT_SHAPE(L, B, D), MT_SPEC_F32, r),
                                 .done = mt_bernoulli(MT_SHAPE(B), 0.5, MT_SPEC_F32, r)};
        mt_tensor *e_next = mt_randn(MT_SHAPE(1, rows, width), MT_SPEC_F32, r);
        mt_tensor *e = mt_randn(MT_SHAPE(1, rows, width), MT_SPEC_F32, r);
        const struct {
            const char *name;
            mt_tensor *t;
        } in[] = {{"s", b.s}, {"a", b.a}, {"r", b.r}, {"next", b.next}, {"done", b.done}, {"e", e}, {"e_next", e_next}};
        for (int k = 0; st == MI_OK && k < 7; k++) st = put(a, form, in[k].name, i, in[k].t);
        struct mi_sac_losses loss;
        if (st == MI_OK) st = mi_sac_learn(&m, &b, e_next, e, &loss);
        if (st == MI_OK) st = put(a, form, "loss.critic", i, loss.critic);
        if (st == MI_OK) st = put(a, form, "loss.actor", i, loss.actor);
        if (st == MI_OK) st = put(a, form, "loss.temperature", i, loss.temperature);
        if (st == MI_OK) st = put_all(a, form, i, &m);
    }
    mt_rng_free(r);
    enum mi_status end = mt_scope_end(s);
    mi_sac_close(&m);
    return st != MI_OK ? st : end;
}

static enum mi_status rewards(mt_archive *a) {
    enum { ROWS = 50, K = 9 };
    const double w[3] = {2, 2, 8};
    mt_scope *s = mt_scope_begin("rewards");
    mt_rng *r = mt_rng_new(MT_CPU, 29);
    mt_tensor *p = mt_softmax(mt_affine(mt_randn(MT_SHAPE(ROWS, K), MT_SPEC_F32, r), 3, 0), 1);
    mt_tensor *q = mt_softmax(mt_affine(mt_randn(MT_SHAPE(ROWS, K), MT_SPEC_F32, r), 3, 0), 1);
    mt_tensor *y = mt_randint(0, K, MT_SHAPE(ROWS, 1), (mt_spec){MT_I64, MT_CPU, MT_NCHW}, r);
    struct mi_rlb_reward out = {0};
    enum mi_status st = mi_rlb_reward(p, q, y, w, &out);
    if (st == MI_OK) st = mt_archive_put(a, "reward.p", p);
    if (st == MI_OK) st = mt_archive_put(a, "reward.q", q);
    if (st == MI_OK) st = mt_archive_put(a, "reward.y", y);
    if (st == MI_OK) st = mt_archive_put(a, "reward.r", out.reward);
    mt_rng_free(r);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

/* Forty rounds of a search whose labels are random, denser inside as it goes on, so that all branches occur. */
static enum mi_status rounds(mt_archive *a) {
    static float u[ROUNDS][N][D], path[ROUNDS + 1][D], best[D];
    static double labels[ROUNDS][N + 1], told[ROUNDS][3];
    struct mi_brep_rule rule = {.points = N,
                                .radius = 2,
                                .growth = 1.3,
                                .growth_share = 0.75,
                                .step_divisor = 3,
                                .step_cap = 3,
                                .clamp = 1.5,
                                .reject = true,
                                .max_iters = 1000};
    struct mi_brep_row row = {.radius = rule.radius};
    struct mi_rng r = mi_rng_make(31, "parity", 0, 0);
    float z[D], next[D];
    mi_rng_fill_normal(&r, z, D);
    memcpy(path[0], z, sizeof z);
    for (int i = 0; i < ROUNDS; i++) {
        bool inside[N];
        mi_rng_fill_normal(&r, &u[i][0][0], N * D);
        for (int k = 0; k < N; k++) labels[i][k] = inside[k] = mi_rng_uniform(&r) < 0.5 + 0.5 * i / ROUNDS;
        bool grew = mi_brep_propose(&rule, &row, z, &u[i][0][0], inside, D, next), stays = mi_rng_uniform(&r) < 0.8;
        labels[i][N] = stays;
        mi_brep_settle(&rule, &row, grew, stays, next, z, best, D);
        memcpy(path[i + 1], z, sizeof z);
        told[i][0] = row.radius, told[i][1] = row.count, told[i][2] = row.rejected;
    }
    mt_scope *s = mt_scope_begin("rounds");
    mt_spec f64 = {MT_F64, MT_CPU, MT_NCHW};
    enum mi_status st = mt_archive_put(a, "brep.u", mt_from(u, MT_SHAPE(ROUNDS, N, D), MT_SPEC_F32));
    if (st == MI_OK) st = mt_archive_put(a, "brep.path", mt_from(path, MT_SHAPE(ROUNDS + 1, D), MT_SPEC_F32));
    if (st == MI_OK) st = mt_archive_put(a, "brep.labels", mt_from(labels, MT_SHAPE(ROUNDS, N + 1), f64));
    if (st == MI_OK) st = mt_archive_put(a, "brep.told", mt_from(told, MT_SHAPE(ROUNDS, 3), f64));
    if (st == MI_OK) st = mt_archive_put(a, "brep.best", mt_from(best, MT_SHAPE(D), MT_SPEC_F32));
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s OUT.safetensors\n", argv[0]);
        return 2;
    }
    enum mi_status st = mt_init(1);
    mt_archive *a = st == MI_OK ? mt_archive_create(argv[1]) : NULL;
    if (st == MI_OK && !a) st = mi_error_status();
    struct mi_sac_config c = {.learners = L,
                              .dim = D,
                              .hidden = H,
                              .critics = 1,
                              .lr = 5e-4,
                              .lr_temperature = 5e-4,
                              .gamma = 0.99,
                              .tau = 0.01,
                              .box = 1,
                              .entropy = -D};
    if (st == MI_OK) st = learn(a, "published", c, 1, 1);
    c.critics = 2;
    c.bootstrap = true;
    if (st == MI_OK) st = learn(a, "steps", c, B, 1);
    c.critics = 1;
    c.bootstrap = false;
    c.box = 2;
    c.lr = c.lr_temperature = 2e-3;
    if (st == MI_OK) st = learn(a, "coordinate", c, B, D);
    if (st == MI_OK) st = rewards(a);
    if (st == MI_OK) st = rounds(a);
    if (st == MI_OK) st = mt_archive_close(a);
    if (st != MI_OK) fprintf(stderr, "%s\n", mi_error_text());
    return st == MI_OK ? 0 : 1;
}
