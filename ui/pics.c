/* ui/pics.c - which pictures are on screen, which should be, and the bytes in between (see pics.h).
 *
 * Rules, each learned from terminals: a picture is sent after doupdate with a raw cursor move and one write, and the
 * cursor is put back where curses believes it is; erasing is raw spaces over the box, before doupdate, because that is
 * the only way that works everywhere; an equal box with new content is overwritten without erasing, so it does not
 * blink.  After a sixel the terminal is asked for its status (CSI 5 n): no other picture goes out before it answers or
 * a second has passed, and two slow answers in a row lower the quality one step, with a notice.
 * Cache entries hold a copy of the pixels until first sent, then the bytes; the oldest unused go first. */
#include "ui/pics.h"

#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_MAX 96
#define SLOTS     MI_PICS_MAX

struct entry {
    uint64_t key;
    int cols, rows, cell_w, cell_h, colours;
    enum mi_picture_mode mode;
    struct mi_image img;   /* until encoded */
    struct mi_picture pic; /* after */
    unsigned long used;
    bool broken; /* could not be encoded: not tried again */
};

struct slot {
    struct mi_rect r;
    struct entry id; /* identity fields only */
    int cols, rows, width, height;
};

struct mi_pics {
    const struct mi_probe *probe;
    enum mi_picture_mode mode;
    int colours; /* 0 = by size */
    struct entry cache[CACHE_MAX];
    int n_cache;
    unsigned long clock;
    struct slot wanted[SLOTS], shown[SLOTS];
    int n_wanted, n_shown;
    double asked; /* when the status question went out, 0 = none open */
    int slow, silent;
    char notice[128];
    bool light;
};

struct mi_pics *mi_pics_new(const struct mi_probe *probe, enum mi_picture_mode mode) {
    struct mi_pics *p = mi_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->probe = probe;
    p->mode = mode;
    return p;
}

static void entry_free(struct entry *e) {
    mi_image_free(&e->img);
    mi_picture_free(&e->pic);
}

void mi_pics_free(struct mi_pics *p) {
    if (!p) return;
    for (int k = 0; k < p->n_cache; k++) entry_free(&p->cache[k]);
    free(p);
}

enum mi_picture_mode mi_pics_mode(const struct mi_pics *p) {
    return p->mode;
}

void mi_pics_set_mode(struct mi_pics *p, enum mi_picture_mode mode) {
    p->mode = mode;
    p->slow = 0;
}

enum mi_picture_mode mi_pics_next_mode(const struct mi_pics *p, int colours) {
    enum mi_picture_mode m = p->mode;
    for (int k = 0; k < MI_PIC_COUNT; k++) {
        m = m == MI_PIC_OFF ? MI_PIC_SIXEL : m - 1;
        if (m == MI_PIC_SIXEL && !p->probe->sixel) continue;
        if (m == MI_PIC_HALF24 && (!p->probe->utf8 || colours < 8)) continue;
        if (m == MI_PIC_HALF256 && (!p->probe->utf8 || colours < 256)) continue;
        return m;
    }
    return MI_PIC_OFF;
}

/* ---- bytes to the terminal ---------------------------------------------------------------------------- */

static void emit(const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, bytes, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && errno == EAGAIN) {
            struct pollfd f = {.fd = STDOUT_FILENO, .events = POLLOUT};
            if (poll(&f, 1, 1000) > 0) continue;
            return;
        }
        if (k <= 0) return; /* the terminal is gone; the loop notices by itself */
        bytes += k, n -= (size_t)k;
    }
}

static void emit_move(int y, int x) {
    char cup[32];
    emit(cup, (size_t)snprintf(cup, sizeof cup, "\033[%d;%dH", y + 1, x + 1));
}

static void emit_home(void) {
    emit_move(getcury(curscr), getcurx(curscr));
}

static void emit_blank(struct mi_rect r) {
    char blank[512];
    int w = r.w < (int)sizeof blank ? r.w : (int)sizeof blank;
    memset(blank, ' ', (size_t)w);
    emit("\033[0m", 4);
    for (int y = r.y; y < r.y + r.h && y < LINES; y++) {
        emit_move(y, r.x);
        emit(blank, (size_t)w);
    }
}

/* ---- cache -------------------------------------------------------------------------------------------- */

static bool same(const struct entry *a, const struct entry *b) {
    return a->key == b->key && a->cols == b->cols && a->rows == b->rows && a->mode == b->mode &&
           a->cell_w == b->cell_w && a->cell_h == b->cell_h && a->colours == b->colours;
}

static struct entry *lookup(struct mi_pics *p, const struct entry *id) {
    for (int k = 0; k < p->n_cache; k++)
        if (same(&p->cache[k], id)) {
            p->cache[k].used = ++p->clock;
            return &p->cache[k];
        }
    return NULL;
}

static struct entry *insert(struct mi_pics *p, const struct entry *id, const struct mi_image *img) {
    struct entry *e = &p->cache[0];
    if (p->n_cache < CACHE_MAX)
        e = &p->cache[p->n_cache++];
    else
        for (int k = 1; k < p->n_cache; k++)
            if (p->cache[k].used < e->used) e = &p->cache[k];
    entry_free(e);
    *e = *id;
    e->used = ++p->clock;
    if (mi_image_new(&e->img, img->width, img->height) != MI_OK) {
        e->broken = true;
        mi_error_clear();
        return e;
    }
    memcpy(e->img.rgb, img->rgb, 3 * (size_t)img->width * (size_t)img->height);
    return e;
}

static void encode(struct mi_pics *p, struct entry *e) {
    if (e->pic.bytes || e->broken) return;
    struct mi_picture_box box = {e->cols, e->rows, e->cell_w, e->cell_h, e->colours, p->light};
    if (e->mode == MI_PIC_SIXEL) mi_picture_limit(p->probe, &box);
    if (mi_picture_encode(&e->img, e->mode, &box, &e->pic) != MI_OK) {
        snprintf(p->notice, sizeof p->notice, "%.120s", mi_error_text());
        mi_error_clear();
        e->broken = true;
    }
    mi_image_free(&e->img);
}

/* ---- a frame ------------------------------------------------------------------------------------------ */

void mi_pics_begin(struct mi_pics *p) {
    p->n_wanted = 0;
}

void mi_pics_want(struct mi_pics *p, struct mi_rect r, uint64_t key, const struct mi_image *img) {
    if (p->mode == MI_PIC_OFF || p->n_wanted == SLOTS || r.h < 1 || r.w < 2 || r.y + r.h > LINES - 1) return;
    struct slot *s = &p->wanted[p->n_wanted++];
    memset(s, 0, sizeof *s);
    s->r = r;
    s->id = (struct entry){.key = key,
                           .cols = r.w,
                           .rows = r.h,
                           .cell_w = p->probe->cell_w,
                           .cell_h = p->probe->cell_h,
                           .colours = p->colours,
                           .mode = p->mode};
    if (!lookup(p, &s->id)) insert(p, &s->id, img);
}

static bool meet(struct mi_rect a, struct mi_rect b) {
    return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

void mi_pics_hide(struct mi_pics *p, struct mi_rect r) {
    int n = 0;
    for (int k = 0; k < p->n_wanted; k++)
        if (!meet(p->wanted[k].r, r)) p->wanted[n++] = p->wanted[k];
    p->n_wanted = n;
}

static bool same_rect(struct mi_rect a, struct mi_rect b) {
    return a.y == b.y && a.x == b.x && a.h == b.h && a.w == b.w;
}

static struct slot *at_rect(struct slot *list, int n, struct mi_rect r) {
    for (int k = 0; k < n; k++)
        if (same_rect(list[k].r, r)) return &list[k];
    return NULL;
}

void mi_pics_erase(struct mi_pics *p, bool light) {
    int n = 0;
    bool wrote = false;
    p->light = light;
    for (int k = 0; k < p->n_shown; k++) {
        struct slot *w = at_rect(p->wanted, p->n_wanted, p->shown[k].r);
        if (w && w->id.mode == p->shown[k].id.mode) {
            p->shown[n++] = p->shown[k];
            continue;
        }
        emit_blank(p->shown[k].r);
        wrote = true;
    }
    p->n_shown = n;
    if (wrote) emit_home();
}

static struct slot *due(struct mi_pics *p) {
    for (int k = 0; k < p->n_wanted; k++) {
        struct slot *s = at_rect(p->shown, p->n_shown, p->wanted[k].r);
        if (!s || !same(&s->id, &p->wanted[k].id)) return &p->wanted[k];
    }
    return NULL;
}

bool mi_pics_waiting(const struct mi_pics *p) {
    return due((struct mi_pics *)p) != NULL;
}

static void show_lines(const struct mi_rect *r, const struct mi_picture *pic) {
    const char *line = pic->bytes, *end = pic->bytes + pic->n;
    int x = r->x + (r->w - pic->cols) / 2;
    for (int y = r->y + r->h - pic->rows; line < end && y < r->y + r->h; y++) { /* stands on its caption */
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        emit_move(y, x);
        emit(line, (size_t)((nl ? nl : end) - line));
        line = nl ? nl + 1 : end;
    }
    emit("\033[0m", 4);
}

static void record(struct mi_pics *p, const struct slot *w, const struct mi_picture *pic) {
    struct slot *s = at_rect(p->shown, p->n_shown, w->r);
    if (!s && p->n_shown < SLOTS) s = &p->shown[p->n_shown++];
    if (!s) return;
    *s = *w;
    s->cols = pic->cols, s->rows = pic->rows, s->width = pic->width, s->height = pic->height;
}

bool mi_pics_send(struct mi_pics *p, double now) {
    struct slot *w = due(p);
    if (!w) return false;
    if (p->asked > 0 && now - p->asked < 1.0) return true;
    if (p->asked > 0) { /* no answer in a second: the terminal does not answer at all, or is drowning */
        p->asked = 0;
        if (++p->silent == 3) mi_pics_ack(p, now);
    }
    struct entry *e = lookup(p, &w->id);
    if (!e) return false; /* evicted between want and send: the next frame wants it again */
    encode(p, e);
    struct slot *old = at_rect(p->shown, p->n_shown, w->r);
    if (old && (old->cols != e->pic.cols || old->rows != e->pic.rows || old->width != e->pic.width ||
                old->height != e->pic.height || e->broken))
        emit_blank(w->r);
    if (!e->broken && w->id.mode == MI_PIC_SIXEL) {
        emit_move(w->r.y + w->r.h - e->pic.rows, w->r.x + (w->r.w - e->pic.cols) / 2);
        emit(e->pic.bytes, e->pic.n);
        if (p->probe->answered && p->silent < 3) {
            emit("\033[5n", 4);
            p->asked = now;
        }
    } else if (!e->broken) {
        show_lines(&w->r, &e->pic);
    }
    emit_home();
    record(p, w, &e->pic);
    return due(p) != NULL;
}

void mi_pics_forget(struct mi_pics *p) {
    p->n_shown = 0;
    p->asked = 0;
}

/* One step down: fewer colours twice, then half blocks. */
static void step_down(struct mi_pics *p) {
    p->slow = 0;
    if (p->colours == 0 || p->colours > 16) {
        p->colours = p->colours == 0 ? 64 : 16;
        snprintf(p->notice, sizeof p->notice, "slow line: pictures with %d colours now", p->colours);
    } else if (p->probe->utf8) {
        p->mode = MI_PIC_HALF256;
        snprintf(p->notice, sizeof p->notice, "slow line: half blocks instead of sixel (i changes it)");
    }
}

void mi_pics_ack(struct mi_pics *p, double now) {
    if (p->asked > 0) {
        p->slow = now - p->asked > 0.4 ? p->slow + 1 : 0;
        p->silent = 0;
        if (p->slow >= 2) step_down(p);
    }
    p->asked = 0;
}

const char *mi_pics_notice(struct mi_pics *p) {
    static char last[128];
    if (!p->notice[0]) return NULL;
    memcpy(last, p->notice, sizeof last);
    p->notice[0] = 0;
    return last;
}
