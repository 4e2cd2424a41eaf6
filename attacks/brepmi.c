/* attacks/brepmi.c - BREPMI, label-only inversion by boundary repulsion (Kahla, Chen, Just, Jia, CVPR 2022).
 *
 * The target says only which class it sees.  A latent z that is labelled as wanted is surrounded with N points at
 * distance R; those the target labels otherwise show where the class ends, and z moves away from them:
 *     z' = clamp(z - min(R/3,3)/N * sum of the directions u_i not labelled y),   undone when z' itself is lost.
 * When nearly all points are inside, R grows, so z settles ever deeper in the class.  The search ends after max_iters
 * moves at one radius; the latent of the last accepted growth is delivered (its last latent, if it never grew).
 *
 * Starts come from shared rounds of random latents: the s-th draw labelled c starts restart s of identity c.  All
 * searches run in step, one row each, and the finished ones drop out of the batches.  A row's numbers come from (seed,
 * label, restart, round), so company does not change its path.  Identities the prior never produces cannot be started:
 * they deliver a black image and stay in the denominator.  State and arithmetic are plain C; networks only answer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacks/query.h"
#include "attacks/repulse.h"
#include "attacks/wgan.h"

enum { OUT_GROWN, OUT_FINAL };

/* ---- all searches ------------------------------------------------------------------------------------------------ */

struct brep {
    struct mi_query q;
    struct mi_brep_rule rule;
    int dim, init_batch, init_rounds, output;
    mt_tensor *z, *best, *rows; /* CPU: [rows,dim], [rows,dim], [rows,6] as struct mi_brep_row */
    mt_tensor *hits;            /* CPU: [identities] starts found so far */
    float *zs, *bests, *found;  /* their memory */
    struct mi_brep_row *row;
    int *act;                 /* rows still searching */
    float *u, *points, *next; /* [rows*N,dim] directions and points, [rows,dim] proposed centres */
    int64_t *labels;          /* [max(rows*N, init_batch)] */
    bool *inside, *grew;
};

static void read_settings(struct brep *b, const struct mi_values *v) {
    b->rule = (struct mi_brep_rule){.points = (int)mi_values_int(v, "points"),
                                    .radius = mi_values_real(v, "radius"),
                                    .growth = mi_values_real(v, "growth"),
                                    .growth_share = mi_values_real(v, "growth_share"),
                                    .step_divisor = mi_values_real(v, "step_divisor"),
                                    .step_cap = mi_values_real(v, "step_cap"),
                                    .clamp = mi_values_real(v, "clamp"),
                                    .signed_votes = mi_values_choice(v, "votes") == 1,
                                    .reject = mi_values_bool(v, "reject"),
                                    .total = mi_values_choice(v, "stop") == 1,
                                    .max_iters = (int)mi_values_int(v, "max_iters"),
                                    .max_rejected = (int)mi_values_int(v, "max_rejected"),
                                    .max_radius = mi_values_real(v, "max_radius")};
    b->init_batch = (int)mi_values_int(v, "init_batch");
    b->init_rounds = (int)mi_values_int(v, "init_rounds");
    b->output = mi_values_choice(v, "output");
}

static enum mi_status brep_open(struct brep *b, struct mi_attack_job *job) {
    *b = (struct brep){0};
    read_settings(b, job->values);
    MI_TRY(mi_query_open(&b->q, job));
    int64_t rows = b->q.rows, dim = b->dim = b->q.g.z_dim;
    size_t points = (size_t)rows * (size_t)b->rule.points, drawn = (size_t)b->init_batch;
    mt_scope *s = mt_scope_begin("searches");
    b->z = mt_keep(mt_zeros(MT_SHAPE(rows, dim), MT_SPEC_F32));
    b->best = mt_keep(mt_zeros(MT_SHAPE(rows, dim), MT_SPEC_F32));
    b->hits = mt_keep(mt_zeros(MT_SHAPE(job->n_labels), MT_SPEC_F32));
    mt_spec f64 = {MT_F64, MT_CPU, MT_NCHW};
    b->rows = mt_keep(mt_zeros(MT_SHAPE(rows, sizeof *b->row / sizeof(double)), f64));
    MI_TRY(mt_scope_end(s));
    b->zs = mt_data(b->z);
    b->bests = mt_data(b->best);
    b->row = mt_data(b->rows);
    b->found = mt_data(b->hits);
    if (points < drawn) points = drawn;
    b->act = mi_calloc((size_t)rows, sizeof *b->act);
    b->u = mi_calloc(points * (size_t)dim, sizeof *b->u);
    b->points = mi_calloc(points * (size_t)dim, sizeof *b->points);
    b->next = mi_calloc((size_t)(rows * dim), sizeof *b->next);
    b->labels = mi_calloc(points, sizeof *b->labels);
    b->inside = mi_calloc(points, sizeof *b->inside);
    b->grew = mi_calloc((size_t)rows, sizeof *b->grew);
    bool all = b->act && b->u && b->points && b->next && b->labels && b->inside && b->grew;
    return all ? MI_OK : MI_E_NOMEM;
}

static void brep_close(struct brep *b) {
    mt_free(b->z);
    mt_free(b->best);
    mt_free(b->rows);
    mt_free(b->hits);
    free(b->act);
    free(b->u);
    free(b->points);
    free(b->next);
    free(b->labels);
    free(b->inside);
    free(b->grew);
    mi_query_close(&b->q);
}

/* Labels of n latents in host memory. */
static enum mi_status ask(struct brep *b, const float *z, int64_t n) {
    mt_scope *s = mt_scope_begin("ask");
    enum mi_status st = mi_query_labels(&b->q, mt_from(z, MT_SHAPE(n, b->dim), MT_SPEC_F32), b->labels);
    enum mi_status end = mt_scope_end(s);
    return st != MI_OK ? st : end;
}

/* ---- starts ------------------------------------------------------------------------------------------------------ */

static bool all_started(const struct brep *b) {
    for (int i = 0; i < b->q.job->n_labels; i++)
        if ((int)b->found[i] < b->q.job->restarts) return false;
    return true;
}

/* One round of random latents for everybody: hit number s of a class starts restart s of that identity. */
static enum mi_status draw_starts(struct brep *b, int64_t round) {
    struct mi_attack_job *job = b->q.job;
    size_t dim = (size_t)b->dim;
    struct mi_rng r = mi_rng_make(job->ctx->seed, "brepmi start", (uint64_t)round, 0);
    mi_rng_fill_normal(&r, b->points, (size_t)b->init_batch * dim);
    float box = (float)b->rule.clamp;
    for (size_t i = 0; box > 0 && i < (size_t)b->init_batch * dim; i++)
        b->points[i] = fmaxf(-box, fminf(box, b->points[i]));
    MI_TRY(ask(b, b->points, b->init_batch));
    for (int i = 0; i < job->n_labels; i++)
        for (int k = 0; k < b->init_batch && (int)b->found[i] < job->restarts; k++) {
            if (b->labels[k] != job->labels[i]) continue;
            int row = i * job->restarts + (int)b->found[i]++;
            memcpy(b->zs + (size_t)row * dim, b->points + (size_t)k * dim, dim * sizeof(float));
        }
    return MI_OK;
}

static enum mi_status find_starts(struct brep *b) {
    struct mi_attack_job *job = b->q.job;
    struct mi_loop l = {
        .ctx = job->ctx, .phase = "starts", .unit = "img", .total = b->init_rounds, .per_step = b->init_batch};
    mi_loop_add_tensor(&l, "z", &b->z);
    mi_loop_add_tensor(&l, "hits", &b->hits);
    MI_TRY(mi_loop_begin(&l));
    while (!all_started(b) && mi_loop_next(&l)) {
        enum mi_status st = draw_starts(b, l.step);
        if (st != MI_OK) mi_loop_fail(&l, st);
        double found = 0;
        for (int i = 0; i < job->n_labels; i++) found += b->found[i];
        mi_loop_scalar(&l, "attack/started", 100 * found / b->q.rows);
    }
    return mi_loop_end(&l);
}

/* Rows begin at their start; an identity with fewer starts than restarts uses them in turn, with other directions. */
static void begin_rows(struct brep *b) {
    int restarts = b->q.job->restarts, without = 0;
    size_t dim = (size_t)b->dim;
    for (int i = 0; i < b->q.rows; i++) {
        int found = (int)b->found[i / restarts], mine = i % restarts;
        b->row[i] =
            (struct mi_brep_row){.radius = b->rule.radius, .done = found > 0 ? MI_BREP_SEARCHING : MI_BREP_NOT_STARTED};
        if (found > 0 && mine >= found)
            memcpy(b->zs + (size_t)i * dim, b->zs + (size_t)(i - mine + mine % found) * dim, dim * sizeof(float));
        if (found == 0 && mine == 0) without++;
    }
    if (without > 0)
        mi_ctx_log(b->q.job->ctx, "warn",
                   "%d of %d identities were never seen among %d random latents: their images stay "
                   "black and count as failures",
                   without, b->q.job->n_labels, b->init_rounds * b->init_batch);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static int count_active(struct brep *b) {
    int n = 0;
    for (int i = 0; i < b->q.rows; i++)
        if (b->row[i].done == MI_BREP_SEARCHING) b->act[n++] = i;
    return n;
}

/* N directions, uniform on the unit sphere. */
static void directions(const struct brep *b, int row, float *u) {
    struct mi_rng r = mi_query_rng(&b->q, "brepmi sphere", row, (int64_t)b->row[row].rounds);
    mi_rng_fill_normal(&r, u, (size_t)b->rule.points * (size_t)b->dim);
    for (int i = 0; i < b->rule.points; i++, u += b->dim) {
        double square = 0;
        for (int j = 0; j < b->dim; j++) square += (double)u[j] * (double)u[j];
        double length = sqrt(square);
        for (int j = 0; j < b->dim; j++) u[j] = (float)((double)u[j] / length);
    }
}

/* N points at a row's radius around its centre, and their directions. */
static void sphere(const struct brep *b, int row, float *u, float *p) {
    const float *z = b->zs + (size_t)row * (size_t)b->dim;
    float radius = (float)b->row[row].radius;
    directions(b, row, u);
    for (int i = 0; i < b->rule.points; i++)
        for (int j = 0; j < b->dim; j++) *p++ = z[j] + radius * *u++;
}

static void curves(struct brep *b, struct mi_loop *l, int active) {
    double radius = 0, grown = 0, searched = 0, growths = 0;
    for (int i = 0; i < b->q.rows; i++) {
        if (b->row[i].done == MI_BREP_NOT_STARTED) continue;
        searched++;
        radius += b->row[i].radius;
        grown += b->row[i].growths > 0;
        growths += b->row[i].growths;
    }
    mi_loop_scalar(l, "attack/radius", radius / searched);
    mi_loop_scalar(l, "attack/growths", growths / searched);
    mi_loop_scalar(l, "attack/grown", 100 * grown / b->q.rows);
    mi_loop_scalar(l, "attack/searching", 100.0 * active / b->q.rows);
}

/* One round of all active searches: N points each, then the moved centres. */
static enum mi_status one_round(struct brep *b, struct mi_loop *l) {
    int active = count_active(b), n = b->rule.points, dim = b->dim;
    size_t ball = (size_t)n * (size_t)dim;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (active > 1)
#endif
    for (int a = 0; a < active; a++) sphere(b, b->act[a], b->u + (size_t)a * ball, b->points + (size_t)a * ball);
    MI_TRY(ask(b, b->points, (int64_t)active * n));
    for (int a = 0; a < active; a++) {
        int row = b->act[a], want = mi_query_label(&b->q, row);
        for (int i = 0; i < n; i++) b->inside[i] = b->labels[a * n + i] == want;
        b->grew[a] = mi_brep_propose(&b->rule, &b->row[row], b->zs + (size_t)row * (size_t)dim, b->u + (size_t)a * ball,
                                     b->inside, dim, b->next + (size_t)a * (size_t)dim);
    }
    MI_TRY(ask(b, b->next, active));
    for (int a = 0; a < active; a++) {
        int row = b->act[a];
        size_t at = (size_t)row * (size_t)dim;
        mi_brep_settle(&b->rule, &b->row[row], b->grew[a], b->labels[a] == mi_query_label(&b->q, row),
                       b->next + (size_t)a * (size_t)dim, b->zs + at, b->bests + at, dim);
    }
    curves(b, l, active);
    return mi_loop_report_due(l) ? mi_query_show(&b->q, 0, b->z, l->step) : MI_OK;
}

/* How many rounds there will be is not known: they come in stretches of max_iters, each a phase of its own. */
static enum mi_status search(struct brep *b) {
    for (int stretch = 1; count_active(b) > 0; stretch++) {
        char phase[32];
        snprintf(phase, sizeof phase, "repulsion %d", stretch);
        struct mi_loop l = {
            .ctx = b->q.job->ctx, .phase = phase, .unit = "rounds", .total = b->rule.max_iters, .per_step = 1};
        mi_loop_add_tensor(&l, "z", &b->z);
        mi_loop_add_tensor(&l, "best", &b->best);
        mi_loop_add_tensor(&l, "rows", &b->rows);
        MI_TRY(mi_loop_begin(&l));
        while (count_active(b) > 0 && mi_loop_next(&l)) {
            enum mi_status st = one_round(b, &l);
            if (st != MI_OK) mi_loop_fail(&l, st);
        }
        MI_TRY(mi_loop_end(&l));
    }
    return MI_OK;
}

static enum mi_status deliver(struct brep *b, struct mi_recon *out) {
    int never = 0, dim = b->dim;
    mt_scope *s = mt_scope_begin("deliver");
    mt_tensor *black = mt_zeros(MT_SHAPE(b->q.rows, 1, 1, 1), MT_SPEC_F32);
    float *lit = mt_data(black);
    for (int i = 0; i < b->q.rows; i++) {
        size_t at = (size_t)i * (size_t)dim;
        bool kept = b->row[i].kept != 0, started = b->row[i].done != MI_BREP_NOT_STARTED;
        lit[i] = started;
        never += started && !kept;
        if (b->output == OUT_GROWN && kept)
            memcpy(b->next + at, b->bests + at, (size_t)dim * sizeof(float));
        else
            memcpy(b->next + at, b->zs + at, (size_t)dim * sizeof(float));
    }
    mt_tensor *x = mi_query_images(&b->q, mt_from(b->next, MT_SHAPE(b->q.rows, dim), MT_SPEC_F32));
    if (x) out->x = mt_keep(mt_mul(x, black));
    enum mi_status st = x ? MI_OK : mi_error_status(), end = mt_scope_end(s);
    mi_ctx_log(b->q.job->ctx, "info", "BREPMI: %lld queries; %d of %d searches never accepted a growth",
               (long long)mi_oracle_queries(b->q.job->oracle), never, b->q.rows);
    return st != MI_OK ? st : end;
}

static enum mi_status brep_invert(struct mi_attack_job *job, struct mi_recon *out) {
    struct brep b;
    enum mi_status st = brep_open(&b, job);
    if (st == MI_OK) st = find_starts(&b);
    if (st == MI_OK) {
        begin_rows(&b);
        st = search(&b);
    }
    if (st == MI_OK) st = deliver(&b, out);
    brep_close(&b);
    return st;
}

/* ---- descriptor -------------------------------------------------------------------------------------------------- */

static const struct mi_setting settings[] = {
    MI_WGAN_SETTINGS,
    {.name = "points",
     .type = MI_INT,
     .def = "32",
     .min = 1,
     .max = 4096,
     .help = "Points asked about on each sphere (N)"},
    {.name = "radius", .type = MI_REAL, .def = "2", .min = 0.001, .max = 100, .help = "First radius of the sphere"},
    {.name = "growth",
     .type = MI_REAL,
     .def = "1.3",
     .min = 1.001,
     .max = 10,
     .help = "Factor by which a radius grows"},
    {.name = "growth_share",
     .type = MI_REAL,
     .def = "0.75",
     .min = -1,
     .max = 0.9999,
     .help = "The sphere grows when the sum of its votes (+1 inside, -1 outside) exceeds this share of the points"},
    {.name = "step_divisor", .type = MI_REAL, .def = "3", .min = 0.01, .max = 1000, .help = "Step = radius / this"},
    {.name = "step_cap", .type = MI_REAL, .def = "3", .min = 0.0001, .max = 1000, .help = "Largest step"},
    {.name = "clamp",
     .type = MI_REAL,
     .def = "1.5",
     .min = 0,
     .max = 100,
     .help = "Box for starts and centres, coordinate by coordinate; 0 = none"},
    {.name = "votes",
     .type = MI_CHOICE,
     .def = "repulsion",
     .choices = "repulsion|signed",
     .help = "Only points outside push, or points inside pull as well"},
    {.name = "reject", .type = MI_BOOL, .def = "yes", .help = "Undo a move that loses the label"},
    {.name = "max_iters",
     .type = MI_INT,
     .def = "1000",
     .min = 1,
     .max = 1000000,
     .unit = "moves",
     .help = "Accepted moves at one radius after which a search ends"},
    {.name = "stop",
     .type = MI_CHOICE,
     .def = "radius",
     .choices = "radius|total",
     .help = "Count max_iters at one radius, or over the whole search"},
    {.name = "max_radius",
     .type = MI_REAL,
     .def = "1000",
     .min = 0,
     .max = 1e6,
     .help = "A larger sphere ends the search; published: none, but a target with one answer for everything would "
             "never end (PPDG-MI: 16.3)"},
    {.name = "max_rejected",
     .type = MI_INT,
     .def = "50",
     .min = 0,
     .max = 1000000,
     .unit = "moves",
     .help = "Moves rejected in a row that end a search; 0 = none, as published, may never end"},
    {.name = "init_batch",
     .type = MI_INT,
     .def = "256",
     .min = 1,
     .max = 65536,
     .unit = "latents",
     .help = "Random latents asked about in each round of the search for starts"},
    {.name = "init_rounds",
     .type = MI_INT,
     .def = "1000",
     .min = 1,
     .max = 1000000,
     .unit = "rounds",
     .help = "Rounds after which identities without a start are given up (published: never)"},
    {.name = "output",
     .type = MI_CHOICE,
     .def = "grown",
     .choices = "grown|final",
     .help = "Deliver the latent of the last accepted growth (the last one if there was none), or always the last"},
    MI_QUERY_STACK,
    MI_SETTING_END};

const struct mi_attack_desc mi_attack_brepmi = {
    .info = {.name = "brepmi",
             .title = "BREPMI",
             .help = "Sees labels only: keeps a latent's surroundings inside the person's class by moving away from "
                     "points the target calls someone else.",
             .paper = "Kahla, Chen, Just, Jia: Label-Only Model Inversion Attacks via Boundary Repulsion, CVPR 2022",
             .settings = settings,
             .tags = "label-only 64px gan"},
    .access = MI_ACCESS_LABEL,
    .native_size = 64,
    .sizes = mi_dcgan_sizes,
    .prior = "gmi",
    .prior_settings = mi_wgan_prior_settings,
    .train_prior = mi_wgan_train,
    .invert = brep_invert};
