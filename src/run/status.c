/* status.c - the per-thread error slot, exit codes, and allocation that reports.
 *
 * One fixed buffer per thread: reporting an error must work when memory is gone.  Messages often quote names and
 * lines from files nobody vouches for, and they end on a terminal, so control bytes (escape sequences, newlines) are
 * replaced here, once, instead of at every place that prints.
 *
 * Owns nothing but the slot.  Nothing here exits or prints. */
#include "midre/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024

struct slot {
    enum mi_status status;
    char text[TEXT_MAX];
};

static _Thread_local struct slot slot;

/* Control bytes become '?'; so do the C1 controls, which UTF-8 spells C2 80 .. C2 9F. */
static void make_printable(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) *c = *c == '\t' || *c == '\n' ? ' ' : '?';
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) c[0] = c[1] = '?';
    }
}

/* A cut in the middle of a UTF-8 sequence would show as garbage: take the torn sequence off. */
static void trim_torn_utf8(char *text) {
    size_t n = strlen(text), back = 0;
    if (n < TEXT_MAX - 1) return;
    while (back < 4 && back < n && ((unsigned char)text[n - 1 - back] & 0xc0) == 0x80) back++;
    if (back < n && (unsigned char)text[n - 1 - back] >= 0xc0) text[n - 1 - back] = '\0';
}

enum mi_status mi_fail(enum mi_status status, const char *fmt, ...) {
    if (slot.status != MI_OK) return status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(slot.text, sizeof slot.text, fmt, args);
    va_end(args);
    trim_torn_utf8(slot.text);
    make_printable(slot.text);
    slot.status = status;
    return status;
}

enum mi_status mi_fail_context(const char *fmt, ...) {
    char old[TEXT_MAX];
    char context[TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    /* A caller that adds context where nothing failed must not turn a failure into MI_OK by that. */
    if (slot.status == MI_OK) return mi_fail(MI_E_INTERNAL, "%s: failed without saying why", context);
    memcpy(old, slot.text, sizeof old);
    int n = snprintf(slot.text, sizeof slot.text, "%s: ", context);
    if (n > 0 && n < TEXT_MAX - 1) {
        size_t room = sizeof slot.text - 1 - (size_t)n, length = strnlen(old, room);
        memcpy(slot.text + n, old, length);
        slot.text[(size_t)n + length] = '\0';
    }
    trim_torn_utf8(slot.text);
    make_printable(slot.text);
    return slot.status;
}

enum mi_status mi_error_status(void) {
    return slot.status;
}

const char *mi_error_text(void) {
    return slot.text;
}

void mi_error_clear(void) {
    slot.status = MI_OK;
    slot.text[0] = '\0';
}

int mi_exit_code(enum mi_status status) {
    switch (status) {
    case MI_OK:
    case MI_STOPPED:
        return 0;
    case MI_E_USAGE:
        return 2;
    case MI_E_INPUT:
        return 3;
    case MI_E_MISSING:
        return 4;
    case MI_E_DEVICE:
        return 5;
    case MI_E_DISK:
        return 6;
    case MI_E_NOMEM:
    case MI_E_INTERNAL:
        return 70;
    }
    return 70;
}

enum mi_status mi_status_of_exit(int code) {
    static const enum mi_status of[] = {
        [2] = MI_E_USAGE, [3] = MI_E_INPUT, [4] = MI_E_MISSING, [5] = MI_E_DEVICE, [6] = MI_E_DISK};
    return code >= 2 && code <= 6 ? of[code] : MI_E_INTERNAL;
}

void *mi_calloc(unsigned long count, unsigned long size) {
    /* calloc(0) may return NULL, which callers would read as "no memory". */
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) mi_fail(MI_E_NOMEM, "out of memory (%lu x %lu bytes)", count, size);
    return p;
}

char *mi_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = mi_calloc(n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

char *mi_format(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        mi_fail(MI_E_INTERNAL, "cannot format \"%s\"", fmt);
        return NULL;
    }
    char *text = mi_calloc((size_t)n + 1, 1);
    if (!text) return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}
