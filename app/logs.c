/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.c: where log lines go.
 *
 *     log_line ─► core/base/log.c (rate limit, control bytes) ─► put ─► type wanted? ─┬─► stderr / stdout
 *                                                                                     └─► file ◄─ SIGHUP: reopen
 *
 * Lines are written with write(2), one call per line and place, so that they are whole in a file others append to and
 * seen at once through a pipe.
 *
 * Invariants
 *   1. A place that cannot be written to loses lines and nothing else: the broker never waits for its log to be fixed.
 *   2. The file is only ever appended to, and closed on exec.
 * Cost    one or two system calls per line.
 * Thread  the owner's.
 */
#include "app/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/config.h"

#define LINE_MAX_BYTES 1200u /* core/base/log.c makes lines of at most 1023 */

static mono_ms monotonic(void *ctx)
{
    UNUSED(ctx);
    struct timespec ts = {0};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms)ts.tv_sec * 1000 + (mono_ms)ts.tv_nsec / 1000000 + 1; /* never 0 */
}

/* stamp: "2026-11-21T10:30:00.000Z ", cap bytes at least 32. */
static void stamp(char *out, size_t cap)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    struct tm tm = {0};
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, cap - n, ".%03uZ ", (unsigned)(ts.tv_nsec / 1000000));
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done == -1 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* invariant 1 */
        p += done;
        n -= (size_t)done;
    }
}

static size_t format(const struct logs *l, enum log_level level, const char *line, char *out, size_t cap)
{
    char when[48] = "";
    if (l->has_stamp)
        stamp(when, sizeof(when));
    int n = snprintf(out, cap, "%s%s: %s\n", when, log_level_name(level), line);
    return n < 0 ? 0 : MIN((size_t)n, cap - 1);
}

static void put(void *ctx, enum log_level level, const char *line)
{
    struct logs *l = ctx;
    if (!(l->types & 1u << level))
        return;
    if (l->flush_due == 0)
        l->flush_due = monotonic(l) + LOG_WINDOW_MS;
    char out[LINE_MAX_BYTES];
    size_t n = format(l, level, line, out, sizeof(out));
    if (l->dests & LOG_TO_STDERR)
        write_all(STDERR_FILENO, out, n);
    if (l->dests & LOG_TO_STDOUT)
        write_all(STDOUT_FILENO, out, n);
    if (l->fd != -1)
        write_all(l->fd, out, n);
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

static enum log_level highest(unsigned types)
{
    enum log_level level = LOG_DEBUG;
    while (level > LOG_ERROR && !(types & 1u << level))
        level--;
    return level;
}

enum err logs_open(struct logs *l, const struct config *c, bool is_verbose, char *out_why, size_t cap)
{
    *l = (struct logs){.types = (unsigned)c->log_types, .dests = (unsigned)c->log_dests, .fd = -1};
    log_init(&l->log);
    if (!c->connection_messages)
        l->types &= ~(1u << LOG_INFO);
    if (is_verbose)
        l->types = (2u << LOG_DEBUG) - 1;
    if (l->dests & LOG_TO_NONE)
        l->types = 0;
    l->has_stamp = c->log_timestamp;
    l->log.level = highest(l->types);
    l->log.write = put;
    l->log.now = monotonic;
    l->log.ctx = l;
    if (!(l->dests & LOG_TO_FILE))
        return ERR_OK;
    l->path = c->log_file;
    l->fd = open_file(l->path);
    if (l->fd != -1)
        return ERR_OK;
    snprintf(out_why, cap, "%s: cannot be written: %s", l->path, strerror(errno));
    return ERR_IO;
}

void logs_reopen(struct logs *l)
{
    if (l->path == NULL)
        return;
    int fd = open_file(l->path);
    if (fd == -1) {
        log_line(&l->log, LOG_ERROR, "%s: cannot be opened anew, the old file is kept: %s", l->path, strerror(errno));
        return;
    }
    close(l->fd);
    l->fd = fd;
}

void logs_tick(struct logs *l)
{
    if (l->flush_due == 0)
        return;
    mono_ms now = monotonic(l);
    if (now < l->flush_due)
        return;
    l->flush_due = 0;
    log_flush_held(&l->log, now);
}

void logs_close(struct logs *l)
{
    log_flush_held(&l->log, MONO_NEVER);
    if (l->fd != -1)
        close(l->fd);
    l->fd = -1;
}

void logs_announce(struct logs *l, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES - 128], out[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    int n = snprintf(out, sizeof(out), "%s\n", line);
    write_all(STDOUT_FILENO, out, MIN((size_t)MAX(n, 0), sizeof(out) - 1));
    if (l->fd != -1)
        write_all(l->fd, out, format(l, LOG_NOTICE, line, out, sizeof(out)));
}
