/* control.c - steering a running engine: one word in, one line out, over a unix socket in the run's folder.
 *
 * The engine's side is one thread that only listens and sets flags; the loop reads them between two steps.  It blocks
 * every signal, so that handlers run where the engine expects them, and serves one client at a time with a deadline,
 * so that a client which hangs cannot keep the engine from ending.
 *
 * A socket's name is limited to 107 bytes, a workspace's is not: both sides open the run's folder and name the socket
 * through /proc/self/fd/N/control.sock.  The engine holds the run's lock, so a socket found there is a dead one's. */
#include "midre/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "src/run/files_priv.h"

#define SOCKET_NAME "control.sock"
#define DEADLINE_MS 5000
#define LINE_BYTES  128

struct mi_control {
    int dir, listener, wake; /* run folder, socket, eventfd that ends the thread */
    pthread_t thread;
    bool running;
    atomic_bool stop, paused, snapshot;
};

/* ---- lines with a deadline, for both sides --------------------------------------------------------------- */

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits until fd is ready for `events`; false at the deadline or when `wake` (-1: none) became readable. */
static bool wait_ready(int fd, short events, int wake, long deadline) {
    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = wake, .events = POLLIN}};
        long left = deadline - now_ms();
        int rc = left > 0 ? poll(fds, 2, (int)left) : 0;
        if (rc < 0 && errno == EINTR) continue;
        return rc > 0 && fds[1].revents == 0;
    }
}

/* One line without its newline; false when it does not come whole in time or is too long. */
static bool read_line(int fd, int wake, char line[LINE_BYTES]) {
    long deadline = now_ms() + DEADLINE_MS;
    size_t used = 0;
    while (used < LINE_BYTES && wait_ready(fd, POLLIN, wake, deadline)) {
        ssize_t got = recv(fd, line + used, LINE_BYTES - used, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return false;
        char *newline = memchr(line + used, '\n', (size_t)got);
        if (newline) {
            *newline = '\0';
            return true;
        }
        used += (size_t)got;
    }
    return false;
}

static bool send_line(int fd, int wake, const char *word) {
    char line[LINE_BYTES + 1];
    int n = snprintf(line, sizeof line, "%.*s\n", LINE_BYTES - 1, word);
    long deadline = now_ms() + DEADLINE_MS;
    for (int sent = 0; sent < n;) {
        if (!wait_ready(fd, POLLOUT, wake, deadline)) return false;
        ssize_t rc = send(fd, line + sent, (size_t)(n - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (rc < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (rc <= 0) return false;
        sent += (int)rc;
    }
    return true;
}

static struct sockaddr_un address_in(int dir) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, dir);
    return address;
}

/* ---- the engine's side ---------------------------------------------------------------------------------- */

void mi_control_request(struct mi_control *c, enum mi_request r) {
    switch (r) {
    case MI_REQ_NONE:
        break;
    case MI_REQ_PAUSE:
        atomic_store(&c->paused, true);
        break;
    case MI_REQ_RESUME:
        atomic_store(&c->paused, false);
        break;
    case MI_REQ_STOP:
        atomic_store(&c->stop, true);
        break;
    case MI_REQ_SNAPSHOT:
        atomic_store(&c->snapshot, true);
        break;
    }
}

bool mi_control_stop_wanted(const struct mi_control *c) {
    return atomic_load(&c->stop);
}

bool mi_control_paused(const struct mi_control *c) {
    return atomic_load(&c->paused) && !atomic_load(&c->stop);
}

bool mi_control_take_snapshot(struct mi_control *c) {
    return atomic_exchange(&c->snapshot, false);
}

static void answer(struct mi_control *c, int client) {
    static const struct {
        const char *word;
        enum mi_request request;
    } words[] = {{"pause", MI_REQ_PAUSE},
                 {"resume", MI_REQ_RESUME},
                 {"stop", MI_REQ_STOP},
                 {"snapshot", MI_REQ_SNAPSHOT},
                 {"ping", MI_REQ_NONE}};
    char line[LINE_BYTES], reply[LINE_BYTES];
    if (!read_line(client, c->wake, line)) return;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(line, words[i].word) != 0) continue;
        mi_control_request(c, words[i].request);
        const char *state = mi_control_stop_wanted(c) ? "stopping" : mi_control_paused(c) ? "paused" : "running";
        snprintf(reply, sizeof reply, "ok %s %d", state, (int)getpid());
        send_line(client, c->wake, reply);
        return;
    }
    send_line(client, c->wake, "error unknown request; known: pause resume stop snapshot ping");
}

static void *serve(void *arg) {
    struct mi_control *c = arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = c->listener, .events = POLLIN}, {.fd = c->wake, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) return NULL;
        if (fds[1].revents) return NULL;
        if (!fds[0].revents) continue;
        int client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client >= 0) {
            answer(c, client);
            close(client);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            poll(&fds[1], 1, 100); /* no descriptor free: the connection waits, without a busy loop */
        }
    }
}

static enum mi_status start_thread(struct mi_control *c) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits the mask */
    int rc = pthread_create(&c->thread, NULL, serve, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) return mi_fail(MI_E_INTERNAL, "cannot start the control thread: %s", strerror(rc));
    c->running = true;
    return MI_OK;
}

static enum mi_status listen_in(struct mi_control *c, const char *run_dir) {
    c->dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->dir < 0) return mi_fail_errno("open run folder", run_dir);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->wake < 0 || c->listener < 0) return mi_fail_errno("make the control socket of", run_dir);
    if (unlinkat(c->dir, SOCKET_NAME, 0) != 0 && errno != ENOENT)
        return mi_fail_errno("remove the old control socket of", run_dir);
    struct sockaddr_un address = address_in(c->dir);
    fchmod(c->listener, 0600); /* the socket file is made with this mode: only its owner steers a run */
    if (bind(c->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(c->listener, 16) != 0)
        return mi_fail_errno("listen on the control socket of", run_dir);
    return MI_OK;
}

struct mi_control *mi_control_serve(const char *run_dir) {
    struct mi_control *c = mi_calloc(1, sizeof *c);
    if (!c) return NULL;
    c->dir = c->listener = c->wake = -1;
    if (listen_in(c, run_dir) == MI_OK && start_thread(c) == MI_OK) return c;
    mi_control_close(c);
    return NULL;
}

void mi_control_close(struct mi_control *c) {
    if (!c) return;
    if (c->running) {
        uint64_t one = 1;
        while (write(c->wake, &one, sizeof one) < 0 && errno == EINTR) {
        }
        pthread_join(c->thread, NULL);
        unlinkat(c->dir, SOCKET_NAME, 0);
    }
    if (c->listener >= 0) close(c->listener);
    if (c->wake >= 0) close(c->wake);
    if (c->dir >= 0) close(c->dir);
    free(c);
}

/* ---- the client's side ---------------------------------------------------------------------------------- */

static enum mi_status talk(int fd, const char *word, const char *run_dir, char *reply, int reply_size) {
    char line[LINE_BYTES];
    if (!send_line(fd, -1, word) || !read_line(fd, -1, line))
        return mi_fail(MI_E_DEVICE, "the engine of %s does not answer; see its engine.log", run_dir);
    if (reply && reply_size > 0) snprintf(reply, (size_t)reply_size, "%s", line);
    if (strcmp(line, "ok") == 0 || strncmp(line, "ok ", 3) == 0) return MI_OK;
    return mi_fail(MI_E_INPUT, "the engine refused \"%.40s\": %s", word, line);
}

enum mi_status mi_control_send(const char *run_dir, const char *word, char *reply, int reply_size) {
    enum mi_status status;
    int fd = -1, dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (reply && reply_size > 0) reply[0] = '\0';
    if (dir < 0) return mi_fail_errno("open run folder", run_dir);
    struct sockaddr_un address = address_in(dir);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = DEADLINE_MS / 1000}; /* for connect: its queue may be full */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
        status = mi_fail_errno("make a socket for", run_dir);
    else if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        status = talk(fd, word, run_dir, reply, reply_size);
    else if (errno == ENOENT || errno == ECONNREFUSED)
        status = mi_fail(MI_E_MISSING, "no engine is running for %s", run_dir);
    else
        status = mi_fail_errno("connect to the engine of", run_dir);
    if (fd >= 0) close(fd);
    close(dir);
    return status;
}
