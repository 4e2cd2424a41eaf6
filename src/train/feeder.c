/* src/train/feeder.c - batches for the training loop, filled one step ahead.
 *
 * A photo goes from the pack through crop, colours and mirroring of the recipe (augment.c) into the network's input,
 * then through the photo hooks of the defenses; several threads share the photos of a step.  Where nothing is cropped
 * or recoloured one fused pass over the bytes replaces all of it but the hooks.
 *
 * Two slots: while the networks work on one, a helper thread gathers, mirrors and normalises the next one straight from
 * the memory-mapped pack.  The helper is plain C (no tensors), and what it makes is a pure function of (seed, step), so
 * prefetching never changes a number.  On the CPU the fill costs a per mille of a step and a second team of threads
 * would fight the networks for the cores, so there the caller fills in place.
 *
 * The order of an epoch depends on (seed, epoch), mirroring on (seed, step, position), crops and colours on (seed,
 * step, image). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "train_priv.h"

struct slot {
    int64_t step;    /* what it holds, -1 nothing */
    int n;           /* N: its images */
    float *pixels;   /* [N,S,S,3] */
    int64_t *labels; /* [N] */
    int32_t *index;  /* [N] */
    enum mi_status status;
    char *message; /* of a failed photo hook */
};

struct mi_feeder {
    const struct mi_pack_split *train;
    const struct mi_train_recipe *recipe;
    int size, batch; /* batch: of the greatest step */
    struct mi_picker picker;
    struct mi_defenses *defenses;    /* whose photo hooks run; NULL none */
    bool framed, hooked;             /* something crops or recolours; some photo hook changes pixels */
    int64_t per_epoch, total, epoch; /* epoch: the one `order` is of */
    uint64_t seed;
    float mean[3], std[3];
    int32_t *order; /* [n train] */
    uint8_t *flip;  /* [N] */
    struct slot slot[2];
    /* The helper, when there is one: fills slot[wanted % 2] with `wanted`; under the lock. */
    bool helper, quit;
    int64_t wanted; /* -1 nothing to do */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

int64_t mi_steps_per_epoch(const struct mi_dataset *d, const struct mi_train_recipe *r, int *batch) {
    int64_t n = (int64_t)d->split[MI_TRAIN].n;
    *batch = r->batch < n ? r->batch : (int)n;
    return *batch > 0 ? n / *batch : 0;
}

/* The photos of a step. */
static int choose(struct mi_feeder *f, int64_t step, int32_t *index) {
    if (f->picker.pick) return f->picker.pick(f->picker.user, step, index);
    int64_t epoch = step / f->per_epoch, first = step % f->per_epoch * f->batch;
    if (epoch != f->epoch) {
        mi_epoch_order(f->order, f->train->n, f->seed, epoch);
        f->epoch = epoch;
    }
    memcpy(index, f->order + first, (size_t)f->batch * sizeof(*index));
    return f->batch;
}

static bool crops(const struct mi_train_recipe *r) {
    return r->crop > 0 && r->crop < 1;
}
static bool recolours(const struct mi_train_recipe *r) {
    return r->jitter.brightness > 0 || r->jitter.contrast > 0 || r->jitter.saturation > 0 || r->jitter.hue > 0;
}

/* Crop, colours and mirror of the recipe and of the defenses that choose what is shown. */
static enum mi_status show(struct mi_feeder *f, struct mi_photo *p) {
    const struct mi_train_recipe *r = f->recipe;
    size_t values = (size_t)f->size * (size_t)f->size * 3;
    if (crops(r)) {
        struct mi_rng rng = mi_rng_make(f->seed, "crop", (uint64_t)p->step, (uint64_t)p->index);
        mi_frame_crop(&p->frame, &rng, r->crop, 1);
    }
    if (f->defenses) MI_TRY(mi_defenses_view(f->defenses, p));
    mi_photo_show(p->px, f->train->rgb + (size_t)p->index * values, f->size, &p->frame);
    if (recolours(r)) {
        struct mi_rng rng = mi_rng_make(f->seed, "jitter", (uint64_t)p->step, (uint64_t)p->index);
        struct mi_jitter_draw draw = mi_jitter_draw(&r->jitter, &rng);
        mi_photo_jitter(p->px, f->size, &draw);
    }
    mi_photo_normalise(p->px, f->size, f->mean, f->std);
    return MI_OK;
}

static enum mi_status make_photo(struct mi_feeder *f, struct slot *s, int64_t step, int i) {
    size_t values = (size_t)f->size * (size_t)f->size * 3;
    struct mi_photo p = {.px = s->pixels + (size_t)i * values,
                         .size = f->size,
                         .position = i,
                         .index = s->index[i],
                         .step = step,
                         .epoch = step / f->per_epoch,
                         .seed = f->seed,
                         .frame = {0, 0, (int16_t)f->size, (int16_t)f->size, f->flip[i]},
                         .mean = f->mean,
                         .std = f->std};
    if (f->framed) MI_TRY(show(f, &p));
    return f->hooked ? mi_defenses_input(f->defenses, &p) : MI_OK;
}

/* Photos do not depend on each other: any number of threads gives the same bytes.  A failure is kept in the slot, the
 * message of the first photo that has one; error slots are per thread. */
static void make_photos(struct mi_feeder *f, struct slot *s, int64_t step) {
    int failed = s->n;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) if (s->n > 1)
#endif
    for (int i = 0; i < s->n; i++) {
        enum mi_status st = make_photo(f, s, step, i);
        if (st == MI_OK) continue;
#ifdef _OPENMP
#pragma omp critical(mi_feeder_failed)
#endif
        if (i < failed) {
            failed = i;
            s->status = st;
            free(s->message);
            s->message = mi_strdup(mi_error_text());
        }
        mi_error_clear();
    }
}

static void fill(struct mi_feeder *f, struct slot *s, int64_t step) {
    s->n = choose(f, step, s->index);
    struct mi_rng rng = mi_rng_make(f->seed, "flip", (uint64_t)step, 0);
    for (int i = 0; i < s->n; i++) {
        s->labels[i] = f->train->labels[s->index[i]];
        f->flip[i] = f->recipe->flip ? (uint8_t)(mi_rng_u64(&rng) >> 63) : 0;
    }
    s->status = MI_OK;
    if (!f->framed) mi_batch_fill(s->pixels, f->train, s->index, f->flip, (size_t)s->n, f->size, f->mean, f->std);
    if (f->framed || f->hooked) make_photos(f, s, step);
    s->step = step;
}

static void *help(void *arg) {
    struct mi_feeder *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->quit) {
        int64_t step = f->wanted;
        if (step < 0) {
            pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        pthread_mutex_unlock(&f->lock);
        fill(f, &f->slot[step % 2], step); /* the slot is nobody else's until wanted is -1 again */
        pthread_mutex_lock(&f->lock);
        f->wanted = -1;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static struct mi_feeder *make(const struct mi_dataset *d, const struct mi_train_recipe *r, const float mean[3],
                              const float std[3], uint64_t seed, int64_t total, const struct mi_picker *picker) {
    struct mi_feeder *f = mi_calloc(1, sizeof(*f));
    if (!f) return NULL;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->wanted = -1;
    f->train = &d->split[MI_TRAIN];
    f->recipe = r;
    f->size = d->size;
    f->per_epoch = mi_steps_per_epoch(d, r, &f->batch);
    if (picker) {
        f->picker = *picker;
        f->per_epoch = picker->per_epoch;
        f->batch = picker->most;
    }
    f->total = total;
    f->seed = seed;
    f->epoch = -1;
    f->framed = crops(r) || recolours(r);
    memcpy(f->mean, mean, sizeof(f->mean));
    memcpy(f->std, std, sizeof(f->std));
    size_t values = (size_t)f->batch * (size_t)f->size * (size_t)f->size * 3;
    f->order = mi_calloc(f->train->n, sizeof(*f->order));
    f->flip = mi_calloc((size_t)f->batch, 1);
    bool ok = f->order && f->flip;
    for (int i = 0; i < 2 && ok; i++) {
        struct slot *s = &f->slot[i];
        s->step = -1;
        s->pixels = mi_calloc(values, sizeof(*s->pixels));
        s->labels = mi_calloc((size_t)f->batch, sizeof(*s->labels));
        s->index = mi_calloc((size_t)f->batch, sizeof(*s->index));
        ok = s->pixels && s->labels && s->index;
    }
    if (ok) return f;
    mi_feeder_close(f);
    return NULL;
}

struct mi_feeder *mi_feeder_open(const struct mi_dataset *d, const struct mi_train_recipe *r, const float mean[3],
                                 const float std[3], uint64_t seed, int64_t total, bool ahead) {
    return mi_feeder_open_picked(d, r, mean, std, seed, total, ahead, NULL);
}

struct mi_feeder *mi_feeder_open_picked(const struct mi_dataset *d, const struct mi_train_recipe *r,
                                        const float mean[3], const float std[3], uint64_t seed, int64_t total,
                                        bool ahead, const struct mi_picker *picker) {
    struct mi_feeder *f = make(d, r, mean, std, seed, total, picker);
    if (f && ahead) f->helper = pthread_create(&f->thread, NULL, help, f) == 0; /* without one it fills in place */
    return f;
}

void mi_feeder_defend(struct mi_feeder *f, struct mi_defenses *defenses) {
    f->defenses = defenses;
    f->framed = f->framed || mi_defenses_have_view(defenses);
    f->hooked = mi_defenses_have_input(defenses);
}

/* Waits until the helper is idle, so that both slots belong to the caller. */
static void settle(struct mi_feeder *f) {
    pthread_mutex_lock(&f->lock);
    while (f->wanted >= 0) pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

int mi_feeder_get(struct mi_feeder *f, int64_t step, float **pixels, int64_t **labels, int32_t **index) {
    if (f->helper) settle(f);
    struct slot *s = &f->slot[step % 2];
    if (s->step != step) fill(f, s, step);
    if (s->status != MI_OK) {
        mi_fail(s->status, "%s", s->message ? s->message : "a photo could not be made");
        return -1;
    }
    *pixels = s->pixels;
    *labels = s->labels;
    *index = s->index;
    if (!f->helper || step + 1 >= f->total) return s->n;
    pthread_mutex_lock(&f->lock);
    f->wanted = step + 1;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return s->n;
}

void mi_feeder_close(struct mi_feeder *f) {
    if (!f) return;
    if (f->helper) {
        settle(f);
        pthread_mutex_lock(&f->lock);
        f->quit = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    for (int i = 0; i < 2; i++) {
        free(f->slot[i].pixels);
        free(f->slot[i].labels);
        free(f->slot[i].index);
        free(f->slot[i].message);
    }
    free(f->order);
    free(f->flip);
    free(f);
}
