/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c: lines for people, and not too many of them.
 *
 *     log_line(fmt) ─► level ─► place of fmt: n < LOG_BURST_MAX in this window? ─► one line ─► write
 *                                        └─ no: held++   (said later: "... 412 more like it: fmt", with * for values)
 *
 * A place is known by the address of its format string: one per log_line in the source. There are LOG_PLACES of them;
 * when all are taken the one whose window began first makes room, after saying what it held back.
 *
 * Invariants
 *   1. A line has no control bytes: what a peer puts into a name cannot forge another line or reach a terminal.
 *   2. What is held back is said, exactly once, before the place is used for another window or another format.
 *   3. errno is as before.
 * Cost    a look at LOG_PLACES pointers per line; 2 KiB per log. No allocation.
 * Thread  the owner's.
 */
#include "core/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOG_LINE_MAX 1024u /* bytes of a line with its NUL; longer ones end in "..." */

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < ARRAY_N(level_names) ? level_names[(unsigned)level] : "unknown";
}

static void write_stderr(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    struct tm tm = {0};
    gmtime_r(&ts.tv_sec, &tm);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(stderr, "%s.%03uZ %s: %s\n", stamp, (unsigned)(ts.tv_nsec / 1000000), log_level_name(level), line);
}

void log_init(struct log *l)
{
    *l = (struct log){.level = LOG_NOTICE, .write = write_stderr};
}

/* cut: ends a line that was longer than its buffer with "...", not in the middle of a character. */
static void cut(char *line)
{
    size_t n = LOG_LINE_MAX - 1 - 3;
    while (n > 0 && ((unsigned char)line[n] & 0xc0) == 0x80)
        n--;
    memcpy(line + n, "...", 4);
}

static void PRINTF_LIKE(3, 0) emit(struct log *l, enum log_level level, const char *fmt, va_list args)
{
    char line[LOG_LINE_MAX];
    int n = vsnprintf(line, sizeof(line), fmt, args);
    if (n < 0)
        return;
    if ((size_t)n >= sizeof(line))
        cut(line);
    for (unsigned char *c = (unsigned char *)line; *c != 0; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    l->write(l->ctx, level, line);
}

static void PRINTF_LIKE(3, 4) say(struct log *l, enum log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    emit(l, level, fmt, args);
    va_end(args);
}

/* outline: a format for people: "*" where the values would stand. */
static void outline(const char *fmt, char *out, size_t cap)
{
    static const char letters[] = "diouxXcsp";
    size_t n = 0;
    for (; *fmt != 0 && n + 1 < cap; fmt++) {
        bool is_value = *fmt == '%' && fmt[1] != '%';
        if (*fmt == '%')
            fmt++;
        while (is_value && *fmt != 0 && strchr(letters, *fmt) == NULL)
            fmt++;
        if (*fmt == 0)
            break;
        out[n++] = is_value ? '*' : *fmt;
    }
    out[n] = 0;
}

static void say_held(struct log *l, struct log_place *p)
{
    if (p->held != 0) {
        char text[256];
        outline(p->fmt, text, sizeof(text));
        say(l, p->level, "... %u more like it: %s", (unsigned)p->held, text);
    }
    p->held = 0;
}

static bool is_over(const struct log_place *p, mono_ms now)
{
    return now - p->since >= LOG_WINDOW_MS; /* also when the clock stepped back */
}

/* place_of: the place of fmt, its window open at `now`. */
static struct log_place *place_of(struct log *l, enum log_level level, const char *fmt, mono_ms now)
{
    struct log_place *p = NULL, *oldest = &l->place[0];
    for (size_t i = 0; i < LOG_PLACES && p == NULL; i++) {
        struct log_place *at = &l->place[i];
        if (at->fmt == fmt)
            p = at;
        else if (oldest->fmt != NULL && (at->fmt == NULL || at->since < oldest->since))
            oldest = at;
    }
    if (p != NULL && !is_over(p, now))
        return p;
    p = p ? p : oldest;
    say_held(l, p);
    *p = (struct log_place){.fmt = fmt, .since = now, .level = level};
    return p;
}

void log_line(struct log *l, enum log_level level, const char *fmt, ...)
{
    if (!log_is_on(l, level))
        return;
    int saved = errno;
    if (l->now != NULL) {
        struct log_place *p = place_of(l, level, fmt, l->now(l->ctx));
        if (p->n == LOG_BURST_MAX) {
            p->held += p->held != UINT32_MAX;
            errno = saved;
            return;
        }
        p->n++;
    }
    va_list args;
    va_start(args, fmt);
    emit(l, level, fmt, args);
    va_end(args);
    errno = saved;
}

void log_flush_held(struct log *l, mono_ms now)
{
    int saved = errno;
    for (size_t i = 0; i < LOG_PLACES; i++) {
        struct log_place *p = &l->place[i];
        if (p->fmt == NULL || (now != MONO_NEVER && !is_over(p, now)))
            continue;
        say_held(l, p);
        *p = (struct log_place){0};
    }
    errno = saved;
}
