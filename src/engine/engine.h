/* src/engine/engine.h - the engine's own structures: a run in progress and its stages.  Private to src/engine. */
#ifndef MIDRE_ENGINE_ENGINE_H
#define MIDRE_ENGINE_ENGINE_H

#include "curves.h"
#include "midre/attack.h"
#include "midre/judge.h"
#include "midre/spec.h"
#include "midre/train.h"
#include "midre/view.h"

enum stage_kind { ST_DATA, ST_PRETRAIN, ST_TARGET, ST_PRIOR, ST_STUDENTS, ST_JUDGE, ST_ATTACK, ST_SCORE, ST_KINDS };

/* A step of the run with one product.  Stages that would make the same product are one stage with several cells. */
struct stage {
    enum stage_kind kind;
    char *id, *title;                              /* "target.quick.midre", "Target quick, midre" */
    size_t *cells, n_cells;                        /* indices into spec->cells that need it */
    size_t shown;                                  /* the one of them whose results are being shown */
    struct stage *data, *pub;                      /* inputs, borrowed, NULL where the kind has none: images, */
    struct stage *start, *target, *prior, *students, *judge, *attack; /* and products; start: pretrained weights */
    const char *model, *defense;                   /* borrowed from the spec */
    const struct mi_attack_desc *desc;
    const char *dataset;      /* ST_DATA */
    int size;                 /* px of its images */
    enum mi_data_part part;   /* ST_DATA: private, public or people */
    struct mi_fingerprint fp; /* while planning from settings alone, exact once its inputs are done */
    /* results other stages use */
    struct mi_dataset images; /* ST_DATA, open when done */
    double acc;               /* ST_PRETRAIN, ST_TARGET, ST_JUDGE: natural accuracy, % */
    bool done, wanted;        /* wanted: false for what a run that ends early does not need */
};

struct engine {
    struct mi_workspace ws;
    int number, lock_fd;
    char *run_dir;
    struct mi_spec *spec;
    struct mi_journal *journal;
    struct mi_control *control;
    struct load *load;
    mt_device device;
    mt_dtype precision;
    uint64_t seed;
    char device_name[96];
    bool synthetic;
    struct stage **stages;
    size_t n_stages;
    struct mi_model *judge;       /* loaded at its first score */
    const struct stage *judge_of; /* the stage it came from */
    json_t *shortened;            /* run.minutes: settings made smaller, "section.key" -> {value, of}; budget.c */
    int64_t pretrain_epochs;      /* run.minutes: of [pretrain] as the spec has them; 0: not asked yet */
    double began;                 /* mi_clock() when this engine started */
    struct mi_score_view *scores; /* per cell: what the trade-off needs; cell == NULL until scored */
};

/* What the runner knows about a kind of stage. */
struct stage_ops {
    const char *word; /* "target": folder in the cache, word in the journal */
    bool product;     /* false: nothing in cache/<word> (packs keep themselves) */
    /* Own settings into the hash; inputs and common facts are added by the planner. */
    enum mi_status (*identity)(const struct engine *e, const struct stage *s, struct mi_hasher *h);
    /* Makes the product's files in ctx->product's work folder; `facts` goes into product.json. */
    enum mi_status (*work)(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts);
    /* After the product is there, fresh or cached: results in memory, pictures and numbers in the journal. */
    enum mi_status (*show)(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *facts);
};
extern const struct stage_ops stage_data_ops, stage_pretrain_ops, stage_target_ops, stage_prior_ops, stage_students_ops,
    stage_judge_ops, stage_attack_ops, stage_score_ops;
const struct stage_ops *stage_ops_of(enum stage_kind kind);

/* ---- plan.c: stages of a spec, in the order they run ---- */
enum mi_status plan_make(struct engine *e, const char *until /* kind to end with, NULL = all */);
void plan_free(struct engine *e);
/* The exact fingerprint from the inputs' fingerprints. */
enum mi_status plan_fingerprint(const struct engine *e, struct stage *s);
/* Settings that count into h, without those named in skip (NULL-terminated, may be NULL); files by their content. */
enum mi_status plan_hash_settings(struct mi_hasher *h, const struct mi_values *v, const char *const *skip);

/* ---- graph.c: runs them ---- */
enum mi_status graph_run(struct engine *e);
/* Path of a file of a finished stage's product; caller frees. */
char *graph_file(const struct engine *e, const struct stage *s, const char *name);
/* The file opened as an archive. */
mt_archive *graph_archive(const struct engine *e, const struct stage *s, const char *name);
void engine_event(struct engine *e, json_t *event); /* steals */

/* ---- classifier.c: what target, judge and pretraining have in common ---- */
struct classifier {
    struct mi_model *model;
    struct mi_defenses defenses;
};
/* A fresh network as the stage's settings say, with its defenses prepared. */
enum mi_status classifier_build(const struct engine *e, const struct stage *s, struct classifier *c);
/* The finished network of a done stage. */
enum mi_status classifier_open(const struct engine *e, const struct stage *s, struct classifier *c);
/* Gives it the weights training begins with: of the start stage, of the file `init`, or the random ones it has. */
enum mi_status classifier_start(const struct engine *e, const struct stage *s, struct mi_ctx *ctx, struct mi_model *m);
void classifier_close(struct classifier *c);
enum mi_status classifier_work(struct engine *e, struct stage *s, struct mi_ctx *ctx, json_t *facts);
enum mi_status classifier_identity(const struct engine *e, const struct stage *s, struct mi_hasher *h);
enum mi_status classifier_show(struct engine *e, struct stage *s, struct mi_ctx *ctx, const json_t *facts);
/* The section that holds the stage's recipe. */
const struct mi_values *classifier_section(const struct engine *e, const struct stage *s);

/* ---- load.c: processor, memory and GPU once a second ---- */
struct load *load_start(struct mi_journal *j, mt_device d);
void load_stop(struct load *l);

/* ---- commands ---- */
int run_command(int argc, char **argv);
int catalogue_command(int argc, char **argv);
int doctor_command(int argc, char **argv);
int recognise_command(int argc, char **argv);
int describe_command(int argc, char **argv);
int preview_command(int argc, char **argv);
int convert_command(int argc, char **argv);

#endif
