/* spec_sections.c - the fixed sections of an experiment spec: the one list of their settings.
 *
 * The ini reader, validation, the forms of the Setup screen, `midre help settings` and fingerprints all derive from
 * these tables.  Sections of catalogue entries ([attack.gmi] ...) are not here; each entry brings its own list.
 *
 * `cosmetic` settings do not change results and stay out of fingerprints.  Names of models, datasets, defenses and
 * attacks are plain text here and checked against the catalogue in spec.c. */
#include "midre/spec.h"

/* clang-format off: two lines a setting read better than eight */

static const struct mi_setting run_settings[] = {
    {.name = "name", .type = MI_TEXT, .def = "", .help = "What to call this run on screens", .cosmetic = true},
    {.name = "seed", .type = MI_INT, .def = "0", .min = 0, .max = 2147483647,
     .help = "All random decisions follow from it: equal seeds give equal results"},
    {.name = "device", .type = MI_TEXT, .def = "auto", .help = "Where to compute: auto, cpu, cuda or cuda:N",
     .cosmetic = true},
    {.name = "precision", .type = MI_CHOICE, .def = "auto", .choices = "auto|fp32|bf16",
     .help = "Arithmetic of the networks; auto takes bf16 where it is fast and as accurate"},
    {.name = "threads", .type = MI_INT, .def = "0", .min = 0, .max = 1024, .unit = "threads",
     .help = "CPU threads to use; 0 takes all", .cosmetic = true},
    {.name = "deterministic", .type = MI_BOOL, .def = "yes",
     .help = "Only kernels that give the same bits every time, even where others are faster"},
    {.name = "checkpoint_every", .type = MI_REAL, .def = "20", .min = 0, .max = 86400, .unit = "s",
     .help = "Time between checkpoints; 0 writes one after every step", .cosmetic = true},
    {.name = "report_every", .type = MI_REAL, .def = "0.5", .min = 0, .max = 3600, .unit = "s",
     .help = "Time between progress reports and curve points", .cosmetic = true},
    {.name = "minutes", .type = MI_REAL, .def = "0", .min = 0, .max = 100000, .unit = "min",
     .help = "Quick run: epochs and iterations are shortened to this time, the row is marked quick; 0 shortens nothing"},
    {.name = "memory", .type = MI_INT, .def = "0", .min = 0, .max = 100000000, .unit = "MB",
     .help = "Memory the photos of a training step may take; a batch that needs more is computed in parts; 0 = what is free",
     .cosmetic = true},
    MI_SETTING_END,
};

static const struct mi_setting data_settings[] = {
    {.name = "name", .type = MI_TEXT, .def = "synthfaces", .help = "Dataset whose private part is trained on"},
    {.name = "size", .type = MI_INT, .def = "64", .min = 16, .max = 512, .unit = "px",
     .help = "Side of the target's inputs, and of the reconstructions unless attack.size says otherwise"},
    {.name = "public", .type = MI_TEXT, .def = "",
     .help = "Dataset whose public images the attacker has; empty means the public part of the same dataset"},
    MI_SETTING_END,
};

/* Training settings of target, judge and pretraining; the arguments are the defaults in which they differ. */
#define TRAINING(epochs_, optimiser_, lr_, decay_, schedule_)                                                          \
    {.name = "recipe", .type = MI_CHOICE, .def = "custom", .choices = "custom|lowres|ppa", .cosmetic = true,           \
     .help = "Published recipe whose values the other keys of this section start from; see `midre help recipes`"},     \
    {.name = "epochs", .type = MI_INT, .def = epochs_, .min = 1, .max = 100000, .unit = "epochs",                      \
     .help = "Passes over the training photos"},                                                                       \
    {.name = "batch", .type = MI_INT, .def = "64", .min = 2, .max = 65536, .unit = "images",                           \
     .help = "Images per training step"},                                                                              \
    {.name = "optimiser", .type = MI_CHOICE, .def = optimiser_, .choices = "sgd|adam", .help = "How weights move"},    \
    {.name = "lr", .type = MI_REAL, .def = lr_, .min = 0, .max = 100, .help = "Learning rate at its highest"},         \
    {.name = "momentum", .type = MI_REAL, .def = "0.9", .min = 0, .max = 1, .help = "Momentum of sgd"},                \
    {.name = "weight_decay", .type = MI_REAL, .def = decay_, .min = 0, .max = 10, .help = "Pull of weights to zero"},  \
    {.name = "nesterov", .type = MI_BOOL, .def = "yes", .help = "Nesterov's form of momentum (sgd)"},                  \
    {.name = "schedule", .type = MI_CHOICE, .def = schedule_, .choices = "constant|step|cosine|onecycle",              \
     .help = "How the learning rate changes over the epochs"},                                                         \
    {.name = "milestones", .type = MI_TEXT, .def = "", .unit = "epochs",                                               \
     .help = "Epochs after which schedule = step lowers the rate, comma separated"},                                   \
    {.name = "gamma", .type = MI_REAL, .def = "0.1", .min = 0, .max = 1, .help = "Factor of the rate at a milestone"}, \
    {.name = "warmup", .type = MI_REAL, .def = "0", .min = 0, .max = 1000, .unit = "epochs",                           \
     .help = "Epochs over which the rate rises from zero"},                                                            \
    {.name = "flip", .type = MI_BOOL, .def = "yes", .help = "Mirror half of the training photos"},                     \
    {.name = "crop", .type = MI_REAL, .def = "1", .min = 0.01, .max = 1, .later = true,                                \
     .help = "Least share of a training photo's area that is shown, cropped at random and enlarged; 1 shows all"},     \
    {.name = "brightness", .type = MI_REAL, .def = "0", .min = 0, .max = 1, .later = true,                             \
     .help = "Training photos get a random factor of brightness up to this far from 1"},                               \
    {.name = "contrast", .type = MI_REAL, .def = "0", .min = 0, .max = 1, .later = true,                               \
     .help = "The same for contrast"},                                                                                 \
    {.name = "saturation", .type = MI_REAL, .def = "0", .min = 0, .max = 1, .later = true,                             \
     .help = "The same for saturation"},                                                                               \
    {.name = "hue", .type = MI_REAL, .def = "0", .min = 0, .max = 0.5, .unit = "turns", .later = true,                 \
     .help = "Greatest random turn of the colour wheel"},                                                              \
    {.name = "keep", .type = MI_CHOICE, .def = "last", .choices = "last|best",                                         \
     .help = "Weights to keep: those of the last epoch, or of the best test accuracy"},                                \
    {.name = "eval_every", .type = MI_INT, .def = "1", .min = 1, .max = 100000, .unit = "epochs",                      \
     .help = "Epochs between tests; the last epoch is always tested"}

/* Where a network that learns the private people comes from. */
#define WEIGHTS()                                                                                                      \
    {.name = "init", .type = MI_PATH, .def = "",                                                                       \
     .help = "Weights to start training from (safetensors, torch.save); empty: random ones"},                          \
    {.name = "pretrained", .type = MI_BOOL, .def = "no", .later = true,                                                \
     .help = "Start training from weights learnt on the public people, as [pretrain] says, instead of init"},          \
    {.name = "checkpoint", .type = MI_PATH, .def = "",                                                                 \
     .help = "Finished weights to use instead of training (safetensors or torch.save)"}

static const struct mi_setting pretrain_settings[] = {
    {.name = "people", .type = MI_INT, .def = "0", .min = 0, .max = 100000, .unit = "people",
     .help = "How many public people with enough photos to learn, the first ones by number; 0 takes all"},
    {.name = "min_images", .type = MI_INT, .def = "4", .min = 2, .max = 1000, .unit = "photos",
     .help = "Photos each of them must have among the public ones; one in ten, rounded up, is kept for testing"},
    TRAINING("20", "sgd", "0.01", "0.0001", "cosine"),
    MI_SETTING_END,
};

static const struct mi_setting target_settings[] = {
    {.name = "model", .type = MI_TEXT, .def = "quick", .help = "Architectures to attack, comma separated"},
    {.name = "head_may_differ", .type = MI_BOOL, .def = "no", .later = true,
     .help = "With checkpoint: the classifier head alone may be missing or of another shape; it then starts random"},
    TRAINING("30", "sgd", "0.01", "0.0001", "cosine"),
    WEIGHTS(),
    MI_SETTING_END,
};

static const struct mi_setting judge_settings[] = {
    {.name = "model", .type = MI_TEXT, .def = "quickres",
     .help = "Architecture of the judge, another one than the targets'"},
    {.name = "size", .type = MI_INT, .def = "0", .min = 0, .max = 512, .unit = "px",
     .help = "Side of the judge's inputs; 0 takes the native size of its architecture"},
    TRAINING("30", "sgd", "0.01", "0.0005", "cosine"),
    WEIGHTS(),
    MI_SETTING_END,
};

static const struct mi_setting defense_settings[] = {
    {.name = "name", .type = MI_TEXT, .def = "none, midre",
     .help = "Defenses to compare, comma separated; midre+nls uses two together, midre:area_high=0.8 one with a setting of "
             "its own"},
    MI_SETTING_END,
};

static const struct mi_setting prior_settings[] = {
    {.name = "file", .type = MI_PATH, .def = "",
     .help = "A trained prior to use instead of training one (.safetensors)"},
    MI_SETTING_END,
};

static const struct mi_setting attack_settings[] = {
    {.name = "name", .type = MI_TEXT, .def = "gmi", .help = "Attacks to run, comma separated"},
    {.name = "identities", .type = MI_INT, .def = "0", .min = 0, .max = 1000000,
     .help = "How many identities to attack, the first ones; 0 attacks all"},
    {.name = "restarts", .type = MI_INT, .def = "5", .min = 1, .max = 1000,
     .help = "Reconstructions per identity"},
    {.name = "size", .type = MI_INT, .def = "0", .min = 0, .max = 512, .unit = "px", .later = true,
     .help = "Side of the images the attack makes; the target is shown them at its own size. 0 = data.size"},
    MI_SETTING_END,
};

static const struct mi_setting score_settings[] = {
    {.name = "group", .type = MI_INT, .def = "60", .min = 1, .max = 1000000, .unit = "identities",
     .help = "Identities averaged together; the spread is taken inside a group"},
    {.name = "knn", .type = MI_BOOL, .def = "yes",
     .help = "Also measure the distance to the nearest private photo"},
    {.name = "fid", .type = MI_CHOICE, .def = "judge", .choices = "off|judge|inception",
     .help = "Also measure the Frechet distance between reconstructions and the attacked people's training photos, in "
             "the features of the judge or of the Inception network made for it"},
    {.name = "fid_weights", .type = MI_PATH, .def = "",
     .help = "Weights of that Inception network, for fid = inception (pt_inception-2015-12-05-6726825d.pth)"},
    MI_SETTING_END,
};

/* clang-format on */

static const struct {
    const char *word;
    const struct mi_setting *settings;
} sections[MI_SEC_COUNT] = {
    [MI_SEC_RUN] = {"run", run_settings},
    [MI_SEC_DATA] = {"data", data_settings},
    [MI_SEC_PRETRAIN] = {"pretrain", pretrain_settings},
    [MI_SEC_TARGET] = {"target", target_settings},
    [MI_SEC_DEFENSE] = {"defense", defense_settings},
    [MI_SEC_JUDGE] = {"judge", judge_settings},
    [MI_SEC_PRIOR] = {"prior", prior_settings},
    [MI_SEC_ATTACK] = {"attack", attack_settings},
    [MI_SEC_SCORE] = {"score", score_settings},
};

const char *mi_section_word(enum mi_section s) { return sections[s].word; }

const struct mi_setting *mi_section_settings(enum mi_section s) { return sections[s].settings; }
