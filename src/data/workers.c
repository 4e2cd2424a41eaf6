/* workers.c - runs an indexed job on all cores this process may use.
 *
 * Items are handed out one at a time from an atomic counter, so uneven items (large and small photographs) balance
 * themselves.  Results must go to places that depend on the index only; then the outcome does not depend on the
 * number of cores.  Error slots are per thread, so the first failing worker copies its message and status here and
 * the calling thread repeats it into its own slot. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "src/data/data_priv.h"

#define MAX_WORKERS 64
#define PROGRESS_MS 50

struct job {
    size_t n;
    mi_work_fn fn;
    void *user;
    atomic_size_t next, done;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t finished;
    int running;
    enum mi_status status;
    char *message;
};

static void *work(void *arg) {
    struct job *job = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&job->next, 1);
        if (i >= job->n || atomic_load(&job->stop)) break;
        enum mi_status st = job->fn(job->user, i);
        atomic_fetch_add(&job->done, 1);
        if (st == MI_OK) continue;
        pthread_mutex_lock(&job->lock);
        if (job->status == MI_OK) {
            job->status = st;
            job->message = mi_strdup(mi_error_text());
        }
        pthread_mutex_unlock(&job->lock);
        atomic_store(&job->stop, true);
    }
    mi_error_clear();
    pthread_mutex_lock(&job->lock);
    job->running--;
    pthread_cond_signal(&job->finished);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

static int cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n;
}

/* Waits for the workers, calling progress now and then. */
static enum mi_status watch(struct job *job, mi_data_progress progress, void *progress_user) {
    enum mi_status st = MI_OK;
    pthread_mutex_lock(&job->lock);
    while (job->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&job->finished, &job->lock, &until);
        if (!progress || st != MI_OK) continue;
        pthread_mutex_unlock(&job->lock);
        if (!progress(atomic_load(&job->done), job->n, progress_user)) {
            atomic_store(&job->stop, true);
            st = MI_STOPPED;
        }
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
    return st;
}

enum mi_status mi_parallel(size_t n, mi_work_fn fn, void *user, mi_data_progress progress, void *progress_user) {
    if (n == 0) return MI_OK;
    struct job job = {.n = n, .fn = fn, .user = user};
    pthread_t thread[MAX_WORKERS];
    int want = cores(), started = 0;
    if ((size_t)want > n) want = (int)n;
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.finished, NULL);
    job.running = want;
    while (started < want && pthread_create(&thread[started], NULL, work, &job) == 0) started++;
    enum mi_status st = MI_OK;
    if (started == 0) {
        st = mi_fail(MI_E_NOMEM, "cannot start a worker thread: the limit of threads (ulimit -u) is reached");
    } else {
        pthread_mutex_lock(&job.lock);
        job.running -= want - started; /* fewer threads only mean a slower job */
        pthread_mutex_unlock(&job.lock);
        st = watch(&job, progress, progress_user);
    }
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    if (job.status != MI_OK) {
        st = mi_fail(job.status, "%s", job.message && *job.message ? job.message : "a worker failed without a message");
    } else if (st == MI_OK && progress) {
        progress(n, n, progress_user);
    }
    free(job.message);
    pthread_cond_destroy(&job.finished);
    pthread_mutex_destroy(&job.lock);
    return st;
}
