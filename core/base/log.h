/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

/*
 * log.h: lines for people. A `struct log` is handed down; there is no global one. Lines that repeat from one place are
 * limited to LOG_BURST_MAX per LOG_WINDOW_MS and place; what was held back is said in one line
 * ("... 412 more like it: * closed: *"). Lines longer than 1,023 bytes are cut, and control bytes become '?': a peer's
 * name cannot forge a line. Thread: the owner's only; other threads send letters.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"

#define LOG_BURST_MAX 10u
#define LOG_WINDOW_MS 1000u
#define LOG_PLACES    64u

enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

struct log_place {
    const char *fmt; /* identity of the place: its format string */
    mono_ms since;
    uint32_t n, held;
    enum log_level level;
};

struct log {
    enum log_level level;                                             /* lines above this level are not made */
    mono_ms (*now)(void *ctx);                                        /* may be NULL: then nothing is rate-limited */
    void (*write)(void *ctx, enum log_level level, const char *line); /* one line without its end; default stderr */
    void *ctx;
    struct log_place place[LOG_PLACES];
};

/* log_init: to stderr with a UTC wall-clock stamp, level LOG_NOTICE, no rate limit until `now` is set. */
void log_init(struct log *l);

/* log_is_on: would a line of this level be made? For callers who must first put together what it says. */
static inline bool log_is_on(const struct log *l, enum log_level level)
{
    return level <= l->level;
}

/* log_line: one line, without its end. fmt must be a literal: its address tells the place. errno is kept. */
void log_line(struct log *l, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* log_flush_held: says what was held back in windows that ended by `now`; MONO_NEVER means in all. Called about once a
 * second and at exit. */
void log_flush_held(struct log *l, mono_ms now);

/* log_level_name: "error", "warning", "notice", "info", "debug"; static, never NULL. */
const char *log_level_name(enum log_level level);

#endif
