/* ui/probe.c - asking the terminal what it can do, once, without hanging and without leaving rubbish on the screen.
 *
 * All questions go out in one write, the device-attributes request (CSI c) last: every terminal answers that one, so
 * its reply ends the wait and silence on the others costs nothing.  If the deadline passes first the program goes on
 * with what it knows; replies that come late are recognised in the key parser and fed to mi_probe_feed.
 * The kitty graphics query is left out on purpose: some terminals print it. */
#include "ui/picture.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define XTERM_MAX 1000 /* px a side of a picture, its default maxGraphicSize; asked, it answers like the text area */

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

static void from_environment(struct mi_probe *p) {
    const char *colour = getenv("COLORTERM"), *term = getenv("TERM"), *codeset = nl_langinfo(CODESET);
    p->utf8 = codeset && (!strcasecmp(codeset, "UTF-8") || !strcasecmp(codeset, "utf8"));
    p->truecolor =
        (colour && (!strcmp(colour, "truecolor") || !strcmp(colour, "24bit"))) || (term && strstr(term, "-direct"));
}

void mi_probe_resize(struct mi_probe *p, int fd) {
    struct winsize w = {0};
    if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_xpixel && w.ws_ypixel && w.ws_col && w.ws_row) {
        p->cell_w = w.ws_xpixel / w.ws_col;
        p->cell_h = w.ws_ypixel / w.ws_row;
        p->cell_known = p->cell_w > 1 && p->cell_h > 1;
    } else if (!p->cell_known && p->area_w > 0 && p->area_h > 0 && w.ws_col && w.ws_row) {
        p->cell_w = p->area_w / w.ws_col;
        p->cell_h = p->area_h / w.ws_row;
        p->cell_known = p->cell_w > 1 && p->cell_h > 1;
    }
    if (!p->cell_known) p->cell_w = 10, p->cell_h = 20;
}

/* The numbers of a control sequence, separated by ';', starting at s. */
static int numbers(const char *s, const char *end, int *v, int max) {
    int n = 0;
    while (s < end && n < max) {
        char *rest;
        long x = strtol(s, &rest, 10);
        if (rest == s) break;
        v[n++] = x < 0 ? 0 : x > 1000000 ? 1000000 : (int)x;
        if (rest >= end || *rest != ';') break;
        s = rest + 1;
    }
    return n;
}

static bool feed_csi(struct mi_probe *p, const char *body, const char *end) {
    int v[64], n;
    char final = end[-1];
    if (final == 'c' && *body == '?') {
        p->answered = true;
        n = numbers(body + 1, end, v, 64);
        for (int k = 1; k < n; k++)
            if (v[k] == 4) p->sixel = true;
        return true;
    }
    if (final == 'S' && *body == '?') { /* item; status (0 = fine); value [; value] */
        n = numbers(body + 1, end, v, 4);
        if (n >= 3 && v[0] == 1 && v[1] == 0) p->registers = v[2];
        if (n >= 4 && v[0] == 2 && v[1] == 0) p->area_w = v[2], p->area_h = v[3];
        return true;
    }
    if (final == 't') { /* 6; height; width */
        n = numbers(body, end, v, 3);
        if (n == 3 && v[0] == 6 && v[1] > 1 && v[2] > 1) {
            p->cell_h = v[1], p->cell_w = v[2];
            p->cell_known = true;
        }
        return true;
    }
    if (final == 'y' && *body == '?') { /* mode report: ?2026;state$y, 0 = not known, 4 = never */
        n = numbers(body + 1, end, v, 2);
        if (n == 2 && v[0] == 2026) p->sync = v[1] == 1 || v[1] == 2;
        return true;
    }
    return false;
}

/* "rgb:RRRR/GGGG/BBBB" in 1..4 digits a channel: brightness decides between light and dark. */
static bool feed_background(struct mi_probe *p, const char *text) {
    unsigned r, g, b;
    const char *rgb = strstr(text, "rgb:");
    if (!rgb || sscanf(rgb + 4, "%4x/%4x/%4x", &r, &g, &b) != 3) return false;
    const char *slash = strchr(rgb, '/');
    double full = (double)((1UL << (4 * (unsigned)(slash - rgb - 4))) - 1);
    p->background_known = true;
    p->background_light = (0.299 * r + 0.587 * g + 0.114 * b) / full > 0.5;
    return true;
}

bool mi_probe_feed(struct mi_probe *p, const char *seq, size_t n) {
    char text[256];
    if (n < 3 || n >= sizeof text || seq[0] != '\033') return false;
    memcpy(text, seq, n);
    text[n] = 0;
    if (seq[1] == '[') return feed_csi(p, text + 2, text + n);
    if (seq[1] == ']' && !strncmp(text + 2, "11;", 3)) return feed_background(p, text + 5);
    if (seq[1] == 'P' && !strncmp(text + 2, ">|", 2)) {
        size_t k = 0;
        for (const char *c = text + 4; *c && *c != '\033' && *c != '\a' && k + 1 < sizeof p->name; c++)
            if ((unsigned char)*c >= 32 && (unsigned char)*c < 127) p->name[k++] = *c;
        p->name[k] = 0;
        if (!strncmp(p->name, "XTerm(", 6)) p->max_w = p->max_h = XTERM_MAX;
        return true;
    }
    return false;
}

/* Length of the complete control sequence at s, 0 if more bytes are needed. */
static size_t complete(const char *s, size_t n) {
    if (n < 2) return 0;
    if (s[1] == '[') {
        for (size_t k = 2; k < n; k++)
            if (s[k] >= 0x40 && s[k] <= 0x7e) return k + 1;
        return 0;
    }
    if (s[1] == ']' || s[1] == 'P') {
        for (size_t k = 2; k < n; k++) {
            if (s[k] == '\a') return k + 1;
            if (s[k] == '\\' && s[k - 1] == '\033') return k + 1;
        }
        return 0;
    }
    return 2;
}

/* Takes every complete sequence out of buf; returns the bytes left over. */
static size_t drain(struct mi_probe *p, char *buf, size_t n) {
    size_t at = 0;
    while (at < n) {
        if (buf[at] != '\033') {
            at++; /* a key pressed during the probe: nothing is on screen yet, so it can mean nothing */
            continue;
        }
        size_t len = complete(buf + at, n - at);
        if (!len) break;
        mi_probe_feed(p, buf + at, len);
        at += len;
    }
    memmove(buf, buf + at, n - at);
    return n - at;
}

static void converse(struct mi_probe *p, int fd, int wait_ms) {
    static const char ask[] = "\033[>q\033[?1;1;0S\033[?2;1;0S\033[16t\033]11;?\033\\\033[?2026$p\033[c";
    char buf[4096];
    size_t n = 0;
    if (write(fd, ask, sizeof ask - 1) != (ssize_t)sizeof ask - 1) return;
    long end = now_ms() + wait_ms;
    while (!p->answered) {
        long left = end - now_ms();
        if (left <= 0) return;
        struct pollfd f = {.fd = fd, .events = POLLIN};
        int r = poll(&f, 1, (int)left);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return;
        ssize_t got = read(fd, buf + n, sizeof buf - n);
        if (got <= 0) return;
        n = drain(p, buf, n + (size_t)got);
        if (n == sizeof buf) n = 0; /* no terminal answers this long: drop it */
    }
}

void mi_probe_terminal(struct mi_probe *p, int fd, int wait_ms) {
    memset(p, 0, sizeof *p);
    from_environment(p);
    struct termios old, raw;
    const char *term = getenv("TERM");
    bool dumb = !term || !*term || !strcmp(term, "dumb");
    if (!dumb && isatty(fd) && tcgetattr(fd, &old) == 0) {
        raw = old;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        raw.c_cc[VMIN] = 0, raw.c_cc[VTIME] = 0;
        if (tcsetattr(fd, TCSADRAIN, &raw) == 0) {
            converse(p, fd, wait_ms);
            tcsetattr(fd, TCSADRAIN, &old);
        }
    }
    mi_probe_resize(p, fd);
}
